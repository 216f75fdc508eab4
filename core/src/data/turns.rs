//! Whose turn it is to be served, of the devices that ask at once: bytes are shared evenly among them, however many links
//! and asks each of them has. A device is served by answers; whoever has had the fewest bytes goes first.

use crate::ids::{Slot, SlotSet};
use crate::limits;

/// See the module. Whoever comes (back) counts as served as much as the one whose turn it was last: nobody saves turns up,
/// and nobody waits for more than one turn of each other device.
///
/// ```text
/// something to serve            → begin: serve, then end; or wait until `next` names the device
/// nothing to serve any more     → leave
/// ```
pub struct Turns {
    /// Bytes that each was served.
    served: [u64; limits::DEVICES],
    waiting: SlotSet,
    /// What the one had been served whose turn it was last.
    level: u64,
    /// Turns that have begun and not ended; at most.
    under_way: u32,
    at_once: u32,
}

impl Turns {
    /// Nobody asks; so many (at least one) can be served at a time.
    pub const fn new(at_once: u32) -> Turns {
        assert!(at_once > 0);
        Turns { served: [0; limits::DEVICES], waiting: SlotSet(0), level: 0, under_way: 0, at_once }
    }
    /// A device has something to be served. Whether its turn has begun; else it waits.
    pub fn begin(&mut self, slot: Slot) -> bool {
        self.waits(slot);
        let own = self.rank(slot);
        let before = self.waiting.iter().filter(|s| self.rank(*s) < own).count();
        if before as u32 + self.under_way >= self.at_once {
            return false;
        }
        self.waiting.remove(slot);
        self.under_way += 1;
        self.level = self.level.max(self.served[slot.0 as usize]);
        true
    }
    /// A device has something to be served, and waits.
    pub fn waits(&mut self, slot: Slot) {
        if !self.waiting.has(slot) {
            self.waiting.add(slot);
            let served = &mut self.served[slot.0 as usize];
            *served = (*served).max(self.level);
        }
    }
    /// A turn that had begun is over: the device was served so many bytes.
    pub fn end(&mut self, slot: Slot, bytes: u64) {
        assert!(self.under_way > 0, "a turn ends once");
        self.under_way -= 1;
        let served = &mut self.served[slot.0 as usize];
        *served = served.saturating_add(bytes);
    }
    /// A device that waits has nothing to be served any more.
    pub fn leave(&mut self, slot: Slot) {
        self.waiting.remove(slot);
    }
    /// Whose turn can begin now.
    pub fn next(&self) -> Option<Slot> {
        let first = self.waiting.iter().min_by_key(|s| self.rank(*s));
        first.filter(|_| self.under_way < self.at_once)
    }

    /// Who has the least goes first.
    fn rank(&self, slot: Slot) -> (u64, u8) {
        (self.served[slot.0 as usize], slot.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Devices that always have more to be served, with answers of these sizes, one at a time: the order.
    fn serve(turns: &mut Turns, greedy: &[(Slot, u64)], count: usize) -> Vec<Slot> {
        greedy.iter().for_each(|(slot, _)| turns.waits(*slot));
        let mut order = Vec::new();
        for _ in 0..count {
            let slot = turns.next().expect("someone wants something");
            assert!(turns.begin(slot) && turns.next().is_none(), "one at a time");
            order.push(slot);
            let more = greedy.iter().find(|(s, _)| *s == slot);
            assert!(more.is_none() || !turns.begin(slot), "it goes on wanting");
            turns.end(slot, more.map_or(1, |(_, size)| *size));
        }
        order
    }

    #[test]
    fn bytes_are_shared_evenly_whatever_the_answers_sizes() {
        let mut turns = Turns::new(1);
        let (a, b, c) = (Slot(7), Slot(3), Slot(60));
        let sizes = [(a, 262_144), (b, 65_536), (c, 1_000)];
        let order = serve(&mut turns, &sizes, 5_000);
        let bytes = sizes.map(|(slot, size)| size * order.iter().filter(|s| **s == slot).count() as u64);
        let most = bytes.iter().max().unwrap() - bytes.iter().min().unwrap();
        assert!(most <= 262_144, "{bytes:?}");
    }

    #[test]
    fn who_comes_waits_for_one_turn_of_each_other_at_most_and_saves_none_up() {
        let mut turns = Turns::new(1);
        let greedy: Vec<(Slot, u64)> = (10..15).map(|n| (Slot(n), 524_288)).collect();
        let small = Slot(40);
        for round in 0..50 {
            serve(&mut turns, &greedy, 17 + round);
            turns.waits(small);
            let order = serve(&mut turns, &greedy, greedy.len() + 1);
            assert!(order.contains(&small), "{order:?}");
        }
        // One that was away for long is served as the others from then on, not alone.
        let order = serve(&mut turns, &[&greedy[..], &[(small, 524_288)]].concat(), 60);
        assert!((9..=11).contains(&order.iter().filter(|s| **s == small).count()), "{order:?}");
    }

    #[test]
    fn several_at_a_time_and_who_left_holds_nobody_up() {
        let mut turns = Turns::new(2);
        let [a, b, c] = [Slot(1), Slot(2), Slot(3)];
        assert!(turns.begin(a) && turns.begin(a) && !turns.begin(a) && !turns.begin(b) && !turns.begin(c));
        turns.end(a, 100);
        assert_eq!(turns.next(), Some(b), "it has had less");
        assert!(!turns.begin(c), "the one turn that is free is another's");
        turns.leave(b);
        assert!(turns.next() == Some(c) && turns.begin(c) && !turns.begin(a));
        turns.end(c, 1);
        turns.end(a, 100);
        assert_eq!(turns.next(), Some(a));
        turns.leave(a);
        assert_eq!(turns.next(), None);
    }
}
