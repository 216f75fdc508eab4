//! Machines without an operating system, each behind one small interface.
//!
//! | module | the machine |
//! |---|---|
//! | `virt` | QEMU's `virt` |
//! | `rpi3` | the Raspberry Pi 3B |

#[cfg(feature = "rpi3")]
pub mod rpi3;
#[cfg(feature = "virt")]
pub mod virt;

use crate::arch::aarch64::mmu::Region;
use crate::arch::aarch64::{symbols, time};
use crate::clock::Clock;
use crate::console::Console;
use core::fmt::{self, Arguments, Write};
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes of the largest configuration file.
pub const CONFIG_MAX: usize = 4096;

/// A network adapter: Ethernet frames in and out.
pub trait Nic: smoltcp::phy::Device {
    /// Its address.
    fn mac(&self) -> [u8; 6];
}

/// Where a machine's randomness comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Randomness {
    /// A generator of the hardware, drawn from just now.
    Hardware([u8; 32]),
    /// The host of a virtual machine gave it at this start.
    Host([u8; 32]),
    /// There is no source.
    None,
}

/// A machine. One value of it is made; what has no `self` works at any time, in a panic too, and never blocks for long.
///
/// # Safety
/// [`Board::MAP`] is true of the machine; [`Board::memory`] is memory, of which the board itself uses nothing behind the
/// program once [`Board::start`] and [`Board::config`] have returned.
pub unsafe trait Board: Sized + 'static {
    /// What it is called.
    const NAME: &'static str;
    /// What of it has never run on a real machine; empty if all has.
    const UNPROVED: &'static str;
    /// What its addresses are, at multiples of 2 MiB: all memory there might be, and all registers. Where the program
    /// itself lies is cut finer without a board's doing.
    const MAP: &'static [Region];
    /// Its adapter.
    type Nic: Nic;

    /// Before caches are on, with one core running: parks cores that spin in the firmware's hands.
    fn before_caches() {}
    /// Sets up what all else needs (console, timer interrupt). `handoff`: what the firmware left in the first register.
    fn start(handoff: usize) -> Self;
    /// The configuration file as the firmware loaded it, to the start of `into`; gives the bytes copied: what lies
    /// behind the file's end may be garbage. 0 if there is none.
    fn config(&mut self, into: &mut [u8; CONFIG_MAX]) -> usize;
    /// Memory of the machine: one range that begins where the program was loaded or below, as long as it can be used.
    fn memory(&self) -> Range<usize>;
    /// Randomness for this start.
    fn randomness(&mut self) -> Randomness;
    /// The adapter, set up; called once. May take seconds; calls [`Board::kick`] meanwhile. An error says what is missing.
    fn nic(&mut self) -> Result<Self::Nic, &'static str>;

    /// Writes to the console, as it is.
    fn put(text: &[u8]);
    /// Lets interrupts of devices that end a rest through (true), or holds them back (false). Never the timer's.
    fn listen(on: bool);
    /// Whether a cable is in the adapter. Where that is not known, it is.
    fn carrier() -> bool {
        true
    }
    /// Whether the hardware watches over the program, besides the processor's own timer.
    fn watchdog() -> bool {
        false
    }
    /// Puts off the hardware's watchdog, if there is one (some 15 s).
    fn kick();
    /// Starts the machine anew.
    fn reboot() -> !;
}

/// Rests until the clock reaches `until_us` or a device has something; may return early. The program lives.
pub fn idle<B: Board>(until_us: u64) {
    B::kick();
    time::rest(until_us, B::listen);
}

/// The program lives: call it in whatever takes longer than a second.
pub fn alive<B: Board>() {
    B::kick();
    time::alive();
}

/// A machine as it starts.
pub struct Boot<B> {
    /// The machine.
    pub board: B,
    /// The memory behind the program, up to the end of the machine's, as it was found: not zeroed.
    pub memory: &'static mut [u8],
    /// Bytes that [`Board::config`] gave.
    pub config: usize,
}

static BOOTED: AtomicBool = AtomicBool::new(false);

/// Starts the machine; once. The configuration file goes to the start of `config`.
pub fn boot<B: Board>(handoff: usize, config: &mut [u8; CONFIG_MAX]) -> Boot<B> {
    assert!(!BOOTED.swap(true, Ordering::Relaxed), "a machine starts once");
    let mut board = B::start(handoff);
    let config = board.config(config);
    let (memory, start) = (board.memory(), symbols::all().end);
    assert!(memory.contains(&start), "the program lies within the memory");
    // SAFETY: it is memory, mapped, which the board promises not to use any more; nothing lies there that is ours, and
    // this is done once. Any byte is a `u8`.
    let memory = unsafe { core::slice::from_raw_parts_mut(start as *mut u8, memory.end - start) };
    Boot { board, memory, config }
}

/// A board's console.
pub struct BoardConsole<B>(PhantomData<B>);

impl<B> Default for BoardConsole<B> {
    fn default() -> Self {
        BoardConsole(PhantomData)
    }
}

impl<B: Board> Write for BoardConsole<B> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        B::put(text.as_bytes());
        Ok(())
    }
}

impl<B: Board> Console for BoardConsole<B> {
    fn say(&mut self, line: Arguments<'_>) {
        // A console that takes no text is none to complain on.
        let _ = write!(self, "{line}\r\n");
    }
    fn log(&mut self, line: Arguments<'_>) {
        self.say(line);
    }
}

/// A board's clock: time since its start; it knows no wall.
#[derive(Clone, Copy, Default, Debug)]
pub struct BoardClock;

impl Clock for BoardClock {
    fn now_us(&self) -> u64 {
        time::now_us()
    }
    fn wall_us(&self) -> u64 {
        0
    }
}

static ENDING: AtomicBool = AtomicBool::new(false);

/// The end of the program: says why, and starts the machine anew after a moment.
pub fn give_up<B: Board>(why: Arguments<'_>) -> ! {
    time::quiet();
    // What fails on the way out is not told any more.
    if ENDING.swap(true, Ordering::Relaxed) {
        B::reboot();
    }
    let (used, all) = crate::arch::aarch64::stack::high_water();
    let mut console = BoardConsole::<B>::default();
    console.say(format_args!("\r\nFATAL: {why}\r\nstack: {used} of {all} bytes used; starting anew"));
    B::kick();
    time::delay_us(1_000_000);
    B::reboot()
}
