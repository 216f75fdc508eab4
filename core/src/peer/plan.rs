//! What is done next: lanes are pulled as capacity frees, interactive before bulk; outcomes come back here.

use super::effect::{Effect, Outcome};
use super::index::Index;
use super::machine::Peer;
use super::state::{BULK_INSTALLS, INSTALLS, Job, LOOKS, Stage, Work};
use super::trees::{Cause, Lane, Local};
use crate::ids::{ContentId, Row, Ticket};
use crate::limits::BULK;
use crate::record::{Kind, Record};
use crate::time::{Duration, Instant, Now};
use crate::version::Edit;

/// How long the tracker may take to say who has a content.
const SEEKING: Duration = Duration::secs(3);
/// What takes longer to fetch is sought again, for the tracker forgets after a minute who seeks, and wholly when it starts;
/// or given up, if it is wanted no more.
const SEEK_AGAIN: Duration = Duration::secs(30);
/// A content that its author alone was asked for is sought after this: the author may be silent, and others have it.
const SEEK_FIRST: Duration = Duration::secs(5);
/// So many of those at a time: what many slow fetches seek at once crowds others out of the tracker's book.
const SEEK_FEW: usize = 16;

impl Peer {
    /// The next effect that follows from the state; `None` when nothing more can be begun.
    pub(super) fn plan(&mut self, ix: &mut dyn Index, now: Now) -> Option<Effect> {
        if let Some(t) = self.swap_ready()
            && let Some(e) = self.start_swap(ix, now, t)
        {
            return Some(e);
        }
        if let Some(e) = self.dial_due(now) {
            return Some(e);
        }
        if let Some(e) = self.start_watch(now) {
            return Some(e);
        }
        if let Some(e) = self.plan_flush(now) {
            return Some(e);
        }
        if let Some((f, dir)) = self.start_scan()
            && let Some(e) = self.begin_scan(ix, f, dir)
        {
            return Some(e);
        }
        // A step may put a row into a lane that was gone through before: it is not to wait for the next fact.
        for _ in 0..4 {
            self.placed = false;
            self.fill_outbox(ix, now);
            let effect = self
                .plan_looks(ix, now)
                .or_else(|| self.plan_installs(ix, now, Lane::Quick))
                .or_else(|| self.plan_installs(ix, now, Lane::Remove))
                .or_else(|| self.plan_installs(ix, now, Lane::Bulk))
                .or_else(|| self.plan_sync(now))
                .or_else(|| self.plan_revivals(ix, now))
                .or_else(|| self.plan_parts(now));
            if effect.is_none() {
                self.end_distrust(ix, now);
            }
            if effect.is_some() || !self.placed {
                return effect;
            }
        }
        None
    }

    fn plan_revivals(&mut self, ix: &mut dyn Index, now: Now) -> Option<Effect> {
        for f in 0..self.folders.len() {
            if self.folders[f].linked && self.folders[f].revivals_due && self.is_idle(f) {
                self.sweep_revivals(ix, now, f);
            }
        }
        self.ready.pop_front()
    }

    pub(super) fn is_idle(&self, f: usize) -> bool {
        self.scan.ticket.0 == 0 && !self.is_losing(f) && !self.jobs.iter().any(|j| j.f == f)
    }

    /// The next row of a lane that nothing is under way for. One that is the source of other work comes again by a
    /// recheck: that work's end says nothing of it.
    pub(super) fn pull(&mut self, ix: &mut dyn Index, now: Now, f: usize, lane: Lane) -> Option<Row> {
        let folder = self.folders[f].folder;
        if matches!(lane, Lane::Quick | Lane::Bulk) {
            let row = self.pull_waiting(ix, now, f, lane);
            if row.is_some() || self.is_waiting_full() {
                return row;
            }
        }
        loop {
            let s = &mut self.folders[f];
            if s.drained[lane as usize] {
                return None;
            }
            let Some((key, row)) = ix.due(folder, lane, s.cursors[lane as usize]) else {
                s.drained[lane as usize] = true;
                return None;
            };
            s.cursors[lane as usize] = Some((key, row));
            if !self.is_busy(row) {
                return Some(row);
            }
            self.comes_again(now, f, row);
        }
    }

    /// A busy row was passed over in its lane: if it only lends its file to other work, a recheck is due.
    pub(super) fn comes_again(&mut self, now: Now, f: usize, row: Row) {
        if self.jobs.iter().any(|j| j.also == Some(row)) {
            self.recheck(now, f);
        }
    }

    fn plan_looks(&mut self, ix: &mut dyn Index, now: Now) -> Option<Effect> {
        if self.jobs.is_full() || self.jobs.iter().filter(|j| j.work == Work::Look).count() >= LOOKS {
            return None;
        }
        for f in 0..self.folders.len() {
            let s = &self.folders[f];
            if !s.has_root() {
                continue;
            }
            while let Some(row) = self.pull(ix, now, f, Lane::Look) {
                if self.delays.iter().any(|d| d.row == row && !d.gone) {
                    continue;
                }
                let Some(o) = self.open(ix, f, row) else { continue };
                let ticket = self.ticket();
                let local = o.t.local.as_ref();
                // Of what a directory is to be swapped over, the record names no content any more.
                let named = |l: &&Local| l.at != 0 && l.record.kind == l.stat.kind;
                let known = local.filter(|l| named(l) && !l.stat.is_racy(l.at)).map(|l| l.stat);
                let moved = self.moved_here(row);
                let bulk = moved.is_none() && local.is_some_and(|l| l.stat.size > BULK);
                self.push_job(now, ticket, f, row, Work::Look);
                return Some(Effect::Look { ticket, row, known, moved, bulk });
            }
        }
        None
    }

    fn plan_installs(&mut self, ix: &mut dyn Index, now: Now, lane: Lane) -> Option<Effect> {
        for f in 0..self.folders.len() {
            if !self.folders[f].may_act() {
                continue;
            }
            for pulls in 0.. {
                if pulls == 1024 {
                    // The rest, and what keeps its place, later.
                    self.recheck(now, f);
                    break;
                }
                let bulk = || self.jobs.iter().filter(|j| j.bulk).count();
                if self.installs() >= INSTALLS || (lane == Lane::Bulk && bulk() >= BULK_INSTALLS) {
                    self.want_room(now);
                    return None;
                }
                let Some(row) = self.pull(ix, now, f, lane) else { break };
                let Some(o) = self.open(ix, f, row) else { continue };
                let effect = match lane {
                    Lane::Remove => self.start_remove(ix, now, o),
                    _ => self.start_install(ix, now, o),
                };
                if effect.is_some() {
                    return effect;
                }
            }
        }
        None
    }

    /// Jobs that [`INSTALLS`] bounds.
    pub(super) fn installs(&self) -> usize {
        let other = |w| matches!(w, Work::Look | Work::Watch | Work::Sync | Work::Flush | Work::Parts);
        self.jobs.iter().filter(|j| !other(j.work)).count()
    }

    fn plan_sync(&mut self, now: Now) -> Option<Effect> {
        for f in 0..self.folders.len() {
            let s = &self.folders[f];
            if s.syncing || s.sync_at > now.at || self.jobs.is_full() {
                continue;
            }
            let mut any = false;
            for j in self.jobs.iter_mut().filter(|j| j.f == f) {
                j.work = match j.work {
                    Work::Install(Stage::Syncing { begun: false }) => {
                        Work::Install(Stage::Syncing { begun: true })
                    }
                    Work::Remove { done: true, syncing: false } => Work::Remove { done: true, syncing: true },
                    _ => continue,
                };
                any = true;
            }
            if any {
                let ticket = self.ticket();
                self.folders[f].syncing = true;
                self.push_job(now, ticket, f, Row(0), Work::Sync);
                return Some(Effect::Sync { ticket, folder: self.folders[f].folder });
            }
        }
        None
    }

    fn swap_ready(&self) -> Option<Ticket> {
        let durable = self.commits.durable;
        let ready = |j: &&Job| j.work == Work::Install(Stage::Committing) && j.generation <= durable;
        self.jobs.iter().find(ready).map(|j| j.ticket)
    }

    /// Slow work is answered.
    pub fn handle_done(&mut self, ix: &mut dyn Index, now: Now, ticket: Ticket, outcome: Outcome) {
        let failed = match outcome {
            Outcome::Failed(cause) => Some(cause),
            _ => None,
        };
        if let Some((t, generation)) = self.commits.running
            && t == ticket
        {
            self.commits.running = None;
            match failed {
                None => (self.commits.durable, self.commits.run) = (generation, self.commits.next_run),
                Some(_) => {
                    self.commits.dirty = self.commits.dirty.max(1);
                    self.commits.wanted = true;
                    self.commits.not_before = now.at + Duration::secs(1);
                }
            }
            return;
        }
        if ticket == self.scan.ticket && ticket.0 != 0 {
            self.scan_done(ix, now, failed);
            return;
        }
        let Some(job) = self.job(ticket).copied() else { return };
        self.folders[job.f].recheck_pause = 20_000;
        let effect = match job.work {
            Work::Look => {
                self.end_job(ticket);
                self.look_done(ix, now, job, outcome);
                self.moved_looked(ix, now, job.f, job.row);
                None
            }
            Work::Install(stage) => self.install_done(ix, now, job, stage, outcome),
            Work::Recover => self.recovered(ix, now, job, outcome),
            Work::Meta { .. } => {
                self.meta_done(ix, now, job, outcome);
                None
            }
            Work::Remove { .. } => {
                self.remove_done(ix, now, job, outcome);
                None
            }
            Work::Discard { cause } => {
                self.discarded(ix, now, job, cause, outcome);
                None
            }
            Work::Keep { copy, content } => {
                self.kept(ix, now, job, (copy, content), outcome);
                None
            }
            Work::Parts | Work::Clear | Work::Watch | Work::Sync | Work::Flush => {
                self.end_job(ticket);
                self.chore_done(ix, now, job, failed);
                None
            }
        };
        if let Some(e) = effect {
            self.push_ready(e);
        }
    }

    fn chore_done(&mut self, ix: &mut dyn Index, now: Now, job: Job, failed: Option<Cause>) {
        match job.work {
            Work::Parts => self.parts_listed(now, job.f, failed.is_none()),
            Work::Clear => self.cleared(ix, now, job),
            Work::Watch => self.watch_done(now, job.f, failed),
            Work::Sync => self.synced(ix, now, job.f, failed),
            _ => self.flushed(ix, now, job, failed),
        }
    }

    /// An effect that may be left out when very many wait already.
    pub(super) fn hint(&mut self, e: Effect) {
        if self.ready.len() < 128 {
            let _ = self.ready.push_back(e);
        }
    }

    /// Each job has at most one effect out, so that there is always room however many facts come before a drain.
    pub(super) fn push_ready(&mut self, e: Effect) {
        assert!(self.ready.push_back(e).is_ok(), "no more effects than jobs");
    }

    pub(super) fn push_job(&mut self, now: Now, ticket: Ticket, f: usize, row: Row, work: Work) {
        let want = (Kind::Removed, ContentId::NONE, Edit::default());
        let job = Job {
            ticket,
            f,
            row,
            work,
            want,
            generation: 0,
            also: None,
            sought: false,
            made: false,
            took: false,
            again: false,
            scanned: None,
            since: now.at,
            begun: now.at,
            aside: false,
            bulk: false,
            alone: false,
        };
        assert!(self.jobs.push(job).is_ok(), "the plan leaves room for all kinds of jobs");
    }
    pub(super) fn job(&self, ticket: Ticket) -> Option<&Job> {
        self.jobs.iter().find(|j| j.ticket == ticket)
    }
    pub(super) fn job_mut(&mut self, ticket: Ticket) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|j| j.ticket == ticket)
    }
    pub(super) fn end_job(&mut self, ticket: Ticket) {
        self.release(ticket);
        self.note_parts(ticket);
        if let Some(i) = self.jobs.iter().position(|j| j.ticket == ticket) {
            let row = self.jobs.swap_remove(i).row;
            self.waiting.set_free(row);
        }
    }
    /// The second row of a job is free again. If it was passed over in its lane or put there meanwhile, a recheck is
    /// due: going through the lanes at each release is work that grows with the square of what is renamed.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(j) = self.job_mut(ticket) {
            j.also = None;
        }
    }

    /// Goes through the folder's lanes again after a short while: something had to wait for something else.
    pub(super) fn recheck(&mut self, now: Now, f: usize) {
        let s = &mut self.folders[f];
        if s.recheck_at.is_none() {
            s.recheck_at = Some(now.at + Duration(s.recheck_pause));
            s.recheck_pause = (s.recheck_pause * 2).min(1_000_000);
        }
    }

    /// When a job that only waits for an answer from others runs out of time.
    pub(super) fn job_timeout(&self) -> Option<Instant> {
        self.jobs.iter().filter_map(times_out).min()
    }

    pub(super) fn end_slow_jobs(&mut self, ix: &mut dyn Index, now: Now) {
        while let Some(job) = self
            .jobs
            .iter()
            .find(|j| j.work == Work::Install(Stage::Seeking) && j.since + SEEKING <= now.at)
            .copied()
        {
            self.end_job(job.ticket);
            if let Some(o) = self.open(ix, job.f, job.row) {
                self.trouble(ix, now, o, Cause::NoSource);
            }
        }
        let due = |j: &Job| times_out(j).is_some_and(|t| t <= now.at);
        while let Some(i) = self.jobs.iter().position(due) {
            self.jobs[i].since = now.at;
            let job = self.jobs[i];
            let Some(o) = self.open(ix, job.f, job.row) else { continue };
            let wants = |w: &Record| (w.kind, w.content) == (job.want.0, job.want.1);
            if o.t.intent.is_none() && !o.t.stale && self.wanted(ix, &o).is_none_or(|w| !wants(&w)) {
                // It may wait for sources that never come.
                self.hint(Effect::Cancel(job.ticket));
            } else if let Some(r) = o.t.remote.as_ref().filter(|r| r.epoch == self.epoch)
                && (job.sought || self.may_seek_early())
            {
                self.jobs[i].sought |= self.seeks.push_back((job.f, job.row, r.seq)).is_ok();
            }
        }
    }

    /// Whether one more fetch may seek others though its author has not failed.
    fn may_seek_early(&self) -> bool {
        let early = |j: &&Job| j.sought && !j.bulk && j.work == Work::Install(Stage::Fetching);
        self.jobs.iter().filter(early).count() < SEEK_FEW
    }
}

/// When a job that waits for others is looked at.
fn times_out(job: &Job) -> Option<Instant> {
    match job.work {
        Work::Install(Stage::Seeking) => Some(job.since + SEEKING),
        Work::Install(Stage::Fetching) => Some(job.since + if job.sought { SEEK_AGAIN } else { SEEK_FIRST }),
        _ => None,
    }
}
