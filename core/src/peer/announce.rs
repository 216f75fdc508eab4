//! Minting, merging, announcing: what of this device's knowledge the tracker is to have, and its verdicts.

use super::index::{Index, Number};
use super::machine::Peer;
use super::pair::Along;
use super::reconcile::{Step, is_forgotten, ours, step};
use super::rows::Open;
use super::state::{Announcement, Stage, Telling, What, Work};
use super::trees::{Cause, Lane, Made, Remote, Trees};
use crate::ids::{Epoch, Row, Seq};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::path::PathBuf;
use crate::record::Record;
use crate::sans_io::Reject;
use crate::time::Now;
use crate::wire::batch::{BatchWriter, Entry, EntryFlags};
use crate::wire::message::{ToTracker, Verdict, encode};

impl Peer {
    /// Fills the outbox from what is owed in this epoch (R8), then from the lanes.
    pub(super) fn fill_outbox(&mut self, ix: &mut dyn Index, now: Now) {
        if !self.session.has_roster(self.roster.version()) {
            return;
        }
        self.sweep_unknown(ix, now);
        for f in 0..self.folders.len() {
            if !self.may_mint(f) {
                continue;
            }
            // A row that keeps its place although nothing could be announced of it must not keep this loop.
            let mut pulls = 2 * limits::ANNOUNCE_WINDOW;
            while self.outbox.len() + 2 <= self.outbox.capacity() {
                if pulls == 0 {
                    self.recheck(now, f);
                    break;
                }
                pulls -= 1;
                let Some(row) = self.pull(ix, now, f, Lane::Announce) else { break };
                let Some(o) = self.open(ix, f, row) else { continue };
                let before = self.outbox.len();
                self.announce_row(ix, now, o);
                if self.outbox.len() == before {
                    self.pass_over(ix, now, f, row);
                }
            }
        }
    }

    /// Whether edits may be minted: the start scan has passed, and all was heard and told (R1).
    fn may_mint(&self, f: usize) -> bool {
        let s = &self.folders[f];
        if mutant::on(Mutant::R1Unscanned) {
            return s.linked && s.caught_up && s.telling == Telling::Done;
        }
        let heard = (s.caught_up && s.telling == Telling::Done) || mutant::on(Mutant::R1Unheard);
        // What went with its directory is not announced by halves: what was not reached yet would count as standing.
        s.may_act() && s.slot.is_some() && heard && !self.is_losing(f)
    }

    /// A row that had to stay in its lane is not pulled again before others had their turn.
    fn pass_over(&mut self, ix: &mut dyn Index, now: Now, f: usize, row: Row) {
        if let Some(d) = ix.due_of(row).filter(|d| d.lane == Lane::Announce) {
            self.folders[f].cursors[Lane::Announce as usize] = Some((d.key, row));
            self.recheck(now, f);
        }
    }

    pub(super) fn announce_row(&mut self, ix: &mut dyn Index, now: Now, mut o: Open) {
        let ctx = self.context(o.f);
        o.retry = true;
        if step(&o.t, ctx) == Step::Mint {
            if self.revives_removed(ix, now, &mut o) {
                self.close(ix, now, o);
                return;
            }
            if self.waits_for_children(ix, now, &o) {
                self.recheck(now, o.f);
                return;
            }
            self.mint_local(now, &mut o);
        }
        super::reconcile::absorb(&mut o.t, ctx);
        if step(&o.t, ctx) == Step::Resolve && self.stays_ours(&o) {
            self.resolve(ix, now, &mut o);
        }
        let next = step(&o.t, ctx);
        let (row, f) = (o.row, o.f);
        let forgotten =
            o.t.remote.as_ref().is_some_and(|r| r.epoch == self.epoch && is_forgotten(&o.t, &r.record));
        let what = match next {
            Step::Announce if forgotten => Some(What::Synced),
            Step::Announce if o.t.local.as_ref().is_some_and(|l| l.made == Made::Minted) => Some(What::Local),
            Step::Announce => Some(What::Synced),
            Step::Rest if o.t.pending.is_some() => Some(What::Pending),
            _ => None,
        };
        if what == Some(What::Pending) && self.winner_goes_first(ix, &o) {
            self.recheck(now, f);
            return;
        }
        let along = what.map_or(Along::Nothing, |what| self.goes_along(ix, &o.t, what));
        if along == Along::Changing {
            self.recheck(now, f);
            self.close(ix, now, o);
            return;
        }
        let generation = self.commits.open;
        self.commits.wanted = true;
        if let Some(what) = what {
            let stamp = announced(&o.t, what).map_or(0, stamp);
            let a = Announcement { f, row, what, generation, pair: false, stamp, void: false };
            self.post_with(ix, a, along);
        }
        self.close(ix, now, o);
    }

    /// Whether two concurrent records are settled without fetching: ours wins, or both hold the same.
    pub(super) fn stays_ours(&self, o: &Open) -> bool {
        let r = o.t.remote.as_ref().map(|r| &r.record);
        let same = ours(&o.t).zip(r).is_some_and(|(x, r)| x.same_content(r));
        same || self.judgement(o).is_some_and(|j| j.ours)
    }

    pub(super) fn post(&mut self, a: Announcement) {
        assert!(self.outbox.push_back(a).is_ok(), "room was made sure of");
    }

    /// R8: after the first `CaughtUp` of an epoch, every row not heard in it is announced.
    pub(super) fn sweep_unknown(&mut self, ix: &mut dyn Index, now: Now) {
        if self.sweep.is_none() {
            let due =
                |s: &super::state::FolderState| s.linked && s.caught_up && s.telling == Telling::Waiting;
            let Some(f) = self.folders.iter().position(due) else { return };
            self.folders[f].telling = Telling::Sweeping;
            // What is told was heard long ago, but the last of it may not be durable yet.
            let generation = if self.commits.dirty > 0 { self.commits.open } else { self.commits.open - 1 };
            self.commits.wanted |= self.commits.dirty > 0;
            self.sweep = Some((f, PathBuf::new(), generation));
        }
        let Some((f, mut at, generation)) = self.sweep.take() else { return };
        self.sweep_stalled = false;
        let folder = self.folders[f].folder;
        let mut next = PathBuf::new();
        let mut t = Trees::default();
        let mut steps = 4096;
        while self.outbox.len() + 2 <= self.outbox.capacity() && steps > 0 {
            steps -= 1;
            let Some(row) = ix.next(folder, at.get(), &mut next) else {
                self.folders[f].telling = Telling::Owed;
                return;
            };
            if self.is_changing(row) {
                self.sweep_stalled = true;
                break;
            }
            core::mem::swap(&mut at, &mut next);
            if !ix.load(row, &mut t) || t.remote.as_ref().is_some_and(|r| r.epoch == self.epoch) {
                continue;
            }
            if mutant::on(Mutant::R8Absent)
                && let Some(o) = self.open(ix, f, row)
            {
                self.retry(ix, now, o);
                continue;
            }
            let removal = t.synced.as_ref().is_some_and(|s| !s.is_live());
            if mutant::on(Mutant::R8Tell) || (removal && mutant::on(Mutant::R8Tombstones)) {
                continue;
            }
            let what = if t.synced.is_some() {
                What::Synced
            } else if t.remote.is_some() && !mutant::on(Mutant::R8Heard) {
                What::Heard
            } else if t.withdrawn.as_ref().is_some_and(|w| w.epoch != self.epoch) {
                What::Withdrawn
            } else {
                continue;
            };
            let along = self.goes_along(ix, &t, what);
            if along == Along::Changing {
                core::mem::swap(&mut at, &mut next);
                self.sweep_stalled = true;
                break;
            }
            let stamp = announced(&t, what).map_or(0, stamp);
            self.post_with(
                ix,
                Announcement { f, row, what, generation, pair: false, stamp, void: false },
                along,
            );
        }
        self.sweep = Some((f, at, generation));
    }

    /// Whether the sweep was stopped by its budget alone and can go on at once.
    pub(super) fn sweep_waits(&self) -> bool {
        self.sweep.is_some() && !self.sweep_stalled && self.outbox.len() + 2 <= self.outbox.capacity()
    }

    /// Whether the row's trees are about to change, or are being announced.
    pub(super) fn is_changing(&self, row: Row) -> bool {
        let waits = |w: Work| matches!(w, Work::Install(Stage::Seeking | Stage::Fetching | Stage::Making));
        self.jobs.iter().any(|j| (j.row == row && !waits(j.work)) || j.also == Some(row))
            || self.outbox.iter().any(|a| a.row == row)
    }

    /// A frame of announcements whose rows are durable (R2). A pair has a frame of its own.
    pub(super) fn transmit_announce(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        out: &mut [u8],
    ) -> Option<usize> {
        let mut buf = [0u8; limits::FRAME - 16];
        let mut w = BatchWriter::new(&mut buf);
        while let Some(a) = self.outbox.iter().nth(self.outbox_sent).copied() {
            let halves = if a.pair { 2 } else { 1 };
            let ripe =
                mutant::on(Mutant::R2Durable) || (0..halves).all(|i| self.is_ripe(ix, self.outbox_sent + i));
            if !ripe || (a.pair && !w.is_empty()) {
                break;
            }
            match self.put_entry(ix, &mut w, a, a.pair) {
                Put::Done => self.outbox_sent += 1,
                Put::Nothing => {
                    // The copy half of a pair is a row like any other then.
                    self.drop_announcement(now, self.outbox_sent);
                    self.note_told(ix, now);
                    continue;
                }
                Put::Full => break,
            }
            if a.pair {
                let second =
                    self.outbox.iter().nth(self.outbox_sent).copied().expect("a pair has two halves");
                match self.put_entry(ix, &mut w, second, false) {
                    Put::Done => self.outbox_sent += 1,
                    Put::Nothing | Put::Full => {
                        // The copy is not to be announced any more, or cannot be in one frame: the winner goes alone.
                        w = BatchWriter::new(&mut buf);
                        let _ = self.put_entry(ix, &mut w, a, false);
                        if let Some(x) = self.outbox.iter_mut().nth(self.outbox_sent - 1) {
                            x.pair = false;
                        }
                    }
                }
                break;
            }
        }
        let len = w.len();
        if w.is_empty() {
            return None;
        }
        encode(&ToTracker::Announce(&buf[..len]), out)
    }

    /// Whether what an announcement says is durable (R2). What changed since it was posted (another edit of a copy, a
    /// merge) is so with the commit of that change.
    fn is_ripe(&mut self, ix: &mut dyn Index, at: usize) -> bool {
        let (open, durable) = (self.commits.open, self.commits.durable);
        let Some(a) = self.outbox.iter_mut().nth(at) else { return true };
        let mut t = Trees::default();
        let now = if ix.load(a.row, &mut t) { announced(&t, a.what).map(stamp) } else { None };
        if let Some(now) = now.filter(|now| *now != a.stamp) {
            (a.stamp, a.generation) = (now, open);
            self.commits.wanted = true;
        }
        a.generation <= durable
    }

    fn put_entry(&mut self, ix: &mut dyn Index, w: &mut BatchWriter<'_>, a: Announcement, pair: bool) -> Put {
        let slot = self.folders[a.f].slot.unwrap_or_default();
        let mut t = Trees::default();
        if !ix.load(a.row, &mut t) {
            return Put::Nothing;
        }
        let Some(record) = announced(&t, a.what) else { return Put::Nothing };
        if t.remote.as_ref().is_some_and(|r| r.epoch == self.epoch && r.record == *record) {
            // The tracker said so itself meanwhile.
            return Put::Nothing;
        }
        ix.path(a.row, &mut self.buf);
        let Some(path) = self.buf.get() else { return Put::Nothing };
        let flags = EntryFlags { held: is_here(&t, record), pair };
        if !w.push(&Entry { folder: slot, seq: Seq(0), flags, path, record }) {
            return Put::Full;
        }
        Put::Done
    }

    /// Takes an announcement that has lost its meaning out of the outbox; it was not sent.
    fn drop_announcement(&mut self, now: Now, at: usize) {
        if let Some(a) = self.outbox.iter().nth(at).copied() {
            // What the row is to do else was passed over while it was busy.
            self.recheck(now, a.f);
        }
        // No verdict comes on it.
        let place = self.verdicts + at as u32;
        let waits = self.folders.iter_mut().filter_map(|s| s.told_until.as_mut());
        waits.filter(|until| **until > place).for_each(|until| *until -= 1);
        for i in 0..self.outbox.len() {
            let a = self.outbox.pop_front().expect("counted");
            if i != at {
                let _ = self.outbox.push_back(a);
            }
        }
    }

    /// R8's end for a folder: sent once every row that is owed was sent.
    pub(super) fn transmit_told(&mut self, ix: &mut dyn Index, now: Now, out: &mut [u8]) -> Option<usize> {
        let f = self.folders.iter().position(|s| s.linked && s.telling == Telling::Owed)?;
        let unsent = self.outbox.iter().skip(self.outbox_sent).any(|a| a.f == f);
        if unsent {
            return None;
        }
        let s = &mut self.folders[f];
        // Not without end: what stands against it may not be settled soon.
        let untold = core::mem::take(&mut s.untold);
        let again = untold && !core::mem::replace(&mut s.retold, true);
        s.telling = if again { Telling::Waiting } else { Telling::Done };
        let slot = s.slot?;
        // What is untold still is told with all else on the next link.
        if !untold {
            s.told_until = Some(self.verdicts + self.outbox_sent as u32);
        }
        s.rewind();
        self.note_told(ix, now);
        encode(&ToTracker::Told(slot), out)
    }

    /// What was told is told once the tracker has judged it: a link that ends before may have lost it.
    pub(super) fn note_told(&mut self, ix: &mut dyn Index, now: Now) {
        for f in 0..self.folders.len() {
            let s = &mut self.folders[f];
            if s.told_until.take_if(|at| *at <= self.verdicts).is_some() {
                ix.set_number(s.folder, Number::ToldIn, self.epoch.0);
                self.dirty(now);
            }
        }
    }

    /// The verdict on the oldest announcement.
    pub(super) fn judged(&mut self, ix: &mut dyn Index, now: Now, v: Verdict) -> Result<(), Reject> {
        if self.outbox_sent == 0 {
            return Err(Reject::new("a verdict on nothing"));
        }
        let a = self.outbox.pop_front().expect("something was sent");
        self.outbox_sent -= 1;
        self.verdicts += 1;
        self.note_told(ix, now);
        if a.void {
            return Ok(());
        }
        let Some(mut o) = self.open(ix, a.f, a.row) else { return Ok(()) };
        o.retry = true;
        match v {
            Verdict::Accepted(_) if mutant::on(Mutant::NoAck) => {}
            Verdict::Accepted(seq) => self.accepted(ix, now, &mut o, &a, seq),
            Verdict::Full(_) | Verdict::Refused => {
                let full = matches!(v, Verdict::Full(_));
                self.trouble(ix, now, o, if full { Cause::TrackerFull } else { Cause::Refused });
                return Ok(());
            }
            Verdict::Superseded(_) | Verdict::Conflict(_) | Verdict::Withdrawn(_) | Verdict::Pair => {
                // The record itself came with or before the verdict: reconcile acts on it. One that still is of another
                // epoch is not at the tracker in that form.
                if o.t.remote.as_ref().is_some_and(|r| r.epoch != self.epoch) && o.t.synced.is_some() {
                    o.t.remote = None;
                }
                match v {
                    // Once all is told, its lane tells it again; until then it has none.
                    Verdict::Pair if a.what == What::Synced => {
                        let s = &mut self.folders[a.f];
                        s.untold |= s.telling != Telling::Done;
                    }
                    Verdict::Conflict(_) if a.what == What::Pending => self.settle_copy_path(ix, now, &mut o),
                    // What knows of the copy stands at its path, or it is kept beside it: as good as accepted (R9).
                    Verdict::Superseded(_) | Verdict::Withdrawn(_) if a.what == What::Pending => {
                        self.forget_pending(ix, now, &mut o);
                    }
                    _ => {}
                }
            }
        }
        self.close(ix, now, o);
        Ok(())
    }

    pub(super) fn accepted(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        o: &mut Open,
        a: &Announcement,
        seq: Seq,
    ) {
        if a.what == What::Withdrawn {
            // It is noted in this epoch now, by this device at least (R9a).
            if let Some(w) = o.t.withdrawn.as_mut().filter(|w| w.epoch != self.epoch) {
                (w.epoch, w.seq) = (self.epoch, seq);
            }
            return;
        }
        let current = announced(&o.t, a.what).filter(|r| stamp(r) == a.stamp).cloned();
        // It may have been replaced or withdrawn before this verdict came: what still stands has a later seq.
        let later = |r: &Remote| r.epoch == self.epoch && r.seq > seq;
        let newer = [&o.t.remote, &o.t.withdrawn].into_iter().flatten().any(later);
        match current {
            Some(record) if !newer => o.t.remote = Some(Remote { record, epoch: self.epoch, seq }),
            None if !newer => {
                o.t.remote = o.t.remote.take().filter(|r| r.epoch == self.epoch);
                if a.what == What::Heard {
                    self.ask_again(ix, o);
                }
            }
            _ => {}
        }
        o.t.trouble = None;
        if a.what == What::Pending {
            self.forget_pending(ix, now, o);
        }
    }

    /// The tracker took what this device had once heard, but told of something older before it had heard that; which is all
    /// that is kept now. It is announced in turn: the verdict on it comes with the record that replaced it.
    fn ask_again(&mut self, ix: &mut dyn Index, o: &mut Open) {
        let Some(r) = o.t.remote.as_mut() else { return };
        // Until then it is unknown what the tracker has; and all is told anew where the link ends before.
        r.epoch = Epoch::default();
        let (stamp, what, generation) = (stamp(&r.record), What::Heard, self.commits.open);
        self.commits.wanted = true;
        self.post(Announcement { f: o.f, row: o.row, what, generation, pair: false, stamp, void: false });
        let s = &mut self.folders[o.f];
        if s.telling == Telling::Done {
            s.told_until = Some(self.verdicts + self.outbox.len() as u32);
        }
        ix.set_number(s.folder, Number::ToldIn, Epoch::default().0);
    }

    pub(super) fn drop_outbox(&mut self, _ix: &mut dyn Index, _now: Now) {
        self.outbox.clear();
        self.outbox_sent = 0;
        self.verdicts = 0;
        for f in self.folders.iter_mut() {
            f.rewind();
        }
    }
}

/// What became of writing an announcement into a frame.
enum Put {
    Done,
    Nothing,
    Full,
}

/// The record an announcement means.
pub(super) fn announced(t: &Trees, what: What) -> Option<&Record> {
    match what {
        What::Local => t.local.as_ref().filter(|l| l.made != Made::Unminted).map(|l| &l.record),
        What::Synced => t.synced.as_ref(),
        What::Heard => t.remote.as_ref().map(|r| &r.record),
        What::Withdrawn => t.withdrawn.as_ref().map(|r| &r.record),
        What::Pending => t.pending.as_ref().map(|p| &p.0),
    }
}

/// Whether what the record says is so on disk.
pub(super) fn is_here(t: &Trees, record: &Record) -> bool {
    match &t.local {
        None => !record.is_live(),
        Some(l) => l.stat.kind == record.kind && l.record.same_content(record) && !t.stale,
    }
}

/// Tells one version of a record from another (FNV-1a over its edits).
pub(super) fn stamp(r: &Record) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    let mut eat = |n: u64| h = (h ^ n).wrapping_mul(0x100_0000_01b3);
    eat(r.edit.counter);
    for e in r.version.entries() {
        eat(e.tag.0.into());
        eat(e.counter);
    }
    h
}
