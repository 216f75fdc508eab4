//! The tracker: file table, sessions, enrolment.
