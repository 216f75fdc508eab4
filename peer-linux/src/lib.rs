//! The peer on Linux: drivers for the peer machine of `dartsync-core`, and the program around them.

pub mod client;
pub mod config;
pub mod content;
pub mod control;
pub mod data;
pub mod disk;
pub mod scan;
pub mod store;
pub mod watch;
pub mod workers;
