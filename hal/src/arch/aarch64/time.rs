//! The generic timer: the clock, rest until a deadline or an interrupt, and the alarm for a program that is stuck.

use aarch64_cpu::asm::barrier::{SY, isb};
use aarch64_cpu::asm::wfi;
use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTPCT_EL0, DAIF, Readable, Writeable,
};

/// A program that does not say for so long that it lives is stuck, µs.
pub const STUCK_US: u64 = 8_000_000;
/// No rest is longer: µs.
const REST_MAX_US: u64 = 2_000_000;

/// Counts of the timer, of which there are [`frequency`] in a second.
pub fn count() -> u64 {
    isb(SY);
    CNTPCT_EL0.get()
}

/// Counts a second.
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get().max(1)
}

/// Microseconds since some moment before the start; never goes back.
pub fn now_us() -> u64 {
    let (count, f) = (count(), frequency());
    count / f * 1_000_000 + count % f * 1_000_000 / f
}

/// Spins so long.
pub fn delay_us(us: u64) {
    let end = now_us() + us;
    while now_us() < end {
        core::hint::spin_loop();
    }
}

fn alarm_at(us: u64) {
    let f = frequency();
    CNTP_CVAL_EL0.set((us / 1_000_000).saturating_mul(f) + us % 1_000_000 * f / 1_000_000);
    CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::SET);
    isb(SY);
}

/// The program lives: the alarm is put off by [`STUCK_US`].
pub fn alive() {
    alarm_at(now_us() + STUCK_US);
    // An interrupt that is withdrawn takes a moment to be so.
    for _ in 0..10_000 {
        if !is_pending() {
            break;
        }
    }
    DAIF.write(DAIF::D::Masked + DAIF::A::Unmasked + DAIF::I::Unmasked + DAIF::F::Masked);
}

/// No alarm any more: the program ends.
pub fn quiet() {
    DAIF.write(DAIF::D::Masked + DAIF::A::Masked + DAIF::I::Masked + DAIF::F::Masked);
}

/// Whether an interrupt is pending.
fn is_pending() -> bool {
    let status: u64;
    // SAFETY: reads a register of the processor, and changes nothing.
    unsafe { core::arch::asm!("mrs {}, isr_el1", out(reg) status, options(nomem, nostack, preserves_flags)) };
    status & 1 << 7 != 0
}

/// Rests until [`now_us`] reaches `until_us` or a device has something, 2 s at most. `listen` lets the devices'
/// interrupts through (true) or holds them back again (false).
pub fn rest(until_us: u64, mut listen: impl FnMut(bool)) {
    let now = now_us();
    if until_us <= now {
        return alive();
    }
    DAIF.write(DAIF::D::Masked + DAIF::A::Unmasked + DAIF::I::Masked + DAIF::F::Masked);
    alarm_at(until_us.min(now + REST_MAX_US));
    listen(true);
    // One that is pending ends this at once, though it is not taken: no wakeup is lost.
    wfi();
    listen(false);
    alive();
}
