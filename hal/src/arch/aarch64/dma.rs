//! Memory that devices read and write by themselves: not cached, so a barrier is all that is needed around a transfer.

use super::symbols;
use core::sync::atomic::{AtomicUsize, Ordering};

static USED: AtomicUsize = AtomicUsize::new(0);

/// `len` bytes for good, zeroed, at a multiple of `align` (a power of two); the address is the physical one too. Panics
/// when the block is used up.
pub fn take(len: usize, align: usize) -> *mut u8 {
    let block = symbols::dma();
    let used = USED.load(Ordering::Relaxed);
    let at = (block.start + used).next_multiple_of(align);
    assert!(at + len <= block.end, "no memory left for devices");
    USED.store(at + len - block.start, Ordering::Relaxed);
    let at = at as *mut u8;
    // SAFETY: within the block, and given to nobody else: one core runs, and interrupts take nothing.
    unsafe { at.write_bytes(0, len) };
    at
}

/// Bytes taken so far.
pub fn used() -> usize {
    USED.load(Ordering::Relaxed)
}
