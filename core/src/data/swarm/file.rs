//! Contents that are being fetched.

use super::super::message::{Have, Wants};
use super::fellows::Fellows;
use super::notes::{NOTED, noted};
use super::places::{Places, WINDOW};
use super::share::Pace;
use super::types::{Bank, Fetch, Lent};
use super::whence::Whence;
use crate::content::{Hash, Leaf, NODE_BYTES, Near, Neighbours, Walker, Want};
use crate::ids::{ContentId, Slot, SlotSet, Ticket};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::record::Kind;
use crate::time::Instant;

/// Chunks of a part file that are being checked at once.
const CHECKS: u32 = 4;
/// Chunks before and after one among which a neighbour is looked for.
const NEAR: usize = 16;
/// Chunks that wait to be looked for in all files.
const FINDS: usize = 128;
/// A chunk from so many bytes on is worth asking for in pieces.
pub(super) const PIECES_FROM: u32 = 4096;
/// So many chunks in a row whose pieces were of no use end the tries. Until some were of use, one is tried at a time: a
/// file that was written anew is soon asked for whole.
const GIVE_UP: u8 = 4;

/// Bytes of memory for the window's chunks.
pub(super) const WINDOW_MEMORY: usize = WINDOW * NOTED;

/// A content that is asked for whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    pub ticket: Ticket,
    pub kind: Kind,
    pub content: ContentId,
    pub size: u32,
    pub whence: Whence,
    pub flight: Option<u32>,
    /// An older version is here: its pieces are asked for first.
    pub pieces: bool,
}

/// How much of a large content's tree is known.
pub(super) enum Stage<B> {
    /// Its root is not known; the memory waits.
    Rootless(B),
    /// The tree is walked.
    Walking(Walker<B>),
    /// In between, within one call.
    Moving,
}

/// How the node that the walk needs is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// The names of its entries, cut short.
    Short,
    /// These entries, which are not known here.
    Some(Wants),
    /// All of it.
    Full,
}

/// A content whose tree is walked, a window of chunks at a time.
pub(super) struct Large<B, K> {
    pub ticket: Ticket,
    pub content: ContentId,
    pub size: u64,
    pub whence: Whence,
    pub stage: Stage<B>,
    /// Root or node that is asked for.
    pub flight: Option<u32>,
    /// The node that the walk needs, how it is asked for, and what is known of it.
    pub want: Option<Want>,
    pub form: Form,
    pub draft: [u8; NODE_BYTES],
    pub count: u16,
    /// What is here in other files.
    pub bank: K,
    /// Whether an older version is; whether the last pieces were of use, and how many in a row were not; lists of pieces
    /// that are asked for.
    based: bool,
    proven: bool,
    useless: u8,
    pub lists: u8,
    /// Below this the part file may hold bytes from an earlier try.
    pub present: u64,
    /// Chunks before this are here; before `end` they are known. Counted from the file's start.
    pub base: u32,
    pub end: u32,
    pub ended: bool,
    /// Bytes of the file before the base.
    pub passed: u64,
    /// The window's chunks, [`NOTED`] bytes each.
    pub leaves: B,
    /// To be asked for; to be checked in the part file; being checked; here.
    pub wanted: Places,
    pub check: Places,
    checking: Places,
    pub done: Places,
    /// Looked for here, in vain; to be asked for whole, not in pieces.
    pub looked: Places,
    /// Looked for where its neighbours say, too; else as `looked`.
    pub guessed: Places,
    pub plain: Places,
    /// Who seeks it, too; which chunks this device gets from a holder, and which it has asked one for.
    pub fellows: Fellows,
    pub mine: Places,
    pub coming: Places,
    pub pace: Pace,
    /// Counts what fellows may want to know; and chunks that came.
    pub news: u32,
    arrivals: u32,
    /// Chunks that files of this device are to be looked through for, and how many are being looked for.
    pub finds: heapless::Deque<Hash, FINDS>,
    finding: u8,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Large<B, K> {
    pub(super) fn new(at: Instant, fetch: &Fetch, lent: Lent<B, K>) -> Large<B, K> {
        let Lent { walk, window, bank } = lent;
        let known = bank.root();
        let mut large = Large {
            ticket: fetch.ticket,
            content: fetch.content,
            size: fetch.size,
            whence: Whence::new(fetch.from),
            stage: Stage::Rootless(walk),
            flight: None,
            want: None,
            form: Form::Full,
            draft: [0; NODE_BYTES],
            count: 0,
            bank,
            based: fetch.based,
            proven: false,
            useless: 0,
            lists: 0,
            present: fetch.present,
            base: 0,
            end: 0,
            ended: false,
            passed: 0,
            leaves: window,
            wanted: Places::default(),
            check: Places::default(),
            checking: Places::default(),
            done: Places::default(),
            looked: Places::default(),
            guessed: Places::default(),
            plain: Places::default(),
            fellows: Fellows::default(),
            mine: Places::default(),
            coming: Places::default(),
            pace: Pace::new(at),
            news: 0,
            arrivals: 0,
            finds: heapless::Deque::new(),
            finding: 0,
        };
        // An earlier try has come so far; what it heard is checked once more.
        if let Some(root) = known {
            large.take_root(root);
        }
        large
    }

    /// Whether every chunk is here.
    pub(super) fn is_complete(&self) -> bool {
        self.ended && self.base == self.end
    }
    pub(super) fn leaf(&self, place: usize) -> Leaf {
        noted(self.leaves.as_ref(), place)
    }
    /// The next chunk among these to ask for, from that place on, which from then on is not wanted; and whether in
    /// pieces, if there is room for some.
    pub(super) fn next_wanted(&mut self, room: bool, among: &Places, from: usize) -> Option<(usize, bool)> {
        let room = room && (self.proven || self.lists == 0);
        let mut left = self.wanted.and(among);
        let mut from = from % WINDOW;
        while let Some(place) = left.first_from(from) {
            left.remove(place);
            from = place;
            let leaf = self.leaf(place);
            // Files that turned out to be alike meanwhile may have it.
            if !self.looked.has(place) && self.bank.may_have(&leaf.hash) {
                self.wanted.remove(place);
                self.check.add(place);
                continue;
            }
            let pieces = self.tries_pieces() && !self.plain.has(place) && leaf.len >= PIECES_FROM;
            // Old bytes that are cut elsewhere now need no list of pieces.
            if pieces && !self.guessed.has(place) && self.is_placed(place) {
                self.guessed.add(place);
                if self.neighbours(place) != Neighbours::default() {
                    self.wanted.remove(place);
                    self.check.add(place);
                    continue;
                }
            }
            if !pieces || room && self.is_placed(place) {
                self.wanted.remove(place);
                return Some((place, pieces));
            }
            // It waits for room, or for what follows it; another chunk may not need to.
            if !room && !self.plain.has_any() {
                return None;
            }
        }
        None
    }
    /// Whether chunks are asked for in pieces.
    pub(super) fn tries_pieces(&self) -> bool {
        self.based && self.useless < GIVE_UP
    }
    /// A place from which to look for something to ask a fellow for: anywhere, so that not all ask it for the same; from
    /// the window's start when the window is filling up.
    pub(super) fn start(&self, turn: u32) -> usize {
        let known = self.end - self.base;
        let scattered = turn.wrapping_mul(0x9e37_79b9) >> 8;
        (self.base + if known as usize > WINDOW / 2 { 0 } else { scattered % known.max(1) }) as usize
    }
    /// A chunk is asked of a device that has all.
    pub(super) fn comes(&mut self, place: usize) {
        self.coming.add(place);
        self.news = self.news.wrapping_add(1);
    }
    /// It is not any more, and free to be asked for.
    pub(super) fn grounded(&mut self, place: usize) {
        self.wanted.add(place);
        if self.coming.has(place) {
            // Fellows who heard that it comes would go on waiting for it.
            self.coming.remove(place);
            self.news = self.news.wrapping_add(1);
        }
    }
    /// Its pieces were of no use: it is wanted whole.
    pub(super) fn want_plain(&mut self, place: usize, useless: bool) {
        self.plain.add(place);
        self.wanted.add(place);
        self.proven &= !useless;
        self.useless = if useless { self.useless.saturating_add(1) } else { 0 };
    }
    /// Its pieces were of use.
    pub(super) fn useful(&mut self) {
        self.proven = true;
        self.useless = 0;
    }
    /// Whether it is known how far the old version of a chunk can reach: what follows it, or that nothing near does.
    fn is_placed(&self, place: usize) -> bool {
        self.ended || self.ordinal(place) + NEAR < self.end as usize || self.neighbours(place).after.is_some()
    }
    /// A place's chunk, counted from the file's start.
    fn ordinal(&self, place: usize) -> usize {
        self.base as usize + (place + WINDOW - self.base as usize % WINDOW) % WINDOW
    }
    /// The nearest chunks before and after that may be here.
    pub(super) fn neighbours(&self, place: usize) -> Neighbours {
        let at = self.ordinal(place);
        let first = (self.end as usize).saturating_sub(WINDOW).max(at.saturating_sub(NEAR));
        let offset = self.leaf(place).offset;
        let near = |o: usize| {
            let leaf = self.leaf(o % WINDOW);
            let near = Near { hash: leaf.hash, distance: leaf.offset.abs_diff(offset) };
            self.bank.may_have(&leaf.hash).then_some(near)
        };
        let before = (first..at).rev().find_map(near);
        let after = (at + 1..(self.end as usize).min(at + 1 + NEAR)).find_map(near);
        Neighbours { before, after }
    }
    /// A chunk to look for here now, and what is near it.
    pub(super) fn next_check(&mut self) -> Option<(Leaf, Neighbours)> {
        if self.checking.len() >= CHECKS {
            return None;
        }
        let place = self.check.first_from(self.base as usize % WINDOW)?;
        self.check.remove(place);
        self.checking.add(place);
        let guessed = self.guessed.has(place).then(|| self.neighbours(place));
        Some((self.leaf(place), guessed.unwrap_or_default()))
    }
    /// A chunk to look for in all files now.
    pub(super) fn next_find(&mut self) -> Option<Hash> {
        if self.finding as u32 >= CHECKS {
            return None;
        }
        let hash = core::iter::from_fn(|| self.finds.pop_front()).find(|h| !self.bank.may_have(h))?;
        self.finding += 1;
        Some(hash)
    }
    /// One was looked for.
    pub(super) fn found(&mut self) {
        self.finding = self.finding.saturating_sub(1);
    }
    /// Whether it is worth waiting for what is looked for: before the first chunk is asked for.
    pub(super) fn is_finding(&self) -> bool {
        self.base == 0 && self.arrivals == 0 && (self.finding > 0 || !self.finds.is_empty())
    }
    /// A checked chunk is what it should be, or is not.
    pub(super) fn checked(&mut self, offset: u64, good: bool) {
        let place = self.checking.iter().find(|p| self.leaf(*p).offset == offset);
        let Some(place) = place else { return };
        self.checking.remove(place);
        if good || mutant::on(Mutant::SwarmCheck) {
            self.arrived(place);
        } else {
            self.looked.add(place);
            self.wanted.add(place);
        }
    }
    /// A chunk is in the part file, verified.
    pub(super) fn arrived(&mut self, place: usize) {
        self.done.add(place);
        self.coming.remove(place);
        self.news = self.news.wrapping_add(1);
        self.arrivals = self.arrivals.wrapping_add(1);
        self.advance();
    }

    /// Whether these bytes are here, verified.
    pub(super) fn holds(&self, offset: u64, len: u32) -> bool {
        let to = offset + len as u64;
        if to <= self.passed {
            return true;
        }
        let (mut low, mut high) = (self.base, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.leaf(middle as usize % WINDOW).offset <= offset {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        // The chunk before is the last that begins no later.
        let Some(n) = low.checked_sub(1).filter(|n| *n >= self.base) else { return false };
        let leaf = self.leaf(n as usize % WINDOW);
        let here = self.done.has(n as usize % WINDOW) || mutant::on(Mutant::SwarmHolds);
        here && to <= leaf.offset + leaf.len as u64
    }
    /// Writes what is here, for a fellow.
    pub(super) fn encode_have(&self, id: u32, out: &mut [u8]) -> usize {
        let (mut here, mut coming) = ([0; WINDOW / 8], [0; WINDOW / 8]);
        let told = if mutant::on(Mutant::SwarmHolds) { self.done.or(&self.coming) } else { self.done };
        let n = told.line_up(self.base, &mut here);
        let m = self.coming.line_up(self.base, &mut coming);
        let (content, base) = (self.content, self.base);
        Have { id, content, base, here: &here[..n], coming: &coming[..m] }.encode(out)
    }
    /// Notes how far it has come; settles which chunks are this device's to get.
    pub(super) fn settle(&mut self, at: Instant, me: Option<Slot>, lost: SlotSet) {
        self.pace.note(at, self.base, self.end, self.arrivals);
        if self.fellows.share(at, me, lost) {
            self.mine = Places::NONE;
            for place in Places::range(self.base, self.end).iter() {
                if self.fellows.is_mine(&self.leaf(place).hash) {
                    self.mine.add(place);
                }
            }
        }
    }
}

/// Whether a content of this kind and size is asked for whole.
pub(super) fn is_small(size: u64) -> bool {
    size <= limits::CHUNK_MAX as u64
}
