//! R9, "it wins": a merge and the copy of what it replaces are announced all or nothing.

use super::announce::{announced, stamp};
use super::index::Index;
use super::machine::Peer;
use super::rows::Open;
use super::state::{Announcement, What};
use super::trees::{Made, Trees};
use crate::ids::Row;

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
    /// The pending copy that goes with what is told of its winner (R9): of a content that is replaced by it.
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
}
