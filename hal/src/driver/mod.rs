//! Drivers of devices, each over [`regs::Registers`]: on a board these are the device's own, in tests a fake's.
//!
//! | module | device |
//! |---|---|
//! | [`pl011`] | serial line |
//! | [`mailbox`] | the VideoCore's mailbox: power, clocks, memory size, MAC |
//! | [`dwc2`] | USB host controller |
//! | [`usb`] | the bus: enumeration, hubs, adapters |
//! | [`cdc_ether`], [`lan9514`], [`lan7800`] | network adapters on it |
//! | `usb_net` | whichever adapter is there, for smoltcp |
//! | [`bcm_rng`], [`bcm_watchdog`] | random bits; reset |
//!
//! No driver knows whether it runs on a board or in an emulator, and none waits without an end.

pub mod bcm_rng;
pub mod bcm_watchdog;
pub mod cdc_ether;
pub mod dwc2;
#[cfg(test)]
mod fake;
pub mod lan7800;
pub mod lan9514;
mod lan_chip;
pub mod mailbox;
pub mod pl011;
pub mod regs;
pub mod usb;
#[cfg(feature = "smoltcp")]
pub mod usb_net;
