//! What the tracker does between calls, in small steps: bits and folders on their way out, contents that nobody has
//! (R9a), removals that can be forgotten (R10).

use super::files::{Files, STEP};
use super::table::Step;
use super::{Tracker, news::Forgotten};
use crate::ids::Seq;
use crate::mutant::{self, Mutant};
use crate::time::{Duration, Instant};
use heapless::Vec;

/// Between two steps of background work.
const PAUSE: Duration = Duration::millis(1);
/// A content that nobody has for so long is withdrawn. Short: whoever has it after all announces it again, at the cost of
/// one record, while whoever waits for it is not in sync.
const PATIENCE: Duration = Duration::secs(6);
/// Contents watched at a time; the others wait for the next round.
const SUSPECTS: usize = 1024;
/// Thousandths of the table from which on removals are forgotten.
const CROWDED: u32 = 800;
/// After a round that found nothing to forget, the next comes so much later.
const REST: Duration = Duration::secs(1);

/// Where the search for contents that nobody has stands.
enum Bare {
    Idle,
    /// Looking: this far.
    Search(Seq),
    /// Found; judged at that time.
    Wait(Instant),
}

/// See the module.
pub(super) struct Tidy {
    /// When the next step is due.
    at: Option<Instant>,
    bare: Bare,
    suspects: Vec<Seq, SUSPECTS>,
    /// How far the round for removals has come; none: it is over.
    collect: Option<Seq>,
    rest: Option<Instant>,
    /// What was last told of the table's room.
    room: (usize, usize),
}

impl Tidy {
    pub(super) const fn new() -> Self {
        Tidy { at: None, bare: Bare::Idle, suspects: Vec::new(), collect: None, rest: None, room: (0, 0) }
    }
    pub(super) fn clear(&mut self) {
        *self = Tidy::new();
    }
    /// There is work.
    pub(super) fn wake(&mut self, now: Instant) {
        if self.at.is_none() {
            self.at = Some(now + PAUSE);
        }
    }
    /// Looks whether a change of the table has made work.
    pub(super) fn look(&mut self, now: Instant, files: &Files<'_>) {
        if files.bare() > 0 && matches!(self.bare, Bare::Idle) {
            self.bare = Bare::Search(Seq(0));
            self.suspects.clear();
            self.wake(now);
        }
        if self.collect.is_none() && self.rest.is_none_or(|r| r <= now) && is_crowded(files) {
            self.collect = Some(Seq(0));
            self.wake(now);
        }
    }
    /// When [`Tracker::tidy_up`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        match (self.at, &self.bare) {
            (Some(at), Bare::Wait(until)) => Some(at.min(*until)),
            (None, Bare::Wait(until)) => Some(*until),
            (at, _) => at,
        }
    }
    /// Whether the table's room changed so much that devices are told.
    pub(super) fn room_changed(&mut self, used: usize, of: usize) -> bool {
        let far = |a: usize, b: usize| a.abs_diff(b) * 64 > of;
        let changed = far(used, self.room.0) || far(of, self.room.1);
        if changed {
            self.room = (used, of);
        }
        changed
    }

    /// One step of the search; whether more is to do at once.
    fn search(&mut self, now: Instant, files: &Files<'_>, mut at: Seq) -> bool {
        for _ in 0..STEP {
            match files.walk(at) {
                Step::Entry(e) if !self.suspects.is_full() => {
                    at = e.seq();
                    let content =
                        matches!(e.kind(), crate::record::Kind::File | crate::record::Kind::Symlink);
                    if content && e.holders().is_empty() && !e.flags().withdrawn() {
                        self.suspects.push(at).expect("room was seen");
                    }
                }
                Step::Later(seq) => {
                    at = seq;
                    break;
                }
                _ => {
                    let none = self.suspects.is_empty();
                    self.bare = if none { Bare::Idle } else { Bare::Wait(now + PATIENCE) };
                    return false;
                }
            }
        }
        self.bare = Bare::Search(at);
        true
    }
}

fn is_crowded(files: &Files<'_>) -> bool {
    files.table().tombstones() > 0 && files.table().usage().permille > CROWDED
}

/// One step of forgetting removals that every member has applied; where to go on.
fn collect(files: &mut Files<'_>, forgotten: &mut Forgotten, mut at: Seq) -> Option<Seq> {
    for _ in 0..STEP / 8 {
        if !is_crowded(files) {
            return None;
        }
        match files.table().oldest_tombstone(at, STEP) {
            Step::Entry(e) => {
                at = e.seq();
                let f = e.folder();
                if e.holders().covers(files.members(f)) || mutant::on(Mutant::R10Collect) {
                    files.remove(at);
                    forgotten.say((f, at));
                }
            }
            Step::Later(seq) => return Some(seq),
            Step::End => return None,
        }
    }
    Some(at)
}

impl Tracker<'_> {
    /// Does what is due.
    pub(super) fn tidy_up(&mut self, now: Instant) {
        if self.tidy.next().is_none_or(|at| at > now) {
            return;
        }
        self.tidy.at = None;
        let mut more = false;
        if self.files.is_sweeping() {
            self.files.sweep();
            more |= self.files.is_sweeping();
        }
        match self.tidy.bare {
            Bare::Search(at) => more |= self.tidy.search(now, &self.files, at),
            Bare::Wait(until) if until <= now => self.withdraw(now),
            Bare::Wait(_) | Bare::Idle => {}
        }
        if let Some(at) = self.tidy.collect {
            self.tidy.collect = collect(&mut self.files, &mut self.forgotten, at);
            more |= self.tidy.collect.is_some();
            if self.tidy.collect.is_none() {
                self.tidy.rest = Some(now + REST);
            }
        }
        self.tidy.look(now, &self.files);
        if more {
            self.tidy.wake(now);
        }
        self.lag_changed(now);
    }

    /// They had their time: what still nobody has leaves its path.
    fn withdraw(&mut self, now: Instant) {
        let mut count = 0;
        for seq in core::mem::take(&mut self.tidy.suspects) {
            let Some(f) = self.files.get(seq).map(|e| e.folder()) else { continue };
            if !mutant::on(Mutant::R9aWithdraw) && self.files.withdraw(seq).is_some() {
                self.book.drop_record(f, seq);
                count += 1;
            }
        }
        self.tidy.bare = Bare::Idle;
        self.tidy.look(now, &self.files);
        if count > 0 {
            self.note(format_args!("withdrew {count} files that no device has any more"));
        }
    }
}
