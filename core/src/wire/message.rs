//! Messages of a tracker link. Each is encoded by postcard; the order of variants is the number on the wire, so new
//! ones go at the end. docs/PROTOCOL.md says for each who sends it, when, and what the receiver owes.

use crate::ids::{DeviceId, Epoch, FolderId, FolderSlot, PublicKey, Seq, Slot, SlotSet, Tag};
use crate::limits;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// An address a device can be dialled at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Addr {
    /// IPv4 address and port.
    V4([u8; 4], u16),
    /// IPv6 address and port.
    V6([u8; 16], u16),
}

/// The addresses of one device.
pub type Addrs = Vec<Addr, { limits::ADDRESSES }>;

/// Bits of `caps`: what a device can do.
pub mod caps {
    /// AES-256-GCM in hardware: data links to it may use it.
    pub const AES: u32 = 1;
}

/// Which roster: rosters are ordered by version, then nonce (R20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct RosterVersion {
    /// Raised by one at each change.
    pub version: u64,
    /// Random, of the tracker's boot that wrote it.
    pub nonce: u64,
}

/// An inclusive range of sequence numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeqRange {
    /// First.
    pub from: Seq,
    /// Last.
    pub to: Seq,
}

/// Ranges of one message.
pub type Ranges = Vec<SeqRange, { limits::RANGES }>;

/// A part of a sealed roster, [`crate::roster`]'s bytes cut at offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RosterPart<'a> {
    /// Which roster it is part of.
    pub of: RosterVersion,
    /// Bytes of the whole.
    pub total: u32,
    /// Where this part begins.
    pub offset: u32,
    /// The part.
    pub bytes: &'a [u8],
}

/// What a device asks of the home. Answered by [`ToPeer::Reply`] with the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request<'a> {
    /// A fresh invite. Answer: [`Answer::Invite`].
    Invite,
    /// Ends the device of that key, for ever. By its key, for a name may be a newcomer's when this is said again on a new
    /// link. Answer: done, also where it is so already.
    Revoke(PublicKey),
    /// This device links the folder of that label; made first if `make` and there is none. Answer: [`Answer::Folder`].
    Link {
        /// The label.
        label: &'a str,
        /// Whether to make it (`add`).
        make: bool,
    },
    /// This device links the home's first folder (lowest slot), or one made with this label. Answer: [`Answer::Folder`].
    LinkFirst(&'a str),
    /// This device unlinks the folder. Answer: done.
    Unlink(FolderId),
    /// The folder leaves the home: unlinked by every member. Answer: done.
    Forget(FolderId),
    /// This device leaves the home: all its folders unlinked, its key revoked. Answer: done.
    Leave,
    /// R20's override of the wait for devices, with the recovery words.
    Force(&'a str),
}

/// The answer to a [`Request`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer<'a> {
    /// It is so; the roster that says so has at least this version.
    Done(RosterVersion),
    /// An invite: its id and secret; the peer builds the code with the tracker's key and address.
    Invite {
        /// Its id.
        id: u32,
        /// Its one-time secret.
        secret: [u8; 16],
    },
    /// The folder that is linked now.
    Folder {
        /// Its id.
        id: FolderId,
        /// Its slot.
        slot: FolderSlot,
        /// Whether it was made by this request.
        made: bool,
        /// The roster that says so.
        roster: RosterVersion,
    },
    /// Not done, and why, in words for the user.
    Refused(&'a str),
    /// The tracker came up without its roster: it waits for this many devices of so many (R20).
    Waiting {
        /// Devices that have presented their roster.
        have: u8,
        /// Devices of which over half are needed.
        of: u8,
    },
}

/// From a peer to its tracker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToTracker<'a> {
    /// First on every link (R4).
    Hello {
        /// The store's tag.
        tag: Tag,
        /// The highest counter minted under it.
        counter: u64,
        /// Raised durably at each dial.
        run: u64,
        /// The port where data links are taken; 0 = none.
        port: u16,
        /// Addresses of this device's interfaces.
        addrs: Addrs,
        /// See [`caps`].
        caps: u32,
        /// The sealed roster it keeps; zero = none.
        roster: RosterVersion,
        /// Bits: 1 = this is a store that has never been told of (new tag).
        flags: u8,
        /// The name it would like, used at enrolment alone; later the roster's stands.
        name: &'a str,
    },
    /// A folder linked here: send its records from where I stand. One for each folder after [`ToTracker::Hello`],
    /// and one when a folder is linked on an open link.
    Seen {
        /// The folder.
        folder: FolderId,
        /// The epoch in which `seen` counts.
        epoch: Epoch,
        /// Every record of the folder up to this seq is in my store, durably (R16).
        seen: Seq,
    },
    /// Records: bytes of [`crate::wire::batch`]. The nth announcement of the link (from 0) is answered by the verdict
    /// of that number. Entry flags say `held` and whether it forms a pair with the next (all or nothing).
    Announce(&'a [u8]),
    /// Each row not heard in this epoch that could be sent was sent (R8).
    Told(FolderSlot),
    /// I have the content of (or applied, or durably noted if withdrawn) every current record of the folder in these ranges.
    Have {
        /// The folder.
        folder: FolderSlot,
        /// Where.
        ranges: Ranges,
        /// The store's run, durable with all this: a store whose Hello says no more is one of before (R4).
        run: u64,
    },
    /// I have it no longer: clears my bits.
    Lack {
        /// The folder.
        folder: FolderSlot,
        /// Where.
        ranges: Ranges,
    },
    /// Who has this record's content? Answered by [`ToPeer::Sources`], now and whenever it changes for a while.
    Seek {
        /// The folder.
        folder: FolderSlot,
        /// The record.
        seq: Seq,
    },
    /// I cannot reach that device: ask it to dial me.
    Unreachable(DeviceId),
    /// A part of my sealed roster, asked for by [`ToPeer::WantRoster`] or handed in unasked (R20).
    Roster(RosterPart<'a>),
    /// I want your roster: send it in parts.
    WantRoster,
    /// A request and its number, counted by the peer on this link.
    Request(u32, Request<'a>),
    /// Every 5 s when nothing else was sent.
    Ping,
}

/// How an announcement was judged. The current record is among the pushed or is carried as an entry before the verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// It is the path's record now, or was already: its seq.
    Accepted(Seq),
    /// The table's record knows more; it comes, or came, as a pushed record of this seq.
    Superseded(Seq),
    /// The table's record is concurrent, of this seq: this device resolves it.
    Conflict(Seq),
    /// That edit was withdrawn, and `held` was not said (R9a); the withdrawn entry's seq.
    Withdrawn(Seq),
    /// No room: so many records fit.
    Full(u32),
    /// The other half of the pair was not accepted; this half was not looked at.
    Pair,
    /// The folder is not this device's, or the record breaks a rule.
    Refused,
}

impl Verdict {
    /// The seq it names; 0 if none.
    pub fn seq(&self) -> Seq {
        match self {
            Verdict::Accepted(s) | Verdict::Superseded(s) | Verdict::Conflict(s) | Verdict::Withdrawn(s) => {
                *s
            }
            Verdict::Full(_) | Verdict::Pair | Verdict::Refused => Seq(0),
        }
    }
}

/// From the tracker to a peer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToPeer<'a> {
    /// The link stands; the answer to Hello.
    Welcome {
        /// The table's epoch.
        epoch: Epoch,
        /// This device's id.
        device: DeviceId,
        /// This device's slot.
        slot: Slot,
        /// The tracker's roster.
        roster: RosterVersion,
        /// How the tracker sees this device: its source address.
        seen_at: Addr,
        /// Words for status: name of the home and version of the program.
        version: &'a str,
    },
    /// R4: take a new tag (nothing has changed here) and say Hello again on a new link. `wait` = seconds to wait first
    /// (this key got one within the last 10 minutes); 0 = at once.
    NewTag {
        /// See the variant.
        wait: u32,
    },
    /// A device came, went, moved or fell behind; sent for every device once after Welcome.
    Presence {
        /// Whose.
        device: DeviceId,
        /// Whether it is linked now.
        online: bool,
        /// Records of its folders that it has not applied.
        lag: u64,
        /// See [`caps`].
        caps: u32,
        /// Where to dial it, in order of preference.
        addrs: Addrs,
    },
    /// A part of the tracker's sealed roster, on [`ToTracker::WantRoster`] or after a change.
    Roster(RosterPart<'a>),
    /// Hand your roster in, in parts.
    WantRoster,
    /// Records in seq order: bytes of [`crate::wire::batch`]. The record that a verdict speaks of is sent again right
    /// before that verdict if the stream had passed it: then its seq is below those already sent.
    Records(&'a [u8]),
    /// Everything of the folder up to `seq`, which stood when the peer's `Seen` (or its turn) came, has been sent.
    CaughtUp {
        /// The folder.
        folder: FolderSlot,
        /// Up to here.
        seq: Seq,
    },
    /// Verdicts of the announcements `first`, `first + 1`, …
    Verdicts {
        /// Number of the announcement that the first verdict answers.
        first: u32,
        /// In order.
        verdicts: Vec<Verdict, 64>,
    },
    /// Tombstones that every member has applied and the table has dropped (R10).
    Forget {
        /// The folder.
        folder: FolderSlot,
        /// Which.
        ranges: Ranges,
    },
    /// Who has, and who seeks, a record's content.
    Sources {
        /// The folder.
        folder: FolderSlot,
        /// The record.
        seq: Seq,
        /// Who has all of it.
        holders: SlotSet,
        /// Who is fetching it now.
        seekers: SlotSet,
    },
    /// That device cannot reach you: dial it.
    ConnectBack(DeviceId),
    /// The answer to a request of that number.
    Reply(u32, Answer<'a>),
    /// How full the table is: records it holds, and about how many fit.
    Room {
        /// Records, tombstones too.
        used: u32,
        /// How many fit.
        of: u32,
    },
    /// A device enrolled or was revoked: shown on every device.
    Notice(&'a str),
    /// Answer to a ping.
    Pong,
    /// Every record up to this seq, of each folder that had its [`ToPeer::CaughtUp`] on this link, was sent on the link
    /// or accepted from this peer (an accepted record need not be sent back to its sender): raises `seen` to it.
    Standing(Seq),
}

/// What an invite, once used, told the joiner: sent to a fresh device before Welcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Enrolled {
    /// The new device's key, as the tracker saw it.
    pub key: PublicKey,
    /// Its id.
    pub device: DeviceId,
}

/// Encodes a message into `out`; its length. `None` if it does not fit: then the caller built too much, a bug.
pub fn encode<T: Serialize>(message: &T, out: &mut [u8]) -> Option<usize> {
    postcard::to_slice(message, out).ok().map(|s| s.len())
}

/// Decodes one message that must fill `frame` wholly.
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes::<T>(frame) {
        Ok((m, [])) => Some(m),
        _ => None,
    }
}
