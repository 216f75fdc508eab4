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
            hash = roll(hash, b);
        }
        let start = skip + warm;
        self.len += start;
        let end = start + (CHUNK_MAX - self.len).min(bytes.len() - start);
        if let Some(n) = find(&mut hash, &bytes[start..end]) {
            *self = Chunker::new();
            return Some(start + n);
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

fn roll(hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(GEAR[byte as usize])
}

/// Bytes of a lane, and how many lanes [`find`] rolls at once: each step of one waits for the step before, so two
/// are rolled side by side (measured: 1.6 times as fast; more gain nothing), each warmed up on the window before it.
const LANE: usize = 512;
const LANES: usize = 2;

/// Rolls `hash` on over `bytes` up to the first position where it cuts: how many bytes lie before that.
fn find(hash: &mut u64, bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<{ LANE * LANES }>();
    for (i, block) in blocks.iter().enumerate() {
        if let Some(n) = find_in_lanes(hash, block) {
            return Some(i * LANE * LANES + n);
        }
    }
    find_in_order(hash, rest).map(|n| bytes.len() - rest.len() + n)
}

fn find_in_order(hash: &mut u64, bytes: &[u8]) -> Option<usize> {
    for (i, &b) in bytes.iter().enumerate() {
        *hash = roll(*hash, b);
        if *hash < BELOW {
            return Some(i + 1);
        }
    }
    None
}

fn find_in_lanes(hash: &mut u64, block: &[u8; LANE * LANES]) -> Option<usize> {
    let (lanes, _) = block.as_chunks::<LANE>();
    let mut hashes = [*hash; LANES];
    for k in 1..LANES {
        hashes[k] = lanes[k - 1][LANE - WINDOW..].iter().fold(0, |h, &b| roll(h, b));
    }
    for i in 0..LANE {
        let mut least = u64::MAX;
        for k in 0..LANES {
            hashes[k] = roll(hashes[k], lanes[k][i]);
            least = least.min(hashes[k]);
        }
        if least < BELOW {
            return first_of_lanes(&mut hashes, lanes, i);
        }
    }
    *hash = hashes[LANES - 1];
    None
}

/// The first cut in order, when at step `i` the first of any lane was met.
fn first_of_lanes(hashes: &mut [u64; LANES], lanes: &[[u8; LANE]], i: usize) -> Option<usize> {
    lanes.iter().zip(hashes).enumerate().find_map(|(k, (lane, hash))| {
        let here = if *hash < BELOW { Some(0) } else { find_in_order(hash, &lane[i + 1..]) };
        here.map(|n| k * LANE + i + 1 + n)
    })
}
