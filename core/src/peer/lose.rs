//! A directory went: nothing of what is known to have stood below it does. Very many rows take their time: others have their
//! turn meanwhile, and what happens meanwhile makes a look of whatever was not reached yet.

use super::index::Index;
use super::machine::Peer;
use super::rows::Open;
use super::trees::{Stat, Trees};
use crate::path::PathBuf;
use crate::record::Kind;
use crate::time::{Duration, Instant, Now};

/// Rows gone through in one step.
const STEP: usize = 1_000;
/// So many directories at a time; one more is gone through at once.
pub(super) const LOSING: usize = 4;
/// Between two steps, so that facts and effects have their turn.
const PAUSE: Duration = Duration::millis(1);

/// A directory that went, and how far below it that was noted.
#[derive(Debug)]
pub(super) struct Losing {
    f: usize,
    dir: PathBuf,
    /// The last path that was gone through.
    at: PathBuf,
    /// When it was missed, by the wall clock (µs).
    then: u64,
    /// Something happened since: what was not reached yet is looked at.
    doubted: bool,
    /// When the next step is due.
    next: Instant,
}

impl Peer {
    /// No directory was at the path then: nothing of what is known to have stood below it did, even if none was known at the
    /// path itself, for one may have come and gone between two looks. What was seen there no earlier than that, or has
    /// something under way, is looked at; and all of it where no event may have told that the directory is back.
    pub(super) fn lose_below(&mut self, ix: &mut dyn Index, now: Now, f: usize, dir: &PathBuf, then: u64) {
        let within = |l: &Losing| {
            l.f == f && l.dir.get().zip(dir.get()).is_some_and(|(below, d)| below == d || below.is_under(d))
        };
        // One that went with this one, or came back and went again, is begun anew. Beside too many others there is no place.
        let before = self.losing.len();
        self.losing.retain(|l| !within(l));
        let anew = self.losing.len() < before;
        let (mut at, mut doubted) = (dir.clone(), None);
        while !self.lose_some(ix, now, (f, dir), &mut at, then, &mut doubted) {
            if !self.losing.is_full() {
                let (next, doubted) = (now.at + PAUSE, doubted.unwrap_or(false));
                let losing = Losing { f, dir: dir.clone(), at, then, doubted, next };
                self.losing.push(losing).expect("there is room");
                return;
            }
        }
        if anew {
            self.lost_some(f);
        }
    }

    /// The next step of what went with its directory.
    pub(super) fn go_on_losing(&mut self, ix: &mut dyn Index, now: Now) {
        let Some(i) = self.losing.iter().position(|l| l.next <= now.at) else { return };
        let mut l = self.losing.remove(i);
        l.doubted |= !self.is_still_gone(ix, l.f, &l.dir) || !self.hears_of(ix, l.f, &l.dir);
        let (mut doubted, f) = (Some(l.doubted), l.f);
        let all = self.lose_some(ix, now, (f, &l.dir), &mut l.at, l.then, &mut doubted);
        if all {
            self.lost_some(f);
        } else {
            self.losing.push(l).expect("it had a place");
        }
        // One step at a time, by turns.
        self.losing.iter_mut().for_each(|l| l.next = l.next.max(now.at + PAUSE));
    }

    /// When that is due.
    pub(super) fn losing_at(&self) -> Option<Instant> {
        self.losing.iter().map(|l| l.next).min()
    }

    /// Whether a directory of the folder went, and not all below it was gone through.
    pub(super) fn is_losing(&self, f: usize) -> bool {
        self.losing.iter().any(|l| l.f == f)
    }

    /// The folder is linked no more.
    pub(super) fn end_losing(&mut self, f: usize) {
        self.losing.retain(|l| l.f != f);
    }

    /// All below a directory was gone through: if there is no other, what had to wait for that need not any more.
    fn lost_some(&mut self, f: usize) {
        if !self.is_losing(f) {
            self.folders[f].rewind();
            self.waiting.forget(f);
        }
    }

    /// A directory was found: if it is the one that went, what was not reached yet may be there again.
    pub(super) fn doubt_losing(&mut self, ix: &mut dyn Index, o: &Open) {
        if self.is_losing(o.f) {
            ix.path(o.row, &mut self.buf);
            let found = self.buf.get();
            let same = |l: &&mut Losing| l.dir.get() == found;
            self.losing.iter_mut().filter(same).for_each(|l| l.doubted = true);
        }
    }

    /// Goes through some rows behind `at`; whether these were all. `doubted`: whether all of it is to be looked at, once
    /// that was asked.
    fn lose_some(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        (f, dir): (usize, &PathBuf),
        at: &mut PathBuf,
        then: u64,
        doubted: &mut Option<bool>,
    ) -> bool {
        let folder = self.folders[f].folder;
        let (mut next, mut t) = (PathBuf::new(), Trees::default());
        for _ in 0..STEP {
            let child = ix.next(folder, at.get(), &mut next);
            let under = next.get().zip(dir.get()).is_some_and(|(p, d)| p.is_under(d));
            let Some(child) = child.filter(|_| under) else { return true };
            core::mem::swap(at, &mut next);
            // Most may be known to be gone: who removes a tree begins below.
            if !ix.load(child, &mut t) || (Peer::stands(&t) == Kind::Removed && !t.stale) {
                continue;
            }
            if t.stale {
                // A look that is under way may have come too early.
                self.spoil_look(child);
                continue;
            }
            let doubted = *doubted.get_or_insert_with(|| !self.hears_of(ix, f, dir));
            let Some(mut c) = self.open(ix, f, child) else { continue };
            let later = c.t.local.as_ref().is_some_and(|l| l.at >= then);
            if doubted || later || c.t.intent.is_some() || self.is_busy(child) {
                self.spoil(&mut c);
                c.bulk = true;
                self.close(ix, now, c);
            } else {
                self.take_look(ix, now, c, Stat::default(), None, then);
            }
        }
        false
    }

    /// Whether nothing was heard or done at the path of a directory that went.
    fn is_still_gone(&self, ix: &mut dyn Index, f: usize, dir: &PathBuf) -> bool {
        let row = dir.get().and_then(|dir| ix.find(self.folders[f].folder, dir));
        let mut t = Trees::default();
        // Nobody was told of it: it is forgotten.
        let Some(row) = row.filter(|row| ix.load(*row, &mut t)) else { return true };
        let heard = t.stale || t.intent.is_some() || self.delays.iter().any(|d| d.row == row);
        let busy = self.jobs.iter().any(|j| j.row == row || j.also == Some(row));
        Peer::stands(&t) != Kind::Directory && !heard && !busy
    }

    /// Whether events tell of all that happens to the path, and nothing is known to have happened above it that is not looked
    /// into yet: a directory above may have been away while the path was looked at, and is back.
    fn hears_of(&self, ix: &mut dyn Index, f: usize, path: &PathBuf) -> bool {
        let s = &self.folders[f];
        if !s.scanned || !s.watched || s.root_gone || s.rescan || s.unclean {
            return false;
        }
        let scanning = self.scan.ticket.0 != 0 && self.scan.f == f;
        if scanning && self.scan.dir.is_none() {
            return false;
        }
        let mut above = path.get();
        while let Some(dir) = above {
            let row = ix.find(s.folder, dir);
            let scanned = row.is_some() && scanning && row == self.scan.dir;
            if scanned || row.is_some_and(|row| s.subtrees.contains(&row)) {
                return false;
            }
            above = dir.parent();
        }
        path.get().is_none_or(|path| !self.is_touched_above(ix, s.folder, path))
    }
}
