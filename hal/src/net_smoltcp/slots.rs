//! What becomes of the TCP sockets. The stack has no backlog: a socket takes one caller, so every socket without a link
//! listens.
//!
//! ```text
//! Listening ─► Half ─► Open ─► Ending ─► Listening
//!     └───► Dialling ─┘  └► Failed ──────────┘
//! ```
//! **Invariant**: while a port has two sockets that are neither open nor being dialled with, one listens there; where
//! callers or links that end have taken all of them, the oldest of these yields without a word. So of `n` free sockets
//! `n - 1` callers can be in handshake at once; all `n` become links.

use super::memory::BUFFER;
use crate::net::{Addr, Event, LinkKey, NetError};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, RecvError, Socket, State};
use smoltcp::time::Duration;
use smoltcp::wire::{IpAddress, IpEndpoint, Ipv4Address};

/// A caller that has not answered our answer by then is forgotten.
const HALF_US: u64 = 5_000_000;
/// A dialled end that has not answered by then is unreachable.
const DIAL_US: u64 = 10_000_000;
/// What was written before a link was closed may take so long to go out.
const LAST_WORDS_US: u64 = 5_000_000;
/// For so long the end of a link that is over at both ends is confirmed again.
const TIME_WAIT_US: u64 = 1_000_000;
/// A quiet link is asked for a sign of life so often, and is broken without one for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(40);
/// The only socket of a port that could yield has so long to finish what it does.
const SINGLE_US: u64 = 100_000;
/// With less room than this a link is not writable: many small segments would cost more than they bring.
const ROOM: usize = BUFFER / 4;
/// Local ports of dialled links.
const DIALLED: core::ops::RangeInclusive<u16> = 49152..=65535;

/// One TCP socket and what it is used for.
pub(super) struct Slot {
    handle: SocketHandle,
    port: u16,
    generation: u16,
    role: Role,
    reads: bool,
    writes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Listening,
    /// A caller has begun, then.
    Half(u64),
    /// A link; whether that was told, and whether it was dialled.
    Open {
        told: bool,
        dialled: bool,
    },
    /// Dialled, then.
    Dialling(u64),
    /// A dialled link came to nothing, which is still to be told.
    Failed(NetError),
    /// Closed at this end, then.
    Ending(u64),
}

impl Default for Slot {
    fn default() -> Slot {
        let (handle, role) = (SocketHandle::default(), Role::Listening);
        Slot { handle, port: 0, generation: 0, role, reads: true, writes: false }
    }
}

/// All TCP sockets: the links' first, then those of the second port.
pub(super) struct Slots<'m> {
    slots: &'m mut [Slot],
    /// Where those of the second port begin.
    second: usize,
    /// Which slot is to be told about, and which kind of event.
    cursor: (usize, Kind),
    next_port: u16,
}

/// The kinds of events, in the order in which a link's are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Birth,
    Read,
    Write,
}

impl<'m> Slots<'m> {
    /// Listens with the sockets behind `handles`: the last `second.1` of them at port `second.0`.
    pub(super) fn new(
        slots: &'m mut [Slot],
        sockets: &mut SocketSet<'m>,
        handles: impl Iterator<Item = Socket<'m>>,
        port: u16,
        second: Option<(u16, usize)>,
        seed: u64,
    ) -> Self {
        let first = slots.len() - second.map_or(0, |s| s.1);
        for (i, (slot, mut socket)) in slots.iter_mut().zip(handles).enumerate() {
            socket.set_nagle_enabled(false);
            socket.set_keep_alive(Some(KEEP_ALIVE));
            socket.set_timeout(Some(SILENCE));
            slot.port = if i < first { port } else { second.map_or(port, |s| s.0) };
            slot.listen(&mut socket);
            slot.handle = sockets.add(socket);
        }
        let next_port = DIALLED.start() + (seed % DIALLED.len() as u64) as u16;
        Slots { slots, second: first, cursor: (0, Kind::Birth), next_port }
    }

    /// Follows what the stack has done. To be called after each frame that came in: so that callers find listeners.
    pub(super) fn tend(&mut self, now: u64, sockets: &mut SocketSet<'m>) {
        for i in 0..self.slots.len() {
            if self.slots[i].tend(now, sockets) && !self.settle_twins(i, sockets) {
                self.slots[i].role = Role::Half(now);
            }
        }
        for range in [0..self.second, self.second..self.slots.len()] {
            let slots = &mut self.slots[range];
            if slots.iter().any(|s| s.role == Role::Listening) {
                continue;
            }
            let several = slots.iter().filter_map(Slot::yields).count() > 1;
            let yields = slots.iter_mut().filter_map(|s| s.yields().map(|since| (since, s)));
            let oldest = yields.min_by_key(|y| y.0).filter(|y| several || now >= y.0 + SINGLE_US);
            if let Some((_, slot)) = oldest {
                slot.listen(sockets.get_mut(slot.handle));
            }
        }
    }
    /// A caller whom another socket knows already: a first segment that came twice finds the other one again, unless
    /// a free socket stands before it. True if the new one was given up for the old one.
    fn settle_twins(&mut self, new: usize, sockets: &mut SocketSet<'m>) -> bool {
        let ends = |slot: &Slot, sockets: &SocketSet<'m>| {
            let socket = sockets.get::<Socket>(slot.handle);
            socket.local_endpoint().zip(socket.remote_endpoint())
        };
        let wanted = ends(&self.slots[new], sockets);
        let twin = (0..self.slots.len()).find(|i| *i != new && ends(&self.slots[*i], sockets) == wanted);
        let Some(twin) = twin.filter(|_| wanted.is_some()) else { return false };
        let over = matches!(self.slots[twin].role, Role::Ending(_));
        let given_up = &mut self.slots[if over { twin } else { new }];
        given_up.listen(sockets.get_mut(given_up.handle));
        !over
    }
    /// When something is due, whatever comes in; `u64::MAX` = never.
    pub(super) fn due(&self, sockets: &SocketSet<'m>) -> u64 {
        let dates = self.slots.iter().map(|s| match s.role {
            Role::Half(since) => since + HALF_US,
            Role::Dialling(since) => since + DIAL_US,
            Role::Ending(since) => match sockets.get::<Socket>(s.handle).state() {
                State::TimeWait => since + TIME_WAIT_US,
                State::Closed => since + LAST_WORDS_US + TIME_WAIT_US,
                _ => since + LAST_WORDS_US,
            },
            Role::Listening | Role::Open { .. } | Role::Failed(_) => u64::MAX,
        });
        dates.min().unwrap_or(u64::MAX)
    }
    /// Links that are open, at both ports.
    pub(super) fn open(&self) -> usize {
        self.slots.iter().filter(|s| matches!(s.role, Role::Open { .. })).count()
    }

    /// Events are told anew from the first slot on.
    pub(super) fn rewind(&mut self) {
        self.cursor = (0, Kind::Birth);
    }
    /// Whether there is anything to be told.
    pub(super) fn any(&self, sockets: &SocketSet<'m>) -> bool {
        let kinds = [Kind::Birth, Kind::Read, Kind::Write];
        (0..self.slots.len()).any(|i| kinds.iter().any(|k| self.event(i, *k, sockets).is_some()))
    }
    /// The next thing to be told.
    pub(super) fn next_event(&mut self, sockets: &mut SocketSet<'m>) -> Option<Event> {
        while self.cursor.0 < self.slots.len() {
            let (i, kind) = self.cursor;
            self.cursor = match kind {
                Kind::Birth => (i, Kind::Read),
                Kind::Read => (i, Kind::Write),
                Kind::Write => (i + 1, Kind::Birth),
            };
            let Some(event) = self.event(i, kind, sockets) else { continue };
            let slot = &mut self.slots[i];
            match &mut slot.role {
                Role::Open { told, .. } => *told = true,
                Role::Failed(_) => slot.listen(sockets.get_mut(slot.handle)),
                _ => {}
            }
            return Some(event);
        }
        None
    }
    fn event(&self, i: usize, kind: Kind, sockets: &SocketSet<'m>) -> Option<Event> {
        let (slot, key) = (&self.slots[i], self.key(i));
        let socket = sockets.get::<Socket>(slot.handle);
        match (kind, slot.role) {
            (Kind::Birth, Role::Failed(why)) => Some(Event::Failed(key, why)),
            (Kind::Birth, Role::Open { told: false, dialled: true }) => Some(Event::Connected(key)),
            (Kind::Birth, Role::Open { told: false, dialled: false }) => {
                socket.remote_endpoint().map(|from| Event::Accepted(key, addr(from)))
            }
            (Kind::Read, Role::Open { told: true, .. }) => {
                let broken = socket.state() == State::Closed;
                match slot.reads {
                    true => (socket.can_recv() || !socket.may_recv()).then_some(Event::Readable(key)),
                    false => broken.then_some(Event::Closed(key)),
                }
            }
            (Kind::Write, Role::Open { told: true, .. }) => {
                (slot.writes && has_room(socket)).then_some(Event::Writable(key))
            }
            _ => None,
        }
    }

    fn key(&self, i: usize) -> LinkKey {
        LinkKey(u32::from(self.slots[i].generation) << 16 | i as u32)
    }
    /// The slot of a link that is not closed.
    fn place(&self, key: LinkKey) -> Option<usize> {
        let i = usize::from(key.0 as u16);
        let slot = self.slots.get(i).filter(|s| s.generation == (key.0 >> 16) as u16)?;
        matches!(slot.role, Role::Open { .. } | Role::Dialling(_)).then_some(i)
    }
    pub(super) fn link<'a>(&self, key: LinkKey, sockets: &'a mut SocketSet<'m>) -> Option<Link<'a, 'm>> {
        let i = self.place(key)?;
        Some(Link(sockets.get_mut(self.slots[i].handle)))
    }
    pub(super) fn local(&self, key: LinkKey, sockets: &SocketSet<'m>) -> Option<Addr> {
        let slot = &self.slots[self.place(key)?];
        sockets.get::<Socket>(slot.handle).local_endpoint().map(addr)
    }
    pub(super) fn set_interest(&mut self, key: LinkKey, read: bool, write: bool) {
        let Some(i) = self.place(key) else { return };
        if matches!(self.slots[i].role, Role::Open { .. }) {
            (self.slots[i].reads, self.slots[i].writes) = (read, write);
        }
    }
    pub(super) fn close(&mut self, key: LinkKey, now: u64, sockets: &mut SocketSet<'m>) {
        let Some(i) = self.place(key) else { return };
        let slot = &mut self.slots[i];
        let socket = sockets.get_mut::<Socket>(slot.handle);
        match slot.role {
            Role::Dialling(_) => slot.listen(socket),
            // What was sent here and is not read is lost: the other end is to know.
            _ if socket.can_recv() => socket.abort(),
            _ => socket.close(),
        }
        if slot.role != Role::Listening {
            slot.role = Role::Ending(now);
        }
    }
    /// Begins to dial with a free socket; `here` is this end's address.
    pub(super) fn dial(
        &mut self,
        to: Addr,
        here: Ipv4Address,
        now: u64,
        sockets: &mut SocketSet<'m>,
        context: &mut Context,
    ) -> Result<LinkKey, NetError> {
        let Addr::V4(ip, port) = to else { return Err(NetError::Unreachable) };
        let free = self.slots[..self.second].iter().rposition(|s| s.role == Role::Listening);
        let free = free.ok_or(NetError::Full)?;
        let slot = &mut self.slots[free];
        let socket = sockets.get_mut::<Socket>(slot.handle);
        let local = IpEndpoint::new(here.into(), self.next_port);
        self.next_port = self.next_port.checked_add(1).unwrap_or(*DIALLED.start());
        socket.abort();
        if socket.connect(context, (IpAddress::from(Ipv4Address::from(ip)), port), local).is_err() {
            slot.listen(socket);
            return Err(NetError::Unreachable);
        }
        slot.begin(Role::Dialling(now));
        Ok(self.key(free))
    }
}

impl Slot {
    /// Forgets whatever the socket was used for.
    fn listen(&mut self, socket: &mut Socket<'_>) {
        socket.abort();
        // The last caller's losses are not the next one's.
        socket.set_congestion_control(CongestionControl::Reno);
        socket.listen(self.port).expect("an aborted socket can listen at a port that is not 0");
        self.role = Role::Listening;
    }
    /// A new link's number.
    fn begin(&mut self, role: Role) {
        self.generation = self.generation.wrapping_add(1);
        (self.role, self.reads, self.writes) = (role, true, false);
    }
    /// Since when it could yield to a new caller.
    fn yields(&self) -> Option<u64> {
        match self.role {
            Role::Half(since) | Role::Ending(since) => Some(since),
            _ => None,
        }
    }
    /// Follows what the stack has done; true if a caller has begun.
    fn tend(&mut self, now: u64, sockets: &mut SocketSet<'_>) -> bool {
        let socket = sockets.get_mut::<Socket>(self.handle);
        let state = socket.state();
        match (self.role, state) {
            (Role::Listening, State::Listen) => {}
            (Role::Listening, State::Closed) => self.listen(socket),
            (Role::Listening, _) => return true,
            (Role::Half(_), State::Listen) => self.role = Role::Listening,
            (Role::Half(since), State::SynReceived) if now < since + HALF_US => {}
            (Role::Half(_), State::Closed | State::SynReceived) => self.listen(socket),
            (Role::Half(_), _) => self.begin(Role::Open { told: false, dialled: false }),
            (Role::Open { told: false, dialled: false }, State::Closed) => self.listen(socket),
            (Role::Open { .. } | Role::Failed(_), _) => {}
            (Role::Dialling(since), State::SynSent | State::SynReceived) => {
                if now >= since + DIAL_US {
                    socket.abort();
                    self.role = Role::Failed(NetError::Unreachable);
                }
            }
            (Role::Dialling(_), State::Closed) => self.role = Role::Failed(NetError::Refused),
            (Role::Dialling(_), _) => self.role = Role::Open { told: false, dialled: true },
            (Role::Ending(_), State::Closed) if socket.remote_endpoint().is_none() => self.listen(socket),
            (Role::Ending(since), State::TimeWait) if now < since + TIME_WAIT_US => {}
            (Role::Ending(since), State::Closed) if now < since + LAST_WORDS_US + TIME_WAIT_US => {}
            (Role::Ending(_), State::TimeWait | State::Closed) => self.listen(socket),
            // Nobody will read it: as an operating system would, say so.
            (Role::Ending(_), _) if socket.can_recv() => socket.abort(),
            (Role::Ending(since), _) if now >= since + LAST_WORDS_US => socket.abort(),
            (Role::Ending(_), _) => {}
        }
        false
    }
}

/// A link of the network.
pub struct Link<'a, 'm>(&'a mut Socket<'m>);

impl ErrorType for Link<'_, '_> {
    type Error = NetError;
}

impl Read for Link<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, NetError> {
        match self.0.recv_slice(buf) {
            Ok(0) if !buf.is_empty() => Err(NetError::NotReady),
            Ok(n) => Ok(n),
            Err(RecvError::Finished) => Ok(0),
            Err(RecvError::InvalidState) if dialling(self.0) => Err(NetError::NotReady),
            Err(RecvError::InvalidState) => Err(NetError::Closed),
        }
    }
}

impl Write for Link<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, NetError> {
        match self.0.send_slice(buf) {
            Ok(0) if !buf.is_empty() => Err(NetError::NotReady),
            Ok(n) => Ok(n),
            Err(_) if dialling(self.0) => Err(NetError::NotReady),
            Err(_) => Err(NetError::Closed),
        }
    }
    fn flush(&mut self) -> Result<(), NetError> {
        Ok(())
    }
}

impl ReadReady for Link<'_, '_> {
    fn read_ready(&mut self) -> Result<bool, NetError> {
        Ok(self.0.can_recv() || !(self.0.may_recv() || dialling(self.0)))
    }
}

impl WriteReady for Link<'_, '_> {
    fn write_ready(&mut self) -> Result<bool, NetError> {
        Ok(has_room(self.0))
    }
}

fn dialling(socket: &Socket<'_>) -> bool {
    matches!(socket.state(), State::SynSent | State::SynReceived)
}

/// Whether writing takes something worth a segment, or fails.
fn has_room(socket: &Socket<'_>) -> bool {
    match socket.may_send() {
        true => socket.send_capacity() - socket.send_queue() >= ROOM,
        false => !dialling(socket),
    }
}

fn addr(end: IpEndpoint) -> Addr {
    let IpAddress::Ipv4(ip) = end.addr;
    Addr::V4(ip.octets(), end.port)
}
