//! Walking the table in order of seqs, and changes that take many small steps.

use super::log::DEAD;
use super::{Stored, Table};
use crate::ids::{FolderSlot, Seq, Slot};
use crate::record::Kind;

/// Where a bounded walk ended.
pub enum Step<'t> {
    /// At the next live entry; go on from its seq.
    Entry(Stored<'t>),
    /// The steps are used up; go on from this seq.
    Later(Seq),
    /// There is none: everything up to [`Table::tail`] was seen.
    End,
}

/// How far a change in steps has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Call again from this seq.
    More(Seq),
    /// Done.
    Done,
}

/// [`Step`] by place.
enum Found {
    At(usize),
    Later(Seq),
    End,
}

impl Table<'_> {
    /// The live entry with the lowest seq greater than `seq`, of whatever folder.
    pub fn next_after(&self, seq: Seq) -> Option<Stored<'_>> {
        match self.walk(seq, usize::MAX) {
            Step::Entry(e) => Some(e),
            Step::Later(_) | Step::End => None,
        }
    }
    /// [`Table::next_after`] that looks at no more than `max_steps` (at least 1) entries, dead ones too.
    pub fn walk(&self, from: Seq, max_steps: usize) -> Step<'_> {
        match self.seek(from, max_steps, |_| true) {
            Found::At(at) => Step::Entry(self.stored(at)),
            Found::Later(seq) => Step::Later(seq),
            Found::End => Step::End,
        }
    }
    /// The oldest tombstone after `after`, looking at no more than `max_steps` entries.
    pub fn oldest_tombstone(&self, after: Seq, max_steps: usize) -> Step<'_> {
        if self.tombstones() == 0 {
            return Step::End;
        }
        match self.seek(after, max_steps, |e| e.kind() == Kind::Removed) {
            Found::At(at) => Step::Entry(self.stored(at)),
            Found::Later(seq) => Step::Later(seq),
            Found::End => Step::End,
        }
    }
    /// Drops every entry of a folder, from `from` on (0 to begin with); looks at no more than `max_steps` entries.
    /// Nothing may be put into the folder until it is done.
    pub fn drop_folder(&mut self, folder: FolderSlot, from: Seq, max_steps: usize) -> Progress {
        if self.folder_len(folder) == 0 {
            return Progress::Done;
        }
        self.each(from, max_steps, |t, seq| {
            if t.get(seq).is_some_and(|e| e.folder() == folder) {
                t.remove(seq);
            }
        })
    }
    /// Takes a slot out of the holders of every entry, from `from` on (0 to begin with); looks at no more than
    /// `max_steps` entries. What is put meanwhile must not have it.
    pub fn clear_holder(&mut self, slot: Slot, from: Seq, max_steps: usize) -> Progress {
        self.each(from, max_steps, |t, seq| t.take_holder(seq, None, slot))
    }
    /// [`Table::clear_holder`] in one folder.
    pub fn clear_holder_in(
        &mut self,
        folder: FolderSlot,
        slot: Slot,
        from: Seq,
        max_steps: usize,
    ) -> Progress {
        if self.folder_len(folder) == 0 {
            return Progress::Done;
        }
        self.each(from, max_steps, |t, seq| t.take_holder(seq, Some(folder), slot))
    }

    fn take_holder(&mut self, seq: Seq, folder: Option<FolderSlot>, slot: Slot) {
        let Some(e) = self.get(seq) else { return };
        let mut holders = e.holders();
        if holders.has(slot) && folder.is_none_or(|f| f == e.folder()) {
            holders.remove(slot);
            self.set_holders(seq, holders);
        }
    }
    fn each(&mut self, from: Seq, max_steps: usize, mut f: impl FnMut(&mut Self, Seq)) -> Progress {
        let mut cursor = from;
        for _ in 0..max_steps.max(1) {
            match self.seek(cursor, 1, |_| true) {
                Found::End => return Progress::Done,
                Found::Later(seq) => cursor = seq,
                Found::At(at) => {
                    cursor = self.log.seq(at);
                    f(self, cursor);
                }
            }
        }
        Progress::More(cursor)
    }
    /// The first live entry after `from` that is `wanted`; where the search stopped is noted for the next one.
    fn seek(&self, from: Seq, max_steps: usize, wanted: impl Fn(&Stored<'_>) -> bool) -> Found {
        if from >= self.tail() {
            return Found::End;
        }
        let Some(mut at) = self.log.after(from) else { return Found::End };
        for step in 1.. {
            if self.log.flags(at) & DEAD == 0 && wanted(&self.stored(at)) {
                self.log.note(self.log.seq(at), at);
                return Found::At(at);
            }
            if step >= max_steps.max(1) {
                break;
            }
            match self.log.next(at) {
                Some(next) => at = next,
                None => return Found::End,
            }
        }
        let seq = self.log.seq(at);
        self.log.note(seq, at);
        Found::Later(seq)
    }
}
