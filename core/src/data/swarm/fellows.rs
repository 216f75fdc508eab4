//! Fellow seekers of a large content: what each of them has, and which chunks this device gets from a holder so that the
//! others need not.
//!
//! Each chunk has one owner among all who seek the content: who comes first when their slots are mixed with the chunk's
//! name. Everybody computes the same, so each chunk leaves a holder about once, and comes to the others from its owner.

use super::places::{Places, WINDOW};
use crate::content::Hash;
use crate::data::message::Have;
use crate::ids::{Slot, SlotSet};
use crate::mutant::{self, Mutant};
use crate::time::{Duration, Instant};

/// Fellow seekers of one content that are listened to.
pub(super) const FELLOWS: usize = 15;
/// One of whom nothing was heard for so long since it was named does not count as an owner.
const GREET: Duration = Duration::secs(1);
/// So long it is waited for before a holder is asked for anything: it may have asked for the same.
const WORD: Duration = Duration::millis(30);
/// One that does not fetch the content (yet, or any more) is told nothing for so long.
const MUTE: Duration = Duration::secs(1);
/// Between two messages to a fellow.
const EVERY: Duration = Duration::millis(25);

/// A fellow, and what it last said.
#[derive(Clone, Copy, Debug)]
struct Fellow {
    slot: Slot,
    named: Instant,
    heard: bool,
    heard_at: Instant,
    base: u32,
    here: Places,
    coming: Places,
    /// It knows the names of so many chunks of the file's start, or more.
    knows: u32,
    /// Which of this device's states it was told, when, and the number of that message.
    told: Option<u32>,
    told_at: Instant,
    id: u32,
    mute: Option<Instant>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Fellows {
    list: heapless::Vec<Fellow, FELLOWS>,
    /// They sent what is wrong, or do not know how to tell.
    barred: SlotSet,
    me: Option<Slot>,
    /// Owners beside this device.
    owners: SlotSet,
}

impl Fellow {
    /// What it has, and what comes to it, of the chunks `base..end`.
    fn seen(&self, base: u32, end: u32) -> (Places, Places) {
        let top = self.base.saturating_add(WINDOW as u32).min(end);
        let window = Places::range(self.base.max(base), top);
        let below = Places::range(base, self.base.min(end));
        (self.here.and(&window).or(&below), self.coming.and(&window))
    }
    fn forget(&mut self) {
        (self.heard, self.base, self.here, self.coming) = (false, 0, Places::NONE, Places::NONE);
        (self.knows, self.told) = (0, None);
    }
    fn is_due(&self, state: u32) -> bool {
        self.told != Some(state) && self.mute.is_none()
    }
}

impl Fellows {
    /// Those who seek the content, as the tracker knows. Others stay as long as they speak.
    pub(super) fn name(&mut self, at: Instant, seekers: SlotSet) {
        self.list.retain(|f| f.heard || seekers.has(f.slot));
        for slot in seekers.iter() {
            self.entry(at, slot);
        }
    }
    fn entry(&mut self, at: Instant, slot: Slot) -> Option<&mut Fellow> {
        if self.barred.has(slot) || self.me == Some(slot) {
            return None;
        }
        let place = self.list.iter().position(|f| f.slot == slot);
        let place = place.or_else(|| {
            let (here, coming) = (Places::NONE, Places::NONE);
            let (heard, base, told, id, mute) = (false, 0, None, 0, None);
            let fellow = Fellow {
                slot,
                named: at,
                heard,
                heard_at: at,
                base,
                here,
                coming,
                knows: 0,
                told,
                told_at: Instant(0),
                id,
                mute,
            };
            self.list.push(fellow).ok().map(|()| self.list.len() - 1)
        })?;
        Some(&mut self.list[place])
    }
    /// What one said. It seeks the content, so it is told at once what is here.
    pub(super) fn heard(&mut self, at: Instant, slot: Slot, have: &Have<'_>) {
        let Some(f) = self.entry(at, slot) else { return };
        if !f.heard {
            (f.told, f.mute) = (None, None);
        }
        (f.heard, f.heard_at, f.base) = (true, at, have.base);
        f.here = Places::of_line(have.base, have.here);
        f.coming = Places::of_line(have.base, have.coming);
        f.knows = have.base.saturating_add(have.reach());
    }
    /// It is no fellow any more: it has the whole.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.list.retain(|f| f.slot != slot);
    }
    /// It is not to be believed, or does not understand.
    pub(super) fn bar(&mut self, slot: Slot) {
        self.barred.add(slot);
        self.remove(slot);
    }
    /// It does not fetch the content: what it said is void.
    pub(super) fn mute(&mut self, at: Instant, slot: Slot) {
        for f in self.list.iter_mut().filter(|f| f.slot == slot) {
            f.forget();
            f.mute = Some(at + MUTE);
        }
    }
    /// The fellow who was told by the message of that number.
    pub(super) fn told_by(&self, slot: Slot, id: u32) -> bool {
        self.list.iter().any(|f| f.slot == slot && f.id == id)
    }
    /// Its link ended.
    pub(super) fn closed(&mut self, at: Instant, slot: Slot) {
        for f in self.list.iter_mut().filter(|f| f.slot == slot) {
            f.forget();
            f.named = at;
        }
    }
    pub(super) fn tick(&mut self, at: Instant) {
        for f in &mut self.list {
            f.mute = f.mute.filter(|until| *until > at);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    pub(super) fn slots(&self) -> SlotSet {
        self.which(|_| true)
    }
    /// Those who said what they have.
    pub(super) fn speakers(&self) -> SlotSet {
        self.which(|f| f.heard)
    }
    /// Those who know the name of that chunk, counted from the file's start.
    pub(super) fn knowing(&self, chunk: u32) -> SlotSet {
        self.which(|f| f.heard && f.knows > chunk)
    }
    fn which(&self, test: impl Fn(&Fellow) -> bool) -> SlotSet {
        let mut set = SlotSet(0);
        self.list.iter().filter(|f| test(f)).for_each(|f| set.add(f.slot));
        set
    }
    /// What one of them has of the chunks `base..end`.
    pub(super) fn offer(&self, slot: Slot, base: u32, end: u32) -> Places {
        let fellow = self.list.iter().find(|f| f.slot == slot);
        fellow.map_or(Places::NONE, |f| f.seen(base, end).0)
    }
    /// What any of them has, and what comes to any of them from a holder. Of who has said nothing since `since`, nothing
    /// is known to come: its process may stand still.
    pub(super) fn offers(&self, since: Instant, base: u32, end: u32) -> (Places, Places) {
        self.list.iter().filter(|f| f.heard).fold((Places::NONE, Places::NONE), |(here, coming), f| {
            let (h, c) = f.seen(base, end);
            let speaks = f.heard_at >= since || mutant::on(Mutant::SwarmDumb);
            (here.or(&h), if speaks { coming.or(&c) } else { coming })
        })
    }

    /// One that can be reached and has not been told this state, and it is time to: its slot; it counts as told, by a
    /// message of this number.
    pub(super) fn next_told(&mut self, at: Instant, state: u32, open: SlotSet, id: u32) -> Option<Slot> {
        let due = |f: &&mut Fellow| f.is_due(state) && open.has(f.slot) && f.told_at + EVERY <= at;
        let f = self.list.iter_mut().find(due)?;
        (f.told, f.told_at, f.id) = (Some(state), at, id);
        Some(f.slot)
    }
    /// When one is to be told this state.
    pub(super) fn next_due(&self, state: u32, open: SlotSet) -> Option<Instant> {
        let due = self.list.iter().filter(|f| f.is_due(state) && open.has(f.slot));
        due.map(|f| f.told_at + EVERY).min()
    }
    /// It could not be told, its link being full: again later.
    pub(super) fn untold(&mut self, slot: Slot) {
        self.list.iter_mut().filter(|f| f.slot == slot).for_each(|f| f.told = None);
    }
    /// The number of the last message to it.
    pub(super) fn id(&self, slot: Slot) -> u32 {
        self.list.iter().find(|f| f.slot == slot).map_or(0, |f| f.id)
    }

    /// Settles who shares the chunks: those who can be reached and speak, or may soon. Whether that is a change.
    pub(super) fn share(&mut self, at: Instant, me: Option<Slot>, lost: SlotSet) -> bool {
        let fresh = |f: &Fellow| f.heard || at.since(f.named) < GREET;
        let owners = self.which(|f| fresh(f) && f.mute.is_none() && !lost.has(f.slot));
        let changed = (owners, me) != (self.owners, self.me);
        (self.owners, self.me) = (owners, me);
        changed
    }
    /// Whether one may be about to say what it has.
    pub(super) fn is_awaited(&self, at: Instant) -> bool {
        let fresh = |f: &Fellow| !f.heard && self.owners.has(f.slot) && at.since(f.named) < WORD;
        self.list.iter().any(fresh)
    }
    /// Whether this device is to get that chunk from a holder.
    pub(super) fn is_mine(&self, hash: &Hash) -> bool {
        let Some(me) = self.me else { return true };
        let own = weight(hash, me);
        self.owners.iter().all(|s| weight(hash, s) < own)
    }
}

/// A chunk's owner is who has the largest.
fn weight(hash: &Hash, slot: Slot) -> (u64, u8) {
    let name = u64::from_le_bytes(*hash.0.first_chunk().expect("a hash is longer"));
    let mut mixed = name ^ (slot.0 as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    (mixed ^ mixed >> 32, slot.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::chunk_id;
    use crate::ids::ContentId;

    fn have<'a>(base: u32, here: &'a [u8], coming: &'a [u8]) -> Have<'a> {
        Have { id: 0, content: ContentId([1; 32]), base, here, coming }
    }

    #[test]
    fn everybody_names_the_same_owner_and_all_own_as_much() {
        let all = [3, 9, 17, 60].map(Slot);
        let mut counts = [0; 4];
        for n in 0..4000u32 {
            let hash = chunk_id(&n.to_le_bytes());
            let owners = [0, 1, 2, 3].map(|i| {
                let mut f = Fellows::default();
                f.share(Instant(0), Some(all[i]), SlotSet(0));
                let others = all.iter().filter(|s| **s != all[i]).fold(SlotSet(0), |mut set, s| {
                    set.add(*s);
                    set
                });
                f.name(Instant(0), others);
                assert!(f.share(Instant(0), Some(all[i]), SlotSet(0)));
                f.is_mine(&hash)
            });
            assert_eq!(owners.iter().filter(|o| **o).count(), 1);
            counts[owners.iter().position(|o| *o).unwrap()] += 1;
        }
        assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
    }

    #[test]
    fn what_a_fellow_has_is_seen_through_the_own_window() {
        let mut f = Fellows::default();
        let slot = Slot(5);
        f.heard(Instant(0), slot, &have(100, &[0b101], &[0b1000]));
        let w = WINDOW as u32;
        assert_eq!(f.offer(slot, 90, 200).len(), 12, "all before its base, two after");
        assert!(f.offer(slot, 90, 200).has(102) && !f.offer(slot, 90, 200).has(101));
        assert_eq!(f.offers(Instant(0), 90, 200).1.iter().next(), Some(103));
        assert!(!f.offers(Instant(1), 90, 200).1.has_any(), "it has not spoken since");
        assert_eq!(f.offer(slot, 101, 102).len(), 0);
        assert_eq!(f.offer(slot, 100 + w, 100 + 2 * w).len(), 0, "its bits say nothing of the next round");
        f.heard(Instant(0), slot, &have(5 * w, &[], &[]));
        assert_eq!(f.offer(slot, 90, 90 + w).len(), w);
        f.closed(Instant(0), slot);
        assert_eq!(f.offer(slot, 90, 90 + w).len(), 0);
    }

    #[test]
    fn news_go_out_now_and_then_and_not_to_who_does_not_listen() {
        let (mut f, slot, open) = (Fellows::default(), Slot(5), SlotSet::one(Slot(5)));
        f.name(Instant(0), open);
        let at = Instant(1_000_000);
        assert_eq!(f.next_told(at, 1, SlotSet(0), 7), None, "no link");
        assert_eq!(f.next_told(at, 1, open, 7), Some(slot));
        assert_eq!(f.next_told(at, 2, open, 8), None, "not so soon");
        assert_eq!((f.next_due(1, open), f.next_due(2, open)), (None, Some(at + EVERY)));
        assert_eq!(f.next_told(at + EVERY, 2, open, 8), Some(slot));
        assert!(f.told_by(slot, 8) && !f.told_by(slot, 7));
        f.mute(at, slot);
        assert_eq!(f.next_due(3, open), None);
        f.tick(at + MUTE);
        assert!(f.next_due(3, open).is_some());
        f.bar(slot);
        f.name(at, open);
        assert!(f.is_empty());
    }
}
