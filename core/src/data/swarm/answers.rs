//! What sources answer, and what is believed of it.

use super::super::message::Refusal;
use super::flights::{Flight, Goal, Work};
use super::share::SAYING;
use super::types::{Bank, Body, Check, Effect, Expect};
use super::{PAUSE, Place, Swarm};
use crate::content::Root;
use crate::ids::{Slot, Ticket};
use crate::mutant::{self, Mutant};
use crate::peer::Cause;
use crate::time::Instant;

/// A root's bytes on the wire, about.
const ROOT: u64 = 64;

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Swarm<B, K> {
    /// What the body that answers that ask is; none if nobody waits for it any more.
    pub fn expect(&self, slot: Slot, id: u32) -> Option<Expect> {
        match self.flights.get(slot, id)?.work {
            Work::Small(i) => Some(self.expect_of(Goal::Small(i))),
            Work::Leaf(i, place) => Some(self.expect_of(Goal::Leaf(i, place))),
            Work::Patch(p) => {
                let patch = self.patches.get(p);
                Some(Expect { missing: Some(patch.ranges.total()), ..self.expect_of(patch.goal) })
            }
            Work::Root(_) | Work::Node(_) | Work::Pieces(_) => None,
        }
    }
    pub(super) fn expect_of(&self, goal: Goal) -> Expect {
        match goal {
            Goal::Small(i) => {
                let s = self.small(i);
                let check = Check::Whole(s.kind, s.content);
                Expect { ticket: s.ticket, offset: 0, len: s.size, check, missing: None }
            }
            Goal::Leaf(i, place) => {
                let large = self.large(i);
                let leaf = large.leaf(place as usize);
                let check = Check::Chunk(leaf.hash);
                Expect { ticket: large.ticket, offset: leaf.offset, len: leaf.len, check, missing: None }
            }
        }
    }

    /// Part of a body came from that device: it is slow, not dead.
    pub fn handle_progress(&mut self, at: Instant, slot: Slot) {
        self.source_mut(slot).progressed(at);
    }

    /// A root came.
    pub fn handle_root(&mut self, at: Instant, slot: Slot, id: u32, root: Root) {
        self.limit.take(at, ROOT);
        let Some(Flight { work: Work::Root(i), at: asked, .. }) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).answers(at, asked);
        self.end_flight(slot, id);
        self.large_mut(i).flight = None;
        if self.large_mut(i).take_root(root) {
            self.large_mut(i).pace.grows(at);
            self.finish_if_complete(i);
        } else {
            self.lied(at, slot, i);
        }
    }
    /// A node's entries came, all or those that were asked for.
    pub fn handle_node(&mut self, at: Instant, slot: Slot, id: u32, bytes: &[u8]) {
        self.limit.take(at, bytes.len() as u64);
        let Some(Flight { work: Work::Node(i), at: asked, .. }) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).answers(at, asked);
        self.end_flight(slot, id);
        self.large_mut(i).flight = None;
        if self.large_mut(i).take_node(bytes) {
            self.large_mut(i).pace.grows(at);
            self.finish_if_complete(i);
        } else {
            self.lied(at, slot, i);
        }
    }
    /// The short names of a node's entries came.
    pub fn handle_short(&mut self, at: Instant, slot: Slot, id: u32, names: &[u8]) {
        self.limit.take(at, names.len() as u64);
        let Some(Flight { work: Work::Node(i), at: asked, .. }) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).answers(at, asked);
        self.end_flight(slot, id);
        self.large_mut(i).flight = None;
        self.large_mut(i).take_short(names);
        self.finish_if_complete(i);
    }
    /// A body that [`Swarm::expect`] told of came wholly, and became this.
    pub fn handle_body(&mut self, at: Instant, slot: Slot, id: u32, body: Body) {
        let Some(flight) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).delivered(at, flight.len, flight.at);
        match (body, flight.work) {
            (_, Work::Root(_) | Work::Node(_) | Work::Pieces(_)) => self.lied_by(at, flight),
            (Body::Unwritten(errno), work) => {
                let ticket = self.ticket(self.place(work));
                self.fail(ticket, Cause::Os(errno));
            }
            (body, Work::Patch(p)) => {
                self.end_flight(slot, id);
                self.patched(p, body == Body::Good);
            }
            (Body::Bad, _) => self.lied_by(at, flight),
            (Body::Good, Work::Small(i)) => {
                self.end_flight(slot, id);
                self.reached(Goal::Small(i));
            }
            (Body::Good, Work::Leaf(i, place)) => {
                self.end_flight(slot, id);
                self.reached(Goal::Leaf(i, place));
            }
        }
    }
    /// It is here, verified.
    pub(super) fn reached(&mut self, goal: Goal) {
        match goal {
            Goal::Small(i) => {
                let small = self.smalls[i as usize].take().expect("a flight's content is there");
                self.end_with(Effect::Finished(small.ticket));
            }
            Goal::Leaf(i, place) => {
                self.large_mut(i).arrived(place as usize);
                self.finish_if_complete(i);
            }
        }
    }
    /// An ask was refused.
    pub fn handle_refused(&mut self, at: Instant, slot: Slot, id: u32, why: Refusal) {
        if id & SAYING != 0 {
            return self.unheard(at, slot, id, why);
        }
        let Some(flight) = self.flights.get(slot, id) else { return };
        self.release(flight);
        match why {
            Refusal::Busy => {
                self.source_mut(slot).busy(at, at + PAUSE);
                self.tick_at = self.tick_at.min(at + PAUSE);
            }
            Refusal::Gone | Refusal::Unknown if mutant::on(Mutant::SwarmGone) => {}
            Refusal::Gone | Refusal::Unknown => {
                self.source_mut(slot).progressed(at);
                self.lacks(at, flight);
                self.judge(at);
            }
        }
    }
    /// The source of an ask does not have what was asked for, or might as well not.
    pub(super) fn lacks(&mut self, at: Instant, flight: Flight) {
        let place = self.place(flight.work);
        match place {
            Place::Large(i) if self.is_fellow(i, flight.slot) => {
                self.large_mut(i).fellows.mute(at, flight.slot)
            }
            _ => self.whence_mut(place).drop(flight.slot),
        }
    }
    /// What a device was told of a content it does not fetch, or it does not know what that means.
    fn unheard(&mut self, at: Instant, slot: Slot, id: u32, why: Refusal) {
        for large in self.larges.iter_mut().flatten().filter(|l| l.fellows.told_by(slot, id)) {
            match why {
                Refusal::Unknown => large.fellows.bar(slot),
                Refusal::Busy | Refusal::Gone => large.fellows.mute(at, slot),
            }
        }
        self.dirty = true;
    }
    /// What [`Effect::Find`] asked for was looked for.
    pub fn handle_found(&mut self, ticket: Ticket) {
        for large in self.larges.iter_mut().flatten().filter(|l| l.ticket == ticket) {
            large.found();
            self.dirty = true;
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

    pub(super) fn lied_by(&mut self, at: Instant, flight: Flight) {
        self.release(flight);
        if mutant::on(Mutant::SwarmLiar) {
            return;
        }
        match self.place(flight.work) {
            Place::Large(i) => self.lied(at, flight.slot, i),
            Place::Small(i) => {
                let small = self.small_mut(i);
                small.whence.lied = true;
                small.whence.drop(flight.slot);
                let content = small.content;
                self.remark(Effect::Bad(flight.slot, content));
                self.judge(at);
            }
        }
    }
    /// A source of a large content sent what it does not hold.
    fn lied(&mut self, at: Instant, slot: Slot, i: u8) {
        let large = self.large_mut(i);
        large.whence.lied = true;
        large.whence.drop(slot);
        large.fellows.bar(slot);
        let content = large.content;
        self.remark(Effect::Bad(slot, content));
        while let Some(f) = self.flights.find(|f| f.slot == slot && self.place(f.work) == Place::Large(i)) {
            self.release(f);
        }
        self.judge(at);
    }
}
