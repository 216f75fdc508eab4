//! The index: from a key's hash to its entry in the log. Slots of 5 bytes (place/8 + 1 as u32, 0 = empty; one byte of
//! the hash), linear probing, deletion by shifting back, so there are no deleted slots and no rehashing ever.

/// Bytes of a slot.
pub(super) const SLOT: usize = 5;
/// In place of a place: the slot's entry is just being replaced; nothing matches it.
const RESERVED: u32 = u32::MAX;

/// See the module.
pub(super) struct Index<'m> {
    bytes: &'m mut [u8],
    slots: usize,
    len: usize,
}

impl<'m> Index<'m> {
    pub(super) fn new(bytes: &'m mut [u8]) -> Self {
        let slots = bytes.len() / SLOT;
        wipe(bytes);
        Index { bytes, slots, len: 0 }
    }
    pub(super) fn clear(&mut self) {
        wipe(self.bytes);
        self.len = 0;
    }
    /// Slots in use.
    pub(super) fn len(&self) -> usize {
        self.len
    }
    /// Slots that may be in use: load 0.8, so a probe always ends.
    pub(super) fn max(&self) -> usize {
        self.slots / 5 * 4 + self.slots % 5 * 4 / 5
    }

    fn word(&self, slot: usize) -> u32 {
        u32::from_le_bytes(self.bytes[slot * SLOT..slot * SLOT + 4].try_into().expect("4 bytes"))
    }
    fn set(&mut self, slot: usize, word: u32, tag: u8) {
        let out = &mut self.bytes[slot * SLOT..(slot + 1) * SLOT];
        out[..4].copy_from_slice(&word.to_le_bytes());
        out[4] = tag;
    }
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots as u64) >> 32) as usize
    }
    fn next(&self, slot: usize) -> usize {
        if slot + 1 == self.slots { 0 } else { slot + 1 }
    }
    /// The first slot of the hash, on from its home, whose place satisfies `is_it`; with that place.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        if self.slots == 0 {
            return None;
        }
        let mut slot = self.home(hash);
        loop {
            match self.word(slot) {
                0 => return None,
                RESERVED => {}
                word => {
                    let at = place(word);
                    if self.bytes[slot * SLOT + 4] == hash as u8 && is_it(at) {
                        return Some((slot, at));
                    }
                }
            }
            slot = self.next(slot);
        }
    }
    /// Adds an entry that is not in the index.
    pub(super) fn insert(&mut self, hash: u32, at: usize) {
        assert!(self.len < self.max(), "admitted before");
        let mut slot = self.home(hash);
        while self.word(slot) != 0 {
            slot = self.next(slot);
        }
        self.set(slot, word(at), hash as u8);
        self.len += 1;
    }
    /// Keeps the slot for an entry that replaces its present one: to be followed by [`Index::fill`].
    pub(super) fn reserve(&mut self, slot: usize) {
        let tag = self.bytes[slot * SLOT + 4];
        self.set(slot, RESERVED, tag);
    }
    /// Puts the new entry into a reserved slot.
    pub(super) fn fill(&mut self, slot: usize, at: usize) {
        assert_eq!(self.word(slot), RESERVED);
        let tag = self.bytes[slot * SLOT + 4];
        self.set(slot, word(at), tag);
    }
    /// The entry of that hash went from one place to another.
    pub(super) fn moved(&mut self, hash: u32, from: usize, to: usize) {
        let (slot, _) = self.find(hash, |at| at == from).expect("every live entry is in the index");
        self.set(slot, word(to), hash as u8);
    }
    /// Empties a slot, shifting back what was pushed on by it. `hash_at` reads an entry's hash.
    pub(super) fn delete(&mut self, slot: usize, hash_at: impl Fn(usize) -> u32) {
        let mut hole = slot;
        let mut from = self.next(slot);
        loop {
            let w = self.word(from);
            if w == 0 {
                break;
            }
            let home = self.home(hash_at(place(w)));
            // It may go back to the hole unless its home lies behind the hole, on the way to where it is.
            let span = |a: usize, b: usize| if b >= a { b - a } else { b + self.slots - a };
            if span(home, from) >= span(hole, from) {
                let tag = self.bytes[from * SLOT + 4];
                self.set(hole, w, tag);
                hole = from;
            }
            from = self.next(from);
        }
        self.set(hole, 0, 0);
        self.len -= 1;
    }
    /// How many slots are not empty, counted.
    pub(super) fn count(&self) -> usize {
        (0..self.slots).filter(|s| self.word(*s) != 0).count()
    }
}

/// Zeroes what is not zero yet: pages that an operating system lent and nobody wrote to stay its own, so an empty table
/// takes no memory.
fn wipe(bytes: &mut [u8]) {
    const PAGE: usize = 4096;
    for page in bytes.chunks_mut(PAGE) {
        if page.iter().any(|b| *b != 0) {
            page.fill(0);
        }
    }
}

fn place(word: u32) -> usize {
    (word as usize - 1) * 8
}

fn word(at: usize) -> u32 {
    (at / 8 + 1) as u32
}
