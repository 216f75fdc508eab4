//! How contents and their parts are named: BLAKE3 in keyed mode, one fixed public key a domain, so that the bytes of
//! one kind of thing can never pass for another.

use crate::ids::ContentId;
use crate::limits;
use serde::{Deserialize, Serialize};

/// The name of a chunk or a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The first six bytes: what a short list of a node's entries carries.
    pub fn prefix(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.0;
        [a, b, c, d, e, f]
    }
}

impl core::fmt::Debug for Hash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "h:{:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

pub(super) const CHUNK: &[u8; 32] = b"DartSync 1: bytes of a chunk    ";
const NODE: &[u8; 32] = b"DartSync 1: entries of a node, L";
const FILE: &[u8; 32] = b"DartSync 1: root, size of file  ";
const SYMLINK: &[u8; 32] = b"DartSync 1: root, size of link  ";

/// The key of nodes of a level (1..=8): the last character is the level's digit.
pub(super) fn node_key(level: u8) -> [u8; 32] {
    assert!((1..=super::LEVELS as u8).contains(&level));
    let mut key = *NODE;
    key[31] = b'0' + level;
    key
}

/// The name of a chunk with these bytes.
pub fn chunk_id(bytes: &[u8]) -> Hash {
    Hash(*blake3::keyed_hash(CHUNK, bytes).as_bytes())
}

/// The name of a node of `level` (1..=8) with these encoded entries.
pub fn node_id(level: u8, entries: &[u8]) -> Hash {
    Hash(*blake3::keyed_hash(&node_key(level), entries).as_bytes())
}

/// The root of an empty file: the empty node of level 1.
pub const EMPTY_ROOT: Hash = Hash([
    0x66, 0x99, 0x29, 0xeb, 0x1a, 0x6b, 0x0c, 0xa0, 0x12, 0x30, 0x4b, 0x7f, 0x65, 0x12, 0x23, 0x9e, 0x3f,
    0x51, 0xcb, 0xbc, 0x12, 0x57, 0xaa, 0x64, 0x40, 0x6a, 0xfa, 0x6f, 0xea, 0x16, 0x8a, 0x5b,
]);

/// The content id of a file with this root and size in bytes.
pub fn file_id(root: &Hash, size: u64) -> ContentId {
    of_root(FILE, root, size)
}

/// The content id of a symlink whose text, as a chunk, has this name, and this size in bytes.
pub fn symlink_id(root: &Hash, size: u64) -> ContentId {
    of_root(SYMLINK, root, size)
}

/// The root of a symlink's text: that text as one chunk, whatever its length.
pub fn symlink_root(text: &[u8]) -> Root {
    Root { hash: chunk_id(text), level: 0, size: text.len() as u64 }
}

fn of_root(key: &[u8; 32], root: &Hash, size: u64) -> ContentId {
    let mut bytes = [0; 40];
    bytes[..32].copy_from_slice(&root.0);
    bytes[32..].copy_from_slice(&size.to_le_bytes());
    ContentId(*blake3::keyed_hash(key, &bytes).as_bytes())
}

/// The top of a content's tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Root {
    /// The name of the one chunk (level 0) or of the topmost node.
    pub hash: Hash,
    /// 0: the content is that one chunk. An empty file has level 1.
    pub level: u8,
    /// Bytes of the content.
    pub size: u64,
}

impl Root {
    /// The root of no bytes.
    pub const EMPTY: Root = Root { hash: EMPTY_ROOT, level: 1, size: 0 };

    /// The content id of a file of this root.
    pub fn file_id(&self) -> ContentId {
        file_id(&self.hash, self.size)
    }
    /// The content id of a symlink of this root.
    pub fn symlink_id(&self) -> ContentId {
        symlink_id(&self.hash, self.size)
    }
    /// Bytes of memory that a [`super::Walker`] from this root needs.
    pub fn walk_memory(&self) -> usize {
        self.level as usize * super::NODE_BYTES
    }
    /// Whether a root from elsewhere obeys the bounds. That it is the right one, only its content id says.
    pub fn is_valid(&self) -> bool {
        match self.level {
            _ if self.size == 0 => *self == Root::EMPTY,
            0 => self.size <= limits::CHUNK_MAX as u64,
            l => l as usize <= super::LEVELS && self.size <= limits::FILE_SIZE,
        }
    }
}
