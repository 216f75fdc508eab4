//! Calls of Linux that no crate offers safely, and small facts about the machine.

mod find;
mod interfaces;
mod lease;
mod notify;
mod signals;

pub use find::find_service;
pub use interfaces::interface_addresses;
pub use lease::{Lease, current_lease, drop_lease, take_read_lease};
pub use notify::{Standing, notify};
pub use signals::StopSignals;

use nix::sys::signal::{SigHandler, Signal, signal};
use std::io;

/// Ignores SIGIO in the whole process. Its default action would end the process when another program opens a file
/// on which this one holds a lease; so this comes before the first [`take_read_lease`].
pub fn ignore_sigio() -> io::Result<()> {
    // SAFETY: no handler is installed, so no code runs in a signal's context; the disposition is set to SIG_IGN.
    #[allow(unsafe_code)]
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }?;
    Ok(())
}

/// Whether the processor encrypts AES and multiplies without carry in hardware, so that AES-256-GCM is fast.
pub fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Names this boot of the machine: it differs after every start of the kernel.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    parse_boot_id(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "boot_id is not a UUID"))
}

fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    let mut digits = text.trim().chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
    for byte in &mut out {
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    digits.next().is_none().then_some(out)
}

/// Has the kernel end this process when the thread that started it ends. To be called early in a child; the parent
/// may have ended before, so the caller compares its parent's id afterwards.
pub fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_ids_are_read() {
        let text = "0123abcd-0000-4000-8000-00000000ff01\n";
        assert_eq!(
            parse_boot_id(text),
            Some([1, 0x23, 0xab, 0xcd, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0xff, 1])
        );
        assert_eq!((parse_boot_id("01"), parse_boot_id(&"0".repeat(33))), (None, None));
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }

    #[test]
    fn aes_agrees_with_the_kernel() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let listed = info.split_whitespace().any(|w| w == "aes");
        assert_eq!(has_aes(), listed);
    }
}
