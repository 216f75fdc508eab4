//! Parts of a chunk, as one ask names them, and a chunk that is put together from what is here and what is missing.

use crate::content::{Piece, decode_pieces};
use crate::limits;

/// Ranges of one ask, at most.
pub const RANGES_MAX: usize = 16;

/// Parts of a chunk: each where it begins in it and how long it is, in order, none touching the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    parts: [(u32, u32); RANGES_MAX],
    count: u8,
}

impl Ranges {
    /// Adds what follows all others; false if there is no room.
    pub fn push(&mut self, at: u32, len: u32) -> bool {
        match self.parts[..self.count as usize].last_mut() {
            Some(last) if last.0 + last.1 == at => last.1 += len,
            _ if self.count as usize == RANGES_MAX => return false,
            _ => {
                self.parts[self.count as usize] = (at, len);
                self.count += 1;
            }
        }
        true
    }
    /// Adds what follows all others; when there is no room, by making the last longer, over what lies between.
    fn cover(&mut self, at: u32, len: u32) {
        if !self.push(at, len) {
            let last = &mut self.parts[RANGES_MAX - 1];
            last.1 = at + len - last.0;
        }
    }
    /// The parts.
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.parts[..self.count as usize]
    }
    /// Bytes in all.
    pub fn total(&self) -> u32 {
        self.as_slice().iter().map(|r| r.1).sum()
    }
    /// Takes ranges that came from elsewhere, if they are some and obey the rules above.
    pub(super) fn take(parts: &[(u32, u32)]) -> Option<Ranges> {
        let mut ranges = Ranges::default();
        let mut from = 0u64;
        for &(at, len) in parts {
            let end = at as u64 + len as u64;
            let fits = len > 0 && at as u64 >= from && end <= limits::CHUNK_MAX as u64;
            if !fits || !ranges.push(at, len) {
                return None;
            }
            from = end;
        }
        (ranges.count > 0).then_some(ranges)
    }
}

/// Puts a chunk of `out.len()` bytes together from a list of its pieces and what is `known` by their names; what
/// remains missing. None: the list is not one of this chunk, or so little is known that the whole chunk is better.
pub fn assemble<'a>(
    list: &[u8],
    out: &mut [u8],
    known: impl Fn(&Piece) -> Option<&'a [u8]>,
) -> Option<Ranges> {
    let (mut missing, mut at, mut here) = (Ranges::default(), 0, 0);
    for piece in decode_pieces(list, out.len())? {
        let len = piece.len as usize;
        match known(&piece).filter(|bytes| bytes.len() == len) {
            Some(bytes) => {
                out[at..at + len].copy_from_slice(bytes);
                here += len;
            }
            None => missing.cover(at as u32, len as u32),
        }
        at += len;
    }
    (here * 4 >= out.len()).then_some(missing)
}

/// Puts what was missing in its places; false if it is not as long.
pub fn complete(out: &mut [u8], missing: &Ranges, mut bytes: &[u8]) -> bool {
    for &(at, len) in missing.as_slice() {
        let Some((part, rest)) = bytes.split_at_checked(len as usize) else { return false };
        out[at as usize..][..len as usize].copy_from_slice(part);
        bytes = rest;
    }
    bytes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order_and_within_a_chunk() {
        let most = limits::CHUNK_MAX as u32;
        assert_eq!(Ranges::take(&[(0, 5), (5, 5)]).map(|r| (r.total(), r.as_slice().len())), Some((10, 1)));
        for bad in [&[][..], &[(0, 0)], &[(5, 5), (4, 1)], &[(0, 5), (4, 1)], &[(most, 1)], &[(u32::MAX, 2)]]
        {
            assert_eq!(Ranges::take(bad), None, "{bad:?}");
        }
    }
}
