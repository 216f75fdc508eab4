//! ARM's interrupt controller (version 2), as far as interrupts are to end a rest: none is ever acknowledged.

const DISTRIBUTOR: usize = 0x0800_0000;
const CPU: usize = 0x0801_0000;

/// The timer's interrupt at EL1.
pub const TIMER: usize = 30;

fn write(at: usize, value: u32) {
    // SAFETY: a register of the controller, mapped; each of these may be written at any time.
    unsafe { (at as *mut u32).write_volatile(value) }
}

/// Lets the timer through, and those that are let through below.
pub fn start() {
    write(DISTRIBUTOR, 1);
    write(CPU + 0x4, 0xff);
    write(CPU, 1);
    let_through(TIMER, true);
}

/// Sends an interrupt of a device to this core, when it is let through.
pub fn route(interrupt: usize) {
    // SAFETY: a byte of the controller, mapped.
    unsafe { ((DISTRIBUTOR + 0x800 + interrupt) as *mut u8).write_volatile(1) }
}

/// Lets an interrupt through, or holds it back.
pub fn let_through(interrupt: usize, on: bool) {
    let set = if on { 0x100 } else { 0x180 };
    write(DISTRIBUTOR + set + interrupt / 32 * 4, 1 << (interrupt % 32));
}
