//! What follows the handshake: sealed records, or the keys for a record layer elsewhere.

use crate::limits::AEAD_TAG;
use clatter::bytearray::{ByteArray, SensitiveByteArray};
use clatter::cipherstate::CipherState;
use clatter::crypto::cipher::ChaChaPoly;

/// Records sealed under one key.
pub(super) const REKEY: u64 = 1 << 20;

/// Both directions of a link that stands. Wiped when dropped.
pub(super) struct Records {
    send: CipherState<ChaChaPoly>,
    receive: CipherState<ChaChaPoly>,
    hash: [u8; 32],
}

/// A record that is not what the other end sealed next.
pub(super) struct Forged;

impl Records {
    pub(super) fn new(
        send: CipherState<ChaChaPoly>,
        receive: CipherState<ChaChaPoly>,
        hash: [u8; 32],
    ) -> Self {
        Records { send, receive, hash }
    }

    /// Seals `len` bytes at the start of `buf` in place; gives how many they are then.
    pub(super) fn seal(&mut self, buf: &mut [u8], len: usize) -> usize {
        let n = self.send.encrypt_with_ad_in_place(&[], buf, len);
        rekey_when_due(&mut self.send);
        n.expect("2^64 records do not come to pass")
    }

    /// Opens all of `buf` in place; gives how many bytes of plaintext stand at its start.
    pub(super) fn open(&mut self, buf: &mut [u8]) -> Result<usize, Forged> {
        if buf.len() < AEAD_TAG {
            return Err(Forged);
        }
        let len = buf.len();
        let n = self.receive.decrypt_with_ad_in_place(&[], buf, len).map_err(|_| Forged)?;
        rekey_when_due(&mut self.receive);
        Ok(n)
    }

    /// The keys, for a data link's own record layer.
    pub(super) fn into_keys(self) -> DataKeys {
        let (send, receive) = (self.send.clone().take().0, self.receive.clone().take().0);
        DataKeys { send, receive, hash: self.hash }
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, n: u64) {
        self.send.set_nonce(n);
        self.receive.set_nonce(n);
    }
}

/// Nonces go on counting over a change of keys, so both ends know the moment without a word.
fn rekey_when_due(state: &mut CipherState<ChaChaPoly>) {
    if state.get_nonce().is_multiple_of(REKEY) {
        state.rekey().expect("sealing 32 bytes does not fail");
    }
}

/// What a data link's record layer starts from. Wiped when dropped.
pub struct DataKeys {
    send: SensitiveByteArray<[u8; 32]>,
    receive: SensitiveByteArray<[u8; 32]>,
    hash: [u8; 32],
}

impl DataKeys {
    /// The key for what this end sends.
    pub fn send(&self) -> &[u8; 32] {
        &self.send
    }
    /// The key for what this end receives.
    pub fn receive(&self) -> &[u8; 32] {
        &self.receive
    }
    /// The handshake's hash: the same at both ends, different on every link, not secret.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl core::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DataKeys(of {} bytes)", self.send.as_slice().len())
    }
}
