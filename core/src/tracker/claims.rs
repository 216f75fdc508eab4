//! `Have` and `Lack`: holder bits over ranges of seqs, walked in steps.

use super::Tracker;
use super::session::Claim;
use super::table::Step;
use crate::ids::{FolderSlot, Seq, Slot};
use crate::record::Kind;
use crate::sans_io::Reject;
use crate::time::{Instant, Now};
use crate::wire::message::{Ranges, SeqRange};

/// The same seqs in ranges that ascend and have nothing in common, so that a frame costs one walk over the table at most.
/// Honest devices, too, say them in the order in which contents came.
fn merge(ranges: &Ranges) -> Ranges {
    let mut sorted = ranges.clone();
    sorted.sort_unstable_by_key(|r| r.from);
    let mut out: Ranges = Ranges::new();
    for r in sorted {
        match out.last_mut() {
            Some(SeqRange { to, .. }) if r.from.0 <= to.0.saturating_add(1) => *to = r.to.max(*to),
            _ => out.push(r).expect("no more than there were"),
        }
    }
    out
}

impl Tracker<'_> {
    pub(super) fn claimed(
        &mut self,
        now: Now,
        i: usize,
        slot: Slot,
        folder: FolderSlot,
        ranges: &Ranges,
        held: bool,
    ) -> Result<(), Reject> {
        if ranges.iter().any(|r| r.from > r.to) {
            return Err(Reject::new("a range that ends before it begins"));
        }
        if !self.files.members(folder).has(slot) {
            return Ok(());
        }
        let tail = self.files.table().tail();
        for r in merge(ranges).iter().filter(|r| r.from <= tail) {
            while self.sessions[i].claims.is_full() {
                self.step_claims(now.at, i, slot);
            }
            let (after, to) = (Seq(r.from.0.saturating_sub(1)), r.to.min(tail));
            self.sessions[i].claims.push(Claim { folder, after, to, held }).expect("room was made");
        }
        self.step_claims(now.at, i, slot);
        Ok(())
    }

    /// Walks on through what the link claimed, one step's worth; whether something is left.
    pub(super) fn step_claims(&mut self, now: Instant, i: usize, slot: Slot) -> bool {
        let mut budget = super::files::STEP;
        while budget > 0 {
            let Some(&claim) = self.sessions[i].claims.first() else { break };
            budget -= 1;
            let next = match self.files.walk(claim.after) {
                Step::Entry(e) if e.seq() <= claim.to => {
                    let (seq, here) = (e.seq(), e.folder() == claim.folder);
                    if here {
                        self.claim(seq, slot, claim.held);
                    }
                    Some(seq)
                }
                Step::Later(seq) if seq < claim.to => {
                    budget = 0;
                    Some(seq)
                }
                _ => None,
            };
            match next {
                Some(seq) if seq < claim.to => self.sessions[i].claims[0].after = seq,
                _ => {
                    self.sessions[i].claims.remove(0);
                }
            }
        }
        self.lag_changed(now);
        self.tidy.look(now, &self.files);
        !self.sessions[i].claims.is_empty()
    }

    fn claim(&mut self, seq: Seq, slot: Slot, held: bool) {
        let e = self.files.get(seq).expect("walked to just now");
        let (f, kind, withdrawn, mut holders) = (e.folder(), e.kind(), e.flags().withdrawn(), e.holders());
        if held {
            holders.add(slot)
        } else {
            holders.remove(slot)
        }
        if !self.files.set_holders(seq, holders) {
            return;
        }
        if withdrawn && holders.covers(self.files.members(f)) {
            self.files.remove(seq);
        } else if !withdrawn && kind != Kind::Removed && kind != Kind::Directory {
            self.book.touch(f, seq);
            if held {
                self.book.done(f, seq, slot);
            }
        }
    }
}
