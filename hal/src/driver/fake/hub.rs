//! A hub as the wire sees it.

use super::device::{Control, FakeDevice, Plugged};
use std::cell::RefCell;
use std::rc::Rc;

const CONNECTED: u32 = 1;
const ENABLED: u32 = 1 << 1;
const POWERED: u32 = 1 << 8;
const CHANGED: u32 = 1 << 16;
const RESET_DONE: u32 = 1 << 20;

/// A hub.
pub struct HubDevice {
    control: Control,
    ports: Vec<(u32, Option<Plugged>)>,
    /// Added to a port's state: 1 << 9 is low speed, 1 << 10 high speed.
    pub speed: Vec<u32>,
    /// How often a port was reset.
    pub resets: u32,
}

impl HubDevice {
    /// A hub with so many ports.
    pub fn new(ports: usize) -> Rc<RefCell<Self>> {
        let (ports, speed) = ((0..ports).map(|_| (0, None)).collect(), vec![0; ports]);
        Rc::new(RefCell::new(HubDevice { control: Control::new(64), ports, speed, resets: 0 }))
    }

    /// Plugs something into a port, counted from 1.
    pub fn plug(&mut self, port: usize, device: Plugged) {
        let (state, there) = &mut self.ports[port - 1];
        *state |= CONNECTED | CHANGED;
        *there = Some(device);
    }

    /// Takes it out.
    pub fn unplug(&mut self, port: usize) {
        let (state, there) = &mut self.ports[port - 1];
        *state = *state & !(CONNECTED | ENABLED) | CHANGED;
        *there = None;
    }

    /// Whether a port is enabled.
    pub fn is_enabled(&self, port: usize) -> bool {
        self.ports[port - 1].0 & ENABLED != 0
    }
}

impl FakeDevice for HubDevice {
    fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    fn reset(&mut self) {
        self.control = Control::new(64);
        for (state, _) in &mut self.ports {
            *state &= !(ENABLED | POWERED);
        }
    }

    fn request(&mut self, kind: u8, request: u8, value: u16, index: u16, _: &[u8]) -> Option<Vec<u8>> {
        match (kind, request, value) {
            (0x80, 6, 0x0100) => Some(vec![18, 1, 0, 2, 9, 0, 0, 64, 0x24, 4, 0x14, 0x95, 0, 0, 0, 0, 0, 1]),
            (0x80, 6, 0x0200) => {
                Some(vec![9, 2, 25, 0, 1, 1, 0, 0xE0, 0, 9, 4, 0, 0, 1, 9, 0, 0, 0, 7, 5, 0x81, 3, 1, 0, 12])
            }
            (0xA0, 6, 0x2900) => Some(vec![9, 0x29, self.ports.len() as u8, 0, 0, 50, 0, 0, 0]),
            (0, 9, 1) => Some(Vec::new()),
            (0xA3, 0, 0) => {
                let at = usize::from(index) - 1;
                let (state, _) = self.ports.get(at)?;
                // Without power nothing is seen.
                let seen = if state & POWERED != 0 { *state } else { 0 };
                let speed = if seen & ENABLED != 0 { self.speed[at] } else { 0 };
                Some((seen | speed).to_le_bytes().to_vec())
            }
            (0x23, how, feature) => {
                let (state, there) = self.ports.get_mut(usize::from(index) - 1)?;
                match (how, feature) {
                    (3, 8) => *state |= POWERED,
                    (3, 4) => {
                        self.resets += 1;
                        if let Some(device) = there {
                            device.borrow_mut().reset();
                            *state |= ENABLED | RESET_DONE;
                        }
                    }
                    (1, 1) => *state &= !ENABLED,
                    (1, change @ 16..=20) => *state &= !(1 << change),
                    _ => return None,
                }
                Some(Vec::new())
            }
            _ => None,
        }
    }

    fn behind(&self, address: u8) -> Option<Plugged> {
        let enabled = self.ports.iter().filter(|(state, _)| state & ENABLED != 0);
        enabled.filter_map(|(_, there)| there.as_ref()).find_map(|device| find(device, address))
    }
}

/// The device with an address, this one or one behind it.
pub fn find(device: &Plugged, address: u8) -> Option<Plugged> {
    let own = device.borrow_mut().control().address;
    if own == address { Some(device.clone()) } else { device.borrow().behind(address) }
}
