//! A DWC2 at the level of its registers, as hardware is or as QEMU has it: the driver must work with both alike.

use super::device::{self, Answer, Plugged};
use super::hub::find;
use super::{FakeClock, FakeMemory};
use crate::clock::Clock;
use crate::driver::regs::Registers;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How the controller behaves where hardware and emulator differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Toggles are kept and checked, a stopped channel stops, nobody at an address is an error.
    Hardware,
    /// Toggles are ignored and never updated, a stopped channel that was told "not yet" goes on, nobody at an address
    /// is silence.
    Qemu,
}

const HPRT0: usize = 0x440;
const HAINTMSK: usize = 0x418;
const CHANNELS: usize = 8;

#[derive(Default, Clone)]
struct Channel {
    char: u32,
    int: u32,
    mask: u32,
    size: u32,
    dma: u32,
    /// There is something to be tried again.
    pending: bool,
}

/// The controller; clones are one.
#[derive(Clone)]
pub struct FakeCore(Rc<RefCell<Inner>>);

struct Inner {
    manner: Manner,
    memory: FakeMemory,
    clock: FakeClock,
    registers: BTreeMap<usize, u32>,
    port: u32,
    channels: [Channel; CHANNELS],
    root: Option<Plugged>,
    /// Speed of what is plugged in, as the port shows it.
    speed: u32,
    /// What the endpoints expect next, by address, number and direction.
    toggles: BTreeMap<(u8, u8, bool), u32>,
}

impl FakeCore {
    /// A controller with nothing plugged in.
    pub fn new(manner: Manner, memory: FakeMemory, clock: FakeClock) -> Self {
        FakeCore(Rc::new(RefCell::new(Inner {
            manner,
            memory,
            clock,
            registers: BTreeMap::from([(0x040, 0x4F54_294A), (0x010, 1 << 31), (0x00C, 0x0050_0318)]),
            port: 0,
            channels: Default::default(),
            root: None,
            speed: 1,
            toggles: BTreeMap::new(),
        })))
    }

    /// Plugs a device into the root port. `speed`: 0 high, 1 full, 2 low.
    pub fn plug(&self, device: Plugged, speed: u32) {
        let mut core = self.0.borrow_mut();
        (core.root, core.speed) = (Some(device), speed);
        core.port |= 0b11;
    }

    /// Takes it out.
    pub fn unplug(&self) {
        let mut core = self.0.borrow_mut();
        core.root = None;
        core.port = core.port & !0b101 | 0b1010;
    }

    /// Whether the interrupt line is high.
    pub fn interrupts(&self) -> bool {
        let core = self.0.borrow();
        let register = |at| core.registers.get(&at).copied().unwrap_or(0);
        let enabled = register(0x008) & 1 != 0 && register(0x018) & 1 << 25 != 0;
        let of_channel = |n: usize| {
            let c = &core.channels[n];
            register(HAINTMSK) & 1 << n != 0 && c.int & c.mask != 0
        };
        enabled && (0..CHANNELS).any(of_channel)
    }

    /// What was written to a register last.
    pub fn register(&self, at: usize) -> u32 {
        self.0.borrow().registers.get(&at).copied().unwrap_or(0)
    }
}

impl Registers for FakeCore {
    fn read(&self, at: usize) -> u32 {
        let mut core = self.0.borrow_mut();
        core.clock.now_us(); // a look takes time
        core.retry();
        match at {
            HPRT0 => core.port,
            0x500..0x600 => {
                let c = &core.channels[(at - 0x500) / 0x20];
                [c.char, 0, c.int, c.mask, c.size, c.dma, 0, 0][at / 4 % 8]
            }
            // Resets and flushes are done when one looks.
            0x010 => core.registers[&at] & 1 << 31,
            _ => core.registers.get(&at).copied().unwrap_or(0),
        }
    }

    fn write(&self, at: usize, value: u32) {
        let mut core = self.0.borrow_mut();
        match at {
            HPRT0 => core.write_port(value),
            0x500..0x600 => core.write_channel((at - 0x500) / 0x20, at / 4 % 8, value),
            0x010 => drop(core.registers.insert(at, value | 1 << 31)),
            _ => drop(core.registers.insert(at, value)),
        }
    }
}

impl Inner {
    fn write_port(&mut self, value: u32) {
        let was_reset = self.port & 1 << 8 != 0;
        self.port &= !(value & 0b10_1110); // writing 1 clears; to the enable bit it disables
        self.port = self.port & !(1 << 8 | 1 << 12) | value & (1 << 8 | 1 << 12);
        if was_reset && value & 1 << 8 == 0 && self.port & 1 << 12 != 0 {
            if let Some(device) = &self.root {
                device.borrow_mut().reset();
                self.port = self.port & !(3 << 17) | 0b1100 | self.speed << 17;
            }
            self.toggles.clear();
        }
    }

    fn write_channel(&mut self, n: usize, register: usize, value: u32) {
        let c = &mut self.channels[n];
        match register {
            0 => {
                const ENABLE: u32 = 1 << 31;
                const DISABLE: u32 = 1 << 30;
                if value & DISABLE != 0 {
                    if c.char & ENABLE != 0 {
                        c.int |= 2;
                    }
                    c.char = value & !(ENABLE | DISABLE);
                    c.pending &= self.manner == Manner::Qemu;
                } else if value & ENABLE != 0 {
                    c.char = value;
                    c.pending = true;
                    self.carry(n);
                }
            }
            2 => c.int &= !value,
            3 => c.mask = value,
            4 => c.size = value,
            5 => {
                assert!(value.is_multiple_of(4), "buffers begin at words");
                c.dma = value;
            }
            _ => {}
        }
    }

    fn retry(&mut self) {
        for n in 0..CHANNELS {
            if self.channels[n].pending {
                self.carry(n);
            }
        }
    }

    fn end(&mut self, n: usize, interrupts: u32) {
        let c = &mut self.channels[n];
        c.int |= interrupts | 2;
        c.char &= !(1 << 31);
        c.pending = false;
    }

    /// Carries packets until the transfer ends or the device says "not yet".
    fn carry(&mut self, n: usize) {
        let c = self.channels[n].clone();
        let (packet, endpoint) = ((c.char & 0x7FF) as usize, (c.char >> 11 & 15) as u8);
        let (is_in, address) = (c.char & 1 << 15 != 0, (c.char >> 22 & 0x7F) as u8);
        let (left, pid) = ((c.size & 0x7_FFFF) as usize, c.size >> 29 & 3);
        let enabled = self.port & 0b100 != 0;
        let found = self.root.as_ref().filter(|_| enabled).and_then(|root| find(root, address));
        let Some(device) = found else {
            if self.manner == Manner::Hardware {
                self.end(n, 1 << 7);
            }
            self.channels[n].pending &= self.manner == Manner::Hardware;
            return;
        };
        if self.wrong_toggle((address, endpoint, is_in), pid, n) {
            return;
        }
        let len = packet.min(left);
        let mut device = device.borrow_mut();
        let mut data = vec![0; len];
        if !is_in {
            self.memory.device_load(c.dma, &mut data);
        }
        let answer = match (endpoint, pid, is_in) {
            (0, 3, _) => device::setup(&mut *device, &data),
            (0, _, true) => device::packet(&mut *device, None),
            (0, _, false) => device::packet(&mut *device, Some(&data)),
            (_, _, true) => device.input(endpoint, len),
            (_, _, false) => device.output(endpoint, &data),
        };
        drop(device);
        let carried = match answer {
            Answer::Nak => {
                self.channels[n].int |= 1 << 4;
                return;
            }
            Answer::Stall => return self.end(n, 1 << 3),
            Answer::Ack => len,
            Answer::Data(bytes) => {
                assert!(bytes.len() <= len, "a packet that is too long");
                self.memory.device_store(c.dma, &bytes);
                bytes.len()
            }
        };
        self.went((address, endpoint, is_in), n, carried, packet);
    }

    /// A packet went: on to the next one, or to the end.
    fn went(&mut self, end: (u8, u8, bool), n: usize, carried: usize, packet: usize) {
        let c = &mut self.channels[n];
        let packets = (c.size >> 19 & 0x3FF).saturating_sub(1);
        let left = (c.size & 0x7_FFFF) - carried as u32;
        let mut pid = c.size >> 29 & 3;
        if self.manner == Manner::Hardware {
            pid = if pid == 0 || pid == 3 { 2 } else { 0 };
            if end.1 != 0 {
                self.toggles.insert(end, pid);
            }
        }
        c.size = left | packets << 19 | pid << 29;
        c.dma += carried as u32;
        if carried < packet || packets == 0 || left == 0 {
            self.end(n, 1);
        } else {
            self.carry(n);
        }
    }

    /// Hardware drops a packet that bears the wrong toggle: the transfer would be lost.
    fn wrong_toggle(&mut self, end: (u8, u8, bool), pid: u32, n: usize) -> bool {
        let wrong = self.manner == Manner::Hardware
            && end.1 != 0
            && self.toggles.get(&end).copied().unwrap_or(0) != pid;
        if wrong {
            self.end(n, 1 << 10);
        }
        wrong
    }
}
