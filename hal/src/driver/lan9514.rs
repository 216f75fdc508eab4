//! The Ethernet part of the LAN9514 (and of other SMSC95xx), the socket of the Raspberry Pi 3B.
//!
//! Each transfer out is a frame behind two words, each one in a frame behind a status word and before its check sum.
//! Never ran, neither on a board nor under an emulator: it was written after the chip's manual and tested against a
//! fake that was written after the same.

use super::lan_chip::{
    self, ADVERTISE, ADVERTISE_ALL, BMCR, BMCR_NEGOTIATE, BMCR_RESET, BMSR, BMSR_LINK, Chip, PARTNER,
    PATIENCE_US, Smsc, VENDOR,
};
use super::usb::descriptor::Device;
use super::usb::nic::{Common, FRAME_MAX};
use super::usb::{Host, Target, UsbError};
use core::ops::Range;

/// LAN9514/9512, LAN9500, LAN9500A, LAN9505, LAN9530, LAN9730.
const PRODUCTS: [u16; 6] = [0xEC00, 0x9500, 0x9E00, 0x9505, 0x9530, 0x9730];

const INT_STS: u16 = 0x08;
const TX_CFG: u16 = 0x10;
const HW_CFG: u16 = 0x14;
const PM_CTRL: u16 = 0x20;
const LED_GPIO_CFG: u16 = 0x24;
const AFC_CFG: u16 = 0x2C;
const BURST_CAP: u16 = 0x38;
const BULK_IN_DLY: u16 = 0x6C;
const MAC_CR: u16 = 0x100;
const ADDRH: u16 = 0x104;
const ADDRL: u16 = 0x108;
const FLOW: u16 = 0x11C;
const VLAN1: u16 = 0x120;
const COE_CR: u16 = 0x130;

const HW_CFG_LITE_RESET: u32 = 1 << 3;
/// Nothing received is answered by "not yet", not by an empty packet.
const HW_CFG_NAK_WHEN_EMPTY: u32 = 1 << 12;
const HW_CFG_MANY_FRAMES: u32 = 1 << 5;
const HW_CFG_DATA_OFFSET: u32 = 3 << 9;
const PM_CTRL_PHY_RESET: u32 = 1 << 4;
const LED_ALL: u32 = 1 << 24 | 1 << 20 | 1 << 16;
const AFC_DEFAULT: u32 = 0x00F8_30A1;
const BULK_IN_DELAY: u32 = 0x2000;
const TX_CFG_ON: u32 = 1 << 2;
const MAC_RX_ON: u32 = 1 << 2;
const MAC_TX_ON: u32 = 1 << 3;
const MAC_ALL_GROUPS: u32 = 1 << 19;
const MAC_FULL_DUPLEX: u32 = 1 << 20;
const MAC_NOT_OWN: u32 = 1 << 23;

const FULL_100: u16 = 1 << 8;
const HALF_100: u16 = 1 << 7;
const FULL_10: u16 = 1 << 6;

/// Bytes before a frame that is sent.
pub const HEAD: usize = 8;
const FIRST_AND_LAST: u32 = 1 << 13 | 1 << 12;
const STATUS: usize = 4;
const CHECK_SUM: usize = 4;
const STATUS_ERROR: u32 = 1 << 15;

/// Whether this device is one.
pub fn is(device: &Device) -> bool {
    device.vendor == VENDOR && PRODUCTS.contains(&device.product)
}

/// One that is set up.
pub struct Lan9514 {
    linked: bool,
}

impl Smsc for Lan9514 {
    const MII: u16 = 0x114;
}

impl Lan9514 {
    /// Sets it up, with this address.
    pub fn start<H: Host>(host: &mut H, to: Target, mac: [u8; 6]) -> Result<(Common, Lan9514), UsbError> {
        let common = lan_chip::configure(host, to, mac)?;
        let mut chip = Chip::new(host, to);
        chip.reset()?;
        chip.set_up(mac)?;
        chip.start_phy()?;
        chip.turn_on()?;
        Ok((common, Lan9514 { linked: false }))
    }

    /// Whether a cable is in; sets the duplex when one comes.
    pub fn check_link<H: Host>(&mut self, host: &mut H, to: Target) -> Result<bool, UsbError> {
        let mut chip = Chip::<_, Lan9514>::new(host, to);
        let linked = chip.phy_read(BMSR)? & BMSR_LINK != 0;
        if linked && !self.linked {
            let common = chip.phy_read(PARTNER)? & ADVERTISE_ALL;
            let full = common & FULL_100 != 0 || common & (HALF_100 | FULL_10) == FULL_10;
            chip.modify(MAC_CR, |v| match full {
                true => v & !MAC_NOT_OWN | MAC_FULL_DUPLEX,
                false => v & !MAC_FULL_DUPLEX | MAC_NOT_OWN,
            })?;
        }
        self.linked = linked;
        Ok(linked)
    }
}

/// The two words before a frame of `len` bytes.
pub fn head(len: usize) -> [u8; HEAD] {
    let len = len as u32;
    let mut out = [0; HEAD];
    out[..4].copy_from_slice(&(FIRST_AND_LAST | len).to_le_bytes());
    out[4..].copy_from_slice(&len.to_le_bytes());
    out
}

/// The first good frame in what was heard, and where to go on.
pub fn next_frame(heard: &[u8]) -> Option<(Range<usize>, usize)> {
    let mut at = 0;
    while let Some(word) = heard.get(at..at + STATUS) {
        let status = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let len = (status >> 16 & 0x3FFF) as usize;
        let (from, to) = (at + STATUS, at + STATUS + len);
        let next = to.next_multiple_of(4);
        if to > heard.len() {
            return None;
        }
        let good = status & STATUS_ERROR == 0 && (14 + CHECK_SUM..=FRAME_MAX + CHECK_SUM).contains(&len);
        if good {
            return Some((from..to - CHECK_SUM, next.min(heard.len())));
        }
        at = next;
    }
    None
}

impl<H: Host> Chip<'_, H, Lan9514> {
    fn reset(&mut self) -> Result<(), UsbError> {
        self.modify(HW_CFG, |v| v | HW_CFG_LITE_RESET)?;
        self.wait_for(HW_CFG, HW_CFG_LITE_RESET)?;
        self.modify(PM_CTRL, |v| v | PM_CTRL_PHY_RESET)?;
        self.wait_for(PM_CTRL, PM_CTRL_PHY_RESET)
    }

    fn set_up(&mut self, mac: [u8; 6]) -> Result<(), UsbError> {
        let [a, b, c, d, e, f] = mac;
        self.write(ADDRL, u32::from_le_bytes([a, b, c, d]))?;
        self.write(ADDRH, u32::from_le_bytes([e, f, 0, 0]))?;
        self.modify(HW_CFG, |v| v & !(HW_CFG_MANY_FRAMES | HW_CFG_DATA_OFFSET) | HW_CFG_NAK_WHEN_EMPTY)?;
        self.write(BURST_CAP, 0)?;
        self.write(BULK_IN_DLY, BULK_IN_DELAY)?;
        self.write(INT_STS, u32::MAX)?;
        self.write(LED_GPIO_CFG, LED_ALL)?;
        self.write(FLOW, 0)?;
        self.write(AFC_CFG, AFC_DEFAULT)?;
        self.write(VLAN1, 0x8100)?;
        self.write(COE_CR, 0)
    }

    fn start_phy(&mut self) -> Result<(), UsbError> {
        self.phy_write(BMCR, BMCR_RESET)?;
        let until = self.host.now_us() + PATIENCE_US;
        while self.phy_read(BMCR)? & BMCR_RESET != 0 {
            if self.host.now_us() >= until {
                return Err(UsbError::Timeout);
            }
            self.host.wait_us(1_000);
        }
        self.phy_write(ADVERTISE, ADVERTISE_ALL)?;
        self.phy_write(BMCR, BMCR_NEGOTIATE)
    }

    fn turn_on(&mut self) -> Result<(), UsbError> {
        self.modify(MAC_CR, |v| v | MAC_TX_ON | MAC_ALL_GROUPS)?;
        self.write(TX_CFG, TX_CFG_ON)?;
        self.modify(MAC_CR, |v| v | MAC_RX_ON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_out_behind_two_words() {
        assert_eq!(head(60), [0x3C, 0x30, 0, 0, 0x3C, 0, 0, 0]);
        assert_eq!(head(1514), [0xEA, 0x35, 0, 0, 0xEA, 5, 0, 0]);
    }

    #[test]
    fn frames_are_taken_out_of_a_transfer() {
        let mut heard = Vec::new();
        let mut put = |len: usize, flags: u32| {
            heard.extend((((len as u32) << 16) | flags).to_le_bytes());
            heard.extend(vec![7; len]);
            heard.resize(heard.len().next_multiple_of(4), 0);
        };
        put(65, 0);
        put(64, STATUS_ERROR);
        put(1518, 0);
        let (first, next) = next_frame(&heard).unwrap();
        assert_eq!((first, next), (4..65, 72));
        let (second, end) = next_frame(&heard[next..]).unwrap();
        assert_eq!((second, next + end), (72..72 + 1514, heard.len()));
        assert_eq!(next_frame(&heard[next + end..]), None);
    }

    #[test]
    fn nonsense_is_no_frame() {
        for word in [0u32, u32::MAX, 17 << 16, 1519 << 16, 64 << 16] {
            assert_eq!(next_frame(&word.to_le_bytes()), None, "{word:#x}");
        }
        assert_eq!(next_frame(&[0; 64]), None);
        assert_eq!(next_frame(&[1, 2, 3]), None);
    }
}
