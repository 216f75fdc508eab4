//! Who has the whole of a content.

use crate::ids::{Slot, SlotSet};

/// Who may have a content, and who turned out not to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Whence {
    from: SlotSet,
    /// They said so themselves.
    also: SlotSet,
    /// They were said to have it, are not any more, and their links stand.
    kept: SlotSet,
    not: SlotSet,
    /// A source sent what it is not.
    pub lied: bool,
}

impl Whence {
    pub(super) fn new(from: SlotSet) -> Whence {
        Whence { from, ..Whence::default() }
    }
    /// Who is left.
    pub(super) fn left(&self) -> SlotSet {
        SlotSet((self.from.0 | self.also.0 | self.kept.0) & !self.not.0)
    }
    /// Takes a device off for good.
    pub(super) fn drop(&mut self, slot: Slot) {
        self.not.add(slot);
    }
    /// Whether it was taken off.
    pub(super) fn is_out(&self, slot: Slot) -> bool {
        self.not.has(slot)
    }
    /// A device said that it has the whole.
    pub(super) fn add(&mut self, slot: Slot) {
        self.also.add(slot);
    }
    /// Others are said to have it. Of those before them these stay until they say that they have it not: a tracker that has
    /// just started knows few.
    pub(super) fn replace(&mut self, from: SlotSet, stay: SlotSet) {
        self.kept = SlotSet((self.from.0 | self.kept.0) & stay.0);
        self.from = from;
    }
    /// Its link ended.
    pub(super) fn closed(&mut self, slot: Slot) {
        self.kept.remove(slot);
    }
}
