//! Adapters of the class CDC-ECM: each bulk transfer is one frame, as it is.
//!
//! Ran with QEMU's `usb-net` alone so far, never with a real adapter.

use super::usb::descriptor::{self, CLASS_INTERFACE, CONFIGURATION_MAX, Device, INTERFACE};
use super::usb::nic::{Common, Mac};
use super::usb::{Endpoint, Host, Request, Target, UsbError};
use core::ops::Range;

const CLASS_COMMUNICATIONS: u8 = 2;
const SUBCLASS_ETHERNET: u8 = 6;
const CLASS_DATA: u8 = 10;
const KIND_UNION: u8 = 0x06;
const KIND_ETHERNET: u8 = 0x0F;
const SET_INTERFACE: u8 = 11;
const SET_PACKET_FILTER: u8 = 0x43;
/// To this address, to all, to groups.
const FILTER: u16 = 0b1110;
/// Everything.
const FILTER_NONE: u16 = 0b1111;

/// What a configuration says of an adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    /// The configuration's value.
    value: u8,
    control_interface: u8,
    data_interface: u8,
    /// The setting of the data interface in which frames flow.
    setting: u8,
    mac_string: u8,
    input: Endpoint,
    output: Endpoint,
}

/// The class.
pub struct CdcEther;

impl CdcEther {
    /// Sets the device up if one of its configurations is of this class.
    pub fn find<H: Host>(
        host: &mut H,
        to: Target,
        device: &Device,
        wanted: Mac,
    ) -> Result<Option<Common>, UsbError> {
        let mut bytes = [0; CONFIGURATION_MAX];
        for index in 0..device.configurations {
            let text = descriptor::configuration(host, to, index, &mut bytes)?;
            if let Some(found) = read(text, to.address) {
                return start(host, to, &found, wanted).map(Some);
            }
        }
        Ok(None)
    }
}

fn start<H: Host>(host: &mut H, to: Target, found: &Found, wanted: Mac) -> Result<Common, UsbError> {
    let own = match found.mac_string {
        0 => None,
        index => descriptor::string(host, to, index, &mut [0; 64]).ok().and_then(mac),
    };
    let mac = own.filter(|_| !wanted.fixed).unwrap_or(wanted.is);
    // One that shall have another address than its own takes everything in.
    let filter = if own == Some(mac) { FILTER } else { FILTER_NONE };
    host.configure(to, found.value)?;
    let [setting, data, control] =
        [found.setting, found.data_interface, found.control_interface].map(u16::from);
    host.control_out(to, Request::new(1, SET_INTERFACE, setting, data), &[])?;
    match host.control_out(to, Request::new(0x21, SET_PACKET_FILTER, filter, control), &[]) {
        Ok(()) | Err(UsbError::Stall) => {} // many adapters have no filter
        Err(why) => return Err(why),
    }
    Ok(Common { to, input: found.input, output: found.output, mac })
}

/// What a configuration says, if it is an adapter's.
fn read(configuration: &[u8], address: u8) -> Option<Found> {
    let value = *configuration.get(5)?;
    let (mut control, mut data, mut mac_string) = (None, None, 0);
    // The interface that what follows belongs to: its number and setting.
    let (mut current, mut of_control) = ((0, 0), false);
    let mut ends = (None, None);
    for d in descriptor::each(configuration) {
        match *d {
            [_, INTERFACE, number, setting, _, class, subclass, ..] => {
                of_control = class == CLASS_COMMUNICATIONS && subclass == SUBCLASS_ETHERNET;
                if of_control {
                    control = Some(number);
                }
                current = (number, setting);
                ends = (None, None);
                // An adapter without a union: the first data interface is its.
                if class == CLASS_DATA && control.is_some() && data.is_none() {
                    data = Some(number);
                }
            }
            [_, CLASS_INTERFACE, KIND_UNION, _, first, ..] if of_control => data = Some(first),
            [_, CLASS_INTERFACE, KIND_ETHERNET, string, ..] if of_control => mac_string = string,
            _ => {
                if let Some((end, is_in)) = descriptor::bulk(d, address) {
                    *(if is_in { &mut ends.0 } else { &mut ends.1 }) = Some(end);
                }
            }
        }
        if let (Some(control_interface), Some(input), Some(output)) = (control, ends.0, ends.1)
            && data == Some(current.0)
        {
            let (data_interface, setting) = current;
            return Some(Found {
                value,
                control_interface,
                data_interface,
                setting,
                mac_string,
                input,
                output,
            });
        }
    }
    None
}

/// Twelve hexadecimal digits in UTF-16.
fn mac(text: &[u8]) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    if text.len() != 24 {
        return None;
    }
    for (n, pair) in text.chunks_exact(2).enumerate() {
        let digit = char::from(pair[0]).to_digit(16).filter(|_| pair[1] == 0)?;
        out[n / 2] = out[n / 2] << 4 | digit as u8;
    }
    // One for a group of adapters is none of an adapter.
    (out[0] & 1 == 0 && out != [0; 6]).then_some(out)
}

/// The frame in a transfer.
pub fn next_frame(heard: &[u8]) -> Option<(Range<usize>, usize)> {
    (!heard.is_empty()).then_some((0..heard.len(), heard.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::fake::device::CDC_CONFIGURATIONS;

    #[test]
    fn the_configuration_of_the_class_is_found() {
        let [rndis, ecm] = CDC_CONFIGURATIONS;
        assert_eq!(read(rndis, 5), None);
        let end = |number| Endpoint { address: 5, number, packet: 64 };
        let found = Found {
            value: 1,
            control_interface: 0,
            data_interface: 1,
            setting: 1,
            mac_string: 8,
            input: end(2),
            output: end(2),
        };
        assert_eq!(read(ecm, 5), Some(found));
        for cut in 0..ecm.len() {
            assert_eq!(read(&ecm[..cut], 5).is_some(), cut == ecm.len(), "cut at {cut}");
        }
    }

    #[test]
    fn a_mac_is_twelve_digits() {
        let text = |t: &str| t.bytes().flat_map(|b| [b, 0]).collect::<Vec<_>>();
        assert_eq!(mac(&text("40542a10FE57")), Some([0x40, 0x54, 0x2A, 0x10, 0xFE, 0x57]));
        for bad in ["40542a10FE5", "40542a10FE5g", "41542a10FE57", "000000000000", ""] {
            assert_eq!(mac(&text(bad)), None, "{bad}");
        }
    }
}
