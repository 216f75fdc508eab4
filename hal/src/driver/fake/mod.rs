//! What the drivers' tests stand on: a clock that runs by being read, memory that two sides share, and (each in a file
//! of its own) a USB controller at the level of its registers and the devices that hang from it.

pub mod core;
pub mod device;
pub mod hub;
pub mod lan;

use super::regs::Dma;
use crate::clock::Clock;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A clock that goes on by ten microseconds whenever it is read. Clones are one clock.
#[derive(Clone, Default)]
pub struct FakeClock(Rc<Cell<u64>>);

impl FakeClock {
    /// The time; it does not go on by this.
    pub fn peek(&self) -> u64 {
        self.0.get()
    }

    /// Lets time pass.
    pub fn pass(&self, us: u64) {
        self.0.set(self.0.get() + us);
    }
}

impl Clock for FakeClock {
    fn now_us(&self) -> u64 {
        self.pass(10);
        self.0.get()
    }
    fn wall_us(&self) -> u64 {
        0
    }
}

/// Memory that a driver and a fake device share. Clones are one memory.
#[derive(Clone)]
pub struct FakeMemory {
    bytes: Rc<RefCell<Vec<u8>>>,
    bus: u32,
}

impl FakeMemory {
    /// So many bytes, seen by the device at `bus`.
    pub fn new(len: usize, bus: u32) -> Self {
        FakeMemory { bytes: Rc::new(RefCell::new(vec![0; len])), bus }
    }

    /// What the device reads at a bus address.
    pub fn device_load(&self, bus: u32, out: &mut [u8]) {
        self.load((bus - self.bus) as usize, out);
    }

    /// What the device writes at a bus address.
    pub fn device_store(&self, bus: u32, bytes: &[u8]) {
        let at = (bus - self.bus) as usize;
        self.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// One word, as the device reads it.
    pub fn word(&self, bus: u32) -> u32 {
        let mut bytes = [0; 4];
        self.device_load(bus, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// One word, as the device writes it.
    pub fn set_word(&self, bus: u32, to: u32) {
        self.device_store(bus, &to.to_le_bytes());
    }
}

impl Dma for FakeMemory {
    fn len(&self) -> usize {
        self.bytes.borrow().len()
    }
    fn bus(&self, at: usize) -> u32 {
        self.bus + at as u32
    }
    fn load(&self, at: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.bytes.borrow()[at..at + out.len()]);
    }
    fn store(&mut self, at: usize, bytes: &[u8]) {
        self.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
