//! What is known of one path: kind, content, metadata, and the version that says which change knew of which.

use crate::ids::{ContentId, DeviceId};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::version::{Edit, Order, VersionVector};
use serde::{Deserialize, Serialize};

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum Kind {
    /// Nothing any more: the record is a tombstone.
    #[default]
    Removed = 0,
    /// A regular file.
    File = 1,
    /// A directory; its record carries mode alone.
    Directory = 2,
    /// A symbolic link; its text is its content, of `size` bytes.
    Symlink = 3,
}

/// What a record is beside its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Flags(pub u8);

impl Flags {
    /// No holder is left: kept beside its path, not on it (R9a).
    pub const WITHDRAWN: u8 = 1;
    /// A directory that DartSync invented to carry a live child (R9b).
    pub const REVIVAL: u8 = 2;
    /// Whether the record is withdrawn.
    pub const fn withdrawn(self) -> bool {
        self.0 & Self::WITHDRAWN != 0
    }
    /// Whether the directory is invented.
    pub const fn revival(self) -> bool {
        self.0 & Self::REVIVAL != 0
    }
}

/// What stands at a path and which change made it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// What stands there.
    pub kind: Kind,
    /// See [`Flags`].
    pub flags: Flags,
    /// Permission bits, 0o777 alone; 0 for symlinks and tombstones.
    pub mode: u16,
    /// Bytes of content; 0 for directories and tombstones.
    pub size: u64,
    /// Modification time, nanoseconds since 1970; 0 for directories and tombstones.
    pub mtime: i64,
    /// Files and symlinks: the content. Tombstones: what was removed. Directories: none.
    pub content: ContentId,
    /// The device that made the edit.
    pub author: DeviceId,
    /// The change that made the content.
    pub edit: Edit,
    /// The edit that it replaced, if any.
    pub parent: Option<Edit>,
    /// What the record's makers knew.
    pub version: VersionVector,
}

impl Record {
    /// Whether something stands at the path.
    pub fn is_live(&self) -> bool {
        self.kind != Kind::Removed
    }
    /// Whether it is a directory that was made for something in it (R9b).
    pub fn is_invented(&self) -> bool {
        self.kind == Kind::Directory && self.flags.revival()
    }
    /// Whether bytes must be fetched to make it.
    pub fn has_content(&self) -> bool {
        matches!(self.kind, Kind::File | Kind::Symlink)
    }
    /// Whether both name the same kind and content (two removals are the same content whatever was removed).
    pub fn same_content(&self, other: &Record) -> bool {
        self.kind == other.kind
            && (!self.has_content() || (self.content == other.content && self.size == other.size))
    }
    /// Whether metadata that is kept for the kind is the same: mode, and mtime of files.
    pub fn same_meta(&self, other: &Record) -> bool {
        match self.kind {
            Kind::File => self.mode == other.mode && self.mtime == other.mtime,
            Kind::Directory => self.mode == other.mode,
            Kind::Symlink | Kind::Removed => true,
        }
    }
    /// Same content and same metadata; versions aside.
    pub fn same_thing(&self, other: &Record) -> bool {
        self.same_content(other) && self.same_meta(other)
    }
    /// Whether `self` would fork the tag of `old` (R5): a newer edit of the same tag whose parent is absent, or is of that
    /// tag and older than the edit it would replace, or of another and known to `old`: what its maker had knew less than
    /// `old`. Or the same edit with another content, where a counter was given out twice. Such records are concurrent
    /// whatever the vectors say.
    pub fn forks(&self, old: &Record) -> bool {
        if mutant::on(Mutant::R5Fork) || self.edit.tag != old.edit.tag {
            return false;
        }
        if self.edit.counter <= old.edit.counter {
            return self.edit == old.edit && !self.same_content(old);
        }
        self.parent.is_none_or(|p| match p.tag == old.edit.tag {
            true => p.counter < old.edit.counter,
            false => old.version.covers(p),
        })
    }
    /// Whether `self`, which replaced nothing and was made without knowing `other`, seems to know an older edit of its own
    /// tag that `other` knows of, since counters of a tag follow each other.
    pub fn seems_to_know(&self, other: &Record) -> bool {
        let known = 1..self.edit.counter;
        let apart = self.edit.tag != other.edit.tag && self.parent.is_none();
        apart && known.contains(&other.version.get(self.edit.tag))
    }
    /// How this record stands to `other` at one path: by version vector, but a fork, or equal vectors with
    /// different content, is concurrent (R5).
    pub fn compare(&self, other: &Record) -> Order {
        let order = match self.version.compare(&other.version) {
            Order::Concurrent if self.version.is_full() || other.version.is_full() => {
                self.compare_pruned(other)
            }
            order => order,
        };
        let fork = match order {
            Order::Equal => !self.same_content(other),
            Order::Dominates => self.forks(other),
            Order::Dominated => other.forks(self),
            Order::Concurrent => false,
        };
        if fork { Order::Concurrent } else { order }
    }
    /// A full vector may have lost an entry that the other one still has (R6): then the edits tell, and of two records
    /// that know each other's edit the one with the latest entry is the later.
    fn compare_pruned(&self, other: &Record) -> Order {
        let latest = |r: &Record| r.version.entries().iter().map(|e| e.counter).max();
        match (self.version.covers(other.edit), other.version.covers(self.edit)) {
            (true, false) => Order::Dominates,
            (false, true) => Order::Dominated,
            (true, true) if latest(self) > latest(other) => Order::Dominates,
            (true, true) if latest(self) < latest(other) => Order::Dominated,
            _ => Order::Concurrent,
        }
    }
    /// Whether a decoded record obeys the type's rules; nothing else of the program sees one that does not.
    pub fn is_valid(&self) -> bool {
        let shape = match self.kind {
            Kind::Removed => self.size == 0 && self.mtime == 0 && self.mode == 0,
            Kind::Directory => self.size == 0 && self.mtime == 0 && self.content == ContentId::NONE,
            Kind::Symlink => self.size > 0 && self.size <= limits::PATH as u64 && self.mode == 0,
            Kind::File => self.size <= limits::FILE_SIZE,
        };
        shape
            && self.mode & !0o777 == 0
            && self.flags.0 & !3 == 0
            && (!self.flags.revival() || matches!(self.kind, Kind::Directory | Kind::Removed))
            && (!self.flags.withdrawn() || self.has_content())
            && self.edit.tag.0 != 0
            && self.edit.counter != 0
            && self.version.is_valid()
            && self.version.covers(self.edit)
            && self.parent.is_none_or(|p| p.counter < limits::COUNTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Tag;

    fn at(tag: u32, counter: u64, parent: Option<Edit>) -> Record {
        let edit = Edit { tag: Tag(tag), counter };
        Record {
            kind: Kind::File,
            content: ContentId([counter as u8; 32]),
            edit,
            parent,
            version: VersionVector::of(edit),
            ..Record::default()
        }
    }

    #[test]
    fn a_newer_edit_of_a_tag_that_forgot_its_parent_is_concurrent() {
        let old = at(1, 10, None);
        assert_eq!(at(1, 20, Some(old.edit)).compare(&old), Order::Dominates);
        assert_eq!(at(1, 20, None).compare(&old), Order::Concurrent, "no parent");
        assert_eq!(at(1, 20, Some(at(1, 5, None).edit)).compare(&old), Order::Concurrent, "an older parent");
        assert_eq!(
            at(1, 20, Some(at(2, 5, None).edit)).compare(&old),
            Order::Dominates,
            "a parent of another tag"
        );
        assert_eq!(old.compare(&at(1, 20, None)), Order::Concurrent, "seen from the other side");
        // A store of before the old edit was made, which both replaced the same with.
        let parent = at(2, 5, None).edit;
        let mut old = at(1, 10, Some(parent));
        let mut new = at(1, 20, Some(parent));
        assert!(old.version.raise(parent) && new.version.raise(parent));
        assert_eq!(
            new.compare(&old),
            Order::Concurrent,
            "what it replaced is known to what it would replace"
        );
        new.parent = Some(at(2, 6, None).edit);
        assert!(new.version.raise(at(2, 6, None).edit));
        assert_eq!(new.compare(&old), Order::Dominates, "another device's edit on top of the old one");
    }

    #[test]
    fn an_edit_that_had_to_prune_its_vector_still_follows_its_parent() {
        let mut old = at(64, 640, None);
        (1..64).for_each(|t| assert!(old.version.raise(Edit { tag: Tag(t), counter: t.into() })));
        let mut new = at(65, 650, Some(old.edit));
        new.version = old.version.clone();
        new.version.drop_tag(Tag(1));
        assert!(new.version.raise(new.edit) && old.version.is_full());
        assert_eq!((new.compare(&old), old.compare(&new)), (Order::Dominates, Order::Dominated));
        let mut touched = new.clone();
        touched.version.drop_tag(Tag(2));
        assert!(touched.version.raise(Edit { tag: Tag(66), counter: 700 }));
        assert_eq!((touched.compare(&new), new.compare(&touched)), (Order::Dominates, Order::Dominated));
        assert_eq!(at(99, 1, None).compare(&new), Order::Concurrent, "neither knows the other");
    }

    #[test]
    fn an_edit_that_was_given_out_twice_is_a_fork() {
        let (a, mut b) = (at(1, 10, None), at(1, 10, None));
        assert!(b.version.raise(at(2, 5, None).edit));
        assert_eq!((b.compare(&a), a.compare(&b)), (Order::Dominates, Order::Dominated), "a merge");
        b.content = ContentId([9; 32]);
        assert_eq!((b.compare(&a), a.compare(&b)), (Order::Concurrent, Order::Concurrent));
    }

    #[test]
    fn equal_vectors_with_other_content_are_a_fork() {
        let (a, mut b) = (at(1, 10, None), at(1, 10, None));
        assert_eq!(a.compare(&b), Order::Equal);
        b.content = ContentId([9; 32]);
        b.edit = Edit { tag: Tag(1), counter: 9 };
        assert_eq!(a.compare(&b), Order::Concurrent);
    }
}
