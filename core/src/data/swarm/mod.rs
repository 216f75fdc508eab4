//! The download machine: which part of which content is asked of whom. One serves a whole device; contents and
//! sources have fixed places.
//!
//! Facts come in by `handle_*`; after each, the driver drains [`Swarm::poll_effect`], and wakes it with
//! [`Swarm::handle_timeout`] at [`Swarm::poll_timeout`]. Answers of links name an ask: for a body the driver first
//! takes [`Swarm::expect`], checks and writes it without holding the machine, then tells [`Swarm::handle_body`].
//!
//! A content of at most [`limits::CHUNK_MAX`] bytes is *small*: asked for whole, one round trip, and checked by hashing
//! it anew. A larger one is walked down from its root with one node a level, and a window of chunks. Nodes are checked
//! here, chunks by the driver against the hash that [`Expect`] carries.
//!
//! Invariants: every wanted part is either free to be asked for or out at exactly one source; what a source never
//! proved is never believed; once drained, the next timeout is in the future.

mod file;
mod flights;
mod plan;
mod source;
#[cfg(test)]
mod tests;

use super::message::{Ask, Refusal};
use crate::content::{Hash, LEVELS, Leaf, NODE_BYTES, Root};
use crate::ids::{ContentId, Slot, SlotSet, Ticket};
use crate::limits;
use crate::peer::Cause;
use crate::record::Kind;
use crate::time::{Duration, Instant};
use file::{Large, Small, Whence};
use flights::{Flight, Flights, Work};
use heapless::Deque;
use source::Source;

/// Small contents at once.
pub const SMALLS: usize = 512;
/// Large contents at once.
pub const LARGES: usize = 8;
/// Bytes of memory that a large content's walk is lent.
pub const WALK_MEMORY: usize = LEVELS * NODE_BYTES;

/// A busy source is left alone so long.
const PAUSE: Duration = Duration::millis(50);
/// Effects that stand queued at most: an end for every content, and some remarks.
const DUE: usize = SMALLS + LARGES + 128;

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// Names the answer.
    pub ticket: Ticket,
    /// File or symlink.
    pub kind: Kind,
    /// The content.
    pub content: ContentId,
    /// Its bytes.
    pub size: u64,
    /// Below this offset the part file may hold right bytes from an earlier try; 0 = it is new.
    pub present: u64,
    /// Devices that may have it.
    pub from: SlotSet,
}

/// How a body is to be checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The whole content: hashed as the kind wants it, it has that id.
    Whole(Kind, ContentId),
    /// A chunk of that name.
    Chunk(Hash),
}

/// What the answer to an ask is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expect {
    /// For which fetch.
    pub ticket: Ticket,
    /// Where it belongs in the file.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
    /// How it is checked.
    pub check: Check,
}

/// What became of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// It is what it should be, and is written.
    Good,
    /// It is not.
    Bad,
    /// It is, but could not be written: this errno.
    Unwritten(i32),
}

/// What the driver is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send this to that device, on its open link.
    Ask(Slot, Ask),
    /// Reach that device: [`Swarm::handle_open`] or [`Swarm::handle_unreachable`].
    Dial(Slot),
    /// Its link is dead: close it.
    Hang(Slot),
    /// See whether the part file holds this chunk (a hole is a chunk of zeros): [`Swarm::handle_checked`].
    Check(Ticket, Leaf),
    /// The fetch is complete and verified.
    Finished(Ticket),
    /// It failed.
    Failed(Ticket, Cause),
    /// That device sent something that this content does not hold.
    Bad(Slot, ContentId),
}

/// See the module. `B` is the memory of a large content's walk.
pub struct Swarm<B> {
    smalls: [Option<Small>; SMALLS],
    /// Small contents that are not asked for.
    fresh: Deque<u16, SMALLS>,
    larges: [Option<Large<B>>; LARGES],
    sources: [Source; limits::DEVICES],
    flights: Flights,
    due: Deque<Effect, DUE>,
    /// Something may have become possible since the last drain.
    dirty: bool,
    /// Slow sources' asks may be taken over, once after each tick.
    may_steal: bool,
    tick_at: Instant,
    /// Spreads choices among equals.
    turn: u32,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Default for Swarm<B> {
    fn default() -> Self {
        Swarm::new()
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Swarm<B> {
    /// A machine that fetches nothing yet.
    pub fn new() -> Swarm<B> {
        Swarm {
            smalls: [None; SMALLS],
            fresh: Deque::new(),
            larges: [const { None }; LARGES],
            sources: [Source::new(); limits::DEVICES],
            flights: Flights::new(),
            due: Deque::new(),
            dirty: false,
            may_steal: false,
            tick_at: Instant(0),
            turn: 0,
        }
    }

    /// Whether a content of this size needs [`WALK_MEMORY`].
    pub fn needs_memory(size: u64) -> bool {
        !file::is_small(size)
    }
    /// Whether a content of this size can be fetched now.
    pub fn has_room(&self, size: u64) -> bool {
        match file::is_small(size) {
            true => self.smalls.iter().any(Option::is_none),
            false => self.larges.iter().any(Option::is_none),
        }
    }
    /// Whether nothing is being fetched.
    pub fn is_idle(&self) -> bool {
        self.smalls.iter().all(Option::is_none) && self.larges.iter().all(Option::is_none)
    }
    /// What the answer to that ask is; none if nobody waits for it any more.
    pub fn expect(&self, slot: Slot, id: u32) -> Option<Expect> {
        let flight = self.flights.get(slot, id)?;
        match flight.work {
            Work::Small(i) => {
                let s = self.small(i);
                let check = Check::Whole(s.kind, s.content);
                Some(Expect { ticket: s.ticket, offset: 0, len: s.size, check })
            }
            Work::Leaf(i, place) => {
                let large = self.large(i);
                let leaf = large.leaf(place as usize);
                let check = Check::Chunk(leaf.hash);
                Some(Expect { ticket: large.ticket, offset: leaf.offset, len: leaf.len, check })
            }
            Work::Root(_) | Work::Node(_) => None,
        }
    }

    /// Begins a fetch. There must be room, and memory if it needs some (both asserted).
    pub fn handle_fetch(&mut self, at: Instant, fetch: &Fetch, memory: Option<B>) {
        let Fetch { ticket, kind, content, size, present, from } = *fetch;
        self.dirty = true;
        if self.is_idle() {
            self.tick_at = at + plan::TICK;
        }
        from.iter().for_each(|slot| self.source_mut(slot).forgive(at, true));
        if size == 0 {
            let empty = kind == Kind::File && content == Root::EMPTY.file_id();
            let end = if empty { Effect::Finished(ticket) } else { Effect::Failed(ticket, Cause::Corrupt) };
            return self.end_with(end);
        }
        let whence = Whence::new(from);
        if file::is_small(size) {
            let place = self.smalls.iter().position(Option::is_none).expect("callers look for room");
            let small = Small { ticket, kind, content, size: size as u32, whence, flight: None };
            self.smalls[place] = Some(small);
            self.refresh(place as u16);
        } else {
            let memory = memory.filter(|m| m.as_ref().len() >= WALK_MEMORY).expect("callers lend memory");
            let place = self.larges.iter().position(Option::is_none).expect("callers look for room");
            self.larges[place] = Some(Large::new(ticket, content, size, present, from, memory));
        }
        if from.is_empty() {
            self.judge(at);
        }
    }
    /// Other sources than were said. Those that turned out not to have it stay out. `seekers` have a part of it; they
    /// are not asked for parts yet.
    pub fn handle_sources(&mut self, at: Instant, ticket: Ticket, holders: SlotSet, _seekers: SlotSet) {
        for s in self.smalls.iter_mut().flatten().filter(|s| s.ticket == ticket) {
            s.whence.replace(holders);
        }
        for l in self.larges.iter_mut().flatten().filter(|l| l.ticket == ticket) {
            l.whence.replace(holders);
        }
        self.dirty = true;
        self.judge(at);
    }
    /// Gives a fetch up: it fails with [`Cause::Raced`]. Nothing if there is none of that ticket.
    pub fn handle_cancel(&mut self, ticket: Ticket) {
        self.fail(ticket, Cause::Raced);
    }
    /// A link to that device stands; one that stood before is gone.
    pub fn handle_open(&mut self, at: Instant, slot: Slot) {
        if self.source(slot).is_open() {
            self.handle_closed(at, slot);
        }
        self.source_mut(slot).opened(at);
        self.dirty = true;
    }
    /// It does not stand any more.
    pub fn handle_closed(&mut self, at: Instant, slot: Slot) {
        if self.source(slot).is_open() {
            self.release_all(slot);
            self.source_mut(slot).closed(at);
            self.dirty = true;
        }
    }
    /// The device could not be reached, for now.
    pub fn handle_unreachable(&mut self, at: Instant, slot: Slot) {
        let source = self.source_mut(slot);
        if !source.is_open() {
            source.failed(at);
            self.dirty = true;
        }
    }
    /// What is known of how to reach the device changed: it is worth another try.
    pub fn handle_reachable(&mut self, slot: Slot) {
        self.source_mut(slot).reachable();
        self.dirty = true;
    }
    /// Part of a body came from that device: it is slow, not dead.
    pub fn handle_progress(&mut self, at: Instant, slot: Slot) {
        self.source_mut(slot).progressed(at);
    }

    /// A root came.
    pub fn handle_root(&mut self, at: Instant, slot: Slot, id: u32, root: Root) {
        let Some(Flight { work: Work::Root(i), .. }) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).progressed(at);
        self.end_flight(slot, id);
        self.large_mut(i).flight = None;
        if !self.large_mut(i).take_root(root) {
            self.lied(at, slot, i);
        }
    }
    /// A node came. If it is of level 1 and right, these bytes are the next of that fetch's list of chunks.
    pub fn handle_node(&mut self, at: Instant, slot: Slot, id: u32, bytes: &[u8]) -> Option<Ticket> {
        let Some(Flight { work: Work::Node(i), .. }) = self.flights.get(slot, id) else { return None };
        self.source_mut(slot).progressed(at);
        self.end_flight(slot, id);
        let large = self.large_mut(i);
        large.flight = None;
        let level = large.want.map(|w| w.level);
        if large.take_node(bytes) {
            return (level == Some(1)).then_some(self.large(i).ticket);
        }
        self.lied(at, slot, i);
        None
    }
    /// A body that [`Swarm::expect`] told of came wholly, and became this.
    pub fn handle_body(&mut self, at: Instant, slot: Slot, id: u32, body: Body) {
        let Some(flight) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).delivered(at, flight.len);
        match (body, flight.work) {
            (_, Work::Root(_) | Work::Node(_)) => self.lied_by(at, flight),
            (Body::Bad, _) => self.lied_by(at, flight),
            (Body::Unwritten(errno), _) => {
                let ticket = self.ticket(flight.work);
                self.fail(ticket, Cause::Os(errno));
            }
            (Body::Good, Work::Small(i)) => {
                self.end_flight(slot, id);
                let small = self.smalls[i as usize].take().expect("a flight's content is there");
                self.end_with(Effect::Finished(small.ticket));
            }
            (Body::Good, Work::Leaf(i, place)) => {
                self.end_flight(slot, id);
                self.large_mut(i).arrived(place as usize);
                self.finish_if_complete(i);
            }
        }
    }
    /// An ask was refused.
    pub fn handle_refused(&mut self, at: Instant, slot: Slot, id: u32, why: Refusal) {
        let Some(flight) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).progressed(at);
        self.release(flight);
        match why {
            Refusal::Busy => {
                self.source_mut(slot).busy(at + PAUSE);
                self.tick_at = self.tick_at.min(at + PAUSE);
            }
            Refusal::Gone | Refusal::Unknown => {
                self.whence(flight.work).drop(slot);
                self.judge(at);
            }
        }
    }
    /// The part file holds that chunk, or does not.
    pub fn handle_checked(&mut self, ticket: Ticket, offset: u64, good: bool) {
        let place = self.larges.iter().position(|l| l.as_ref().is_some_and(|l| l.ticket == ticket));
        if let Some(i) = place {
            self.large_mut(i as u8).checked(offset, good);
            self.dirty = true;
            self.finish_if_complete(i as u8);
        }
    }
    /// Time has passed.
    pub fn handle_timeout(&mut self, at: Instant) {
        if self.poll_timeout().is_some_and(|t| t <= at) {
            self.tick(at);
        }
    }
    /// When to call [`Swarm::handle_timeout`]; none while nothing is fetched.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_idle()).then_some(self.tick_at)
    }

    fn source(&self, slot: Slot) -> &Source {
        &self.sources[slot.0 as usize]
    }
    fn source_mut(&mut self, slot: Slot) -> &mut Source {
        &mut self.sources[slot.0 as usize]
    }
    fn small(&self, i: u16) -> &Small {
        self.smalls[i as usize].as_ref().expect("a flight's content is there")
    }
    fn large(&self, i: u8) -> &Large<B> {
        self.larges[i as usize].as_ref().expect("a flight's content is there")
    }
    fn large_mut(&mut self, i: u8) -> &mut Large<B> {
        self.larges[i as usize].as_mut().expect("a flight's content is there")
    }
    fn ticket(&self, work: Work) -> Ticket {
        match work {
            Work::Small(i) => self.small(i).ticket,
            Work::Root(i) | Work::Node(i) | Work::Leaf(i, _) => self.large(i).ticket,
        }
    }
    fn whence(&mut self, work: Work) -> &mut Whence {
        match work {
            Work::Small(i) => {
                &mut self.smalls[i as usize].as_mut().expect("a flight's content is there").whence
            }
            Work::Root(i) | Work::Node(i) | Work::Leaf(i, _) => &mut self.large_mut(i).whence,
        }
    }

    fn refresh(&mut self, i: u16) {
        let pushed = self.fresh.push_back(i);
        assert!(pushed.is_ok(), "each small content waits once");
    }
    fn remark(&mut self, effect: Effect) {
        if self.due.len() < DUE - SMALLS - LARGES {
            let pushed = self.due.push_back(effect);
            assert!(pushed.is_ok(), "there is room");
        }
    }
    fn end_with(&mut self, effect: Effect) {
        let pushed = self.due.push_back(effect);
        assert!(pushed.is_ok(), "the driver drains after each fact, and each content ends once");
        self.dirty = true;
    }
    fn finish_if_complete(&mut self, i: u8) {
        if self.large(i).is_complete() {
            let large = self.larges[i as usize].take().expect("looked at just now");
            self.end_with(Effect::Finished(large.ticket));
        }
    }

    /// Takes an ask off; what it asked for is not yet free again.
    fn end_flight(&mut self, slot: Slot, id: u32) {
        let flight = self.flights.get(slot, id).expect("callers looked it up");
        self.flights.end(id);
        self.source_mut(slot).ended(flight.len);
        self.dirty = true;
    }
    /// Takes an ask off; what it asked for is free to be asked of another.
    fn release(&mut self, flight: Flight) {
        self.end_flight(flight.slot, flight.id);
        match flight.work {
            Work::Small(i) => {
                self.smalls[i as usize].as_mut().expect("a flight's content is there").flight = None;
                self.refresh(i);
            }
            Work::Root(i) | Work::Node(i) => self.large_mut(i).flight = None,
            Work::Leaf(i, place) => self.large_mut(i).wanted.add(place as usize),
        }
    }
    fn release_all(&mut self, slot: Slot) {
        while let Some(flight) = self.flights.find(|f| f.slot == slot) {
            self.release(flight);
        }
    }
    fn lied_by(&mut self, at: Instant, flight: Flight) {
        self.release(flight);
        match flight.work {
            Work::Small(i) => {
                let content = self.small(i).content;
                self.remark(Effect::Bad(flight.slot, content));
                let whence = self.whence(flight.work);
                whence.lied = true;
                whence.drop(flight.slot);
                self.judge(at);
            }
            Work::Root(i) | Work::Node(i) | Work::Leaf(i, _) => self.lied(at, flight.slot, i),
        }
    }
    /// A source of a large content sent what it does not hold.
    fn lied(&mut self, at: Instant, slot: Slot, i: u8) {
        let large = self.large_mut(i);
        large.whence.lied = true;
        large.whence.drop(slot);
        let content = large.content;
        self.remark(Effect::Bad(slot, content));
        while let Some(f) = self.flights.find(|f| f.slot == slot && f.work.large() == Some(i)) {
            self.release(f);
        }
        self.judge(at);
    }
    /// Ends a fetch without success.
    fn fail(&mut self, ticket: Ticket, cause: Cause) {
        let flying = |s: &Self, f: &Flight| s.ticket(f.work) == ticket;
        while let Some(f) = self.flights.find(|f| flying(self, f)) {
            self.end_flight(f.slot, f.id);
            self.remark(Effect::Ask(f.slot, Ask::Cancel { id: f.id }));
        }
        let small = self.smalls.iter().position(|s| s.as_ref().is_some_and(|s| s.ticket == ticket));
        let large = self.larges.iter().position(|l| l.as_ref().is_some_and(|l| l.ticket == ticket));
        if let Some(i) = small {
            self.smalls[i] = None;
            for _ in 0..self.fresh.len() {
                let j = self.fresh.pop_front().expect("counted");
                if j as usize != i {
                    self.refresh(j);
                }
            }
        }
        if let Some(i) = large {
            self.larges[i] = None;
        }
        if small.is_some() || large.is_some() {
            self.end_with(Effect::Failed(ticket, cause));
        }
    }
}

impl Work {
    fn large(&self) -> Option<u8> {
        match *self {
            Work::Small(_) => None,
            Work::Root(i) | Work::Node(i) | Work::Leaf(i, _) => Some(i),
        }
    }
}
