//! Where a file is cut into chunks.

use super::gear::GEAR;
use crate::limits::{CHUNK_MAX, CHUNK_MIN};

/// Bytes that the gear hash remembers: older ones have been shifted out of its 64 bits.
const WINDOW: usize = 64;
/// The hash cuts when it is below this: its top 14 bits are zero.
const BELOW: u64 = 1 << 50;

/// Finds the ends of chunks in bytes that come in order, in slices of any length.
///
/// A chunk ends at its first position, from [`CHUNK_MIN`] on, where the gear hash of the 64 bytes before is below
/// 2^50; at the latest at [`CHUNK_MAX`]. So an edit moves only the cuts near it, and the bytes before
/// `CHUNK_MIN - 64` need not be looked at.
#[derive(Clone, Debug, Default)]
pub struct Chunker {
    /// Bytes of the present chunk so far.
    len: usize,
    /// Gear hash of those of them that lie in the window.
    hash: u64,
}

impl Chunker {
    /// A chunker at the start of a file.
    pub const fn new() -> Chunker {
        Chunker { len: 0, hash: 0 }
    }

    /// Bytes of the chunk that has not ended yet; at the end of the file they are its last chunk.
    pub const fn pending(&self) -> usize {
        self.len
    }

    /// Takes bytes up to the end of the present chunk: `Some(n)` says that it ends after `bytes[..n]` (then feed
    /// `bytes[n..]`), `None` that it goes on beyond `bytes`, all of which are taken.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let skip = (CHUNK_MIN - WINDOW).saturating_sub(self.len).min(bytes.len());
        let warm = (CHUNK_MIN - 1).saturating_sub(self.len + skip).min(bytes.len() - skip);
        let mut hash = self.hash;
        for &b in &bytes[skip..skip + warm] {
            hash = (hash << 1).wrapping_add(GEAR[b as usize]);
        }
        let start = skip + warm;
        self.len += start;
        let end = start + (CHUNK_MAX - self.len).min(bytes.len() - start);
        for (i, &b) in bytes[start..end].iter().enumerate() {
            hash = (hash << 1).wrapping_add(GEAR[b as usize]);
            if hash < BELOW {
                *self = Chunker::new();
                return Some(start + i + 1);
            }
        }
        self.len += end - start;
        self.hash = hash;
        if self.len == CHUNK_MAX {
            *self = Chunker::new();
            return Some(end);
        }
        None
    }

    /// The length of the first chunk of `bytes`, which run to the end of the file or for at least [`CHUNK_MAX`].
    pub fn cut(bytes: &[u8]) -> usize {
        Chunker::new().feed(bytes).unwrap_or(bytes.len())
    }
}
