//! The network over smoltcp, on cables in memory.

mod abuse;
mod dhcp;
mod frames;
mod mdns;
mod suite;
mod wire;
