//! What is said in clear before the handshake, and the tag that guards it.

use crate::ids::{InviteId, PublicKey};

/// The version of the protocol that this program speaks.
pub const VERSION: u8 = 1;
/// Bytes of a preamble.
pub(super) const PREAMBLE: usize = 12;
/// Bytes of the tag after message 1.
pub(super) const TAG: usize = 32;

const MAGIC: [u8; 4] = *b"DART";
const TAG_DOMAIN: &str = "dartsync 2026 link message 1 tag v1";

/// What a link is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// From a device to its tracker.
    Tracker = 1,
    /// From a device to a device.
    Data = 2,
}

/// The cipher of the records after the handshake. Tracker links always have ChaCha20-Poly1305.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305 = 1,
    /// AES-256-GCM, where both ends have it in hardware.
    Aes256Gcm = 2,
}

/// What a dialler wants: told in clear, bound by the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// What the link is for.
    pub kind: Kind,
    /// The cipher of its records.
    pub suite: Suite,
    /// The invite it enrols by; 0 = none.
    pub invite: InviteId,
}

impl Opening {
    /// A link of an enrolled device to its tracker.
    pub const TRACKER: Opening =
        Opening { kind: Kind::Tracker, suite: Suite::ChaCha20Poly1305, invite: InviteId(0) };

    /// A link of a new device to the tracker, by an invite.
    pub const fn enrol(invite: InviteId) -> Opening {
        Opening { kind: Kind::Tracker, suite: Suite::ChaCha20Poly1305, invite }
    }
    /// A link between devices.
    pub const fn data(suite: Suite) -> Opening {
        Opening { kind: Kind::Data, suite, invite: InviteId(0) }
    }

    pub(super) fn encode(&self) -> [u8; PREAMBLE] {
        let mut out = [0; PREAMBLE];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&[VERSION, self.kind as u8, self.suite as u8, 0]);
        out[8..].copy_from_slice(&self.invite.0.to_le_bytes());
        out
    }

    /// What `bytes` open; every other bit pattern is refused.
    pub(super) fn decode(bytes: &[u8; PREAMBLE]) -> Option<Opening> {
        let kind = match bytes[5] {
            1 => Kind::Tracker,
            2 => Kind::Data,
            _ => return None,
        };
        let suite = match (bytes[6], kind) {
            (1, _) => Suite::ChaCha20Poly1305,
            (2, Kind::Data) => Suite::Aes256Gcm,
            _ => return None,
        };
        let [.., a, b, c, d] = *bytes;
        let invite = InviteId(u32::from_le_bytes([a, b, c, d]));
        let opening = Opening { kind, suite, invite };
        let sound = kind == Kind::Tracker || invite.0 == 0;
        (sound && opening.encode() == *bytes).then_some(opening)
    }
}

/// How the first bytes of a preamble look, before it is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// As they should, so far.
    Fits,
    /// Not this protocol.
    Foreign,
    /// This protocol, in a version that is not spoken here.
    Version(u8),
}

/// Judges the first `bytes` of a link.
pub(super) fn judge_start(bytes: &[u8]) -> Start {
    let n = bytes.len().min(MAGIC.len());
    match bytes.get(4) {
        _ if bytes[..n] != MAGIC[..n] => Start::Foreign,
        Some(v) if *v != VERSION => Start::Version(*v),
        _ => Start::Fits,
    }
}

/// The tag over `said` (preamble and message 1) for a listener of that key. Its equality takes constant time.
pub(super) fn tag(listener: &PublicKey, said: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(&blake3::derive_key(TAG_DOMAIN, &listener.0), said)
}
