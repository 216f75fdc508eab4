//! What the download machine is told, what it says, and what it is lent.

use super::super::message::{Ask, Ranges, SHORT_BYTES};
use crate::content::{Entry, Hash, Leaf, Neighbours, Root};
use crate::ids::{ContentId, Slot, SlotSet, Ticket};
use crate::peer::Cause;
use crate::record::Kind;

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// Names the answer.
    pub ticket: Ticket,
    /// File or symlink.
    pub kind: Kind,
    /// The content.
    pub content: ContentId,
    /// Its bytes.
    pub size: u64,
    /// Below this offset the part file may hold right bytes from an earlier try; 0 = it is new.
    pub present: u64,
    /// Devices that may have it.
    pub from: SlotSet,
    /// Devices that seek it, too: of use for a large one alone.
    pub seekers: SlotSet,
    /// Whether an older version is here: what changed in a chunk is then asked for in pieces.
    pub based: bool,
}

/// How a body is to be checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The whole content: hashed as the kind wants it, it has that id.
    Whole(Kind, ContentId),
    /// A chunk of that name.
    Chunk(Hash),
}

/// What the answer to an ask is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expect {
    /// For which fetch.
    pub ticket: Ticket,
    /// Where it belongs in the file.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
    /// How it is checked.
    pub check: Check,
    /// The answer is not the whole, but its missing parts, of so many bytes: what was put together at
    /// [`Draft::Missing`] is filled with them, then checked.
    pub missing: Option<u32>,
}

impl Expect {
    /// Bytes that the answer has.
    pub fn coming(&self) -> u32 {
        self.missing.unwrap_or(self.len)
    }
}

/// A chunk, or small content, whose pieces were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piecemeal {
    /// What it will be when it is put together.
    pub expect: Expect,
    /// Chunks near it that this device has somewhere: they say where its old version stood
    /// ([`crate::content::Known::around`]).
    pub neighbours: Neighbours,
}

/// What could be made of a list of pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Draft {
    /// All of it was here, and this became of it.
    Whole(Body),
    /// Put together but for these parts; the driver keeps it until the ask for them ends.
    Missing(Ranges),
    /// Too little is known of it, or the list is wrong: ask for the whole.
    Useless,
}

/// What this device has already of a large content, in other files or older versions; made by the driver, kept for the
/// length of the fetch. Nothing that it says is believed unchecked.
pub trait Bank {
    /// The content's root, if an earlier try has come so far.
    fn root(&self) -> Option<Root>;
    /// Writes the bytes of that node, which in this content begins at `offset`, to `out` ([`NODE_BYTES`]); how many they
    /// are.
    fn node(&self, level: u8, offset: u64, hash: &Hash, out: &mut [u8]) -> Option<usize>;
    /// The entry that nodes of that level have under this short name.
    fn entry(&self, level: u8, name: [u8; SHORT_BYTES]) -> Option<Entry>;
    /// Whether a chunk of that name may be here. It is looked for with [`Effect::Check`]. A file that
    /// [`Effect::Find`] finds is known from then on.
    fn may_have(&self, chunk: &Hash) -> bool;
    /// Whether it knows nothing at all, so that asking for short nodes is a waste.
    fn is_empty(&self) -> bool;
    /// The content's root is this, verified.
    fn rooted(&self, root: &Root);
    /// The next node of the content is this, verified: of that level, from `offset` on. Those of level 1 are the flat
    /// list of its chunks. What was told so is served to fellows.
    fn listed(&self, level: u8, offset: u64, node: &[u8]);
}

/// What became of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// It is what it should be, and is written.
    Good,
    /// It is not.
    Bad,
    /// It is, but could not be written: this errno.
    Unwritten(i32),
}

/// What a large content's fetch is lent. `B` is memory: [`super::WALK_MEMORY`] bytes for the walk, and
/// [`super::WINDOW_MEMORY`] for the chunks that it has come to.
pub struct Lent<B, K> {
    /// For the walk.
    pub walk: B,
    /// For the chunks.
    pub window: B,
    /// What is here of the content.
    pub bank: K,
}

/// What the driver is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send this to that device, on its open link.
    Ask(Slot, Ask),
    /// Reach that device: [`Swarm::handle_open`] or [`Swarm::handle_unreachable`].
    Dial(Slot),
    /// Its link is dead: close it.
    Hang(Slot),
    /// See whether the part file holds this chunk (a hole is a chunk of zeros), else whether the bank has it, by its name
    /// or where its neighbours say ([`crate::content::Known::guesses`]), and write it: [`Swarm::handle_checked`].
    Check(Ticket, Leaf, Neighbours),
    /// See whether any file of this device holds a chunk of that name: [`Swarm::handle_found`] when the bank knows it,
    /// or none was found.
    ///
    /// [`Swarm::handle_found`]: super::Swarm::handle_found
    Find(Ticket, Hash),
    /// The fetch is complete and verified.
    Finished(Ticket),
    /// It failed.
    Failed(Ticket, Cause),
    /// That device sent something that this content does not hold.
    Bad(Slot, ContentId),
    /// Tell that device what is here of that content, or (true) that all of it is: [`Swarm::encode_have`] writes the
    /// message; [`Swarm::handle_unsaid`] if it cannot go out now.
    ///
    /// [`Swarm::encode_have`]: super::Swarm::encode_have
    /// [`Swarm::handle_unsaid`]: super::Swarm::handle_unsaid
    Have(Slot, ContentId, bool),
}
