//! What depends on the processor alone.

pub mod aarch64;
