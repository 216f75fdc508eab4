//! The machine's virtio devices: its adapter, and a source of randomness where there is one.

use super::super::Nic;
use crate::arch::aarch64::dma;
use core::ptr::NonNull;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Where devices may be: so many places of so many bytes.
const FIRST: usize = 0x0a00_0000;
const PLACE: usize = 0x200;
const PLACES: usize = 32;
/// Frames under way in each direction.
const FRAMES: usize = 32;
/// A frame with the header of the device.
const ROOM: usize = 2048;
/// An Ethernet frame without its checksum.
const FRAME: usize = 1514;

/// Memory that this machine shares with its devices: an address is the same for both, and caches are coherent.
struct Shared;

// SAFETY: what `take` gives is aligned, zeroed, and given once.
unsafe impl Hal for Shared {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let at = NonNull::new(dma::take(pages * PAGE_SIZE, PAGE_SIZE)).expect("memory is not at 0");
        (at.as_ptr() as PhysAddr, at)
    }
    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // A device that is not used any more keeps its pages: there is one of each.
        0
    }
    unsafe fn mmio_phys_to_virt(at: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(at as *mut u8).expect("no device is at 0")
    }
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }
    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// The first device of a kind, and its place.
fn find(kind: DeviceType) -> Option<(MmioTransport<'static>, usize)> {
    (0..PLACES).rev().find_map(|place| {
        let header = NonNull::new((FIRST + place * PLACE) as *mut VirtIOHeader)?;
        // SAFETY: the machine has registers in each of these places, mapped, whether or not a device is there.
        let transport = unsafe { MmioTransport::new(header, PLACE) }.ok()?;
        (transport.device_type() == kind).then_some((transport, place))
    })
}

/// Randomness of the host, if the machine has a device for it.
pub fn randomness() -> Option<[u8; 32]> {
    let mut device = VirtIORng::<Shared, _>::new(find(DeviceType::EntropySource)?.0).ok()?;
    let mut out = [0; 32];
    let n = device.request_entropy(&mut out).ok()?;
    (n == out.len()).then_some(out)
}

/// A virtio adapter.
pub struct VirtioNic {
    device: VirtIONetRaw<Shared, MmioTransport<'static>, FRAMES>,
    incoming: Frames,
    outgoing: Frames,
    /// Frames of `outgoing` that are not under way.
    free: heapless::Vec<u8, FRAMES>,
    /// The frame that was received last.
    last: [u8; FRAME],
}

/// Buffers, each lent to the device under a token.
struct Frames {
    at: *mut u8,
    by_token: [u8; FRAMES],
}

impl Frames {
    fn new() -> Frames {
        Frames { at: dma::take(FRAMES * ROOM, 64), by_token: [0; FRAMES] }
    }
    /// A buffer; the device does not use it, and nobody else has it.
    fn buffer(&mut self, i: u8) -> &mut [u8] {
        assert!(usize::from(i) < FRAMES);
        // SAFETY: within the memory taken for the frames, which `self` alone knows.
        unsafe { core::slice::from_raw_parts_mut(self.at.add(usize::from(i) * ROOM), ROOM) }
    }
}

/// The machine's adapter and its place; none if there is none, or it does not answer.
pub fn open() -> Option<(VirtioNic, usize)> {
    let (transport, place) = find(DeviceType::Network)?;
    let device = VirtIONetRaw::new(transport).ok()?;
    let (incoming, outgoing, free) = (Frames::new(), Frames::new(), (0..FRAMES as u8).collect());
    let mut nic = VirtioNic { device, incoming, outgoing, free, last: [0; FRAME] };
    (0..FRAMES as u8).for_each(|i| nic.lend(i));
    Some((nic, place))
}

/// Tells the device in a place that its interrupt was seen.
pub fn acknowledge(place: usize) {
    let base = FIRST + place * PLACE;
    // SAFETY: two registers of the device there, made for this.
    unsafe {
        let status = ((base + 0x60) as *const u32).read_volatile();
        ((base + 0x64) as *mut u32).write_volatile(status);
    }
}

impl VirtioNic {
    /// Gives a buffer to the device to receive into.
    fn lend(&mut self, i: u8) {
        // SAFETY: the buffer is not touched until `receive` takes it back by its token.
        let token = unsafe { self.device.receive_begin(self.incoming.buffer(i)) };
        self.incoming.by_token[usize::from(token.expect("a place in the queue for each buffer"))] = i;
    }
    /// Takes back the buffers that were sent.
    fn reclaim(&mut self) {
        while let Some(token) = self.device.poll_transmit() {
            let i = self.outgoing.by_token[usize::from(token)];
            // SAFETY: the buffer that was sent under this token. (Its length does not matter here.)
            let _ = unsafe { self.device.transmit_complete(token, self.outgoing.buffer(i)) };
            self.free.push(i).expect("as many as there are");
        }
    }
}

impl Nic for VirtioNic {
    fn mac(&self) -> [u8; 6] {
        self.device.mac_address()
    }
}

impl Device for VirtioNic {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        self.reclaim();
        if self.free.is_empty() {
            return None;
        }
        let token = self.device.poll_receive()?;
        let i = self.incoming.by_token[usize::from(token)];
        // SAFETY: the buffer that was lent under this token.
        let done = unsafe { self.device.receive_complete(token, self.incoming.buffer(i)) };
        let n = match done {
            Ok((header, n)) if n <= FRAME => {
                self.last[..n].copy_from_slice(&self.incoming.buffer(i)[header..header + n]);
                n
            }
            // Not a frame: nobody will take it for one.
            _ => 0,
        };
        self.lend(i);
        let VirtioNic { device, outgoing, free, last, .. } = self;
        Some((Received(&last[..n]), Sending { device, outgoing, free }))
    }
    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        self.reclaim();
        let VirtioNic { device, outgoing, free, .. } = self;
        (!free.is_empty()).then_some(Sending { device, outgoing, free })
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ethernet;
        c.max_transmission_unit = FRAME;
        c.max_burst_size = Some(FRAMES);
        c
    }
}

/// A frame that came in.
pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a frame to go out.
pub struct Sending<'a> {
    device: &'a mut VirtIONetRaw<Shared, MmioTransport<'static>, FRAMES>,
    outgoing: &'a mut Frames,
    free: &'a mut heapless::Vec<u8, FRAMES>,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let i = self.free.pop().expect("there is one, or there is no token");
        let buffer = self.outgoing.buffer(i);
        let header = self.device.fill_buffer_header(buffer).expect("a frame's buffer holds a header");
        let result = f(&mut buffer[header..header + len]);
        // SAFETY: the buffer is not touched until `reclaim` takes it back by its token.
        match unsafe { self.device.transmit_begin(&buffer[..header + len]) } {
            Ok(token) => self.outgoing.by_token[usize::from(token)] = i,
            // Not sent; TCP will say it again.
            Err(_) => self.free.push(i).expect("it was here just now"),
        }
        result
    }
}
