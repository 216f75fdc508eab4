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
//! What is here already does not travel. A [`Bank`] knows the nodes and chunks of older versions and of other files: a
//! node that differs is asked for by short names, then the entries that are new; a chunk that is new, while an older
//! version is here, by its pieces ([`patch`]).
//!
//! Who seeks a large content, too, is a *fellow*: fellows tell each other what they have, and a chunk that one of them
//! has is asked of it; holders are asked for what is nowhere else, each seeker for other chunks ([`share`]).
//!
//! Invariants: every wanted part is either free to be asked for or out at exactly one source; what a source never
//! proved is never believed; once drained, the next timeout is in the future.

mod answers;
mod fellows;
mod file;
mod flights;
mod notes;
mod patch;
mod places;
mod plan;
mod share;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod whence;

pub use types::{Bank, Body, Check, Draft, Effect, Expect, Fetch, Lent, Piecemeal};

use super::Limit;
use super::message::Ask;
use crate::content::{LEVELS, NODE_BYTES, Root};
use crate::ids::{Slot, SlotSet, Ticket};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::peer::Cause;
use crate::record::Kind;
use crate::time::{Duration, Instant};
use file::{Large, Small};
use flights::{Flight, Flights, Goal, Work};
use heapless::Deque;
use patch::Patches;
use source::Source;
use whence::Whence;

/// Small contents at once.
pub const SMALLS: usize = 512;
/// Large contents at once.
pub const LARGES: usize = 8;
/// Bytes of memory that a large content's walk is lent.
pub const WALK_MEMORY: usize = LEVELS * NODE_BYTES;
/// Bytes of memory that the chunks of its window are lent.
pub const WINDOW_MEMORY: usize = file::WINDOW_MEMORY;

/// A busy source is left alone so long.
const PAUSE: Duration = Duration::millis(50);
/// Effects that stand queued at most: an end for every content, and some remarks.
const DUE: usize = SMALLS + LARGES + 128;

/// See the module. `B` is memory of a large content's walk, `K` what is known of what is here.
pub struct Swarm<B, K> {
    smalls: [Option<Small>; SMALLS],
    /// Small contents that are not asked for.
    fresh: Deque<u16, SMALLS>,
    larges: [Option<Large<B, K>>; LARGES],
    sources: [Source; limits::DEVICES],
    flights: Flights,
    patches: Patches,
    due: Deque<Effect, DUE>,
    /// Links that are to end: told before all else, for a device whose dead link stays cannot be used.
    hangs: SlotSet,
    /// Something may have become possible since the last drain.
    dirty: bool,
    /// Slow sources' asks may be taken over, once after each tick.
    may_steal: bool,
    tick_at: Instant,
    /// Spreads choices among equals.
    turn: u32,
    /// This device's slot; messages to fellows so far.
    me: Option<Slot>,
    said: u32,
    /// What may be asked for.
    limit: Limit,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Default for Swarm<B, K> {
    fn default() -> Self {
        Swarm::new()
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Swarm<B, K> {
    /// A machine that fetches nothing yet.
    pub fn new() -> Swarm<B, K> {
        Swarm {
            smalls: [None; SMALLS],
            fresh: Deque::new(),
            larges: [const { None }; LARGES],
            sources: [Source::new(); limits::DEVICES],
            flights: Flights::new(),
            patches: Patches::new(),
            due: Deque::new(),
            hangs: SlotSet(0),
            dirty: false,
            may_steal: false,
            tick_at: Instant(0),
            turn: 0,
            me: None,
            said: 0,
            limit: Limit::NONE,
        }
    }

    /// Whether a content of this size is lent something.
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
    /// Begins a fetch. There must be room, and memory if it needs some (both asserted).
    pub fn handle_fetch(&mut self, at: Instant, fetch: &Fetch, lent: Option<Lent<B, K>>) {
        let Fetch { ticket, kind, content, size, from, .. } = *fetch;
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
            let pieces = fetch.based && size >= file::PIECES_FROM as u64;
            let small = Small { ticket, kind, content, size: size as u32, whence, flight: None, pieces };
            self.smalls[place] = Some(small);
            self.refresh(place as u16);
        } else {
            let enough = |l: &Lent<B, K>| {
                l.walk.as_ref().len() >= WALK_MEMORY && l.window.as_ref().len() >= WINDOW_MEMORY
            };
            let lent = lent.filter(enough).expect("callers lend memory and a bank");
            let place = self.larges.iter().position(Option::is_none).expect("callers look for room");
            let mut large = Large::new(at, fetch, lent);
            large.fellows.name(at, SlotSet(fetch.seekers.0 & !from.0));
            self.larges[place] = Some(large);
        }
        if from.is_empty() {
            self.judge(at);
        }
    }
    /// Other sources than were said: who has it all, and who fetches it, too. Those that turned out not to have it stay
    /// out. One that was said before and is linked stays, unless it fetches it, too, until it says that it has it not, or
    /// its link ends.
    pub fn handle_sources(&mut self, at: Instant, ticket: Ticket, holders: SlotSet, seekers: SlotSet) {
        let stay = SlotSet(self.linked().0 & !seekers.0);
        for s in self.smalls.iter_mut().flatten().filter(|s| s.ticket == ticket) {
            s.whence.replace(holders, stay);
        }
        for l in self.larges.iter_mut().flatten().filter(|l| l.ticket == ticket) {
            l.whence.replace(holders, stay);
            let left = l.whence.left();
            l.fellows.name(at, SlotSet(seekers.0 & !left.0));
            left.iter().for_each(|slot| l.fellows.remove(slot));
        }
        self.dirty = true;
        self.judge(at);
    }
    /// No more bytes a second are asked for; none: no limit.
    pub fn handle_limit(&mut self, rate: Option<u64>) {
        self.limit.set(rate);
        self.dirty = true;
    }
    /// Gives a fetch up: it fails with [`Cause::Raced`]. Nothing if there is none of that ticket.
    pub fn handle_cancel(&mut self, ticket: Ticket) {
        self.fail(ticket, Cause::Raced);
    }
    /// A link to that device stands; one that stood before is gone.
    pub fn handle_open(&mut self, at: Instant, slot: Slot) {
        self.part(at, slot);
        self.source_mut(slot).opened(at);
        self.hangs.remove(slot);
        self.dirty = true;
    }
    /// It does not stand any more.
    pub fn handle_closed(&mut self, at: Instant, slot: Slot) {
        self.part(at, slot);
        self.unlinked(slot);
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
    /// Time has passed.
    pub fn handle_timeout(&mut self, at: Instant) {
        if !self.is_idle() && self.tick_at <= at {
            self.tick(at);
        }
        self.dirty = self.dirty || self.next_saying().is_some_and(|t| t <= at);
    }
    /// When to call [`Swarm::handle_timeout`]; none while nothing is fetched.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let saying = self.next_saying();
        (!self.is_idle()).then(|| saying.map_or(self.tick_at, |t| t.min(self.tick_at)))
    }

    /// Devices to which a link stands.
    pub fn linked(&self) -> SlotSet {
        self.slots_where(|s| s.is_open())
    }

    /// The link that stood is gone, whether or not another one takes its place.
    fn part(&mut self, at: Instant, slot: Slot) {
        if self.source(slot).is_open() {
            self.release_all(slot);
            self.source_mut(slot).closed(at);
            self.larges.iter_mut().flatten().for_each(|l| l.fellows.closed(at, slot));
            self.dirty = true;
        }
    }
    fn unlinked(&mut self, slot: Slot) {
        self.smalls.iter_mut().flatten().for_each(|s| s.whence.closed(slot));
        self.larges.iter_mut().flatten().for_each(|l| l.whence.closed(slot));
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
    fn small_mut(&mut self, i: u16) -> &mut Small {
        self.smalls[i as usize].as_mut().expect("a flight's content is there")
    }
    fn large(&self, i: u8) -> &Large<B, K> {
        self.larges[i as usize].as_ref().expect("a flight's content is there")
    }
    fn large_mut(&mut self, i: u8) -> &mut Large<B, K> {
        self.larges[i as usize].as_mut().expect("a flight's content is there")
    }
    /// Which content an ask is for.
    fn place(&self, work: Work) -> Place {
        match work {
            Work::Small(i) | Work::Pieces(Goal::Small(i)) => Place::Small(i),
            Work::Root(i) | Work::Node(i) | Work::Leaf(i, _) | Work::Pieces(Goal::Leaf(i, _)) => {
                Place::Large(i)
            }
            Work::Patch(p) => place_of(self.patches.get(p).goal),
        }
    }
    fn ticket(&self, place: Place) -> Ticket {
        match place {
            Place::Small(i) => self.small(i).ticket,
            Place::Large(i) => self.large(i).ticket,
        }
    }
    fn whence(&self, place: Place) -> &Whence {
        match place {
            Place::Small(i) => &self.small(i).whence,
            Place::Large(i) => &self.large(i).whence,
        }
    }
    fn whence_mut(&mut self, place: Place) -> &mut Whence {
        match place {
            Place::Small(i) => &mut self.small_mut(i).whence,
            Place::Large(i) => &mut self.large_mut(i).whence,
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
            self.tell_all(large.content, &large.fellows);
            self.end_with(Effect::Finished(large.ticket));
        }
    }

    /// Takes an ask off; what it asked for is not yet free again.
    fn end_flight(&mut self, slot: Slot, id: u32) {
        let flight = self.flights.get(slot, id).expect("callers looked it up");
        self.flights.end(id);
        self.source_mut(slot).ended(flight.len);
        if let Work::Pieces(goal) = flight.work {
            self.patches.listed();
            if let Goal::Leaf(i, _) = goal {
                self.large_mut(i).lists -= 1;
            }
        }
        self.dirty = true;
    }
    /// Takes an ask off; what it asked for is free to be asked of another.
    fn release(&mut self, flight: Flight) {
        self.end_flight(flight.slot, flight.id);
        match flight.work {
            Work::Small(i) | Work::Pieces(Goal::Small(i)) => {
                self.small_mut(i).flight = None;
                self.refresh(i);
            }
            Work::Root(i) | Work::Node(i) => self.large_mut(i).flight = None,
            Work::Leaf(i, place) | Work::Pieces(Goal::Leaf(i, place)) => {
                self.large_mut(i).grounded(place as usize)
            }
            Work::Patch(p) => self.patches.grounded(p),
        }
    }
    fn release_all(&mut self, slot: Slot) {
        while let Some(flight) = self.flights.find(|f| f.slot == slot) {
            match mutant::on(Mutant::SwarmLost) {
                true => self.end_flight(slot, flight.id),
                false => self.release(flight),
            }
        }
    }
    /// Ends a fetch without success.
    fn fail(&mut self, ticket: Ticket, cause: Cause) {
        let flying = |s: &Self, f: &Flight| s.ticket(s.place(f.work)) == ticket;
        while let Some(f) = self.flights.find(|f| flying(self, f)) {
            self.end_flight(f.slot, f.id);
            self.remark(Effect::Ask(f.slot, Ask::Cancel { id: f.id }));
        }
        for p in 0..patch::PATCHES as u8 {
            if self.patches.at(p).is_some_and(|patch| self.ticket(place_of(patch.goal)) == ticket) {
                self.patches.remove(p);
            }
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

/// A content that is being fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Small(u16),
    Large(u8),
}

fn place_of(goal: Goal) -> Place {
    match goal {
        Goal::Small(i) => Place::Small(i),
        Goal::Leaf(i, _) => Place::Large(i),
    }
}
