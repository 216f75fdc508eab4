//! Chunks in pieces: the list of a chunk's pieces is asked for, the driver puts together what it knows of them, and what
//! is missing is asked for as ranges of the chunk.
//!
//! The driver keeps what it put together, at most [`PATCHES`] chunks at a time. Names of pieces are short: a patch that
//! does not come out right says nothing of its source, and the chunk is asked for whole.

use super::super::message::{Ask, Ranges};
use super::flights::{Goal, Work};
use super::types::{Bank, Body, Draft, Effect, Piecemeal};
use super::{Swarm, place_of};
use crate::content::Neighbours;
use crate::ids::{Slot, SlotSet};
use crate::peer::Cause;
use crate::time::Instant;

/// Chunks that are asked for in pieces at once.
pub(super) const PATCHES: usize = 16;
/// Bytes that a list of pieces is taken to have.
pub(super) const LIST: u32 = 2048;

/// A chunk of which some parts are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    pub goal: Goal,
    pub ranges: Ranges,
    flying: bool,
}

/// See the module.
pub(super) struct Patches {
    table: [Option<Patch>; PATCHES],
    /// Lists that are asked for: each will need a place.
    lists: usize,
}

impl Patches {
    pub(super) const fn new() -> Patches {
        Patches { table: [None; PATCHES], lists: 0 }
    }
    /// Whether another list may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.table.iter().flatten().count() + self.lists < PATCHES
    }
    pub(super) fn get(&self, p: u8) -> Patch {
        self.at(p).expect("an ask's patch is there")
    }
    pub(super) fn at(&self, p: u8) -> Option<Patch> {
        self.table[p as usize]
    }
    /// Those that stand, with their places.
    fn iter(&self) -> impl Iterator<Item = (u8, Patch)> {
        self.table.iter().enumerate().filter_map(|(i, p)| p.map(|p| (i as u8, p)))
    }
    /// What is not being asked for now.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Goal> {
        self.iter().filter(|(_, patch)| !patch.flying).map(|(_, patch)| patch.goal)
    }
    pub(super) fn remove(&mut self, p: u8) {
        self.table[p as usize] = None;
    }
    /// The ask for a list ended.
    pub(super) fn listed(&mut self) {
        self.lists -= 1;
    }
    /// The ask for what is missing ended without it.
    pub(super) fn grounded(&mut self, p: u8) {
        if let Some(patch) = &mut self.table[p as usize] {
            patch.flying = false;
        }
    }
    fn add(&mut self, goal: Goal, ranges: Ranges) {
        let free = self.table.iter_mut().find(|p| p.is_none()).expect("room was kept");
        *free = Some(Patch { goal, ranges, flying: false });
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Swarm<B, K> {
    /// What the list of pieces that answers that ask is of; none if nobody waits for it any more.
    pub fn expect_pieces(&self, slot: Slot, id: u32) -> Option<Piecemeal> {
        let Work::Pieces(goal) = self.flights.get(slot, id)?.work else { return None };
        let neighbours = match goal {
            Goal::Small(_) => Neighbours::default(),
            Goal::Leaf(i, place) => self.large(i).neighbours(place as usize),
        };
        Some(Piecemeal { expect: self.expect_of(goal), neighbours })
    }

    /// A list of pieces that [`Swarm::expect_pieces`] told of came, and this could be made of it.
    pub fn handle_pieces(&mut self, at: Instant, slot: Slot, id: u32, draft: Draft) {
        let Some(flight) = self.flights.get(slot, id) else { return };
        self.source_mut(slot).answers(at, flight.at);
        let Work::Pieces(goal) = flight.work else { return self.lied_by(at, flight) };
        if let Draft::Whole(Body::Unwritten(errno)) = draft {
            let ticket = self.ticket(place_of(goal));
            return self.fail(ticket, Cause::Os(errno));
        }
        self.end_flight(slot, id);
        match draft {
            Draft::Whole(Body::Good) => {
                self.useful(goal);
                self.reached(goal);
            }
            Draft::Missing(ranges) if ranges.total() > 0 => {
                self.useful(goal);
                self.patches.add(goal, ranges);
            }
            _ => self.want_plain(goal, true),
        }
    }

    /// What was missing came, and the chunk is right now, or is not.
    pub(super) fn patched(&mut self, p: u8, good: bool) {
        let goal = self.patches.get(p).goal;
        self.patches.remove(p);
        if good {
            self.reached(goal);
        } else {
            self.want_plain(goal, false);
        }
    }

    fn useful(&mut self, goal: Goal) {
        if let Goal::Leaf(i, _) = goal {
            self.large_mut(i).useful();
        }
    }
    fn want_plain(&mut self, goal: Goal, useless: bool) {
        match goal {
            Goal::Small(i) => {
                let small = self.small_mut(i);
                (small.pieces, small.flight) = (false, None);
                self.refresh(i);
            }
            Goal::Leaf(i, place) => self.large_mut(i).want_plain(place as usize, useless),
        }
    }

    /// Asks for the list of pieces.
    pub(super) fn ask_pieces(&mut self, at: Instant, slot: Slot, goal: Goal) -> Effect {
        let expect = self.expect_of(goal);
        let content = match goal {
            Goal::Small(i) => self.small(i).content,
            Goal::Leaf(i, _) => self.large(i).content,
        };
        self.patches.lists += 1;
        if let Goal::Leaf(i, _) = goal {
            self.large_mut(i).lists += 1;
        }
        let id = self.start(at, slot, Work::Pieces(goal), LIST);
        Effect::Ask(slot, Ask::Pieces { id, content, offset: expect.offset, len: expect.len })
    }

    /// Asks for what is missing of a patch.
    pub(super) fn next_patch(&mut self, at: Instant, rooms: SlotSet) -> Option<Effect> {
        let ready = self.patches.iter().filter(|(_, patch)| !patch.flying).find_map(|(p, patch)| {
            let left = self.whence(place_of(patch.goal)).left();
            Some((p, patch, self.least_loaded(SlotSet(left.0 & rooms.0))?))
        });
        let (p, patch, slot) = ready?;
        let expect = self.expect_of(patch.goal);
        let content = match patch.goal {
            Goal::Small(i) => self.small(i).content,
            Goal::Leaf(i, _) => self.large(i).content,
        };
        let id = self.start(at, slot, Work::Patch(p), patch.ranges.total());
        self.patches.table[p as usize] = Some(Patch { flying: true, ..patch });
        Some(Effect::Ask(slot, Ask::Ranges { id, content, offset: expect.offset, ranges: patch.ranges }))
    }
}
