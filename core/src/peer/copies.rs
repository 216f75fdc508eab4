//! Conflict copies that come to stand: a loser's under its second name, and what a swap displaced though nobody expected it.

use super::effect::{Effect, Outcome};
use super::index::Index;
use super::install::as_live;
use super::machine::Peer;
use super::reconcile::{copy_record, ours};
use super::rows::Open;
use super::state::{Job, Stage, Work};
use super::trees::{Local, Made, Stat, Trees};
use crate::ids::{ContentId, Row};
use crate::path::PathBuf;
use crate::record::{Kind, Record};
use crate::time::Now;

/// The record of the copy of that loser, in a row that has no other: the home took it, or nobody had it to give and it was
/// withdrawn, and here it is, under its own record (R9a).
pub(super) fn copy_of(t: &Trees, loser: &Record) -> Option<Record> {
    let withdrawn = || t.withdrawn.as_ref().filter(|w| loser.same_content(&w.record));
    match t.remote {
        Some(_) => Some(copy_record(loser)),
        None => withdrawn().map(|w| as_live(&w.record)),
    }
}

/// What loses where the swap of that row is made.
pub(super) fn loser_of(o: &Open) -> Option<Record> {
    o.t.over.clone().filter(|_| o.t.is_over_file()).or_else(|| ours(&o.t).cloned())
}

/// A copy was made in a row that holds none: what it is then, if it is pending no more. `winner`: the row of the swap.
pub(super) fn take_for_copy(t: &mut Trees, winner: Row, record: impl FnOnce(&Trees) -> Option<Record>) {
    if t.pending.is_none() && t.local.is_none() {
        t.pending = record(t).map(|r| (r, winner));
    }
}

/// The record in which the home took a copy that could not be made before.
fn told_of(t: &Trees, what: (Kind, ContentId)) -> Option<&Record> {
    let told = [&t.remote, &t.withdrawn].into_iter().flatten().map(|r| &r.record);
    told.into_iter().find(|r| is_of(r, what))
}

fn is_of(r: &Record, what: (Kind, ContentId)) -> bool {
    (r.kind, r.content) == what
}

impl Peer {
    /// The conflict copy of a losing local version stands at its path: it is announced by itself, or, if the home took it
    /// meanwhile, is the home's: a user may remove it before it is looked at, or has changed or removed it elsewhere.
    /// `record`: what it is then, of the row's trees; none if that is not known.
    pub(super) fn copy_stands(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: &Job,
        row: Row,
        (stat, at): (Stat, u64),
        record: impl FnOnce(&Trees) -> Option<Record>,
    ) {
        let Some(mut c) = self.open(ix, job.f, row) else { return };
        take_for_copy(&mut c.t, job.row, record);
        if c.t.pending.is_some() {
            self.copy_made(now, &mut c, stat, at);
        } else {
            self.spoil(&mut c);
        }
        self.close(ix, now, c);
    }

    /// Turns a pending copy into the local tree.
    pub(super) fn copy_made(&mut self, now: Now, c: &mut Open, stat: Stat, at: u64) {
        let Some((record, _)) = c.t.pending.take() else { return };
        // It is the file that a user wrote, under another name.
        self.mark_unsynced(now, c, &stat);
        // The loser may have been given another time than the disk's, so that it loses (R13).
        c.t.disk_due = stat.kind == Kind::File && (record.mode, record.mtime) != (stat.mode, stat.mtime);
        c.t.local = Some(Local { record, made: Made::Minted, stat, at });
    }

    pub(super) fn is_pending_copy(&self, o: &Open, content: Option<ContentId>) -> bool {
        let pending = o.t.pending.as_ref();
        o.t.local.is_none() && content.is_some() && pending.is_some_and(|p| Some(p.0.content) == content)
    }

    /// A swap displaced what nobody expected: a user's last-instant save. It becomes an edit that lost: a conflict copy.
    pub(super) fn keep_odd(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        o: &Open,
        job: Job,
        before: Option<Local>,
        (kind, content, stat): (Kind, ContentId, Stat),
    ) -> Option<Effect> {
        let copy = match self.owed_copy(ix, o, kind, content) {
            Some(copy) => copy,
            None => self.plan_odd(ix, now, o, before, (kind, content, stat))?,
        };
        let j = self.job_mut(job.ticket)?;
        j.work = Work::Keep { copy, content };
        j.also = Some(copy);
        Some(Effect::Keep { ticket: job.ticket, row: copy, of: job.row })
    }

    /// The copy that was planned for what a swap file of the row holds, and could not be made yet: another edit at each try
    /// would be another copy each time.
    fn owed_copy(&mut self, ix: &mut dyn Index, o: &Open, kind: Kind, content: ContentId) -> Option<Row> {
        let (row, mut c) = (o.t.intent?.copy?, Trees::default());
        let made = !ix.load(row, &mut c) || Peer::stands(&c) != Kind::Removed;
        let pending = c.pending.as_ref().is_some_and(|p| is_of(&p.0, (kind, content)));
        let owed = pending || told_of(&c, (kind, content)).is_some();
        let (mut at, mut above) = (PathBuf::new(), PathBuf::new());
        ix.path(row, &mut at);
        ix.path(row, &mut above);
        self.climb(ix, o.f, &mut above);
        (owed && !made && at.get() == above.get()).then_some(row)
    }

    pub(super) fn kept(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: Job,
        (copy, content): (Row, ContentId),
        out: Outcome,
    ) {
        match out {
            Outcome::Swapped { stat, at, .. } => {
                let record = |t: &Trees| told_of(t, (stat.kind, content)).map(as_live);
                self.copy_stands(ix, now, &job, copy, (stat, at), record);
                if let Some(j) = self.job_mut(job.ticket) {
                    j.work = Work::Install(Stage::Syncing { begun: false });
                }
                self.waiting.set_free(job.row);
                self.release(job.ticket);
            }
            Outcome::Failed(cause) => {
                // The intent stays: what the swap file holds is looked at again by a recovery.
                self.end_job(job.ticket);
                if let Some(mut o) = self.open(ix, job.f, job.row) {
                    if let Some(intent) = &mut o.t.intent {
                        intent.copy = Some(copy);
                    }
                    self.trouble(ix, now, o, cause);
                }
            }
            _ => self.end_job(job.ticket),
        }
    }
}
