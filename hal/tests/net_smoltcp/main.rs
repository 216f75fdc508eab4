//! The network over smoltcp, on cables in memory.

mod suite;
mod wire;
