//! Whichever adapter is plugged in, as one device for smoltcp: it may come late, go, and come back as another one. All
//! of them have one address then.
//!
//! Ran under QEMU alone so far, never on a board.

use super::usb::bus::Bus;
use super::usb::nic::FRAME_MAX;
use super::usb::{HEARD_MAX, Host};
use core::ops::Range;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// The cable is looked at so often.
const LINK_US: u64 = 1_000_000;

/// The device.
pub struct UsbNet<H> {
    heard: [u8; HEARD_MAX],
    /// What of `heard` has not been taken out yet.
    left: Range<usize>,
    out: Out<H>,
}

/// What sending needs, apart from what was heard: both are lent at once.
struct Out<H> {
    bus: Bus<H>,
    frame: [u8; FRAME_MAX],
    linked: bool,
    next_link_us: u64,
}

impl<H: Host> UsbNet<H> {
    /// The adapter on this bus, whenever there is one.
    pub fn new(bus: Bus<H>) -> Self {
        let out = Out { bus, frame: [0; FRAME_MAX], linked: false, next_link_us: 0 };
        UsbNet { heard: [0; HEARD_MAX], left: 0..0, out }
    }

    /// Looks whether there is an adapter now; true if there is. May take a second.
    pub fn look(&mut self) -> bool {
        self.out.tend();
        self.out.bus.nic().is_some()
    }

    /// The address that this end has from now on.
    pub fn fix_mac(&mut self) -> [u8; 6] {
        self.out.bus.fix_mac()
    }

    /// Whether there is an adapter with a cable in, as far as it knows.
    pub fn is_linked(&self) -> bool {
        self.out.linked
    }

    /// The next frame's place in `heard`.
    fn next_frame(&mut self) -> Option<Range<usize>> {
        let (nic, host) = self.out.bus.nic()?;
        if self.left.is_empty() {
            match host.heard(&mut self.heard) {
                Ok(None) => return None,
                Ok(Some(n)) => self.left = 0..n,
                Err(why) => {
                    self.out.bus.nic_failed(why);
                    return None;
                }
            }
        }
        let from = self.left.start;
        let Some((frame, next)) = nic.next_frame(&self.heard[self.left.clone()]) else {
            self.left = 0..0;
            return None;
        };
        self.left.start = from + next;
        Some(from + frame.start..from + frame.end)
    }
}

impl<H: Host> Out<H> {
    /// Sees what came and went, and whether the cable is in.
    fn tend(&mut self) {
        self.bus.look();
        let Some((nic, host)) = self.bus.nic() else {
            (self.linked, self.next_link_us) = (false, 0);
            return;
        };
        let now = host.now_us();
        if now < self.next_link_us {
            return;
        }
        match nic.check_link(host) {
            Ok(linked) => self.linked = linked,
            Err(why) => {
                self.linked = false;
                self.bus.nic_failed(why);
            }
        }
        self.next_link_us = now + LINK_US;
    }

    fn send(&mut self, len: usize) {
        // Without a cable nothing would leave, and the adapter would fill up.
        if !self.linked {
            return;
        }
        let Some((nic, host)) = self.bus.nic() else { return };
        if let Err(why) = nic.send(host, &self.frame[..len]) {
            self.linked = false;
            self.bus.nic_failed(why);
        }
    }
}

impl<H: Host> Device for UsbNet<H> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Sending<'a, H>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.out.tend();
        let frame = self.next_frame()?;
        Some((Received(&self.heard[frame]), Sending(&mut self.out)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        Some(Sending(&mut self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut out = DeviceCapabilities::default();
        out.medium = Medium::Ethernet;
        out.max_transmission_unit = FRAME_MAX;
        out
    }
}

/// A frame that came.
pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

/// The chance to send a frame. Without an adapter it is dropped, as without a cable.
pub struct Sending<'a, H>(&'a mut Out<H>);

impl<H: Host> TxToken for Sending<'_, H> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, make: F) -> R {
        let out = make(&mut self.0.frame[..len]);
        self.0.send(len);
        out
    }
}

#[cfg(test)]
mod tests;
