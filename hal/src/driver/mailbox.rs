//! The VideoCore's mailbox: questions about the board, as lists of property tags in memory that both sides see.
//!
//! Ran under QEMU alone so far, never on a board.

use super::regs::{Dma, Registers};
use crate::clock::Clock;

const READ: usize = 0x00;
const STATUS: usize = 0x18;
const WRITE: usize = 0x20;
const STATUS_FULL: u32 = 1 << 31;
const STATUS_EMPTY: u32 = 1 << 30;
const CHANNEL_PROPERTIES: u32 = 8;
const ANSWERED: u32 = 1 << 31;

const TAG_MAC: u32 = 0x0001_0003;
const TAG_ARM_MEMORY: u32 = 0x0001_0005;
const TAG_SET_POWER: u32 = 0x0002_8001;
const TAG_SET_CLOCK: u32 = 0x0003_8002;

const POWER_USB: u32 = 3;
const POWER_ON_AND_WAIT: u32 = 3;
const CLOCK_UART: u32 = 2;

/// Bytes of the longest list: header, one tag of three words, end.
pub const LIST_BYTES: usize = 64;
/// How long an answer may take: turning power on waits until it is stable.
const PATIENCE_US: u64 = 1_000_000;

/// Why a question has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailboxError {
    /// None came.
    Timeout,
    /// The other side does not know the tag, or refused.
    Refused,
}

/// The mailbox. `C` tells how long it takes, `D` is at least [`LIST_BYTES`] of memory.
#[derive(Debug)]
pub struct Mailbox<R, D, C> {
    regs: R,
    list: D,
    clock: C,
}

impl<R: Registers, D: Dma, C: Clock> Mailbox<R, D, C> {
    /// The mailbox with these registers and this memory for its lists.
    pub fn new(regs: R, list: D, clock: C) -> Self {
        assert!(list.len() >= LIST_BYTES && list.bus(0).is_multiple_of(16));
        Mailbox { regs, list, clock }
    }

    /// The memory that belongs to the processor: its start and length in bytes.
    pub fn arm_memory(&mut self) -> Result<(u32, u32), MailboxError> {
        let [base, len] = self.ask(TAG_ARM_MEMORY, [0, 0])?;
        Ok((base, len))
    }

    /// The MAC that this board was given.
    pub fn mac(&mut self) -> Result<[u8; 6], MailboxError> {
        let [a, b] = self.ask(TAG_MAC, [0, 0])?.map(u32::to_le_bytes);
        Ok([a[0], a[1], a[2], a[3], b[0], b[1]])
    }

    /// Turns the USB controller's power on and waits until it is stable.
    pub fn power_usb(&mut self) -> Result<(), MailboxError> {
        let [_, state] = self.ask(TAG_SET_POWER, [POWER_USB, POWER_ON_AND_WAIT])?;
        // Bit 1: there is no such device.
        if state & 0b11 == 1 { Ok(()) } else { Err(MailboxError::Refused) }
    }

    /// Sets the clock of the serial line PL011; gives the one that it has then, in Hz.
    pub fn set_uart_clock(&mut self, hz: u32) -> Result<u32, MailboxError> {
        let [_, hz, _] = self.ask(TAG_SET_CLOCK, [CLOCK_UART, hz, 0])?;
        if hz == 0 { Err(MailboxError::Refused) } else { Ok(hz) }
    }

    fn ask<const N: usize>(&mut self, tag: u32, values: [u32; N]) -> Result<[u32; N], MailboxError> {
        const { assert!((6 + N) * 4 <= LIST_BYTES) };
        let size = (N * 4) as u32;
        let head = [(6 + N as u32) * 4, 0, tag, size, 0];
        for (at, word) in head.into_iter().chain(values).chain([0]).enumerate() {
            self.list.store(at * 4, &word.to_le_bytes());
        }
        let until = self.clock.now_us() + PATIENCE_US;
        self.wait_while(STATUS_FULL, until)?;
        let message = self.list.bus(0) | CHANNEL_PROPERTIES;
        self.regs.write(WRITE, message);
        loop {
            self.wait_while(STATUS_EMPTY, until)?;
            if self.regs.read(READ) == message {
                break; // anything else is a late answer to somebody before us
            }
        }
        let answered = self.word(1) == ANSWERED && self.word(4) & ANSWERED != 0;
        if !answered {
            return Err(MailboxError::Refused);
        }
        Ok(core::array::from_fn(|n| self.word(5 + n)))
    }

    fn word(&self, n: usize) -> u32 {
        let mut bytes = [0; 4];
        self.list.load(n * 4, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn wait_while(&self, flag: u32, until: u64) -> Result<(), MailboxError> {
        while self.clock.now_us() < until {
            if self.regs.read(STATUS) & flag == 0 {
                return Ok(());
            }
        }
        Err(MailboxError::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::fake::{FakeClock, FakeMemory};
    use std::cell::{Cell, RefCell};

    /// The other side: answers what it knows, after a late answer to somebody else.
    struct VideoCore {
        memory: FakeMemory,
        answers: RefCell<Vec<u32>>,
        known: bool,
        dead: Cell<bool>,
    }

    impl Registers for VideoCore {
        fn read(&self, at: usize) -> u32 {
            match at {
                STATUS if self.answers.borrow().is_empty() => STATUS_EMPTY,
                STATUS => 0,
                READ => self.answers.borrow_mut().remove(0),
                _ => panic!("read of {at:#x}"),
            }
        }

        fn write(&self, at: usize, value: u32) {
            assert_eq!((at, value & 15), (WRITE, CHANNEL_PROPERTIES));
            if self.dead.get() {
                return;
            }
            let list = value & !15;
            let word = |n: u32| self.memory.word(list + n * 4);
            let size = word(3);
            assert_eq!((word(0), word(1), word(4)), (24 + size, 0, 0), "header");
            assert_eq!(word(5 + size / 4), 0, "end");
            let set = |n: u32, to: u32| self.memory.set_word(list + n * 4, to);
            match (word(2), self.known) {
                (TAG_MAC, true) => [(5, 0x1202_0002), (6, 0xFFFF_5634)].map(|(n, to)| set(n, to))[0],
                (TAG_ARM_MEMORY, true) => set(6, 0x3C00_0000),
                (TAG_SET_POWER, true) => set(6, u32::from(word(5) == 3 && word(6) == 3)),
                (TAG_SET_CLOCK, true) => set(6, word(6)),
                _ => return self.answers.borrow_mut().extend([0x20 | 8, value]),
            }
            set(4, ANSWERED | size);
            set(1, ANSWERED);
            self.answers.borrow_mut().extend([0x20 | 8, value]);
        }
    }

    fn mailbox(known: bool) -> Mailbox<VideoCore, FakeMemory, FakeClock> {
        let memory = FakeMemory::new(64, 0xC000_0100);
        let other =
            VideoCore { memory: memory.clone(), answers: RefCell::default(), known, dead: Cell::new(false) };
        Mailbox::new(other, memory, FakeClock::default())
    }

    #[test]
    fn questions_are_answered() {
        let mut m = mailbox(true);
        assert_eq!(m.mac(), Ok([2, 0, 2, 0x12, 0x34, 0x56]));
        assert_eq!(m.arm_memory(), Ok((0, 0x3C00_0000)));
        assert_eq!(m.power_usb(), Ok(()));
        assert_eq!(m.set_uart_clock(48_000_000), Ok(48_000_000));
    }

    #[test]
    fn an_unknown_tag_is_refused_and_silence_ends() {
        assert_eq!(mailbox(false).mac(), Err(MailboxError::Refused));
        let mut m = mailbox(true);
        m.regs.dead.set(true);
        assert_eq!(m.mac(), Err(MailboxError::Timeout));
    }
}
