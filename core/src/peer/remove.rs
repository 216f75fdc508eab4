//! Metadata in place, and removals.

use super::effect::{Effect, Outcome};
use super::index::Index;
use super::machine::Peer;
use super::reconcile::{Step, ours, step};
use super::rows::Open;
use super::state::{BULK_INSTALLS, INSTALLS, Job, Work};
use super::tree::Below;
use super::trees::{Intent, Lane, Local, Made, Stat, Trees};
use crate::ids::{ContentId, Row};
use crate::limits::BULK;
use crate::record::{Kind, Record};
use crate::time::{Duration, Now};
use crate::version::Order;

/// Large files that are to be made: so many are looked at for one that what is to be removed holds.
const HEIRS: usize = 64;

impl Peer {
    pub(super) fn start_meta(&mut self, now: Now, o: &Open) -> Effect {
        let l = o.t.local.as_ref().expect("something follows");
        let ticket = self.ticket();
        let (mode, mtime) = (l.record.mode, l.record.mtime);
        self.push_job(now, ticket, o.f, o.row, Work::Meta { mode, mtime });
        Effect::Meta { ticket, row: o.row, expect: l.stat, mode, mtime }
    }

    pub(super) fn meta_done(&mut self, ix: &mut dyn Index, now: Now, job: Job, out: Outcome) {
        self.end_job(job.ticket);
        let Some(mut o) = self.open(ix, job.f, job.row) else { return };
        match out {
            Outcome::Swapped { stat, at, .. } => {
                // Other metadata may have come meanwhile.
                let Work::Meta { mode, mtime } = job.work else { return };
                o.t.disk_due =
                    o.t.local.as_ref().is_some_and(|l| (l.record.mode, l.record.mtime) != (mode, mtime));
                o.t.trouble = None;
                if let Some(l) = &mut o.t.local {
                    (l.stat, l.at) = (stat, at);
                }
                self.retry(ix, now, o);
            }
            Outcome::Failed(cause) => self.trouble(ix, now, o, cause),
            _ => self.retry(ix, now, o),
        }
    }

    /// Begins a removal: children are gone, nothing live is below.
    pub(super) fn start_remove(&mut self, ix: &mut dyn Index, now: Now, mut o: Open) -> Option<Effect> {
        if self.is_in_doubt(&o) {
            self.look_first(ix, now, o);
            return None;
        }
        let next = step(&o.t, self.context(o.f));
        if !matches!(next, Step::Remove | Step::Resolve) {
            // It was put in this lane in another epoch: what it heard then is unknown now (R8).
            self.retry(ix, now, o);
            return None;
        }
        if (next == Step::Resolve || o.t.orphan) && !self.may_judge(o.f) {
            return None;
        }
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
        if let Some(heir) = self.heir(ix, &o).and_then(|row| self.open(ix, o.f, row))
            && let Some(effect) = self.start_install(ix, now, heir)
        {
            // It may be another file that the heir is made of, and its end says nothing of this one.
            self.recheck(now, o.f);
            return Some(effect);
        }
        let l = o.t.local.as_ref()?;
        let expect = l.stat;
        let ticket = self.ticket();
        self.push_job(now, ticket, o.f, o.row, Work::Remove { done: false, syncing: false });
        Some(Effect::Remove { ticket, row: o.row, expect })
    }

    /// A row that is to get the large file which is to be removed: it is moved there, rather than to the trash (R15).
    fn heir(&mut self, ix: &mut dyn Index, o: &Open) -> Option<Row> {
        let content =
            o.t.disk_content().filter(|_| o.t.local.as_ref().is_some_and(|l| l.stat.size > BULK))?;
        let bulk = self.jobs.iter().filter(|j| j.bulk).count();
        if bulk >= BULK_INSTALLS || self.installs() >= INSTALLS {
            return None;
        }
        let folder = self.folders[o.f].folder;
        let (mut after, mut t) = (None, Trees::default());
        for _ in 0..HEIRS {
            let (key, row) = ix.due(folder, Lane::Bulk, after)?;
            after = Some((key, row));
            let wants =
                ix.load(row, &mut t) && t.remote.as_ref().is_some_and(|r| r.record.content == content);
            if wants && !self.is_busy(row) {
                return Some(row);
            }
        }
        None
    }

    /// A removal that won over ours is done: the merge of both is a removal, too, and ours to announce (R7).
    fn merge_removal(&mut self, now: Now, o: &mut Open) {
        let (Some(x), Some(r)) = (ours(&o.t).cloned(), o.t.remote.as_ref().map(|r| r.record.clone())) else {
            return;
        };
        let fork = x.forks(&r) || r.forks(&x) || x.version.compare(&r.version) == Order::Equal;
        let record = self.merge(now, &mut o.t, &r, &x, fork);
        o.t.synced = Some(r);
        o.t.local = Some(Local { record, made: Made::Minted, stat: Stat::default(), at: now.wall });
    }

    /// What was to go is gone; what is known of the path may have changed meanwhile.
    fn take_removal(&mut self, now: Now, o: &mut Open, job: &Job) {
        let ctx = self.context(o.f);
        let (stale, due) = (core::mem::take(&mut o.t.stale), core::mem::take(&mut o.t.disk_due));
        let next = step(&o.t, ctx);
        o.t.stale = stale;
        let wanted = o.t.remote.as_ref().is_some_and(|r| !r.record.is_live());
        if next == Step::Remove {
            o.t.synced = o.t.remote.as_ref().map(|r| r.record.clone());
            o.t.local = None;
        } else if o.t.orphan {
            // Its removal was replaced, or is unknown in a new epoch: either speaks of what came after this content.
            o.t.local = None;
        } else if next == Step::Resolve && wanted {
            self.merge_removal(now, o);
        } else if let Some(l) = &mut o.t.local {
            let invented = job.want.0 == Kind::Directory && job.want.2 == l.record.edit && !due;
            l.stat = Stat::default();
            if invented && next == Step::Rest {
                // An invented directory: its removal is ours to announce, and needs no judgement.
                l.record = Record { kind: Kind::Removed, ..Record::default() };
                l.made = Made::Unminted;
                o.judged = true;
            } else {
                // Nobody wants it gone any more: it is made again.
                o.t.disk_due = l.record.is_live();
            }
        }
    }

    pub(super) fn remove_done(&mut self, ix: &mut dyn Index, now: Now, job: Job, out: Outcome) {
        let Some(mut o) = self.open(ix, job.f, job.row) else { return self.end_job(job.ticket) };
        match out {
            Outcome::Removed => {
                let gone =
                    (Peer::stands(&o.t), o.t.local.as_ref().map_or(ContentId::NONE, |l| l.record.content));
                self.take_removal(now, &mut o, &job);
                o.t.intent = Some(Intent { from: gone, to: (Kind::Removed, ContentId::NONE), copy: None });
                o.t.trouble = None;
                if let Some(j) = self.job_mut(job.ticket) {
                    j.work = Work::Remove { done: true, syncing: false };
                }
                let f = o.f;
                self.close(ix, now, o);
                self.folders[f].revivals_due = true;
                self.folders[f].recheck_at.get_or_insert(now.at + Duration::millis(5));
            }
            Outcome::Failed(cause) => {
                self.end_job(job.ticket);
                self.trouble(ix, now, o, cause);
            }
            _ => {
                self.end_job(job.ticket);
                self.retry(ix, now, o);
            }
        }
    }
}
