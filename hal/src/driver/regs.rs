//! What a driver touches: registers, and memory that a device reads and writes by itself.

/// A block of 32-bit registers.
pub trait Registers {
    /// Reads the register at a byte offset; may change the device's state.
    fn read(&self, at: usize) -> u32;
    /// Writes the register at a byte offset.
    fn write(&self, at: usize, value: u32);

    /// Reads, changes, writes.
    fn modify(&self, at: usize, change: impl FnOnce(u32) -> u32)
    where
        Self: Sized,
    {
        self.write(at, change(self.read(at)));
    }
}

/// Registers that the processor sees as memory.
#[derive(Debug)]
pub struct Mmio {
    base: usize,
}

impl Mmio {
    /// The block that begins at `base`.
    ///
    /// # Safety
    /// From `base` to the greatest offset that is ever given to `read` and `write` there must be registers of 32 bits,
    /// mapped as device memory, of a device whose registers do nothing to memory that Rust knows of, but for memory
    /// that was given to it through [`Dma`].
    #[allow(unsafe_code)]
    pub const unsafe fn new(base: usize) -> Mmio {
        Mmio { base }
    }
}

impl Registers for Mmio {
    #[allow(unsafe_code)]
    fn read(&self, at: usize) -> u32 {
        debug_assert!(at.is_multiple_of(4));
        // SAFETY: whoever made this vouched for registers there.
        unsafe { core::ptr::read_volatile((self.base + at) as *const u32) }
    }

    #[allow(unsafe_code)]
    fn write(&self, at: usize, value: u32) {
        debug_assert!(at.is_multiple_of(4));
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile((self.base + at) as *mut u32, value) }
    }
}

/// A piece of memory that a device reads and writes by itself. Offsets and lengths are in bytes; what does not fit in
/// is an own bug and panics.
pub trait Dma {
    /// How long it is.
    fn len(&self) -> usize;
    /// Whether there is nothing of it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Where the device sees the byte at an offset.
    fn bus(&self, at: usize) -> u32;
    /// Copies from there; what the device wrote before it said that it was done is seen.
    fn load(&self, at: usize, out: &mut [u8]);
    /// Copies to there; a device that is started afterwards sees it.
    fn store(&mut self, at: usize, bytes: &[u8]);
}

/// Memory that neither side caches, at a fixed address.
#[derive(Debug)]
pub struct Window {
    base: usize,
    len: usize,
    bus: u32,
}

impl Window {
    /// `len` bytes from `base`, which devices see at `bus`.
    ///
    /// # Safety
    /// That memory must be mapped uncached, and belong to this window and the devices that are told of it alone; `base`
    /// and `bus` are multiples of 64.
    #[allow(unsafe_code)]
    pub const unsafe fn new(base: usize, len: usize, bus: u32) -> Window {
        Window { base, len, bus }
    }

    /// Splits off what lies behind `at` bytes, a multiple of 64.
    pub const fn split(self, at: usize) -> (Window, Window) {
        assert!(at.is_multiple_of(64) && at <= self.len);
        let behind = Window { base: self.base + at, len: self.len - at, bus: self.bus + at as u32 };
        (Window { len: at, ..self }, behind)
    }

    fn range(&self, at: usize, len: usize) -> usize {
        assert!(at <= self.len && len <= self.len - at, "outside of the window");
        self.base + at
    }
}

impl Dma for Window {
    fn len(&self) -> usize {
        self.len
    }

    fn bus(&self, at: usize) -> u32 {
        assert!(at < self.len);
        self.bus + at as u32
    }

    #[allow(unsafe_code)]
    fn load(&self, at: usize, out: &mut [u8]) {
        let from = self.range(at, out.len());
        barrier();
        // SAFETY: inside the window, which is ours; `out` is Rust's, so they do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(from as *const u8, out.as_mut_ptr(), out.len()) }
    }

    #[allow(unsafe_code)]
    fn store(&mut self, at: usize, bytes: &[u8]) {
        let to = self.range(at, bytes.len());
        // SAFETY: as above.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) }
        barrier();
    }
}

/// Orders accesses to memory and to registers as devices see them.
#[cfg(target_os = "none")]
#[allow(unsafe_code)]
fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier changes nothing.
    unsafe {
        core::arch::asm!("dsb sy", options(nostack, preserves_flags));
    }
}

#[cfg(not(target_os = "none"))]
fn barrier() {
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn a_window_is_memory_with_another_address() {
        let mut memory = [0u64; 32];
        // SAFETY: the array is not used otherwise while the window lives.
        let whole = unsafe { Window::new(memory.as_mut_ptr() as usize, 256, 0xC000_0000) };
        let (mut a, mut b) = whole.split(64);
        a.store(1, b"abc");
        b.store(0, b"d");
        let mut out = [0; 5];
        a.load(0, &mut out);
        assert_eq!(&out, b"\0abc\0");
        assert_eq!((a.bus(1), b.bus(0), a.len(), b.len()), (0xC000_0001, 0xC000_0040, 64, 192));
        b.load(0, &mut out[..1]);
        assert_eq!(out[0], b'd');
    }

    #[test]
    #[should_panic(expected = "outside of the window")]
    #[allow(unsafe_code)]
    fn a_window_has_an_end() {
        let mut memory = [0u64; 8];
        // SAFETY: nothing is accessed before the panic.
        let mut window = unsafe { Window::new(memory.as_mut_ptr() as usize, 64, 0) };
        window.store(62, b"abc");
    }

    #[test]
    #[allow(unsafe_code)]
    fn registers_are_words() {
        let mut memory = [0u32; 4];
        // SAFETY: plain memory serves as registers; it is not used otherwise meanwhile.
        let regs = unsafe { Mmio::new(memory.as_mut_ptr() as usize) };
        regs.write(8, 0xF0);
        regs.modify(8, |v| v | 1);
        assert_eq!((regs.read(8), regs.read(4)), (0xF1, 0));
    }
}
