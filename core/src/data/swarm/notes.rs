//! Bytes of lent memory: a window's chunks, and the draft of a node.

use super::super::message::Wants;
use crate::content::{Hash, Leaf, entry_bytes};

/// Bytes of a chunk's place, length and name in the lent memory.
pub(super) const NOTED: usize = 8 + 4 + 32;
/// Writes a chunk to its place in the lent memory.
pub(super) fn note(memory: &mut [u8], place: usize, leaf: &Leaf) {
    let noted = &mut memory[place * NOTED..][..NOTED];
    noted[..8].copy_from_slice(&leaf.offset.to_le_bytes());
    noted[8..12].copy_from_slice(&leaf.len.to_le_bytes());
    noted[12..].copy_from_slice(&leaf.hash.0);
}

/// Reads it back.
pub(super) fn noted(memory: &[u8], place: usize) -> Leaf {
    let noted = &memory[place * NOTED..][..NOTED];
    let (offset, rest) = noted.split_first_chunk().expect("it is longer");
    let (len, hash) = rest.split_first_chunk().expect("it is longer");
    let hash = Hash(*hash.first_chunk().expect("the rest is the name"));
    Leaf { offset: u64::from_le_bytes(*offset), len: u32::from_le_bytes(*len), hash }
}

/// Puts entries that came into the places of a node that are empty; the node's bytes if they are as many.
pub(super) fn fill(draft: &mut [u8], level: u8, count: usize, wants: &Wants, bytes: &[u8]) -> Option<usize> {
    let width = entry_bytes(level);
    let mut entries = bytes.chunks_exact(width);
    for i in (0..count).filter(|i| wants[i / 8] >> (i % 8) & 1 != 0) {
        draft[i * width..(i + 1) * width].copy_from_slice(entries.next()?);
    }
    (entries.next().is_none() && entries.remainder().is_empty()).then_some(count * width)
}
