//! What every device is told in passing: lines of news, and removals that were forgotten (R10). Both are rings that
//! each link reads with a cursor of its own; a link that is too far behind misses the oldest.

use crate::ids::{FolderSlot, Seq};
use heapless::String;

/// A line of news.
pub(super) type Line = String<112>;

/// The last `N` things said, numbered from 0.
pub(super) struct Ring<T, const N: usize> {
    last: [Option<T>; N],
    said: u32,
}

/// Lines of news.
pub(super) type News = Ring<Line, 8>;
/// Removals forgotten.
pub(super) type Forgotten = Ring<(FolderSlot, Seq), 512>;

impl<T, const N: usize> Ring<T, N> {
    pub(super) const fn new() -> Self {
        assert!(N.is_power_of_two(), "so that numbers may wrap");
        Ring { last: [const { None }; N], said: 0 }
    }
    pub(super) fn say(&mut self, it: T) {
        self.last[self.said as usize % N] = Some(it);
        self.said = self.said.wrapping_add(1);
    }
    /// Where a new reader begins.
    pub(super) fn end(&self) -> u32 {
        self.said
    }
    /// What a reader at `cursor` has not heard yet, and moves it on; `cursor` may point at what is lost.
    pub(super) fn next(&self, cursor: &mut u32) -> Option<&T> {
        let behind = self.said.wrapping_sub(*cursor) as usize;
        if behind > N {
            *cursor = self.said.wrapping_sub(N as u32);
        }
        if *cursor == self.said {
            return None;
        }
        let it = self.last[*cursor as usize % N].as_ref();
        *cursor = cursor.wrapping_add(1);
        it
    }
}
