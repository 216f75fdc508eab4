//! The memory that a network lives in: one block, lent by the caller for as long as the network lives.

use super::slots::Slot;
use core::mem::MaybeUninit;
use smoltcp::iface::SocketStorage;
use smoltcp::socket::udp::PacketMetadata;

/// Bytes that a TCP socket buffers, each way.
pub const BUFFER: usize = 8 * 1024;
/// Sockets of a [`Memory`] that are no TCP sockets: DHCP and mDNS.
pub const OTHERS: usize = 2;
/// mDNS packets that wait, each way.
const PACKETS: usize = 4;

/// Memory of a network of `N` sockets: `N -` [`OTHERS`] of TCP, all of one kind until they are used. It takes
/// [`PER_SOCKET`] bytes for each and is all zeros at first, so a `static` one costs no room in a program's file.
pub struct Memory<'m, const N: usize> {
    buffers: [[u8; 2 * BUFFER]; N],
    sockets: [MaybeUninit<SocketStorage<'m>>; N],
    slots: [MaybeUninit<Slot>; N],
    packets: [MaybeUninit<PacketMetadata>; 2 * PACKETS],
}

/// Bytes of a [`Memory`] for each socket, at most.
pub const PER_SOCKET: usize = 2 * BUFFER + 1024;
const _: () = assert!(size_of::<Memory<'static, 100>>() <= 100 * PER_SOCKET);

/// What is to be had from a [`Memory`].
pub(super) struct Parts<'m> {
    pub(super) buffers: core::slice::IterMut<'m, [u8; 2 * BUFFER]>,
    pub(super) sockets: &'m mut [SocketStorage<'m>],
    pub(super) slots: &'m mut [Slot],
    pub(super) received: &'m mut [PacketMetadata],
    pub(super) sent: &'m mut [PacketMetadata],
}

impl<'m, const N: usize> Memory<'m, N> {
    /// Fresh memory.
    pub const fn new() -> Self {
        assert!(N > OTHERS, "no socket is left for TCP");
        Memory {
            buffers: [[0; 2 * BUFFER]; N],
            sockets: [const { MaybeUninit::uninit() }; N],
            slots: [const { MaybeUninit::uninit() }; N],
            packets: [const { MaybeUninit::uninit() }; 2 * PACKETS],
        }
    }
    pub(super) fn parts(&'m mut self) -> Parts<'m> {
        let packets = filled(&mut self.packets, || PacketMetadata::EMPTY);
        let (received, sent) = packets.split_at_mut(PACKETS);
        Parts {
            buffers: self.buffers.iter_mut(),
            sockets: filled(&mut self.sockets, || SocketStorage::EMPTY),
            slots: filled(&mut self.slots, Slot::default),
            received,
            sent,
        }
    }
}

impl<const N: usize> Default for Memory<'_, N> {
    fn default() -> Self {
        Memory::new()
    }
}

#[allow(unsafe_code)]
/// The slice, with a value in each place.
fn filled<T>(slice: &mut [MaybeUninit<T>], value: impl Fn() -> T) -> &mut [T] {
    for place in slice.iter_mut() {
        place.write(value());
    }
    // SAFETY: the loop has written every place of the slice.
    unsafe { slice.assume_init_mut() }
}
