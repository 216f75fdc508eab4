//! Compaction: passes of a gap that moves up the log, and how fast.
//!
//! A pass begins when there is as much garbage as free space, and should end when three quarters of that space are
//! used up. Each append lets it look at as much of what is left as its own size is of the space left, so both reach
//! nothing together, and no append has to wait for more than its share.

use super::Table;
use super::log::Moved;

/// What looking at a pad or at garbage counts, in bytes of budget; a live entry counts its size and this.
const LOOK: usize = 32;

impl Table<'_> {
    /// Compacts as far as looking at about `budget` bytes goes, if there is garbage worth it; whether there is more
    /// to do. Appends do what they need by themselves: this is for idle moments.
    pub fn maintain(&mut self, budget: usize) -> bool {
        if !self.log.is_open() && self.dead >= self.log.used() / 8 {
            self.begin();
        }
        self.step(budget);
        self.log.is_open()
    }
    /// How often an append had to run a pass to its end at once: 0 unless the table is tiny.
    pub fn stalls(&self) -> u32 {
        self.stalls
    }

    /// Lets compaction keep up with an append of `size` bytes.
    pub(super) fn pace(&mut self, size: usize) {
        if !self.log.is_open() {
            if self.log.free() > self.dead {
                return;
            }
            self.begin();
        }
        let spare = self.goal.saturating_sub(self.log.tail()).max(size);
        let share = (self.log.left() as u64 * size as u64).div_ceil(spare as u64) as usize;
        self.step(share + size + LOOK);
    }
    /// Makes sure that an admitted entry can be appended.
    pub(super) fn make_room(&mut self, size: usize) {
        while !self.log.fits(size) {
            assert!(self.dead > 0 || self.log.is_open(), "what was admitted fits once the garbage is gone");
            self.stalls = self.stalls.saturating_add(1);
            self.begin();
            self.step(usize::MAX);
        }
    }
    /// Begins a pass, unless one runs or there is nothing to gain.
    fn begin(&mut self) {
        if self.log.is_open() {
            return;
        }
        if let Some(at) = self.dirty.take() {
            self.log.begin(at);
            self.goal = self.log.tail() + self.log.free() / 4 * 3;
        }
    }
    fn step(&mut self, mut budget: usize) {
        while self.log.is_open() && budget > 0 {
            let cost = match self.log.advance() {
                Moved::Nothing => LOOK,
                Moved::Dropped(size) => {
                    self.dead -= size;
                    LOOK.min(size)
                }
                Moved::Entry { from, to, size } => {
                    if from != to {
                        let hash = self.log.hash(to);
                        self.index.moved(hash, from, to);
                    }
                    size
                }
            };
            budget = budget.saturating_sub(cost);
        }
    }
}
