//! Version vectors and edits: which change knew of which.

use crate::{ids::Tag, limits::VECTOR};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The change that made a content: the tag of the store that made it, and its counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Edit {
    /// Whose counter it is.
    pub tag: Tag,
    /// Microseconds of wall time when it was minted, or one more than the one before (R1).
    pub counter: u64,
}

/// How two vectors stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The same entries.
    Equal,
    /// The left one knows all of the right one, and more.
    Dominates,
    /// The right one knows all of the left one, and more.
    Dominated,
    /// Each knows something that the other does not.
    Concurrent,
}

/// For each tag, the newest counter known: at most [`VECTOR`] entries, sorted by tag, counters never 0.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VersionVector(Vec<Edit, VECTOR>);

impl VersionVector {
    /// The empty vector.
    pub const fn new() -> Self {
        VersionVector(Vec::new())
    }
    /// The vector that knows one edit.
    pub fn of(edit: Edit) -> Self {
        let mut v = Self::new();
        assert!(v.raise(edit), "one entry fits");
        v
    }
    /// The entries, by ascending tag.
    pub fn entries(&self) -> &[Edit] {
        &self.0
    }
    /// The counter known of `tag`; 0 if none.
    pub fn get(&self, tag: Tag) -> u64 {
        self.0.binary_search_by_key(&tag, |e| e.tag).map_or(0, |i| self.0[i].counter)
    }
    /// The highest counter known of a store, by its tag and those that follow it ([`Tag::line`]); 0 if none.
    pub fn get_store(&self, tag: Tag) -> u64 {
        tag.line().map(|tag| self.get(tag)).max().unwrap_or(0)
    }
    /// Whether the vector's entry for the edit's tag is at least the edit's counter.
    pub fn covers(&self, edit: Edit) -> bool {
        self.get(edit.tag) >= edit.counter
    }
    /// Raises the entry of the edit's tag to at least its counter. False if a new entry does not fit.
    #[must_use]
    pub fn raise(&mut self, edit: Edit) -> bool {
        if edit.counter == 0 {
            return true;
        }
        match self.0.binary_search_by_key(&edit.tag, |e| e.tag) {
            Ok(i) => self.0[i].counter = self.0[i].counter.max(edit.counter),
            Err(i) => return self.0.insert(i, edit).is_ok(),
        }
        true
    }
    /// Raises every entry to at least that of `other`. False (and partly raised) if it does not fit.
    #[must_use]
    pub fn join(&mut self, other: &VersionVector) -> bool {
        other.0.iter().all(|e| self.raise(*e))
    }
    /// Drops the entry of `tag`.
    pub fn drop_tag(&mut self, tag: Tag) {
        self.0.retain(|e| e.tag != tag);
    }
    /// Whether no further entry fits.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How this vector stands to `other`.
    pub fn compare(&self, other: &VersionVector) -> Order {
        let more = self.0.iter().any(|e| e.counter > other.get(e.tag));
        let less = other.0.iter().any(|e| e.counter > self.get(e.tag));
        match (more, less) {
            (false, false) => Order::Equal,
            (true, false) => Order::Dominates,
            (false, true) => Order::Dominated,
            (true, true) => Order::Concurrent,
        }
    }
    /// Whether a decoded vector obeys the type's rules.
    pub fn is_valid(&self) -> bool {
        self.0.iter().all(|e| e.counter != 0 && e.counter < crate::limits::COUNTER && e.tag.0 != 0)
            && self.0.windows(2).all(|w| w[0].tag < w[1].tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn edit(tag: u32, counter: u64) -> Edit {
        Edit { tag: Tag(tag), counter }
    }
    fn vector(m: &BTreeMap<u32, u64>) -> VersionVector {
        let mut v = VersionVector::new();
        m.iter().for_each(|(t, c)| assert!(v.raise(edit(*t, *c))));
        v
    }
    proptest! {
        #[test]
        fn compares_as_maps_do(a in prop::collection::btree_map(1..6u32, 1..4u64, 0..5), b in prop::collection::btree_map(1..6u32, 1..4u64, 0..5)) {
            let ge = |x: &BTreeMap<u32, u64>, y: &BTreeMap<u32, u64>| y.iter().all(|(t, c)| x.get(t).copied().unwrap_or(0) >= *c);
            let want = match (ge(&a, &b), ge(&b, &a)) {
                (true, true) => Order::Equal,
                (true, false) => Order::Dominates,
                (false, true) => Order::Dominated,
                (false, false) => Order::Concurrent,
            };
            let (va, vb) = (vector(&a), vector(&b));
            prop_assert_eq!(va.compare(&vb), want);
            let mut j = va.clone();
            prop_assert!(j.join(&vb) && j.is_valid());
            prop_assert!(matches!(j.compare(&va), Order::Equal | Order::Dominates));
            prop_assert!(matches!(j.compare(&vb), Order::Equal | Order::Dominates));
        }
    }

    #[test]
    fn full_vector_refuses_a_new_tag_and_takes_a_known_one() {
        let mut v = VersionVector::new();
        (1..=64).for_each(|t| assert!(v.raise(edit(t, 1))));
        assert!(!v.raise(edit(65, 1)) && v.raise(edit(64, 9)) && v.get(Tag(64)) == 9);
    }
}
