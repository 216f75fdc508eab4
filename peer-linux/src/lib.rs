//! The peer on Linux: drivers for the peer machine of `dartsync-core`, and the program around them.

pub mod cli;
pub mod client;
pub mod config;
pub mod content;
pub mod control;
pub mod data;
pub mod demo;
pub mod disk;
pub mod find;
pub mod image;
pub mod node;
pub mod offline;
pub mod ops;
pub mod scan;
pub mod store;
pub mod trash;
pub mod watch;
pub mod workers;
