//! Places for others: what is fetched slowly gives its place up while more is to be done than there are places, so that one
//! device with little bandwidth does not hold up what others have.

use super::effect::Effect;
use super::index::{Index, Number};
use super::machine::Peer;
use super::state::{BULK_INSTALLS, INSTALLS, Job, Stage, Work};
use super::trees::{Lane, Trees};
use crate::ids::{DeviceId, Ticket};
use crate::time::{Duration, Now};
use heapless::Vec;

/// A fetch of a small content that takes longer may have to give way.
const SLOW: Duration = Duration::secs(5);
/// So many of those keep their places, the oldest.
const KEPT: usize = 64;
/// A bulk one that takes longer gives way to one of an author of whom nothing is fetched.
const SLOW_BULK: Duration = Duration::secs(60);
/// How far a lane is looked through for such a one.
const AHEAD: usize = 64;

impl Peer {
    /// There was no place for what is to be done: looked at again after a while.
    pub(super) fn want_room(&mut self, now: Now) {
        self.room_at.get_or_insert(now.at + SLOW);
    }

    /// Slow fetches give way, if it is time and there is still no place.
    pub(super) fn make_room(&mut self, ix: &mut dyn Index, now: Now) {
        if self.room_at.is_none_or(|at| at > now.at) {
            return;
        }
        self.room_at = None;
        let due: u64 =
            self.folders.iter().filter(|s| s.may_act()).map(|s| s.counts.get(Number::ToFetch)).sum();
        if self.installs() >= INSTALLS && due > INSTALLS as u64 {
            let mut slow: Vec<Ticket, INSTALLS> = Vec::new();
            let is_slow = |j: &&Job| is_fetch(j) && !j.bulk && j.begun + SLOW <= now.at;
            self.jobs
                .iter()
                .filter(is_slow)
                .for_each(|j| slow.push(j.ticket).expect("counted among installs"));
            slow.sort_unstable_by_key(|t| t.0);
            slow.iter().skip(KEPT).for_each(|t| self.set_aside_job(*t));
        }
        if self.jobs.iter().filter(|j| j.bulk).count() >= BULK_INSTALLS
            && let Some(ticket) = self.bulk_to_give_way(ix, now)
        {
            self.set_aside_job(ticket);
        }
    }

    fn set_aside_job(&mut self, ticket: Ticket) {
        if self.ready.push_back(Effect::Cancel(ticket)).is_ok()
            && let Some(j) = self.job_mut(ticket)
        {
            j.aside = true;
        }
    }

    /// The bulk fetch that is under way for longest, if a content waits whose author is of none of them.
    fn bulk_to_give_way(&mut self, ix: &mut dyn Index, now: Now) -> Option<Ticket> {
        let old = |j: &&Job| is_fetch(j) && j.bulk && j.begun + SLOW_BULK <= now.at;
        let ticket = self.jobs.iter().filter(old).min_by_key(|j| j.begun)?.ticket;
        let mut t = Trees::default();
        let mut authors: Vec<DeviceId, BULK_INSTALLS> = Vec::new();
        for j in self.jobs.iter().filter(|j| j.bulk) {
            if ix.load(j.row, &mut t)
                && let Some(r) = &t.remote
            {
                let _ = authors.push(r.record.author);
            }
        }
        for f in 0..self.folders.len() {
            let s = &self.folders[f];
            let (folder, mut after) = (s.folder, s.cursors[Lane::Bulk as usize]);
            for _ in 0..if s.may_act() { AHEAD } else { 0 } {
                let Some((key, row)) = ix.due(folder, Lane::Bulk, after) else { break };
                after = Some((key, row));
                let other = ix.load(row, &mut t)
                    && t.remote.as_ref().is_some_and(|r| !authors.contains(&r.record.author));
                if other && !self.is_busy(row) {
                    return Some(ticket);
                }
            }
        }
        None
    }

    /// A fetch that gave way is over: its row comes again behind all others.
    pub(super) fn end_aside(&mut self, ix: &mut dyn Index, now: Now, job: Job) {
        self.end_job(job.ticket);
        if let Some(mut o) = self.open(ix, job.f, job.row) {
            o.due = None;
            o.bulk = true;
            self.close(ix, now, o);
        }
    }
}

fn is_fetch(j: &Job) -> bool {
    j.work == Work::Install(Stage::Fetching) && !j.aside
}
