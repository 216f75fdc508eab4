//! Opening and closing rows: each change of a row ends in its single next step, its lane, and the folder's counts.

use super::announce::is_here;
use super::copy_name::is_copy_name;
use super::effect::Tell;
use super::index::Index;
use super::machine::Peer;
use super::reconcile::{Context, Step, absorb, step};
use super::state::{Counts, Telling};
use super::trees::{Cause, Due, Lane, Made, Trees};
use crate::ids::{Folder, Row, Seq};
use crate::limits::BULK;
use crate::path::{Path, PathBuf};
use crate::record::{Kind, Record};
use crate::time::{Duration, Instant, Now};

/// Added to keys of what nobody waits for: a scan's finds.
const BULK_KEY: u64 = 1 << 61;

/// A row taken out of the store to be changed; [`Peer::close`] puts it back.
pub(super) struct Open {
    pub row: Row,
    pub f: usize,
    pub t: Trees,
    pub due: Option<Due>,
    counts: Counts,
    have: Option<Seq>,
    /// It bore an intent.
    intent: bool,
    /// Found by a scan: behind what a user touches.
    pub bulk: bool,
    /// Its trouble, if any, does not postpone it this time.
    pub retry: bool,
    /// Its removal was judged.
    pub judged: bool,
}

impl Open {
    /// Whether it waits for somebody who has its content.
    pub(super) fn is_starved(&self) -> bool {
        matches!(self.t.trouble, Some((Cause::NoSource | Cause::NoHolder | Cause::Unreachable, _)))
    }
}

impl Peer {
    pub(super) fn context(&self, f: usize) -> Context {
        Context { epoch: self.epoch, told: self.folders[f].telling == Telling::Done }
    }

    /// Takes a row out of the store.
    pub(super) fn open(&mut self, ix: &mut dyn Index, f: usize, row: Row) -> Option<Open> {
        let mut t = Trees::default();
        if !ix.load(row, &mut t) {
            return None;
        }
        let due = ix.due_of(row);
        let counts = Counts::of(&t, due);
        let have = self.has(&t);
        let intent = t.intent.is_some();
        Some(Open { row, f, t, due, counts, have, intent, bulk: false, retry: false, judged: false })
    }

    /// The row of a path, made if there is none: what is told a copy by its name counts as one.
    pub(super) fn row_at(&mut self, ix: &mut dyn Index, folder: Folder, path: Path<'_>) -> Row {
        if let Some(row) = ix.find(folder, path) {
            return row;
        }
        let row = ix.create(folder, path);
        if is_copy_name(path.name()) {
            ix.save(row, &Trees { conflict: true, ..Trees::default() }, None);
        }
        row
    }

    /// Takes the row of a path out of the store, made if there is none.
    pub(super) fn open_path(&mut self, ix: &mut dyn Index, f: usize, path: Path<'_>) -> Open {
        let row = self.row_at(ix, self.folders[f].folder, path);
        self.open(ix, f, row).expect("a path's row is in the store")
    }

    /// The seq for which `Have` can be said: what the remote record of this epoch says is so on disk, durably.
    pub(super) fn has(&self, t: &Trees) -> Option<Seq> {
        if t.intent.is_some() || t.stale {
            return None;
        }
        let r = t.remote.as_ref().filter(|r| r.epoch == self.epoch)?;
        let here = match &t.local {
            None => !r.record.is_live(),
            Some(l) => {
                l.made != Made::Unminted && l.record.same_content(&r.record) && l.stat.kind == r.record.kind
            }
        };
        here.then_some(r.seq)
    }

    /// The seq for which `Lack` can be said: a content of this epoch that the disk is known not to hold at its path.
    pub(super) fn lacks(&self, t: &Trees) -> Option<Seq> {
        if t.intent.is_some() || t.stale {
            return None;
        }
        let r = t.remote.as_ref().filter(|r| r.epoch == self.epoch && r.record.has_content())?;
        (!is_here(t, &r.record)).then_some(r.seq)
    }

    /// Puts a row back: does what needs no act, finds its next step and lane, keeps the folder's counts.
    pub(super) fn close(&mut self, ix: &mut dyn Index, now: Now, mut o: Open) {
        let ctx = self.context(o.f);
        let put = o.t.local.as_ref().filter(|l| l.made == Made::Unminted).map(|l| l.stat);
        self.lose_to_heard(&mut o.t);
        absorb(&mut o.t, ctx);
        if let Some(stat) = put.filter(|_| o.t.local.as_ref().is_some_and(|l| l.made == Made::Synced)) {
            // A user put there what the home has already: it is in the page cache as any edit is (R13).
            self.mark_unsynced(now, &mut o, &stat);
        }
        o.t.unsure &= o.t.unsynced;
        if !o.t.is_over_file() {
            o.t.over = None;
        }
        o.t.orphan &= o.t.stale || o.t.local.as_ref().is_some_and(|l| l.made == Made::Unminted);
        let heard = o.t.remote.as_ref().filter(|r| r.epoch == self.epoch);
        if let (Some((copy, _)), Some(r)) = (&o.t.pending, heard)
            && r.record.version.covers(copy.edit)
        {
            // The copy half counts as accepted (R9); the winner forgets it at its next record.
            o.t.pending = None;
        }
        if o.intent && o.t.intent.is_none() {
            self.folders[o.f].parts.ended = self.commits.open;
        }
        let next = step(&o.t, ctx);
        let busy = self.is_busy(o.row);
        if next == Step::Rest && !busy && self.is_forgettable(&o.t) {
            self.folders[o.f].counts.shift(o.counts, Counts::default());
            self.folders[o.f].counts_dirty = true;
            self.dirty(now);
            ix.erase(o.row);
            return;
        }
        let due = self.lane_of(ix, now, &mut o, next);
        let counts = Counts::of(&o.t, due);
        if busy && due.is_some() && self.jobs.iter().any(|j| j.also == Some(o.row)) {
            // It only lends its file to another row, whose end does not put it back.
            self.recheck(now, o.f);
        }
        let s = &mut self.folders[o.f];
        // What it was made for may be gone by the time that a directory is settled.
        s.revivals_due |=
            due.is_none() && o.due.is_some() && o.t.synced.as_ref().is_some_and(Record::is_invented);
        s.counts.shift(o.counts, counts);
        s.counts_dirty = true;
        // A row that something is under way for is put back once more when that ends.
        if let Some(d) = due.filter(|_| !busy) {
            s.rewind_to(d, o.row);
            self.placed = true;
        }
        let have = self.has(&o.t);
        if let Some(seq) = have.filter(|_| have != o.have) {
            self.note_have(o.f, seq);
        }
        ix.save(o.row, &o.t, due);
        self.dirty(now);
    }

    /// Nothing that must be remembered: no tree names anything, nor is anything made here to go by another tag (R13). That
    /// ends with the next edit of this store there, or with its tag (R4).
    fn is_forgettable(&self, t: &Trees) -> bool {
        t.local.is_none()
            && t.remote.is_none()
            && t.synced.is_none()
            && t.withdrawn.is_none()
            && t.pending.is_none()
            && t.intent.is_none()
            && t.copies.is_empty()
            && !t.stale
            && t.forgot.is_none()
    }

    /// The place in the to-do that a step gives.
    fn lane_of(&mut self, ix: &mut dyn Index, now: Now, o: &mut Open, next: Step) -> Option<Due> {
        let next = match next {
            Step::Rest if o.t.pending.is_some() => Step::Announce,
            Step::Rest if self.restores_withdrawn(ix, o) => Step::Get,
            n => n,
        };
        // An invented directory that the disk would not let go: looking for such ones is due again when it leaves that lane.
        let stuck = matches!(o.t.trouble, Some((Cause::Os(_), _))) && !o.retry;
        let outlived = stuck && o.t.synced.as_ref().is_some_and(Record::is_invented);
        if next == Step::Rest && !outlived {
            o.t.trouble = None;
            return None;
        }
        if let (Some((cause, n)), false) = (o.t.trouble, o.retry) {
            let at = now.at + backoff(cause, n);
            self.later_at = Some(self.later_at.map_or(at, |l: Instant| l.min(at)));
            return Some(Due { lane: Lane::Later, key: at.0 });
        }
        let lane = match next {
            Step::Look => Lane::Look,
            Step::Mint => self.removal_lane(ix, now, o),
            Step::Announce => Lane::Announce,
            Step::Resolve if self.stays_ours(o) => Lane::Announce,
            Step::Recover | Step::Follow => Lane::Quick,
            // A removal that wins over a change of metadata.
            Step::Resolve if o.t.remote.as_ref().is_some_and(|r| !r.record.is_live()) => Lane::Remove,
            Step::Get | Step::Resolve => {
                let large = o.t.remote.as_ref().is_some_and(|r| r.record.size > BULK);
                if large { Lane::Bulk } else { Lane::Quick }
            }
            Step::Remove => Lane::Remove,
            Step::Rest => unreachable!("what rests has no trouble any more, or waits"),
        };
        if let Some(d) = o.due.filter(|d| d.lane == lane) {
            return Some(d);
        }
        Some(Due { lane, key: self.key_of(ix, now, o, lane) })
    }

    fn key_of(&mut self, ix: &mut dyn Index, now: Now, o: &Open, lane: Lane) -> u64 {
        let removal = o.t.local.as_ref().is_some_and(|l| l.made == Made::Unminted && !l.record.is_live());
        if lane == Lane::Remove || (lane == Lane::Announce && removal) {
            // Children first; and behind creations that were made at the same time.
            let depth = self.depth_of(ix, o.row) as u64;
            let base = if lane == Lane::Remove { 0 } else { BULK_KEY + (self.next_order(now) >> 22 << 22) };
            return base + (4096 - depth.min(4096));
        }
        // What is new here may be one of very many; of what is here already, somebody changed one.
        let fresh = lane == Lane::Quick && Peer::stands(&o.t) == Kind::Removed;
        let order = self.next_order(now);
        if o.bulk || fresh { order | BULK_KEY } else { order }
    }

    pub(super) fn next_order(&mut self, now: Now) -> u64 {
        self.order = (self.order + 1).max(now.wall) & (BULK_KEY - 1);
        self.order
    }

    pub(super) fn depth_of(&mut self, ix: &mut dyn Index, row: Row) -> usize {
        ix.path(row, &mut self.buf);
        self.buf.get().map_or(0, Path::depth)
    }

    /// Notes why a row cannot go on; it waits in the lane for later, longer at each time.
    pub(super) fn trouble(&mut self, ix: &mut dyn Index, now: Now, mut o: Open, cause: Cause) {
        if cause == Cause::RootGone {
            self.root_is_gone(ix, now, o.f);
            o.retry = true;
            self.close(ix, now, o);
            return;
        }
        o.retry = false;
        let n = match o.t.trouble {
            Some((_, n)) => n.saturating_add(1),
            None => 0,
        };
        if cause == Cause::Raced || (cause == Cause::NoParent && Peer::stands(&o.t) != Kind::Removed) {
            o.t.stale = true;
        }
        if cause == Cause::NoParent {
            self.doubt_parent(ix, now, &o);
        }
        if o.t.trouble.is_none_or(|(c, _)| c != cause) && cause != Cause::Raced {
            self.tell(Tell::Trouble(o.row, cause));
        }
        o.t.trouble = Some((cause, n));
        self.close(ix, now, o);
    }

    /// The disk says that a row's directory is not there: if it is known to stand, that is looked at again.
    fn doubt_parent(&mut self, ix: &mut dyn Index, now: Now, o: &Open) {
        let mut path = PathBuf::new();
        ix.path(o.row, &mut path);
        let mut above = path.get().and_then(Path::parent);
        while let Some(dir) = above {
            above = dir.parent();
            let Some(row) = ix.find(self.folders[o.f].folder, dir) else { continue };
            let Some(mut p) = self.open(ix, o.f, row) else { continue };
            if Peer::stands(&p.t) == Kind::Directory && !p.t.stale {
                self.spoil(&mut p);
                self.retry(ix, now, p);
            }
        }
    }

    /// Puts a row back in its lane although it had trouble.
    pub(super) fn retry(&mut self, ix: &mut dyn Index, now: Now, mut o: Open) {
        o.retry = true;
        self.close(ix, now, o);
    }

    /// Moves rows of the lane for later whose time has come.
    pub(super) fn wake_later(&mut self, ix: &mut dyn Index, now: Now) {
        if !self.requeue && self.later_at.is_none_or(|at| at > now.at) {
            return;
        }
        self.later_at = None;
        let sources = core::mem::take(&mut self.requeue);
        for f in 0..self.folders.len() {
            if !self.folders[f].linked {
                continue;
            }
            let folder = self.folders[f].folder;
            let mut after = None;
            while let Some((key, row)) = ix.due(folder, Lane::Later, after) {
                after = Some((key, row));
                if key > now.at.0 && !sources {
                    break;
                }
                let Some(o) = self.open(ix, f, row) else { continue };
                if key <= now.at.0 || o.is_starved() {
                    self.retry(ix, now, o);
                }
            }
            if let Some((key, _)) = ix.due(folder, Lane::Later, None) {
                let at = Instant(key).max(now.at + Duration::millis(1));
                self.later_at = Some(self.later_at.map_or(at, |l| l.min(at)));
            }
        }
    }

    /// Whether something is under way for the row.
    pub(super) fn is_busy(&self, row: Row) -> bool {
        self.jobs.iter().any(|j| j.row == row || j.also == Some(row))
            || self.outbox.iter().any(|a| a.row == row)
    }

    /// Whether the disk at the row holds a live thing, as far as is known.
    pub(super) fn stands(t: &Trees) -> Kind {
        t.local.as_ref().map_or(Kind::Removed, |l| l.stat.kind)
    }
}

/// How long to wait before the nth retry.
fn backoff(cause: Cause, n: u8) -> Duration {
    let (first, most) = match cause {
        Cause::Raced => (20, 5_000),
        Cause::Changing | Cause::OpenWriter | Cause::NotEmpty | Cause::NoParent => (200, 10_000),
        Cause::NoSource | Cause::NoHolder | Cause::Unreachable => (1_000, 30_000),
        _ => (1_000, 60_000),
    };
    Duration::millis((first << u64::from(n.min(16))).min(most))
}
