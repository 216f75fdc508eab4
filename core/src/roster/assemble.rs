//! A sealed roster travels in parts, in order; this puts them together again. Used at both ends.

use super::ROSTER_BYTES;
use crate::sans_io::Reject;
use crate::wire::message::{RosterPart, RosterVersion};
use heapless::Vec;

/// Receives one roster at a time into a fixed buffer.
#[derive(Clone, Debug)]
pub struct RosterAssembler {
    of: RosterVersion,
    total: usize,
    bytes: Vec<u8, ROSTER_BYTES>,
}

impl Default for RosterAssembler {
    fn default() -> Self {
        Self::new()
    }
}

impl RosterAssembler {
    /// Nothing received yet.
    pub const fn new() -> Self {
        RosterAssembler { of: RosterVersion { version: 0, nonce: 0 }, total: 0, bytes: Vec::new() }
    }
    /// Forgets what was received.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.total = 0;
    }
    /// Takes the next part; true when the roster is whole ([`RosterAssembler::bytes`]). A part at offset 0 begins anew;
    /// any other must continue what is here.
    pub fn take(&mut self, part: &RosterPart<'_>) -> Result<bool, Reject> {
        let total = part.total as usize;
        if total > ROSTER_BYTES || part.bytes.is_empty() {
            return Err(Reject::new("a roster part of a wrong size"));
        }
        if part.offset == 0 {
            self.clear();
            self.of = part.of;
            self.total = total;
        }
        let continues = part.of == self.of && total == self.total && part.offset as usize == self.bytes.len();
        if !continues || self.bytes.len() + part.bytes.len() > total {
            self.clear();
            return Err(Reject::new("a roster part out of place"));
        }
        self.bytes.extend_from_slice(part.bytes).expect("at most the total, which fits");
        Ok(self.bytes.len() == total)
    }
    /// What was received so far: the sealed roster once `take` said so.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The part of `sealed` that begins at `offset`, of at most `room` bytes; none if the offset is at its end or beyond.
pub fn part_at(sealed: &[u8], of: RosterVersion, offset: usize, room: usize) -> Option<RosterPart<'_>> {
    let rest = sealed.get(offset..).filter(|r| !r.is_empty())?;
    let bytes = &rest[..rest.len().min(room)];
    Some(RosterPart { of, total: sealed.len() as u32, offset: offset as u32, bytes })
}
