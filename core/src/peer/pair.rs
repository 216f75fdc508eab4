//! R9, "it wins": a merge and the copy of what it replaces are announced all or nothing; what becomes of the pending copy.

use super::announce::{announced, stamp};
use super::index::Index;
use super::machine::Peer;
use super::rows::Open;
use super::state::{Announcement, What};
use super::trees::{Made, Trees};
use crate::ids::Row;
use crate::path::PathBuf;
use crate::time::Now;
use crate::version::Order;

/// What goes with an announcement.
#[derive(PartialEq, Eq)]
pub(super) enum Along {
    Nothing,
    /// The pending copy in that row.
    Copy(Row),
    /// Such a copy, but something is under way for it: both wait.
    Changing,
}

impl Peer {
    /// The pending copy that goes with what is told of its winner (R9): of a content that is replaced by it, the last such
    /// one. Those of earlier merges, which the tracker did not take, are told of once it has taken the winner.
    pub(super) fn goes_along(&self, ix: &mut dyn Index, t: &Trees, what: What) -> Along {
        let Some(told) = announced(t, what).filter(|_| matches!(what, What::Local | What::Synced)) else {
            return Along::Nothing;
        };
        let mut c = Trees::default();
        let mut replaced = |row: Row| {
            let pending = if ix.load(row, &mut c) { c.pending.as_ref() } else { None };
            pending.is_some_and(|(loser, _)| told.version.covers(loser.edit))
        };
        // One that is told of already goes first.
        let told_of = |row: Row| self.outbox.iter().any(|a| a.row == row && a.what == What::Pending);
        let mut rows = t.copies.iter().rev().copied();
        match rows.find(|row| replaced(*row) && !told_of(*row)) {
            Some(row) if self.is_changing(row) => Along::Changing,
            Some(row) => Along::Copy(row),
            None => Along::Nothing,
        }
    }

    pub(super) fn post_with(&mut self, ix: &mut dyn Index, a: Announcement, along: Along) {
        let Along::Copy(copy) = along else { return self.post(a) };
        let mut t = Trees::default();
        ix.load(copy, &mut t);
        let what = What::Pending;
        let stamp = announced(&t, what).map_or(0, stamp);
        self.post(Announcement { pair: true, ..a });
        self.post(Announcement { row: copy, what, stamp, ..a });
    }

    /// Whether a pending copy's winner is not accepted yet: then it takes the copy along.
    pub(super) fn winner_goes_first(&self, ix: &mut dyn Index, o: &Open) -> bool {
        let Some((_, winner)) = &o.t.pending else { return false };
        let mut t = Trees::default();
        ix.load(*winner, &mut t)
            && t.copies.contains(&o.row)
            && t.local.as_ref().is_some_and(|l| l.made == Made::Minted)
    }

    /// A pending copy's path holds a concurrent record (R9): the same content, which is the copy then; a removal of an
    /// earlier copy, which the loser's edit beats; or something else, beside which the copy finds a place.
    pub(super) fn settle_copy_path(&mut self, ix: &mut dyn Index, now: Now, o: &mut Open) {
        let heard = o.t.remote.as_ref().filter(|r| r.epoch == self.epoch).map(|r| r.record.clone());
        let (Some(r), Some((p, _))) = (heard, o.t.pending.as_mut()) else { return };
        if r.same_content(p) {
            return self.forget_pending(ix, now, o);
        }
        if !r.is_live() {
            let mut over = p.clone();
            self.join(&mut over.version, &r.version);
            if over.compare(&r) == Order::Dominates {
                o.t.pending.as_mut().expect("as above").0 = over;
                return;
            }
        }
        // Another content stands under that very name, or a removal that is not to be outdone (R5): the loser gets a name
        // beside it, again made of itself alone, and its winner takes it along in its stead.
        let Some((loser, winner)) = o.t.pending.clone() else { return };
        let mut at = PathBuf::new();
        ix.path(o.row, &mut at);
        let beside = self.plan_copy_of(ix, now, (o.f, winner), &loser, at);
        self.forget_pending(ix, now, o);
        if let Some(copy) = beside
            && let Some(mut w) = self.open(ix, o.f, winner)
        {
            let _ = w.t.copies.push(copy);
            self.close(ix, now, w);
        }
    }

    /// The copy is no longer pending; its winner need not take it along.
    pub(super) fn forget_pending(&mut self, ix: &mut dyn Index, now: Now, o: &mut Open) {
        if let Some((_, winner)) = o.t.pending.take()
            && let Some(mut w) = self.open(ix, o.f, winner)
        {
            let row = o.row;
            let kept = w.t.is_over_file();
            w.t.copies.retain(|c| *c != row || kept);
            self.close(ix, now, w);
        }
    }
}
