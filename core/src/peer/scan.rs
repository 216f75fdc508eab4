//! What the disk says: touches, scans, looks. Events only mark; stat and hash decide.

use super::effect::{Effect, ScanEntry, Tell, Touch};
use super::index::{Index, Number};
use super::machine::Peer;
use super::rows::Open;
use super::state::{Delay, Work};
use super::trees::{Cause, Local, Stat, Trees};
use crate::ids::{Folder, Row, Ticket};
use crate::path::{Path, PathBuf};
use crate::record::Kind;
use crate::time::{Duration, Instant, Now};
use core::cmp::Ordering;

/// How long a removal waits for what may put the path back.
const SETTLE: Duration = Duration::millis(300);
/// First pause for a file that is being written, and the longest (µs).
const QUIET: (u64, u64) = (200_000, 10_000_000);
/// A file that is never quiet is looked at all the same after this.
const PATIENCE: Duration = Duration::secs(60);
/// Between scans of the whole.
const RESCAN: Duration = Duration::secs(3600);
/// After a root was found gone.
const RETRY_ROOT: Duration = Duration::secs(2);

impl Peer {
    /// The driver saw, or thinks, that a path changed.
    pub fn handle_touched(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        folder: Folder,
        path: Path<'_>,
        touch: Touch,
    ) {
        let Some(f) = self.place_of(folder) else { return };
        match touch {
            Touch::Gone => {
                if let Some(row) = ix.find(folder, path) {
                    self.forget_moved(row);
                    self.unlist(row);
                    self.delay(ix, now, f, row, true);
                }
            }
            Touch::Written => {
                let row = self.row_at(ix, folder, path);
                self.forget_moved(row);
                self.delay(ix, now, f, row, false);
            }
            Touch::Settled | Touch::Subtree => {
                let mut o = self.open_path(ix, f, path);
                let row = o.row;
                // A directory that went and came may be another: what was below it is looked for, too. One that is
                // found to have come is scanned by the look that finds it, unless an install makes it known before.
                let went = self.delays.iter().any(|d| d.row == row && d.gone);
                let stands = Peer::stands(&o.t) == Kind::Directory;
                let known = stands || o.t.intent.is_some() || self.is_busy(row);
                self.delays.retain(|d| d.row != row);
                self.forget_moved(row);
                self.unlist(row);
                self.spoil(&mut o);
                self.retry(ix, now, o);
                if known && (touch == Touch::Subtree || went) {
                    self.folders[f].note_subtree(row);
                }
            }
        }
    }

    /// As [`Touch::Settled`], with the stat that the path had after it was named: what is known to stand there just so,
    /// such as what was installed here just now, needs no look.
    pub fn handle_seen(&mut self, ix: &mut dyn Index, now: Now, folder: Folder, path: Path<'_>, stat: &Stat) {
        let mut t = Trees::default();
        let known = ix.find(folder, path).is_some_and(|row| {
            ix.load(row, &mut t) && !self.delays.iter().any(|d| d.row == row) && !self.is_looked_at(row)
        });
        let clean = |l: &&Local| stat.kind == l.record.kind && stat.is_clean_since(&l.stat, l.at);
        let read_at = t.local.as_ref().filter(clean).map(|l| l.at);
        if known && !t.stale && read_at.is_some_and(|at| at <= now.wall) {
            return;
        }
        if let Some(f) = self.place_of(folder).filter(|_| read_at.is_some_and(|at| at > now.wall)) {
            // The clock was set back since it was read: a write of now may bear the times that it had then.
            let mut o = self.open_path(ix, f, path);
            o.t.local.iter_mut().for_each(|l| l.stat = l.stat.of_writer());
            self.close(ix, now, o);
        }
        self.handle_touched(ix, now, folder, path, Touch::Settled);
    }

    /// Events of a folder were lost: all of it is scanned.
    pub fn handle_lost_events(&mut self, _ix: &mut dyn Index, _now: Now, folder: Folder) {
        self.events_were_lost();
        if let Some(f) = self.place_of(folder) {
            self.folders[f].rescan = true;
        }
    }

    /// The folder's watches ended by themselves (its file system was unmounted, its root removed): should it be there, it
    /// is watched anew, and then scanned.
    pub fn handle_unwatched(&mut self, _ix: &mut dyn Index, now: Now, folder: Folder) {
        let Some(f) = self.place_of(folder) else { return };
        self.events_were_lost();
        let s = &mut self.folders[f];
        s.unwatched = s.watching;
        if s.watched {
            (s.watched, s.watch_at) = (false, now.at);
            self.tell(Tell::State(folder));
        }
    }

    pub(super) fn delay(&mut self, ix: &mut dyn Index, now: Now, f: usize, row: Row, gone: bool) {
        if let Some(d) = self.delays.iter_mut().find(|d| d.row == row) {
            d.written |= !gone;
            if gone && !d.gone {
                (d.gone, d.at) = (true, now.at + SETTLE);
            } else if !gone {
                d.pause = (d.pause * 2).min(QUIET.1);
                d.at = (now.at + Duration(d.pause)).min(d.since + PATIENCE);
            }
            return;
        }
        let pause = if gone { SETTLE.0 } else { QUIET.0 };
        let d = Delay { at: now.at + Duration(pause), f, row, gone, written: !gone, pause, since: now.at };
        if self.delays.push(d).is_err() {
            self.look_at(ix, now, f, row);
        }
    }

    /// Paths that were quiet for long enough are looked at.
    pub(super) fn end_delays(&mut self, ix: &mut dyn Index, now: Now) {
        let mut i = 0;
        while i < self.delays.len() {
            if self.delays[i].at <= now.at && !self.waits_for_former(ix, now, i) {
                let d = self.delays.swap_remove(i);
                self.look_at(ix, now, d.f, d.row);
            } else {
                i += 1;
            }
        }
    }

    /// What is known of the disk at the row may be wrong; a look that is under way may have come too early.
    pub(super) fn spoil(&mut self, o: &mut Open) {
        o.t.stale = true;
        self.spoil_look(o.row);
    }

    /// A look that is under way may have come too early.
    pub(super) fn spoil_look(&mut self, row: Row) {
        if let Some(j) = self.jobs.iter_mut().find(|j| j.row == row && j.work == Work::Look) {
            j.again = true;
        }
    }

    fn is_looked_at(&self, row: Row) -> bool {
        self.jobs.iter().any(|j| j.row == row && j.work == Work::Look)
    }

    fn look_at(&mut self, ix: &mut dyn Index, now: Now, f: usize, row: Row) {
        if let Some(mut o) = self.open(ix, f, row) {
            self.spoil(&mut o);
            self.retry(ix, now, o);
        }
    }

    /// Starts the next scan that is due, if none is under way.
    pub(super) fn start_scan(&mut self) -> Option<(usize, Option<Row>)> {
        if self.scan.ticket.0 != 0 {
            return None;
        }
        let ready = |s: &super::state::FolderState| s.has_root() && s.scan_waits.is_none();
        let f = self
            .folders
            .iter()
            .position(|s| ready(s) && (s.rescan || (s.scanned && !s.subtrees.is_empty())))?;
        let s = &mut self.folders[f];
        if s.rescan {
            s.rescan = false;
            s.subtrees.clear();
            return Some((f, None));
        }
        s.subtrees.pop().map(|row| (f, Some(row)))
    }

    pub(super) fn begin_scan(&mut self, ix: &mut dyn Index, f: usize, dir: Option<Row>) -> Option<Effect> {
        self.scan.prefix.clear();
        if let Some(row) = dir {
            if !ix.load(row, &mut Default::default()) {
                return None;
            }
            ix.path(row, &mut self.scan.prefix);
        }
        let ticket = self.ticket();
        self.scan.cursor = self.scan.prefix.clone();
        self.scan.blind.clear();
        self.scan.blinded = false;
        (self.scan.ticket, self.scan.f, self.scan.dir) = (ticket, f, dir);
        Some(Effect::Scan { ticket, folder: self.folders[f].folder, dir })
    }

    /// A batch of a scan's entries, in tree order.
    pub fn handle_entries(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        ticket: Ticket,
        entries: &[ScanEntry<'_>],
    ) {
        if ticket != self.scan.ticket || ticket.0 == 0 {
            return;
        }
        let f = self.scan.f;
        let lost = self.folders[f].lost && self.scan.dir.is_none();
        for e in entries {
            self.pass(ix, now, f, Some(e.path));
            let folder = self.folders[f].folder;
            match ix.find(folder, e.path) {
                Some(row) => {
                    let Some(mut o) = self.open(ix, f, row) else { continue };
                    let clean = o.t.local.as_ref().is_some_and(|l| e.stat.is_clean_since(&l.stat, l.at));
                    if !self.note_scanned(&o, &e.stat) && !clean {
                        // Known by hearsay alone, and no event named it: as good as without a row.
                        let hearsay = o.t.local.is_none() && o.t.synced.as_ref().is_none_or(|s| !s.is_live());
                        o.t.orphan |= lost && hearsay && !o.t.stale;
                        self.spoil(&mut o);
                        o.bulk = true;
                        self.close(ix, now, o);
                    }
                }
                None => {
                    let mut o = self.open_path(ix, f, e.path);
                    self.spoil(&mut o);
                    if e.stat.kind == Kind::Directory {
                        // What finds no place is scanned again.
                        let _ = self.listed.push(o.row);
                    }
                    o.t.orphan = lost;
                    o.bulk = true;
                    self.close(ix, now, o);
                }
            }
            self.scan.cursor.set(e.path);
        }
    }

    /// What a scan finds is compared with what a look that is under way will have found, which may have come too early; so a
    /// large file is not hashed anew for each scan that passes it. False if there is no such look.
    fn note_scanned(&mut self, o: &Open, stat: &Stat) -> bool {
        let hashes = o.t.stale && self.moved_here(o.row).is_none();
        let look = self.jobs.iter_mut().find(|j| hashes && j.row == o.row && j.work == Work::Look);
        look.map(|j| j.scanned = Some(*stat)).is_some()
    }

    /// A directory of the scan could not be read: what was known below it is not taken for removed.
    pub fn handle_blind(&mut self, ix: &mut dyn Index, _now: Now, ticket: Ticket, dir: Path<'_>) {
        if ticket == self.scan.ticket {
            if let Some(row) = ix.find(self.folders[self.scan.f].folder, dir) {
                self.unlist(row);
            }
            if self.scan.blind.get().is_some() {
                self.scan.blinded = true;
            }
            self.scan.blind.set(dir);
        }
    }

    /// Rows between the scan's cursor and the next entry (or the end) are not on disk: each is looked at.
    fn pass(&mut self, ix: &mut dyn Index, now: Now, f: usize, until: Option<Path<'_>>) {
        let folder = self.folders[f].folder;
        let mut at = self.scan.cursor.clone();
        let mut next = PathBuf::new();
        loop {
            let Some(row) = ix.next(folder, at.get(), &mut next) else { return };
            let Some(path) = next.get() else { return };
            if until.is_some_and(|u| path.tree_cmp(u) != Ordering::Less) {
                return;
            }
            if self.scan.prefix.get().is_some_and(|p| !path.is_under(p)) {
                return;
            }
            let hidden = self.scan.blinded || self.scan.blind.get().is_some_and(|b| path.is_under(b));
            if !hidden && let Some(mut o) = self.open(ix, f, row) {
                let known = Peer::stands(&o.t) != Kind::Removed && !o.t.stale;
                if known || self.is_looked_at(row) {
                    self.spoil(&mut o);
                    o.bulk = true;
                    self.close(ix, now, o);
                }
            }
            core::mem::swap(&mut at, &mut next);
        }
    }

    pub(super) fn scan_done(&mut self, ix: &mut dyn Index, now: Now, failed: Option<Cause>) {
        let f = self.scan.f;
        let whole = self.scan.dir.is_none();
        // No such directory (ENOENT, ENOTDIR): nothing stands below it.
        let absent = |c: &Cause| matches!(c, Cause::NoParent | Cause::Os(2) | Cause::Os(20));
        match failed.filter(|c| whole || !absent(c)) {
            None => {
                self.pass(ix, now, f, None);
                if whole {
                    let s = &mut self.folders[f];
                    s.scanned = true;
                    if s.lost {
                        s.lost = false;
                        ix.set_number(s.folder, Number::Known, 1);
                    }
                    s.revivals_due = true;
                    s.rescan_at = now.at + RESCAN;
                    if !s.ready {
                        s.ready = true;
                        let folder = s.folder;
                        self.tell(Tell::Ready(folder));
                    }
                }
            }
            Some(Cause::RootGone) => self.root_is_gone(ix, now, f),
            Some(_) if whole => {
                self.folders[f].rescan_at = now.at + RETRY_ROOT;
            }
            Some(_) => {
                // The directory itself is looked at; what is below follows from that, or from a scan of the whole.
                self.folders[f].rescan_at = now.at + RETRY_ROOT;
                if let Some(row) = self.scan.dir {
                    self.look_at(ix, now, f, row);
                }
            }
        }
        self.scan.ticket = Ticket(0);
    }

    pub(super) fn watch_done(&mut self, now: Now, f: usize, failed: Option<Cause>) {
        let s = &mut self.folders[f];
        s.watching = false;
        let ended = core::mem::take(&mut s.unwatched);
        match failed {
            None if ended => s.watch_at = now.at,
            None => {
                s.watched = true;
                s.root_gone = false;
                s.rescan = true;
                self.await_flush(now, f);
            }
            Some(_) => {
                s.root_gone = true;
                s.watch_at = now.at + RETRY_ROOT;
            }
        }
        let folder = self.folders[f].folder;
        self.tell(Tell::State(folder));
    }

    /// The root is not what was linked: nothing is read as removed, nothing is written, until it is back.
    pub(super) fn root_is_gone(&mut self, _ix: &mut dyn Index, now: Now, f: usize) {
        let s = &mut self.folders[f];
        if s.root_gone && !s.watched {
            return;
        }
        s.root_gone = true;
        s.watched = false;
        s.watch_at = now.at + RETRY_ROOT;
        let folder = s.folder;
        self.events_were_lost();
        self.tell(Tell::State(folder));
    }

    pub(super) fn start_watch(&mut self, now: Now) -> Option<Effect> {
        let f = self
            .folders
            .iter()
            .position(|s| s.linked && !s.watched && !s.watching && s.watch_at <= now.at)?;
        let ticket = self.ticket();
        self.folders[f].watching = true;
        self.push_job(now, ticket, f, Row(0), Work::Watch);
        Some(Effect::Watch { ticket, folder: self.folders[f].folder })
    }

    /// Whether anything of the folder still waits to be looked at.
    pub(super) fn has_delays(&self, f: usize) -> bool {
        self.delays.iter().any(|d| d.f == f)
    }

    pub(super) fn gone_delays(&self, f: usize) -> Option<Instant> {
        self.delays.iter().filter(|d| d.f == f && d.gone).map(|d| d.at).max()
    }
}
