//! R13: what is announced from the page cache is marked until it is flushed, and what is over something of others' from when
//! it is seen; after a power cut what bears the mark is looked at before it counts as anything (`torn.rs` says what such a
//! look means).

use super::effect::Effect;
use super::index::{Index, Mark};
use super::machine::Peer;
use super::rows::Open;
use super::state::{FolderState, Job, Work};
use super::trees::{Cause, Lane, Local, Stat, Trees};
use crate::ids::Row;
use crate::path::{Path, PathBuf};
use crate::record::{Kind, Record};
use crate::time::{Duration, Instant, Now};

/// How long what users wrote may stand in the page cache alone.
const FLUSH_AFTER: Duration = Duration::secs(3);
/// How long a file may be written before it is flushed for good.
const FLUSH_EVERY: Duration = Duration::secs(5);
/// How long a scan waits at most for a flush that is due when the root is found: a disk may have very much to write.
const FLUSH_FIRST: Duration = Duration::secs(5);
/// By how much (µs) the wall clock may leave the monotonic one without having been set.
const STEP: u64 = 100_000;

/// Whether it was last changed before that instant, by a clock that was not set since. The times of some disks are coarse.
fn is_before(now: Now, (wall, at): (u64, Instant), stat: &Stat) -> bool {
    const GRAIN: u64 = 2_000_000;
    let steady = now.wall.abs_diff(wall.saturating_add(now.at.since(at).0)) <= STEP;
    let changed = (stat.ctime / 1000).max(0) as u64;
    steady && changed.saturating_add(GRAIN) < wall
}

impl Peer {
    /// R13: what users made may be in the page cache alone, its name, too, unless it was last changed before a flush. Its age
    /// says nothing: a clock that was set forward makes of what was written just now what was written long ago.
    pub(super) fn mark_unsynced(&mut self, now: Now, o: &mut Open, stat: &Stat) {
        // One that the look has set ([`Peer::mark_come`]) ends with a flush alone.
        o.t.unsynced = (self.is_fresh(now, o.f, stat) || o.t.unsynced) && stat.kind != Kind::Removed;
        if o.t.unsynced {
            self.want_flush(now, o.f);
        }
    }

    /// R13: a look found here what was not here before. A directory that was moved is all that has changed of a whole tree:
    /// what is in it has its old times, but a new name. So a directory is marked by its look, and what is in one by what is
    /// known of that: what ended a mark there began after the directory was found, with all that it held.
    pub(super) fn mark_come(&mut self, ix: &mut dyn Index, now: Now, o: &mut Open, stat: &Stat) {
        let (fresh, is_dir) = (self.is_fresh(now, o.f, stat), stat.kind == Kind::Directory);
        // What is left of it by a power cut is no edit of what others may have. Of anything else nothing is to be told apart.
        let below = |l: &Local| l.record.edit.tag.0 != 0;
        let over =
            o.t.synced.as_ref().is_some_and(Record::has_content) || o.t.local.as_ref().is_some_and(below);
        if fresh && !is_dir && !over {
            // Marked when it is minted, unless all was flushed by then.
            return;
        }
        if fresh || self.is_in_unsynced(ix, o) {
            o.t.unsynced = true;
            self.want_flush(now, o.f);
        }
    }

    /// Whether a directory above bears the mark, or is to be looked at first.
    fn is_in_unsynced(&self, ix: &mut dyn Index, o: &Open) -> bool {
        let folder = self.folders[o.f].folder;
        let (mut path, mut t) = (PathBuf::new(), Trees::default());
        ix.path(o.row, &mut path);
        let mut above = path.get().and_then(Path::parent);
        // As in a first scan: of each file, only the directory that it is in is asked for. One further up that is to be
        // looked at first has left its mark on those below it that were looked at already.
        let alone = above.is_some() && ix.marked(folder, Mark::Unsynced, None).is_none();
        while let Some(dir) = above {
            let known = ix.find(folder, dir).is_some_and(|row| ix.load(row, &mut t));
            if !known || t.stale || t.unsynced || Peer::stands(&t) != Kind::Directory {
                return true;
            }
            above = dir.parent().filter(|_| !alone);
        }
        false
    }

    /// Whether nothing tells that what has this stat was on the platter by the last flush.
    fn is_fresh(&self, now: Now, f: usize, stat: &Stat) -> bool {
        stat.is_of_writer() || !self.folders[f].flushed.is_some_and(|since| is_before(now, since, stat))
    }

    /// There is something to flush.
    pub(super) fn want_flush(&mut self, now: Now, f: usize) {
        self.folders[f].flush_at.get_or_insert(now.at + FLUSH_AFTER);
    }

    /// The root was found: what is due to be flushed is flushed before it is scanned.
    pub(super) fn await_flush(&mut self, now: Now, f: usize) {
        let s = &mut self.folders[f];
        let due = !s.flushing && s.flush_at.is_some_and(|at| at <= now.at);
        s.scan_waits = due.then(|| now.at + FLUSH_FIRST);
    }

    pub(super) fn plan_flush(&mut self, now: Now) -> Option<Effect> {
        let due = |s: &FolderState| s.has_root() && !s.flushing && s.flush_at.is_some_and(|at| at <= now.at);
        let f = self.folders.iter().position(due)?;
        if self.jobs.is_full() {
            return None;
        }
        let ticket = self.ticket();
        (self.folders[f].flushing, self.folders[f].flush_began) = (true, now.wall);
        self.push_job(now, ticket, f, Row(0), Work::Flush);
        Some(Effect::Flush { ticket, folder: self.folders[f].folder })
    }

    /// What was announced before the flush began is on the platter now. If it failed, that is not known, and no later one
    /// tells: the system says once what it could not write, and takes it for written from then on. Where the root was not
    /// there, the system was not asked.
    pub(super) fn flushed(&mut self, ix: &mut dyn Index, now: Now, job: Job, failed: Option<Cause>) {
        let s = &mut self.folders[job.f];
        s.flushing = false;
        s.scan_waits = None;
        if failed == Some(Cause::RootGone) {
            self.root_is_gone(ix, now, job.f);
            return;
        }
        s.flush_at = None;
        if failed.is_some() {
            (s.flush_at, s.flushed) = (Some(now.at + FLUSH_EVERY), None);
            self.doubt_unsynced(ix, now, job.f);
            return;
        }
        let began = s.flush_began;
        let expected = began.saturating_add(now.at.since(job.since).0);
        if now.wall.abs_diff(expected) > STEP {
            // The clock was set meanwhile: nothing tells which looks came first.
            s.flush_at = Some(now.at + FLUSH_EVERY);
            return;
        }
        s.flushed = Some((began, job.since));
        let during = began.saturating_sub(STEP)..=now.wall.saturating_add(STEP);
        let folder = s.folder;
        let mut left = false;
        let mut after = None;
        while let Some(row) = ix.marked(folder, Mark::Unsynced, after) {
            after = Some(row);
            let Some(mut o) = self.open(ix, job.f, row) else { continue };
            if o.t.unsure {
                continue;
            }
            if self.is_distrusted(&o) {
                // What the power cut left is on the platter; what was announced may not be. The look marks it anew.
                continue;
            }
            if o.t.local.as_ref().is_some_and(|l| during.contains(&l.at)) {
                left = true;
                continue;
            }
            o.t.unsynced = false;
            self.close(ix, now, o);
        }
        if left {
            self.folders[job.f].flush_at = Some(now.at + FLUSH_EVERY);
        }
    }

    /// What is marked stays so until the machine starts anew: some of it could not be written.
    pub(super) fn doubt_unsynced(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        let mut after = None;
        while let Some(row) = ix.marked(self.folders[f].folder, Mark::Unsynced, after) {
            after = Some(row);
            if let Some(mut o) = self.open(ix, f, row) {
                o.t.unsure = true;
                self.close(ix, now, o);
            }
        }
    }

    /// A folder is linked: all is flushed, what bears a mark of an earlier run, too; after a power cut, what bears one is
    /// looked at again, and so is all that was under way, be it by a later run, for this one may end before it comes to it.
    pub(super) fn take_up_marks(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        // As soon as its root is there, before it is scanned: what a first scan finds need not be marked then.
        self.folders[f].flush_at = Some(now.at);
        if self.session.unclean {
            self.folders[f].unclean = true;
            self.keep_state(ix, now, f);
            self.distrust_unsynced(ix, now, f);
        }
    }

    fn distrust_unsynced(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        let mut after = None;
        while let Some(row) = ix.marked(self.folders[f].folder, Mark::Unsynced, after) {
            after = Some(row);
            if let Some(mut o) = self.open(ix, f, row) {
                // What could not be written is gone from the page cache, too: the look finds what there is.
                (o.t.stale, o.t.unsure) = (true, false);
                if let Some(l) = &mut o.t.local {
                    l.at = 0;
                }
                self.close(ix, now, o);
            }
        }
    }

    /// All that a power cut may have torn was looked at, and what was under way then has been recovered: from here on,
    /// what changes is users' doing.
    pub(super) fn end_distrust(&mut self, ix: &mut dyn Index, now: Now) {
        let passed = |s: &FolderState, lanes: &[Lane]| lanes.iter().all(|l| s.drained[*l as usize]);
        for f in 0..self.folders.len() {
            let s = &self.folders[f];
            if !s.unclean || !s.may_act() || s.rescan || !s.subtrees.is_empty() {
                continue;
            }
            let through = passed(s, &[Lane::Look, Lane::Quick, Lane::Bulk, Lane::Remove]);
            let failed = ix.due(s.folder, Lane::Later, None).is_some();
            if through && !failed && !self.has_delays(f) && self.is_idle(f) {
                self.folders[f].unclean = false;
                self.keep_state(ix, now, f);
            }
        }
    }
}
