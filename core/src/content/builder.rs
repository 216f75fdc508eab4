//! The manifest tree from chunks that come in order, with one open node a level.

use super::LEVELS;
use super::id::{Hash, Root, node_key};
use super::node::{Entry, ends, entry_bytes};
use crate::limits;
use heapless::Vec;

/// The open node of one level.
struct Level {
    hasher: blake3::Hasher,
    /// Entries and bytes of the open node.
    count: usize,
    len: u64,
    /// Nodes that have been closed, and the last of them.
    closed: u64,
    last: Hash,
}

impl Level {
    fn new(level: u8) -> Level {
        let hasher = blake3::Hasher::new_keyed(&node_key(level));
        Level { hasher, count: 0, len: 0, closed: 0, last: Hash::default() }
    }

    fn close(&mut self) -> Entry {
        let hash = Hash(*self.hasher.finalize().as_bytes());
        self.hasher.reset();
        let entry = Entry { hash, len: self.len };
        (self.count, self.len, self.last) = (0, 0, hash);
        self.closed += 1;
        entry
    }
}

/// Computes a content's root from its chunks; memory does not grow with the file (about 16 KiB at most).
#[derive(Default)]
pub struct ManifestBuilder {
    chunks: u64,
    size: u64,
    /// The first chunk: the root, if no other follows.
    first: Hash,
    /// Level 1 and up, made as they are needed.
    levels: Vec<Level, LEVELS>,
}

impl ManifestBuilder {
    /// A builder that has seen no chunk.
    pub const fn new() -> ManifestBuilder {
        ManifestBuilder { chunks: 0, size: 0, first: Hash([0; 32]), levels: Vec::new() }
    }

    /// Bytes of the chunks so far.
    pub const fn size(&self) -> u64 {
        self.size
    }
    /// How many chunks came.
    pub const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Takes the next chunk. All but the last must have at least [`limits::CHUNK_MIN`] bytes, and all together at most
    /// [`limits::FILE_SIZE`] (asserted).
    pub fn push(&mut self, hash: Hash, len: u32) {
        assert!(len > 0 && len as usize <= limits::CHUNK_MAX);
        self.size += len as u64;
        assert!(self.size <= limits::FILE_SIZE, "callers refuse larger files first");
        self.chunks += 1;
        if self.chunks == 1 {
            self.first = hash;
        }
        self.add(1, Entry { hash, len: len as u64 });
    }

    /// Adds an entry to the open node of a level; nodes that it ends become entries one level up.
    fn add(&mut self, mut level: u8, mut entry: Entry) {
        loop {
            if self.levels.len() < level as usize {
                let made = self.levels.push(Level::new(level));
                assert!(made.is_ok(), "chunks and nodes of the least size need no more levels");
            }
            let open = &mut self.levels[level as usize - 1];
            let mut bytes = [0; entry_bytes(2)];
            let n = entry.encode(level, &mut bytes);
            open.hasher.update(&bytes[..n]);
            open.count += 1;
            open.len += entry.len;
            if !ends(open.count, &entry.hash) {
                return;
            }
            if level as usize == LEVELS {
                // A full node on the last level is the root: nothing can follow it within the largest size.
                assert!(open.closed == 0);
                open.close();
                return;
            }
            entry = open.close();
            level += 1;
        }
    }

    /// The root, after the last chunk.
    pub fn finish(mut self) -> Root {
        let size = self.size;
        match self.chunks {
            0 => return Root::EMPTY,
            1 => return Root { hash: self.first, level: 0, size },
            _ => {}
        }
        for level in 1..=LEVELS as u8 {
            let open = &mut self.levels[level as usize - 1];
            let end = (open.count > 0).then(|| open.close());
            if open.closed == 1 {
                return Root { hash: open.last, level, size };
            }
            if let Some(entry) = end {
                self.add(level + 1, entry);
            }
        }
        unreachable!("the last level has one node")
    }
}

const _: () = assert!(core::mem::size_of::<ManifestBuilder>() <= 17 * 1024);
