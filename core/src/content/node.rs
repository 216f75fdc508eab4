//! Nodes: their bytes, where they end, and what is checked of one that comes from elsewhere.

use super::id::{Hash, node_id};
use super::{LEVELS, NODE_MAX, NODE_MIN};
use crate::limits;

/// Bytes of an entry of a node of level 1, and of the flat list of chunks: hash, then length (u32, little-endian).
pub const LEAF_BYTES: usize = 36;
/// Bytes of an entry of higher levels: hash, then length (u64, little-endian).
const INNER_BYTES: usize = 40;
/// Bytes of the longest node.
pub const NODE_BYTES: usize = NODE_MAX * INNER_BYTES;

/// Bytes of one entry of a node of `level`.
pub const fn entry_bytes(level: u8) -> usize {
    if level <= 1 { LEAF_BYTES } else { INNER_BYTES }
}

/// One chunk or node as its parent lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Its name.
    pub hash: Hash,
    /// Bytes of the file under it.
    pub len: u64,
}

impl Entry {
    /// Writes the entry as a node of `level` holds it; the bytes written ([`entry_bytes`]).
    pub fn encode(&self, level: u8, out: &mut [u8]) -> usize {
        out[..32].copy_from_slice(&self.hash.0);
        let n = entry_bytes(level);
        debug_assert!(n == INNER_BYTES || self.len <= u32::MAX as u64);
        out[32..n].copy_from_slice(&self.len.to_le_bytes()[..n - 32]);
        n
    }

    /// Reads an entry of exactly its level's length.
    pub(super) fn decode(bytes: &[u8]) -> Entry {
        let (hash, rest) = bytes.split_at(32);
        let mut len = [0; 8];
        len[..rest.len()].copy_from_slice(rest);
        let mut entry = Entry { hash: Hash([0; 32]), len: u64::from_le_bytes(len) };
        entry.hash.0.copy_from_slice(hash);
        entry
    }
}

/// One chunk and where it stands in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leaf {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
    /// Its name.
    pub hash: Hash,
}

impl Leaf {
    /// The chunk as an entry of the flat list and of level 1.
    pub fn encode(&self) -> [u8; LEAF_BYTES] {
        let mut out = [0; LEAF_BYTES];
        Entry { hash: self.hash, len: self.len as u64 }.encode(1, &mut out);
        out
    }
}

/// Whether a node ends after its `count`th entry, which has this name.
pub(super) fn ends(count: usize, hash: &Hash) -> bool {
    count >= NODE_MAX || (count >= NODE_MIN && hash.0[31] & 0x3f == 0)
}

/// What is wrong with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadNode {
    /// Its bytes do not have the name by which it was asked for.
    Hash,
    /// It is no whole number of entries, has too few or many, or does not end where the rule says.
    Shape,
    /// An entry's length is zero, or more or less than its level allows.
    Length,
    /// The lengths do not add up to what its parent says.
    Sum,
    /// The level or size of a root is beyond the bounds.
    Root,
}

/// A node that has passed [`NodeView::check`], over its bytes.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    level: u8,
    bytes: &'a [u8],
}

impl<'a> NodeView<'a> {
    /// Checks the bytes of a node of `level` against the entry of its parent. `first` and `last` say whether it is the
    /// first and the last of its level: a level ends where the file ends, and only there may a node stop short.
    pub fn check(
        level: u8,
        bytes: &'a [u8],
        of: &Entry,
        first: bool,
        last: bool,
    ) -> Result<NodeView<'a>, BadNode> {
        assert!((1..=LEVELS as u8).contains(&level));
        let width = entry_bytes(level);
        let count = bytes.len() / width;
        if !bytes.len().is_multiple_of(width) || count > NODE_MAX {
            return Err(BadNode::Shape);
        }
        if node_id(level, bytes) != of.hash {
            return Err(BadNode::Hash);
        }
        let view = NodeView { level, bytes };
        // The only node of its level is the root: empty for an empty file, else of two entries at least, for one
        // entry would be the root itself.
        if count == 0 && !(level == 1 && of.len == 0) || count == 1 && first && last {
            return Err(BadNode::Shape);
        }
        let mut sum = 0u64;
        for (i, entry) in view.entries().enumerate() {
            let at_end = i + 1 == count;
            if ends(i + 1, &entry.hash) != at_end && !(at_end && last) {
                return Err(BadNode::Shape);
            }
            if !view.length_fits(entry.len, at_end && last) {
                return Err(BadNode::Length);
            }
            sum += entry.len;
        }
        if sum != of.len {
            return Err(BadNode::Sum);
        }
        Ok(view)
    }

    /// Whether a child of this node may have that length; the last of a level may be shorter than the least.
    fn length_fits(&self, len: u64, last: bool) -> bool {
        let (min, max) = if self.level == 1 {
            (limits::CHUNK_MIN as u64, limits::CHUNK_MAX as u64)
        } else {
            ((limits::CHUNK_MIN * NODE_MIN) as u64, limits::FILE_SIZE)
        };
        len <= max && if last { len > 0 } else { len >= min }
    }

    /// The node's level.
    pub fn level(&self) -> u8 {
        self.level
    }
    /// The node's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    /// How many entries it has.
    pub fn count(&self) -> usize {
        self.bytes.len() / entry_bytes(self.level)
    }
    /// Its entry at a position below [`NodeView::count`].
    pub fn entry(&self, at: usize) -> Entry {
        let width = entry_bytes(self.level);
        Entry::decode(&self.bytes[at * width..(at + 1) * width])
    }
    /// Its entries in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        self.bytes.chunks_exact(entry_bytes(self.level)).map(Entry::decode)
    }
}
