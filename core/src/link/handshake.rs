//! The Noise handshake, wrapped so that the rest of the module sees bytes and keys alone.

use super::preamble::{Opening, PREAMBLE};
use super::records::Records;
use crate::ids::PublicKey;
use crate::rng::Rng;
use clatter::bytearray::{ByteArray, SensitiveByteArray};
use clatter::crypto::{cipher::ChaChaPoly, dh::X25519, hash::Blake2s};
use clatter::handshakepattern::{noise_ik, noise_ik_psk2};
use clatter::traits::Dh;
use clatter::{Handshaker, KeyPair, NqHandshakeCore};
use rand_core::{CryptoRng, RngCore};

/// Bytes of message 1: ephemeral key, sealed static key, seal of the empty payload.
pub(super) const MESSAGE_1: usize = 32 + 48 + 16;
/// Bytes of message 2: ephemeral key, seal of the empty payload.
pub(super) const MESSAGE_2: usize = 32 + 16;

const SECRET_DOMAIN: &str = "dartsync 2026 invite secret v1";
const PROLOGUE: &[u8; 8] = b"dartsync";

type Pair = KeyPair<[u8; 32], SensitiveByteArray<[u8; 32]>>;
type Noise = NqHandshakeCore<X25519, ChaChaPoly, Blake2s, Unused>;

/// Who one is: an X25519 key pair. Wiped when dropped.
#[derive(Clone)]
pub struct StaticKey(Pair);

impl StaticKey {
    /// The key pair of a secret.
    pub fn from_secret(secret: &[u8; 32]) -> StaticKey {
        let secret = SensitiveByteArray::new(*secret);
        StaticKey(KeyPair::new(X25519::pubkey(&secret), secret))
    }
    /// A new key pair.
    pub fn generate(rng: &mut Rng) -> StaticKey {
        StaticKey::from_secret(&rng.bytes())
    }
    /// The half that others know one by.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public)
    }
    /// The secret half: for keeping it durably, and for deriving further keys (BLAKE3 `derive_key`).
    pub fn secret(&self) -> &[u8; 32] {
        &self.0.secret
    }
}

impl core::fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "StaticKey({:?})", self.public())
    }
}

/// The handshake failed: forged, damaged, of other keys or of another secret. Which, nobody can tell.
pub(super) struct Failed;

/// The dialler's half, between its two messages. Wiped when dropped.
pub(super) struct Dialling(Noise);

/// Writes message 1 to `out`.
pub(super) fn dial(
    me: &StaticKey,
    peer: &PublicKey,
    opening: &Opening,
    secret: Option<&[u8; 16]>,
    rng: &mut Rng,
    out: &mut [u8; MESSAGE_1],
) -> Dialling {
    let mut noise = noise(opening, true, me, Some(peer), secret, rng);
    let n = noise.write_message(&[], out).expect("keys and room are there, and X25519 takes any key");
    assert_eq!(n, MESSAGE_1, "IK's first message has a fixed length");
    Dialling(noise)
}

impl Dialling {
    /// Takes message 2; the link stands then.
    pub(super) fn finish(self, message: &[u8; MESSAGE_2]) -> Result<Records, Failed> {
        let Dialling(mut noise) = self;
        noise.read_message(message, &mut []).map_err(|_| Failed)?;
        Ok(records(&noise, true))
    }
}

/// The listener's half: takes message 1, writes message 2 to `out`; gives the dialler's key.
pub(super) fn answer(
    me: &StaticKey,
    opening: &Opening,
    secret: Option<&[u8; 16]>,
    rng: &mut Rng,
    message: &[u8; MESSAGE_1],
    out: &mut [u8; MESSAGE_2],
) -> Result<(Records, PublicKey), Failed> {
    let mut noise = noise(opening, false, me, None, secret, rng);
    noise.read_message(message, &mut []).map_err(|_| Failed)?;
    let peer = noise.get_remote_static().ok_or(Failed)?;
    // A key of low order has the same shared secret with everyone: whoever named it would be nobody.
    let shared = X25519::dh(&me.0.secret, &peer).map_err(|_| Failed)?;
    if shared.as_slice().iter().all(|b| *b == 0) {
        return Err(Failed);
    }
    noise.write_message(&[], out).map_err(|_| Failed)?;
    Ok((records(&noise, false), PublicKey(peer)))
}

fn noise(
    opening: &Opening,
    initiator: bool,
    me: &StaticKey,
    peer: Option<&PublicKey>,
    secret: Option<&[u8; 16]>,
    rng: &mut Rng,
) -> Noise {
    let mut prologue = [0; PROLOGUE.len() + PREAMBLE];
    prologue[..PROLOGUE.len()].copy_from_slice(PROLOGUE);
    prologue[PROLOGUE.len()..].copy_from_slice(&opening.encode());
    let pattern = if secret.is_some() { noise_ik_psk2() } else { noise_ik() };
    let ephemeral = StaticKey::generate(rng).0;
    let (me, peer) = (Some(me.0.clone()), peer.map(|p| p.0));
    let mut noise = Noise::new(pattern, &prologue, initiator, me, Some(ephemeral), peer, None)
        .expect("both patterns are of Diffie-Hellman kind and have their keys");
    if let Some(secret) = secret {
        noise.push_psk(&blake3::derive_key(SECRET_DOMAIN, secret));
    }
    noise
}

fn records(noise: &Noise, initiator: bool) -> Records {
    let hash = noise.get_state().get_hash();
    let both = noise.get_state().split().expect("a finished handshake has key material");
    let (send, receive) = match initiator {
        true => (both.initiator_to_responder, both.responder_to_initiator),
        false => (both.responder_to_initiator, both.initiator_to_responder),
    };
    Records::new(send, receive, *hash)
}

/// Stands where clatter wants a generator that makes itself: ephemeral keys are handed in instead, so none is drawn.
#[derive(Clone, Default)]
pub(super) struct Unused;

impl RngCore for Unused {
    fn next_u32(&mut self) -> u32 {
        unreachable!("ephemeral keys are handed in")
    }
    fn next_u64(&mut self) -> u64 {
        unreachable!("ephemeral keys are handed in")
    }
    fn fill_bytes(&mut self, _: &mut [u8]) {
        unreachable!("ephemeral keys are handed in")
    }
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), rand_core::Error> {
        unreachable!("ephemeral keys are handed in")
    }
}

impl CryptoRng for Unused {}
