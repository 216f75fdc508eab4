//! Randomness of the world: cheap and keyed. Each draw comes from a generator of its own, made of the seed, of what is
//! drawn, for whom, and which time; so what a smaller world leaves out changes no other draw.

/// What a draw is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum For {
    /// What the seed's world is like.
    World,
    /// What a device is like.
    Device,
    /// A kind of fault: whether it strikes at all, and how often.
    Kind,
    /// When a kind of fault strikes next.
    Pause,
    /// Where it strikes, and how.
    Strike,
    /// When a user comes back, and for how much.
    Turn,
    /// What a user does.
    Deed,
    /// The secret of a program's run.
    Run,
    /// The secret of a tracker's run.
    Tracker,
    /// How long what travels takes.
    Net,
    /// What becomes of a dial.
    Dial,
    /// What still arrives over a link that breaks, and whether its end is noticed.
    Break,
    /// How long a disk takes.
    Disk,
    /// What a disk does of two things that it may do.
    Whim,
    /// Whether a disk says no.
    Error,
    /// Whether a user saves at the last instant.
    Race,
    /// How much of a directory is read at once.
    Batch,
    /// When the kernel's news are read.
    Read,
    /// Whether the kernel loses some.
    Overflow,
    /// How long a content takes.
    Fetch,
    /// Whether a commit under way is kept.
    Commit,
    /// Who comes late, and when.
    Late,
    /// When a user pauses a folder, and for how long.
    Pauses,
    /// Who unlinks a folder, and when.
    Links,
}

/// Draws of one purpose and one device, told apart by what they are about, within so long (a power of two, µs) are told
/// apart by their order; later ones by the time. So a world in which something small is left out goes on as it did.
const MOMENT: u32 = 16;
/// Places where the orders are kept: another purpose in the same place begins anew.
const PLACES: usize = 1 << 10;

/// The luck of a world.
pub struct Luck {
    seed: u64,
    /// Other luck of nets and disks in the same world; 0: the seed's own.
    pub salt: u64,
    orders: Box<[(u64, u64); PLACES]>,
}

impl Luck {
    /// That of a seed.
    pub fn new(seed: u64) -> Luck {
        Luck { seed: mix(seed ^ 0x5851_f42d_4c95_7f2d), salt: 0, orders: Box::new([(0, 0); PLACES]) }
    }
    /// For a purpose: of `a`, for the `b`th time.
    pub fn of(&self, what: For, a: u64, b: u64) -> Rand {
        Rand(mix(mix(mix(self.seed ^ what as u64) ^ a) ^ b))
    }
    /// For a purpose of a device at this time (µs), about `which`.
    pub fn at(&mut self, now: u64, what: For, who: usize, which: u64) -> Rand {
        let key = mix(mix((now >> MOMENT) ^ self.salt << 40) ^ which) ^ (who as u64) << 8 ^ what as u64;
        let order = &mut self.orders[(mix(key) >> 54) as usize];
        *order = if order.0 == key { (key, order.1 + 1) } else { (key, 0) };
        Rand(mix(mix(self.seed ^ key) ^ order.1))
    }
}

fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
/// Bytes as a number to draw by.
pub fn number(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)))
}

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
        let z = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z
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
    /// One of them, told apart by a number each: the same whether or not others are there.
    pub fn choose<T>(&mut self, of: impl IntoIterator<Item = T>, by: impl Fn(&T) -> u64) -> Option<T> {
        let key = self.next();
        of.into_iter().min_by_key(|x| mix(key ^ by(x)))
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
    /// A seed for a machine of the core.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut s = [0; 32];
        s.chunks_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_le_bytes()));
        s
    }
}
