//! What was given up half done is cleared away: part files that nothing wants any more.
//!
//! A part file stays where what it was fetched for was replaced or removed meanwhile, where a swap was postponed, where the
//! program was killed. It is of use as long as some content is still to come to its row: what it holds of it is not fetched
//! again. Nobody keeps a list of them that could be wrong: once caught up, and whenever one may have been left, tmp is
//! listed, and again as long as there are any.

use super::announce::is_here;
use super::effect::Effect;
use super::index::Index;
use super::machine::Peer;
use super::reconcile::ours;
use super::state::{FolderState, INSTALLS, Job, PARTS_PAUSE, Work};
use crate::ids::{Row, Ticket};
use crate::record::Record;
use crate::time::{Duration, Instant, Now};
use crate::version::Order;

impl Peer {
    /// When tmp is to be listed: not before it is known what the home has.
    pub(super) fn parts_at(&self, f: &FolderState) -> Option<Instant> {
        let may = f.watched && f.scanned && !f.root_gone && f.caught_up && !self.jobs.is_full();
        Some(f.parts.at).filter(|_| f.linked && may && f.parts.due)
    }

    /// A job ends: where it was to install something and did not come to its end, its part file may be left.
    pub(super) fn note_parts(&mut self, ticket: Ticket) {
        let leaves = |w| {
            matches!(
                w,
                Work::Install(_) | Work::Recover | Work::Discard { .. } | Work::Keep { .. } | Work::Clear
            )
        };
        if let Some(job) = self.job(ticket).filter(|j| leaves(j.work)) {
            let f = job.f;
            self.folders[f].parts.due = true;
        }
    }

    pub(super) fn plan_parts(&mut self, now: Now) -> Option<Effect> {
        let f = self.folders.iter().position(|s| self.parts_at(s).is_some_and(|at| at <= now.at))?;
        let ticket = self.ticket();
        let s = &mut self.folders[f];
        s.parts.due = false;
        s.parts.at = now.at + Duration(s.parts.pause);
        let folder = s.folder;
        self.push_job(now, ticket, f, Row(0), Work::Parts);
        Some(Effect::Parts { ticket, folder })
    }

    /// Rows that have a file in tmp, as [`Effect::Parts`] asked; in batches of any length.
    pub fn handle_parts(&mut self, ix: &mut dyn Index, now: Now, ticket: Ticket, rows: &[Row]) {
        let Some(job) = self.job(ticket).filter(|j| j.work == Work::Parts).copied() else { return };
        let settled = self.commits.durable >= self.folders[job.f].parts.ended;
        for row in rows {
            if !settled || self.keeps_part(ix, job.f, *row) || self.installs() >= INSTALLS {
                self.folders[job.f].parts.due = true;
                continue;
            }
            let ticket = self.ticket();
            self.push_job(now, ticket, job.f, *row, Work::Clear);
            let folder = self.folders[job.f].folder;
            self.push_ready(Effect::Clear { ticket, folder, row: *row });
            self.folders[job.f].parts.pause = PARTS_PAUSE.0;
        }
    }

    /// Whether what lies in tmp for a row may still be of use: to work that is under way, to a recovery, to what is still to
    /// be made at its path.
    fn keeps_part(&mut self, ix: &mut dyn Index, f: usize, row: Row) -> bool {
        if self.is_busy(row) {
            return true;
        }
        let Some(o) = self.open(ix, f, row) else { return false };
        if ix.path(row, &mut self.buf) != self.folders[f].folder {
            // Its number is another folder's since: it is of an earlier store.
            return false;
        }
        let to_come = |r: &Record| r.has_content() && !is_here(&o.t, r);
        // Of another epoch, it is unknown for the moment (R8).
        let heard = o.t.remote.as_ref().map(|r| &r.record).filter(|r| to_come(r));
        let follows = |x: &Record, r: &Record| matches!(x.compare(r), Order::Dominated | Order::Concurrent);
        o.t.intent.is_some()
            || heard.is_some_and(|r| ours(&o.t).is_none_or(|x| follows(x, r)))
            || (o.due.is_some() && self.wanted(ix, &o).is_some_and(|r| to_come(&r)))
    }

    /// Tmp is listed: it is again, after a longer while each time, as long as something in it is kept.
    pub(super) fn parts_listed(&mut self, now: Now, f: usize, ok: bool) {
        let p = &mut self.folders[f].parts;
        p.due |= !ok;
        p.at = now.at + Duration(p.pause);
        p.pause = if p.due { (p.pause * 2).min(PARTS_PAUSE.1) } else { PARTS_PAUSE.0 };
    }

    pub(super) fn cleared(&mut self, ix: &mut dyn Index, now: Now, job: Job) {
        // What came meanwhile waited for this.
        if let Some(o) = self.open(ix, job.f, job.row) {
            self.retry(ix, now, o);
        }
    }
}
