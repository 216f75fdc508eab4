//! Making the disk what the remote tree says: fetch or copy, prepare, intent, swap, sync (R11–R16).

use super::copies::{copy_of, loser_of};
use super::effect::{Effect, Outcome};
use super::index::Index;
use super::machine::Peer;
use super::reconcile::{Judgement, Step, is_aside, merge_meta, ours, step};
use super::rows::Open;
use super::state::{Job, Stage, Work};
use super::tree::Below;
use super::trees::{Cause, Intent, Local, Made, Stat};
use crate::ids::{ContentId, Ticket};
use crate::limits::BULK;
use crate::mutant::{self, Mutant};
use crate::record::{Flags, Kind, Record};
use crate::time::{Duration, Now};
use crate::version::Order;
use core::ops::ControlFlow::{Break, Continue};

/// Whether what stands at the path holds what its record says, its metadata aside.
fn stands_whole(o: &Open) -> bool {
    o.t.local.as_ref().is_some_and(|l| l.stat.kind == l.record.kind)
}

/// What an intent of that row is to replace.
fn what_stands(o: &Open) -> (Kind, ContentId) {
    match &o.t.local {
        Some(l) if l.stat.kind == l.record.kind => (l.stat.kind, l.record.content),
        Some(l) => (l.stat.kind, o.t.covered().unwrap_or(ContentId::NONE)),
        None => (Kind::Removed, ContentId::NONE),
    }
}

/// A withdrawn record that has come back.
pub(super) fn as_live(r: &Record) -> Record {
    Record { flags: Flags(r.flags.0 & !Flags::WITHDRAWN), ..r.clone() }
}

impl Peer {
    /// The record that a row's install is to make, if it has one to make now.
    pub(super) fn wanted(&mut self, ix: &mut dyn Index, o: &Open) -> Option<Record> {
        let ctx = self.context(o.f);
        match step(&o.t, ctx) {
            Step::Follow => o.t.local.as_ref().map(|l| l.record.clone()),
            Step::Get | Step::Resolve => o.t.remote.as_ref().map(|r| r.record.clone()),
            Step::Rest if o.t.pending.is_some() => o.t.pending.as_ref().map(|p| p.0.clone()),
            Step::Rest if self.restores_withdrawn(ix, o) => {
                o.t.withdrawn.as_ref().map(|w| as_live(&w.record))
            }
            _ => None,
        }
    }

    /// R9a: a withdrawn record whose content is here, at a path that holds nothing it does not dominate.
    pub(super) fn restores_withdrawn(&mut self, ix: &mut dyn Index, o: &Open) -> bool {
        let Some(w) = o.t.withdrawn.as_ref().filter(|_| !mutant::on(Mutant::R9aMake)) else { return false };
        let free = ours(&o.t).is_none_or(|x| w.record.version.compare(&x.version) == Order::Dominates);
        let heard =
            o.t.remote
                .as_ref()
                .is_some_and(|r| r.epoch == self.epoch && r.record.version.covers(w.record.edit));
        free && !heard && ix.with_content(&w.record.content, None).is_some()
    }

    /// Whether what stands at the path may have been written to after it was hashed, without its stat telling.
    pub(super) fn is_in_doubt(&self, o: &Open) -> bool {
        o.t.local.as_ref().is_some_and(|l| l.at != 0 && l.stat.is_in_doubt(l.at))
    }

    /// Looks at the path once more, when its times are old enough to tell: nothing is displaced before.
    pub(super) fn look_first(&mut self, ix: &mut dyn Index, now: Now, mut o: Open) {
        if o.t.local.as_ref().is_some_and(|l| l.stat.is_in_doubt(now.wall)) {
            return self.recheck(now, o.f);
        }
        o.t.stale = true;
        self.retry(ix, now, o);
    }

    /// Begins what a row of an install lane needs; its first effect, if it has one.
    pub(super) fn start_install(&mut self, ix: &mut dyn Index, now: Now, o: Open) -> Option<Effect> {
        let ctx = self.context(o.f);
        let next = step(&o.t, ctx);
        if next != Step::Recover && self.is_in_doubt(&o) {
            self.look_first(ix, now, o);
            return None;
        }
        match next {
            Step::Recover => return Some(self.start_recover(now, &o)),
            Step::Follow if stands_whole(&o) => return Some(self.start_meta(now, &o)),
            Step::Follow | Step::Get | Step::Resolve | Step::Rest => {}
            _ => {
                self.retry(ix, now, o);
                return None;
            }
        }
        if next == Step::Resolve && !self.may_judge(o.f) {
            return None;
        }
        let Some(want) = self.wanted(ix, &o) else {
            self.retry(ix, now, o);
            return None;
        };
        let mut o = match self.after_parents(ix, now, o) {
            Continue(o) => o,
            Break(effect) => return effect,
        };
        if want.kind != Kind::Directory {
            match self.revives_displaced(ix, now, &mut o) {
                Some(Below::Clear) => {}
                Some(_) => {
                    self.recheck(now, o.f);
                    return None;
                }
                None => {
                    self.close(ix, now, o);
                    return None;
                }
            }
        }
        self.obtain(ix, now, o, want)
    }

    /// The part file is complete: the intent is saved, and the swap file made while it is committed.
    pub(super) fn prepare(&mut self, ix: &mut dyn Index, now: Now, ticket: Ticket) -> Option<Effect> {
        let job = *self.job(ticket)?;
        let Some(mut o) = self.open(ix, job.f, job.row) else {
            self.end_job(ticket);
            return None;
        };
        let want = self.wanted(ix, &o).filter(|w| (w.kind, w.content) == (job.want.0, job.want.1));
        // What came to stand there meanwhile with that content lacks its metadata at most. A swap would put back what a user
        // overwrites in the same instant.
        let idle = step(&o.t, self.context(o.f)) == Step::Follow && stands_whole(&o);
        let Some(want) = want.filter(|_| !idle && !o.t.stale && o.t.intent.is_none()) else {
            return self.drop_install(ix, now, job);
        };
        let judgement = self.conflict(&o);
        let (mut mode, mut mtime) = (want.mode, want.mtime);
        let mut copy = None;
        if let Some(j) = judgement {
            let x = ours(&o.t).expect("judged").clone();
            // What a power cut tore is set aside without a merge, and has nothing to say of the winner's metadata.
            if !is_aside(&o.t) {
                (mode, mtime) = merge_meta(o.t.synced.as_ref(), &want, &x);
            }
            if j.copy {
                copy = self.plan_copy(ix, now, &o, &x);
            }
        } else if let (Some(row), Some(loser)) = (o.t.copies.last().copied(), &o.t.over) {
            // Unless the copy was made of another device's file already, and removed perhaps.
            let mut c = Default::default();
            let owed = ix.load(row, &mut c) && Peer::stands(&c) == Kind::Removed;
            copy = Some(row).filter(|_| owed && !self.knows_copy(&c, loser));
        }
        let from = what_stands(&o);
        copy = copy.filter(|_| !mutant::on(Mutant::R9Second));
        o.t.intent = Some(Intent { from, to: (want.kind, want.content), copy });
        o.t.target = Some(want.clone());
        let row = o.row;
        self.close(ix, now, o);
        self.commits.wanted = true;
        let generation = self.commits.open;
        self.release(ticket);
        let j = self.job_mut(ticket)?;
        j.work = Work::Install(Stage::Preparing);
        j.generation = generation;
        j.also = copy;
        let bulk = want.kind == Kind::File && want.size > BULK;
        Some(Effect::Prepare { ticket, row, kind: want.kind, mode, mtime, bulk })
    }

    /// The judgement by which a remote record wins over ours, where the two are concurrent.
    fn conflict(&self, o: &Open) -> Option<Judgement> {
        let ctx = self.context(o.f);
        if step(&o.t, ctx) != Step::Resolve {
            return None;
        }
        self.judgement(o)
    }

    /// The swap of a job whose swap file is there and whose intent is durable.
    pub(super) fn start_swap(&mut self, ix: &mut dyn Index, now: Now, ticket: Ticket) -> Option<Effect> {
        let job = *self.job(ticket)?;
        let Some(o) = self.open(ix, job.f, job.row) else {
            self.end_job(ticket);
            return None;
        };
        let Some(intent) = o.t.intent else {
            self.end_job(ticket);
            self.retry(ix, now, o);
            return None;
        };
        // A conflict copy was put there meanwhile, say.
        if what_stands(&o) != intent.from {
            self.end_job(ticket);
            return self.start_discard(ix, now, job.f, job.row, None);
        }
        let expect = o.t.local.as_ref().map(|l| l.stat).filter(|s| s.kind != Kind::Removed);
        let j = self.job_mut(ticket)?;
        j.work = Work::Install(Stage::Swapping);
        Some(Effect::Swap { ticket, row: job.row, expect, intent })
    }

    /// An install's work was answered.
    pub(super) fn install_done(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: Job,
        stage: Stage,
        out: Outcome,
    ) -> Option<Effect> {
        match (stage, out) {
            (Stage::Making, Outcome::Taken) => {
                job.also.into_iter().for_each(|from| self.taken_away(ix, now, from));
                self.prepare(ix, now, job.ticket)
            }
            (Stage::Making | Stage::Fetching, Outcome::Ready) => {
                if let (Stage::Making, true, Some(from)) = (stage, job.took, job.also) {
                    // It was copied (a hard link, an unknowable writer), and is removed by itself.
                    self.look_again(ix, now, from);
                }
                self.prepare(ix, now, job.ticket)
            }
            (Stage::Making, Outcome::Failed(cause)) => {
                let o = self.open(ix, job.f, job.row)?;
                if let Some(from) = job.also {
                    self.look_again(ix, now, from);
                    if matches!(cause, Cause::Corrupt | Cause::Raced) {
                        self.disown_trashed(ix, now, from);
                    }
                }
                match self.wanted(ix, &o).filter(|w| (w.kind, w.content) == (job.want.0, job.want.1)) {
                    Some(want) => self.copy_or_fetch(ix, now, job.ticket, &want),
                    None => self.drop_install(ix, now, job),
                }
            }
            (Stage::Fetching | Stage::Seeking, Outcome::Failed(cause)) => {
                self.fetch_failed(ix, now, job, cause)
            }
            (Stage::Preparing, Outcome::Done) => {
                let durable = self.commits.durable >= job.generation;
                if let Some(j) = self.job_mut(job.ticket) {
                    j.work = Work::Install(Stage::Committing);
                }
                let now_or_never = durable || mutant::on(Mutant::R11Intent);
                if now_or_never { self.start_swap(ix, now, job.ticket) } else { None }
            }
            (Stage::Preparing, Outcome::Failed(cause)) => {
                self.end_job(job.ticket);
                let mut o = self.open(ix, job.f, job.row)?;
                (o.t.intent, o.t.target) = (None, None);
                self.trouble(ix, now, o, cause);
                None
            }
            (Stage::Swapping, Outcome::Swapped { stat, at, copy, odd }) => {
                self.swapped(ix, now, job, (stat, at), copy, odd)
            }
            (Stage::Swapping, Outcome::Failed(cause)) => {
                self.end_job(job.ticket);
                self.start_discard(ix, now, job.f, job.row, Some(cause))
            }
            _ => self.drop_install(ix, now, job),
        }
    }

    /// Nobody wants any more what was being installed. What was taken for it is a user's: to the trash, where others find it.
    pub(super) fn drop_install(&mut self, ix: &mut dyn Index, now: Now, job: Job) -> Option<Effect> {
        self.end_job(job.ticket);
        let o = self.open(ix, job.f, job.row)?;
        if job.took && job.work == Work::Install(Stage::Making) && o.t.intent.is_none() {
            return self.start_discard(ix, now, job.f, job.row, None);
        }
        self.retry(ix, now, o);
        None
    }

    /// It stands at its path: the local and synced trees say so; the intent stays until the directory is durable.
    fn swapped(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: Job,
        (stat, at): (Stat, u64),
        copy: Option<(Stat, u64)>,
        odd: Option<(Kind, ContentId, Stat)>,
    ) -> Option<Effect> {
        let mut o = self.open(ix, job.f, job.row)?;
        let copy_row = o.t.intent.and_then(|i| i.copy);
        let loser = loser_of(&o);
        let before = o.t.local.clone();
        // What stands there now was made durable before.
        o.t.unsure = false;
        self.take_target(now, &mut o, stat, at);
        if let (Some(row), Some((stat, at))) = (copy_row, copy) {
            self.copy_stands(ix, now, &job, row, (stat, at), |t| copy_of(t, loser.as_ref()?));
            o.t.copies.retain(|c| *c != row);
            self.tell(super::Tell::Conflict(row));
        }
        if let Some(j) = self.job_mut(job.ticket) {
            j.work = Work::Install(Stage::Syncing { begun: false });
        }
        self.release(job.ticket);
        let mut effect = None;
        if let Some((kind, content, odd_stat)) = odd {
            effect = self.keep_odd(ix, now, &o, job, before, (kind, content, odd_stat));
        }
        let is_dir = stat.kind == Kind::Directory;
        o.retry = true;
        o.t.trouble = None;
        self.close(ix, now, o);
        if is_dir {
            self.waiting.set_free(job.row);
        }
        effect
    }

    /// The target of the row's intent becomes its synced record, and its local one: merged with ours if the two were concurrent.
    pub(super) fn take_target(&mut self, now: Now, o: &mut Open, stat: Stat, at: u64) {
        let Some(target) = o.t.target.take() else { return };
        let stat = match mutant::on(Mutant::R14ReadBack) {
            true => Stat { mtime: target.mtime, ..stat },
            false => stat,
        };
        let own = o.t.local.as_ref().is_some_and(|l| l.made == Made::Minted && l.record == target);
        let minted_copy = o.t.pending.as_ref().is_some_and(|p| p.0 == target);
        if own || minted_copy {
            // A directory invented here, or a copy: ours to announce.
            if minted_copy {
                o.t.pending = None;
            }
            o.t.local = Some(Local { record: target, made: Made::Minted, stat, at });
            o.t.disk_due = false;
            return;
        }
        // What a power cut tore is no edit of this path: it has left it for its copy's.
        let x = ours(&o.t).filter(|_| !is_aside(&o.t)).cloned();
        let record = match x {
            Some(x) if x.compare(&target) == Order::Concurrent => {
                let equal = x.version.compare(&target.version) == Order::Equal;
                // An edit that nobody took forks nothing for others: what it loses against stays the edit that it was, so that
                // who removes that meanwhile has removed this.
                let taken = !o.t.local.as_ref().is_some_and(|l| l.made == Made::Minted);
                let fork = (x.forks(&target) && taken) || target.forks(&x) || equal;
                self.merge(now, &mut o.t, &target, &x, fork)
            }
            _ => target.clone(),
        };
        let made = if record == target { Made::Synced } else { Made::Minted };
        o.t.synced = Some(target);
        o.t.local = Some(Local { record, made, stat, at });
        o.t.disk_due = false;
    }

    /// A directory sync ended: whatever waited for it is durable; intents end.
    pub(super) fn synced(&mut self, ix: &mut dyn Index, now: Now, f: usize, failed: Option<Cause>) {
        self.folders[f].syncing = false;
        let ok = failed.is_none();
        if !ok {
            self.folders[f].sync_at = now.at + Duration::secs(1);
        }
        if failed.is_some_and(|c| c != Cause::RootGone) {
            // It may have been told of what a user wrote, and no flush is told of it again.
            self.doubt_unsynced(ix, now, f);
        }
        let mut i = 0;
        while i < self.jobs.len() {
            let job = self.jobs[i];
            let begun = matches!(
                job.work,
                Work::Install(Stage::Syncing { begun: true }) | Work::Remove { done: true, syncing: true }
            );
            if job.f != f || !begun {
                i += 1;
                continue;
            }
            if !ok {
                self.jobs[i].work = match job.work {
                    Work::Remove { .. } => Work::Remove { done: true, syncing: false },
                    _ => Work::Install(Stage::Syncing { begun: false }),
                };
                i += 1;
                continue;
            }
            self.jobs.swap_remove(i);
            self.waiting.set_free(job.row);
            if let Some(mut o) = self.open(ix, f, job.row) {
                (o.t.intent, o.t.target) = (None, None);
                self.retry(ix, now, o);
            }
        }
    }
}
