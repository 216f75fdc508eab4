//! The BCM2835's random number generator.
//!
//! Ran under QEMU alone so far, never on a board.

use super::regs::Registers;
use crate::clock::Clock;

const CONTROL: usize = 0x00;
const STATUS: usize = 0x04;
const DATA: usize = 0x08;
const MASK: usize = 0x10;

const CONTROL_ON: u32 = 1;
const MASK_INTERRUPT: u32 = 1;
/// Words that the hardware throws away at first, for they are less random.
const WARM_UP: u32 = 0x4_0000;
/// The hardware makes a million bits a second: the warm-up takes under half a second, a word 32 µs.
const PATIENCE_US: u64 = 5_000_000;

/// The generator.
#[derive(Debug)]
pub struct BcmRng<R> {
    regs: R,
}

impl<R: Registers> BcmRng<R> {
    /// Turns the generator on, with its warm-up, if it is not on already.
    pub fn new(regs: R) -> Self {
        if regs.read(CONTROL) & CONTROL_ON == 0 {
            regs.write(STATUS, WARM_UP);
            regs.modify(MASK, |m| m | MASK_INTERRUPT);
            regs.write(CONTROL, CONTROL_ON);
        }
        BcmRng { regs }
    }

    /// Fills `out`; none if the generator does not deliver, or always the same word.
    pub fn fill(&mut self, out: &mut [u8], clock: &impl Clock) -> Option<()> {
        let until = clock.now_us() + PATIENCE_US;
        let (mut before, mut varied) = (None, out.len() <= 4);
        for piece in out.chunks_mut(4) {
            while self.regs.read(STATUS) >> 24 == 0 {
                if clock.now_us() >= until {
                    return None;
                }
            }
            let word = self.regs.read(DATA);
            varied |= before.is_some_and(|b| b != word);
            before = Some(word);
            piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        }
        varied.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::fake::FakeClock;
    use std::cell::Cell;

    #[derive(Default)]
    struct Fake {
        control: Cell<u32>,
        to_discard: Cell<u32>,
        mask: Cell<u32>,
        next: Cell<u32>,
        step: u32,
    }

    impl Registers for Fake {
        fn read(&self, at: usize) -> u32 {
            match at {
                CONTROL => self.control.get(),
                MASK => self.mask.get(),
                STATUS => {
                    let left = self.to_discard.get().saturating_sub(0x100);
                    self.to_discard.set(left);
                    if self.control.get() == 1 && left == 0 { 2 << 24 } else { left }
                }
                DATA => self.next.replace(self.next.get() + self.step),
                _ => panic!("read of {at:#x}"),
            }
        }
        fn write(&self, at: usize, value: u32) {
            match at {
                CONTROL => self.control.set(value),
                STATUS => self.to_discard.set(value),
                MASK => self.mask.set(value),
                _ => panic!("write of {at:#x}"),
            }
        }
    }

    #[test]
    fn it_warms_up_and_fills() {
        let mut rng = BcmRng::new(Fake { step: 1, ..Fake::default() });
        assert_eq!(rng.regs.to_discard.get(), 0x4_0000);
        assert_eq!(rng.regs.mask.get(), 1);
        let mut out = [0; 10];
        rng.fill(&mut out, &FakeClock::default()).unwrap();
        assert_eq!(out, [0, 0, 0, 0, 1, 0, 0, 0, 2, 0]);
        // A generator that runs is left alone.
        let again = BcmRng::new(rng.regs);
        assert_eq!(again.regs.to_discard.get(), 0);
    }

    #[test]
    fn a_dead_or_stuck_one_gives_nothing() {
        let mut stuck = BcmRng::new(Fake::default());
        assert_eq!(stuck.fill(&mut [0; 32], &FakeClock::default()), None);
        let mut dead = BcmRng::new(Fake { step: 1, ..Fake::default() });
        dead.regs.control.set(0);
        assert_eq!(dead.fill(&mut [0; 32], &FakeClock::default()), None);
    }
}
