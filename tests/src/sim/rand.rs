//! Randomness of the world: cheap, seeded, forked for each component.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rand(u64);

impl Rand {
    /// A generator of this seed.
    pub fn new(seed: u64) -> Rand {
        Rand(seed ^ 0x5851_f42d_4c95_7f2d)
    }
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
    /// True `n` times of `of`.
    pub fn chance(&mut self, n: u64, of: u64) -> bool {
        self.below(of) < n
    }
    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
    /// The place of one of the weights, as often as it weighs.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.below(weights.iter().sum::<u64>().max(1));
        weights
            .iter()
            .position(|w| {
                if at < *w {
                    true
                } else {
                    at -= w;
                    false
                }
            })
            .unwrap_or(0)
    }
    /// A span whose mean is `mean`, never longer than eight times that.
    pub fn around(&mut self, mean: u64) -> u64 {
        let u = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((-(1.0 - u).ln() * mean as f64) as u64).min(mean * 8)
    }
    /// A generator for a component.
    pub fn fork(&mut self) -> Rand {
        Rand(self.next())
    }
    /// A seed for a machine of the core.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut s = [0; 32];
        s.chunks_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_le_bytes()));
        s
    }
}
