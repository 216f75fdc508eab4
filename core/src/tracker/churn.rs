//! How many devices may be put out soon after they were taken in. Revocations are kept for ever and have a bounded list
//! (R20): a device that takes others in only to put them out would fill it, and could then not be put out itself. Who has
//! been in the home for long is counted alone, so that it can put out new devices whatever others do; new devices are
//! counted together, for one that takes others in would have them put each other out. However many do so, the last places
//! of the list, one for each device that a home can have, are for devices that are not new.

use crate::ids::Slot;
use crate::limits;
use crate::time::{Duration, Instant};

/// A device is new for so long.
const NEW: Duration = Duration::secs(24 * 3600);
/// So many new devices may be put out by one, or leave, in [`SPAN`].
const MOST: u8 = 8;
/// See [`MOST`].
const SPAN: Duration = Duration::secs(3600);

/// Why one is not put out.
const OFTEN: &str = "8 devices of the last day were put out within the hour: try again in an hour";
/// See [`OFTEN`].
const FEW: &str = "few more devices can ever be put out: not one that joined within the last day";

/// See the module.
pub(super) struct Churn {
    /// Of each device, the new ones' last: since when they are counted, and how many.
    counts: [(Instant, u8); limits::DEVICES + 1],
}

impl Churn {
    pub(super) const fn new() -> Self {
        Churn { counts: [(Instant(0), 0); limits::DEVICES + 1] }
    }
    /// A device that was taken in then (none: before this tracker's start, or as the home's first) is to be put out now by one of
    /// whom the same is known, when the list has so many places left.
    ///
    /// # Errors
    /// Why it may not be.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        left: usize,
        joined: Option<Instant>,
        by: (Slot, Option<Instant>),
    ) -> Result<(), &'static str> {
        let is_new = |joined: Option<Instant>| joined.is_some_and(|at| now < at + NEW);
        if !is_new(joined) {
            return Ok(());
        }
        if left <= limits::DEVICES {
            return Err(FEW);
        }
        let (since, count) = &mut self.counts[if is_new(by.1) { limits::DEVICES } else { by.0.0 as usize }];
        if *since + SPAN <= now {
            (*since, *count) = (now, 0);
        }
        if *count >= MOST {
            return Err(OFTEN);
        }
        *count += 1;
        Ok(())
    }
}
