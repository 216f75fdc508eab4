//! Statics that are filled at run time, once, and then lent for good: where there is no heap.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// Room for a value. In a `static` it takes no room in the program's file.
pub struct Once<T> {
    taken: AtomicBool,
    room: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the room is given out once, to whoever comes first; it is then that borrower's alone.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    /// Room that is free.
    pub const fn new() -> Self {
        Once { taken: AtomicBool::new(false), room: UnsafeCell::new(MaybeUninit::uninit()) }
    }
    /// Puts a value there. Panics the second time.
    pub fn put(&'static self, make: impl FnOnce() -> T) -> &'static mut T {
        self.room().write(make())
    }

    #[allow(unsafe_code)]
    #[allow(clippy::mut_from_ref)] // Given out once: the flag says so.
    fn room(&'static self) -> &'static mut MaybeUninit<T> {
        assert!(!self.taken.swap(true, Ordering::AcqRel), "room for one value");
        // SAFETY: the flag has given it to this call alone.
        unsafe { &mut *self.room.get() }
    }
}

impl<T, const N: usize> Once<[T; N]> {
    /// Fills an array place by place: none of it is on the stack but one element. Panics the second time.
    #[allow(unsafe_code)]
    #[allow(clippy::mut_from_ref)] // Given out once: the flag says so.
    pub fn fill(&'static self, mut make: impl FnMut(usize) -> T) -> &'static mut [T; N] {
        let room = self.room();
        for i in 0..N {
            // SAFETY: inside the array; an array of uninitialised elements has no invariant.
            unsafe { (&raw mut (*room.as_mut_ptr())[i]).write(make(i)) };
        }
        // SAFETY: every element was written.
        unsafe { room.assume_init_mut() }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Once;

    #[test]
    fn values_are_lent_for_good() {
        static ONE: Once<[u32; 2]> = Once::new();
        static MANY: Once<[String; 3]> = Once::new();
        let one = ONE.put(|| [1, 2]);
        one[0] = 7;
        assert_eq!(*one, [7, 2]);
        let many = MANY.fill(|i| i.to_string());
        many[1].push('!');
        assert_eq!(*many, ["0", "1!", "2"]);
    }

    #[test]
    #[should_panic(expected = "room for one value")]
    fn once_is_once() {
        static ROOM: Once<u8> = Once::new();
        ROOM.put(|| 1);
        ROOM.put(|| 2);
    }
}
