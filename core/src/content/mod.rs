//! Chunks, manifests and content ids (docs/PROTOCOL.md, "Content").
//!
//! A file is cut where its own bytes say so ([`Chunker`]), each chunk is named by its hash, and the list of chunks is
//! itself cut into nodes by the same idea, level upon level, until one node is left: the root. The content id is the
//! hash of root and size. Whoever knows the id can check every node and every chunk on arrival, from any source.
//!
//! | piece | for whom |
//! |---|---|
//! | [`ContentHasher`] | who has the bytes: content id, and the chunks in order |
//! | [`ManifestBuilder`] | the same from a list of chunks alone |
//! | [`Manifest`] | who serves: every node and chunk by its offset, from the flat list of chunks |
//! | [`NodeView`], [`Walker`] | who fetches: checks nodes, yields the chunks in order |
//! | [`Known`] | who fetches and has something like it: a manifest by the names of its parts |
//! | [`pieces`] | both, when an older version is here: a chunk cut finer |
//!
//! Invariant: everything here is a function of the bytes alone and frozen. A change of any constant, domain or rule
//! would rename every content of every home; `vectors.rs` holds what must never change.

mod builder;
mod chunker;
mod gear;
mod hasher;
mod id;
mod known;
mod manifest;
mod node;
mod pieces;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
mod walker;

pub use builder::ManifestBuilder;
pub use chunker::Chunker;
pub use hasher::{ContentHasher, ZERO_CHUNK};
pub use id::{EMPTY_ROOT, Hash, Root, chunk_id, file_id, node_id, symlink_id, symlink_root};
pub use known::{Known, Near, Neighbours, known_room};
pub use manifest::{Leaves, Manifest, Node, manifest_room};
pub use node::{BadNode, Entry, LEAF_BYTES, Leaf, NODE_BYTES, NodeView, entry_bytes};
pub use pieces::{PIECE_BYTES, PIECE_MAX, PIECE_MIN, Piece, decode_pieces, piece_len, pieces};
pub use walker::{Step, Walker, Want};

/// Levels of nodes a tree can have: level 0 are chunks, 1 the nodes that list chunks, and so on. A file of
/// [`crate::limits::FILE_SIZE`] in smallest chunks and smallest nodes needs exactly these.
pub const LEVELS: usize = 8;
/// Whether a device's index of chunks holds a chunk of that name; it holds the first of each content besides. One in 16
/// is enough to find a file that has much in common with another.
pub fn is_sampled(chunk: &Hash) -> bool {
    chunk.0[0] & 15 == 0
}

/// Entries after which a node may end.
pub const NODE_MIN: usize = 16;
/// Entries after which a node must end.
pub const NODE_MAX: usize = 256;
