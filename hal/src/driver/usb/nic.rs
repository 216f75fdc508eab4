//! The network adapters that are known, as one: Ethernet frames through two bulk endpoints.

use super::descriptor::Device;
use super::{Endpoint, HEARD_MAX, Host, Target, UsbError};
use crate::driver::cdc_ether::{self, CdcEther};
use crate::driver::lan7800::{self, Lan7800};
use crate::driver::lan9514::{self, Lan9514};
use core::fmt;
use core::ops::Range;

/// Bytes of the longest frame: a header of 14 and a payload of 1,500.
pub const FRAME_MAX: usize = 1514;
/// Bytes of the shortest frame, without its check sum; shorter ones are filled up with zeros.
const FRAME_MIN: usize = 60;
/// Bytes of the longest header that an adapter asks for before a frame.
const HEAD_MAX: usize = 8;

/// The address that adapters are to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mac {
    /// The address.
    pub is: [u8; 6],
    /// Even those that have one of their own.
    pub fixed: bool,
}

/// What all adapters have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Common {
    /// The device.
    pub to: Target,
    /// Where frames come from.
    pub input: Endpoint,
    /// Where frames go to.
    pub output: Endpoint,
    /// The adapter's address.
    pub mac: [u8; 6],
}

/// An adapter that is set up.
pub struct Nic {
    common: Common,
    kind: Kind,
    toggle: bool,
}

enum Kind {
    Cdc,
    Lan9514(Lan9514),
    Lan7800(Lan7800),
}

impl Nic {
    /// Sets the device up if it is an adapter.
    pub fn find<H: Host>(
        host: &mut H,
        to: Target,
        device: &Device,
        mac: Mac,
    ) -> Result<Option<Nic>, UsbError> {
        let found = if lan9514::is(device) {
            let (common, lan) = Lan9514::start(host, to, mac.is)?;
            Some((common, Kind::Lan9514(lan)))
        } else if lan7800::is(device) {
            let (common, lan) = Lan7800::start(host, to, mac.is)?;
            Some((common, Kind::Lan7800(lan)))
        } else {
            CdcEther::find(host, to, device, mac)?.map(|common| (common, Kind::Cdc))
        };
        Ok(found.map(|(common, kind)| Nic { common, kind, toggle: false }))
    }

    /// Its address on the Ethernet.
    pub fn mac(&self) -> [u8; 6] {
        self.common.mac
    }

    /// Its address on the USB.
    pub fn address(&self) -> u8 {
        self.common.to.address
    }

    /// Where frames come from.
    pub fn input(&self) -> Endpoint {
        self.common.input
    }

    /// Whether a cable is in. An adapter that does not say has one.
    pub fn check_link<H: Host>(&mut self, host: &mut H) -> Result<bool, UsbError> {
        match &mut self.kind {
            Kind::Cdc => Ok(true),
            Kind::Lan9514(lan) => lan.check_link(host, self.common.to),
            Kind::Lan7800(lan) => lan.check_link(host, self.common.to),
        }
    }

    /// Sends a frame.
    pub fn send<H: Host>(&mut self, host: &mut H, frame: &[u8]) -> Result<(), UsbError> {
        let mut bytes = [0; HEAD_MAX + FRAME_MAX];
        let len = frame.len().clamp(FRAME_MIN, FRAME_MAX);
        let head = match &self.kind {
            Kind::Cdc => 0,
            Kind::Lan9514(_) => {
                bytes[..lan9514::HEAD].copy_from_slice(&lan9514::head(len));
                lan9514::HEAD
            }
            Kind::Lan7800(_) => {
                bytes[..lan7800::HEAD].copy_from_slice(&lan7800::head(len));
                lan7800::HEAD
            }
        };
        let kept = frame.len().min(len);
        bytes[head..head + kept].copy_from_slice(&frame[..kept]);
        host.send(self.common.output, &mut self.toggle, &bytes[..head + len])
    }

    /// The next frame in what was [heard](Host::heard), and where to go on.
    pub fn next_frame(&self, heard: &[u8]) -> Option<(Range<usize>, usize)> {
        match &self.kind {
            Kind::Cdc => cdc_ether::next_frame(heard),
            Kind::Lan9514(_) => lan9514::next_frame(heard),
            Kind::Lan7800(_) => lan7800::next_frame(heard),
        }
    }
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.common.mac;
        let name = match self.kind {
            Kind::Cdc => "CDC-ECM",
            Kind::Lan9514(_) => "LAN9514",
            Kind::Lan7800(_) => "LAN7800",
        };
        write!(f, "{name}, {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

const _: () = assert!(HEAD_MAX + FRAME_MAX <= HEARD_MAX);
