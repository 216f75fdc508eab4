//! How old things in the trash are. No clock tells: one that leaps ahead, or is set right after it lagged behind, would make
//! old at once what came yesterday.
//!
//! A root has a time of its own, which goes on while the program runs. For what passed while it did not (the machine was
//! off or asleep), the wall clock is believed, up to a day at a time; where it goes back, what was believed is taken back. So
//! a leap makes nothing older than by a day, and a trash of a machine that is hardly ever on is kept longer, not for ever.
//! Each directory of the trash is as old as it has been seen in that time; names of days are for users.

use super::beneath::{cause, io_cause, open};
use super::marker::own_dir;
use super::root::{Root, lock};
use dartsync_core::peer::Cause;
use rustix::fs::{Mode, OFlags, openat, renameat};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// Where it is remembered in `.dartsync`.
const NAME: &[u8] = b"ages";
const FIRST_LINE: &str = "DartSync ages 1";
/// Bytes of it that are read: far beyond what a trash has directories.
const MOST: u64 = 16 << 20;
/// A day in µs.
pub(super) const DAY: u64 = 86_400_000_000;
/// Before this day (2025-01-01) no program of ours ran, µs: a clock that says less was not set yet.
const FIRST_DAY: u64 = 20_089 * DAY;

/// The time of a root, and what was seen when.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Ages {
    /// Its time, µs.
    time: u64,
    /// What the wall clock said then, µs; 0: nothing.
    wall: u64,
    /// How much of the time the wall clock alone vouches for, µs.
    vouched: u64,
    /// The directories of the trash, and when each was first seen.
    slots: BTreeMap<Vec<u8>, u64>,
}

impl Ages {
    /// The program has run for `ran` µs, and the wall clock says `wall` (µs).
    fn go_on(&mut self, wall: u64, ran: u64) {
        self.time = self.time.saturating_add(ran);
        if wall < FIRST_DAY {
            return;
        }
        let expected = self.wall.saturating_add(ran);
        if self.wall > 0 && wall > expected {
            let more = (wall - expected).min(DAY);
            self.time = self.time.saturating_add(more);
            self.vouched = self.vouched.saturating_add(more);
        } else if wall < expected {
            let less = self.vouched.min(expected - wall);
            self.time = self.time.saturating_sub(less);
            self.vouched -= less;
        }
        self.wall = wall;
    }

    /// These are the directories that there are now.
    fn see(&mut self, slots: &[Vec<u8>]) {
        let seen = slots.iter().map(|slot| (slot.clone(), *self.slots.get(slot).unwrap_or(&self.time)));
        self.slots = seen.collect();
    }

    /// For how long a directory has been there, in days.
    pub(super) fn of(&self, slot: &[u8]) -> u64 {
        self.slots.get(slot).map_or(0, |since| self.time.saturating_sub(*since) / DAY)
    }

    /// Behind the first line: how many directories there are, then time, wall and what is vouched for, then a line each.
    fn text(&self) -> String {
        let mut text =
            format!("{FIRST_LINE}\n{} {} {} {}\n", self.slots.len(), self.time, self.wall, self.vouched);
        for (slot, since) in &self.slots {
            text += &format!("{since} {}\n", String::from_utf8_lossy(slot));
        }
        text
    }

    /// None of what is torn: then all is as if it had come just now.
    fn parse(text: &str) -> Option<Ages> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut numbers = lines.next()?.split(' ').map(|n| n.parse::<u64>().ok());
        let mut next = || numbers.next()?;
        let (count, time, wall, vouched) = (next()?, next()?, next()?, next()?);
        let slots = lines.map(|line| {
            let (since, slot) = line.split_once(' ')?;
            Some((slot.as_bytes().to_vec(), since.parse().ok()?))
        });
        let slots: BTreeMap<Vec<u8>, u64> = slots.collect::<Option<_>>()?;
        (slots.len() as u64 == count).then_some(Ages { time, wall, vouched, slots })
    }

    /// What the root that `root` is open on remembers.
    pub(super) fn read(root: impl AsFd) -> Ages {
        let read = || {
            let file = open(own_dir(root).ok()?.as_fd(), NAME, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
            let mut text = String::new();
            File::from(file).take(MOST).read_to_string(&mut text).ok()?;
            Ages::parse(&text)
        };
        read().unwrap_or_default()
    }
}

impl Root {
    /// What is known of these directories of the trash now, `ran` µs after this was asked last, or after the start.
    pub(super) fn ages(&self, slots: &[Vec<u8>], wall: u64, ran: u64) -> Ages {
        let mut ages = lock(&self.ages);
        let none_before = ages.slots.is_empty();
        ages.go_on(wall, ran);
        ages.see(slots);
        if !(none_before && slots.is_empty()) {
            // What cannot be kept, on a full disk say, is known while this runs; then it is younger than it was.
            let _ = self.keep_ages(&ages);
        }
        ages.clone()
    }

    /// Whether a directory of the trash has been there for so long that what comes now is not to be as old: a clock says
    /// that it is that day, again or still.
    pub(super) fn is_old_slot(&self, slot: &[u8]) -> bool {
        lock(&self.ages).of(slot) > 0
    }

    fn keep_ages(&self, ages: &Ages) -> Result<(), Cause> {
        let (own, tmp) = (own_dir(self.dir())?, self.tmp()?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&tmp, NAME, flags, Mode::RUSR | Mode::WUSR).map_err(cause)?;
        File::from(file).write_all(ages.text().as_bytes()).map_err(io_cause)?;
        renameat(&tmp, NAME, &own, NAME).map_err(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = DAY / 24;
    const NOW: u64 = 20_500 * DAY;

    fn ages() -> Ages {
        let mut ages = Ages::default();
        ages.go_on(NOW, HOUR);
        ages.see(&[b"2026-02-16".to_vec()]);
        ages
    }

    #[test]
    fn time_goes_on_with_a_machine_that_runs_or_rests() {
        let mut ages = ages();
        let start = ages.time;
        (1..=48).for_each(|n| ages.go_on(NOW + n * HOUR, HOUR));
        assert_eq!(ages.time - start, 2 * DAY);
        // Off each night, and over a weekend: of that a day.
        ages.go_on(NOW + 2 * DAY + 14 * HOUR, HOUR);
        assert_eq!(ages.time - start, 2 * DAY + 14 * HOUR);
        ages.go_on(NOW + 5 * DAY, 0);
        assert_eq!(ages.time - start, 3 * DAY + 14 * HOUR);
        assert_eq!((ages.of(b"2026-02-16"), ages.of(b"another")), (3, 0));
        // Hardly ever on: a day for each time.
        (1..=30).for_each(|n| ages.go_on(NOW + (5 + 7 * n) * DAY, HOUR));
        assert!(ages.of(b"2026-02-16") >= 33);
    }

    #[test]
    fn a_clock_that_leaps_makes_nothing_old() {
        let mut ages = ages();
        let start = ages.time;
        // Each time it starts, the clock is weeks ahead, or behind, or not set at all, until it is set.
        for n in 0..100 {
            let now = NOW + n * HOUR;
            for wrong in [now + 40 * DAY, now, now - 40 * DAY, now, 5 * DAY, now] {
                ages.go_on(wrong, HOUR / 60);
            }
        }
        let ran = 100 * 6 * HOUR / 60;
        assert!(ages.time - start <= ran + 2 * DAY, "{} h", (ages.time - start) / HOUR);
        assert!(ages.time - start >= ran, "and not younger than the program has run");
        // A clock that has always gone back still lets what is here grow old.
        (0..40 * 24).for_each(|_| ages.go_on(NOW - 300 * DAY, HOUR));
        assert!(ages.of(b"2026-02-16") >= 39);
    }

    #[test]
    fn what_is_remembered_reads_back_and_what_is_torn_is_nothing() {
        let mut ages = ages();
        ages.go_on(NOW + DAY, HOUR);
        ages.see(&[b"2026-02-16".to_vec(), b"2026-02-17T101010-long".to_vec()]);
        let text = ages.text();
        assert_eq!(Ages::parse(&text), Some(ages));
        for n in 0..text.len() {
            assert_eq!(Ages::parse(&text[..n]), None, "{n}");
        }
        assert_eq!(Ages::parse(&text.replace("DartSync ages 1", "DartSync ages 2")), None);
    }
}
