//! Drivers of devices, each over [`regs::Registers`]: on a board these are the device's own, in tests a fake's.
//!
//! | module | device |
//! |---|---|
//! | [`pl011`] | serial line |
//! | [`mailbox`] | the VideoCore's mailbox: power, clocks, memory size, MAC |
//! | [`bcm_rng`], [`bcm_watchdog`] | random bits; reset |
//!
//! No driver knows whether it runs on a board or in an emulator, and none waits without an end.

pub mod bcm_rng;
pub mod bcm_watchdog;
#[cfg(test)]
mod fake;
pub mod mailbox;
pub mod pl011;
pub mod regs;
