//! What the LAN9514 and the LAN7800 have in common: registers by vendor requests, and a PHY behind two of them.

use super::usb::descriptor::{self, CONFIGURATION_MAX};
use super::usb::nic::Common;
use super::usb::{Host, Request, Target, UsbError};
use core::marker::PhantomData;

/// Who makes them.
pub const VENDOR: u16 = 0x0424;

const WRITE_REGISTER: u8 = 0xA0;
const READ_REGISTER: u8 = 0xA1;

const MII_BUSY: u32 = 1;
const MII_WRITE: u32 = 2;
const PHY: u32 = 1;

/// Registers of every PHY, and their bits.
pub const BMCR: u32 = 0;
pub const BMSR: u32 = 1;
pub const ADVERTISE: u32 = 4;
pub const PARTNER: u32 = 5;
pub const BMCR_RESET: u16 = 1 << 15;
pub const BMCR_NEGOTIATE: u16 = 1 << 12 | 1 << 9;
pub const BMSR_LINK: u16 = 1 << 2;
/// 10 and 100 Mbit/s, half and full duplex, and the selector for Ethernet.
pub const ADVERTISE_ALL: u16 = 0x01E1;

/// As long as this the chip is waited for, µs.
pub const PATIENCE_US: u64 = 300_000;

/// A kind of chip.
pub trait Smsc {
    /// The register by which the PHY is asked; the data's is the next one.
    const MII: u16;
}

/// Chooses the chip's configuration and finds its endpoints.
pub fn configure<H: Host>(host: &mut H, to: Target, mac: [u8; 6]) -> Result<Common, UsbError> {
    let mut bytes = [0; CONFIGURATION_MAX];
    let text = descriptor::configuration(host, to, 0, &mut bytes)?;
    let ends = |wanted| {
        let mut all = descriptor::each(text).filter_map(|d| descriptor::bulk(d, to.address));
        all.find(|(_, is_in)| *is_in == wanted).map(|(end, _)| end).ok_or(UsbError::Odd)
    };
    let common = Common { to, input: ends(true)?, output: ends(false)?, mac };
    host.configure(to, text[5])?;
    Ok(common)
}

/// A chip's registers.
pub struct Chip<'a, H, K> {
    /// The way to it.
    pub host: &'a mut H,
    to: Target,
    kind: PhantomData<K>,
}

impl<'a, H: Host, K: Smsc> Chip<'a, H, K> {
    pub fn new(host: &'a mut H, to: Target) -> Self {
        Chip { host, to, kind: PhantomData }
    }

    pub fn phy_read(&mut self, register: u32) -> Result<u16, UsbError> {
        self.wait_for(K::MII, MII_BUSY)?;
        self.write(K::MII, PHY << 11 | register << 6 | MII_BUSY)?;
        self.wait_for(K::MII, MII_BUSY)?;
        Ok(self.read(K::MII + 4)? as u16)
    }

    pub fn phy_write(&mut self, register: u32, value: u16) -> Result<(), UsbError> {
        self.wait_for(K::MII, MII_BUSY)?;
        self.write(K::MII + 4, value.into())?;
        self.write(K::MII, PHY << 11 | register << 6 | MII_WRITE | MII_BUSY)?;
        self.wait_for(K::MII, MII_BUSY)
    }

    /// Waits until a bit is clear.
    pub fn wait_for(&mut self, at: u16, bit: u32) -> Result<(), UsbError> {
        let until = self.host.now_us() + PATIENCE_US;
        while self.read(at)? & bit != 0 {
            if self.host.now_us() >= until {
                return Err(UsbError::Timeout);
            }
        }
        Ok(())
    }

    pub fn modify(&mut self, at: u16, change: impl FnOnce(u32) -> u32) -> Result<(), UsbError> {
        let old = self.read(at)?;
        self.write(at, change(old))
    }

    pub fn read(&mut self, at: u16) -> Result<u32, UsbError> {
        let mut word = [0; 4];
        match self.host.control_in(self.to, Request::new(0xC0, READ_REGISTER, 0, at), &mut word)? {
            4 => Ok(u32::from_le_bytes(word)),
            _ => Err(UsbError::Odd),
        }
    }

    pub fn write(&mut self, at: u16, value: u32) -> Result<(), UsbError> {
        self.host.control_out(self.to, Request::new(0x40, WRITE_REGISTER, 0, at), &value.to_le_bytes())
    }
}
