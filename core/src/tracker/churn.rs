//! How many devices may be put out soon after they were taken in. Revocations are kept for ever and have a bounded list
//! (R20): a device that takes others in only to put them out would fill it, and could then not be put out itself.

use crate::time::{Duration, Instant};

/// A device is new for so long.
const NEW: Duration = Duration::secs(24 * 3600);
/// So many new devices may be put out, or leave, in [`SPAN`].
const MOST: u8 = 8;
/// See [`MOST`].
const SPAN: Duration = Duration::secs(3600);

/// See the module.
pub(super) struct Churn {
    /// Since when they are counted.
    since: Instant,
    count: u8,
}

impl Churn {
    pub(super) const fn new() -> Self {
        Churn { since: Instant(0), count: 0 }
    }
    /// A device that was taken in then (none: before this tracker's start) is to be put out now: whether it may be.
    pub(super) fn admit(&mut self, now: Instant, joined: Option<Instant>) -> bool {
        if joined.is_none_or(|at| at + NEW <= now) {
            return true;
        }
        if self.since + SPAN <= now {
            (self.since, self.count) = (now, 0);
        }
        let may = self.count < MOST;
        self.count += u8::from(may);
        may
    }
}
