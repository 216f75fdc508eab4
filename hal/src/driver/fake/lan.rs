//! The Ethernet part of a LAN9514 or LAN7800 as the wire sees it: registers by vendor requests, a PHY behind two of them, frames with
//! their headers.

use super::device::{Answer, Control, FakeDevice};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// The chip.
pub struct LanDevice {
    control: Control,
    product: u16,
    /// Its registers, by offset.
    pub registers: BTreeMap<u16, u32>,
    /// Its PHY's registers.
    pub phy: [u16; 32],
    /// Every write, in order.
    pub written: Vec<(u16, u32)>,
    /// Whether a cable is in.
    pub cable: bool,
    /// Transfers from the host, each whole.
    pub sent: Vec<Vec<u8>>,
    partial: Vec<u8>,
    /// Transfers to the host.
    pub to_host: VecDeque<Vec<u8>>,
    gone: usize,
}

impl LanDevice {
    /// A fresh LAN9514.
    pub fn new() -> Rc<RefCell<Self>> {
        LanDevice::of(0xEC00, [(0x14, 0x0600)])
    }

    /// A fresh LAN7800, with what must not stay as it is.
    pub fn new_7800() -> Rc<RefCell<Self>> {
        LanDevice::of(0x7800, [(0x10, 1 << 4), (0x100, 1 << 17), (0x104, 0x3FFF << 16)])
    }

    fn of<const N: usize>(product: u16, registers: [(u16, u32); N]) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(LanDevice {
            control: Control::new(64),
            product,
            registers: BTreeMap::from(registers),
            phy: [0; 32],
            written: Vec::new(),
            cable: false,
            sent: Vec::new(),
            partial: Vec::new(),
            to_host: VecDeque::new(),
            gone: 0,
        }))
    }

    fn write(&mut self, at: u16, value: u32) {
        self.written.push((at, value));
        let kept = match (self.product, at) {
            (0xEC00, 0x14) => value & !(1 << 3), // a reset is done at once
            (0xEC00, 0x20) => value & !(1 << 4), // so is the PHY's
            (0xEC00, 0x114) | (0x7800, 0x120) => return self.mii(at, value),
            (0x7800, 0x10) => value & !(1 << 1),
            (0x7800, 0x14) => value & !(1 << 4) | 1 << 7, // and it is ready
            _ => value,
        };
        self.registers.insert(at, kept);
    }

    fn mii(&mut self, at: u16, value: u32) {
        assert_eq!(value >> 11 & 31, 1, "the PHY's address");
        assert_eq!(value & 1, 1, "busy begins it");
        let register = (value >> 6 & 31) as usize;
        if value & 2 != 0 {
            self.phy[register] = self.registers[&(at + 4)] as u16 & !(1 << 15);
        } else {
            let link = u16::from(self.cable) << 2;
            let read = match register {
                1 => 0x7809 | link,
                5 => 0x41E1,
                n => self.phy[n],
            };
            self.registers.insert(at + 4, read.into());
        }
        self.registers.insert(at, value & !1);
    }
}

impl FakeDevice for LanDevice {
    fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    fn request(&mut self, kind: u8, request: u8, value: u16, index: u16, data: &[u8]) -> Option<Vec<u8>> {
        match (kind, request, value) {
            (0x80, 6, 0x0100) => {
                let [low, high] = self.product.to_le_bytes();
                Some(vec![18, 1, 0, 2, 0xFF, 0, 1, 64, 0x24, 4, low, high, 0, 2, 0, 0, 0, 1])
            }
            (0x80, 6, 0x0200) => Some(vec![
                9, 2, 39, 0, 1, 1, 0, 0xE0, 1, 9, 4, 0, 0, 3, 0xFF, 0, 0xFF, 0, 7, 5, 0x81, 2, 0, 2, 0, 7, 5,
                2, 2, 0, 2, 0, 7, 5, 0x83, 3, 16, 0, 4,
            ]),
            (0, 9, 1) => Some(Vec::new()),
            (0x40, 0xA0, 0) => {
                self.write(index, u32::from_le_bytes(data.try_into().ok()?));
                Some(Vec::new())
            }
            (0xC0, 0xA1, 0) => Some(self.registers.get(&index).unwrap_or(&0).to_le_bytes().to_vec()),
            _ => None,
        }
    }

    fn output(&mut self, endpoint: u8, data: &[u8]) -> Answer {
        assert_eq!(endpoint, 2);
        self.partial.extend(data);
        if data.len() < 512 {
            self.sent.push(std::mem::take(&mut self.partial));
        }
        Answer::Ack
    }

    fn input(&mut self, endpoint: u8, most: usize) -> Answer {
        assert_eq!(endpoint, 1);
        let Some(whole) = self.to_host.front() else { return Answer::Nak };
        let piece: Vec<u8> = whole[self.gone..].iter().copied().take(most).collect();
        self.gone += piece.len();
        if piece.len() < 512 {
            self.to_host.pop_front();
            self.gone = 0;
        }
        Answer::Data(piece)
    }
}
