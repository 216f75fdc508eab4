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
/// Bytes of a piece in a list: a little-endian number, whose low bits are its name and the others its length less one.
pub const PIECE_BYTES: usize = 6;
/// Bits of a name.
const NAME_BITS: u32 = 37;
const NAME: u64 = (1 << NAME_BITS) - 1;
const _: () =
    assert!(PIECE_MAX == 1 << (8 * PIECE_BYTES as u32 - NAME_BITS), "any length that can be said is one");

/// One piece of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The first bits of its hash.
    pub name: u64,
    /// Its bytes.
    pub len: u16,
}

impl Piece {
    /// The piece that is these bytes.
    pub fn of(bytes: &[u8]) -> Piece {
        let hash = blake3::keyed_hash(PIECE, bytes);
        let first = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("32 bytes have 8"));
        Piece { name: first & NAME, len: bytes.len() as u16 }
    }
    /// The piece as a list holds it.
    pub fn encode(&self) -> [u8; PIECE_BYTES] {
        let [a, b, c, d, e, f, ..] = (self.name | u64::from(self.len - 1) << NAME_BITS).to_le_bytes();
        [a, b, c, d, e, f]
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
        let &[a, b, c, d, e, f] = p else { unreachable!("chunks of that length") };
        let both = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        Piece { name: both & NAME, len: (both >> NAME_BITS) as u16 + 1 }
    });
    let sum = all.clone().map(|p| p.len as usize).sum::<usize>();
    (sum == len && list.len().is_multiple_of(PIECE_BYTES)).then_some(all)
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
        let known: HashSet<u64> = old.iter().map(|p| p.name).collect();
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
        assert!(decode_pieces(&[0; PIECE_BYTES], 0).is_none(), "no piece is empty");
        let ends = [1, PIECE_MAX].map(|len| Piece { name: NAME, len: len as u16 });
        let list = ends.map(|p| p.encode()).concat();
        assert!(decode_pieces(&list, 1 + PIECE_MAX).unwrap().eq(ends), "the shortest and the longest");
    }
}
