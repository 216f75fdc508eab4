//! The tracker: knows every record, tells every device, and keeps nothing that its peers could not tell it again.

mod config;
pub mod swarm_book;
pub mod table;

pub use config::{Config, Event, Identity, Past, recovery_digest};
