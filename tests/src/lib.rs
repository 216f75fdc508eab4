//! What DartSync's scenarios and oracles share.

#[path = "../../core/src/peer/mem_index.rs"]
pub mod mem_index;
pub mod process;
pub mod sim;
pub mod tidy;
