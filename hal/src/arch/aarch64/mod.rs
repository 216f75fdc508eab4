//! A 64-bit ARM without an operating system: start, memory, exceptions, time, rest.
//!
//! | module | what it holds |
//! |---|---|
//! | `start.s`, `link.ld` | from the firmware's hands to Rust; where everything lies |
//! | [`mmu`] | page tables |
//! | [`exception`] | what is said when something has gone wrong |
//! | [`stack`] | how deep the stack went |
//! | [`dma`] | memory that devices read and write by themselves |
//! | [`time`] | the clock, waiting for an interrupt, and the timer that notices a program that is stuck |
//! | [`symbols`] | places that the linker script names |
//!
//! One core runs, at EL1, the others are parked. Interrupts are not served: they end a [`rest`](time::rest). The one
//! that is taken is the timer's, when the program did not say for long that it lives.

pub mod dma;
pub mod exception;
pub mod mmu;
pub mod stack;
pub mod symbols;
pub mod time;

use crate::board::Board;

core::arch::global_asm!(include_str!("start.s"));

unsafe extern "C" {
    /// Where cores wait that are not needed.
    fn dartsync_parked() -> !;
}

/// The address of a loop that a core which is not needed can be sent to.
pub fn parked() -> usize {
    dartsync_parked as *const () as usize
}

/// Waits for ever, at rest.
pub fn halt() -> ! {
    loop {
        aarch64_cpu::asm::wfi();
    }
}

/// From the start code to the program. `handoff`: what the firmware left in the first register. Called by
/// [`entry!`](crate::entry) alone.
///
/// # Safety
/// Once, by `start.s`.
pub unsafe fn enter<B: Board>(handoff: usize, main: fn(usize) -> !) -> ! {
    B::before_caches();
    // SAFETY: the start code left caches off and one core running; a board's map says what is true.
    unsafe { mmu::turn_on(B::MAP) };
    time::alive();
    main(handoff)
}

/// Makes the program's entry, its panic and its exceptions out of a board and a `fn(handoff: usize) -> !`.
#[macro_export]
macro_rules! entry {
    ($board:ty, $main:path) => {
        // SAFETY: the names are those that the start code calls, and nothing else has them.
        #[unsafe(no_mangle)]
        extern "C" fn dartsync_start(handoff: usize) -> ! {
            // SAFETY: the start code calls this, once.
            unsafe { $crate::arch::aarch64::enter::<$board>(handoff, $main) }
        }
        // SAFETY: as above.
        #[unsafe(no_mangle)]
        extern "C" fn dartsync_exception(
            vector: usize,
            frame: &$crate::arch::aarch64::exception::Frame,
        ) -> ! {
            $crate::arch::aarch64::exception::report::<$board>(vector, frame)
        }
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::board::give_up::<$board>(format_args!("{info}"))
        }
    };
}
