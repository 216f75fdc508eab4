//! Contents that are being fetched.

use crate::content::{Leaf, Root, Step, Walker, Want, ZERO_CHUNK};
use crate::ids::{ContentId, SlotSet, Ticket};
use crate::limits;
use crate::record::Kind;

/// Chunks of one large content that are known and not yet here (or wait for one before them).
pub(super) const WINDOW: usize = 512;
/// Chunks of a part file that are being checked at once.
const CHECKS: u32 = 4;

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

/// A content whose tree is walked, a window of chunks at a time.
pub(super) struct Large<B> {
    pub ticket: Ticket,
    pub content: ContentId,
    pub size: u64,
    pub whence: Whence,
    pub stage: Stage<B>,
    /// Root or node that is asked for.
    pub flight: Option<u32>,
    /// The node that the walk needs.
    pub want: Option<Want>,
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
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Large<B> {
    pub(super) fn new(
        ticket: Ticket,
        content: ContentId,
        size: u64,
        present: u64,
        from: SlotSet,
        memory: B,
    ) -> Large<B> {
        Large {
            ticket,
            content,
            size,
            whence: Whence::new(from),
            stage: Stage::Rootless(memory),
            flight: None,
            want: None,
            present,
            base: 0,
            end: 0,
            ended: false,
            leaves: [Leaf::default(); WINDOW],
            wanted: Places::default(),
            check: Places::default(),
            checking: Places::default(),
            done: Places::default(),
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

    /// Takes the node that is needed, if these are its bytes.
    pub(super) fn take_node(&mut self, bytes: &[u8]) -> bool {
        let Stage::Walking(walker) = &mut self.stage else { return false };
        if self.want.is_none() || walker.feed(bytes).is_err() {
            return false;
        }
        self.want = None;
        self.advance();
        true
    }

    /// Moves the window on, and walks until it is full or a node is needed.
    fn advance(&mut self) {
        while self.base < self.end && self.done.has(self.base as usize % WINDOW) {
            self.done.remove(self.base as usize % WINDOW);
            self.base += 1;
        }
        let Stage::Walking(walker) = &mut self.stage else { return };
        while !self.ended && self.want.is_none() && ((self.end - self.base) as usize) < WINDOW {
            match walker.step() {
                Step::Need(want) => self.want = Some(want),
                Step::End => self.ended = true,
                Step::Leaf(leaf) => {
                    let place = self.end as usize % WINDOW;
                    self.leaves[place] = leaf;
                    // What is zeros need not travel: a hole is as good.
                    let known = leaf.offset < self.present || leaf.hash == ZERO_CHUNK;
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
    /// The next chunk to ask for.
    pub(super) fn next_wanted(&self) -> Option<usize> {
        self.wanted.first_from(self.base as usize % WINDOW)
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
            self.wanted.add(place);
        }
    }
    /// A chunk is in the part file, verified.
    pub(super) fn arrived(&mut self, place: usize) {
        self.done.add(place);
        self.advance();
    }
}

/// Whether a content of this kind and size is asked for whole.
pub(super) fn is_small(size: u64) -> bool {
    size <= limits::CHUNK_MAX as u64
}
