//! Places that the linker script names.

use core::ops::Range;

macro_rules! place {
    ($name:ident) => {{
        unsafe extern "C" {
            static $name: u8;
        }
        // The address is all that is asked for: what lies there is not read.
        (&raw const $name) as usize
    }};
}

/// The machine code.
pub fn code() -> Range<usize> {
    place!(__image)..place!(__code_end)
}
/// Constants.
pub fn constants() -> Range<usize> {
    place!(__code_end)..place!(__rodata_end)
}
/// The page below the stack.
pub fn guard() -> Range<usize> {
    place!(__guard)..place!(__guard) + 4096
}
/// The stack.
pub fn stack() -> Range<usize> {
    place!(__stack)..place!(__stack_end)
}
/// The block that is not cached.
pub fn dma() -> Range<usize> {
    place!(__dma)..place!(__dma_end)
}
/// Everything that the program has of memory from its start: code, data, stack, buffers.
pub fn all() -> Range<usize> {
    place!(__image)..place!(__end)
}
/// Bytes of the image as it is loaded.
pub fn image_len() -> usize {
    place!(__image_end) - place!(__image)
}
