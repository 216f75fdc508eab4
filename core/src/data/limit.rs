//! A limit on the bytes that go, or are asked for, in a second.

use crate::time::{Duration, Instant};

/// The lowest limit, bytes a second: below it a chunk takes longer than its asker waits.
pub const LIMIT_MIN: u64 = 100_000;
/// So far ahead of the limit one may be: waits shorter than this are not worth it.
const AHEAD: Duration = Duration::millis(20);

/// See the module. Whoever moves bytes tells it, and moves no more before the moment it is told. Several may take turns:
/// each gets as much as the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    rate: Option<u64>,
    /// When all that was moved would have been, at the limit.
    paid: Instant,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit::NONE
    }
}

impl Limit {
    /// No limit.
    pub const NONE: Limit = Limit { rate: None, paid: Instant(0) };

    /// Sets it, in bytes a second, at least [`LIMIT_MIN`] (lower ones are raised to it); none: no limit.
    pub fn set(&mut self, rate: Option<u64>) {
        *self = Limit { rate: rate.map(|r| r.max(LIMIT_MIN)), paid: Instant(0) };
    }
    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.rate.is_some()
    }
    /// Notes that so many bytes move now; when the next may.
    pub fn take(&mut self, at: Instant, bytes: u64) -> Instant {
        if let Some(rate) = self.rate {
            let start = self.paid.max(at);
            self.paid = start + Duration((bytes.saturating_mul(1_000_000) / rate).min(1 << 40));
        }
        self.free(at)
    }
    /// When the next bytes may move: now, or later.
    pub fn free(&self, at: Instant) -> Instant {
        if self.rate.is_none() { at } else { at.max(Instant(self.paid.0.saturating_sub(AHEAD.0))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_goes_than_is_allowed_and_turns_are_fair() {
        let mut limit = Limit::default();
        assert_eq!(limit.take(Instant(5), u64::MAX), Instant(5));
        limit.set(Some(1_000_000));
        // Two who always have more to send, in blocks of different sizes.
        let (mut next, mut sent) = ([Instant(0); 2], [0u64; 2]);
        let blocks = [60_000, 60_000];
        while next.iter().any(|t| t.0 < 10_000_000) {
            let i = usize::from(next[1] < next[0]);
            sent[i] += blocks[i];
            next[i] = limit.take(next[i], blocks[i]);
        }
        let all = sent[0] + sent[1];
        assert!((9_900_000..10_200_000).contains(&all), "{all}");
        assert!(sent[0].abs_diff(sent[1]) <= 2 * blocks[0], "{sent:?}");
        // What was not used is not kept.
        assert_eq!(limit.take(Instant(60_000_000), 100_000), Instant(60_080_000));
        limit.set(Some(1));
        assert_eq!(limit.take(Instant(0), LIMIT_MIN), Instant(980_000));
    }
}
