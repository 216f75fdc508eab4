//! R17: a file that was moved is not read again, where nothing can have happened to it but that. Then what its former name
//! was known to hold is what it holds.
//!
//! A rename changes a file's ctime, which tells of writes whose times were set back, so that a stat alone proves nothing any
//! more. What does: the file was hashed while nobody wrote to it; the folder was watched without a gap since then, or since a
//! scan found it clearly older than that hash; no event was heard of, but that it left one path of the folder for another; it
//! has the same inode, size, mtime and mode there, one name, no writer, and a ctime that no later change can have, too; and
//! whatever happened before that stat was taken is heard of before it counts. In any doubt it is hashed.
//!
//! So it is looked at when its former name is: whether that comes back is seen then. Others that hear of both at once move
//! the file, rather than copy it. Small files are hashed at once.

use super::index::Index;
use super::machine::Peer;
use super::state::Work;
use super::trees::{Lane, Made, Stat, Trees};
use crate::ids::{ContentId, Folder, Row};
use crate::mutant::{self, Mutant};
use crate::path::Path;
use crate::record::Kind;
use crate::time::{Duration, Now};

/// Files that are known to have moved, and are to be looked at.
pub(super) const MOVED: usize = 64;
/// How long one may wait for the look at its former name.
const PATIENCE: Duration = Duration::secs(2);
/// Between two tries.
const AGAIN: Duration = Duration::millis(2);

/// One of them: what its former name was known to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    /// Its path now.
    row: Row,
    /// Its path before.
    from: Row,
    stat: Stat,
    content: ContentId,
}

impl Peer {
    /// As [`Peer::handle_seen`], of a path to which a file was moved from another one of the folder, `from`, when no event of
    /// either was heard of that the machine has not been told before this one.
    pub fn handle_moved(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        folder: Folder,
        from: Path<'_>,
        path: Path<'_>,
        stat: &Stat,
    ) {
        let large = stat.size >= self.config.await_both;
        let moved = self.known_before(ix, folder, from, stat).filter(|_| large && from != path);
        let (row, mut t) = (ix.find(folder, path), Trees::default());
        let free = row.is_none_or(|row| ix.load(row, &mut t) && !t.stale && !self.is_busy(row));
        let Some((f, moved)) = moved.filter(|_| free) else {
            return self.handle_seen(ix, now, folder, path, stat);
        };
        let row = self.row_at(ix, folder, path);
        self.forget_moved_if(|m| m.row == row);
        if self.moved.is_full() {
            let first = self.moved[0].row;
            self.forget_moved_if(|m| m.row == first);
        }
        let _ = self.moved.push(Moved { row, ..moved });
        self.delays.retain(|d| d.row != row);
        self.delay(ix, now, f, row, true);
    }

    /// What a path is known to hold, if it is beyond doubt that this is what has `stat` under another name now.
    fn known_before(
        &mut self,
        ix: &mut dyn Index,
        folder: Folder,
        from: Path<'_>,
        stat: &Stat,
    ) -> Option<(usize, Moved)> {
        let f = self.place_of(folder).filter(|f| self.hears_all(*f))?;
        let row = ix.find(folder, from)?;
        // One that went and came was not watched meanwhile.
        if self.is_touched_above(ix, folder, from) {
            return None;
        }
        let mut t = Trees::default();
        ix.load(row, &mut t);
        let l = t.local.as_ref().filter(|l| l.made == Made::Synced && l.at != 0)?;
        let touched = t.stale || self.delays.iter().any(|d| d.row == row && d.written);
        let doubted = t.intent.is_some() || t.unsure || t.disk_due || self.folders[f].unclean;
        if (touched && !mutant::on(Mutant::R17Touched)) || doubted {
            return None;
        }
        let file = l.record.kind == Kind::File && l.stat.kind == Kind::File;
        if !file || !l.stat.is_moved_to(stat) {
            return None;
        }
        Some((f, Moved { row, from: row, stat: l.stat, content: l.record.content }))
    }

    /// Whether events tell of all that is not known: nothing is to be scanned.
    fn hears_all(&self, f: usize) -> bool {
        let s = &self.folders[f];
        let scanning = self.scan.ticket.0 != 0 && self.scan.f == f;
        s.scanned && s.watched && !s.root_gone && !s.rescan && !scanning && s.subtrees.is_empty()
    }

    /// Whether the path is to be looked at, or nothing is known of it.
    pub(super) fn is_touched(&self, ix: &mut dyn Index, folder: Folder, path: Path<'_>) -> bool {
        let mut t = Trees::default();
        let Some(row) = ix.find(folder, path) else { return true };
        !ix.load(row, &mut t) || t.stale || self.delays.iter().any(|d| d.row == row)
    }

    /// Whether a directory above the path is ([`Peer::is_touched`]).
    pub(super) fn is_touched_above(&self, ix: &mut dyn Index, folder: Folder, path: Path<'_>) -> bool {
        let mut above = core::iter::successors(path.parent(), |dir| dir.parent());
        above.any(|dir| self.is_touched(ix, folder, dir))
    }

    /// Events were lost, or none is heard of any more: nothing is known to have moved, and of no directory that a scan found
    /// is it known that nothing touched it since. What a look hashes, the scan that follows tells whether it stands.
    pub(super) fn events_were_lost(&mut self) {
        self.forget_moved_if(|_| true);
        self.listed.clear();
    }

    /// Something happened to the path: what it holds is not known any more.
    pub(super) fn forget_moved(&mut self, row: Row) {
        if mutant::on(Mutant::R17Touched) {
            return;
        }
        self.forget_moved_if(|m| m.row == row);
    }

    /// No file has that content.
    pub(super) fn forget_moved_content(&mut self, content: &ContentId) {
        self.forget_moved_if(|m| m.content == *content);
    }

    /// Of those it is not known any more what they hold: a look that was told it does not count either.
    fn forget_moved_if(&mut self, forgotten: impl Fn(&Moved) -> bool) {
        let Peer { moved, jobs, .. } = self;
        moved.retain(|m| {
            let keep = !forgotten(m);
            let looks = jobs.iter_mut().filter(|j| !keep && j.row == m.row && j.work == Work::Look);
            looks.for_each(|j| j.again = true);
            keep
        });
    }

    /// What the row's look need not hash: known once.
    pub(super) fn moved_here(&mut self, row: Row) -> Option<(Stat, ContentId)> {
        self.moved.iter().find(|m| m.row == row).map(|m| (m.stat, m.content))
    }

    /// Whether the look at a file's former name is to come first, so that both are told at once.
    pub(super) fn waits_for_former(&mut self, ix: &mut dyn Index, now: Now, at: usize) -> bool {
        let d = self.delays[at];
        let Some(m) = self.moved.iter().find(|m| m.row == d.row) else { return false };
        let from = m.from;
        let mut t = Trees::default();
        let unseen = self.delays.iter().any(|d| d.row == from) || (ix.load(from, &mut t) && t.stale);
        if !unseen || d.since + PATIENCE <= now.at {
            return false;
        }
        self.delays[at].at = now.at + AGAIN;
        true
    }

    /// The row was looked at: a removal of its former name waits for nothing else.
    pub(super) fn moved_looked(&mut self, ix: &mut dyn Index, now: Now, f: usize, row: Row) {
        let Some(m) = self.moved.iter().find(|m| m.row == row).copied() else { return };
        self.moved.retain(|m| m.row != row);
        if ix.due_of(m.from).is_some_and(|d| d.lane == Lane::Vanished)
            && let Some(o) = self.open(ix, f, m.from)
        {
            self.retry(ix, now, o);
        }
    }
}
