//! From what is stored to what a tracker is made of.

use crate::card::Card;
use crate::words;
use dartsync_core::link::StaticKey;
use dartsync_core::link::code::{CODE_MAX, InviteCode};
use dartsync_core::roster::ROSTER_BYTES;
use dartsync_core::tracker::{Config, Past, Tracker, recovery_digest};
use dartsync_core::wire::message;
use dartsync_hal::entropy::Entropy;
use dartsync_hal::storage::{Item, Storage};
use heapless::String;

/// Derives the key of the roster's seal from the identity.
const ROSTER_KEY: &str = "dartsync 2026 roster seal key v1";
/// The version that devices are told.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who the tracker is and what it remembers.
pub struct Stored {
    /// Its identity.
    pub key: StaticKey,
    /// The identity was drawn just now and is not stored yet: [`Stored::keep`] is due.
    pub is_new: bool,
    /// Length of the sealed roster in the buffer it was loaded to.
    roster: Option<usize>,
}

/// Why a tracker cannot start.
#[derive(Debug)]
pub enum StartError<E> {
    /// The storage says why.
    Storage(E),
    /// The stored identity is not 32 bytes long.
    Identity,
}

impl<E: core::fmt::Display> core::fmt::Display for StartError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            StartError::Storage(e) => e.fmt(f),
            StartError::Identity => f.write_str("the stored identity is damaged; restore it from its words"),
        }
    }
}

impl<E: core::fmt::Display + core::fmt::Debug> core::error::Error for StartError<E> {}

/// The stored identity; none if there is none.
pub fn load_identity<S: Storage>(storage: &mut S) -> Result<Option<StaticKey>, StartError<S::Error>> {
    let mut secret = [0; 33];
    match storage.load(Item::Identity, &mut secret).map_err(StartError::Storage)? {
        None => Ok(None),
        Some(32) => Ok(secret.first_chunk().map(StaticKey::from_secret)),
        Some(_) => Err(StartError::Identity),
    }
}

/// What a tracker without storage is made of at each start; `seed` fresh.
pub fn from_card(card: &Card, seed: [u8; 32]) -> Config<'_> {
    Config {
        roster_key: blake3::derive_key(ROSTER_KEY, &card.identity),
        seed,
        past: Past::Lost,
        founder: Some(card.founder()),
        recovery: Some(recovery_digest(&words::encode(&card.identity))),
        home: &card.home,
        version: VERSION,
    }
}

impl Stored {
    /// Loads what is stored, the sealed roster to `buffer`; draws an identity at the first start.
    pub fn load<S: Storage>(
        storage: &mut S,
        entropy: &mut impl Entropy,
        buffer: &mut [u8; ROSTER_BYTES],
    ) -> Result<Stored, StartError<S::Error>> {
        if let Some(key) = load_identity(storage)? {
            let roster = storage.load(Item::Roster, buffer).map_err(StartError::Storage)?;
            return Ok(Stored { key, is_new: false, roster });
        }
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        Ok(Stored { key: StaticKey::from_secret(&secret), is_new: true, roster: None })
    }
    /// What the tracker is made of; `buffer` as it was loaded to, `seed` fresh.
    pub fn config<'c>(&self, buffer: &'c [u8; ROSTER_BYTES], seed: [u8; 32], home: &'c str) -> Config<'c> {
        let past = match self.roster {
            _ if self.is_new => Past::New,
            Some(n) => Past::Sealed(&buffer[..n]),
            None => Past::Lost,
        };
        Config {
            roster_key: blake3::derive_key(ROSTER_KEY, self.key.secret()),
            seed,
            past,
            founder: None,
            recovery: Some(recovery_digest(&words::encode(self.key.secret()))),
            home,
            version: VERSION,
        }
    }
    /// At the first start: keeps the empty roster, then the identity. In this order a power cut between leaves a
    /// first start, never an identity whose roster seems lost.
    pub fn keep<S: Storage>(
        &self,
        storage: &mut S,
        tracker: &Tracker<'_>,
    ) -> Result<(), StartError<S::Error>> {
        if self.is_new {
            storage.save(Item::Roster, tracker.sealed_roster()).map_err(StartError::Storage)?;
            storage.save(Item::Identity, self.key.secret()).map_err(StartError::Storage)?;
        }
        Ok(())
    }
    /// The code by which the first device joins, while no device ever has.
    pub fn founding_code(
        &self,
        tracker: &Tracker<'_>,
        addresses: impl IntoIterator<Item = message::Addr>,
    ) -> Option<String<CODE_MAX>> {
        let (invite, secret) = tracker.founding_invite()?;
        let mut code =
            InviteCode { tracker: self.key.public(), invite, secret, addresses: Default::default() };
        for a in addresses {
            if code.addresses.push(a).is_err() {
                break;
            }
        }
        Some(code.encode())
    }
}
