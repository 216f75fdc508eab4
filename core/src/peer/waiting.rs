//! Rows that wait for their directory while something is under way for it. They are gone to again when that ends, one by
//! one: to go through a lane anew for each directory is work that grows with the square of what is installed.

use super::effect::Effect;
use super::index::Index;
use super::machine::Peer;
use super::rows::Open;
use super::state::{Stage, Work};
use super::tree::Parent;
use super::trees::Lane;
use crate::ids::Row;
use crate::time::Now;
use core::ops::ControlFlow::{self, Break, Continue};
use heapless::Vec;

/// Rows that can wait so. A lane is not gone through any further while there are as many.
pub(super) const WAITING: usize = 256;

/// Large files among them: they may have to wait on, for those that are under way.
const BULK_WAITING: usize = 32;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// The folder, by place.
    f: usize,
    lane: Lane,
    row: Row,
    parent: Row,
    /// The parent is waited for no more.
    free: bool,
}

/// All of them, and how many are free to go on.
#[derive(Default)]
pub(super) struct Waiting {
    rows: Vec<Waits, WAITING>,
    free: usize,
}

impl Waiting {
    /// What was under way for the row ended, or needs not be waited for any more.
    pub fn set_free(&mut self, parent: Row) {
        for w in self.rows.iter_mut().filter(|w| w.parent == parent && !w.free) {
            w.free = true;
            self.free += 1;
        }
    }
    /// The folder is linked no more, or its lanes are gone through anew.
    pub fn forget(&mut self, f: usize) {
        self.rows.retain(|w| w.f != f);
        self.free = self.rows.iter().filter(|w| w.free).count();
    }
    fn take(&mut self, f: usize, lane: Lane) -> Option<Row> {
        if self.free == 0 {
            return None;
        }
        let i = self.rows.iter().position(|w| w.free && (w.f, w.lane) == (f, lane))?;
        self.free -= 1;
        Some(self.rows.remove(i).row)
    }
}

impl Peer {
    /// Whether something is under way for a directory by which it may come to stand, or to go.
    pub(super) fn is_unsettled(&self, dir: Row) -> bool {
        self.jobs.iter().any(|j| j.row == dir && !matches!(j.work, Work::Install(Stage::Syncing { .. })))
    }

    /// The row again, if the directory that it belongs in stands. Else that one's first effect, if it has one, or that of a
    /// directory further up: the row stays in its lane.
    pub(super) fn after_parents(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        mut o: Open,
    ) -> ControlFlow<Option<Effect>, Open> {
        let (f, child, lane) = (o.f, o.row, o.due.map_or(Lane::Quick, |d| d.lane));
        let mut first = None;
        for _ in 0..64 {
            match self.parent_of(ix, now, &o) {
                Parent::Ready => break,
                Parent::Wait => {
                    self.recheck(now, f);
                    return Break(None);
                }
                Parent::Coming(row) => {
                    self.wait_for(now, f, lane, child, row);
                    return Break(None);
                }
                // What it has trouble with is not tried at each look at what is below.
                Parent::First(row) if ix.due_of(row).is_some_and(|d| d.lane == Lane::Later) => {
                    self.recheck(now, f);
                    return Break(None);
                }
                Parent::First(row) => {
                    let Some(parent) = self.open(ix, f, row) else { return Break(None) };
                    o = parent;
                    first = Some(row);
                }
            }
        }
        let Some(parent) = first else { return Continue(o) };
        let effect = self.start_install(ix, now, o);
        self.wait_for(now, f, lane, child, parent);
        Break(effect)
    }

    /// The row waits for its directory: until what is under way for that ends, else for a while.
    pub(super) fn wait_for(&mut self, now: Now, f: usize, lane: Lane, row: Row, parent: Row) {
        let known = self.waiting.rows.iter().any(|w| w.row == row && !w.free);
        if known {
            return;
        }
        let waits = Waits { f, lane, row, parent, free: false };
        let bulk = self.waiting.rows.iter().filter(|w| w.lane == Lane::Bulk).count();
        let room = lane == Lane::Quick || (lane == Lane::Bulk && bulk < BULK_WAITING);
        if !room || !self.is_unsettled(parent) || self.waiting.rows.push(waits).is_err() {
            self.recheck(now, f);
        }
    }

    /// The next row of an install lane that waited for its directory, and may go on.
    pub(super) fn pull_waiting(&mut self, ix: &mut dyn Index, now: Now, f: usize, lane: Lane) -> Option<Row> {
        while let Some(row) = self.waiting.take(f, lane) {
            if ix.due_of(row).is_none_or(|d| d.lane != lane) {
                continue;
            }
            if !self.is_busy(row) {
                return Some(row);
            }
            self.comes_again(now, f, row);
        }
        None
    }

    /// Whether so many rows wait that no more are looked for.
    pub(super) fn is_waiting_full(&self) -> bool {
        self.waiting.rows.is_full()
    }
}
