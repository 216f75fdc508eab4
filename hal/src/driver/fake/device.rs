//! Devices as the wire sees them: tokens in, answers out. Here: what all have, and an adapter of class CDC-ECM.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// What a device answers to a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Data to the host; empty: a packet without data.
    Data(Vec<u8>),
    /// Data from the host are taken.
    Ack,
    /// Not yet.
    Nak,
    /// Refused.
    Stall,
}

/// A device that is plugged in somewhere.
pub type Plugged = Rc<RefCell<dyn FakeDevice>>;

/// A device. Packets of endpoint 0 are carried by [`Control`]; a device sees requests.
pub trait FakeDevice {
    /// What all devices have.
    fn control(&mut self) -> &mut Control;
    /// A request is complete: `data` came with it, or the answer is to be given. None: it is refused.
    fn request(&mut self, kind: u8, request: u8, value: u16, index: u16, data: &[u8]) -> Option<Vec<u8>>;
    /// A packet from the host to an endpoint other than 0.
    fn output(&mut self, endpoint: u8, data: &[u8]) -> Answer {
        let _ = (endpoint, data);
        Answer::Stall
    }
    /// The host asks an endpoint other than 0.
    fn input(&mut self, endpoint: u8, most: usize) -> Answer {
        let _ = (endpoint, most);
        Answer::Stall
    }
    /// It is reset.
    fn reset(&mut self) {
        let packet = self.control().packet;
        *self.control() = Control::new(packet);
    }
    /// The device with an address behind this one, if this is a hub.
    fn behind(&self, address: u8) -> Option<Plugged> {
        let _ = address;
        None
    }
}

/// Endpoint 0.
pub struct Control {
    /// The device's address.
    pub address: u8,
    /// An address that counts when the transfer is complete.
    new_address: Option<u8>,
    packet: usize,
    setup: [u8; 8],
    data: Vec<u8>,
    stalled: bool,
    /// Answers "not yet" so often before each packet.
    pub slow: u32,
    waited: u32,
}

impl Control {
    /// With packets of so many bytes.
    pub fn new(packet: usize) -> Self {
        Control {
            address: 0,
            new_address: None,
            packet,
            setup: [0; 8],
            data: Vec::new(),
            stalled: false,
            slow: 0,
            waited: 0,
        }
    }
}

/// The eight bytes of a transfer's first stage.
pub fn setup(device: &mut dyn FakeDevice, bytes: &[u8]) -> Answer {
    let setup: [u8; 8] = bytes.try_into().expect("a setup packet has eight bytes");
    let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
    (device.control().setup, device.control().stalled) = (setup, false);
    device.control().data.clear();
    if setup[0] & 0x80 != 0 || length == 0 {
        let [_, _, v, w, i, j, ..] = setup;
        let (value, index) = (u16::from_le_bytes([v, w]), u16::from_le_bytes([i, j]));
        if (setup[0], setup[1]) == (0, 5) {
            device.control().new_address = Some(setup[2]);
        } else {
            match device.request(setup[0], setup[1], value, index, &[]) {
                Some(mut data) => {
                    data.truncate(length);
                    device.control().data = data;
                }
                None => device.control().stalled = true,
            }
        }
    }
    Answer::Ack
}

/// A packet of a later stage, to the host (none) or from it.
pub fn packet(device: &mut dyn FakeDevice, from_host: Option<&[u8]>) -> Answer {
    let c = device.control();
    if c.waited < c.slow {
        c.waited += 1;
        return Answer::Nak;
    }
    c.waited = 0;
    if c.stalled {
        return Answer::Stall;
    }
    let to_host = c.setup[0] & 0x80 != 0;
    match from_host {
        None if to_host => {
            let n = c.packet.min(c.data.len());
            Answer::Data(c.data.drain(..n).collect())
        }
        None => {
            if let Some(address) = c.new_address.take() {
                c.address = address;
            }
            Answer::Data(Vec::new())
        }
        Some([]) if to_host => Answer::Ack,
        Some(data) => {
            c.data.extend(data);
            let (s, all) = (c.setup, c.data.clone());
            if all.len() == usize::from(u16::from_le_bytes([s[6], s[7]])) {
                let (value, index) = (u16::from_le_bytes([s[2], s[3]]), u16::from_le_bytes([s[4], s[5]]));
                let taken = device.request(s[0], s[1], value, index, &all).is_some();
                device.control().data.clear();
                device.control().stalled = !taken;
            }
            Answer::Ack
        }
    }
}

/// RNDIS first, then CDC-ECM, as QEMU's `usb-net` has them.
pub const CDC_CONFIGURATIONS: [&[u8]; 2] = [
    &[
        9, 2, 67, 0, 2, 2, 7, 0xC0, 50, // configuration 2
        9, 4, 0, 0, 1, 2, 2, 0xFF, 0, // interface 0: RNDIS
        5, 0x24, 0, 0x10, 1, 5, 0x24, 1, 0, 1, 4, 0x24, 2, 0, 5, 0x24, 6, 0, 1, //
        7, 5, 0x81, 3, 16, 0, 9, // its notices
        9, 4, 1, 0, 2, 10, 0, 0, 0, // interface 1: data
        7, 5, 0x82, 2, 64, 0, 0, 7, 5, 2, 2, 64, 0, 0, //
    ],
    &[
        9, 2, 80, 0, 2, 1, 7, 0xC0, 50, // configuration 1
        9, 4, 0, 0, 1, 2, 6, 0, 0, // interface 0: Ethernet
        5, 0x24, 0, 0x10, 1, 5, 0x24, 6, 0, 1, // union: data in interface 1
        13, 0x24, 0x0F, 8, 0, 0, 0, 0, 0xEA, 5, 0, 0, 0, // MAC in string 8
        7, 5, 0x81, 3, 16, 0, 9, // its notices
        9, 4, 1, 0, 0, 10, 0, 0, 0, // interface 1, setting 0: nothing
        9, 4, 1, 1, 2, 10, 0, 0, 0, // setting 1: frames
        7, 5, 0x82, 2, 64, 0, 0, 7, 5, 2, 2, 64, 0, 0, //
    ],
];

/// An adapter that takes frames and gives those it was given.
pub struct CdcDevice {
    control: Control,
    /// The configuration, the data interface's setting and the filter that were chosen.
    pub chosen: (u8, u8, Option<u16>),
    /// Whether it knows packet filters.
    pub filters: bool,
    /// Whole frames that came from the host.
    pub sent: Vec<Vec<u8>>,
    /// What has come of the next one.
    partial: Vec<u8>,
    /// Frames that go to the host.
    pub to_host: VecDeque<Vec<u8>>,
    /// Bytes of the front one that have gone.
    gone: usize,
    /// Answers "not yet" to so many packets out.
    pub busy: u32,
    /// Takes nothing and gives nothing any more.
    pub hung: bool,
}

impl CdcDevice {
    /// A fresh one, with its MAC in string 8.
    pub fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(CdcDevice {
            control: Control::new(64),
            chosen: (0, 0, None),
            filters: false,
            sent: Vec::new(),
            partial: Vec::new(),
            to_host: VecDeque::new(),
            gone: 0,
            busy: 0,
            hung: false,
        }))
    }
}

/// The MAC of [`CdcDevice`].
pub const CDC_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

impl FakeDevice for CdcDevice {
    fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    fn reset(&mut self) {
        self.control = Control::new(64);
        self.chosen = (0, 0, None);
        self.partial.clear();
        self.gone = 0;
    }

    fn request(&mut self, kind: u8, request: u8, value: u16, index: u16, _: &[u8]) -> Option<Vec<u8>> {
        match (kind, request, value >> 8, value as u8) {
            (0x80, 6, 1, 0) => Some(vec![18, 1, 0, 2, 2, 0, 0, 64, 0x25, 5, 0xA2, 0xA4, 0, 0, 1, 2, 10, 2]),
            (0x80, 6, 2, n) => CDC_CONFIGURATIONS.get(usize::from(n)).map(|c| c.to_vec()),
            (0x80, 6, 3, 8) if index == 0x0409 => {
                let text = "525400123456".bytes().flat_map(|b| [b, 0]);
                Some([26, 3].into_iter().chain(text).collect())
            }
            (0, 9, 0, n @ 1..=2) => {
                self.chosen.0 = n;
                Some(Vec::new())
            }
            (1, 11, 0, setting @ 0..=1) if index == 1 && self.chosen.0 == 1 => {
                self.chosen.1 = setting;
                Some(Vec::new())
            }
            (0x21, 0x43, ..) if self.filters => {
                self.chosen.2 = Some(value);
                Some(Vec::new())
            }
            _ => None,
        }
    }

    fn output(&mut self, endpoint: u8, data: &[u8]) -> Answer {
        if (endpoint, self.chosen.0, self.chosen.1) != (2, 1, 1) {
            return Answer::Stall;
        }
        if self.hung || self.busy > 0 {
            self.busy = self.busy.saturating_sub(1);
            return Answer::Nak;
        }
        self.partial.extend(data);
        if data.len() < 64 {
            self.sent.push(std::mem::take(&mut self.partial));
        }
        Answer::Ack
    }

    fn input(&mut self, endpoint: u8, most: usize) -> Answer {
        if (endpoint, self.chosen.0, self.chosen.1) != (2, 1, 1) {
            return Answer::Stall;
        }
        let Some(frame) = self.to_host.front().filter(|_| !self.hung) else { return Answer::Nak };
        let piece: Vec<u8> = frame[self.gone..].iter().copied().take(most).collect();
        self.gone += piece.len();
        if piece.len() < 64 {
            self.to_host.pop_front();
            self.gone = 0;
        }
        Answer::Data(piece)
    }
}
