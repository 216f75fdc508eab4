//! Contents that are being fetched.

use super::super::message::{SHORT_BYTES, Wants};
use super::types::{Bank, Fetch};
use crate::content::{Leaf, NODE_BYTES, NODE_MAX, Near, Root, Step, Walker, Want, ZERO_CHUNK, entry_bytes};
use crate::ids::{ContentId, SlotSet, Ticket};
use crate::limits;
use crate::record::Kind;

/// Chunks of one large content that are known and not yet here (or wait for one before them).
pub(super) const WINDOW: usize = 512;
/// Chunks of a part file that are being checked at once.
const CHECKS: u32 = 4;
/// Chunks before and after one among which a neighbour is looked for.
const NEAR: usize = 16;
/// A chunk from so many bytes on is worth asking for in pieces.
pub(super) const PIECES_FROM: u32 = 4096;
/// So many chunks in a row whose pieces were of no use end the tries. Until some were of use, one is tried at a time: a
/// file that was written anew is soon asked for whole.
const GIVE_UP: u8 = 4;

const _: () = assert!(WINDOW <= 4096 && WINDOW.is_power_of_two());

/// Who may have a content, and who turned out not to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Whence {
    from: SlotSet,
    not: SlotSet,
    /// A source sent what it is not.
    pub lied: bool,
}

impl Whence {
    pub(super) fn new(from: SlotSet) -> Whence {
        Whence { from, ..Whence::default() }
    }
    /// Who is left.
    pub(super) fn left(&self) -> SlotSet {
        SlotSet(self.from.0 & !self.not.0)
    }
    /// Takes a device off for good.
    pub(super) fn drop(&mut self, slot: crate::ids::Slot) {
        self.not.add(slot);
    }
    /// Others are said to have it.
    pub(super) fn replace(&mut self, from: SlotSet) {
        self.from = from;
    }
}

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

/// A set of places in the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Places([u64; WINDOW / 64]);

impl Places {
    pub(super) fn has(&self, p: usize) -> bool {
        self.0[p / 64] >> (p % 64) & 1 != 0
    }
    pub(super) fn add(&mut self, p: usize) {
        self.0[p / 64] |= 1 << (p % 64);
    }
    pub(super) fn remove(&mut self, p: usize) {
        self.0[p / 64] &= !(1 << (p % 64));
    }
    fn has_any(&self) -> bool {
        self.0.iter().any(|w| *w != 0)
    }
    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }
    /// The first one from `start` on, around the end.
    pub(super) fn first_from(&self, start: usize) -> Option<usize> {
        let words = self.0.len();
        let (word, bit) = (start / 64, start % 64);
        (0..=words).find_map(|i| {
            let w = (word + i) % words;
            let mask = match i {
                0 => !0 << bit,
                i if i == words => !(!0 << bit),
                _ => !0,
            };
            let left = self.0[w] & mask;
            (left != 0).then(|| w * 64 + left.trailing_zeros() as usize)
        })
    }
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
    draft: [u8; NODE_BYTES],
    count: u16,
    /// What is here in other files.
    bank: K,
    /// Whether an older version is; whether the last pieces were of use, and how many in a row were not; lists of pieces
    /// that are asked for.
    based: bool,
    proven: bool,
    useless: u8,
    pub lists: u8,
    /// Below this the part file may hold bytes from an earlier try.
    present: u64,
    /// Chunks before this are here; before `end` they are known. Counted from the file's start.
    base: u32,
    end: u32,
    ended: bool,
    leaves: [Leaf; WINDOW],
    /// To be asked for; to be checked in the part file; being checked; here.
    pub wanted: Places,
    check: Places,
    checking: Places,
    done: Places,
    /// Looked for here, in vain; to be asked for whole, not in pieces.
    looked: Places,
    plain: Places,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, K: Bank> Large<B, K> {
    pub(super) fn new(fetch: &Fetch, memory: B, bank: K) -> Large<B, K> {
        Large {
            ticket: fetch.ticket,
            content: fetch.content,
            size: fetch.size,
            whence: Whence::new(fetch.from),
            stage: Stage::Rootless(memory),
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
            leaves: [Leaf::default(); WINDOW],
            wanted: Places::default(),
            check: Places::default(),
            checking: Places::default(),
            done: Places::default(),
            looked: Places::default(),
            plain: Places::default(),
        }
    }

    /// Takes a root, if it is this content's.
    pub(super) fn take_root(&mut self, root: Root) -> bool {
        let fits = root.is_valid() && root.size == self.size && root.file_id() == self.content;
        if !fits || !matches!(self.stage, Stage::Rootless(_)) {
            return false;
        }
        let Stage::Rootless(memory) = core::mem::replace(&mut self.stage, Stage::Moving) else {
            unreachable!("looked at just now")
        };
        let walker = Walker::new(root, memory).expect("a valid root");
        self.stage = Stage::Walking(walker);
        self.advance();
        true
    }

    /// Takes what was asked for of the node that is needed. False if it is wrong and nothing but its source can be at
    /// fault; else the node may have to be asked for once more, whole.
    pub(super) fn take_node(&mut self, bytes: &[u8]) -> bool {
        let Some(want) = self.want else { return false };
        match self.form {
            Form::Full => self.feed(&want, bytes),
            Form::Short => false,
            Form::Some(wants) => {
                let mut draft = self.draft;
                let whole = fill(&mut draft, want.level, self.count as usize, &wants, bytes);
                // A short name may stand for another entry than the one that is known here.
                if whole.is_none_or(|n| !self.feed(&want, &draft[..n])) {
                    self.form = Form::Full;
                }
                true
            }
        }
    }
    fn feed(&mut self, want: &Want, bytes: &[u8]) -> bool {
        let Stage::Walking(walker) = &mut self.stage else { return false };
        if walker.feed(bytes).is_err() {
            return false;
        }
        if want.level == 1 {
            self.bank.listed(bytes);
        }
        self.want = None;
        self.advance();
        true
    }
    /// Takes the short names of the node that is needed.
    pub(super) fn take_short(&mut self, names: &[u8]) {
        let Some(want) = self.want else { return };
        if self.form != Form::Short {
            return;
        }
        self.form = Form::Full;
        let (names, rest) = names.as_chunks::<SHORT_BYTES>();
        if !rest.is_empty() || names.is_empty() || names.len() > NODE_MAX {
            return;
        }
        let width = entry_bytes(want.level);
        let mut wants: Wants = [0; NODE_MAX / 8];
        let mut missing = 0;
        for (i, name) in names.iter().enumerate() {
            match self.bank.entry(want.level, *name) {
                Some(entry) => _ = entry.encode(want.level, &mut self.draft[i * width..]),
                None => {
                    wants[i / 8] |= 1 << (i % 8);
                    missing += 1;
                }
            }
        }
        self.count = names.len() as u16;
        if missing == 0 {
            let draft = self.draft;
            self.feed(&want, &draft[..names.len() * width]);
        } else if missing < names.len() {
            self.form = Form::Some(wants);
        }
    }

    /// Moves the window on, and walks until it is full or a node is needed that is not known here.
    fn advance(&mut self) {
        while self.base < self.end && self.done.has(self.base as usize % WINDOW) {
            self.done.remove(self.base as usize % WINDOW);
            self.base += 1;
        }
        let Stage::Walking(walker) = &mut self.stage else { return };
        while !self.ended && self.want.is_none() && ((self.end - self.base) as usize) < WINDOW {
            match walker.step() {
                Step::Need(want) => {
                    let known = self.bank.node(want.level, &want.hash, &mut self.draft);
                    let bytes = known.map(|n| &self.draft[..n]).filter(|b| walker.feed(b).is_ok());
                    match bytes {
                        Some(bytes) if want.level == 1 => self.bank.listed(bytes),
                        Some(_) => {}
                        None => {
                            self.want = Some(want);
                            self.form = if self.bank.is_empty() { Form::Full } else { Form::Short };
                        }
                    }
                }
                Step::End => self.ended = true,
                Step::Leaf(leaf) => {
                    let place = self.end as usize % WINDOW;
                    self.leaves[place] = leaf;
                    self.looked.remove(place);
                    self.plain.remove(place);
                    // What is zeros need not travel: a hole is as good.
                    let known = leaf.offset < self.present
                        || leaf.hash == ZERO_CHUNK
                        || self.bank.may_have(&leaf.hash);
                    if known {
                        self.check.add(place)
                    } else {
                        self.wanted.add(place)
                    }
                    self.end += 1;
                }
            }
        }
    }

    /// Whether every chunk is here.
    pub(super) fn is_complete(&self) -> bool {
        self.ended && self.base == self.end
    }
    pub(super) fn leaf(&self, place: usize) -> Leaf {
        self.leaves[place]
    }
    /// The next chunk to ask for, which from then on is not wanted; and whether in pieces, if there is room for some.
    pub(super) fn next_wanted(&mut self, room: bool) -> Option<(usize, bool)> {
        let room = room && (self.proven || self.lists == 0);
        let mut from = self.base as usize % WINDOW;
        for _ in 0..WINDOW {
            let place = self.wanted.first_from(from)?;
            let hash = self.leaves[place].hash;
            // Files that turned out to be alike meanwhile may have it.
            if !self.looked.has(place) && self.bank.may_have(&hash) {
                self.wanted.remove(place);
                self.check.add(place);
                continue;
            }
            let pieces = self.based
                && self.useless < GIVE_UP
                && !self.plain.has(place)
                && self.leaves[place].len >= PIECES_FROM;
            if !pieces || room && self.is_placed(place) {
                self.wanted.remove(place);
                return Some((place, pieces));
            }
            // It waits for room, or for what follows it; another chunk may not need to.
            from = (place + 1) % WINDOW;
            if !room && !self.plain.has_any() {
                return None;
            }
        }
        None
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
        self.ended || self.ordinal(place) + NEAR < self.end as usize || self.neighbours(place).1.is_some()
    }
    /// A place's chunk, counted from the file's start.
    fn ordinal(&self, place: usize) -> usize {
        self.base as usize + (place + WINDOW - self.base as usize % WINDOW) % WINDOW
    }
    /// The nearest chunks before and after that may be here.
    pub(super) fn neighbours(&self, place: usize) -> (Option<Near>, Option<Near>) {
        let at = self.ordinal(place);
        let first = (self.end as usize).saturating_sub(WINDOW).max(at.saturating_sub(NEAR));
        let offset = self.leaves[place].offset;
        let near = |o: usize| {
            let leaf = &self.leaves[o % WINDOW];
            let near = Near { hash: leaf.hash, distance: leaf.offset.abs_diff(offset) };
            self.bank.may_have(&leaf.hash).then_some(near)
        };
        let before = (first..at).rev().find_map(near);
        let after = (at + 1..(self.end as usize).min(at + 1 + NEAR)).find_map(near);
        (before, after)
    }
    /// A chunk of the part file to check now.
    pub(super) fn next_check(&mut self) -> Option<Leaf> {
        if self.checking.len() >= CHECKS {
            return None;
        }
        let place = self.check.first_from(self.base as usize % WINDOW)?;
        self.check.remove(place);
        self.checking.add(place);
        Some(self.leaves[place])
    }
    /// A checked chunk is what it should be, or is not.
    pub(super) fn checked(&mut self, offset: u64, good: bool) {
        let place = (0..WINDOW).find(|p| self.checking.has(*p) && self.leaves[*p].offset == offset);
        let Some(place) = place else { return };
        self.checking.remove(place);
        if good {
            self.arrived(place);
        } else {
            self.looked.add(place);
            self.wanted.add(place);
        }
    }
    /// A chunk is in the part file, verified.
    pub(super) fn arrived(&mut self, place: usize) {
        self.done.add(place);
        self.advance();
    }
}

/// Puts entries that came into the places of a node that are empty; the node's bytes if they are as many.
fn fill(draft: &mut [u8], level: u8, count: usize, wants: &Wants, bytes: &[u8]) -> Option<usize> {
    let width = entry_bytes(level);
    let mut entries = bytes.chunks_exact(width);
    for i in (0..count).filter(|i| wants[i / 8] >> (i % 8) & 1 != 0) {
        draft[i * width..(i + 1) * width].copy_from_slice(entries.next()?);
    }
    (entries.next().is_none() && entries.remainder().is_empty()).then_some(count * width)
}

/// Whether a content of this kind and size is asked for whole.
pub(super) fn is_small(size: u64) -> bool {
    size <= limits::CHUNK_MAX as u64
}
