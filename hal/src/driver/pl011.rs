//! ARM's serial line PL011: a console at 8 data bits, no parity, one stop bit.
//!
//! Ran under QEMU alone so far, never on a board.

use super::regs::Registers;
use core::fmt;

const DATA: usize = 0x00;
const FLAGS: usize = 0x18;
const INTEGER_DIVISOR: usize = 0x24;
const FRACTION_DIVISOR: usize = 0x28;
const LINE: usize = 0x2C;
const CONTROL: usize = 0x30;
const MASK: usize = 0x38;
const CLEAR: usize = 0x44;

const FLAG_BUSY: u32 = 1 << 3;
const FLAG_FULL: u32 = 1 << 5;
const LINE_FIFO_8_BITS: u32 = 1 << 4 | 3 << 5;
const CONTROL_ON: u32 = 1 | 1 << 8 | 1 << 9;

/// How often a full line is looked at before a byte is dropped: a byte takes 87 µs at 115,200 baud, a look at the
/// registers of any board more than 10 ns.
const PATIENCE: u32 = 200_000;

/// A serial line.
#[derive(Debug)]
pub struct Pl011<R> {
    regs: R,
}

impl<R: Registers> Pl011<R> {
    /// The line with these registers, which must be [started](Self::start) unless the firmware has done so.
    pub const fn new(regs: R) -> Self {
        Pl011 { regs }
    }

    /// Sets the speed, in baud, from the device's clock, in Hz, and turns it on.
    pub fn start(&self, clock_hz: u32, baud: u32) {
        self.wait_while(FLAG_BUSY);
        self.regs.write(CONTROL, 0);
        self.regs.write(MASK, 0);
        self.regs.write(CLEAR, 0x7FF);
        let (whole, fraction) = divisors(clock_hz, baud);
        self.regs.write(INTEGER_DIVISOR, whole);
        self.regs.write(FRACTION_DIVISOR, fraction);
        self.regs.write(LINE, LINE_FIFO_8_BITS); // takes the divisors over
        self.regs.write(CONTROL, CONTROL_ON);
    }

    /// Sends a byte; one that a stuck line does not take is dropped.
    pub fn put(&self, byte: u8) {
        if self.wait_while(FLAG_FULL) {
            self.regs.write(DATA, byte.into());
        }
    }

    /// Sends text, with a carriage return before each line feed.
    pub fn text(&self, text: &str) {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
    }

    /// Waits until everything has left the line, or it seems stuck.
    pub fn drain(&self) {
        // As long as a full FIFO of 32 bytes may take.
        for _ in 0..32 {
            if self.wait_while(FLAG_BUSY) {
                return;
            }
        }
    }

    fn wait_while(&self, flag: u32) -> bool {
        (0..PATIENCE).any(|_| {
            core::hint::spin_loop();
            self.regs.read(FLAGS) & flag == 0
        })
    }
}

impl<R: Registers> fmt::Write for Pl011<R> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

/// The divisor clock / (16 × baud) in 64ths, rounded, as its whole and its fraction.
fn divisors(clock_hz: u32, baud: u32) -> (u32, u32) {
    let baud = u64::from(baud.max(1));
    let in_64ths = ((u64::from(clock_hz) * 4 + baud / 2) / baud).clamp(64, 0xFFFF * 64);
    ((in_64ths / 64) as u32, (in_64ths % 64) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fmt::Write;

    /// A line that takes a byte every third look; a stuck one never does.
    #[derive(Default)]
    struct Fake {
        written: RefCell<Vec<(usize, u32)>>,
        looks: RefCell<u32>,
        stuck: bool,
    }

    impl Registers for Fake {
        fn read(&self, at: usize) -> u32 {
            assert_eq!(at, FLAGS);
            *self.looks.borrow_mut() += 1;
            if self.stuck || !self.looks.borrow().is_multiple_of(3) { FLAG_FULL | FLAG_BUSY } else { 0 }
        }
        fn write(&self, at: usize, value: u32) {
            self.written.borrow_mut().push((at, value));
        }
    }

    #[test]
    fn the_divisors_are_those_of_the_manual() {
        assert_eq!(divisors(48_000_000, 115_200), (26, 3));
        assert_eq!(divisors(4_000_000, 230_400), (1, 5));
        assert_eq!(divisors(0, 115_200), (1, 0));
    }

    #[test]
    fn text_goes_out_and_line_feeds_return() {
        let mut line = Pl011::new(Fake::default());
        writeln!(line, "a{}", 7).unwrap();
        let sent: Vec<u8> = line.regs.written.borrow().iter().map(|w| w.1 as u8).collect();
        assert_eq!(sent, b"a7\r\n");
    }

    #[test]
    fn a_start_sets_the_divisors_before_the_line() {
        let line = Pl011::new(Fake::default());
        line.start(48_000_000, 115_200);
        let written = line.regs.written.borrow();
        assert_eq!(written[0], (CONTROL, 0));
        assert_eq!(written[3..], [(0x24, 26), (0x28, 3), (0x2C, 0x70), (0x30, 0x301)]);
    }

    #[test]
    fn a_stuck_line_drops() {
        let line = Pl011::new(Fake { stuck: true, ..Fake::default() });
        line.put(b'x');
        assert!(line.regs.written.borrow().is_empty());
    }
}
