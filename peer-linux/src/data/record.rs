//! The record layer of a data link: u16 length (little-endian) ‖ ciphertext ‖ tag. One key a direction; the nonce is
//! the number of the record, so nothing can be dropped, repeated or moved. Keys change every 2^20 records.

use dartsync_core::limits::{AEAD_TAG, DATA_RECORD};
use dartsync_core::link::Suite;
use memmap2::MmapMut;
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::io;

/// Bytes of the length before each record.
pub const LENGTH: usize = 2;
/// Bytes that a record adds to its payload.
pub const OVERHEAD: usize = LENGTH + AEAD_TAG;
/// Bytes of the longest record with its length.
pub const RECORD: usize = OVERHEAD + DATA_RECORD;
/// Records sealed under one key.
const REKEY: u64 = 1 << 20;
/// Domain of the key that follows a key.
const NEXT_KEY: &str = "dartsync 2026 data link next key v1";

/// A record that the other end did not seal next.
#[derive(Debug)]
pub struct Forged;

/// One direction.
pub struct Seal {
    suite: Suite,
    raw: [u8; 32],
    key: LessSafeKey,
    count: u64,
}

impl Seal {
    /// A direction that starts with this key.
    pub fn new(suite: Suite, raw: &[u8; 32]) -> Seal {
        Seal { suite, raw: *raw, key: key(suite, raw), count: 0 }
    }

    /// Seals in place the record at `buf[..]`: [`LENGTH`] bytes of room, the payload, [`AEAD_TAG`] bytes of room.
    pub fn seal(&mut self, buf: &mut [u8]) {
        let sealed = buf.len() - LENGTH;
        assert!((AEAD_TAG..=DATA_RECORD + AEAD_TAG).contains(&sealed), "records have a limit");
        buf[..LENGTH].copy_from_slice(&(sealed as u16).to_le_bytes());
        let (payload, room) = buf[LENGTH..].split_at_mut(sealed - AEAD_TAG);
        let nonce = self.next();
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), payload);
        room.copy_from_slice(tag.expect("a record is far shorter than the cipher's limit").as_ref());
        self.rekey_when_due();
    }

    /// Opens in place what came after a length.
    pub fn open<'a>(&mut self, sealed: &'a mut [u8]) -> Result<&'a [u8], Forged> {
        let nonce = self.next();
        let opened = self.key.open_in_place(nonce, Aad::empty(), sealed).map_err(|_| Forged)?;
        self.rekey_when_due();
        Ok(opened)
    }

    fn next(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.count.to_le_bytes());
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn rekey_when_due(&mut self) {
        if self.count.is_multiple_of(REKEY) {
            self.raw = blake3::derive_key(NEXT_KEY, &self.raw);
            self.key = key(self.suite, &self.raw);
        }
    }
}

fn key(suite: Suite, raw: &[u8; 32]) -> LessSafeKey {
    let algorithm = match suite {
        Suite::Aes256Gcm => &AES_256_GCM,
        Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    };
    LessSafeKey::new(UnboundKey::new(algorithm, raw).expect("both ciphers have keys of 32 bytes"))
}

/// Bytes that are to be written: what stands between `start` and `end`. Its memory is mapped for it alone, and goes with
/// it: an allocator keeps freed blocks of this size for the thread that had them, and devices that dial again and again
/// make many threads.
pub struct Buffer {
    bytes: MmapMut,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty one of this size.
    pub fn new(size: usize) -> io::Result<Buffer> {
        Ok(Buffer { bytes: MmapMut::map_anon(size)?, start: 0, end: 0 })
    }
    /// Gives the memory that was touched back to the system, if nothing is in it.
    pub fn renew(&mut self) {
        if self.is_empty()
            && let Ok(new) = Buffer::new(self.bytes.len())
        {
            *self = new;
        }
    }
    /// What is in it.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
    /// What is in it, to be changed.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
    /// The free room behind what is in it, after moving that to the front if there would be less than `want`.
    pub fn room(&mut self, want: usize) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.bytes.len() - self.end < want && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }
    /// `n` bytes of the room are in it now.
    pub fn grow(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.end, "no more than the room");
        self.end += n;
    }
    /// `n` bytes at its front are done with.
    pub fn take(&mut self, n: usize) {
        assert!(n <= self.end - self.start, "no more than is in it");
        self.start += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ciphers_open_what_they_sealed_and_nothing_else() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            let (mut a, mut b) = (Seal::new(suite, &[1; 32]), Seal::new(suite, &[1; 32]));
            (a.count, b.count) = (REKEY - 2, REKEY - 2);
            for i in 0..5u8 {
                let mut record = vec![i; OVERHEAD + 100];
                a.seal(&mut record);
                assert_eq!(record[..2], 116u16.to_le_bytes());
                assert_eq!(b.open(&mut record[2..]).unwrap(), [i; 100]);
            }
            assert_ne!(a.raw, [1; 32], "the key has changed");
            let mut record = vec![7; OVERHEAD + 9];
            a.seal(&mut record);
            let mut again = record.clone();
            record[5] ^= 1;
            assert!(b.open(&mut record[2..]).is_err());
            assert!(
                b.open(&mut again[2..]).is_err(),
                "a record counts even if it was forged: the link is over"
            );
        }
    }

    #[test]
    fn a_buffer_moves_what_it_holds_to_make_room() {
        let mut b = Buffer::new(10).unwrap();
        b.room(0)[..8].copy_from_slice(b"abcdefgh");
        b.grow(8);
        b.take(6);
        assert_eq!(b.room(5).len(), 8);
        assert_eq!(b.filled(), b"gh");
        b.take(2);
        assert!(b.is_empty() && b.room(10).len() == 10);
    }
}
