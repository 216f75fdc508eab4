//! What to do next, derived from the state: which ask goes to whom, whom to dial, what time alone decides.

use super::flights::{Flight, Goal, Work};
use super::source::State;
use super::types::Bank;
use super::{Effect, LARGES, Swarm, place_of};
use crate::data::message::Ask;
use crate::ids::{Slot, SlotSet, Ticket};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::peer::Cause;
use crate::time::{Duration, Instant};

/// How often time alone is looked at while something is fetched.
pub(super) const TICK: Duration = Duration::millis(100);
/// A source that brought nothing for so long loses its asks to others.
const STALL: Duration = Duration::secs(4);
/// A link that brought nothing for so long is dead.
const DEAD: Duration = Duration::secs(15);
/// An ask that is so old is taken back, whatever its source brings meanwhile.
const OLD: Duration = Duration::secs(600);
/// One that is so old, and whose source has answered later ones, is withheld: it goes to whoever else has it.
const WITHHELD: Duration = Duration::secs(20);
/// Sources of a large content that are linked, if there are so many.
const SEVERAL: u32 = 4;
/// An ask younger than this is not taken over by a faster source.
const YOUNG: Duration = Duration::millis(500);
/// Nor, if it is out at a fellow, by a holder before this.
const OVERDUE: Duration = Duration::secs(2);

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Swarm<B, K> {
    /// What to do next; none: nothing before the next fact or timeout.
    pub fn poll_effect(&mut self, at: Instant) -> Option<Effect> {
        self.handle_timeout(at);
        if let Some(slot) = self.hangs.iter().next() {
            self.hangs.remove(slot);
            return Some(Effect::Hang(slot));
        }
        if let Some(effect) = self.due.pop_front() {
            return Some(effect);
        }
        if !self.dirty {
            return None;
        }
        let effect = self
            .next_ask(at)
            .or_else(|| self.next_find())
            .or_else(|| self.next_check())
            .or_else(|| self.next_have(at))
            .or_else(|| self.next_dial(at));
        self.dirty = effect.is_some();
        effect
    }

    /// Devices that can be asked for something now.
    fn rooms(&self) -> SlotSet {
        self.slots_where(|s| s.has_room())
    }
    pub(super) fn slots_where(&self, test: impl Fn(&super::Source) -> bool) -> SlotSet {
        let mut set = SlotSet(0);
        for (i, source) in self.sources.iter().enumerate() {
            if test(source) {
                set.add(Slot(i as u8));
            }
        }
        set
    }
    pub(super) fn least_loaded(&self, among: SlotSet) -> Option<Slot> {
        among.iter().min_by_key(|s| self.source(*s).load())
    }

    fn next_ask(&mut self, at: Instant) -> Option<Effect> {
        let small = self.slots_where(|s| s.has_room_for_small());
        if small.is_empty() || !self.flights.has_room() {
            return None;
        }
        let rooms = if self.flights.has_spare() { self.rooms() } else { SlotSet(0) };
        let free = self.limit.free(at);
        if free > at {
            self.tick_at = self.tick_at.min(free);
            return None;
        }
        self.next_small(at, small)
            .or_else(|| self.next_patch(at, rooms))
            .or_else(|| self.next_large(at, rooms))
            .or_else(|| self.next_steal(at, rooms))
    }

    fn next_small(&mut self, at: Instant, rooms: SlotSet) -> Option<Effect> {
        for _ in 0..self.fresh.len() {
            let i = self.fresh.pop_front().expect("counted");
            let small = *self.small(i);
            let Some(slot) = self.least_loaded(SlotSet(small.whence.left().0 & rooms.0)) else {
                self.refresh(i);
                continue;
            };
            if small.pieces && self.patches.has_room() {
                return Some(self.ask_pieces(at, slot, Goal::Small(i)));
            }
            let id = self.start(at, slot, Work::Small(i), small.size);
            self.small_mut(i).flight = Some(id);
            let ask = Ask::Chunk { id, content: small.content, offset: 0, len: small.size };
            return Some(Effect::Ask(slot, ask));
        }
        None
    }

    fn next_large(&mut self, at: Instant, rooms: SlotSet) -> Option<Effect> {
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        (0..LARGES as u32).find_map(|n| {
            let i = (turn.wrapping_add(n) % LARGES as u32) as u8;
            self.larges[i as usize].as_ref()?;
            let (slot, place, pieces) = match self.next_node(at, i, rooms) {
                Some(effect) => return Some(effect),
                None => self.next_chunk(at, i, rooms)?,
            };
            Some(match pieces {
                true => self.ask_pieces(at, slot, Goal::Leaf(i, place as u16)),
                false => self.ask_leaf(at, slot, i, place),
            })
        })
    }

    /// The next chunk to ask for: of whom, and whether in pieces.
    fn next_chunk(&mut self, at: Instant, i: u8, rooms: SlotSet) -> Option<(Slot, usize, bool)> {
        if self.large(i).is_finding() {
            return None;
        }
        if !self.large(i).fellows.is_empty() {
            return self.next_shared(at, i, rooms);
        }
        let room = self.patches.has_room();
        let slot = self.least_loaded(SlotSet(self.large(i).whence.left().0 & rooms.0))?;
        let large = self.large_mut(i);
        let (all, from) = (large.wanted, large.base as usize);
        large.next_wanted(room, &all, from).map(|(place, pieces)| (slot, place, pieces))
    }

    fn ask_leaf(&mut self, at: Instant, slot: Slot, i: u8, place: usize) -> Effect {
        let large = self.large_mut(i);
        let (leaf, content) = (large.leaf(place), large.content);
        if large.whence.left().has(slot) {
            large.comes(place);
        }
        let id = self.start(at, slot, Work::Leaf(i, place as u16), leaf.len);
        Effect::Ask(slot, Ask::Chunk { id, content, offset: leaf.offset, len: leaf.len })
    }

    pub(super) fn start(&mut self, at: Instant, slot: Slot, work: Work, len: u32) -> u32 {
        self.limit.take(at, len.into());
        self.source_mut(slot).asked(at, len);
        self.flights.start(slot, work, len, at)
    }

    /// A source with nothing left to ask of it takes over what a much slower one owes.
    fn next_steal(&mut self, at: Instant, rooms: SlotSet) -> Option<Effect> {
        if !self.may_steal {
            return None;
        }
        let found = self.flights.iter().filter(|f| at.since(f.at) >= YOUNG).filter_map(|f| {
            let Work::Leaf(i, place) = f.work else { return None };
            let mut others = SlotSet(self.bringers(i, place as usize).0 & rooms.0);
            others.remove(f.slot);
            // Holders are spared what a fellow will bring.
            if self.is_fellow(i, f.slot) && at.since(f.at) < OVERDUE {
                others.0 &= !self.large(i).whence.left().0;
            }
            let thief = self.least_loaded(others)?;
            self.source(thief).speed()?;
            let (owed, own) = (self.source(f.slot).backlog(0), self.source(thief).backlog(f.len));
            (owed.0 > 2 * own.0).then_some((f, thief, i, place))
        });
        let Some((flight, thief, i, place)) = found.max_by_key(|(f, ..)| f.at) else {
            self.may_steal = false;
            return None;
        };
        self.release(flight);
        self.large_mut(i).wanted.remove(place as usize);
        self.remark(Effect::Ask(flight.slot, Ask::Cancel { id: flight.id }));
        Some(self.ask_leaf(at, thief, i, place as usize))
    }

    fn next_find(&mut self) -> Option<Effect> {
        let next = |l: &mut super::Large<B, K>| l.next_find().map(|hash| Effect::Find(l.ticket, hash));
        self.larges.iter_mut().flatten().find_map(next)
    }
    fn next_check(&mut self) -> Option<Effect> {
        let next = |l: &mut super::Large<B, K>| {
            l.next_check().map(|(leaf, near)| Effect::Check(l.ticket, leaf, near))
        };
        self.larges.iter_mut().flatten().find_map(next)
    }

    fn next_dial(&mut self, at: Instant) -> Option<Effect> {
        let off = self.slots_where(|s| s.state == State::Off);
        let reach = self.slots_where(|s| matches!(s.state, State::Open(_) | State::Dialling));
        if off.is_empty() {
            return None;
        }
        let wish = |left: SlotSet, most: u32| {
            let enough = SlotSet(left.0 & reach.0).len() >= most;
            let tries = SlotSet(left.0 & off.0);
            (!enough && !tries.is_empty()).then_some(tries)
        };
        let larges = self.larges.iter().flatten().map(|l| (l.whence.left(), SEVERAL));
        let smalls = self.fresh.iter().map(|i| (self.small(*i).whence.left(), 1));
        let patches = self.patches.waiting().map(|goal| (self.whence(place_of(goal)).left(), 1));
        let fellows = [(self.fellows(), limits::DEVICES as u32)];
        // What is out at a source that brings nothing goes to another as soon as one is linked.
        let silent = self.slots_where(|s| s.count > 0 && s.silence(at) >= STALL);
        let stuck = self.flights.iter().filter(|f| silent.has(f.slot));
        let stuck = stuck.map(|f| (SlotSet(self.could_bring(&f).0 & !silent.0), 1));
        let tries = smalls
            .chain(patches)
            .chain(larges)
            .chain(fellows)
            .chain(stuck)
            .find_map(|(left, most)| wish(left, most))?;
        self.turn = self.turn.wrapping_add(1);
        let slot = tries.iter().nth((self.turn % tries.len()) as usize).expect("it is not empty");
        self.source_mut(slot).state = State::Dialling;
        Some(Effect::Dial(slot))
    }

    /// What time alone decides.
    pub(super) fn tick(&mut self, at: Instant) {
        self.tick_at = at + TICK;
        self.dirty = true;
        self.may_steal = true;
        let (me, lost) = (self.me, self.slots_where(|s| s.is_off()));
        for large in self.larges.iter_mut().flatten() {
            large.fellows.tick(at);
            large.settle(at, me, lost);
        }
        self.judge(at);
        for i in 0..limits::DEVICES {
            let source = &mut self.sources[i];
            source.pause = source.pause.filter(|until| *until > at);
            if let Some(until) = source.pause {
                self.tick_at = self.tick_at.min(until);
            }
            match source.state {
                State::Failed(_) => source.forgive(at, false),
                State::Open(_) if source.count > 0 || source.is_busy() => self.look_after(at, Slot(i as u8)),
                _ => {}
            }
        }
        while let Some(old) = self.flights.find(|f| at.since(f.at) >= OLD) {
            self.release(old);
            self.remark(Effect::Ask(old.slot, Ask::Cancel { id: old.id }));
        }
        while let Some(f) = self.flights.find(|f| self.is_withheld(at, f)) {
            self.release(f);
            self.lacks(at, f);
            self.remark(Effect::Ask(f.slot, Ask::Cancel { id: f.id }));
        }
    }

    /// Whether an ask was passed over by its source, which goes on otherwise, and another device could answer it.
    fn is_withheld(&self, at: Instant, f: &Flight) -> bool {
        if at.since(f.at) < WITHHELD || self.source(f.slot).answered <= f.at || mutant::on(Mutant::SwarmHeld)
        {
            return false;
        }
        let mut others = SlotSet(self.could_bring(f).0 & self.slots_where(|s| s.is_open()).0);
        others.remove(f.slot);
        !others.is_empty()
    }

    /// Looks whether a source that owes something is stalled or dead.
    fn look_after(&mut self, at: Instant, slot: Slot) {
        if mutant::on(Mutant::SwarmStall) {
            return;
        }
        let silence = self.source(slot).silence(at);
        if silence >= DEAD {
            self.release_all(slot);
            self.source_mut(slot).died(at, silence);
            self.larges.iter_mut().flatten().for_each(|l| l.fellows.closed(at, slot));
            self.unlinked(slot);
            self.hangs.add(slot);
        } else if at.since(self.source(slot).progress) >= STALL {
            let mut others = self.slots_where(|s| s.is_open() && s.silence(at) < STALL);
            others.remove(slot);
            let movable = |s: &Self, f: &Flight| f.slot == slot && s.could_bring(f).0 & others.0 != 0;
            if self.flights.find(|f| movable(self, f)).is_some() {
                self.source_mut(slot).stalls(at, at + STALL);
            }
            while let Some(f) = self.flights.find(|f| movable(self, f)) {
                self.release(f);
                self.remark(Effect::Ask(slot, Ask::Cancel { id: f.id }));
            }
        }
    }

    /// Ends the fetches that nobody is left for.
    pub(super) fn judge(&mut self, at: Instant) {
        let lost = self.slots_where(|s| s.is_lost(at));
        let verdict = |whence: &super::Whence, hope: bool| {
            let left = whence.left();
            match (left.is_empty(), whence.lied) {
                (true, _) if hope => None,
                (true, true) => Some(Cause::Corrupt),
                (true, false) => Some(Cause::NoSource),
                (false, _) if lost.covers(left) && !hope => Some(Cause::Unreachable),
                (false, _) => None,
            }
        };
        loop {
            let smalls = self.smalls.iter().flatten().map(|s| (s.ticket, &s.whence, false));
            let larges = self.larges.iter().flatten().map(|l| (l.ticket, &l.whence, l.is_hopeful(at)));
            let end: Option<(Ticket, Cause)> =
                smalls.chain(larges).find_map(|(t, w, h)| verdict(w, h).map(|c| (t, c)));
            let Some((ticket, cause)) = end else { return };
            self.fail(ticket, cause);
        }
    }
}
