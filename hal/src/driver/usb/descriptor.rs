//! What devices say of themselves: lists of descriptors, each with its length and its type first.

use super::{Endpoint, Host, Request, Target, UsbError};

const GET_DESCRIPTOR: u8 = 6;
const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
/// The type of an interface's descriptor.
pub const INTERFACE: u8 = 4;
/// The type of an endpoint's descriptor.
pub const ENDPOINT: u8 = 5;
/// The type of a descriptor that the interface's class defines.
pub const CLASS_INTERFACE: u8 = 0x24;

/// The longest configuration that is read; longer ones are cut.
pub const CONFIGURATION_MAX: usize = 512;

/// A device's descriptor, as far as anyone here asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its class; 9 is a hub.
    pub class: u8,
    /// Who made it.
    pub vendor: u16,
    /// What it is.
    pub product: u16,
    /// How many configurations it has.
    pub configurations: u8,
}

/// The longest packet of endpoint 0, from a device that is asked for the first time.
pub fn first_packet<H: Host>(host: &mut H, at: Target) -> Result<u8, UsbError> {
    let mut head = [0; 8];
    let got = host.control_in(at, get(DEVICE, 0, 0), &mut head)?;
    match head {
        [18, DEVICE, .., packet @ (8 | 16 | 32 | 64)] if got == 8 => Ok(packet),
        _ => Err(UsbError::Odd),
    }
}

/// The device's descriptor.
pub fn device<H: Host>(host: &mut H, at: Target) -> Result<Device, UsbError> {
    let mut d = [0; 18];
    let got = host.control_in(at, get(DEVICE, 0, 0), &mut d)?;
    if got < 18 || d[1] != DEVICE {
        return Err(UsbError::Odd);
    }
    let word = |at: usize| u16::from_le_bytes([d[at], d[at + 1]]);
    Ok(Device { class: d[4], vendor: word(8), product: word(10), configurations: d[17] })
}

/// The configuration with an index, and all that belongs to it.
pub fn configuration<'a, H: Host>(
    host: &mut H,
    at: Target,
    index: u8,
    into: &'a mut [u8; CONFIGURATION_MAX],
) -> Result<&'a [u8], UsbError> {
    let head = host.control_in(at, get(CONFIGURATION, index, 0), &mut into[..9])?;
    let whole = usize::from(u16::from_le_bytes([into[2], into[3]])).min(CONFIGURATION_MAX);
    if head < 9 || into[1] != CONFIGURATION || whole < 9 {
        return Err(UsbError::Odd);
    }
    let got = host.control_in(at, get(CONFIGURATION, index, 0), &mut into[..whole])?;
    if got < 9 { Err(UsbError::Odd) } else { Ok(&into[..got]) }
}

/// A text, in UTF-16 with its descriptor's two bytes before it, cut to the buffer; gives the whole descriptor.
pub fn string<'a, H: Host>(
    host: &mut H,
    at: Target,
    index: u8,
    into: &'a mut [u8; 64],
) -> Result<&'a [u8], UsbError> {
    const ENGLISH: u16 = 0x0409;
    let got = host.control_in(at, get(STRING, index, ENGLISH), into)?;
    let length = usize::from(into[0]).min(got);
    if length < 2 || into[1] != STRING { Err(UsbError::Odd) } else { Ok(&into[2..length]) }
}

const fn get(kind: u8, index: u8, language: u16) -> Request {
    Request::new(0x80, GET_DESCRIPTOR, (kind as u16) << 8 | index as u16, language)
}

/// The descriptors in a configuration, one after the other, each whole; ends where they make no sense.
pub fn each(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        if length < 2 {
            return None;
        }
        let (one, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(one)
    })
}

/// A bulk endpoint's number and longest packet, and whether it sends to the host.
pub fn bulk(descriptor: &[u8], address: u8) -> Option<(Endpoint, bool)> {
    let [_, ENDPOINT, at, attributes, low, high, ..] = *descriptor else { return None };
    let packet = u16::from_le_bytes([low, high]) & 0x7FF;
    let number = at & 15;
    let fits = attributes & 3 == 2 && number != 0 && matches!(packet, 8 | 16 | 32 | 64 | 512);
    fits.then_some((Endpoint { address, number, packet }, at & 0x80 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_where_it_makes_no_sense() {
        let all = |bytes| each(bytes).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(all(&[2, 1, 3, 1, 1]), [2, 3]);
        assert_eq!(all(&[2, 1, 9, 1, 1]), [2], "one that is cut");
        assert_eq!(all(&[2, 1, 0, 0, 2, 1]), [2], "one without a length");
        assert_eq!(all(&[]), [0usize; 0]);
    }

    #[test]
    fn endpoints_are_checked() {
        let e = |at, attributes, packet: u16| {
            let p = packet.to_le_bytes();
            bulk(&[7, 5, at, attributes, p[0], p[1], 0], 3)
        };
        assert_eq!(e(0x81, 2, 512), Some((Endpoint { address: 3, number: 1, packet: 512 }, true)));
        assert_eq!(e(0x02, 2, 64), Some((Endpoint { address: 3, number: 2, packet: 64 }, false)));
        assert_eq!(e(0x81, 3, 64), None, "an interrupt endpoint");
        assert_eq!(e(0x81, 2, 0), None, "no packets");
        assert_eq!(e(0x80, 2, 64), None, "endpoint 0");
        assert_eq!(bulk(&[2, 5], 3), None);
    }
}
