//! Exceptions: all of them are the end.

use super::time;
use crate::board::{Board, give_up};
use aarch64_cpu::registers::{CNTP_CTL_EL0, Readable};
use core::fmt;

/// The registers as the start code leaves them.
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
    sp: u64,
    elr: u64,
    esr: u64,
    far: u64,
    spsr: u64,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ESR {:#010x} ELR {:#x} FAR {:#x} SPSR {:#x} SP {:#x}",
            self.esr, self.elr, self.far, self.spsr, self.sp
        )?;
        for (i, x) in self.x.iter().enumerate() {
            write!(f, "{}x{i} {x:#x}", if i % 8 == 0 { "\r\n  " } else { " " })?;
        }
        Ok(())
    }
}

/// What the syndrome says, for people.
fn cause(esr: u64) -> &'static str {
    match esr >> 26 & 63 {
        0x00 => "unknown instruction",
        0x0e => "illegal state",
        0x20 | 0x21 => "jump to where nothing may run",
        0x22 => "misaligned program counter",
        0x24 | 0x25 => "access to memory that is not there",
        0x26 => "misaligned stack pointer",
        0x2f => "error on the bus",
        0x3c => "breakpoint",
        _ => "exception",
    }
}

/// Says what happened and starts the machine anew.
pub fn report<B: Board>(vector: usize, frame: &Frame) -> ! {
    match vector % 4 {
        1 if CNTP_CTL_EL0.is_set(CNTP_CTL_EL0::ISTATUS) => {
            give_up::<B>(format_args!("stuck for {} s: {frame}", time::STUCK_US / 1_000_000))
        }
        1 => give_up::<B>(format_args!("an interrupt that nobody asked for: {frame}")),
        3 => give_up::<B>(format_args!("error on the bus: {frame}")),
        _ if super::symbols::guard().contains(&(frame.far as usize)) => {
            give_up::<B>(format_args!("the stack ran over: {frame}"))
        }
        _ => give_up::<B>(format_args!("{}: {frame}", cause(frame.esr))),
    }
}
