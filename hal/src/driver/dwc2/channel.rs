//! One channel of the controller: a transfer to or from an endpoint.

use super::regs::*;
use crate::driver::regs::Registers;
use crate::driver::usb::{Speed, UsbError};

/// What a channel is to carry.
#[derive(Clone, Copy)]
pub(super) struct Transfer {
    pub address: u8,
    pub endpoint: u8,
    pub packet: u16,
    pub speed: Speed,
    pub bulk: bool,
    pub is_in: bool,
    pub pid: u32,
    /// Bytes; from a device whole packets.
    pub len: usize,
    /// Where they lie, as the controller sees it; a multiple of 4.
    pub bus: u32,
    /// Ask first whether there is room (high speed, to a device that had none the last time).
    pub ping: bool,
}

/// How a channel came to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rest {
    /// All was carried, or a short packet ended it.
    Done {
        /// Bytes that were asked for and did not come.
        left: usize,
        /// What the endpoint's next packet bears.
        pid: u32,
        /// The device has no room for the next packet yet.
        full: bool,
    },
    /// To be tried again: the wire failed once.
    Again {
        /// What the endpoint's next packet bears.
        pid: u32,
    },
    /// It is of no use.
    Failed(UsbError),
}

/// A channel's registers.
pub(super) struct Channel<'a, R> {
    regs: &'a R,
    base: usize,
}

impl<'a, R: Registers> Channel<'a, R> {
    pub fn new(regs: &'a R, number: usize) -> Self {
        Channel { regs, base: number * CHANNEL_BYTES }
    }

    /// Starts; what was there before must be at rest. In an emulator it may be done when this returns.
    pub fn arm(&self, t: &Transfer) {
        let packets = t.len.div_ceil(t.packet.into()).max(1) as u32;
        let ping = if t.ping { HCTSIZ_PING } else { 0 };
        self.write(HCINT, HCINT_ALL);
        self.write(HCSPLT, 0);
        self.write(HCTSIZ, t.len as u32 | packets << HCTSIZ_PACKETS_SHIFT | t.pid << HCTSIZ_PID_SHIFT | ping);
        self.write(HCDMA, t.bus);
        let mut char = u32::from(t.packet) | u32::from(t.endpoint) << HCCHAR_ENDPOINT_SHIFT;
        char |= u32::from(t.address) << HCCHAR_ADDRESS_SHIFT | HCCHAR_ONE_A_FRAME;
        for (bit, set) in
            [(HCCHAR_IN, t.is_in), (HCCHAR_BULK, t.bulk), (HCCHAR_LOW_SPEED, t.speed == Speed::Low)]
        {
            char |= if set { bit } else { 0 };
        }
        self.write(HCCHAR, char | HCCHAR_ENABLE);
    }

    /// How it came to rest; none while it has not.
    pub fn rest(&self) -> Option<Rest> {
        let interrupts = self.read(HCINT);
        if interrupts & HCINT_HALTED == 0 {
            return None;
        }
        let has = |bits: u32| interrupts & bits != 0;
        // Read now: only a channel at rest has them right.
        let size = self.read(HCTSIZ);
        let (left, pid) = ((size & HCTSIZ_BYTES) as usize, size >> HCTSIZ_PID_SHIFT & 3);
        Some(if has(HCINT_COMPLETE) {
            Rest::Done { left, pid, full: has(HCINT_NYET) }
        } else if has(HCINT_STALL) {
            Rest::Failed(UsbError::Stall)
        } else if has(HCINT_AHB | HCINT_BABBLE) {
            Rest::Failed(UsbError::Broken)
        } else {
            Rest::Again { pid } // a transaction error, a wrong toggle, a frame's end, or nothing that is told
        })
    }

    /// Clears what made it rest, and with it its interrupt.
    pub fn clear(&self) {
        self.write(HCINT, HCINT_ALL);
    }

    /// Whether it carries something.
    pub fn is_armed(&self) -> bool {
        self.read(HCCHAR) & HCCHAR_ENABLE != 0
    }

    /// Tells it to stop; it rests soon.
    pub fn stop(&self) {
        self.regs.modify(self.base + HCCHAR, |c| c | HCCHAR_ENABLE | HCCHAR_DISABLE);
    }

    /// Lets its rest raise the controller's interrupt.
    pub fn unmask(&self) {
        self.write(HCINTMSK, HCINT_HALTED);
    }

    fn read(&self, at: usize) -> u32 {
        self.regs.read(self.base + at)
    }

    fn write(&self, at: usize, value: u32) {
        self.regs.write(self.base + at, value);
    }
}
