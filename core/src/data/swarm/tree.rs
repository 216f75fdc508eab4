//! How a large content's tree becomes known: from its root down, one node a level, as far as the window has room.
//!
//! Nodes are asked of who has all of the content; where none can be asked, of fellows: a walk is in the file's order, so
//! whoever knows a chunk has come by every node that begins no later.

use super::super::message::{SHORT_BYTES, Wants};
use super::Swarm;
use super::file::{Form, Large, Stage};
use super::flights::{Flight, Work};
use super::notes::{fill, note};
use super::places::WINDOW;
use super::types::{Bank, Effect};
use crate::content::{NODE_MAX, Root, Step, Walker, Want, ZERO_CHUNK, entry_bytes, is_sampled};
use crate::data::message::Ask;
use crate::ids::SlotSet;
use crate::mutant::{self, Mutant};
use crate::time::Instant;

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Large<B, K> {
    /// Takes a root, if it is this content's.
    pub(super) fn take_root(&mut self, root: Root) -> bool {
        let named = root.file_id() == self.content || mutant::on(Mutant::SwarmRoot);
        let fits = root.is_valid() && root.size == self.size && named;
        if !fits || !matches!(self.stage, Stage::Rootless(_)) {
            return false;
        }
        let Stage::Rootless(memory) = core::mem::replace(&mut self.stage, Stage::Moving) else {
            unreachable!("looked at just now")
        };
        let walker = Walker::new(root, memory).expect("a valid root");
        self.bank.rooted(&root);
        self.stage = Stage::Walking(walker);
        self.advance();
        true
    }

    /// Takes what was asked for of the node that is needed. False if it is wrong and nothing but its source can be at
    /// fault; else the node may have to be asked for once more, whole.
    pub(super) fn take_node(&mut self, bytes: &[u8]) -> bool {
        let Some(want) = self.want else { return false };
        match self.form {
            Form::Full => self.feed(&want, bytes),
            Form::Short => false,
            Form::Some(wants) => {
                let mut draft = self.draft;
                let whole = fill(&mut draft, want.level, self.count as usize, &wants, bytes);
                // A short name may stand for another entry than the one that is known here.
                if whole.is_none_or(|n| !self.feed(&want, &draft[..n])) {
                    self.form = Form::Full;
                }
                true
            }
        }
    }
    fn feed(&mut self, want: &Want, bytes: &[u8]) -> bool {
        let Stage::Walking(walker) = &mut self.stage else { return false };
        if walker.feed(bytes).is_err() {
            return false;
        }
        self.bank.listed(want.level, want.offset, bytes);
        self.want = None;
        self.advance();
        true
    }
    /// Takes the short names of the node that is needed.
    pub(super) fn take_short(&mut self, names: &[u8]) {
        let Some(want) = self.want else { return };
        if self.form != Form::Short {
            return;
        }
        self.form = Form::Full;
        let (names, rest) = names.as_chunks::<SHORT_BYTES>();
        if !rest.is_empty() || names.is_empty() || names.len() > NODE_MAX {
            return;
        }
        let width = entry_bytes(want.level);
        let mut wants: Wants = [0; NODE_MAX / 8];
        let mut missing = 0;
        for (i, name) in names.iter().enumerate() {
            match self.bank.entry(want.level, *name) {
                Some(entry) => _ = entry.encode(want.level, &mut self.draft[i * width..]),
                None => {
                    wants[i / 8] |= 1 << (i % 8);
                    missing += 1;
                }
            }
        }
        self.count = names.len() as u16;
        if missing == 0 {
            let draft = self.draft;
            self.feed(&want, &draft[..names.len() * width]);
        } else if missing < names.len() {
            self.form = Form::Some(wants);
        }
    }

    /// Moves the window on, and walks until it is full or a node is needed that is not known here.
    pub(super) fn advance(&mut self) {
        while self.base < self.end && self.done.has(self.base as usize % WINDOW) {
            let place = self.base as usize % WINDOW;
            self.done.remove(place);
            self.passed += self.leaf(place).len as u64;
            self.base += 1;
        }
        let Stage::Walking(walker) = &mut self.stage else { return };
        while !self.ended && self.want.is_none() && ((self.end - self.base) as usize) < WINDOW {
            match walker.step() {
                Step::Need(want) => {
                    let known = self.bank.node(want.level, want.offset, &want.hash, &mut self.draft);
                    let bytes = known.map(|n| &self.draft[..n]).filter(|b| walker.feed(b).is_ok());
                    match bytes {
                        Some(bytes) => self.bank.listed(want.level, want.offset, bytes),
                        None => {
                            self.want = Some(want);
                            self.form = if self.bank.is_empty() { Form::Full } else { Form::Short };
                        }
                    }
                }
                Step::End => self.ended = true,
                Step::Leaf(leaf) => {
                    let place = self.end as usize % WINDOW;
                    note(self.leaves.as_mut(), place, &leaf);
                    self.looked.remove(place);
                    self.guessed.remove(place);
                    self.plain.remove(place);
                    self.coming.remove(place);
                    match self.fellows.is_mine(&leaf.hash) {
                        true => self.mine.add(place),
                        false => self.mine.remove(place),
                    }
                    // What is zeros need not travel: a hole is as good.
                    let known = (leaf.offset < self.present && !mutant::on(Mutant::SwarmPart))
                        || leaf.hash == ZERO_CHUNK
                        || self.bank.may_have(&leaf.hash);
                    if known {
                        self.check.add(place)
                    } else {
                        self.wanted.add(place);
                        if self.end == 0 || is_sampled(&leaf.hash) {
                            // It is a sample: one that finds no room is not missed.
                            let _ = self.finds.push_back(leaf.hash);
                        }
                    }
                    self.end += 1;
                }
            }
        }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Swarm<B, K> {
    /// Fellows that know the node which the walk needs.
    fn knowing(&self, i: u8) -> SlotSet {
        let large = self.large(i);
        if mutant::on(Mutant::SwarmTree) { SlotSet(0) } else { large.fellows.knowing(large.end) }
    }
    /// Who can bring the node that the walk needs.
    fn tellers(&self, i: u8) -> SlotSet {
        SlotSet(self.large(i).whence.left().0 | self.knowing(i).0)
    }
    /// Asks for what the walk needs.
    pub(super) fn next_node(&mut self, at: Instant, i: u8, rooms: SlotSet) -> Option<Effect> {
        let large = self.large(i);
        let holder = self.least_loaded(SlotSet(large.whence.left().0 & rooms.0));
        let slot = holder.or_else(|| self.least_loaded(SlotSet(self.knowing(i).0 & rooms.0)))?;
        let (content, form) = (large.content, large.form);
        let (work, level, offset) = match (&large.stage, large.want) {
            _ if large.flight.is_some() => return None,
            (Stage::Rootless(_), _) => (Work::Root(i), 0, 0),
            (_, Some(want)) => (Work::Node(i), want.level, want.offset),
            _ => return None,
        };
        let id = self.start(at, slot, work, 0);
        self.large_mut(i).flight = Some(id);
        Some(Effect::Ask(
            slot,
            match (level, form) {
                (1.., Form::Short) => Ask::Short { id, content, level, offset },
                (1.., Form::Some(wants)) => Ask::Entries { id, content, level, offset, wants },
                _ => Ask::Node { id, content, level, offset },
            },
        ))
    }
    /// Who can bring what was asked for.
    pub(super) fn could_bring(&self, flight: &Flight) -> SlotSet {
        match flight.work {
            Work::Root(i) | Work::Node(i) => self.tellers(i),
            Work::Leaf(i, place) => self.bringers(i, place as usize),
            work => self.whence(self.place(work)).left(),
        }
    }
}
