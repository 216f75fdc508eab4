//! What happened under each name since it was last told, boiled down to one mark.

use dartsync_core::peer::Touch;
use std::collections::HashMap;

/// What an event says of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// Closed after writing, or made whole.
    Settled,
    /// Renamed to this name.
    MovedHere,
    /// Written to, not closed.
    Written,
    /// Metadata changed.
    Metadata,
    /// Removed.
    Deleted,
    /// Renamed away from this name.
    MovedAway,
}

/// One name, and what to do about it.
pub(super) struct Noted {
    /// The watch of the directory it is in.
    pub wd: i32,
    pub name: Box<[u8]>,
    pub is_dir: bool,
    pub touch: Touch,
    /// What is below it may have changed unseen.
    pub subtree: bool,
    /// The directory and name that it was moved from, when nothing else was noted of either.
    pub from: Option<(i32, Box<[u8]>)>,
    moved_here: bool,
}

/// Names in the order in which they were first heard of.
#[derive(Default)]
pub(super) struct Pending {
    noted: Vec<Noted>,
    index: HashMap<(i32, Box<[u8]>), usize>,
}

impl Pending {
    pub fn note(&mut self, wd: i32, name: &[u8], is_dir: bool, change: Change) {
        let noted = self.noted(wd, name);
        noted.is_dir = is_dir;
        noted.from = None;
        // Should another directory come to this name, nothing tells of what was in the one that left.
        noted.subtree |= is_dir && matches!(change, Change::MovedAway | Change::Deleted);
        noted.moved_here |= change == Change::MovedHere;
        noted.touch = match change {
            Change::Settled | Change::MovedHere => Touch::Settled,
            Change::Written => Touch::Written,
            // A write that goes on, or a removal, decides when to look.
            Change::Metadata => noted.touch,
            // EXCHANGE tells first of the name's new file, then of its old one.
            Change::MovedAway if noted.moved_here => Touch::Settled,
            Change::MovedAway | Change::Deleted => Touch::Gone,
        };
    }
    /// The last that was noted of a name is that a file was moved there, from that name.
    pub fn note_from(&mut self, wd: i32, name: &[u8], from: (i32, &[u8])) {
        self.noted(wd, name).from = Some((from.0, from.1.into()));
    }
    /// Whether anything was noted of a name.
    pub fn has_name(&self, wd: i32, name: &[u8]) -> bool {
        self.index.contains_key(&(wd, name.into()))
    }
    pub fn note_subtree(&mut self, wd: i32, name: &[u8]) {
        self.noted(wd, name).subtree = true;
    }
    /// Whether anything was noted in the directory of this watch.
    pub fn has(&self, wd: i32) -> bool {
        self.noted.iter().any(|n| n.wd == wd)
    }
    pub fn take(&mut self) -> Vec<Noted> {
        self.index.clear();
        std::mem::take(&mut self.noted)
    }
    pub fn clear(&mut self) {
        drop(self.take());
    }

    fn noted(&mut self, wd: i32, name: &[u8]) -> &mut Noted {
        let new = self.noted.len();
        let at = *self.index.entry((wd, name.into())).or_insert(new);
        if at == new {
            let touch = Touch::Settled;
            self.noted.push(Noted {
                wd,
                name: name.into(),
                is_dir: false,
                touch,
                subtree: false,
                from: None,
                moved_here: false,
            });
        }
        &mut self.noted[at]
    }
}
