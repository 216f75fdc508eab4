//! The BCM2835's power management block, as far as it resets the board: a watchdog, and the way to reboot.
//!
//! Ran under QEMU alone so far, never on a board.

use super::regs::Registers;
use crate::clock::Clock;

const RSTC: usize = 0x1C;
const WDOG: usize = 0x24;

const PASSWORD: u32 = 0x5A00_0000;
const RSTC_CONFIG: u32 = 0x30;
const RSTC_FULL_RESET: u32 = 0x20;
const RSTC_STOP: u32 = 0x102;
const WDOG_TICKS: u32 = 0xF_FFFF;
/// The counter runs at 65,536 Hz.
const TICKS_A_SECOND: u32 = 1 << 16;
/// What resets soon enough, and leaves the console's last bytes some time.
const REBOOT_TICKS: u32 = 10;

/// Long enough for a counter to move.
const MOVES_US: u64 = 1_000;

/// The longest time that the watchdog can wait, in seconds.
pub const LONGEST_S: u32 = WDOG_TICKS / TICKS_A_SECOND;

/// The watchdog.
#[derive(Debug)]
pub struct BcmWatchdog<R> {
    regs: R,
}

impl<R: Registers> BcmWatchdog<R> {
    /// The watchdog with these registers, as it is.
    pub const fn new(regs: R) -> Self {
        BcmWatchdog { regs }
    }

    /// Whether it counts at all. One that does not (QEMU's resets the board as soon as it is set going) watches over
    /// nothing, and must not be kicked. Turns it off meanwhile.
    pub fn counts(&self, clock: &impl Clock) -> bool {
        self.stop();
        self.regs.write(WDOG, PASSWORD | WDOG_TICKS);
        let before = self.regs.read(WDOG) & WDOG_TICKS;
        let until = clock.now_us() + MOVES_US;
        while clock.now_us() < until {}
        self.regs.read(WDOG) & WDOG_TICKS < before
    }

    /// From now on the board is reset unless this is called again within so many seconds (1 to [`LONGEST_S`]).
    pub fn kick(&self, seconds: u32) {
        self.arm(seconds.clamp(1, LONGEST_S) * TICKS_A_SECOND);
    }

    /// Turns the watchdog off.
    pub fn stop(&self) {
        self.regs.write(RSTC, PASSWORD | RSTC_STOP);
    }

    /// Resets the board within a millisecond; returns before that.
    pub fn reboot(&self) {
        self.arm(REBOOT_TICKS);
    }

    fn arm(&self, ticks: u32) {
        self.regs.write(WDOG, PASSWORD | ticks & WDOG_TICKS);
        let kept = self.regs.read(RSTC) & !RSTC_CONFIG & 0x00FF_FFFF;
        self.regs.write(RSTC, PASSWORD | kept | RSTC_FULL_RESET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::fake::FakeClock;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Fake(RefCell<Vec<(usize, u32)>>);

    impl Registers for Fake {
        fn read(&self, at: usize) -> u32 {
            assert_eq!(at, RSTC);
            0x5A00_0112
        }
        fn write(&self, at: usize, value: u32) {
            self.0.borrow_mut().push((at, value));
        }
    }

    /// A counter that goes down by so much at each look.
    struct Counter(RefCell<u32>, u32);

    impl Registers for Counter {
        fn read(&self, at: usize) -> u32 {
            assert_eq!(at, WDOG);
            *self.0.borrow_mut() -= self.1;
            *self.0.borrow()
        }
        fn write(&self, at: usize, value: u32) {
            match at {
                WDOG => *self.0.borrow_mut() = value & WDOG_TICKS,
                RSTC => assert_eq!(value & RSTC_CONFIG, 0, "it is not set going"),
                _ => panic!("write of {at:#x}"),
            }
        }
    }

    #[test]
    fn one_that_does_not_count_is_none() {
        for (step, counts) in [(0, false), (60, true)] {
            let dog = BcmWatchdog::new(Counter(RefCell::new(0), step));
            assert_eq!(dog.counts(&FakeClock::default()), counts);
        }
    }

    #[test]
    fn every_write_bears_the_password() {
        let dog = BcmWatchdog::new(Fake::default());
        dog.kick(15);
        dog.kick(100);
        dog.reboot();
        dog.stop();
        let written = dog.regs.0.borrow();
        let armed = (RSTC, 0x5A00_0122);
        let longest = (WDOG, 0x5A0F_0000);
        let soon = (WDOG, 0x5A00_000A);
        assert_eq!(*written, [longest, armed, longest, armed, soon, armed, (RSTC, 0x5A00_0102)]);
    }
}
