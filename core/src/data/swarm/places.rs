//! Sets of places in the window: a ring, in which the chunk of number n (counted from the file's start) has place
//! n % [`WINDOW`].

/// Chunks of one large content that are known and not yet here (or wait for one before them).
pub(super) const WINDOW: usize = 2048;

const WORDS: usize = WINDOW / 64;
const _: () = assert!(WINDOW <= crate::data::message::HAVE_CHUNKS && WINDOW.is_power_of_two());

/// A set of places in the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Places([u64; WORDS]);

impl Default for Places {
    fn default() -> Places {
        Places::NONE
    }
}

impl Places {
    pub(super) const NONE: Places = Places([0; WORDS]);

    /// The places of the chunks `from..to`; all, if these are as many as the window has, or more.
    pub(super) fn range(from: u32, to: u32) -> Places {
        let len = to.saturating_sub(from) as usize;
        if len >= WINDOW {
            return Places([!0; WORDS]);
        }
        let mut set = Places::NONE;
        let (mut at, mut left) = (from as usize % WINDOW, len);
        while left > 0 {
            let (word, bit) = (at / 64, at % 64);
            let n = left.min(64 - bit);
            set.0[word] |= (!0 >> (64 - n)) << bit;
            at = (at + n) % WINDOW;
            left -= n;
        }
        set
    }
    pub(super) fn has(&self, p: usize) -> bool {
        self.0[p / 64] >> (p % 64) & 1 != 0
    }
    pub(super) fn add(&mut self, p: usize) {
        self.0[p / 64] |= 1 << (p % 64);
    }
    pub(super) fn remove(&mut self, p: usize) {
        self.0[p / 64] &= !(1 << (p % 64));
    }
    pub(super) fn has_any(&self) -> bool {
        self.0.iter().any(|w| *w != 0)
    }
    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }
    /// What is in both.
    pub(super) fn and(&self, other: &Places) -> Places {
        Places(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }
    /// What is in either.
    pub(super) fn or(&self, other: &Places) -> Places {
        Places(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }
    /// What is in this alone.
    pub(super) fn without(&self, other: &Places) -> Places {
        Places(core::array::from_fn(|i| self.0[i] & !other.0[i]))
    }
    /// All of them, in no order of chunks.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.into_iter().enumerate();
        words.flat_map(|(i, w)| (0..64).filter(move |bit| w >> bit & 1 != 0).map(move |bit| i * 64 + bit))
    }
    /// The first one from `start` on, around the end.
    pub(super) fn first_from(&self, start: usize) -> Option<usize> {
        let (word, bit) = (start / 64, start % 64);
        (0..=WORDS).find_map(|i| {
            let w = (word + i) % WORDS;
            let mask = match i {
                0 => !0 << bit,
                i if i == WORDS => !(!0 << bit),
                _ => !0,
            };
            let left = self.0[w] & mask;
            (left != 0).then(|| w * 64 + left.trailing_zeros() as usize)
        })
    }
    /// Writes the places of the chunks from `base` on as bits, the chunk `base + i` as bit i; how many bytes it takes
    /// until the last.
    pub(super) fn line_up(&self, base: u32, out: &mut [u8; WINDOW / 8]) -> usize {
        *out = [0; WINDOW / 8];
        let mut end = 0;
        for place in self.iter() {
            let i = (place + WINDOW - base as usize % WINDOW) % WINDOW;
            out[i / 8] |= 1 << (i % 8);
            end = end.max(i / 8 + 1);
        }
        end
    }
    /// Takes back what [`Places::line_up`] wrote; bits beyond the window are dropped.
    pub(super) fn of_line(base: u32, bits: &[u8]) -> Places {
        let mut set = Places::NONE;
        for (i, byte) in bits.iter().take(WINDOW / 8).enumerate().filter(|(_, b)| **b != 0) {
            for bit in (0..8).filter(|bit| byte >> bit & 1 != 0) {
                set.add((base as usize % WINDOW + i * 8 + bit) % WINDOW);
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[test]
    fn ranges_and_lines_are_what_a_plain_set_says() {
        for (from, len) in [(0, 0), (5, 1), (60, 70), (2000, 100), (4095, 2047), (77, 2048), (77, 3000)] {
            let plain: BTreeSet<usize> = (from..from + len).map(|n| n as usize % WINDOW).collect();
            let set = Places::range(from, from + len);
            assert_eq!(set.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            assert_eq!(set.len() as usize, plain.len());
            let start = (from as usize + 3) % WINDOW;
            let first = plain.range(start..).chain(&plain).next().copied();
            assert_eq!(set.first_from(start), first);
        }
        let mut set = Places::NONE;
        [2046, 2047, 0, 1, 9].iter().for_each(|p| set.add(*p));
        let mut line = [0; WINDOW / 8];
        let n = set.line_up(2046, &mut line);
        assert_eq!(line[..n], [0b1111, 0b1000]);
        assert_eq!(Places::of_line(2046, &line[..n]), set);
        assert_eq!(Places::of_line(0, &[0xff; 512]), Places::range(0, 2048));
    }

    #[test]
    fn sets_combine() {
        let (a, b) = (Places::range(0, 100), Places::range(50, 150));
        assert_eq!(a.and(&b), Places::range(50, 100));
        assert_eq!(a.or(&b), Places::range(0, 150));
        assert_eq!(a.without(&b), Places::range(0, 50));
    }
}
