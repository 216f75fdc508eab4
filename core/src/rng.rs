//! Randomness: enters a node once, as a seed; everything random is drawn from a generator made of it.

use rand_core::{CryptoRng, RngCore};

/// Domain of the key that a seed is turned into.
const SEED: &str = "dartsync 2026 rng seed v1";
/// Bytes drawn from one key before it is replaced.
const BLOCK: usize = 96;

/// A deterministic generator fit for keys: BLAKE3 in keyed mode, whose key is replaced at each refill, so that a
/// later state does not tell earlier output. The same seed gives the same bytes.
///
/// ```
/// use dartsync_core::rng::Rng;
/// assert_eq!(Rng::from_seed([7; 32]).next_u64(), Rng::from_seed([7; 32]).next_u64());
/// ```
#[derive(Clone)]
pub struct Rng {
    key: [u8; 32],
    block: [u8; BLOCK],
    used: usize,
}

impl Rng {
    /// A generator made of 32 bytes, which must not be known to others where keys are drawn.
    pub fn from_seed(seed: [u8; 32]) -> Rng {
        Rng { key: blake3::derive_key(SEED, &seed), block: [0; BLOCK], used: BLOCK }
    }
    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut at = 0;
        while at < out.len() {
            if self.used == BLOCK {
                self.refill();
            }
            let n = (BLOCK - self.used).min(out.len() - at);
            let piece = &mut self.block[self.used..self.used + n];
            out[at..at + n].copy_from_slice(piece);
            piece.fill(0);
            self.used += n;
            at += n;
        }
    }
    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }
    /// An array of random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
    /// A number below `bound`, without bias that could matter (2^-32 at most for bounds below 2^32). `bound` > 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a bound of nothing");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
    /// A generator of its own for a part of the node: what either draws later does not depend on the other.
    pub fn fork(&mut self) -> Rng {
        Rng::from_seed(self.bytes())
    }

    fn refill(&mut self) {
        let mut stream = blake3::Hasher::new_keyed(&self.key).finalize_xof();
        stream.fill(&mut self.key);
        stream.fill(&mut self.block);
        self.used = 0;
    }
}

impl core::fmt::Debug for Rng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rng")
    }
}

impl RngCore for Rng {
    fn next_u32(&mut self) -> u32 {
        Rng::next_u32(self)
    }
    fn next_u64(&mut self) -> u64 {
        Rng::next_u64(self)
    }
    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.fill(dest);
    }
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill(dest);
        Ok(())
    }
}

impl CryptoRng for Rng {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn output_does_not_depend_on_how_it_is_asked_for() {
        let mut whole = vec![0; 1000];
        Rng::from_seed([1; 32]).fill(&mut whole);
        let mut parts = vec![0; 1000];
        let mut rng = Rng::from_seed([1; 32]);
        for (i, piece) in parts.chunks_mut(37).enumerate() {
            let (a, b) = piece.split_at_mut(i % piece.len());
            rng.fill(a);
            rng.fill(b);
        }
        assert_eq!(whole, parts);
        assert!(whole.windows(32).all(|w| w.iter().any(|b| *b != 0)));
    }

    #[test]
    fn other_seeds_and_forks_give_other_bytes() {
        let (mut a, mut b) = (Rng::from_seed([1; 32]), Rng::from_seed([2; 32]));
        assert_ne!(a.next_u64(), b.next_u64());
        let mut f = a.fork();
        assert_ne!(f.next_u64(), a.next_u64());
    }

    #[test]
    fn below_reaches_every_value_and_none_beyond() {
        let mut rng = Rng::from_seed([3; 32]);
        let mut seen = [0u32; 7];
        (0..7000).for_each(|_| seen[rng.below(7) as usize] += 1);
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
    }
}
