//! A network of cables in memory, in a time of its own: what is sent arrives a little later, or not at all, or twice.

use dartsync_hal::clock::Clock;
use dartsync_hal::net_smoltcp::{Address, Config, Host, Memory, NetSmoltcp, Notice, Place};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How long a frame is under way.
const DELAY_US: u64 = 50;
/// Frames that a device holds; more are lost.
const QUEUE: usize = 256;

/// What happens to frames, each in so many of a thousand.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    /// Late enough to come behind those sent after them.
    pub late: u64,
}

/// The cables, and the time in which all of it happens.
#[derive(Clone)]
pub struct Wire(Rc<Inside>);

/// Frames by when they arrive.
type Queue = BTreeMap<(u64, u64), Vec<u8>>;

struct Inside {
    now: Cell<u64>,
    random: Cell<u64>,
    faults: Cell<Faults>,
    ports: RefCell<Vec<Queue>>,
    count: Cell<u64>,
}

impl Wire {
    pub fn new(seed: u64) -> Wire {
        Wire(Rc::new(Inside {
            now: Cell::new(1_000_000),
            random: Cell::new(seed | 1),
            faults: Cell::default(),
            ports: RefCell::default(),
            count: Cell::new(0),
        }))
    }
    pub fn with(self, faults: Faults) -> Wire {
        self.0.faults.set(faults);
        self
    }
    /// A number below `n`.
    pub fn random(&self, n: u64) -> u64 {
        let mut x = self.0.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.random.set(x);
        (x >> 11) % n
    }
    pub fn advance(&self, us: u64) {
        self.0.now.set(self.0.now.get() + us);
    }
    /// A plug for another device.
    pub fn plug(&self) -> Plug {
        let mut ports = self.0.ports.borrow_mut();
        ports.push(BTreeMap::new());
        Plug { wire: self.clone(), port: ports.len() - 1, stuck: Rc::default() }
    }
    fn send(&self, from: usize, frame: Vec<u8>) {
        let faults = self.0.faults.get();
        let count = self.0.ports.borrow().len();
        for to in (0..count).filter(|to| *to != from) {
            if self.random(1000) < faults.lost {
                continue;
            }
            let copies = if self.random(1000) < faults.doubled { 2 } else { 1 };
            for _ in 0..copies {
                let late = if self.random(1000) < faults.late { self.random(3000) } else { 0 };
                self.0.count.set(self.0.count.get() + 1);
                let key = (self.0.now.get() + DELAY_US + late, self.0.count.get());
                let mut ports = self.0.ports.borrow_mut();
                if ports[to].len() < QUEUE {
                    ports[to].insert(key, frame.clone());
                }
            }
        }
    }
}

impl Clock for Wire {
    fn now_us(&self) -> u64 {
        self.0.now.get()
    }
    fn wall_us(&self) -> u64 {
        0
    }
}

/// One end of the cables: a device, and a way to speak and listen frame by frame.
#[derive(Clone)]
pub struct Plug {
    wire: Wire,
    port: usize,
    /// The device takes nothing to send.
    pub stuck: Rc<Cell<bool>>,
}

impl Plug {
    pub fn send(&self, frame: &[u8]) {
        self.wire.send(self.port, frame.to_vec());
    }
    /// When the next frame arrives here.
    fn next(&self) -> Option<u64> {
        self.wire.0.ports.borrow()[self.port].keys().next().map(|k| k.0)
    }
    /// The next frame that has arrived.
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut ports = self.wire.0.ports.borrow_mut();
        let first = ports[self.port].first_entry().filter(|e| e.key().0 <= self.wire.now_us())?;
        Some(first.remove())
    }
}

pub struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for &mut Plug {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let r = f(&mut frame);
        self.send(&frame);
        r
    }
}

impl Device for Plug {
    type RxToken<'a> = Frame;
    type TxToken<'a> = &'a mut Plug;

    fn receive(&mut self, _: Instant) -> Option<(Frame, &mut Plug)> {
        Some((Frame(self.take()?), self))
    }
    fn transmit(&mut self, _: Instant) -> Option<&mut Plug> {
        (!self.stuck.get()).then_some(self)
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        (c.medium, c.max_transmission_unit) = (Medium::Ethernet, 1514);
        c.checksum.ipv4 = Checksum::Both;
        c
    }
}

/// A board of this world.
pub struct Board {
    pub wire: Wire,
    plug: Plug,
    pub notices: Rc<RefCell<Vec<Notice>>>,
    pub carrier: Rc<Cell<bool>>,
    /// How often it slept.
    pub naps: Rc<Cell<u64>>,
}

/// How long a board works between two looks at its clock.
const WORK_US: u64 = 5;

impl Clock for Board {
    fn now_us(&self) -> u64 {
        self.wire.advance(WORK_US);
        self.wire.now_us()
    }
    fn wall_us(&self) -> u64 {
        0
    }
}

impl Host for Board {
    fn sleep(&mut self, until_us: u64) {
        let until = until_us.min(self.plug.next().unwrap_or(u64::MAX));
        assert!(until < u64::MAX, "nobody would ever wake this board");
        self.naps.set(self.naps.get() + 1);
        self.wire.0.now.set(until.max(self.wire.now_us()));
    }
    fn carrier(&mut self) -> bool {
        self.carrier.get()
    }
    fn notice(&mut self, notice: Notice) {
        self.notices.borrow_mut().push(notice);
    }
}

pub type Node = NetSmoltcp<'static, Plug, Board>;

pub fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0xaa, 0xbb, n]
}

pub fn fixed(n: u8) -> Address {
    Address::Fixed(Place { ip: [10, 1, 1, n], prefix: 24, gateway: None })
}

pub fn config(n: u8) -> Config<'static> {
    Config { mac: mac(n), seed: u64::from(n), port: 7420, second: None, address: fixed(n), service: None }
}

/// A machine on the wire, of so many sockets.
pub fn node<const N: usize>(wire: &Wire, config: Config<'static>) -> Node {
    let plug = wire.plug();
    let carrier = Rc::new(Cell::new(true));
    let (notices, naps) = (Rc::default(), Rc::default());
    let board = Board { wire: wire.clone(), plug: plug.clone(), notices, carrier, naps };
    NetSmoltcp::new(Box::leak(Box::<Memory<N>>::default()), config, plug, board)
}
