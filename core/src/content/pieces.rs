//! Pieces: a chunk cut finer, so that what changed within it travels alone.
//!
//! The asker has an older version, the source the new one. The source names the pieces of its chunk in few bytes; the
//! asker finds what it knows among the pieces of its old chunks and asks for the rest. Names are short, so they prove
//! nothing: the chunk's own hash decides whether what was put together is it.

use super::gear::GEAR;

/// Bytes of the shortest piece (but a chunk's last), and of the longest.
pub const PIECE_MIN: usize = 128;
/// See [`PIECE_MIN`].
pub const PIECE_MAX: usize = 2048;
/// The gear hash cuts when it is below this: its top 9 bits are zero, so a piece has 640 bytes in the mean.
const BELOW: u64 = 1 << 55;
/// Bytes that the gear hash remembers.
const WINDOW: usize = 64;
/// BLAKE3's key for the names of pieces.
const PIECE: &[u8; 32] = b"DartSync 1: bytes of a piece    ";
/// Bytes of a piece in a list: its name, then its length (u16, little-endian).
pub const PIECE_BYTES: usize = 7;

/// One piece of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The first bytes of its hash.
    pub name: [u8; 5],
    /// Its bytes.
    pub len: u16,
}

impl Piece {
    /// The piece that is these bytes.
    pub fn of(bytes: &[u8]) -> Piece {
        let hash = blake3::keyed_hash(PIECE, bytes);
        let [a, b, c, d, e, ..] = *hash.as_bytes();
        Piece { name: [a, b, c, d, e], len: bytes.len() as u16 }
    }
    /// The piece as a list holds it.
    pub fn encode(&self) -> [u8; PIECE_BYTES] {
        let ([a, b, c, d, e], [l, h]) = (self.name, self.len.to_le_bytes());
        [a, b, c, d, e, l, h]
    }
}

/// The length of the first piece of `bytes`, which run to the end of the chunk; 0 of none.
pub fn piece_len(bytes: &[u8]) -> usize {
    let most = bytes.len().min(PIECE_MAX);
    let mut hash = 0u64;
    for (i, &b) in bytes[..most].iter().enumerate().skip(PIECE_MIN - WINDOW) {
        hash = (hash << 1).wrapping_add(GEAR[b as usize]);
        if i + 1 >= PIECE_MIN && hash < BELOW {
            return i + 1;
        }
    }
    most
}

/// The pieces of a chunk, in order, each with its bytes.
pub fn pieces(chunk: &[u8]) -> impl Iterator<Item = (Piece, &[u8])> {
    let mut rest = chunk;
    core::iter::from_fn(move || {
        let (bytes, after) = rest.split_at(piece_len(rest));
        rest = after;
        (!bytes.is_empty()).then(|| (Piece::of(bytes), bytes))
    })
}

/// Reads a list of pieces that came from elsewhere: none if they are not the pieces of `len` bytes.
pub fn decode_pieces(list: &[u8], len: usize) -> Option<impl Iterator<Item = Piece> + Clone> {
    let all = list.chunks_exact(PIECE_BYTES).map(|p| {
        let &[a, b, c, d, e, l, h] = p else { unreachable!("chunks of that length") };
        Piece { name: [a, b, c, d, e], len: u16::from_le_bytes([l, h]) }
    });
    let sum = all.clone().map(|p| p.len as usize).sum::<usize>();
    let fits = all.clone().all(|p| (1..=PIECE_MAX).contains(&(p.len as usize)));
    (fits && sum == len && list.len().is_multiple_of(PIECE_BYTES)).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    fn random(len: usize) -> Vec<u8> {
        let mut out = std::vec![0; len];
        blake3::Hasher::new().update(b"pieces").finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn pieces_are_the_chunk_and_an_edit_changes_few() {
        let bytes = random(100_000);
        let old: Vec<Piece> = pieces(&bytes).map(|(p, _)| p).collect();
        assert_eq!(old.iter().map(|p| p.len as usize).sum::<usize>(), bytes.len());
        assert!(old[..old.len() - 1].iter().all(|p| (PIECE_MIN..=PIECE_MAX).contains(&(p.len as usize))));
        assert!((110..220).contains(&old.len()), "{}: 640 bytes in the mean", old.len());
        let known: HashSet<[u8; 5]> = old.iter().map(|p| p.name).collect();
        let mut edited = bytes.clone();
        edited.insert(50_000, 7);
        let missing: usize =
            pieces(&edited).filter(|(p, _)| !known.contains(&p.name)).map(|(_, b)| b.len()).sum();
        assert!((1..=2 * PIECE_MAX).contains(&missing), "{missing}");
        assert_eq!(pieces(&[]).count(), 0);
    }

    #[test]
    fn a_list_is_taken_only_whole() {
        let bytes = random(10_000);
        let list: Vec<u8> = pieces(&bytes).flat_map(|(p, _)| p.encode()).collect();
        let back: Vec<Piece> = decode_pieces(&list, bytes.len()).unwrap().collect();
        assert!(back.iter().eq(pieces(&bytes).map(|(p, _)| p).collect::<Vec<_>>().iter()));
        assert!(decode_pieces(&list, bytes.len() - 1).is_none());
        assert!(decode_pieces(&list[..list.len() - 1], bytes.len()).is_none());
        assert!(decode_pieces(&[0; PIECE_BYTES], 0).is_none(), "no empty piece");
    }
}
