//! Guards: a root that vanished is never read as removals, and a burst of removals waits for the user (DESIGN "Guards").

use super::index::{Index, Number};
use super::machine::Peer;
use super::rows::Open;
use super::state::FolderState;
use super::trees::{Lane, Made, Trees};
use crate::ids::Row;
use crate::time::{Duration, Instant, Now};

/// This many removals pass without being judged as a burst …
const FREE: u32 = 100;
/// … within this time.
const WINDOW: Duration = Duration::secs(10);
/// A root that is emptied at once is judged as a burst, but not one that held so few: a user may remove his only file.
const SCARCE: u64 = 8;
/// A burst is judged once no removal was seen for so long.
const QUIET: Duration = Duration::secs(2);
/// A few removals are judged as soon as the looks that came with them are done.
const SOON: Duration = Duration::millis(5);

impl Peer {
    /// The lane of a local change: a removal waits for its judgement, unless the content has another name here.
    pub(super) fn removal_lane(&mut self, ix: &mut dyn Index, now: Now, o: &Open) -> Lane {
        let removal = o.t.local.as_ref().is_some_and(|l| l.made == Made::Unminted && !l.record.is_live());
        let was_live = o.t.synced.as_ref().is_some_and(|s| s.is_live());
        if !removal || !was_live || o.judged || o.due.is_some_and(|d| d.lane == Lane::Announce) {
            return Lane::Announce;
        }
        if o.due.is_none_or(|d| d.lane != Lane::Vanished) {
            self.folders[o.f].vanished_at = now.at;
        }
        if self.is_renamed(ix, o) { Lane::Announce } else { Lane::Vanished }
    }

    /// Whether the removed content stands under another name of the folder.
    fn is_renamed(&mut self, ix: &mut dyn Index, o: &Open) -> bool {
        let Some(s) = o.t.synced.as_ref().filter(|s| s.has_content()) else { return false };
        let folder = self.folders[o.f].folder;
        let mut after = None;
        let mut t = Trees::default();
        for _ in 0..4 {
            let Some(row) = ix.with_content(&s.content, after) else { return false };
            after = Some(row);
            if row == o.row || !ix.load(row, &mut t) || t.stale {
                continue;
            }
            let stands = t.local.as_ref().is_some_and(|l| l.record.is_live() && l.stat.kind == s.kind);
            if stands && ix.path(row, &mut self.buf) == folder {
                return true;
            }
        }
        false
    }

    /// When the removals that wait are to be judged.
    pub(super) fn judgement_at(&self, s: &FolderState) -> Option<Instant> {
        if s.counts.get(Number::Vanished) == 0 || s.held || !s.may_act() {
            return None;
        }
        let f = self.place_of(s.folder)?;
        let at = s.vanished_at + if s.burst { QUIET } else { SOON };
        Some(self.gone_delays(f).map_or(at, |l| at.max(l + SOON)))
    }

    /// Judges the removals that wait: few pass; a burst of over half the folder, or of all of it, is held. Content alone
    /// counts: directories share the fate of what vanished with them.
    pub(super) fn judge_vanished(&mut self, ix: &mut dyn Index, now: Now) {
        for f in 0..self.folders.len() {
            let s = &self.folders[f];
            if !s.linked {
                continue;
            }
            if s.held && s.counts.get(Number::VanishedContent) == 0 {
                // What was missed is back.
                self.folders[f].held = false;
                self.keep_state(ix, now, f);
            }
            let s = &self.folders[f];
            if self.judgement_at(s).is_none_or(|at| at > now.at) {
                continue;
            }
            let scanning = self.scan.ticket.0 != 0 || s.rescan || !s.subtrees.is_empty();
            if scanning || self.is_losing(f) || ix.due(s.folder, Lane::Look, None).is_some() {
                // Some of them may only have moved: what is still to be looked at tells.
                self.folders[f].vanished_at = now.at;
                continue;
            }
            self.pass_renamed(ix, now, f);
            self.judge_folder(ix, now, f);
        }
    }

    fn judge_folder(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        let s = &mut self.folders[f];
        let count = |n| s.counts.get(n);
        let n = count(Number::VanishedContent);
        let live = count(Number::Files) + count(Number::Links);
        let emptied = live + count(Number::Directories) == 0;
        if s.window_end <= now.at {
            (s.passed, s.window_end) = (0, now.at + WINDOW);
        }
        let few = n == 0 || u64::from(s.passed) + n <= u64::from(FREE);
        if !few && s.vanished_at + QUIET > now.at {
            s.burst = true;
            return;
        }
        s.burst = false;
        if (emptied && n > SCARCE) || (!few && n > live) {
            s.held = true;
            self.keep_state(ix, now, f);
            return;
        }
        s.passed = s.passed.saturating_add(n.min(u64::from(u32::MAX)) as u32);
        self.release_vanished(ix, now, f);
    }

    /// What turned up under another name after its old one was missed is no removal.
    fn pass_renamed(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        let folder = self.folders[f].folder;
        let mut after: Option<(u64, Row)> = None;
        while let Some((key, row)) = ix.due(folder, Lane::Vanished, after) {
            after = Some((key, row));
            let Some(o) = self.open(ix, f, row) else { continue };
            if self.is_renamed(ix, &o) {
                self.retry(ix, now, o);
            }
        }
    }

    /// Lets the removals that wait be announced.
    pub(super) fn release_vanished(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        let folder = self.folders[f].folder;
        let mut after: Option<(u64, Row)> = None;
        while let Some((key, row)) = ix.due(folder, Lane::Vanished, after) {
            after = Some((key, row));
            let Some(mut o) = self.open(ix, f, row) else { continue };
            o.judged = true;
            o.retry = true;
            self.close(ix, now, o);
        }
        self.folders[f].rewind_lane(Lane::Announce);
    }
}
