//! Time as a fact that callers hand in: monotonic instants for deadlines, wall time as mere data.

/// A point on a node's own monotonic clock, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(pub u64);

/// A span of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Duration(pub u64);

impl Duration {
    /// A span of milliseconds.
    pub const fn millis(ms: u64) -> Duration {
        Duration(ms * 1_000)
    }
    /// A span of seconds.
    pub const fn secs(s: u64) -> Duration {
        Duration(s * 1_000_000)
    }
    /// The span in whole milliseconds, rounded up.
    pub const fn as_millis_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(d.0))
    }
}

impl Instant {
    /// The span since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// What time it is, by both clocks, at the moment of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Monotonic: what deadlines are made of.
    pub at: Instant,
    /// Microseconds since 1970 by the wall clock: data alone, may step or lie.
    pub wall: u64,
}
