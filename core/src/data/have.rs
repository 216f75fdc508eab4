//! What one seeker of a content tells another: which of its chunks are here, and which are on their way from a holder.
//! Chunks are counted from the file's start.

use super::message::{self, put, whole};
use crate::ids::ContentId;
use crate::sans_io::Reject;
use serde::{Deserialize, Serialize};

/// Chunks that one message speaks of at most, from its base on.
pub const HAVE_CHUNKS: usize = 4096;
/// Bytes of an encoded [`Have`] at most.
pub const HAVE: usize = 64 + 2 * (HAVE_CHUNKS / 8);
/// The base of who has the whole content.
pub const EVERYTHING: u32 = u32::MAX;

/// What a device has of a content that it fetches, or has just fetched. It replaces what was told before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Have<'a> {
    /// A number of the teller's choice, for a refusal alone.
    pub id: u32,
    /// Which content.
    pub content: ContentId,
    /// Every chunk before this one is here; [`EVERYTHING`]: the whole content.
    pub base: u32,
    /// Which of those from the base on are: bit i (of byte i / 8, from the lowest) is the chunk `base + i`. What it is too
    /// short for is not.
    pub here: &'a [u8],
    /// Which have been asked of a device that has the whole content, in the same way.
    pub coming: &'a [u8],
}

impl Have<'_> {
    /// Writes the message to `out`, which has [`HAVE`] bytes; how many it took.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        put(message::HAVE_ASK, self, out)
    }
    /// Chunks from the base on to the last one that it speaks of.
    pub(super) fn reach(&self) -> u32 {
        let of = |bits: &[u8]| {
            let last = bits.iter().rposition(|b| *b != 0);
            last.map_or(0, |i| i as u32 * 8 + u8::BITS - bits[i].leading_zeros())
        };
        of(self.here).max(of(self.coming))
    }
    /// Reads what follows the message's number.
    pub(super) fn decode(bytes: &[u8]) -> Result<Have<'_>, Reject> {
        let have: Have<'_> = whole(bytes)?;
        if have.here.len() > HAVE_CHUNKS / 8 || have.coming.len() > HAVE_CHUNKS / 8 {
            return Err(Reject::new("tells of more chunks than it may"));
        }
        Ok(have)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Message, decode};
    use super::*;
    use std::vec;

    #[test]
    fn it_comes_back_as_it_went_and_has_a_bound() {
        let most = vec![0xa5; HAVE_CHUNKS / 8];
        let content = ContentId([7; 32]);
        for (base, here) in [(0, &most[..0]), (EVERYTHING, &most[..]), (70_000, &most[..3])] {
            let have = Have { id: u32::MAX, content, base, here, coming: &most };
            let mut out = vec![0; HAVE];
            let n = have.encode(&mut out);
            assert_eq!(decode(&out[..n]), Ok(Message::Have(have)));
            assert_eq!(have.reach(), HAVE_CHUNKS as u32);
            assert!(decode(&out[..n - 1]).is_err());
        }
        let (here, coming) = (&[0b100, 0], &[0b1, 0b110_0000][..]);
        let reach = |coming| Have { id: 1, content, base: 9, here, coming }.reach();
        assert_eq!([&[][..], coming, &[0; 9]].map(reach), [3, 15, 3]);
        let more = vec![0; HAVE_CHUNKS / 8 + 1];
        let mut out = vec![0; 2 * HAVE];
        let n = Have { id: 1, content, base: 0, here: &more, coming: &[] }.encode(&mut out);
        assert!(decode(&out[..n]).is_err());
    }
}
