//! Which chunk of a large content is asked of whom, when others seek it too.
//!
//! What a fellow has is asked of a fellow. A holder is asked for the chunks that this device owns; for others only when
//! it would stand idle otherwise: a few at a time, since what is the others' they may be about to get.

use super::fellows::Fellows;
use super::file::Large;
use super::places::Places;
use super::types::{Bank, Effect};
use super::{Swarm, plan};
use crate::data::message::{EVERYTHING, Have};
use crate::ids::{ContentId, Slot, SlotSet, Ticket};
use crate::limits;
use crate::time::{Duration, Instant};

/// A holder of whom nothing is wanted stands idle for so long before it is asked for what others own.
const PATIENCE: Duration = Duration::millis(300);
/// Then it brings so much of what it could have brought meanwhile: one part in this.
const LOAN: u64 = 4;
/// When no chunk came for so long, from anybody, a holder is asked for any.
const DROUGHT: Duration = Duration::millis(700);
/// When the first chunk of the window has been missing for so long, too; and what a fellow said to come to it counts for
/// so long, from what it last said.
const STUCK: Duration = Duration::secs(2);
/// Without a holder, fellows may still have what is missing: if nothing came for so long, they have not.
const HOPE: Duration = Duration::secs(5);
/// The mark of numbers of messages that are no asks.
pub(super) const SAYING: u32 = 1 << 31;

/// How far a content has come, and how long its holders have stood idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When it began, or more of its tree came.
    grown: Instant,
    /// When a chunk last came, and how many had; when the window last moved, and where to.
    came: Instant,
    arrivals: u32,
    moved: Instant,
    base: u32,
    /// Since when no own chunk is left to ask holders for, and none is on its way.
    idle: Option<Instant>,
    /// Chunks of others that may be asked of holders.
    loan: u32,
}

impl Pace {
    pub(super) fn new(at: Instant) -> Pace {
        Pace { grown: at, came: at, arrivals: 0, moved: at, base: 0, idle: None, loan: 0 }
    }
    /// More of its tree came.
    pub(super) fn grows(&mut self, at: Instant) {
        self.grown = at;
    }
    /// Notes how far it has come.
    pub(super) fn note(&mut self, at: Instant, base: u32, end: u32, arrivals: u32) {
        if self.arrivals != arrivals || end == 0 {
            (self.came, self.arrivals) = (at, arrivals);
        }
        if self.base != base || end == 0 {
            (self.moved, self.base) = (at, base);
        }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Large<B, K> {
    /// What a holder may be asked for; `speed` is what it brings in a second.
    fn holders_share(&mut self, at: Instant, speed: u64) -> Places {
        if self.fellows.is_awaited(at) {
            return Places::NONE;
        }
        let wanted = self.wanted;
        // A slow holder may well need longer for what it sends to others.
        let slow = Duration(4 * limits::CHUNK_MAX as u64 * 1_000_000 / speed.max(1)).max(STUCK);
        let since = Instant(at.0.saturating_sub(slow.0));
        let (here, coming) = self.fellows.offers(since, self.base, self.end);
        let free = wanted.without(&here);
        let free = free.without(&coming);
        let own = free.and(&self.mine);
        let pace = &mut self.pace;
        if own.has_any() {
            (pace.idle, pace.loan) = (None, 0);
            return own;
        }
        if pace.loan == 0 || !free.has_any() {
            if !wanted.has_any() || self.coming.has_any() {
                pace.idle = None;
                return Places::NONE;
            }
            let drought = if coming.has_any() { slow } else { DROUGHT };
            if at.since(pace.came) >= drought || at.since(pace.moved) >= slow {
                return wanted;
            }
            if !free.has_any() {
                return Places::NONE;
            }
            if at.since(*pace.idle.get_or_insert(at)) < PATIENCE {
                return Places::NONE;
            }
            let bytes = speed * PATIENCE.0 / 1_000_000 / LOAN;
            pace.loan = 2 + (bytes / limits::CHUNK_MIN as u64).min(1000) as u32;
            pace.idle = None;
        }
        free
    }
    /// Chunks of which an older version may be here: what differs is so little that each seeker asks a holder for it.
    fn patchable(&self) -> Places {
        if self.tries_pieces() { self.wanted.without(&self.plain) } else { Places::NONE }
    }
    /// One of those was asked for.
    fn lent(&mut self, place: usize) {
        if !self.mine.has(place) {
            self.pace.loan = self.pace.loan.saturating_sub(1);
        }
    }
    /// Whether fellows may bring what is missing, though no holder is left.
    pub(super) fn is_hopeful(&self, at: Instant) -> bool {
        let since = if self.end == 0 { self.pace.grown } else { self.pace.came.max(self.pace.grown) };
        !self.fellows.is_empty() && at.since(since) < HOPE
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Swarm<B, K> {
    /// This device's own slot: seekers of one content share its chunks among them by their slots.
    pub fn handle_me(&mut self, me: Option<Slot>) {
        self.me = me;
        self.dirty = true;
    }

    /// What a device said it has. False if this device does not fetch that content: the answer is
    /// [`super::super::Refusal::Gone`].
    pub fn handle_have(&mut self, at: Instant, slot: Slot, have: &Have<'_>) -> bool {
        let mut known = false;
        for large in self.larges.iter_mut().flatten().filter(|l| l.content == have.content) {
            known = true;
            if large.whence.is_out(slot) {
                continue;
            }
            if have.base == EVERYTHING {
                large.fellows.remove(slot);
                large.whence.add(slot);
            } else if !large.whence.left().has(slot) {
                large.fellows.heard(at, slot, have);
            }
        }
        self.dirty |= known;
        known
    }

    /// Writes what [`Effect::Have`] is to send, to `out`, which has [`super::super::message::HAVE`] bytes; how many it
    /// took.
    pub fn encode_have(&self, slot: Slot, content: &ContentId, all: bool, out: &mut [u8]) -> usize {
        let large = self.larges.iter().flatten().find(|l| l.content == *content);
        match large.filter(|_| !all) {
            None => {
                Have { id: SAYING, content: *content, base: EVERYTHING, here: &[], coming: &[] }.encode(out)
            }
            Some(large) => large.encode_have(large.fellows.id(slot), out),
        }
    }
    /// It could not be sent.
    pub fn handle_unsaid(&mut self, slot: Slot, content: &ContentId) {
        let larges = self.larges.iter_mut().flatten().filter(|l| l.content == *content);
        larges.for_each(|l| l.fellows.untold(slot));
    }

    /// The fetch whose part file holds these bytes of a content, verified.
    pub fn holds(&self, content: &ContentId, offset: u64, len: u32) -> Option<Ticket> {
        let mut larges = self.larges.iter().flatten().filter(|l| l.content == *content);
        larges.find(|l| l.holds(offset, len)).map(|l| l.ticket)
    }

    /// A fellow that is to be told what is here now.
    pub(super) fn next_have(&mut self, at: Instant) -> Option<Effect> {
        let open = self.linked();
        for i in 0..self.larges.len() {
            let Some(content) = self.speaker(i) else { continue };
            let id = SAYING | self.said & !SAYING;
            let large = self.larges[i].as_mut().expect("it speaks");
            let state = large.news;
            if let Some(slot) = large.fellows.next_told(at, state, open, id) {
                self.said = self.said.wrapping_add(1);
                return Some(Effect::Have(slot, content, false));
            }
        }
        None
    }
    /// The content of that place, if fellows are told of it: of two fetches of one content, the first speaks.
    fn speaker(&self, i: usize) -> Option<ContentId> {
        let content = self.larges[i].as_ref().filter(|l| !l.fellows.is_empty())?.content;
        let first = self.larges.iter().position(|l| l.as_ref().is_some_and(|l| l.content == content));
        (first == Some(i)).then_some(content)
    }
    /// When the next one is.
    pub(super) fn next_saying(&self) -> Option<Instant> {
        let any = self.larges.iter().flatten().any(|l| !l.fellows.is_empty());
        let open = if any { self.linked() } else { return None };
        let speakers = (0..self.larges.len()).filter(|i| self.speaker(*i).is_some());
        let larges = speakers.filter_map(|i| self.larges[i].as_ref());
        larges.filter_map(|l| l.fellows.next_due(l.news, open)).min()
    }

    /// The next chunk to ask for of a large content that others seek too: of whom, and whether in pieces.
    pub(super) fn next_shared(&mut self, at: Instant, i: u8, rooms: SlotSet) -> Option<(Slot, usize, bool)> {
        let lost = self.slots_where(|s| s.is_off());
        let me = self.me;
        self.large_mut(i).settle(at, me, lost);
        let room = self.patches.has_room();
        let large = self.large(i);
        let mut tries = SlotSet(large.fellows.speakers().0 & rooms.0);
        while let Some(slot) = self.least_loaded(tries) {
            tries.remove(slot);
            self.turn = self.turn.wrapping_add(1);
            let turn = self.turn;
            let large = self.large_mut(i);
            let offer = large.fellows.offer(slot, large.base, large.end);
            let from = large.start(turn);
            if let Some((place, pieces)) = large.next_wanted(room, &offer, from) {
                return Some((slot, place, pieces));
            }
        }
        let mut tries = SlotSet(self.large(i).whence.left().0 & rooms.0);
        while let Some(slot) = self.least_loaded(tries) {
            tries.remove(slot);
            let speed = self.source(slot).speed().unwrap_or(0);
            let large = self.large_mut(i);
            let share = large.holders_share(at, speed).or(&large.patchable());
            let from = large.base as usize;
            if let Some((place, pieces)) = large.next_wanted(room, &share, from) {
                large.lent(place);
                return Some((slot, place, pieces));
            }
        }
        None
    }

    /// Who can bring a chunk.
    pub(super) fn bringers(&self, i: u8, place: usize) -> SlotSet {
        let large = self.large(i);
        let mut set = large.whence.left();
        for slot in large.fellows.speakers().iter() {
            if large.fellows.offer(slot, large.base, large.end).has(place) {
                set.add(slot);
            }
        }
        set
    }
    /// Whether a device is only a fellow: what it has not, another may have.
    pub(super) fn is_fellow(&self, i: u8, slot: Slot) -> bool {
        !self.large(i).whence.left().has(slot)
    }
    /// Fellows that are to be linked with.
    pub(super) fn fellows(&self) -> SlotSet {
        self.larges.iter().flatten().fold(SlotSet(0), |set, l| SlotSet(set.0 | l.fellows.slots().0))
    }
    /// A fetch is complete: whoever seeks the content, too, hears of it.
    pub(super) fn tell_all(&mut self, content: ContentId, fellows: &Fellows) {
        let open = self.linked();
        for slot in fellows.slots().iter().filter(|s| open.has(*s)) {
            self.remark(Effect::Have(slot, content, true));
        }
    }
}

const _: () = assert!(PATIENCE.0 > plan::TICK.0, "time alone is looked at often enough");
