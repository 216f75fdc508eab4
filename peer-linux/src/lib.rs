//! The peer on Linux: drivers for the peer machine of `dartsync-core`, and the program around them.

pub mod content;
pub mod workers;
