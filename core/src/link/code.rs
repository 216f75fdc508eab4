//! The code that tells a new device where to go: `dart1` and 32-character text, safe to say, type and scan.
//!
//! ```text
//! payload = tracker key 32 · invite id u32 · secret 16 · count u8 · address… · checksum 4     (little endian)
//! address = 4 · ip 4 · port u16  |  6 · ip 16 · port u16
//! text    = "dart1" · the payload's bits from the highest, 5 a character, the last filled with zeros
//! ```
//! A founder's code has invite 0 and a zero secret: it is of use only to the device whose key the tracker was made
//! with.

use crate::ids::{InviteId, PublicKey};
use crate::wire::message::Addr;
use heapless::{String, Vec};

/// Addresses in a code.
pub const CODE_ADDRESSES: usize = 4;
/// Characters of the longest code.
pub const CODE_MAX: usize = PREFIX.len() + (PAYLOAD_MAX * 8).div_ceil(5);

const PREFIX: &str = "dart1";
const FIXED: usize = 32 + 4 + 16 + 1;
const CHECKSUM: usize = 4;
const PAYLOAD_MAX: usize = FIXED + CODE_ADDRESSES * 19 + CHECKSUM;
const CHECKSUM_DOMAIN: &str = "dartsync 2026 invite code checksum v1";
/// No i, l, o, u: they look like others.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What an invite code says. Its `Debug` keeps the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteCode {
    /// The tracker's key: the joiner trusts this one alone.
    pub tracker: PublicKey,
    /// The invite's id; 0 in a founder's code.
    pub invite: InviteId,
    /// Its one-time secret; zero in a founder's code.
    pub secret: [u8; 16],
    /// Where the tracker is, best first.
    pub addresses: Vec<Addr, CODE_ADDRESSES>,
}

/// What is wrong with a code, for the user who typed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeError {
    /// It does not begin with `dart1`.
    Prefix,
    /// This character, at this place (from 0, as typed), is in no code.
    Character(char, usize),
    /// It ends too early.
    Short,
    /// It is longer than any code.
    Long,
    /// A character is wrong, missing or too many: the checksum says no.
    Checksum,
    /// Whole, but made by a program that says more than this one understands.
    Unknown,
}

impl core::fmt::Display for CodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            CodeError::Prefix => f.write_str("an invite code begins with dart1"),
            CodeError::Character(c, at) => write!(f, "{c:?} (character {}) is in no invite code", at + 1),
            CodeError::Short => f.write_str("the invite code is not whole: its end is missing"),
            CodeError::Long => f.write_str("the invite code is too long"),
            CodeError::Checksum => f.write_str("the invite code has a typo"),
            CodeError::Unknown => f.write_str("the invite code is of a newer version of DartSync"),
        }
    }
}

impl core::error::Error for CodeError {}

impl InviteCode {
    /// Whether it is a founder's: good for one device alone, without a secret.
    pub fn is_founders(&self) -> bool {
        self.invite.0 == 0
    }
    /// The code as text.
    pub fn encode(&self) -> String<CODE_MAX> {
        let payload = self.payload();
        let mut out = String::new();
        out.push_str(PREFIX).expect("the longest code fits");
        for i in 0..(payload.len() * 8).div_ceil(5) {
            let word = |at: usize| u16::from(payload.get(at).copied().unwrap_or(0));
            let two = word(i * 5 / 8) << 8 | word(i * 5 / 8 + 1);
            let five = two >> (11 - i * 5 % 8) & 31;
            out.push(char::from(ALPHABET[five as usize])).expect("the longest code fits");
        }
        out
    }
    /// Reads a code. Upper case, spaces, line ends and hyphens are forgiven, as are o for 0 and i or l for 1.
    pub fn decode(text: &str) -> Result<InviteCode, CodeError> {
        let mut payload = Vec::<u8, PAYLOAD_MAX>::new();
        let mut prefix = PREFIX.bytes();
        let (mut bits, mut held) = (0u32, 0u16);
        for (at, c) in text.trim().chars().enumerate() {
            if c.is_whitespace() || c == '-' {
                continue;
            }
            let c = c.to_ascii_lowercase();
            if let Some(want) = prefix.next() {
                let same = u32::from(c) == u32::from(want) || (want == b'1' && matches!(c, 'i' | 'l'));
                if same { continue } else { return Err(CodeError::Prefix) }
            }
            held = held << 5 | u16::from(value(c).ok_or(CodeError::Character(c, at))?);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                payload.push((held >> bits) as u8).map_err(|_| CodeError::Long)?;
                held &= (1 << bits) - 1;
            }
        }
        match prefix.next() {
            Some(_) => Err(CodeError::Prefix),
            None if held != 0 || bits >= 5 => Err(CodeError::Checksum),
            None => Self::read(&payload),
        }
    }

    fn payload(&self) -> Vec<u8, PAYLOAD_MAX> {
        let mut out = Vec::new();
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes).expect("the longest payload fits");
        put(&self.tracker.0);
        put(&self.invite.0.to_le_bytes());
        put(&self.secret);
        put(&[self.addresses.len() as u8]);
        for a in &self.addresses {
            let port = match a {
                Addr::V4(ip, port) => (put(&[4]), put(ip), port).2,
                Addr::V6(ip, port) => (put(&[6]), put(ip), port).2,
            };
            put(&port.to_le_bytes());
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum).expect("the longest payload fits");
        out
    }
    fn read(payload: &[u8]) -> Result<InviteCode, CodeError> {
        let (said, sum) = payload.split_last_chunk::<CHECKSUM>().ok_or(CodeError::Short)?;
        if said.len() < FIXED {
            return Err(CodeError::Short);
        }
        if checksum(said) != *sum {
            return Err(CodeError::Checksum);
        }
        let mut r = Reader(said);
        let code = (|| {
            let tracker = PublicKey(r.take()?);
            let invite = InviteId(u32::from_le_bytes(r.take()?));
            let secret = r.take()?;
            let mut addresses = Vec::new();
            for _ in 0..r.take::<1>()?[0] {
                addresses.push(r.address()?).ok()?;
            }
            r.0.is_empty().then_some(InviteCode { tracker, invite, secret, addresses })
        })();
        code.ok_or(CodeError::Unknown)
    }
}

impl core::fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "InviteCode({:?}, {:?}, {:?})", self.tracker, self.invite, self.addresses)
    }
}

fn value(c: char) -> Option<u8> {
    let c = match c {
        'o' => '0',
        'i' | 'l' => '1',
        c => c,
    };
    ALPHABET.iter().position(|a| u32::from(*a) == u32::from(c)).map(|i| i as u8)
}

fn checksum(said: &[u8]) -> [u8; CHECKSUM] {
    *blake3::derive_key(CHECKSUM_DOMAIN, said).first_chunk().expect("32 bytes are at least 4")
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const K: usize>(&mut self) -> Option<[u8; K]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }
    fn address(&mut self) -> Option<Addr> {
        Some(match self.take::<1>()? {
            [4] => Addr::V4(self.take()?, u16::from_le_bytes(self.take()?)),
            [6] => Addr::V6(self.take()?, u16::from_le_bytes(self.take()?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String as Text, ToString};

    fn address() -> impl Strategy<Value = Addr> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(|(ip, p)| Addr::V4(ip, p)),
            any::<([u8; 16], u16)>().prop_map(|(ip, p)| Addr::V6(ip, p)),
        ]
    }
    fn code() -> impl Strategy<Value = InviteCode> {
        (any::<[u8; 32]>(), any::<u32>(), any::<[u8; 16]>(), prop::collection::vec(address(), 0..=4))
            .prop_map(|(key, id, secret, list)| InviteCode {
                tracker: PublicKey(key),
                invite: InviteId(id),
                secret,
                addresses: list.into_iter().collect(),
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(code in code()) {
            let text = code.encode();
            prop_assert!(text.len() <= CODE_MAX && text.starts_with("dart1"));
            prop_assert_eq!(InviteCode::decode(&text), Ok(code.clone()));
            let spoken: Text = text.to_uppercase().chars().enumerate()
                .flat_map(|(i, c)| [Some(c), (i % 5 == 4).then_some('-')].into_iter().flatten()).collect();
            let spoken = spoken.replace('0', "O").replace('1', "l");
            prop_assert_eq!(InviteCode::decode(&spoken), Ok(code));
        }

        #[test]
        fn a_typo_is_seen(code in code(), at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
            let text = code.encode();
            let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
            let mut typo = text.as_bytes().to_vec();
            typo[at] = ALPHABET[to.index(32)];
            let typo = Text::from_utf8(typo).unwrap();
            if typo != text.as_str() { prop_assert_eq!(InviteCode::decode(&typo), Err(CodeError::Checksum)); }
            let cut = &text[..at];
            let got = InviteCode::decode(cut);
            prop_assert!(matches!(got, Err(CodeError::Checksum | CodeError::Short)), "{:?}", got);
            let swapped: Text = text.chars().enumerate().map(|(i, c)| match i {
                _ if at + 1 == text.len() => c,
                i if i == at => text.as_bytes()[at + 1] as char,
                i if i == at + 1 => text.as_bytes()[at] as char,
                _ => c,
            }).collect();
            if swapped != text.as_str() { prop_assert!(InviteCode::decode(&swapped).is_err()); }
        }

        #[test]
        fn any_text_is_judged(text in ".{0,300}", tail in "[0-9a-z]{0,300}") {
            let _ = InviteCode::decode(&text);
            let _ = InviteCode::decode(&(PREFIX.to_string() + &tail));
        }
    }

    #[test]
    fn errors_are_precise() {
        let is = |text: &str, e| assert_eq!(InviteCode::decode(text), Err(e), "{text}");
        is("", CodeError::Prefix);
        is("dart", CodeError::Prefix);
        is("dart2abc", CodeError::Prefix);
        is("dart1", CodeError::Short);
        is("dart1abu", CodeError::Character('u', 7));
        is("dart1ab\u{e9}", CodeError::Character('\u{e9}', 7));
        is(&("dart1".to_string() + &"0".repeat(400)), CodeError::Long);
        let code = InviteCode {
            tracker: PublicKey([1; 32]),
            invite: InviteId(0),
            secret: [0; 16],
            addresses: [Addr::V4([10, 0, 0, 1], 7420)].into_iter().collect(),
        };
        assert!(code.is_founders());
        is(&code.encode()[..60], CodeError::Short);
        let said = std::format!("{code:?}");
        assert!(said.contains("7420") && !said.contains("secret"));
    }

    #[test]
    fn the_form_is_frozen() {
        let code = InviteCode {
            tracker: PublicKey(core::array::from_fn(|i| i as u8)),
            invite: InviteId(0x01020304),
            secret: [0xa5; 16],
            addresses: [Addr::V4([192, 168, 1, 20], 7420)].into_iter().collect(),
        };
        let text = "dart1000g40r40m30e209185gr38e1w8124gk2gahc5rr34d1p70x3rfg\
                    80r206jtb9d5mpjtb9d5mpjtb9d5mpjg2160n00h9z0ww88ezwg";
        assert_eq!(code.encode(), text);
    }
}
