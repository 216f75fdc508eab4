//! The Raspberry Pi 3B and 3B+, and what is built like them (Zero 2 W, with an adapter).
//!
//! Ran under QEMU's `raspi3b` with an adapter of the class CDC-ECM alone so far, never on a board. Nothing here asks
//! whether it does: what an emulator lacks is what a board might lack.
//!
//! The console is PL011 on pins 14 and 15, whatever config.txt says of serial lines. The configuration file is where
//! config.txt has the firmware put it: `initramfs dartsync.cfg 0x08000000`.

mod nic;

pub use nic::UsbNic;

use super::{Board, BoardClock, CONFIG_MAX, Randomness};
use crate::arch::aarch64::mmu::{Kind, Region};
use crate::arch::aarch64::{dma, halt, parked, time};
use crate::driver::bcm_rng::BcmRng;
use crate::driver::bcm_watchdog::{BcmWatchdog, LONGEST_S};
use crate::driver::mailbox::{LIST_BYTES, Mailbox};
use crate::driver::pl011::Pl011;
use crate::driver::regs::{Mmio, Registers, Window};
use aarch64_cpu::asm::barrier::{SY, dsb};
use aarch64_cpu::asm::sev;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

/// Where registers begin; memory lies below.
const REGISTERS: usize = 0x3F00_0000;
const INTERRUPTS: usize = 0x3F00_B200;
const MAILBOX: usize = 0x3F00_B880;
const POWER: usize = 0x3F10_0000;
const RANDOM: usize = 0x3F10_4000;
const PINS: usize = 0x3F20_0000;
const UART: usize = 0x3F20_1000;
/// Registers of the processors: timers, and which interrupts reach whom.
const LOCAL: usize = 0x4000_0000;

/// Where the firmware puts the configuration file.
const CONFIG: usize = 0x0800_0000;
/// Where the cores 1 to 3 look for an address to go to, in the firmware's hands.
const SPIN_TABLE: [usize; 3] = [0xE0, 0xE8, 0xF0];
/// Where devices see memory, past their cache.
const BUS: usize = 0xC000_0000;

const UART_HZ: u32 = 48_000_000;
const BAUD: u32 = 115_200;
/// Interrupts of devices: enabling and disabling, 32 in each word; then those of the processor.
const ENABLE: usize = 0x10;
const DISABLE: [usize; 3] = [0x1C, 0x20, 0x24];
/// The USB controller's interrupt.
const USB: u32 = 1 << 9;
/// The first core's timers: which reach it. The one of EL1 shall.
const TIMERS: usize = 0x40;
const TIMER_EL1: u32 = 1 << 1;

/// The watchdog counts, and was set going.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// The board.
pub struct Rpi3 {
    mailbox: Mailbox<Mmio, Window, BoardClock>,
    memory: Range<usize>,
}

/// The block of registers at an address.
fn registers(at: usize) -> Mmio {
    assert!((REGISTERS..LOCAL + 0x1000).contains(&at));
    // SAFETY: the addresses named above are those of the board's registers, mapped as such; what reads and writes
    // memory by itself (mailbox, USB) is told of windows alone.
    unsafe { Mmio::new(at) }
}

/// Memory that is not cached, for good.
fn window(len: usize) -> Window {
    let base = dma::take(len, 64) as usize;
    // SAFETY: just taken from the block that is not cached; nobody else has it.
    unsafe { Window::new(base, len, (BUS | base) as u32) }
}

// SAFETY: the map is the board's. The memory is what the firmware says is the processor's; what the board itself has
// of it (windows) lies within the program, and the file is read once.
unsafe impl Board for Rpi3 {
    const NAME: &'static str = "Raspberry Pi 3";
    const UNPROVED: &'static str = "this whole image; it was tested under QEMU raspi3b with a USB CDC-ECM adapter, and the boards' own sockets (LAN9514, LAN7800) against models of them";
    const MAP: &'static [Region] = &[
        Region { at: 0..REGISTERS, kind: Kind::Memory },
        Region { at: REGISTERS..LOCAL + (2 << 20), kind: Kind::Device },
    ];
    type Nic = UsbNic;

    fn before_caches() {
        for at in SPIN_TABLE {
            // SAFETY: there the firmware's code looks, and nothing else is.
            unsafe { (at as *mut u64).write_volatile(parked() as u64) };
        }
        dsb(SY);
        sev();
    }

    fn start(_: usize) -> Rpi3 {
        let interrupts = registers(INTERRUPTS);
        DISABLE.iter().for_each(|at| interrupts.write(*at, u32::MAX));
        registers(LOCAL).write(TIMERS, TIMER_EL1);
        let mut mailbox = Mailbox::new(registers(MAILBOX), window(LIST_BYTES), BoardClock);
        start_console(&mut mailbox);
        let watchdog = BcmWatchdog::new(registers(POWER));
        WATCHED.store(watchdog.counts(&BoardClock), Ordering::Relaxed);
        let (start, len) = mailbox.arm_memory().expect("the mailbox says how much memory there is");
        let end = (start as usize + len as usize).min(REGISTERS);
        Rpi3 { mailbox, memory: start as usize..end }
    }
    fn config(&mut self, into: &mut [u8; CONFIG_MAX]) -> usize {
        if self.memory.end < CONFIG + CONFIG_MAX {
            return 0;
        }
        // SAFETY: memory, behind the program, in which the firmware has put the file or nothing.
        into.copy_from_slice(unsafe { core::slice::from_raw_parts(CONFIG as *const u8, CONFIG_MAX) });
        CONFIG_MAX
    }
    fn memory(&self) -> Range<usize> {
        self.memory.clone()
    }
    fn randomness(&mut self) -> Randomness {
        let mut bytes = [0; 32];
        match BcmRng::new(registers(RANDOM)).fill(&mut bytes, &BoardClock) {
            Some(()) => Randomness::Hardware(bytes),
            None => Randomness::None,
        }
    }
    fn nic(&mut self) -> Result<UsbNic, &'static str> {
        nic::open(&mut self.mailbox)
    }

    fn put(text: &[u8]) {
        let port = Pl011::new(registers(UART));
        text.iter().for_each(|byte| port.put(*byte));
    }
    fn listen(on: bool) {
        registers(INTERRUPTS).write(if on { ENABLE } else { DISABLE[0] }, USB);
    }
    fn carrier() -> bool {
        nic::carrier()
    }
    fn watchdog() -> bool {
        WATCHED.load(Ordering::Relaxed)
    }
    fn kick() {
        if Self::watchdog() {
            BcmWatchdog::new(registers(POWER)).kick(LONGEST_S);
        }
    }
    fn reboot() -> ! {
        BcmWatchdog::new(registers(POWER)).reboot();
        halt()
    }
}

/// Leads PL011 to the pins 14 and 15, and away from the Bluetooth chip, and sets its speed.
fn start_console(mailbox: &mut Mailbox<Mmio, Window, BoardClock>) {
    const MODES: [usize; 2] = [0x04, 0x0C];
    const PULL: usize = 0x94;
    const PULL_CLOCK: usize = 0x98;
    let pins = registers(PINS);
    // Three bits a pin, ten pins a word. 14 and 15: the first other use; 32 and 33: input.
    pins.modify(MODES[0], |v| v & !(0o77 << 12) | 0o44 << 12);
    pins.modify(MODES[1], |v| v & !(0o77 << 6));
    pins.write(PULL, 0);
    time::delay_us(1);
    pins.write(PULL_CLOCK, 0b11 << 14);
    time::delay_us(1);
    pins.write(PULL_CLOCK, 0);
    let hz = mailbox.set_uart_clock(UART_HZ).unwrap_or(UART_HZ);
    Pl011::new(registers(UART)).start(hz, BAUD);
}
