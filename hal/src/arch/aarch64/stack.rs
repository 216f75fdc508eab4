//! How deep the stack went: the start code has painted it.

use super::symbols;

const PAINT: u64 = 0x5ac3_a55a_5ac3_a55a;

/// Bytes of the stack that were used at most, and all there are.
pub fn high_water() -> (usize, usize) {
    let stack = symbols::stack();
    let (mut at, len) = (stack.start, stack.end - stack.start);
    // SAFETY: within the stack, aligned; a word of it that changes meanwhile is as good as one that is not painted.
    while at < stack.end && unsafe { core::ptr::read_volatile(at as *const u64) } == PAINT {
        at += 8;
    }
    (stack.end - at, len)
}
