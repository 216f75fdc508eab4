//! Files and their contents: content ids of files on disk, and what a part file already holds.
//!
//! Reads alone, by position, through an open file: who opens it, and compares its stat before and after, is the
//! caller. Memory is one block ([`BLOCK`]) that the caller lends, and the list of chunks where it is asked for.

mod holes;

use dartsync_core::content::{
    BadNode, ContentHasher, LEAF_BYTES, Leaf, Manifest, Node, Root, ZERO_CHUNK, chunk_id, manifest_room,
    symlink_root,
};
use dartsync_core::ids::ContentId;
use dartsync_core::limits;
use holes::Holes;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes read at a time: a few chunks, and little enough to stay in a processor's cache.
pub const BLOCK: usize = 4 * limits::CHUNK_MAX;
/// Bytes of a hole taken between two looks at `cancel`.
const HOLE_STEP: u64 = 1 << 30;

/// A manifest of its own.
pub type OwnedManifest = Manifest<Vec<u8>, Vec<Node>>;

/// Why a file was not hashed.
#[derive(Debug)]
pub enum HashError {
    /// The caller asked to stop.
    Cancelled,
    /// It got shorter while it was read: look again later.
    Changed,
    /// It is larger than [`limits::FILE_SIZE`].
    TooLarge,
    /// The system refused.
    Io(io::Error),
}

impl From<io::Error> for HashError {
    fn from(e: io::Error) -> HashError {
        HashError::Io(e)
    }
}

impl std::fmt::Display for HashError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HashError::Cancelled => f.write_str("cancelled"),
            HashError::Changed => f.write_str("it changed while it was read"),
            HashError::TooLarge => f.write_str("it is larger than 16 TiB"),
            HashError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for HashError {}

/// A content by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashed {
    /// The name.
    pub content: ContentId,
    /// The top of its tree, and its size.
    pub root: Root,
    /// The flat list of its chunks; empty when there is one at most.
    pub leaves: Vec<u8>,
}

/// Hashes a file as long as it is when the call begins. `block` is grown to [`BLOCK`] bytes once and used again.
pub fn hash_file(file: &File, block: &mut Vec<u8>, cancel: &AtomicBool) -> Result<Hashed, HashError> {
    let mut leaves = Vec::new();
    let root = hash_file_with(file, block, cancel, |leaf| leaves.extend_from_slice(&leaf.encode()))?;
    if leaves.len() <= LEAF_BYTES {
        leaves = Vec::new();
    }
    Ok(Hashed { content: root.file_id(), root, leaves })
}

/// Hashes a file and hands its chunks, in order, to `sink` instead of keeping them: memory does not grow with the file.
pub fn hash_file_with(
    file: &File,
    block: &mut Vec<u8>,
    cancel: &AtomicBool,
    mut sink: impl FnMut(Leaf),
) -> Result<Root, HashError> {
    let stat = file.metadata()?;
    let size = stat.len();
    if size > limits::FILE_SIZE {
        return Err(HashError::TooLarge);
    }
    block.resize(BLOCK, 0);
    if size > BLOCK as u64 {
        // Advice alone: a file system that takes none reads as well.
        let _ = fadvise(file, 0, None, Advice::Sequential);
    }
    let mut holes = if stat.blocks() * 512 < size { Holes::new(file) } else { Holes::none(file) };
    let mut hasher = ContentHasher::new();
    while hasher.size() < size {
        if cancel.load(Ordering::Relaxed) {
            return Err(HashError::Cancelled);
        }
        let at = hasher.size();
        let hole = holes.hole_at(at).min(size - at);
        if hole > 0 {
            hasher.update_zeros(hole.min(HOLE_STEP), &mut sink);
            continue;
        }
        let most = (size - at).min(BLOCK as u64) as usize;
        match file.read_at(&mut block[..most], at) {
            Ok(0) => return Err(HashError::Changed),
            Ok(n) => hasher.update(&block[..n], &mut sink),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(hasher.finish(sink))
}

/// The content of a symlink with this text.
pub fn hash_symlink(text: &[u8]) -> Hashed {
    let root = symlink_root(text);
    Hashed { content: root.symlink_id(), root, leaves: Vec::new() }
}

/// The tree over a flat list of chunks, to answer others from.
pub fn manifest(leaves: Vec<u8>) -> Result<OwnedManifest, BadNode> {
    let nodes = vec![Node::default(); manifest_room(&leaves)];
    Manifest::new(leaves, nodes)
}

/// Finds which of a content's chunks a part file holds at their offsets. `found` gets each chunk of `leaves`, in their
/// order, and whether it is there; what lies in holes is not read. `block` as for [`hash_file`].
pub fn verify_part(
    file: &File,
    leaves: impl IntoIterator<Item = Leaf>,
    block: &mut Vec<u8>,
    cancel: &AtomicBool,
    mut found: impl FnMut(Leaf, bool),
) -> Result<(), HashError> {
    let size = file.metadata()?.len();
    block.resize(BLOCK, 0);
    let mut holes = Holes::new(file);
    for leaf in leaves {
        if cancel.load(Ordering::Relaxed) {
            return Err(HashError::Cancelled);
        }
        let len = leaf.len as usize;
        let here = if len > limits::CHUNK_MAX || leaf.offset + leaf.len as u64 > size {
            false
        } else if holes.hole_at(leaf.offset) >= leaf.len as u64 {
            len == limits::CHUNK_MAX && leaf.hash == ZERO_CHUNK
        } else {
            holds(file, &leaf, &mut block[..len])?
        };
        found(leaf, here);
    }
    Ok(())
}

/// Whether the file has that chunk's bytes at its offset; `bytes` has the chunk's length.
fn holds(file: &File, leaf: &Leaf, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact_at(bytes, leaf.offset) {
        Ok(()) => Ok(chunk_id(bytes) == leaf.hash),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
