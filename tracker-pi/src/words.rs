//! The identity as 17 words of five letters: 16 bits a word, the last a checksum. Whoever has them is the tracker.

use core::fmt;
use heapless::String;

/// Words of an identity.
pub const WORDS: usize = 17;
/// Bytes of the words with a space between each.
pub const WORDS_BYTES: usize = WORDS * 6 - 1;

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";
const CHECKSUM_DOMAIN: &str = "dartsync 2026 recovery words checksum v1";

/// Why words are no identity. Places count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordsError {
    /// There are so many words, not [`WORDS`].
    Count(usize),
    /// The word at this place is none of ours.
    Word(usize),
    /// Each is a word of ours, but not all are right, or not in order.
    Checksum,
}

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WordsError::Count(n) => write!(f, "{n} words, but {WORDS} are needed"),
            WordsError::Word(n) => write!(f, "word {n} is misspelt"),
            WordsError::Checksum => f.write_str("a word is wrong, or the words are not in order"),
        }
    }
}

impl core::error::Error for WordsError {}

/// The words of an identity, a space between each.
pub fn encode(identity: &[u8; 32]) -> String<WORDS_BYTES> {
    let mut out = String::new();
    let sum = checksum(identity);
    for pair in identity.chunks(2).chain([&sum[..]]) {
        let n = usize::from(pair[0]) << 8 | usize::from(pair[1]);
        let letters = [
            CONSONANTS[n >> 12],
            VOWELS[n >> 10 & 3],
            CONSONANTS[n >> 6 & 15],
            VOWELS[n >> 4 & 3],
            CONSONANTS[n & 15],
        ];
        if !out.is_empty() {
            out.push(' ').expect("made to fit");
        }
        letters.iter().for_each(|l| out.push(char::from(*l)).expect("made to fit"));
    }
    out
}

/// The identity that the words are of. Case and the kind of white space do not matter.
pub fn decode(words: &str) -> Result<[u8; 32], WordsError> {
    let count = words.split_whitespace().count();
    if count != WORDS {
        return Err(WordsError::Count(count));
    }
    let mut all = [0; WORDS * 2];
    for (i, (word, pair)) in words.split_whitespace().zip(all.chunks_mut(2)).enumerate() {
        pair.copy_from_slice(&value(word).ok_or(WordsError::Word(i + 1))?.to_be_bytes());
    }
    let (identity, sum) = all.split_first_chunk().expect("34 bytes are at least 32");
    if checksum(identity) == *sum { Ok(*identity) } else { Err(WordsError::Checksum) }
}

fn value(word: &str) -> Option<u16> {
    let letters: &[u8; 5] = word.as_bytes().try_into().ok()?;
    letters.iter().enumerate().try_fold(0, |n, (i, l)| {
        let l = l.to_ascii_lowercase();
        let place = |among: &[u8]| among.iter().position(|a| *a == l).map(|p| p as u16);
        Some(if i % 2 == 0 { n << 4 | place(CONSONANTS)? } else { n << 2 | place(VOWELS)? })
    })
}

fn checksum(identity: &[u8; 32]) -> [u8; 2] {
    *blake3::derive_key(CHECKSUM_DOMAIN, identity).first_chunk().expect("32 bytes are at least 2")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dartsync_core::rng::Rng;

    #[test]
    fn words_bring_the_identity_back() {
        let mut rng = Rng::from_seed([1; 32]);
        for _ in 0..200 {
            let id = rng.bytes();
            let words = encode(&id);
            assert_eq!((words.len(), decode(&words)), (WORDS_BYTES, Ok(id)));
            assert_eq!(decode(&words.to_uppercase().replace(' ', "\n  ")), Ok(id));
        }
        let text = encode(&[0; 32]);
        assert!(text.starts_with("babab babab "), "{text}");
    }

    #[test]
    fn errors_name_the_place() {
        let words = encode(&[7; 32]);
        assert_eq!(decode(""), Err(WordsError::Count(0)));
        assert_eq!(decode(&words[6..]), Err(WordsError::Count(16)));
        let list: Vec<&str> = words.split(' ').collect();
        for i in 0..WORDS {
            for bad in ["", "baba", "bababa", "bebab", "bab\u{e9}b", "xabab", "abaab"] {
                let mut l = list.clone();
                l[i] = bad;
                let want = if bad.is_empty() { WordsError::Count(16) } else { WordsError::Word(i + 1) };
                assert_eq!(decode(&l.join(" ")), Err(want), "{bad}");
            }
            let mut l = list.clone();
            l[i] = "babab";
            assert_eq!(decode(&l.join(" ")), Err(WordsError::Checksum));
        }
    }
}
