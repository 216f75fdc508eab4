//! [`Net`] over smoltcp: TCP links, DHCP, ping and mDNS where no operating system has a network. No heap; all memory
//! is lent.
//!
//! | file | what it holds |
//! |---|---|
//! | `memory` | the block of memory, and its size |
//! | `slots` | what becomes of the TCP sockets; links |
//! | `address` | a fixed address, or what a DHCP server lends |
//! | `mdns` | answers to who looks for the service |
//! | `ear` | notes what passes the device and the stack does not tell |
//!
//! # Use
//! A board has a [`Device`], and a [`Host`] for what else it offers. The memory's size is chosen by the sockets: one a
//! link, those in handshake among them, those of the second port, and [`OTHERS`].
//! ```ignore
//! static mut MEMORY: Memory<'static, { 89 + 4 + OTHERS }> = Memory::new();
//! let config = Config { mac, seed, port: 7420, second: Some((80, 4)), address: Address::Dhcp, service: None };
//! let mut net = NetSmoltcp::new(memory, config, device, host);
//! loop { net.wait(until)?; while let Some(event) = net.next_event() { … } }
//! ```
//! [`Net::wait`] sleeps by [`Host::sleep`] until something is due. Who has a loop of its own calls
//! [`poll`](NetSmoltcp::poll), takes the events, and sleeps until [`due`](NetSmoltcp::due).
//!
//! # Bounds
//! A frame that comes in is a bounded piece of work, and at most [`FRAMES`] of them pass between two looks at the
//! events. A caller that does not finish its handshake costs a socket for five seconds, or until the socket is needed;
//! strangers never take a socket from an open link. A link whose other end is gone is broken after 40 s.

mod address;
mod ear;
mod mdns;
mod memory;
mod slots;

pub use address::{Address, Place};
pub use mdns::Service;
pub use memory::{BUFFER, Memory, OTHERS, PER_SOCKET};
pub use slots::Link;

use crate::clock::Clock;
use crate::dns;
use crate::net::{Addr, Event, LinkKey, Net, NetError};
use address::Addressing;
use ear::{Ear, instant};
use mdns::{Responder, To};
use slots::Slots;
use smoltcp::iface::{self, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpEndpoint, Ipv4Address};

/// Frames taken in before the events are looked at again.
pub const FRAMES: usize = 64;
/// Rounds over all sockets to send what is due, each a frame a socket.
const ROUNDS: usize = 32;
/// What is due but cannot be sent, since the device is busy, is tried again after so long.
const BUSY_US: u64 = 500;
/// After somebody spoke of multicast groups an answer may be due at any time for so long; it is looked for so often.
const GROUPS_US: u64 = 30_000_000;
const GROUPS_TICK_US: u64 = 500_000;

/// What a network asks of the board, besides a device and the time.
pub trait Host: Clock {
    /// Sleeps until a frame has come in, one has gone out, or the clock reaches `until_us` (`u64::MAX` = never). May
    /// return early. A frame that came in since the device was asked last must end it: interrupts are to be pending
    /// rather than lost.
    fn sleep(&mut self, until_us: u64);
    /// Whether the cable is in. Where that is not known, it is.
    fn carrier(&mut self) -> bool {
        true
    }
    /// Something to tell people.
    fn notice(&mut self, notice: Notice) {
        let _ = notice;
    }
}

/// What people may want to know of a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The cable is in.
    Up,
    /// The cable is out.
    Down,
    /// This end has this address from now on.
    Address(Place),
    /// This end has no address any more; links are broken.
    NoAddress,
}

/// How a network is to be.
#[derive(Clone, Copy, Debug)]
pub struct Config<'m> {
    /// This end's hardware address: one of a single machine.
    pub mac: [u8; 6],
    /// Another one at each start: sequence numbers begin with it.
    pub seed: u64,
    /// Where links are accepted; not 0.
    pub port: u16,
    /// Another such port, not 0, and how many of the sockets are for it alone.
    pub second: Option<(u16, usize)>,
    /// Where the address comes from.
    pub address: Address,
    /// What is answered to who asks by mDNS who listens at `port`.
    pub service: Option<Service<'m>>,
}

/// TCP over a network device.
pub struct NetSmoltcp<'m, D, H> {
    iface: Interface,
    device: Ear<D>,
    host: H,
    sockets: SocketSet<'m>,
    slots: Slots<'m>,
    addressing: Addressing,
    mdns: Option<(SocketHandle, Responder<'m>)>,
    config: Config<'m>,
    up: bool,
    groups_until: u64,
    /// Something is left that could have been sent, had there been an end to it.
    more: bool,
}

impl<'m, D: Device, H: Host> NetSmoltcp<'m, D, H> {
    /// Listens over `device` with the sockets of `memory`. Panics where the configuration is nonsense: a hardware
    /// address of many, port 0, no socket left for `port`, or a fixed address that no machine can have.
    pub fn new<const N: usize>(
        memory: &'m mut Memory<'m, N>,
        config: Config<'m>,
        device: D,
        host: H,
    ) -> Self {
        let tcp = N - OTHERS;
        assert!(config.second.is_none_or(|s| s.1 < tcp && s.0 != config.port), "a port and sockets for each");
        assert!(tcp <= usize::from(u16::MAX), "link numbers have 16 bits");
        let mut parts = memory.parts();
        let mut device = Ear::new(device);
        let now = instant(host.now_us());
        let mut iface_config = iface::Config::new(HardwareAddress::Ethernet(EthernetAddress(config.mac)));
        iface_config.random_seed = config.seed;
        let mut iface = Interface::new(iface_config, &mut device, now);
        let mut sockets = SocketSet::new(parts.sockets);
        let [udp_in, udp_out] = halves(parts.buffers.next().expect("a buffer for each socket"));
        let mdns = config.service.map(|service| {
            let packets = [(parts.received, udp_in), (parts.sent, udp_out)];
            let [received, sent] = packets.map(|(m, b)| udp::PacketBuffer::new(m, b));
            let mut socket = udp::Socket::new(received, sent);
            // So that who gets it can see that it crossed no router.
            socket.set_hop_limit(Some(255));
            socket.bind(dns::PORT).expect("a fresh socket can be bound to a port that is not 0");
            (sockets.add(socket), Responder::new(service, config.port, config.mac))
        });
        let addressing = Addressing::new(config.address, &mut iface, &mut sockets);
        let sockets_of_tcp = parts.buffers.take(tcp).map(|b| {
            let [received, sent] = halves(b);
            tcp::Socket::new(tcp::SocketBuffer::new(received), tcp::SocketBuffer::new(sent))
        });
        let slots = &mut parts.slots[..tcp];
        let slots = Slots::new(slots, &mut sockets, sockets_of_tcp, config.port, config.second, config.seed);
        let (up, groups_until, more) = (false, 0, false);
        NetSmoltcp { iface, device, host, sockets, slots, addressing, mdns, config, up, groups_until, more }
    }
    /// What the board offers.
    pub fn host(&mut self) -> &mut H {
        &mut self.host
    }
    /// The device.
    pub fn device(&mut self) -> &mut D {
        &mut self.device.device
    }
    /// This end's address, while it has one.
    pub fn place(&self) -> Option<Place> {
        self.addressing.place()
    }
    /// Links that are open, at both ports together.
    pub fn count(&self) -> usize {
        self.slots.open()
    }

    /// Takes in what came, at most [`FRAMES`] frames, and sends what is due. `now` by the host's clock.
    pub fn poll(&mut self, now: u64) {
        let at = instant(now);
        self.tend_carrier(now);
        let mut left = FRAMES;
        while left > 0 {
            match self.iface.poll_ingress_single(at, &mut self.device, &mut self.sockets) {
                PollIngressSingleResult::None => break,
                _ => self.slots.tend(now, &mut self.sockets),
            }
            left -= 1;
        }
        self.more = left == 0;
        if core::mem::take(&mut self.device.heard.igmp) {
            self.groups_until = now + GROUPS_US;
        }
        if let Some(place) = self.addressing.place() {
            let near = |ip| self.addressing.near(ip);
            self.device.ask(now, EthernetAddress(self.config.mac), place.ip.into(), near);
        }
        if self.addressing.tend(now, &mut self.iface, &mut self.sockets) {
            self.address_changed(now);
        }
        self.tend_mdns(now);
        self.slots.tend(now, &mut self.sockets);
        self.send(now);
        // An end that was told is over.
        self.slots.tend(now, &mut self.sockets);
        self.slots.rewind();
    }
    /// When [`poll`](NetSmoltcp::poll) is due next though no frame comes in; `u64::MAX` = never. After a poll at
    /// `now`, that lies behind `now`, unless there is more to take in.
    pub fn due(&mut self, now: u64) -> u64 {
        if self.more {
            return now;
        }
        let stack = self.iface.poll_at(instant(now), &self.sockets);
        let stack = stack.map_or(u64::MAX, |t| u64::try_from(t.total_micros()).unwrap_or(0));
        let groups = if now < self.groups_until { now + GROUPS_TICK_US } else { u64::MAX };
        let mdns = self.mdns.as_ref().filter(|_| self.up).map_or(u64::MAX, |m| m.1.due());
        let dates = [stack, groups, mdns, self.addressing.due(), self.slots.due(&self.sockets)];
        dates.into_iter().min().unwrap_or(u64::MAX).max(now + BUSY_US)
    }

    fn tend_carrier(&mut self, now: u64) {
        let up = self.host.carrier();
        if up == self.up {
            return;
        }
        self.up = up;
        self.host.notice(if up { Notice::Up } else { Notice::Down });
        if up {
            self.addressing.plugged(now, &mut self.iface, &mut self.sockets);
            if self.addressing.place().is_some() {
                self.address_changed(now);
            }
        }
    }
    /// Tells everybody of the address, or that there is none.
    fn address_changed(&mut self, now: u64) {
        let place = self.addressing.place();
        self.host.notice(place.map_or(Notice::NoAddress, Notice::Address));
        if let Some((_, responder)) = &mut self.mdns {
            // Left and joined again, the group is told to switches and routers anew.
            let _ = self.iface.leave_multicast_group(Ipv4Address::from(dns::GROUP));
            responder.set_address(now, place.map(|p| p.ip));
        }
    }
    fn send(&mut self, now: u64) {
        let at = instant(now);
        self.iface.poll_maintenance(at);
        for _ in 0..ROUNDS {
            let sent = self.iface.poll_egress(at, &mut self.device, &mut self.sockets);
            let group = IpAddress::from(Ipv4Address::from(dns::GROUP));
            if self.mdns.is_some()
                && self.addressing.place().is_some()
                && !self.iface.has_multicast_group(group)
            {
                let joined = self.iface.join_multicast_group(group);
                joined.expect("an empty table of groups has room for one");
            } else if sent == PollResult::None {
                return;
            }
        }
        self.more = true;
    }
    fn tend_mdns(&mut self, now: u64) {
        let Some((handle, responder)) = &mut self.mdns else { return };
        let socket = self.sockets.get_mut::<udp::Socket>(*handle);
        let everybody = IpEndpoint::new(Ipv4Address::from(dns::GROUP).into(), dns::PORT);
        let (mut packet, mut out) = ([0; 1472], [0; 768]);
        while let Ok((bytes, from)) = socket.recv() {
            let IpAddress::Ipv4(asker) = from.endpoint.addr;
            let Some(into) = packet.get_mut(..bytes.len()).filter(|_| self.addressing.near(asker)) else {
                continue;
            };
            into.copy_from_slice(bytes);
            if let Some((len, to)) = responder.answer(now, into, from.endpoint.port, &mut out) {
                let to = if to == To::Everybody { everybody } else { from.endpoint };
                // Where there is no room, the asker will ask again.
                let _ = socket.send_slice(&out[..len], to);
            }
        }
        if self.up
            && let Some(len) = responder.announce(now, &mut out)
        {
            let _ = socket.send_slice(&out[..len], everybody);
        }
    }
}

fn halves(buffer: &mut [u8; 2 * BUFFER]) -> [&mut [u8]; 2] {
    let (a, b) = buffer.split_at_mut(BUFFER);
    [a, b]
}

impl<'m, D: Device, H: Host> Net for NetSmoltcp<'m, D, H> {
    type Link<'a>
        = Link<'a, 'm>
    where
        Self: 'a;

    fn wait(&mut self, until_us: u64) -> Result<(), NetError> {
        loop {
            let now = self.host.now_us();
            self.poll(now);
            if now >= until_us || self.slots.any(&self.sockets) {
                return Ok(());
            }
            let until = self.due(now).min(until_us);
            if until > now {
                self.host.sleep(until);
            }
        }
    }
    fn next_event(&mut self) -> Option<Event> {
        self.slots.next_event(&mut self.sockets)
    }
    fn link(&mut self, key: LinkKey) -> Option<Link<'_, 'm>> {
        self.slots.link(key, &mut self.sockets)
    }
    fn set_interest(&mut self, key: LinkKey, read: bool, write: bool) {
        self.slots.set_interest(key, read, write);
    }
    fn close(&mut self, key: LinkKey) {
        self.slots.close(key, self.host.now_us(), &mut self.sockets);
    }
    fn dial(&mut self, to: Addr) -> Result<LinkKey, NetError> {
        let here = self.addressing.place().ok_or(NetError::Unreachable)?.ip.into();
        self.slots.dial(to, here, self.host.now_us(), &mut self.sockets, self.iface.context())
    }
    fn listening(&self) -> Option<Addr> {
        Some(Addr::V4(self.addressing.place().map_or([0; 4], |p| p.ip), self.config.port))
    }
    fn local(&self, key: LinkKey) -> Option<Addr> {
        self.slots.local(key, &self.sockets)
    }
}
