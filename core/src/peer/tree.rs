//! R9b: trees, not rows. What hangs together by paths: parents of live things, directories that are to go.

use super::index::{Index, Mark};
use super::machine::Peer;
use super::reconcile::{Step, judge, ours, step};
use super::rows::Open;
use super::trees::{Cause, Local, Made, Stat, Trees};
use crate::ids::{ContentId, Row};
use crate::mutant::{self, Mutant};
use crate::path::PathBuf;
use crate::record::{Flags, Kind, Record};
use crate::time::Now;
use crate::version::VersionVector;

/// So many rows below a directory that is to go are passed, behind one that is still to go first, in search of one that
/// lives: it is found when those are gone, and a directory of thousands is not gone through at each of their removals.
const PASSED: u32 = 32;

/// What is below a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Below {
    /// Nothing that lives or will.
    Clear,
    /// Something that is still to be looked at or removed.
    Busy,
    /// Something live.
    Live,
}

/// Where an install's parent directory stands.
pub(super) enum Parent {
    /// On disk.
    Ready,
    /// This row is to be installed first.
    First(Row),
    /// Something is under way for this row, which is it.
    Coming(Row),
    /// It cannot be said yet.
    Wait,
}

impl Peer {
    /// Looks below a directory at what lives, at most so many rows behind the first that is busy.
    pub(super) fn below(&mut self, ix: &mut dyn Index, f: usize, row: Row, most: u32) -> Below {
        let folder = self.folders[f].folder;
        let ctx = self.context(f);
        let mut dir = PathBuf::new();
        ix.path(row, &mut dir);
        let (mut at, mut next) = (dir.clone(), PathBuf::new());
        let mut t = Trees::default();
        let mut below = Below::Clear;
        let mut passed = 0;
        while let Some(child) = ix.next(folder, at.get(), &mut next) {
            let under = next.get().zip(dir.get()).is_some_and(|(p, d)| p.is_under(d));
            if !under || !ix.load(child, &mut t) {
                break;
            }
            core::mem::swap(&mut at, &mut next);
            passed += u32::from(below == Below::Busy);
            if passed > most {
                break;
            }
            if t.stale || t.intent.is_some() || self.jobs.iter().any(|j| j.row == child) {
                below = Below::Busy;
                continue;
            }
            if t.pending.is_some() {
                return Below::Live;
            }
            let next_step = step(&t, ctx);
            let invented = |r: Option<&Record>| r.is_some_and(|r| r.flags.revival());
            match (Peer::stands(&t), next_step) {
                // Something stands there and is to go.
                (k, Step::Remove) if k != Kind::Removed => below = Below::Busy,
                (k, Step::Resolve) if k != Kind::Removed && yields_to_removal(&t) => below = Below::Busy,
                (Kind::Directory, Step::Rest) if invented(ours(&t)) => below = Below::Busy,
                (Kind::Removed, Step::Get) => return Below::Live,
                (Kind::Removed, Step::Resolve) if t.remote.as_ref().is_some_and(|r| r.record.is_live()) => {
                    return Below::Live;
                }
                (Kind::Removed, _) => {}
                _ => return Below::Live,
            }
        }
        below
    }

    /// Where the parent of a row stands. One that is absent, removed or no directory is revived: its row then comes first.
    pub(super) fn parent_of(&mut self, ix: &mut dyn Index, now: Now, o: &Open) -> Parent {
        let mut path = PathBuf::new();
        ix.path(o.row, &mut path);
        let Some(dir) = path.get().and_then(|p| p.parent()) else { return Parent::Ready };
        let folder = self.folders[o.f].folder;
        let mut p = match ix.find(folder, dir) {
            Some(row) => match self.open(ix, o.f, row) {
                Some(p) => p,
                None => return Parent::Wait,
            },
            None => self.open_path(ix, o.f, dir),
        };
        let row = p.row;
        if Peer::stands(&p.t) == Kind::Directory && !p.t.stale {
            return if self.is_unsettled(row) { Parent::Coming(row) } else { Parent::Ready };
        }
        if self.is_unsettled(row) {
            return Parent::Coming(row);
        }
        if p.t.stale || self.is_busy(row) {
            return Parent::Wait;
        }
        let ctx = self.context(o.f);
        let coming = match step(&p.t, ctx) {
            Step::Follow => p.t.local.as_ref().is_some_and(|l| l.record.kind == Kind::Directory),
            Step::Get | Step::Resolve => {
                p.t.remote.as_ref().is_some_and(|r| r.record.kind == Kind::Directory)
            }
            Step::Recover => return Parent::Wait,
            _ => false,
        };
        if coming {
            return Parent::First(row);
        }
        if !self.may_judge(o.f)
            || p.t.local.as_ref().is_some_and(|l| l.made == Made::Unminted && l.record.is_live())
        {
            return Parent::Wait;
        }
        if self.invent(ix, now, &mut p) {
            self.close(ix, now, p);
            return Parent::First(row);
        }
        Parent::Wait
    }

    /// Whether R9b may judge: caught up, and nothing pushed is unread.
    pub(super) fn may_judge(&self, f: usize) -> bool {
        let s = &self.folders[f];
        s.may_act() && s.caught_up && s.telling == super::state::Telling::Done && !self.is_losing(f)
    }

    /// Makes the row's local record a directory that carries something live: over a removal, over nothing, or over a file
    /// that thereby loses (its content becomes a copy). The disk follows. Not while a file here has a conflict of its own.
    pub(super) fn invent(&mut self, ix: &mut dyn Index, now: Now, p: &mut Open) -> bool {
        if mutant::on(Mutant::R9bRevive) {
            return false;
        }
        let remote = p.t.remote.as_ref().filter(|r| r.epoch == self.epoch).map(|r| r.record.clone());
        let file = p.t.local.as_ref().filter(|l| l.record.has_content() && l.stat.kind != Kind::Removed);
        let file = file.map(|l| l.record.clone());
        let same = |r: &Record| file.as_ref().is_some_and(|f| f.edit == r.edit);
        let knows = |r: &Record| ours(&p.t).is_some_and(|x| x.version.covers(r.edit));
        // A file of the remote tree, whatever is here, loses to the directory, too: it is none of its ancestors (R9b).
        let loser = remote.clone().filter(|r| r.has_content() && !same(r) && !knows(r));
        // A copy that the home came to know by itself is none that is still to go with this file.
        let mut c = Trees::default();
        p.t.copies.retain(|row| ix.load(*row, &mut c) && c.pending.is_some());
        if file.as_ref().is_some_and(|f| f.version.is_empty() || loser.is_some() || !p.t.copies.is_empty()) {
            return false;
        }
        let mut version = VersionVector::new();
        for r in [ours(&p.t), remote.as_ref()].into_iter().flatten() {
            for e in r.version.entries() {
                self.raise(&mut version, *e, (*e, None));
            }
        }
        let edit = self.mint_at(now, &mut p.t, &version);
        let above = remote.as_ref().or(ours(&p.t));
        let parent = above.map(|r| r.edit);
        self.raise(&mut version, edit, (edit, parent));
        let mode = [p.t.local.as_ref().map(|l| &l.record), p.t.synced.as_ref()]
            .into_iter()
            .flatten()
            .find(|r| r.kind == Kind::Directory)
            .map_or(0o755, |r| r.mode);
        let record = Record {
            kind: Kind::Directory,
            flags: Flags(Flags::REVIVAL),
            mode,
            author: self.session.device,
            edit,
            parent,
            version,
            ..Record::default()
        };
        let stat = p.t.local.as_ref().map_or(Stat::default(), |l| l.stat);
        // A remote one becomes a pending copy; one that is here gets its copy's name when the directory is swapped in.
        if file.is_some() {
            p.t.over.clone_from(&file);
        }
        if let Some(loser) = loser.or(file)
            && let Some(row) = self.plan_copy(ix, now, p, &loser)
        {
            let _ = p.t.copies.push(row);
        }
        p.t.disk_due = stat.kind != Kind::Directory || stat.mode != record.mode;
        p.t.local = Some(Local { record, made: Made::Minted, stat, at: now.wall });
        p.t.trouble = None;
        self.commits.wanted = true;
        true
    }

    /// A directory that a remote removal, or a remote file, would displace although something below lives: it is revived.
    pub(super) fn revives_displaced(&mut self, ix: &mut dyn Index, now: Now, o: &mut Open) -> Option<Below> {
        if Peer::stands(&o.t) != Kind::Directory {
            return Some(Below::Clear);
        }
        match self.below(ix, o.f, o.row, PASSED) {
            Below::Live if self.may_judge(o.f) && self.invent(ix, now, o) => None,
            Below::Live => Some(Below::Busy),
            other => Some(other),
        }
    }

    /// A directory removed here, under which something live is to come: made again instead of announced as removed.
    pub(super) fn revives_removed(&mut self, ix: &mut dyn Index, now: Now, o: &mut Open) -> bool {
        let dir = o.t.synced.as_ref().is_some_and(|s| s.kind == Kind::Directory);
        // What was removed is the directory, and no edit on top of it that others may know: that removal is told.
        let gone = o.t.local.as_ref().is_some_and(|l| !l.record.is_live() && l.record.edit.tag.0 == 0);
        if !dir || !gone || self.below(ix, o.f, o.row, u32::MAX) != Below::Live {
            return false;
        }
        let synced = o.t.synced.clone().expect("seen");
        if let Some(l) = &mut o.t.local {
            l.record = synced;
            l.made = Made::Synced;
        }
        o.t.disk_due = true;
        let _ = now;
        true
    }

    /// Removals are announced children first; what replaces a directory, after the removals under it.
    pub(super) fn waits_for_children(&mut self, ix: &mut dyn Index, now: Now, o: &Open) -> bool {
        let was_dir = o.t.synced.as_ref().is_some_and(|s| s.kind == Kind::Directory);
        let is_dir = o.t.local.as_ref().is_some_and(|l| l.record.kind == Kind::Directory);
        if !was_dir || is_dir || mutant::on(Mutant::R9bChildren) {
            return false;
        }
        let folder = self.folders[o.f].folder;
        let mut dir = PathBuf::new();
        ix.path(o.row, &mut dir);
        let (mut at, mut next) = (dir.clone(), PathBuf::new());
        let mut t = Trees::default();
        while let Some(child) = ix.next(folder, at.get(), &mut next) {
            let under = next.get().zip(dir.get()).is_some_and(|(p, d)| p.is_under(d));
            if !under || !ix.load(child, &mut t) {
                return false;
            }
            core::mem::swap(&mut at, &mut next);
            if t.intent.is_some() && matches!(t.trouble, Some((Cause::NoParent, _))) {
                // What was displaced there has no place to go but below what is to be told.
                continue;
            }
            let unsaid = t.local.as_ref().is_some_and(|l| l.made == Made::Unminted && !l.record.is_live());
            let stands = Peer::stands(&t) != Kind::Removed;
            if stands && !t.stale && !self.is_busy(child) {
                // What still stands below, as far as is known, cannot: its going was not seen.
                self.look_again(ix, now, child);
            }
            if t.stale || unsaid || stands {
                return true;
            }
        }
        false
    }

    /// Invented directories with nothing live below are removed again.
    pub(super) fn sweep_revivals(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        if !self.may_judge(f) || self.has_delays(f) {
            return;
        }
        self.folders[f].revivals_due = false;
        if mutant::on(Mutant::R9bInvented) {
            return;
        }
        let folder = self.folders[f].folder;
        let mut after = None;
        while let Some(row) = ix.marked(folder, Mark::Invented, after) {
            after = Some(row);
            let Some(o) = self.open(ix, f, row) else { continue };
            let settled = o.t.local.as_ref().is_some_and(|l| l.made == Made::Synced) && o.due.is_none();
            if !settled || self.is_busy(row) || self.below(ix, f, row, u32::MAX) != Below::Clear {
                continue;
            }
            self.remove_invented(now, o);
        }
    }

    fn remove_invented(&mut self, now: Now, o: Open) {
        let Some(l) = &o.t.local else { return };
        if self.installs() >= super::state::INSTALLS {
            self.folders[o.f].revivals_due = true;
            return;
        }
        let ticket = self.ticket();
        let work = super::state::Work::Remove { done: false, syncing: false };
        self.push_job(now, ticket, o.f, o.row, work);
        let edit = l.record.edit;
        if let Some(j) = self.job_mut(ticket) {
            // Says that nobody asked for it but we.
            j.want = (Kind::Directory, ContentId::NONE, edit);
        }
        let effect = super::Effect::Remove { ticket, row: o.row, expect: l.stat };
        if self.ready.push_back(effect).is_err() {
            self.jobs.retain(|j| j.ticket != ticket);
            self.folders[o.f].revivals_due = true;
        }
    }
}

/// Whether a concurrent removal wins over what is here (R7).
fn yields_to_removal(t: &Trees) -> bool {
    let removal = t.remote.as_ref().map(|r| &r.record).filter(|r| !r.is_live());
    ours(t).zip(removal).is_some_and(|(x, r)| !judge(x, r).ours)
}
