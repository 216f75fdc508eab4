//! One open link: who is behind it, what it is owed, and how far its streams have come. Everything here is a cursor or
//! a mark; the bytes are made when the driver asks for them.

use crate::ids::{Epoch, FolderId, FolderSlot, InviteId, LinkId, PublicKey, Seq, Slot, SlotSet};
use crate::limits;
use crate::time::Instant;
use crate::wire::message::{Addr, RosterVersion, Verdict};
use heapless::Vec;

/// A set of folder slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FolderSet([u64; limits::FOLDERS / 64]);

impl FolderSet {
    pub(super) const EMPTY: FolderSet = FolderSet([0; limits::FOLDERS / 64]);
    pub(super) fn has(&self, f: FolderSlot) -> bool {
        self.0[f.0 as usize / 64] >> (f.0 % 64) & 1 != 0
    }
    pub(super) fn add(&mut self, f: FolderSlot) {
        self.0[f.0 as usize / 64] |= 1 << (f.0 % 64);
    }
    pub(super) fn remove(&mut self, f: FolderSlot) {
        self.0[f.0 as usize / 64] &= !(1 << (f.0 % 64));
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; limits::FOLDERS / 64]
    }
    pub(super) fn iter(self) -> impl Iterator<Item = FolderSlot> {
        (0..=255).map(FolderSlot).filter(move |f| self.has(*f))
    }
}

/// How far a link has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// No link has this place.
    Free,
    /// Open, nothing heard yet that counts.
    Opened,
    /// It is to hand its roster in before anything else is read (R20).
    Presenting,
    /// A device of the home said a Hello that stands.
    Live(Slot),
    /// Nothing more is read; what is owed is sent, then the link ends.
    Closing,
    /// The driver was asked to hang up, or will be.
    Dead,
}

/// Marks of single messages that are owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Owed {
    pub(super) welcome: bool,
    pub(super) new_tag: Option<u32>,
    pub(super) want_roster: bool,
    pub(super) pong: bool,
    pub(super) room: bool,
    /// Where the next part of the roster begins, and of which roster.
    pub(super) roster: Option<(RosterVersion, usize)>,
}

/// The answer to a request, before it is words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    Done(RosterVersion),
    Invite(InviteId, [u8; 16]),
    Folder { id: FolderId, slot: FolderSlot, made: bool, roster: RosterVersion },
    Refused(&'static str),
    Waiting { have: u8, of: u8 },
}

/// Seqs whose holder bits a device asked to set or clear, walked in steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    pub(super) folder: FolderSlot,
    /// The last seq done.
    pub(super) after: Seq,
    /// The last to do.
    pub(super) to: Seq,
    pub(super) held: bool,
}

/// Claims waiting on one link; beyond it they are walked while they are read.
pub(super) const CLAIMS: usize = 16;
/// Replies waiting on one link; more is a peer that does not read.
pub(super) const REPLIES: usize = 8;

/// How far the records went out. Two cursors over the one order of acceptance: `live`, at or near the tail, for the
/// folders that have been brought up to it, and `back` for those that have not; folders in `behind` are sent by `back`
/// alone, so that within a folder records go out in seq order. When `back` meets `live`, they all are live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) live: Seq,
    pub(super) back: Seq,
    pub(super) joined: FolderSet,
    pub(super) behind: FolderSet,
    /// Of each folder behind: what the device said it has.
    pub(super) seen: [Seq; limits::FOLDERS],
    /// Folders whose `CaughtUp` is still owed.
    pub(super) owes: FolderSet,
    /// Of those, the ones whose turn it is.
    pub(super) turn: FolderSet,
    /// They are caught up when everything up to here is sent.
    pub(super) target: Seq,
    /// Whether something was not sent because the peer itself had announced it: then it is told where it stands.
    pub(super) skipped: bool,
}

impl Stream {
    pub(super) const NEW: Stream = Stream {
        live: Seq(0),
        back: Seq(0),
        joined: FolderSet::EMPTY,
        behind: FolderSet::EMPTY,
        seen: [Seq(0); limits::FOLDERS],
        owes: FolderSet::EMPTY,
        turn: FolderSet::EMPTY,
        target: Seq(0),
        skipped: false,
    };

    /// Starts (or starts again) to send a folder from behind `seen`.
    pub(super) fn join(&mut self, f: FolderSlot, seen: Seq) {
        if self.behind.is_empty() {
            self.back = seen;
        } else if seen < self.back {
            let from = self.back;
            self.behind.iter().for_each(|b| self.seen[b.0 as usize] = self.seen[b.0 as usize].max(from));
            self.back = seen;
        }
        self.joined.add(f);
        self.behind.add(f);
        self.seen[f.0 as usize] = seen;
        self.owes.add(f);
        self.turn.remove(f);
        self.meet();
    }
    /// Stops sending a folder.
    pub(super) fn leave(&mut self, f: FolderSlot) {
        self.joined.remove(f);
        self.behind.remove(f);
        self.owes.remove(f);
        self.turn.remove(f);
    }
    /// Joins the two cursors where they have met.
    pub(super) fn meet(&mut self) {
        if self.back >= self.live {
            self.behind = FolderSet::EMPTY;
        }
    }
    /// Up to where a folder's records were sent.
    pub(super) fn sent(&self, f: FolderSlot) -> Seq {
        if self.behind.has(f) { self.back.max(self.seen[f.0 as usize]) } else { self.live }
    }
}

/// Verdicts not yet sent, in the order of their announcements.
#[derive(Clone, Debug)]
pub(super) struct Verdicts {
    ring: [u64; limits::ANNOUNCE_WINDOW],
    /// Number of the oldest that waits.
    pub(super) first: u32,
    /// How many wait.
    pub(super) len: usize,
}

impl Verdicts {
    const NEW: Verdicts = Verdicts { ring: [0; limits::ANNOUNCE_WINDOW], first: 0, len: 0 };

    /// How many more may come.
    pub(super) fn room(&self) -> usize {
        limits::ANNOUNCE_WINDOW - self.len
    }
    pub(super) fn push(&mut self, v: Verdict) {
        assert!(self.len < limits::ANNOUNCE_WINDOW, "the window was checked");
        let (kind, n) = match v {
            Verdict::Accepted(s) => (0, s.0),
            Verdict::Superseded(s) => (1, s.0),
            Verdict::Conflict(s) => (2, s.0),
            Verdict::Withdrawn(s) => (3, s.0),
            Verdict::Full(n) => (4, n.into()),
            Verdict::Pair => (5, 0),
            Verdict::Refused => (6, 0),
        };
        let at = (self.first as usize).wrapping_add(self.len) % limits::ANNOUNCE_WINDOW;
        self.ring[at] = kind << 56 | n;
        self.len += 1;
    }
    /// The nth that waits.
    pub(super) fn get(&self, n: usize) -> Option<Verdict> {
        if n >= self.len {
            return None;
        }
        let at = (self.first as usize).wrapping_add(n) % limits::ANNOUNCE_WINDOW;
        let (kind, n) = (self.ring[at] >> 56, self.ring[at] & ((1 << 56) - 1));
        Some(match kind {
            0 => Verdict::Accepted(Seq(n)),
            1 => Verdict::Superseded(Seq(n)),
            2 => Verdict::Conflict(Seq(n)),
            3 => Verdict::Withdrawn(Seq(n)),
            4 => Verdict::Full(n as u32),
            5 => Verdict::Pair,
            _ => Verdict::Refused,
        })
    }
    /// The first `n` were sent.
    pub(super) fn sent(&mut self, n: usize) {
        self.first = self.first.wrapping_add(n as u32);
        self.len -= n;
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) state: State,
    pub(super) link: LinkId,
    pub(super) key: PublicKey,
    pub(super) invite: Option<InviteId>,
    pub(super) from: Addr,
    pub(super) opened: Instant,
    pub(super) heard: Instant,
    pub(super) hang: bool,
    pub(super) owed: Owed,
    pub(super) presence: SlotSet,
    pub(super) connect_back: SlotSet,
    /// Lines of news told so far, and removals forgotten so far.
    pub(super) news: u32,
    pub(super) forgot: u32,
    pub(super) replies: Vec<(u32, Reply), REPLIES>,
    pub(super) claims: Vec<Claim, CLAIMS>,
    /// Verdicts at the front whose records were sent again already.
    pub(super) shown: usize,
    pub(super) verdicts: Verdicts,
    pub(super) stream: Stream,
}

const _: () = assert!(limits::ANNOUNCE_WINDOW.is_power_of_two(), "so that numbers may wrap");
const _: () = assert!(core::mem::size_of::<Session>() <= 8 * 1024, "a session's budget");

impl Session {
    pub(super) const FREE: Session = Session {
        state: State::Free,
        link: LinkId(0),
        key: PublicKey([0; 32]),
        invite: None,
        from: Addr::V4([0; 4], 0),
        opened: Instant(0),
        heard: Instant(0),
        hang: false,
        owed: Owed {
            welcome: false,
            new_tag: None,
            want_roster: false,
            pong: false,
            room: false,
            roster: None,
        },
        presence: SlotSet(0),
        connect_back: SlotSet(0),
        news: 0,
        forgot: 0,
        replies: Vec::new(),
        claims: Vec::new(),
        shown: 0,
        verdicts: Verdicts::NEW,
        stream: Stream::NEW,
    };

    /// The slot of a device whose Hello stands.
    pub(super) fn slot(&self) -> Option<Slot> {
        match self.state {
            State::Live(slot) => Some(slot),
            _ => None,
        }
    }
    /// Ends it at the next look, whatever is owed.
    pub(super) fn kill(&mut self) {
        if self.state != State::Free && self.state != State::Dead {
            self.state = State::Dead;
            self.hang = true;
        }
    }
    /// What `seen` of a Hello counts for in this epoch.
    pub(super) fn seen_in(epoch: Epoch, tail: Seq, theirs: Epoch, seen: Seq) -> Seq {
        if theirs == epoch && seen <= tail { seen } else { Seq(0) }
    }
}
