//! Judging what devices announce (DESIGN 7; R5, R7, R9, R9a).

use super::Tracker;
use super::table::Stored;
use crate::ids::{FolderSlot, Seq, Slot, SlotSet};
use crate::mutant::{self, Mutant};
use crate::path::{Path, PathBuf};
use crate::record::Record;
use crate::sans_io::Reject;
use crate::time::{Instant, Now};
use crate::version::Order;
use crate::wire::batch::{BatchReader, Entry};
use crate::wire::message::Verdict;

/// What an announcement is, before anything changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Judged {
    /// It is the path's record from now on.
    Take,
    /// It is the record that is there already: the device becomes a holder.
    Same(Seq),
    /// Nothing changes.
    No(Verdict),
}

impl Tracker<'_> {
    pub(super) fn announced(&mut self, now: Now, i: usize, slot: Slot, batch: &[u8]) -> Result<(), Reject> {
        let n = BatchReader::check(batch).map_err(|_| Reject::new("a batch that breaks the rules"))?;
        if n == 0 || n > self.sessions[i].verdicts.room() {
            return Err(Reject::new("more announcements than the window, or none"));
        }
        let mut reader = BatchReader::new(batch);
        while let Some(e) = reader.entry().expect("checked above") {
            let (tail, known) = (self.files.table().tail(), self.files.table().len());
            self.witness(slot, e.record);
            if !e.flags.pair {
                let verdict = self.one(i, slot, &e);
                self.sessions[i].verdicts.push(verdict);
                self.moved(now.at, slot, e.folder, tail, known);
                continue;
            }
            let (folder, held, record) = (e.folder, e.flags.held, e.record.clone());
            let mut path = PathBuf::new();
            path.set(e.path);
            let winner = Half { folder, held, path: path.get().expect("just set"), record: &record };
            let copy = reader.entry().expect("checked above").expect("a pair has two halves");
            self.witness(slot, copy.record);
            let [first, second] = self.pair(i, slot, &winner, &Half::of(&copy));
            self.sessions[i].verdicts.push(first);
            self.sessions[i].verdicts.push(second);
            self.moved(now.at, slot, folder, tail, known);
        }
        self.peers[slot.0 as usize].announced = true;
        self.lag_changed(now.at);
        self.tidy.look(now.at, &self.files);
        Ok(())
    }

    /// What was judged since the table had that tail and so many entries: only what is new makes a turn last.
    fn moved(&mut self, now: Instant, slot: Slot, f: FolderSlot, tail: Seq, known: usize) {
        let table = self.files.table();
        if table.tail() > tail {
            self.turns.grow(now, f, slot, table.len() > known);
        }
    }
    fn one(&mut self, i: usize, slot: Slot, e: &Entry<'_>) -> Verdict {
        let half = Half::of(e);
        match self.judge(slot, &half) {
            Judged::Take => self.take(i, slot, &half),
            Judged::Same(seq) => {
                self.hold(slot, seq, &half);
                Verdict::Accepted(seq)
            }
            Judged::No(verdict) => verdict,
        }
    }

    /// A winner with its conflict copy: all or nothing (R9). The copy's half is as good as accepted where the table's
    /// record at its path is the same or knows it, or where it is withdrawn.
    fn pair(&mut self, i: usize, slot: Slot, winner: &Half<'_>, copy: &Half<'_>) -> [Verdict; 2] {
        let first = self.judge(slot, winner);
        if let Judged::No(verdict) = first {
            return [verdict, Verdict::Pair];
        }
        let second = match self.judge(slot, copy) {
            // Said as it is: the sender's record is not the one of that seq.
            Judged::No(v @ (Verdict::Superseded(_) | Verdict::Withdrawn(_))) => Judged::No(v),
            Judged::No(verdict) => return [Verdict::Pair, verdict],
            judged => judged,
        };
        let fresh = self.files.table().find(copy.folder, copy.path).is_none();
        let second = match second {
            Judged::Take => self.take(i, slot, copy),
            Judged::Same(seq) => {
                self.hold(slot, seq, copy);
                Verdict::Accepted(seq)
            }
            Judged::No(verdict) => verdict,
        };
        if matches!(second, Verdict::Full(_)) {
            return [second, second];
        }
        let first = match first {
            Judged::Take => self.take(i, slot, winner),
            Judged::Same(seq) => {
                self.hold(slot, seq, winner);
                Verdict::Accepted(seq)
            }
            Judged::No(verdict) => verdict,
        };
        if let (Verdict::Full(_), Verdict::Accepted(seq)) = (first, second)
            && fresh
        {
            self.files.remove(seq);
            return [first, first];
        }
        [first, second]
    }

    /// What the table says to a record, without changing anything.
    fn judge(&self, slot: Slot, new: &Half<'_>) -> Judged {
        if !self.files.members(new.folder).has(slot) {
            return Judged::No(Verdict::Refused);
        }
        if self.is_beyond_witness(slot, new.record) {
            return Judged::No(Verdict::Refused);
        }
        let table = self.files.table();
        let current = table.find(new.folder, new.path);
        let withdrawn = table.find_withdrawn(new.folder, new.path);
        if new.record.flags.withdrawn() {
            return judge_withdrawn(new.record, current, withdrawn);
        }
        if let Some(w) = withdrawn.filter(|_| !new.held)
            && w.record().edit == new.record.edit
        {
            return Judged::No(Verdict::Withdrawn(w.seq()));
        }
        let Some(current) = current else { return Judged::Take };
        let (seq, old) = (current.seq(), current.record());
        match new.record.compare(&old) {
            Order::Dominates => Judged::Take,
            Order::Equal if mutant::on(Mutant::ForkHolds) => Judged::Same(seq),
            Order::Equal if !new.record.same_content(&old) => Judged::No(Verdict::Conflict(seq)),
            Order::Equal if !new.record.same_meta(&old) && !mutant::on(Mutant::R7Meta) => {
                Judged::No(Verdict::Superseded(seq))
            }
            Order::Equal => Judged::Same(seq),
            Order::Dominated => Judged::No(Verdict::Superseded(seq)),
            Order::Concurrent => Judged::No(Verdict::Conflict(seq)),
        }
    }

    /// Puts a record that was judged so.
    fn take(&mut self, i: usize, slot: Slot, new: &Half<'_>) -> Verdict {
        // Who announces a withdrawn record has it noted durably, which is all its holder bits mean.
        let has = new.held || new.record.flags.withdrawn();
        let holders = if has { SlotSet::one(slot) } else { SlotSet::default() };
        let before = self.files.table().find(new.folder, new.path).map(|e| e.seq());
        let strange = self.strange_tags(slot, new.record);
        let put = strange.and_then(|_| self.files.put(new.folder, new.path, new.record, holders).ok());
        let (Some(strange), Some(seq)) = (strange, put) else {
            return self.full(i);
        };
        self.peers[slot.0 as usize].brought.strange += strange;
        if !new.record.flags.withdrawn() {
            if let Some(old) = before {
                self.book.drop_record(new.folder, old);
            }
            // The edit lives again: it is not kept beside its path any longer.
            let beside = self.files.table().find_withdrawn(new.folder, new.path);
            if let Some(w) = beside.filter(|w| w.record().edit == new.record.edit).map(|w| w.seq()) {
                self.files.remove(w);
            }
        } else {
            self.renew_beside(new);
        }
        // Its sender need not be sent it.
        let stream = &mut self.sessions[i].stream;
        if stream.live.0 + 1 == seq.0 {
            (stream.live, stream.skipped) = (seq, true);
        }
        Verdict::Accepted(seq)
    }

    /// What stands at a path beside a withdrawn record gets a later seq than that: devices that hear of a withdrawn record
    /// forget what they heard before of the path (R9a).
    fn renew_beside(&mut self, withdrawn: &Half<'_>) {
        let Some(e) = self.files.table().find(withdrawn.folder, withdrawn.path) else { return };
        let (seq, record, holders) = (e.seq(), e.record(), e.holders());
        self.files
            .put(withdrawn.folder, withdrawn.path, &record, holders)
            .expect("there is room for what stands there already");
        self.book.drop_record(withdrawn.folder, seq);
    }

    /// There is no room.
    fn full(&mut self, i: usize) -> Verdict {
        self.sessions[i].owed.room = true;
        let table = self.files.table();
        Verdict::Full(table.estimate_capacity().try_into().unwrap_or(u32::MAX))
    }

    /// The device has what the table has.
    fn hold(&mut self, slot: Slot, seq: Seq, new: &Half<'_>) {
        let Some(e) = self.files.get(seq) else { return };
        let same = e.record().same_thing(new.record) && e.path() == new.path;
        let has =
            (new.held && !e.flags().withdrawn()) || (new.record.flags.withdrawn() && e.flags().withdrawn());
        let mut holders = e.holders();
        holders.add(slot);
        if has && same && self.files.set_holders(seq, holders) {
            self.book.touch(new.folder, seq);
        }
    }
}

/// One announced record.
struct Half<'a> {
    folder: FolderSlot,
    held: bool,
    path: Path<'a>,
    record: &'a Record,
}

impl<'a> Half<'a> {
    fn of(e: &Entry<'a>) -> Half<'a> {
        Half { folder: e.folder, held: e.flags.held, path: e.path, record: e.record }
    }
}

/// A record that somebody heard of as withdrawn, told anew in another epoch: kept beside its path unless that edit
/// stands at the path, or a later one is kept there already.
fn judge_withdrawn(new: &Record, current: Option<Stored<'_>>, withdrawn: Option<Stored<'_>>) -> Judged {
    if let Some(c) = current.filter(|c| c.record().edit == new.edit) {
        return Judged::No(Verdict::Superseded(c.seq()));
    }
    let Some(w) = withdrawn else { return Judged::Take };
    let old = w.record();
    match new.version.compare(&old.version) {
        Order::Dominates => Judged::Take,
        Order::Equal => Judged::Same(w.seq()),
        Order::Dominated => Judged::No(Verdict::Superseded(w.seq())),
        Order::Concurrent if new.edit.counter > old.edit.counter => Judged::Take,
        Order::Concurrent => Judged::No(Verdict::Superseded(w.seq())),
    }
}
