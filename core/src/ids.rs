//! The names of things: small copyable identifiers, each a type of its own so that they cannot be mixed up.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);
    };
}

id!(/// Stands for one store of one device in version vectors: random, minted with the store (R4). 0 is no tag.
    Tag(u32));
id!(/// A device's number in its home, given by the tracker at enrolment and never used again. 0 is no device.
    DeviceId(u32));
id!(/// A device's place in the roster (0..64): what holder and member bits count. Reused after revocation.
    Slot(u8));
id!(/// A folder of the home: random, never reused.
    FolderId(u64));
id!(/// A folder's place in the roster and in the tracker's table (0..=255): what records on the wire name.
    FolderSlot(u8));
id!(/// A folder as one device's store numbers it. The high bit marks that folder's trash ([`Folder::trash`]).
    Folder(u16));
id!(/// A row of a device's store: one path of one folder. Never reused within a store.
    Row(u64));
id!(/// Drawn whenever a tracker's table starts empty; sequence numbers count within it. 0 is "never heard".
    Epoch(u64));
id!(/// Order of acceptance at the tracker within an epoch (48 bits), from 1.
    Seq(u64));
id!(/// A link as its driver numbers it.
    LinkId(u32));
id!(/// Names one slow piece of work between an effect and its outcome.
    Ticket(u32));
id!(/// The id of an invite, in clear before the handshake. 0 is none.
    InviteId(u32));

/// So many power cuts at one path are told apart by tags that follow from a store's own.
const CUTS: usize = 4;

impl Tag {
    /// The tag under which its store goes on at a path where a power cut took what it had announced there under this one (R13).
    pub const fn after_loss(self) -> Tag {
        let mixed = (self.0 ^ self.0 >> 15).wrapping_mul(0x2c1b_3c6d).rotate_left(13) ^ 0x5bd1_e995;
        Tag(if mixed == 0 { 1 } else { mixed })
    }
    /// The tag and those that follow it ([`Tag::after_loss`]): all that its store has edits of under one counter, but for the
    /// tags drawn behind the last of them, each for one edit alone, upon which the store takes another.
    pub fn line(self) -> impl Iterator<Item = Tag> {
        core::iter::successors(Some(self), |tag| Some(tag.after_loss())).take(1 + CUTS)
    }
}

impl Folder {
    /// The folder that holds this folder's trash: its rows are removed or displaced contents.
    pub const fn trash(self) -> Folder {
        Folder(self.0 | 0x8000)
    }
    /// Whether this is a trash.
    pub const fn is_trash(self) -> bool {
        self.0 & 0x8000 != 0
    }
    /// The folder whose trash this is, or itself.
    pub const fn live(self) -> Folder {
        Folder(self.0 & 0x7fff)
    }
}

/// An X25519 public key: who a device or tracker is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

/// Names a file's content wholly: hash of (root of the manifest tree, size). Zero where there is no content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ContentId(pub [u8; 32]);

impl ContentId {
    /// No content: directories and never-known things.
    pub const NONE: ContentId = ContentId([0; 32]);
}

impl core::fmt::Debug for ContentId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "c:{:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// A set of roster slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct SlotSet(pub u64);

impl SlotSet {
    /// The set with one slot.
    pub const fn one(slot: Slot) -> SlotSet {
        assert!(slot.0 < 64);
        SlotSet(1 << slot.0)
    }
    /// Whether `slot` is in the set.
    pub const fn has(self, slot: Slot) -> bool {
        slot.0 < 64 && self.0 >> slot.0 & 1 != 0
    }
    /// Adds `slot`.
    pub const fn add(&mut self, slot: Slot) {
        self.0 |= SlotSet::one(slot).0;
    }
    /// Takes `slot` away.
    pub const fn remove(&mut self, slot: Slot) {
        self.0 &= !SlotSet::one(slot).0;
    }
    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// How many are in it.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }
    /// Whether every slot of `other` is in it.
    pub const fn covers(self, other: SlotSet) -> bool {
        other.0 & !self.0 == 0
    }
    /// The slots, ascending.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (0..64).map(Slot).filter(move |s| self.has(*s))
    }
}
