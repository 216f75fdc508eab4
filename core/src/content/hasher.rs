//! Content ids from a stream of bytes.

use super::builder::ManifestBuilder;
use super::chunker::Chunker;
use super::id::{CHUNK, Hash, Root, chunk_id};
use super::node::Leaf;
use crate::limits::CHUNK_MAX;

/// The name of a chunk of [`CHUNK_MAX`] zero bytes: how long runs of zeros are cut, for no window of zeros ends a chunk.
pub const ZERO_CHUNK: Hash = Hash([
    0xc7, 0x2f, 0x36, 0xf8, 0x96, 0x4f, 0xd7, 0xec, 0x5c, 0x55, 0x46, 0xb7, 0x5c, 0x79, 0x96, 0x52, 0xba,
    0x1d, 0xf5, 0x35, 0x27, 0x9e, 0xb2, 0x80, 0x65, 0x15, 0x97, 0x0a, 0xb7, 0xba, 0x16, 0x19,
]);

/// Cuts bytes that come in order into chunks, names them and their tree. Fastest with slices of many chunks: what lies
/// wholly in one slice is hashed in one go.
pub struct ContentHasher {
    chunker: Chunker,
    /// The bytes of the present chunk that came in earlier slices.
    open: blake3::Hasher,
    tree: ManifestBuilder,
}

impl Default for ContentHasher {
    fn default() -> ContentHasher {
        ContentHasher::new()
    }
}

impl ContentHasher {
    /// A hasher at the start of a content.
    pub fn new() -> ContentHasher {
        let open = blake3::Hasher::new_keyed(CHUNK);
        ContentHasher { chunker: Chunker::new(), open, tree: ManifestBuilder::new() }
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.tree.size() + self.chunker.pending() as u64
    }

    /// Takes the next bytes; `sink` gets every chunk that ends in them. All together at most
    /// [`crate::limits::FILE_SIZE`] (asserted).
    pub fn update(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Leaf)) {
        while !bytes.is_empty() {
            let before = self.chunker.pending();
            if before == 0 && bytes.len() >= CHUNK_MAX && is_zero(&bytes[..CHUNK_MAX]) {
                self.chunk(ZERO_CHUNK, CHUNK_MAX, &mut sink);
                bytes = &bytes[CHUNK_MAX..];
                continue;
            }
            let Some(end) = self.chunker.feed(bytes) else {
                self.open.update(bytes);
                return;
            };
            let (head, rest) = bytes.split_at(end);
            let hash = if before == 0 {
                chunk_id(head)
            } else {
                self.open.update(head);
                self.close()
            };
            self.chunk(hash, before + end, &mut sink);
            bytes = rest;
        }
    }

    /// Takes `count` zero bytes, as a hole of a file has them, without looking at them one by one.
    pub fn update_zeros(&mut self, mut count: u64, mut sink: impl FnMut(Leaf)) {
        const ZEROS: &[u8] = &[0; 4096];
        while count > 0 {
            if self.chunker.pending() == 0 && count >= CHUNK_MAX as u64 {
                self.chunk(ZERO_CHUNK, CHUNK_MAX, &mut sink);
                count -= CHUNK_MAX as u64;
            } else {
                let n = count.min(ZEROS.len() as u64);
                self.update(&ZEROS[..n as usize], &mut sink);
                count -= n;
            }
        }
    }

    /// The root, after the last byte; `sink` gets the last chunk.
    pub fn finish(mut self, mut sink: impl FnMut(Leaf)) -> Root {
        let len = self.chunker.pending();
        if len > 0 {
            let hash = self.close();
            self.chunk(hash, len, &mut sink);
        }
        self.tree.finish()
    }

    fn close(&mut self) -> Hash {
        let hash = Hash(*self.open.finalize().as_bytes());
        self.open.reset();
        hash
    }

    fn chunk(&mut self, hash: Hash, len: usize, sink: &mut impl FnMut(Leaf)) {
        let leaf = Leaf { offset: self.tree.size(), len: len as u32, hash };
        self.tree.push(hash, leaf.len);
        sink(leaf);
    }
}

/// Whether all bytes are zero. Leaves at the first block with another: nearly free on anything but zeros.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|block| block.iter().fold(0, |or, b| or | b) == 0)
}
