//! Who seeks what: a small fixed table, so that downloaders of the same content find each other.
//!
//! A row is a record (folder and seq) with the devices that fetch its content now. Each seeker is told who has it and
//! who else seeks it whenever that changes ([`SwarmBook::next_due`]); a row of which nothing was heard for
//! [`KEEP`] is dropped. When the table is full, the row that was quiet for longest makes room: a seeker that is
//! forgotten asks again.

use crate::ids::{FolderSlot, Seq, Slot, SlotSet};
use crate::time::{Duration, Instant};

/// Records that are sought at a time.
pub const SOUGHT: usize = 256;
/// How long a row is kept after the last word of it.
pub const KEEP: Duration = Duration::secs(60);

/// A record that somebody seeks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    folder: FolderSlot,
    seq: Seq,
    seekers: SlotSet,
    /// Seekers to be told of a change.
    due: SlotSet,
    until: Instant,
}

/// What a seeker is to be told: of which record, and who seeks it too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// The folder.
    pub folder: FolderSlot,
    /// The record.
    pub seq: Seq,
    /// The other seekers.
    pub seekers: SlotSet,
}

/// See the module.
pub struct SwarmBook {
    rows: heapless::Vec<Row, SOUGHT>,
}

impl Default for SwarmBook {
    fn default() -> Self {
        SwarmBook::new()
    }
}

impl SwarmBook {
    /// Nobody seeks anything.
    pub const fn new() -> Self {
        SwarmBook { rows: heapless::Vec::new() }
    }
    /// Forgets everything (a new epoch).
    pub fn clear(&mut self) {
        self.rows.clear();
    }
    /// A device seeks a record's content: it is to be told the sources, and if it is new, so are the others.
    pub fn seek(&mut self, now: Instant, folder: FolderSlot, seq: Seq, slot: Slot) {
        let until = now + KEEP;
        if let Some(row) = self.row(folder, seq) {
            row.until = until;
            if row.seekers.has(slot) {
                row.due.add(slot);
            } else {
                row.seekers.add(slot);
                row.due = row.seekers;
            }
            return;
        }
        let seekers = SlotSet::one(slot);
        if self.rows.is_full() {
            let quiet =
                (0..self.rows.len()).min_by_key(|i| self.rows[*i].until).expect("a full table has rows");
            self.rows.swap_remove(quiet);
        }
        let row = Row { folder, seq, seekers, due: seekers, until };
        self.rows.push(row).expect("room was made");
    }
    /// A device seeks it no longer (it has it, or gave up); the others are to be told.
    pub fn done(&mut self, folder: FolderSlot, seq: Seq, slot: Slot) {
        self.leave(slot, |r| r.folder == folder && r.seq == seq);
    }
    /// A device is gone, or its slot is given to another.
    pub fn forget(&mut self, slot: Slot) {
        self.leave(slot, |_| true);
    }
    /// A device left a folder.
    pub fn forget_in(&mut self, folder: FolderSlot, slot: Slot) {
        self.leave(slot, |r| r.folder == folder);
    }
    /// The record was replaced: nobody need seek it.
    pub fn drop_record(&mut self, folder: FolderSlot, seq: Seq) {
        self.rows.retain(|r| r.folder != folder || r.seq != seq);
    }
    /// The folder left the home.
    pub fn drop_folder(&mut self, folder: FolderSlot) {
        self.rows.retain(|r| r.folder != folder);
    }
    /// The record's holders changed: its seekers are to be told.
    pub fn touch(&mut self, folder: FolderSlot, seq: Seq) {
        if let Some(row) = self.row(folder, seq) {
            row.due = row.seekers;
        }
    }
    /// Who seeks it.
    pub fn seekers(&self, folder: FolderSlot, seq: Seq) -> SlotSet {
        let row = self.rows.iter().find(|r| r.folder == folder && r.seq == seq);
        row.map_or(SlotSet::default(), |r| r.seekers)
    }
    /// Whether a device is to be told something.
    pub fn is_due(&self, slot: Slot) -> bool {
        self.rows.iter().any(|r| r.due.has(slot))
    }
    /// Something that a device is to be told, which with this counts as told.
    pub fn next_due(&mut self, slot: Slot) -> Option<Due> {
        let row = self.rows.iter_mut().find(|r| r.due.has(slot))?;
        row.due.remove(slot);
        let mut seekers = row.seekers;
        seekers.remove(slot);
        Some(Due { folder: row.folder, seq: row.seq, seekers })
    }
    /// Drops rows of which nothing was heard for [`KEEP`].
    pub fn expire(&mut self, now: Instant) {
        self.rows.retain(|r| r.until > now);
    }
    /// When the next row is to be dropped.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.rows.iter().map(|r| r.until).min()
    }

    fn row(&mut self, folder: FolderSlot, seq: Seq) -> Option<&mut Row> {
        self.rows.iter_mut().find(|r| r.folder == folder && r.seq == seq)
    }
    fn leave(&mut self, slot: Slot, of: impl Fn(&Row) -> bool) {
        for row in self.rows.iter_mut().filter(|r| r.seekers.has(slot) && of(r)) {
            row.seekers.remove(slot);
            row.due = row.seekers;
        }
        self.rows.retain(|r| !r.seekers.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: FolderSlot = FolderSlot(3);
    const A: Slot = Slot(0);
    const B: Slot = Slot(63);

    #[test]
    fn seekers_of_one_record_hear_of_each_other() {
        let mut book = SwarmBook::new();
        book.seek(Instant(0), F, Seq(7), A);
        assert_eq!(book.next_due(A), Some(Due { folder: F, seq: Seq(7), seekers: SlotSet::default() }));
        assert_eq!(book.next_due(A), None, "told once");
        book.seek(Instant(0), F, Seq(7), B);
        assert_eq!(book.next_due(A).unwrap().seekers, SlotSet::one(B));
        assert_eq!(book.next_due(B).unwrap().seekers, SlotSet::one(A));
        book.touch(F, Seq(7));
        assert!(book.is_due(A) && book.next_due(A).is_some() && book.next_due(B).is_some());
        book.done(F, Seq(7), A);
        assert!(book.next_due(A).is_none() && book.next_due(B).unwrap().seekers.is_empty());
        book.forget(B);
        assert_eq!(
            (book.seekers(F, Seq(7)), book.next_expiry()),
            (SlotSet::default(), None),
            "an empty row is gone"
        );
    }

    #[test]
    fn what_is_quiet_expires_and_makes_room() {
        let mut book = SwarmBook::new();
        (0..SOUGHT as u64 + 1).for_each(|n| book.seek(Instant(n), F, Seq(n + 1), A));
        assert!(book.seekers(F, Seq(1)).is_empty(), "the quietest went");
        assert_eq!(book.seekers(F, Seq(2)), SlotSet::one(A));
        assert_eq!(book.next_expiry(), Some(Instant(1) + KEEP));
        book.seek(Instant(1000), F, Seq(2), A);
        book.expire(Instant(2) + KEEP);
        assert!(book.seekers(F, Seq(3)).is_empty());
        assert_eq!(book.seekers(F, Seq(2)), SlotSet::one(A), "asked again, kept");
        book.expire(Instant(1000) + KEEP);
        assert_eq!(book.next_expiry(), None, "after expiring nothing is due in the past");
        book.seek(Instant(0), F, Seq(2), A);
        book.drop_folder(F);
        assert_eq!(book.next_expiry(), None);
    }
}
