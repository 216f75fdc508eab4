//! The tags that live entries name, by one byte each. A tag that no live entry names any more stays known until its
//! byte is wanted for another.

use crate::ids::Tag;

/// How many tags the entries of a table can name at a time.
pub(in crate::tracker) const TAGS: usize = 255;

/// See the module.
pub(super) struct Tags {
    tags: [Tag; TAGS],
    /// How often live entries name each.
    refs: [u32; TAGS],
    /// The highest counter put under each.
    top: [u64; TAGS],
    used: usize,
}

impl Tags {
    pub(super) const fn new() -> Self {
        Tags { tags: [Tag(0); TAGS], refs: [0; TAGS], top: [0; TAGS], used: 0 }
    }
    /// The byte of a tag.
    pub(super) fn index(&self, tag: Tag) -> Option<u8> {
        self.tags[..self.used].iter().position(|t| *t == tag).map(|i| i as u8)
    }
    /// The tag of a byte.
    pub(super) fn tag(&self, index: u8) -> Tag {
        self.tags[usize::from(index)]
    }
    /// How many tags can be added.
    pub(super) fn spare(&self) -> usize {
        TAGS - self.refs.iter().filter(|r| **r > 0).count()
    }
    /// Adds a tag that is not known, in place of one that no entry names. There must be room.
    pub(super) fn add(&mut self, tag: Tag) -> u8 {
        let i = if self.used < TAGS {
            self.used += 1;
            self.used - 1
        } else {
            self.refs.iter().position(|r| *r == 0).expect("room was seen before")
        };
        (self.tags[i], self.top[i]) = (tag, 0);
        i as u8
    }
    /// One more entry names it.
    pub(super) fn retain(&mut self, index: u8) {
        self.refs[usize::from(index)] += 1;
    }
    /// One entry less names it.
    pub(super) fn release(&mut self, index: u8) {
        self.refs[usize::from(index)] -= 1;
    }
    /// How often live entries name it.
    pub(super) fn refs(&self, index: u8) -> u32 {
        self.refs[usize::from(index)]
    }
    /// Notes a counter seen under a known tag.
    pub(super) fn raise(&mut self, index: u8, counter: u64) {
        let top = &mut self.top[usize::from(index)];
        *top = (*top).max(counter);
    }
    /// The highest counter put under a tag since it became known.
    pub(super) fn top(&self, tag: Tag) -> u64 {
        self.index(tag).map_or(0, |i| self.top[usize::from(i)])
    }
}
