//! QEMU's machine `virt`: for trying out the tracker of a board on any computer, and as a tracker of its own.

mod gic;
mod nic;
mod tree;

pub use nic::VirtioNic;

use super::{Board, CONFIG_MAX, Randomness};
use crate::arch::aarch64::mmu::{Kind, Region};
use crate::driver::pl011::Pl011;
use crate::driver::regs::Mmio;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use dtoolkit::fdt::Fdt;

const UART: usize = 0x0900_0000;
const MEMORY: usize = 0x4000_0000;
/// The interrupt of the first virtio device.
const VIRTIO: usize = 48;
/// The interrupt number of no device.
const NONE: usize = usize::MAX;

/// The place of the adapter among the virtio devices.
static ADAPTER: AtomicUsize = AtomicUsize::new(NONE);
static BY_SMC: AtomicBool = AtomicBool::new(false);

/// QEMU's `virt`.
pub struct Virt {
    told: tree::Told,
}

// SAFETY: the map is the machine's; what was read of the device tree is kept in `told`, and the file is read once.
unsafe impl Board for Virt {
    const NAME: &'static str = "virt";
    const UNPROVED: &'static str = "";
    const MAP: &'static [Region] = &[
        Region { at: 0x0800_0000..MEMORY, kind: Kind::Device },
        Region { at: MEMORY..64 << 30, kind: Kind::Memory },
    ];
    type Nic = VirtioNic;

    fn start(handoff: usize) -> Virt {
        gic::start();
        assert!(handoff != 0 && handoff.is_multiple_of(8), "the machine has no device tree");
        // SAFETY: QEMU puts its tree there; whether one is there is checked first.
        let tree = unsafe { Fdt::from_raw(handoff as *const u8) }.expect("a device tree");
        let told = tree::read(tree);
        BY_SMC.store(told.by_smc, Ordering::Relaxed);
        Virt { told }
    }
    fn config(&mut self, into: &mut [u8; CONFIG_MAX]) -> usize {
        let file = self.told.file.clone();
        let n = file.len().min(CONFIG_MAX);
        if n > 0 {
            assert!(file.start >= self.told.memory.start && file.end <= self.told.memory.end);
            // SAFETY: within the machine's memory, where QEMU has put the file, behind the program.
            into[..n].copy_from_slice(unsafe { core::slice::from_raw_parts(file.start as *const u8, n) });
        }
        n
    }
    fn memory(&self) -> Range<usize> {
        self.told.memory.start..self.told.memory.end.min(64 << 30)
    }
    fn randomness(&mut self) -> Randomness {
        match (nic::randomness(), self.told.seed.take()) {
            (Some(bytes), _) => Randomness::Hardware(bytes),
            (None, Some(seed)) => Randomness::Host(seed),
            (None, None) => Randomness::None,
        }
    }
    fn nic(&mut self) -> Result<VirtioNic, &'static str> {
        let (nic, place) = nic::open().ok_or("no network adapter: -device virtio-net-device,netdev=…")?;
        gic::route(VIRTIO + place);
        ADAPTER.store(place, Ordering::Relaxed);
        Ok(nic)
    }

    fn put(text: &[u8]) {
        // SAFETY: the machine's serial port, ready from the start; QEMU's needs no speed.
        let port = Pl011::new(unsafe { Mmio::new(UART) });
        text.iter().for_each(|byte| port.put(*byte));
    }
    fn listen(on: bool) {
        let place = ADAPTER.load(Ordering::Relaxed);
        if place != NONE {
            gic::let_through(VIRTIO + place, on);
            if !on {
                nic::acknowledge(place);
            }
        }
    }
    fn kick() {}
    fn reboot() -> ! {
        const SYSTEM_RESET: u64 = 0x8400_0009;
        // SAFETY: the firmware's call to start anew; it does not return.
        unsafe {
            if BY_SMC.load(Ordering::Relaxed) {
                core::arch::asm!("smc #0", in("x0") SYSTEM_RESET, options(nostack));
            } else {
                core::arch::asm!("hvc #0", in("x0") SYSTEM_RESET, options(nostack));
            }
        }
        crate::arch::aarch64::halt()
    }
}
