//! The Ethernet part of the LAN7515, which is a LAN7800: the socket of the Raspberry Pi 3B+.
//!
//! Each transfer out is a frame behind two words, each one in a frame behind ten bytes and before its check sum. Its PHY
//! is told of 100 Mbit/s at most: for gigabit it wants to be tuned in ways that only Linux's driver of that PHY knows,
//! and a tracker has no use for it. Never ran, neither on a board nor under an emulator: it was tested against a fake.

use super::lan_chip::{
    self, ADVERTISE, ADVERTISE_ALL, BMCR, BMCR_NEGOTIATE, BMSR, BMSR_LINK, Chip, PATIENCE_US, Smsc, VENDOR,
};
use super::usb::descriptor::Device;
use super::usb::nic::{Common, FRAME_MAX};
use super::usb::{Host, Target, UsbError};
use core::ops::Range;

const PRODUCT: u16 = 0x7800;

const INT_STS: u16 = 0x00C;
const HW_CFG: u16 = 0x010;
const PMT_CTL: u16 = 0x014;
const USB_CFG0: u16 = 0x080;
const BURST_CAP: u16 = 0x090;
const BULK_IN_DLY: u16 = 0x094;
const RFE_CTL: u16 = 0x0B0;
const FCT_RX_CTL: u16 = 0x0C0;
const FCT_TX_CTL: u16 = 0x0C4;
const FCT_FLOW: u16 = 0x0D0;
const MAC_CR: u16 = 0x100;
const MAC_RX: u16 = 0x104;
const MAC_TX: u16 = 0x108;
const FLOW: u16 = 0x10C;
const RX_ADDRH: u16 = 0x118;
const RX_ADDRL: u16 = 0x11C;
const FILTER_HIGH: u16 = 0x400;
const FILTER_LOW: u16 = 0x404;

const HW_CFG_LITE_RESET: u32 = 1 << 1;
const HW_CFG_MANY_FRAMES: u32 = 1 << 4;
/// The clocks of the PHY and of the MAC, and the socket's two lights.
const HW_CFG_ON: u32 = 1 << 25 | 1 << 24 | 1 << 21 | 1 << 20;
const PMT_CTL_PHY_RESET: u32 = 1 << 4;
const PMT_CTL_READY: u32 = 1 << 7;
/// Nothing received is answered by "not yet", not by an empty packet.
const USB_CFG_NAK_WHEN_EMPTY: u32 = 1 << 6;
/// To all, to groups, to the address in the filter.
const RFE_CTL_WANTED: u32 = 1 << 10 | 1 << 9 | 1 << 1;
const FILTER_VALID: u32 = 1 << 31;
const FIFO_ON: u32 = 1 << 31;
/// Duplex and speed as the PHY has them, which is reached by GMII.
const MAC_CR_WANTED: u32 = 1 << 19 | 1 << 12 | 1 << 11;
const MAC_CR_SLEEPS: u32 = 1 << 17;
const MAC_ON: u32 = 1;
const MAC_RX_LONGEST: u32 = 0x3FFF << 16;

const GIGABIT: u32 = 9;
/// Switched off, or apart from the MAC.
const BMCR_AWAY: u16 = 1 << 11 | 1 << 10;

/// Bytes before a frame that is sent.
pub const HEAD: usize = 8;
const ADD_CHECK_SUM: u32 = 1 << 22;
const STATUS: usize = 10;
const CHECK_SUM: usize = 4;
const STATUS_ERRORS: u32 = 0xC03F_0000;

/// Whether this device is one.
pub fn is(device: &Device) -> bool {
    (device.vendor, device.product) == (VENDOR, PRODUCT)
}

/// One that is set up.
pub struct Lan7800;

impl Smsc for Lan7800 {
    const MII: u16 = 0x120;
}

impl Lan7800 {
    /// Sets it up, with this address.
    pub fn start<H: Host>(host: &mut H, to: Target, mac: [u8; 6]) -> Result<(Common, Lan7800), UsbError> {
        let common = lan_chip::configure(host, to, mac)?;
        let mut chip = Chip::new(host, to);
        chip.reset()?;
        chip.set_up(mac)?;
        chip.start_phy()?;
        chip.turn_on()?;
        Ok((common, Lan7800))
    }

    /// Whether a cable is in.
    pub fn check_link<H: Host>(&mut self, host: &mut H, to: Target) -> Result<bool, UsbError> {
        Ok(Chip::<_, Lan7800>::new(host, to).phy_read(BMSR)? & BMSR_LINK != 0)
    }
}

/// The two words before a frame of `len` bytes.
pub fn head(len: usize) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[..4].copy_from_slice(&(ADD_CHECK_SUM | len as u32).to_le_bytes());
    out
}

/// The first good frame in what was heard, and where to go on.
pub fn next_frame(heard: &[u8]) -> Option<(Range<usize>, usize)> {
    let mut at = 0;
    while let Some(head) = heard.get(at..at + STATUS) {
        let status = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let len = (status & 0x3FFF) as usize;
        let (from, to) = (at + STATUS, at + STATUS + len);
        if len <= CHECK_SUM || to > heard.len() {
            return None;
        }
        // The next one begins at a multiple of four, as the first did.
        let next = to.next_multiple_of(4).min(heard.len());
        let good = status & STATUS_ERRORS == 0 && (14 + CHECK_SUM..=FRAME_MAX + CHECK_SUM).contains(&len);
        if good {
            return Some((from..to - CHECK_SUM, next));
        }
        at = next;
    }
    None
}

impl<H: Host> Chip<'_, H, Lan7800> {
    fn reset(&mut self) -> Result<(), UsbError> {
        self.modify(HW_CFG, |v| v | HW_CFG_LITE_RESET)?;
        self.wait_for(HW_CFG, HW_CFG_LITE_RESET)?;
        self.modify(HW_CFG, |v| v & !HW_CFG_MANY_FRAMES | HW_CFG_ON)?;
        self.modify(PMT_CTL, |v| v | PMT_CTL_PHY_RESET)?;
        self.wait_for(PMT_CTL, PMT_CTL_PHY_RESET)?;
        let until = self.host.now_us() + PATIENCE_US;
        while self.read(PMT_CTL)? & PMT_CTL_READY == 0 {
            if self.host.now_us() >= until {
                return Err(UsbError::Timeout);
            }
        }
        Ok(())
    }

    fn set_up(&mut self, mac: [u8; 6]) -> Result<(), UsbError> {
        let [a, b, c, d, e, f] = mac;
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]));
        self.write(RX_ADDRL, low)?;
        self.write(RX_ADDRH, high)?;
        self.write(FILTER_LOW, low)?;
        self.write(FILTER_HIGH, FILTER_VALID | high)?;
        self.modify(USB_CFG0, |v| v | USB_CFG_NAK_WHEN_EMPTY)?;
        self.write(BURST_CAP, 0)?;
        self.write(BULK_IN_DLY, 0)?;
        self.write(INT_STS, u32::MAX)?;
        self.write(FLOW, 0)?;
        self.write(FCT_FLOW, 0)?;
        self.write(RFE_CTL, RFE_CTL_WANTED)?;
        self.modify(MAC_CR, |v| v & !MAC_CR_SLEEPS | MAC_CR_WANTED)?;
        let longest = (FRAME_MAX + CHECK_SUM) as u32;
        self.modify(MAC_RX, |v| v & !MAC_RX_LONGEST | longest << 16)
    }

    fn start_phy(&mut self) -> Result<(), UsbError> {
        self.phy_write(ADVERTISE, ADVERTISE_ALL)?;
        self.phy_write(GIGABIT, 0)?;
        let control = self.phy_read(BMCR)?;
        self.phy_write(BMCR, control & !BMCR_AWAY | BMCR_NEGOTIATE)
    }

    fn turn_on(&mut self) -> Result<(), UsbError> {
        for (fifo, mac) in [(FCT_TX_CTL, MAC_TX), (FCT_RX_CTL, MAC_RX)] {
            self.modify(fifo, |v| v | FIFO_ON)?;
            self.modify(mac, |v| v | MAC_ON)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_out_behind_two_words() {
        assert_eq!(head(60), [60, 0, 0x40, 0, 0, 0, 0, 0]);
        assert_eq!(head(1514), [0xEA, 5, 0x40, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn frames_are_taken_out_of_a_transfer() {
        let mut heard = Vec::new();
        let mut put = |len: usize, flags: u32| {
            heard.extend((len as u32 | flags).to_le_bytes());
            heard.extend([0; 6]);
            heard.extend(vec![7; len]);
            heard.resize(heard.len().next_multiple_of(4), 0);
        };
        put(65, 0);
        put(64, 1 << 20);
        put(1518, 0);
        let (first, next) = next_frame(&heard).unwrap();
        assert_eq!((first, next), (10..71, 76));
        let (second, end) = next_frame(&heard[next..]).unwrap();
        assert_eq!((second, next + end), (86..86 + 1514, heard.len()));
        assert_eq!(next_frame(&heard[next + end..]), None);
    }

    #[test]
    fn nonsense_is_no_frame() {
        for word in [0u32, u32::MAX, 17, 1519, 64, 0x3FFF] {
            let head = [&word.to_le_bytes()[..], &[0; 6]].concat();
            assert_eq!(next_frame(&head), None, "{word:#x}");
        }
        assert_eq!(next_frame(&[0; 64]), None);
        assert_eq!(next_frame(&[1, 2, 3]), None);
    }
}
