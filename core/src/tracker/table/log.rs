//! The log: entries behind one another, in order of their seqs, in one lent slice.
//!
//! An entry is 8-aligned and never crosses a 64 KiB block, so the start of every block is a parse point. What is left
//! of a block is a pad. While a compaction pass runs there is a gap: below it what was compacted, above it what was
//! not; the block arithmetic holds on both sides, and a parser that reaches the gap's lower edge goes on at its upper.
//!
//! ```text
//! entry = units u16 · path length u16 · folder u8 · flags u8 · hash u32 · seq u48 · holders u64 · path · payload
//! pad   = units u16 · 0 u16 · 0 u8 · PAD u8 · (rest of the block)
//! ```

use crate::ids::{Seq, SlotSet};
use core::cell::Cell;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64 * 1024;
/// Bytes of an entry before its path.
pub(super) const HEADER: usize = 24;
/// Flag bits of an entry: the kind is in the lowest two, the record's flags in the next two.
pub(super) const WITHDRAWN: u8 = 1 << 2;
/// The record has a parent.
pub(super) const PARENT: u8 = 1 << 4;
/// Garbage: replaced or removed.
pub(super) const DEAD: u8 = 1 << 5;
/// No entry at all: the rest of a block.
pub(super) const PAD: u8 = 1 << 6;

/// Hints kept: about one for each session's cursor.
const HINTS: usize = 64;

/// What an entry begins with, without what follows from its place.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) folder: u8,
    pub(super) flags: u8,
    pub(super) hash: u32,
    pub(super) seq: Seq,
    pub(super) holders: SlotSet,
}

/// Where the entry of `seq` was seen. Valid while the pass `born` is the last one that moved it; see [`Log::is_fresh`].
#[derive(Clone, Copy)]
struct Hint {
    seq: u64,
    at: usize,
    born: u32,
}

/// See the module.
pub(super) struct Log<'m> {
    bytes: &'m mut [u8],
    tail: usize,
    /// Lower and upper edge of the gap; equal where there is none.
    low: usize,
    high: usize,
    /// Where the last pass began: nothing below was moved by it.
    start: usize,
    /// How many passes were begun.
    pass: u32,
    open: bool,
    hints: [Cell<Hint>; HINTS],
}

impl<'m> Log<'m> {
    pub(super) fn new(bytes: &'m mut [u8]) -> Self {
        let hints = core::array::from_fn(|_| Cell::new(Hint { seq: 0, at: 0, born: 0 }));
        Log { bytes, tail: 0, low: 0, high: 0, start: 0, pass: 0, open: false, hints }
    }
    pub(super) fn clear(&mut self) {
        (self.tail, self.low, self.high, self.start, self.pass, self.open) = (0, 0, 0, 0, 0, false);
        self.hints.iter().for_each(|h| h.set(Hint { seq: 0, at: 0, born: 0 }));
    }
    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }
    /// Bytes that are neither free nor gap.
    pub(super) fn used(&self) -> usize {
        self.tail - (self.high - self.low)
    }
    /// Bytes above the last entry.
    pub(super) fn free(&self) -> usize {
        self.bytes.len() - self.tail
    }
    pub(super) fn tail(&self) -> usize {
        self.tail
    }

    fn u16(&self, at: usize) -> usize {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]).into()
    }
    /// Bytes of the entry or pad.
    pub(super) fn size(&self, at: usize) -> usize {
        self.u16(at) * 8
    }
    pub(super) fn flags(&self, at: usize) -> u8 {
        self.bytes[at + 5]
    }
    pub(super) fn hash(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at + 6..at + 10].try_into().expect("4 bytes"))
    }
    pub(super) fn seq(&self, at: usize) -> Seq {
        seq_of(&self.bytes[at..at + HEADER])
    }
    pub(super) fn set_holders(&mut self, at: usize, holders: SlotSet) {
        self.bytes[at + 16..at + 24].copy_from_slice(&holders.0.to_le_bytes());
    }
    /// The bytes of the entry.
    pub(super) fn entry(&self, at: usize) -> &[u8] {
        &self.bytes[at..at + self.size(at)]
    }
    /// Whether the entry at `at` is of that key.
    pub(super) fn is_key(&self, at: usize, hash: u32, folder: u8, withdrawn: bool, path: &[u8]) -> bool {
        self.hash(at) == hash
            && self.bytes[at + 4] == folder
            && (self.flags(at) & WITHDRAWN != 0) == withdrawn
            && self.u16(at + 2) == path.len()
            && self.bytes[at + HEADER..at + HEADER + path.len()] == *path
    }
    /// Makes the entry garbage.
    pub(super) fn kill(&mut self, at: usize) {
        assert!(self.flags(at) & (DEAD | PAD) == 0, "only a live entry dies");
        self.bytes[at + 5] |= DEAD;
    }

    /// Whether an entry of `size` bytes fits above the last one.
    pub(super) fn fits(&self, size: usize) -> bool {
        place(self.tail, size).checked_add(size).is_some_and(|end| end <= self.bytes.len())
    }
    /// Appends an entry; where it stands. It must fit.
    pub(super) fn append(&mut self, head: &Head, path: &[u8], payload: &[u8]) -> usize {
        let size = (HEADER + path.len() + payload.len()).next_multiple_of(8);
        assert!(self.fits(size), "room was made before");
        let at = self.pad_to(self.tail, size);
        let out = &mut self.bytes[at..at + size];
        out[0..2].copy_from_slice(&((size / 8) as u16).to_le_bytes());
        out[2..4].copy_from_slice(&(path.len() as u16).to_le_bytes());
        out[4] = head.folder;
        out[5] = head.flags;
        out[6..10].copy_from_slice(&head.hash.to_le_bytes());
        out[10..16].copy_from_slice(&head.seq.0.to_le_bytes()[..6]);
        out[16..24].copy_from_slice(&head.holders.0.to_le_bytes());
        let (path_out, rest) = out[HEADER..].split_at_mut(path.len());
        path_out.copy_from_slice(path);
        rest[..payload.len()].copy_from_slice(payload);
        rest[payload.len()..].fill(0);
        self.tail = at + size;
        self.note(head.seq, at);
        at
    }
    /// Where an entry of `size` bytes goes if the one before ends at `at`; pads the block if it goes into the next.
    fn pad_to(&mut self, at: usize, size: usize) -> usize {
        let to = place(at, size);
        if to > at {
            self.bytes[at..at + 2].copy_from_slice(&(((to - at) / 8) as u16).to_le_bytes());
            self.bytes[at + 2..at + 8].copy_from_slice(&[0, 0, 0, PAD, 0, 0]);
        }
        to
    }

    // Walking.

    /// The entry (live or dead) at or after the parse point `at`.
    fn settle(&self, mut at: usize) -> Option<usize> {
        loop {
            if at == self.low {
                at = self.high.max(at);
            }
            if at >= self.tail {
                return None;
            }
            if self.flags(at) & PAD == 0 {
                return Some(at);
            }
            at += self.size(at);
        }
    }
    /// The first entry.
    pub(super) fn first(&self) -> Option<usize> {
        self.settle(0)
    }
    /// The entry behind the one at `at`.
    pub(super) fn next(&self, at: usize) -> Option<usize> {
        self.settle(at + self.size(at))
    }
    /// The first entry (live or dead) whose seq is greater than `seq`.
    pub(super) fn after(&self, seq: Seq) -> Option<usize> {
        if let Some(at) = self.hint(seq) {
            return self.next(at);
        }
        let mut at = self.settle(self.search(seq))?;
        while self.seq(at) <= seq {
            at = self.next(at)?;
        }
        Some(at)
    }
    /// The last parse point whose entry's seq is at most `seq`; 0 if there is none.
    fn search(&self, seq: Seq) -> usize {
        let gap = self.low < self.high;
        // Of the points 0, 64 Ki, … below `end`; above a gap `base` stands before them.
        let (base, mut lo, end) = match self.settle(self.high) {
            Some(above) if gap && self.seq(above) <= seq => (above, above / BLOCK + 1, self.tail),
            _ if gap => (0, 0, self.low),
            _ => (0, 0, self.tail),
        };
        let (first, mut hi) = (lo, end.div_ceil(BLOCK).max(lo));
        while lo < hi {
            let mid = lo + (hi - lo) / 2;
            if self.seq(mid * BLOCK) <= seq { lo = mid + 1 } else { hi = mid }
        }
        if lo == first { base } else { (lo - 1) * BLOCK }
    }

    /// Remembers where the entry of `seq` stands, for the walker that goes on from there.
    pub(super) fn note(&self, seq: Seq, at: usize) {
        let moved = !self.open || at < self.low;
        let born = if moved { self.pass } else { self.pass.wrapping_sub(1) };
        self.hints[(seq.0 % HINTS as u64) as usize].set(Hint { seq: seq.0, at, born });
    }
    /// Where the entry of `seq` (live or dead) stands, if that was noted and it has not moved since.
    pub(super) fn hint(&self, seq: Seq) -> Option<usize> {
        let h = self.hints[(seq.0 % HINTS as u64) as usize].get();
        (seq.0 != 0 && h.seq == seq.0 && self.is_fresh(h)).then_some(h.at)
    }
    fn is_fresh(&self, h: Hint) -> bool {
        h.born == self.pass
            || (h.born.wrapping_add(1) == self.pass
                && (h.at < self.start || (self.open && h.at >= self.high)))
    }

    // The gap.

    /// Whether a pass runs.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }
    /// Bytes the running pass has still to look at.
    pub(super) fn left(&self) -> usize {
        if self.open { self.tail - self.high } else { 0 }
    }
    /// Whether the running pass, if any, has been at `at`.
    pub(super) fn is_passed(&self, at: usize) -> bool {
        !self.open || at < self.low
    }
    /// Begins a pass at an entry; nothing below it is garbage.
    pub(super) fn begin(&mut self, at: usize) {
        assert!(!self.open, "one pass at a time");
        (self.start, self.low, self.high, self.open) = (at, at, at, true);
        self.pass = self.pass.wrapping_add(1);
    }
    /// Moves the gap over one entry or pad.
    pub(super) fn advance(&mut self) -> Moved {
        assert!(self.open && self.high < self.tail, "a pass with something left");
        let (from, size) = (self.high, self.size(self.high));
        let flags = self.flags(from);
        self.high += size;
        let moved = if flags & PAD != 0 {
            Moved::Nothing
        } else if flags & DEAD != 0 {
            Moved::Dropped(size)
        } else {
            let to = self.pad_to(self.low, size);
            assert!(to <= from, "packing a part of the entries moves none up");
            if to < from {
                self.bytes.copy_within(from..from + size, to);
            }
            self.low = to + size;
            Moved::Entry { from, to, size }
        };
        if self.high == self.tail {
            self.tail = self.low;
            self.high = self.low;
            self.open = false;
        }
        moved
    }
}

/// What one step of a pass did.
pub(super) enum Moved {
    /// A pad was passed.
    Nothing,
    /// Garbage of that size is gone.
    Dropped(usize),
    /// A live entry went down (or stayed).
    Entry { from: usize, to: usize, size: usize },
}

/// Where an entry of `size` bytes goes if the one before ends at `at`.
fn place(at: usize, size: usize) -> usize {
    let end = (at / BLOCK + 1) * BLOCK;
    if at + size <= end { at } else { end }
}

/// The seq in an entry's bytes.
pub(super) fn seq_of(entry: &[u8]) -> Seq {
    let mut b = [0; 8];
    b[..6].copy_from_slice(&entry[10..16]);
    Seq(u64::from_le_bytes(b))
}
