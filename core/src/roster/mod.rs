//! Who and what belongs to a home.
