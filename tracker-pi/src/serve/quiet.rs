//! A log that strangers cannot flood.

use core::fmt::Arguments;
use dartsync_core::time::{Duration, Instant};
use dartsync_hal::console::Console;

/// Lines about failures in each span.
const LINES: u32 = 20;
const SPAN: Duration = Duration::secs(10);

/// Lets so many lines a span through and says how many were left out.
#[derive(Default)]
pub(super) struct Quiet {
    since: Instant,
    said: u32,
}

impl Quiet {
    /// A line about a failure, or nothing.
    pub(super) fn log(&mut self, console: &mut impl Console, now: Instant, line: Arguments<'_>) {
        self.tick(console, now);
        self.said = self.said.saturating_add(1);
        if self.said <= LINES {
            console.log(line);
        }
    }
    /// Begins a new span when it is time.
    pub(super) fn tick(&mut self, console: &mut impl Console, now: Instant) {
        if now.since(self.since) < SPAN {
            return;
        }
        if self.said > LINES {
            console.log(format_args!("{} more failures of that kind were not logged", self.said - LINES));
        }
        *self = Quiet { since: now, said: 0 };
    }
    /// When a span ends in which something was left out.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.said > LINES).then_some(self.since + SPAN)
    }
}
