//! `dartsync.cfg`: what a tracker without storage is told at each start, a file that the firmware loads beside it.
//!
//! ```text
//! "DARTSCFG" · version u16 · length u16 · body (postcard of Card) · checksum 8        (little endian)
//! ```
//! What follows the checksum does not matter: firmware does not always say where a file ends.

use core::fmt;
use dartsync_core::ids::PublicKey;
use dartsync_core::link::StaticKey;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Where a tracker that was told by a card is reached.
pub const PORT: u16 = 7420;
/// Bytes of the longest file.
pub const CARD_MAX: usize = HEAD + BODY_MAX + SUM;
/// Bytes of a home's name at most.
pub const HOME_MAX: usize = 64;

const MAGIC: &[u8; 8] = b"DARTSCFG";
const VERSION: u16 = 1;
const HEAD: usize = MAGIC.len() + 4;
const BODY_MAX: usize = 256;
const SUM: usize = 8;
const SUM_DOMAIN: &str = "dartsync 2026 card checksum v1";
const SEED_DOMAIN: &str = "dartsync 2026 card seed v1";

/// What a tracker is told. Whoever has it is the tracker: `Debug` keeps the secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The tracker's identity.
    pub identity: [u8; 32],
    /// Key of the device that the tracker was made for (R21).
    pub founder: [u8; 32],
    /// The home's name.
    pub home: String<HOME_MAX>,
    /// A fixed address; none: one is asked for by DHCP.
    pub address: Option<Fixed>,
    /// Stirred into the randomness of each start, and all there is of it on a machine that has no source.
    pub seed: [u8; 32],
    /// Whether it is to fail.
    pub trial: Trial,
}

/// What a tracker is to do right after its start, to see what becomes of it. Nothing but tests asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Trial {
    /// Its work.
    None,
    /// Panic.
    Panic,
    /// Run its stack over.
    Overrun,
    /// Go round in a loop for ever.
    Stuck,
}

/// A fixed IPv4 address with the length of its network's prefix, bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fixed {
    /// The address.
    pub ip: [u8; 4],
    /// 1 to 30.
    pub prefix: u8,
}

/// Why a file tells a tracker nothing; said on its console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardError {
    /// There is no file, or another one.
    Missing,
    /// It is of another version of the program.
    Version(u16),
    /// It is cut short, or some of it is wrong.
    Damaged,
}

impl fmt::Display for CardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CardError::Missing => f.write_str("dartsync.cfg is missing"),
            CardError::Version(n) => write!(f, "dartsync.cfg is of version {n}, not {VERSION}"),
            CardError::Damaged => f.write_str("dartsync.cfg is damaged"),
        }
    }
}

impl core::error::Error for CardError {}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("home", &self.home)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Card {
    /// The file.
    pub fn encode(&self) -> Vec<u8, CARD_MAX> {
        let mut body = [0; BODY_MAX];
        let body = postcard::to_slice(self, &mut body).expect("the longest card fits");
        let mut out = Vec::new();
        let len = (body.len() as u16).to_le_bytes();
        for part in [&MAGIC[..], &VERSION.to_le_bytes(), &len, body] {
            out.extend_from_slice(part).expect("the longest card fits");
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum).expect("the longest card fits");
        out
    }
    /// Reads a file; anything may follow it.
    pub fn decode(file: &[u8]) -> Result<Card, CardError> {
        let rest = file.strip_prefix(MAGIC).ok_or(CardError::Missing)?;
        let (version, rest) = rest.split_first_chunk().ok_or(CardError::Damaged)?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(CardError::Version(version));
        }
        let (len, rest) = rest.split_first_chunk().ok_or(CardError::Damaged)?;
        let len = usize::from(u16::from_le_bytes(*len));
        let body = rest.get(..len).ok_or(CardError::Damaged)?;
        if rest.get(len..len + SUM) != Some(&checksum(&file[..HEAD + len])[..]) {
            return Err(CardError::Damaged);
        }
        let card: Card = postcard::from_bytes(body).map_err(|_| CardError::Damaged)?;
        let sound = card.address.is_none_or(|a| a.is_usable());
        if sound { Ok(card) } else { Err(CardError::Damaged) }
    }
    /// The tracker's key pair.
    pub fn key(&self) -> StaticKey {
        StaticKey::from_secret(&self.identity)
    }
    /// The founder's key.
    pub fn founder(&self) -> PublicKey {
        PublicKey(self.founder)
    }
    /// A seed for this start, of all that may differ between starts.
    pub fn start_seed(&self, drawn: Option<&[u8; 32]>, more: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(SEED_DOMAIN);
        hasher.update(&self.seed);
        hasher.update(drawn.unwrap_or(&[0; 32]));
        hasher.update(more);
        hasher.finalize().into()
    }
}

impl Fixed {
    /// Reads `A.B.C.D/LEN`; none if that is no address that a machine can have.
    pub fn parse(text: &str) -> Option<Fixed> {
        let (ip, prefix) = text.split_once('/')?;
        let ip: core::net::Ipv4Addr = ip.parse().ok()?;
        let fixed = Fixed { ip: ip.octets(), prefix: prefix.parse().ok()? };
        fixed.is_usable().then_some(fixed)
    }
    /// Whether a machine can have it: it is one host's, within a network of at least two.
    pub fn is_usable(&self) -> bool {
        let ip = core::net::Ipv4Addr::from(self.ip);
        let special = ip.is_multicast() || ip.is_loopback() || ip.is_broadcast() || self.ip[0] == 0;
        let host = u32::from(ip) & u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        let last = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        !special && (1..=30).contains(&self.prefix) && host != 0 && host != last
    }
}

fn checksum(bytes: &[u8]) -> [u8; SUM] {
    *blake3::derive_key(SUM_DOMAIN, bytes).first_chunk().expect("32 bytes are at least 8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card {
            identity: [1; 32],
            founder: [2; 32],
            home: "ünser Heim".try_into().unwrap(),
            address: Fixed::parse("192.168.1.20/24"),
            seed: [3; 32],
            trial: Trial::None,
        }
    }

    #[test]
    fn a_card_comes_back_whatever_follows_it() {
        let longest = Card { home: "h".repeat(HOME_MAX).as_str().try_into().unwrap(), ..card() };
        for c in [card(), Card { address: None, ..card() }, longest] {
            let mut file = c.encode().to_vec();
            assert_eq!(Card::decode(&file), Ok(c.clone()));
            file.extend([0xff; 100]);
            assert_eq!(Card::decode(&file), Ok(c));
        }
    }

    #[test]
    fn every_wrong_byte_is_noticed() {
        let file = card().encode();
        for i in 0..file.len() {
            let mut bad = file.to_vec();
            bad[i] ^= 1;
            let want = match i {
                0..8 => CardError::Missing,
                8..10 => CardError::Version(u16::from_le_bytes([bad[8], bad[9]])),
                _ => CardError::Damaged,
            };
            assert_eq!(Card::decode(&bad), Err(want), "byte {i}");
            let want = if i < 8 { CardError::Missing } else { CardError::Damaged };
            assert_eq!(Card::decode(&file[..i]), Err(want), "cut at {i}");
        }
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(Fixed::parse("10.0.2.15/24"), Some(Fixed { ip: [10, 0, 2, 15], prefix: 24 }));
        for bad in [
            "",
            "10.0.2.15",
            "10.0.2.15/0",
            "10.0.2.15/31",
            "10.0.2.0/24",
            "10.0.2.255/24",
            "127.0.0.1/8",
            "1.2.3/8",
        ] {
            assert_eq!(Fixed::parse(bad), None, "{bad}");
        }
        let bad = Card { address: Some(Fixed { ip: [0; 4], prefix: 99 }), ..card() };
        assert_eq!(Card::decode(&bad.encode()), Err(CardError::Damaged));
    }

    #[test]
    fn starts_differ_by_what_was_drawn_and_when() {
        let c = card();
        let seeds = [c.start_seed(None, b"a"), c.start_seed(None, b"b"), c.start_seed(Some(&[9; 32]), b"a")];
        assert!(seeds[0] != seeds[1] && seeds[0] != seeds[2] && seeds[1] != seeds[2]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = format!("{:?}", card());
        assert!(text.contains("Heim") && !text.contains("1, 1"), "{text}");
    }
}
