//! Page tables: every address is itself; what differs is what memory may be used for. Normal memory is cached and not
//! executed, code is not written, constants neither, and the page below the stack is not there.

use super::symbols;
use aarch64_cpu::asm::barrier::{ISH, SY, dsb, isb};
use aarch64_cpu::registers::{MAIR_EL1, SCTLR_EL1, TCR_EL1, TTBR0_EL1, Writeable};
use core::ops::Range;
use core::ptr::{read_volatile, write_volatile};

/// What a range of addresses is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Registers.
    Device,
    /// Cached memory.
    Memory,
}

/// A range of addresses, at multiples of 2 MiB, and what it is. Addresses of no region cannot be used.
#[derive(Clone, Debug)]
pub struct Region {
    /// Its addresses.
    pub at: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

const PAGE: usize = 4096;
const ENTRIES: usize = 512;
const TABLES: usize = 10;

const TABLE: u64 = 0b11;
const BLOCK: u64 = 0b01;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// Accessed; never executed.
const PLAIN: u64 = 1 << 10 | NEVER_RUN;
const NEVER_RUN: u64 = 0b11 << 53;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHARED: u64 = 0b11 << 8;
/// Attributes by their place in MAIR_EL1, as [`turn_on`] sets it.
const DEVICE: u64 = PLAIN;
const UNCACHED: u64 = 1 << 2 | INNER_SHARED | PLAIN;
const CACHED: u64 = 2 << 2 | INNER_SHARED | PLAIN;
const MAIR: u64 = 0x04 | 0x44 << 8 | 0xff << 16;

#[repr(C, align(4096))]
struct Table([u64; ENTRIES]);

/// The first table, of 1 GiB an entry, and those below it. Touched by the booting core alone, before caches are on.
static mut ROOT: [Table; TABLES] = [const { Table([0; ENTRIES]) }; TABLES];

/// Entries of the tables, while they are made.
struct Maker {
    tables: *mut Table,
    used: usize,
}

/// Bytes that one entry of a table at `level` stands for.
const fn size(level: u32) -> usize {
    PAGE << (9 * (3 - level))
}

impl Maker {
    fn map(&mut self, range: Range<usize>, attributes: u64) {
        let mut at = range.start;
        while at < range.end {
            let fits = |l: &u32| at.is_multiple_of(size(*l)) && range.end - at >= size(*l);
            let level = (1..=3).find(fits).expect("ranges are whole pages");
            let kind = if level == 3 { TABLE } else { BLOCK };
            let entry = self.entry(at, level);
            // SAFETY: `entry` points into the tables.
            unsafe { write_volatile(entry, if attributes == 0 { 0 } else { at as u64 | attributes | kind }) };
            at += size(level);
        }
    }
    /// The entry at `level` for an address; tables down to there are made where they are missing.
    fn entry(&mut self, at: usize, level: u32) -> *mut u64 {
        let mut table = self.tables;
        for l in 1..=level {
            let place = at / size(l) % ENTRIES;
            // SAFETY: `table` is one of the tables, and the place is below its length.
            let entry = unsafe { &raw mut (*table).0[place] };
            if l == level {
                return entry;
            }
            // SAFETY: as above.
            let old = unsafe { read_volatile(entry) };
            table = if old & 0b11 == TABLE {
                (old & ADDRESS) as *mut Table
            } else {
                self.split(entry, old, l + 1)
            };
        }
        unreachable!("levels are 1 to 3")
    }
    /// Puts a table of `level` in the place of a block, or of nothing.
    fn split(&mut self, entry: *mut u64, old: u64, level: u32) -> *mut Table {
        assert!(self.used < TABLES, "page tables");
        let kind = if level == 3 { TABLE } else { BLOCK };
        // SAFETY: below TABLES there is a table, which nothing else uses; `entry` points into another.
        unsafe {
            let table = self.tables.add(self.used);
            self.used += 1;
            if old != 0 {
                for i in 0..ENTRIES {
                    write_volatile(&raw mut (*table).0[i], old & !0b11 | kind | (i * size(level)) as u64);
                }
            }
            write_volatile(entry, table as u64 | TABLE);
            table
        }
    }
}

/// Makes the tables and turns the MMU and the caches on.
///
/// # Safety
/// Once, by the only core that runs, with caches off and every address of `map` being what it says.
pub(super) unsafe fn turn_on(map: &[Region]) {
    let mut maker = Maker { tables: (&raw mut ROOT).cast(), used: 1 };
    for region in map {
        maker.map(region.at.clone(), if region.kind == Kind::Device { DEVICE } else { CACHED });
    }
    maker.map(symbols::code(), CACHED & !NEVER_RUN | READ_ONLY | 1 << 54);
    maker.map(symbols::constants(), CACHED | READ_ONLY);
    maker.map(symbols::guard(), 0);
    maker.map(symbols::dma(), UNCACHED);
    MAIR_EL1.set(MAIR);
    TCR_EL1.write(
        TCR_EL1::T0SZ.val(64 - 39)
            + TCR_EL1::TG0::KiB_4
            + TCR_EL1::SH0::Inner
            + TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL1::IPS::Bits_36
            + TCR_EL1::EPD1::DisableTTBR1Walks,
    );
    TTBR0_EL1.set(maker.tables as u64);
    dsb(SY);
    // SAFETY: what runs and what it uses stay where they are: every address is itself.
    unsafe { core::arch::asm!("tlbi vmalle1", "ic iallu", "dsb sy", "isb", options(nostack)) };
    dsb(ISH);
    SCTLR_EL1.set(0x30d0_0800 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 4);
    isb(SY);
}
