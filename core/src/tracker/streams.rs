//! Records, verdicts and `CaughtUp`: what a link is sent of the table, from its two cursors.

use super::Tracker;
use super::session::{Session, Stream};
use super::table::{Step, Stored};
use crate::ids::{Epoch, FolderId, FolderSlot, Seq, Slot};
use crate::time::Instant;
use crate::wire::batch::{BatchWriter, Entry, EntryFlags};
use crate::wire::message::{self, ToPeer, Verdict};
use heapless::Vec;

/// Entries of other folders passed over in one step.
const STEPS: usize = 1024;
/// Bytes before a batch: the variant and a length of two bytes.
const HEAD: usize = 3;

/// What one look at a stream gave.
pub(super) enum Drawn {
    Frame(usize),
    Nothing,
    /// The budget is spent.
    Again,
}

/// The two streams of a link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Live,
    Back,
}

impl Which {
    fn wants(self, s: &Stream, e: &Stored<'_>) -> bool {
        let f = e.folder();
        match self {
            Which::Live => s.joined.has(f) && !s.behind.has(f),
            Which::Back => s.behind.has(f) && e.seq() > s.seen[f.0 as usize],
        }
    }
}

impl Tracker<'_> {
    /// A device says where it stands in a folder.
    pub(super) fn seen(&mut self, i: usize, slot: Slot, folder: FolderId, epoch: Epoch, seen: Seq) {
        let Some(f) = self.roster.folder_by_id(folder).map(|(f, _)| f) else { return };
        if self.files.members(f).has(slot) {
            let seen = Session::seen_in(self.epoch, self.files.table().tail(), epoch, seen);
            self.sessions[i].stream.join(f, seen);
        }
    }

    /// The next frame of records, if there are any.
    pub(super) fn records(
        &mut self,
        now: Instant,
        i: usize,
        slot: Slot,
        which: Which,
        out: &mut [u8],
    ) -> Drawn {
        let tail = self.files.table().tail();
        let s = &mut self.sessions[i].stream;
        let (mut at, end) = match which {
            Which::Live => (s.live, tail),
            Which::Back => (s.back, s.live),
        };
        if at >= end || (which == Which::Back && s.behind.is_empty()) {
            return Drawn::Nothing;
        }
        let mut w = BatchWriter::new(&mut out[HEAD..]);
        let mut touched = None;
        let mut spent = true;
        for _ in 0..STEPS {
            match self.files.walk(at) {
                Step::Entry(e) if e.seq() <= end => {
                    if which.wants(s, &e) {
                        if !push(&mut w, &e) {
                            break;
                        }
                        touched = Some(e.folder());
                    }
                    at = e.seq();
                }
                Step::Later(seq) if seq < end => at = seq,
                _ => {
                    (at, spent) = (end, false);
                    break;
                }
            }
        }
        match which {
            Which::Live => s.live = at,
            Which::Back => s.back = at,
        }
        s.meet();
        if let Some(f) = touched {
            self.turns.touch(now, f, slot);
        }
        match w.len() {
            0 if spent => Drawn::Again,
            0 => Drawn::Nothing,
            n => Drawn::Frame(head(out, n)),
        }
    }

    /// The next frame of verdicts, or of records that a verdict speaks of and the stream has passed.
    pub(super) fn verdicts(&mut self, i: usize, out: &mut [u8]) -> Drawn {
        let s = &mut self.sessions[i];
        let mut list: Vec<Verdict, 64> = Vec::new();
        while let Some(v) = s.verdicts.get(list.len()) {
            if list.len() >= s.shown
                && let Some(e) = subject(v).and_then(|seq| self.files.get(seq))
            {
                let f = e.folder();
                if s.stream.joined.has(f) && s.stream.sent(f) < e.seq() {
                    break; // It comes by the stream, and then the verdict.
                }
                if list.is_empty() {
                    return self.show(i, out);
                }
                break;
            }
            if list.push(v).is_err() {
                break;
            }
        }
        if list.is_empty() {
            return Drawn::Nothing;
        }
        let (n, first) = (list.len(), s.verdicts.first);
        s.verdicts.sent(n);
        s.shown = s.shown.saturating_sub(n);
        match message::encode(&ToPeer::Verdicts { first, verdicts: list }, out) {
            Some(len) => Drawn::Frame(len),
            None => unreachable!("64 verdicts fit into a frame"),
        }
    }
    /// Sends the records of the first verdicts again.
    fn show(&mut self, i: usize, out: &mut [u8]) -> Drawn {
        let s = &mut self.sessions[i];
        let mut w = BatchWriter::new(&mut out[HEAD..]);
        let mut n = 0;
        // Not beyond a verdict that tells the peer the seq of its own record: a later seq must not come before.
        while let Some(seq) = s.verdicts.get(n).and_then(subject) {
            if let Some(e) = self.files.get(seq) {
                let f = e.folder();
                if (s.stream.joined.has(f) && s.stream.sent(f) < e.seq()) || !push(&mut w, &e) {
                    break;
                }
            }
            n += 1;
        }
        s.shown = n;
        let len = w.len();
        Drawn::Frame(head(out, len))
    }

    /// A folder that is caught up now, and up to where: told once.
    pub(super) fn caught_up(&mut self, now: Instant, i: usize, slot: Slot) -> Option<(FolderSlot, Seq)> {
        let tail = self.files.table().tail();
        let s = &mut self.sessions[i].stream;
        if s.owes.is_empty() {
            return None;
        }
        for f in s.owes.iter() {
            if !s.turn.has(f) && self.turns.take(now, f, slot) {
                s.turn.add(f);
                s.target = tail;
            }
        }
        let ready = |f: &FolderSlot| s.turn.has(*f) && !s.behind.has(*f) && s.live >= s.target;
        let f = s.owes.iter().find(ready)?;
        let seq = s.live;
        s.owes.remove(f);
        s.turn.remove(f);
        self.turns.touch(now, f, slot);
        Some((f, seq))
    }
}

/// The record that must be with the peer before the verdict.
fn subject(v: Verdict) -> Option<Seq> {
    match v {
        Verdict::Superseded(seq) | Verdict::Conflict(seq) | Verdict::Withdrawn(seq) => Some(seq),
        Verdict::Accepted(_) | Verdict::Full(_) | Verdict::Pair | Verdict::Refused => None,
    }
}

fn push(w: &mut BatchWriter<'_>, e: &Stored<'_>) -> bool {
    let record = e.record();
    let entry = Entry {
        folder: e.folder(),
        seq: e.seq(),
        flags: EntryFlags::default(),
        path: e.path(),
        record: &record,
    };
    let fits = w.push(&entry);
    assert!(fits || !w.is_empty(), "any one record fits into a frame");
    fits
}

/// Puts the head of [`ToPeer::Records`] before a batch of `len` bytes that stands at [`HEAD`]; the frame's length.
fn head(out: &mut [u8], len: usize) -> usize {
    let mut empty = [0; 4];
    let n = message::encode(&ToPeer::Records(&[]), &mut empty);
    assert!(n == Some(2) && len < 1 << 14, "a variant of one byte, a length of two");
    if len < 0x80 {
        (out[0], out[1]) = (empty[0], len as u8);
        out.copy_within(HEAD..HEAD + len, 2);
        return 2 + len;
    }
    (out[0], out[1], out[2]) = (empty[0], len as u8 | 0x80, (len >> 7) as u8);
    HEAD + len
}
