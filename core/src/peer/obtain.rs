//! Where an install's content comes from: this device, its author, or whoever the tracker names.

use super::effect::Effect;
use super::index::{Index, Mark};
use super::machine::Peer;
use super::reconcile::{Step, ours, step};
use super::rows::Open;
use super::state::{ALONE, Job, Stage, Work};
use super::trees::{Cause, Made, Stat, Trees};
use crate::ids::{ContentId, Folder, Row, SlotSet, Ticket};
use crate::limits::{BULK, CHUNK_MAX};
use crate::record::{Kind, Record};
use crate::time::Now;
use crate::version::Order;

impl Peer {
    /// Brings the content of `want` into the row's part file: from this device if it is here, else from others.
    pub(super) fn obtain(&mut self, ix: &mut dyn Index, now: Now, o: Open, want: Record) -> Option<Effect> {
        let ticket = self.ticket();
        let bulk = want.size > BULK;
        let job = Job {
            ticket,
            f: o.f,
            row: o.row,
            work: Work::Install(Stage::Making),
            want: (want.kind, want.content, want.edit),
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
            bulk,
            alone: false,
        };
        assert!(self.jobs.push(job).is_ok(), "the plan leaves room");
        if want.kind == Kind::Directory {
            return self.prepare(ix, now, ticket);
        }
        self.copy_or_fetch(ix, now, ticket, &want)
    }

    pub(super) fn copy_or_fetch(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        ticket: Ticket,
        want: &Record,
    ) -> Option<Effect> {
        let job = *self.job(ticket)?;
        if !job.made {
            self.job_mut(ticket).expect("it is there").made = true;
            if let Some((from, take)) = self.source_here(ix, job.f, job.row, want) {
                let j = self.job_mut(ticket).expect("it is there");
                j.work = Work::Install(Stage::Making);
                j.also = Some(from);
                j.took = take.is_some();
                let (kind, content, size) = (want.kind, want.content, want.size);
                return Some(Effect::Make { ticket, row: job.row, kind, content, size, from, take });
            }
        }
        let from = self.author_slot(want);
        let seq = {
            let mut t = Trees::default();
            ix.load(job.row, &mut t);
            t.remote.as_ref().filter(|r| r.epoch == self.epoch).map(|r| r.seq)
        };
        self.release(ticket);
        let j = self.job_mut(ticket).expect("it is there");
        j.since = now.at;
        if !j.sought && (from.is_empty() || job.bulk) {
            j.sought = true;
            if let Some(seq) = seq {
                let _ = self.seeks.push_back((job.f, job.row, seq));
            }
        }
        let j = self.job_mut(ticket).expect("it is there");
        if from.is_empty() {
            j.work = Work::Install(Stage::Seeking);
            return None;
        }
        j.work = Work::Install(Stage::Fetching);
        let (kind, content, size) = (want.kind, want.content, want.size);
        let seekers = SlotSet::default();
        Some(Effect::Fetch { ticket, row: job.row, kind, content, size, from, seekers })
    }

    /// The author's slot, if it is online and is not us.
    fn author_slot(&self, want: &Record) -> SlotSet {
        let online = self.presence(want.author).is_some_and(|p| p.online);
        match self.roster.device_by_id(want.author) {
            Some((slot, _)) if online && Some(slot) != self.session.slot => SlotSet::one(slot),
            _ => SlotSet::default(),
        }
    }

    /// A row of this device that holds the content; with its stat if its own removal is due, so that it can be moved: such a
    /// one goes before others.
    fn source_here(
        &mut self,
        ix: &mut dyn Index,
        f: usize,
        row: Row,
        want: &Record,
    ) -> Option<(Row, Option<Stat>)> {
        let (mut after, mut found) = (None, None);
        let mut t = Trees::default();
        for _ in 0..8 {
            let Some(from) = ix.with_content(&want.content, after) else { break };
            after = Some(from);
            if from == row || !ix.load(from, &mut t) {
                continue;
            }
            let Some(l) = &t.local else { continue };
            let folder = ix.path(from, &mut self.buf);
            // Of what lies in the trash no stat is kept.
            let doubtful = t.stale || l.stat.kind != want.kind;
            if l.record.kind != want.kind || (doubtful && !folder.is_trash()) {
                continue;
            }
            let ctx = self.context(f);
            let mine = folder == self.folders[f].folder;
            let leaving =
                mine && l.made == Made::Synced && !self.is_busy(from) && step(&t, ctx) == Step::Remove;
            if leaving {
                return Some((from, Some(l.stat)));
            }
            found = found.or(Some((from, None)));
        }
        found
    }

    pub(super) fn fetch_failed(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: Job,
        cause: Cause,
    ) -> Option<Effect> {
        if job.aside {
            self.end_aside(ix, now, job);
            return None;
        }
        let o = self.open(ix, job.f, job.row)?;
        let want = self.wanted(ix, &o).filter(|w| (w.kind, w.content) == (job.want.0, job.want.1));
        let starved = matches!(cause, Cause::NoSource | Cause::Unreachable | Cause::Corrupt);
        if want.is_none() {
            return self.drop_install(ix, now, job);
        }
        let seq = o.t.remote.as_ref().filter(|r| r.epoch == self.epoch).map(|r| r.seq);
        if let (true, false, Some(seq)) = (starved, job.sought, seq) {
            // The author alone was asked: who else has it?
            let _ = self.seeks.push_back((job.f, job.row, seq));
            let j = self.job_mut(job.ticket)?;
            (j.sought, j.since) = (true, now.at);
            j.work = Work::Install(Stage::Seeking);
            return None;
        }
        self.end_job(job.ticket);
        self.trouble(ix, now, o, cause);
        None
    }

    /// The tracker said who has a record's content.
    pub(super) fn sources(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        f: usize,
        row: Row,
        holders: SlotSet,
        seekers: SlotSet,
    ) {
        let online = |s: &crate::ids::Slot| {
            self.roster.device(*s).is_some_and(|d| self.presence(d.id).is_some_and(|p| p.online))
        };
        let mut from = SlotSet::default();
        holders.iter().filter(online).filter(|s| Some(*s) != self.session.slot).for_each(|s| from.add(s));
        let job = self.jobs.iter().find(|j| j.f == f && j.row == row).copied();
        match job.map(|j| (j.ticket, j.work)) {
            None => self.sources_again(ix, now, f, row, from, seekers),
            Some((ticket, Work::Install(Stage::Fetching))) => {
                self.job_mut(ticket).expect("it is there").alone &= from.is_empty();
                self.hint(Effect::Sources { ticket, holders: from, seekers });
            }
            Some((ticket, Work::Install(Stage::Seeking))) => {
                let o = self.open(ix, f, row);
                let want = o.as_ref().and_then(|o| self.wanted(ix, o));
                let full = self.jobs.iter().filter(|j| j.alone).count() >= ALONE;
                let shared = want.as_ref().is_some_and(|w| is_shared(w, seekers));
                if from.is_empty() && (full || !shared) {
                    self.end_job(ticket);
                    let cause = if holders.is_empty() { Cause::NoHolder } else { Cause::NoSource };
                    o.into_iter().for_each(|o| self.trouble(ix, now, o, cause));
                    return;
                }
                let same = |w: &Record| job.is_some_and(|j| (w.kind, w.content) == (j.want.0, j.want.1));
                let Some(want) = want.filter(same) else {
                    if let (Some(_), Some(job)) = (o, job) {
                        self.drop_install(ix, now, job);
                    }
                    return;
                };
                let (kind, content, size) = (want.kind, want.content, want.size);
                let fetch = Effect::Fetch { ticket, row, kind, content, size, from, seekers };
                if self.ready.push_back(fetch).is_err() {
                    return;
                }
                if let Some(j) = self.job_mut(ticket) {
                    j.work = Work::Install(Stage::Fetching);
                    (j.alone, j.since) = (from.is_empty(), now.at);
                }
            }
            _ => {}
        }
    }
    /// The same of what is not being fetched: nobody had it, and now somebody may, or several together.
    fn sources_again(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        f: usize,
        row: Row,
        from: SlotSet,
        seekers: SlotSet,
    ) {
        let Some(o) = self.open(ix, f, row).filter(Open::is_starved) else { return };
        let shared = self.wanted(ix, &o).is_some_and(|w| is_shared(&w, seekers));
        if !from.is_empty() || shared {
            self.retry(ix, now, o);
        }
    }

    /// What lies in the trash is not what it is filed as (a power cut tore it): it is a source of nothing any more.
    pub(super) fn disown_trashed(&mut self, ix: &mut dyn Index, now: Now, row: Row) {
        let mut t = Trees::default();
        if !ix.load(row, &mut t) || !ix.path(row, &mut self.buf).is_trash() {
            return;
        }
        if let Some(l) = &mut t.local {
            l.record.content = ContentId::NONE;
            ix.save(row, &t, None);
            self.dirty(now);
        }
    }

    /// What lies in a folder's trash, and was not in the store (a former run ended before it was filed, or the store was lost
    /// since), is filed now: who waits for its content can have it, and what was withdrawn can be made of it (R9a).
    pub fn handle_filed(&mut self, ix: &mut dyn Index, now: Now, folder: Folder) {
        let Some(f) = self.place_of(folder) else { return };
        self.requeue_folder(ix, now, f);
        let mut after = None;
        while let Some(row) = ix.marked(folder, Mark::Withdrawn, after) {
            after = Some(row);
            let o = self.open(ix, f, row).filter(|o| !self.is_busy(o.row));
            o.into_iter().for_each(|o| self.retry(ix, now, o));
        }
    }

    /// The file of a row that was to go was moved to where its content is to come. That it is gone is seen by a look, lest
    /// it counts before it is durable; what that finds instead a user put there since.
    pub(super) fn taken_away(&mut self, ix: &mut dyn Index, now: Now, row: Row) {
        if self.taken.is_full() {
            self.taken.remove(0);
        }
        let _ = self.taken.push(row);
        self.look_again(ix, now, row);
    }

    /// What a look finds at a path was put there after the file of before was moved away for a removal: that removal is done
    /// then, and this is an edit on top of it, be it the very same file, moved back. The content it had, then; none where it
    /// was not so. Asked once for each file that was moved away.
    pub(super) fn take_put_back(&mut self, o: &mut Open, stat: &Stat) -> Option<ContentId> {
        let at = self.taken.iter().position(|row| *row == o.row)?;
        self.taken.swap_remove(at);
        let removal = o.t.remote.as_ref().filter(|r| r.epoch == self.epoch && !r.record.is_live());
        let removal = removal.map(|r| r.record.clone()).filter(|_| stat.kind != Kind::Removed)?;
        if ours(&o.t)?.compare(&removal) != Order::Dominated {
            return None;
        }
        let had = o.t.local.as_ref().map(|l| l.record.content);
        (o.t.local, o.t.synced, o.t.disk_due) = (None, Some(removal), false);
        had
    }

    /// A row that was read, or whose file was moved: what stands there now is seen by a look.
    pub(super) fn look_again(&mut self, ix: &mut dyn Index, now: Now, row: Row) {
        if !ix.load(row, &mut Trees::default()) {
            // Taken from the trash meanwhile, or its folder was unlinked.
            return;
        }
        let folder = ix.path(row, &mut self.buf);
        let Some(f) = self.place_of(folder) else { return };
        if let Some(mut o) = self.open(ix, f, row) {
            self.spoil(&mut o);
            self.retry(ix, now, o);
        }
    }
}

/// Whether devices that seek a content, too, may have some of it: it has several chunks.
fn is_shared(want: &Record, seekers: SlotSet) -> bool {
    !seekers.is_empty() && want.size > CHUNK_MAX as u64
}
