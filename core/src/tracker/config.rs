//! What a tracker is made of, and what it tells its driver.

use crate::ids::{InviteId, LinkId, PublicKey};
use heapless::String;

/// Who is at the other end of an authenticated link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The key that the handshake proved.
    pub key: PublicKey,
    /// The invite whose secret went into the handshake, if it was one with a secret.
    pub invite: Option<InviteId>,
}

/// What this tracker's identity has lived through, as far as its storage says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Past<'c> {
    /// The identity was made just now: an empty roster is founded ([`Event::SaveRoster`] asks to keep it).
    New,
    /// The sealed roster that was stored.
    Sealed(&'c [u8]),
    /// There is an identity but no roster: the home's devices hand theirs in (R20). A tracker without storage starts
    /// so each time.
    Lost,
}

/// What a tracker is made of.
#[derive(Clone, Copy, Debug)]
pub struct Config<'c> {
    /// Key of the roster's MAC, derived from the identity.
    pub roster_key: [u8; 32],
    /// Everything random is drawn from it: epoch, nonce, folder ids, invites. Fresh at each start.
    pub seed: [u8; 32],
    /// See [`Past`].
    pub past: Past<'c>,
    /// The device that a tracker without storage was made for: it joins without an invite (R21).
    pub founder: Option<PublicKey>,
    /// [`recovery_digest`] of the identity's words: what R20's override is checked against.
    pub recovery: Option<[u8; 32]>,
    /// The home's name, at most 64 bytes are told.
    pub home: &'c str,
    /// The program's version, at most 32 bytes are told.
    pub version: &'c str,
}

/// What a tracker asks of its driver, or tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The sealed roster changed: store it durably. Several changes may share one event.
    SaveRoster,
    /// Close this link.
    Hang(LinkId),
    /// A line for the log.
    Log(String<128>),
}

/// What [`Config::recovery`] is made of: the words in lower case, divided by single spaces.
pub fn recovery_digest(words: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("dartsync 2026 recovery words v1");
    for word in words.split_whitespace() {
        word.bytes().for_each(|b| {
            hasher.update(&[b.to_ascii_lowercase()]);
        });
        hasher.update(b" ");
    }
    hasher.finalize().into()
}
