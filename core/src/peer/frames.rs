//! Frames of the tracker link: what comes in becomes the remote tree; what goes out is derived from what is due.

use super::index::{Index, Number};
use super::machine::Peer;
use super::session::Presence;
use super::state::{Announcement, Telling, What};
use super::trees::{Made, Remote, Trees};
use crate::ids::{FolderSlot, LinkId, Row, Seq};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::record::Record;
use crate::sans_io::{Reject, Sent};
use crate::time::Now;
use crate::version::Order;
use crate::wire::batch::{BatchReader, Entry};
use crate::wire::message::{Ranges, SeqRange, ToPeer, ToTracker, decode, encode};

/// Before the first row of all.
const SWEEP: (Seq, Row) = (Seq(0), Row(0));

impl Peer {
    /// A frame of the tracker's.
    pub fn handle_frame(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        link: LinkId,
        frame: &[u8],
    ) -> Result<(), Reject> {
        if self.session.link != Some(link) {
            return Err(Reject::new("a frame on a link that is not the tracker's"));
        }
        let m: ToPeer<'_> = decode(frame).ok_or(Reject::new("a frame that does not decode"))?;
        self.note_heard(now);
        let early =
            matches!(m, ToPeer::Welcome { .. } | ToPeer::NewTag { .. } | ToPeer::WantRoster | ToPeer::Pong);
        if !self.session.welcomed && !early {
            return Err(Reject::new("a message before the welcome"));
        }
        let far = match &m {
            ToPeer::CaughtUp { seq, .. } | ToPeer::Standing(seq) => seq.0 >= limits::SEQ,
            ToPeer::Verdicts { verdicts, .. } => verdicts.iter().any(|v| v.seq().0 >= limits::SEQ),
            _ => false,
        };
        if far {
            return Err(Reject::new("a seq that no table comes to"));
        }
        match m {
            ToPeer::Welcome { .. } => self.welcome(ix, now, &m)?,
            ToPeer::NewTag { wait } => self.new_tag(ix, now, wait),
            ToPeer::Presence { device, online, lag, caps, addrs } => {
                self.note_presence(Presence { device, online, lag, caps, addrs });
            }
            ToPeer::Roster(part) => self.take_roster(now, &part)?,
            ToPeer::WantRoster => self.hand_in_roster(),
            ToPeer::Records(bytes) => self.take_records(ix, now, bytes)?,
            ToPeer::CaughtUp { folder, seq } => self.caught_up(ix, now, folder, seq),
            ToPeer::Verdicts { verdicts, .. } => {
                for v in verdicts {
                    self.judged(ix, now, v)?;
                }
            }
            ToPeer::Forget { folder, ranges } => self.forget(ix, now, folder, &ranges),
            ToPeer::Sources { folder, seq, holders, seekers } => {
                if let Some(f) = self.place_of_slot(folder)
                    && let Some(row) = self.row_of(ix, f, seq)
                {
                    self.sources(ix, now, f, row, holders, seekers);
                }
            }
            ToPeer::ConnectBack(device) => {
                self.hint(super::Effect::Reach(device));
            }
            ToPeer::Reply(n, answer) => self.note_reply(n, answer),
            ToPeer::Room { used, of } => self.session.room = (used, of),
            ToPeer::Standing(seq) => self.standing(ix, now, seq),
            ToPeer::Notice(_) | ToPeer::Pong => {}
        }
        Ok(())
    }

    fn take_records(&mut self, ix: &mut dyn Index, now: Now, bytes: &[u8]) -> Result<(), Reject> {
        BatchReader::check(bytes).map_err(|_| Reject::new("a batch that breaks its rules"))?;
        let mut r = BatchReader::new(bytes);
        while let Ok(Some(e)) = r.entry() {
            if e.seq.0 == 0 {
                return Err(Reject::new("a record without a seq"));
            }
            if e.record.version.get_store(self.tag) > self.counter && !mutant::on(Mutant::R4Tag) {
                // R4: this store is one of before, or a copy of it went on; the tracker did not know when it said Hello.
                self.store_went_on(ix, now);
                return Ok(());
            }
            let Some(f) = self.place_of_slot(e.folder) else { continue };
            self.take_record(ix, now, f, &e);
            let s = &mut self.folders[f];
            if e.seq > s.seen && s.epoch == self.epoch {
                s.seen = e.seq;
                ix.set_number(s.folder, Number::Seen, e.seq.0);
            }
        }
        Ok(())
    }

    pub(super) fn take_record(&mut self, ix: &mut dyn Index, now: Now, f: usize, e: &Entry<'_>) {
        let mut o = self.open_path(ix, f, e.path);
        let epoch = self.epoch;
        let news = Remote { record: e.record.clone(), epoch, seq: e.seq };
        let current = |r: &Option<Remote>| r.as_ref().is_some_and(|r| r.epoch == epoch && r.seq >= e.seq);
        if e.record.flags.withdrawn() {
            if current(&o.t.withdrawn) {
                return;
            }
            // What was told earlier went, whatever this one knows of it: by itself, withdrawn before this one and told of
            // no more, or when this one came to its path. What still stands beside a withdrawn record has a later seq.
            let is_past = |r: &Remote| r.record.edit == e.record.edit || (r.epoch == epoch && r.seq < e.seq);
            if o.t.remote.as_ref().is_some_and(is_past) {
                o.t.remote = None;
            }
            o.t.withdrawn = Some(news);
            self.note_have(f, e.seq);
        } else {
            if current(&o.t.remote) {
                return;
            }
            let outlived = o.t.withdrawn.as_ref().is_some_and(|w| e.record.version.covers(w.record.edit));
            if outlived && o.t.withdrawn.as_ref().is_some_and(|w| w.epoch != epoch) {
                o.t.withdrawn = None;
            }
            self.drop_copies(ix, now, &mut o, e.record);
            o.t.remote = Some(news);
        }
        if e.record.flags.withdrawn() || !e.record.is_live() {
            // It may have been all that a directory was made for.
            self.folders[f].revivals_due = true;
        }
        o.t.trouble = None;
        self.close(ix, now, o);
    }

    /// A pending copy of this winner is dropped when its loser became the winner, or a later edit knows of the loser
    /// without knowing of the merge (R9).
    fn drop_copies(&mut self, ix: &mut dyn Index, now: Now, o: &mut super::rows::Open, r: &Record) {
        if o.t.copies.is_empty() {
            return;
        }
        // Of a merge that went with a power cut, or that another edit is made on by now, the synced record tells.
        let minted = o.t.local.as_ref().filter(|l| l.made != Made::Unminted).map(|l| l.record.clone());
        let merges = [minted, o.t.synced.clone()];
        let mut i = 0;
        while i < o.t.copies.len() {
            let row = o.t.copies[i];
            let mut t = Trees::default();
            let pending = if ix.load(row, &mut t) { t.pending.as_ref().map(|p| p.0.edit) } else { None };
            let gone = match pending {
                None => true,
                Some(edit) => {
                    let is_merge = |m: &&Record| m.edit != edit && m.version.covers(edit);
                    let mut merges = merges.iter().flatten().filter(is_merge).peekable();
                    // The merge is not known apart from an edit on top of it: the copy is made rather than lost.
                    let known = merges.peek().is_some();
                    let knows = merges
                        .any(|m| matches!(r.version.compare(&m.version), Order::Equal | Order::Dominates));
                    // The loser itself, touched since, knows nothing of the merge and is none that won.
                    let covers = r.version.covers(edit);
                    let dropped = covers && mutant::on(Mutant::R9Dropped);
                    dropped || (known && if r.edit == edit { knows } else { covers && !knows })
                }
            };
            // Of what is on its way the verdict alone tells whether the tracker has it: nothing comes back if it has.
            let sent = |a: &Announcement| a.row == row && a.what == What::Pending;
            if !gone
                || o.t.is_over_file()
                || (pending.is_some() && self.outbox.iter().take(self.outbox_sent).any(sent))
            {
                i += 1;
                continue;
            }
            o.t.copies.swap_remove(i);
            if pending.is_some()
                && let Some(mut c) = self.open(ix, o.f, row)
            {
                c.t.pending = None;
                self.folders[o.f].revivals_due = true;
                self.close(ix, now, c);
            }
        }
    }

    fn caught_up(&mut self, ix: &mut dyn Index, now: Now, slot: FolderSlot, seq: Seq) {
        let Some(f) = self.place_of_slot(slot) else { return };
        let epoch = self.epoch;
        let s = &mut self.folders[f];
        if s.caught_up || !s.asked {
            return;
        }
        s.caught_up = true;
        if s.epoch == epoch && seq > s.seen {
            s.seen = seq;
            ix.set_number(s.folder, Number::Seen, seq.0);
        }
        if s.telling == Telling::Waiting && ix.number(s.folder, Number::ToldIn) == epoch.0 {
            s.telling = Telling::Done;
        }
        s.rewind();
        s.have_sweep = Some(SWEEP).filter(|_| !mutant::on(Mutant::R16Anew));
        s.revivals_due = true;
        s.recheck_pause = 20_000;
        self.dirty(now);
    }

    fn standing(&mut self, ix: &mut dyn Index, now: Now, seq: Seq) {
        let epoch = self.epoch;
        for s in self.folders.iter_mut().filter(|s| s.linked && s.caught_up && s.epoch == epoch) {
            if seq > s.seen {
                s.seen = seq;
                ix.set_number(s.folder, Number::Seen, seq.0);
            }
        }
        self.dirty(now);
    }

    /// R10: tombstones that everybody has applied are dropped, where the three trees are all that tombstone.
    fn forget(&mut self, ix: &mut dyn Index, now: Now, slot: FolderSlot, ranges: &Ranges) {
        let Some(f) = self.place_of_slot(slot) else { return };
        let folder = self.folders[f].folder;
        for r in ranges {
            let mut after = (r.from, Row(0));
            while let Some((seq, row)) = ix.by_seq(folder, after) {
                if seq > r.to {
                    break;
                }
                after = (seq, row);
                if self.is_busy(row) {
                    continue;
                }
                let Some(mut o) = self.open(ix, f, row) else { continue };
                let t = &mut o.t;
                let heard = t
                    .remote
                    .as_ref()
                    .is_some_and(|x| x.epoch == self.epoch && x.seq == seq && !x.record.is_live());
                let all =
                    heard && t.synced == t.remote.as_ref().map(|x| x.record.clone()) && t.local.is_none();
                if mutant::on(Mutant::R10Erase) {
                    (t.remote, t.synced, t.local) = (None, None, None);
                } else if all && t.pending.is_none() && !t.stale {
                    (t.remote, t.synced) = (None, None);
                } else if t.withdrawn.as_ref().is_some_and(|w| w.epoch == self.epoch && w.seq == seq) {
                    t.withdrawn = None;
                }
                self.close(ix, now, o);
            }
        }
    }

    pub(super) fn note_have(&mut self, f: usize, seq: Seq) {
        let generation = if mutant::on(Mutant::R16Durable) { 0 } else { self.commits.open };
        self.commits.haves |= self.session.link.is_some();
        if self.haves.push_back((f, seq, generation)).is_err() {
            self.haves.clear();
            for s in self.folders.iter_mut().filter(|s| s.linked && s.caught_up) {
                s.have_sweep = Some(SWEEP);
            }
        }
    }

    /// The next frame of the link; see [`Sent`].
    pub fn poll_transmit(&mut self, ix: &mut dyn Index, now: Now, link: LinkId, out: &mut [u8]) -> Sent {
        if self.session.link != Some(link) {
            return Sent::Idle;
        }
        let sent = self
            .transmit_session(now, out)
            .or_else(|| if self.session.welcomed { self.transmit_folders(ix, now, out) } else { None })
            .or_else(|| self.transmit_ping(now, out));
        match sent {
            Some(n) => {
                self.note_sent(now);
                Sent::Frame(n)
            }
            None if self.session.welcomed && (self.sweep_waits() || self.have_sweep_waits()) => Sent::Again,
            None => Sent::Idle,
        }
    }

    fn transmit_folders(&mut self, ix: &mut dyn Index, now: Now, out: &mut [u8]) -> Option<usize> {
        if let Some(n) = self.transmit_seen(ix, out) {
            return Some(n);
        }
        self.fill_outbox(ix, now);
        self.transmit_announce(ix, now, out)
            .or_else(|| self.transmit_told(ix, now, out))
            .or_else(|| self.transmit_seek(ix, out))
            .or_else(|| self.transmit_lack(out))
            .or_else(|| self.transmit_have(ix, out))
    }

    fn transmit_seek(&mut self, _ix: &mut dyn Index, out: &mut [u8]) -> Option<usize> {
        while let Some((f, _, seq)) = self.seeks.pop_front() {
            if let Some(folder) = self.folders[f].slot.filter(|_| self.folders[f].linked) {
                return encode(&ToTracker::Seek { folder, seq }, out);
            }
        }
        None
    }

    fn transmit_lack(&mut self, out: &mut [u8]) -> Option<usize> {
        let mut ranges = Ranges::new();
        let mut of = None;
        while let Some((f, range)) = self.lacks.front().copied() {
            if of.is_some_and(|o| o != f) || ranges.is_full() {
                break;
            }
            self.lacks.pop_front();
            let said = self.folders[f].linked && self.folders[f].caught_up && !mutant::on(Mutant::R9aLack);
            if said {
                of = Some(f);
                let _ = ranges.push(range);
            }
        }
        let folder = self.folders[of?].slot?;
        encode(&ToTracker::Lack { folder, ranges }, out)
    }

    /// A content is not here any more. Always sent before what is held: what came since is said after it.
    pub(super) fn note_lack(&mut self, f: usize, seq: Seq) {
        if self.folders[f].caught_up && self.lacks.push_back((f, SeqRange { from: seq, to: seq })).is_err() {
            // The sweep says it.
            self.folders[f].have_sweep = Some(SWEEP);
        }
    }

    /// Where it is due, all that is held, and what is not, is told again.
    pub(super) fn say_again(&mut self, now: Now) {
        for s in self.folders.iter_mut().filter(|s| s.resay_at.is_some_and(|at| at <= now.at)) {
            s.resay_at = None;
            s.have_sweep = Some(SWEEP);
        }
    }

    /// What came to be here since, and is durable; or, on a fresh link, all that is here (R16).
    fn transmit_have(&mut self, ix: &mut dyn Index, out: &mut [u8]) -> Option<usize> {
        if let Some(n) = self.transmit_have_sweep(ix, out) {
            return Some(n);
        }
        let mut ranges = Ranges::new();
        let mut of = None;
        while let Some((f, seq, generation)) = self.haves.front().copied() {
            let s = &self.folders[f];
            // What the sweep is still to pass, it tells.
            let skip = !s.linked || !s.caught_up || s.have_sweep.is_some_and(|at| at.0 < seq);
            if !skip && (generation > self.commits.durable || of.is_some_and(|o| o != f)) {
                break;
            }
            // It may be gone again since, or about to go; or it went and came back, which the later word of it waits for.
            let again = self.haves.iter().skip(1).any(|h| (h.0, h.1) == (f, seq));
            if !skip && !again && self.is_had(ix, f, seq) {
                let grown = ranges.last_mut().is_some_and(|r: &mut SeqRange| {
                    let next = r.to.0 + 1 == seq.0;
                    if next {
                        r.to = seq;
                    }
                    next
                });
                if !grown && ranges.push(SeqRange { from: seq, to: seq }).is_err() {
                    break;
                }
                of = Some(f);
            }
            self.haves.pop_front();
        }
        let folder = self.folders[of?].slot?;
        encode(&ToTracker::Have { folder, ranges, run: self.commits.run }, out)
    }

    fn have_sweep_waits(&self) -> bool {
        let durable = self.commits.dirty == 0 && self.commits.running.is_none();
        durable
            && self
                .folders
                .iter()
                .any(|s| s.linked && s.caught_up && s.slot.is_some() && s.have_sweep.is_some())
    }

    /// Whether the record of that seq is here, or noted here as withdrawn.
    fn is_had(&self, ix: &mut dyn Index, f: usize, seq: Seq) -> bool {
        let mut t = Trees::default();
        let noted = |r: &Remote| r.epoch == self.epoch && r.seq == seq;
        self.row_of(ix, f, seq).is_some_and(|row| ix.load(row, &mut t))
            && (self.has(&t) == Some(seq) || t.withdrawn.as_ref().is_some_and(noted))
    }

    /// The row whose record, or withdrawn one, bears that seq in this epoch: one of another may bear it, too.
    pub(super) fn row_of(&self, ix: &mut dyn Index, f: usize, seq: Seq) -> Option<Row> {
        let (mut at, mut t) = ((seq, Row(0)), Trees::default());
        while let Some((s, row)) = ix.by_seq(self.folders[f].folder, at).filter(|x| x.0 == seq) {
            at = (s, row);
            let named = |r: &Remote| r.epoch == self.epoch && r.seq == seq;
            if ix.load(row, &mut t) && [&t.remote, &t.withdrawn].into_iter().flatten().any(named) {
                return Some(row);
            }
        }
        None
    }

    /// All of a folder that is here, and all that is not: both are told, so that the tracker's bits are right whatever was
    /// said, or left unsaid, before.
    fn transmit_have_sweep(&mut self, ix: &mut dyn Index, out: &mut [u8]) -> Option<usize> {
        let f = self.folders.iter().position(|s| s.linked && s.caught_up && s.have_sweep.is_some())?;
        if self.commits.dirty > 0 || self.commits.running.is_some() {
            // What the sweep finds must be durable: a commit is wanted.
            return None;
        }
        let folder = self.folders[f].folder;
        let mut at = self.folders[f].have_sweep?;
        let s = &self.folders[f];
        let seen = if s.epoch == self.epoch { s.seen } else { Seq(0) };
        let (mut here, mut lacking) = (Spans::default(), Spans::default());
        let mut t = Trees::default();
        let mut more = false;
        for step in 0..20_000 {
            let Some((seq, row)) = ix.by_seq(folder, at) else { break };
            more = step == 19_999 || here.is_full() || lacking.is_full();
            if more {
                break;
            }
            at = (seq, row);
            ix.load(row, &mut t);
            let named =
                |r: &Option<Remote>| r.as_ref().is_some_and(|r| r.epoch == self.epoch && r.seq == seq);
            let noted = named(&t.withdrawn);
            // Seqs that are no current record of the folder end no range.
            if noted || named(&t.remote) {
                here.pass(seq, noted || self.has(&t) == Some(seq), seen);
                lacking.pass(seq, !noted && self.lacks(&t) == Some(seq), seen);
            }
        }
        self.folders[f].have_sweep = more.then_some(at);
        for r in lacking.end() {
            const { assert!(super::state::LACKS >= limits::RANGES) };
            let _ = self.lacks.push_back((f, r));
        }
        let ranges = here.end();
        if ranges.is_empty() {
            return self.transmit_lack(out);
        }
        let folder = self.folders[f].slot?;
        const { assert!(limits::RANGES * 20 < limits::FRAME) };
        encode(&ToTracker::Have { folder, ranges, run: self.commits.run }, out)
    }
}

/// Ranges of seqs, grown one by one.
#[derive(Default)]
struct Spans {
    done: Ranges,
    open: Option<SeqRange>,
}

impl Spans {
    /// The next seq; whether it belongs. Up to `seen` nothing lies between two seqs that is not known.
    fn pass(&mut self, seq: Seq, belongs: bool, seen: Seq) {
        let apart = |r: &SeqRange| seq > seen && r.to.0 + 1 < seq.0;
        if !belongs || self.open.as_ref().is_some_and(apart) {
            self.open.take().into_iter().for_each(|r| self.done.push(r).expect("not full"));
        }
        if belongs {
            let from = self.open.map_or(seq, |r| r.from);
            self.open = Some(SeqRange { from, to: seq });
        }
    }
    /// Whether the next range to end is the last that fits.
    fn is_full(&self) -> bool {
        self.done.len() + 1 >= limits::RANGES
    }
    fn end(mut self) -> Ranges {
        if let Some(r) = self.open {
            self.done.push(r).expect("one was left");
        }
        self.done
    }
}
