//! What DartSync's scenarios and oracles share.

pub mod bench;
pub mod frames;
pub mod fuzz;
pub mod links;
#[path = "../../core/src/peer/mem_index.rs"]
pub mod mem_index;
pub mod process;
pub mod raw;
pub mod raw_data;
pub mod raw_tracker;
pub mod sim;
pub mod tidy;
