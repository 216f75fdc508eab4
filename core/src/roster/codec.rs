//! A roster as bytes: little-endian fields in the order of the struct, counts before lists, then the MAC.

use super::{Device, FolderEntry, Former, Roster};
use crate::ids::{DeviceId, FolderId, FolderSlot, PublicKey, Slot, SlotSet, Tag};
use crate::limits::{self, COUNTER};
use crate::mutant::{self, Mutant};
use crate::wire::message::RosterVersion;
use heapless::{String, Vec};

/// Bytes of the MAC behind the fields.
pub const MAC: usize = 32;
/// Bytes of the largest sealed roster.
pub const ROSTER_BYTES: usize = 40 * 1024;
const FORMAT: u8 = 1;
/// Largest encoding of each list; the sum fits, by the assertion below.
const WORST: usize = 1
    + 8
    + 8
    + 4
    + 4
    + 1
    + limits::DEVICES * (1 + 4 + 32 + 1 + limits::DEVICE_NAME + 4)
    + 1
    + limits::FORMER * (4 + 1 + limits::DEVICE_NAME)
    + 1
    + limits::GIVEN_UP_TAGS * 4
    + 2
    + limits::REVOKED * 32
    + 2
    + limits::FOLDERS * (1 + 8 + 1 + limits::LABEL + 8)
    + MAC;
const _: () = assert!(WORST <= ROSTER_BYTES);

/// Bytes that are no roster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRoster;

/// Whether `name` is 1–32 of `[A-Za-z0-9._-]`.
pub fn is_device_name(name: &str) -> bool {
    (1..=limits::DEVICE_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Whether the MAC of a sealed roster is the one of `key`.
pub fn verify(key: &[u8; 32], sealed: &[u8]) -> bool {
    let Some((fields, mac)) = sealed.split_last_chunk::<MAC>() else { return false };
    mutant::on(Mutant::NoMac) || blake3::keyed_hash(key, fields) == *mac
}

impl Roster {
    /// Writes the sealed roster into `out`, replacing what is in it.
    pub fn seal(&self, key: &[u8; 32], out: &mut Vec<u8, ROSTER_BYTES>) {
        out.clear();
        self.write(out).expect("the largest roster fits");
        let mac = blake3::keyed_hash(key, out);
        out.extend_from_slice(mac.as_bytes()).expect("the largest roster fits");
    }

    /// Reads a sealed roster without looking at its MAC, which only the tracker can check ([`verify`]).
    pub fn decode(sealed: &[u8]) -> Result<Roster, BadRoster> {
        let (fields, _) = sealed.split_last_chunk::<MAC>().ok_or(BadRoster)?;
        let mut r = In(fields);
        let roster = read(&mut r).ok_or(BadRoster)?;
        if r.0.is_empty() && roster.is_sound() { Ok(roster) } else { Err(BadRoster) }
    }

    fn write(&self, out: &mut Vec<u8, ROSTER_BYTES>) -> Result<(), ()> {
        let mut w = Out(out);
        w.raw(&[FORMAT])?;
        w.raw(&self.version.version.to_le_bytes())?;
        w.raw(&self.version.nonce.to_le_bytes())?;
        w.raw(&self.author.0.to_le_bytes())?;
        w.raw(&self.next_id.to_le_bytes())?;
        w.raw(&[self.devices().count() as u8])?;
        for (slot, d) in self.devices() {
            w.raw(&[slot.0])?;
            w.raw(&d.id.0.to_le_bytes())?;
            w.raw(&d.key.0)?;
            w.text(&d.name)?;
            w.raw(&d.tag.0.to_le_bytes())?;
        }
        w.raw(&[self.former.len() as u8])?;
        for f in &self.former {
            w.raw(&f.id.0.to_le_bytes())?;
            w.text(&f.name)?;
        }
        w.raw(&[self.given_up.len() as u8])?;
        self.given_up.iter().try_for_each(|t| w.raw(&t.0.to_le_bytes()))?;
        w.raw(&(self.revoked.len() as u16).to_le_bytes())?;
        self.revoked.iter().try_for_each(|k| w.raw(&k.0))?;
        w.raw(&(self.folders().count() as u16).to_le_bytes())?;
        for (slot, f) in self.folders() {
            w.raw(&[slot.0])?;
            w.raw(&f.id.0.to_le_bytes())?;
            w.text(&f.label)?;
            w.raw(&f.members.0.to_le_bytes())?;
        }
        Ok(())
    }

    /// The invariants of the module, and bounds on what is counted up.
    fn is_sound(&self) -> bool {
        let below = |id: DeviceId| id.0 != 0 && id.0 < self.next_id;
        let active = self.active();
        let devices = self.devices().all(|(s, d)| {
            is_device_name(&d.name)
                && below(d.id)
                && d.tag.0 != 0
                && !self.is_revoked(&d.key)
                && self.devices().all(|(o, e)| {
                    o == s || (e.id != d.id && e.key != d.key && e.name != d.name && e.tag != d.tag)
                })
        });
        let folders = self.folders().all(|(s, f)| {
            !f.label.is_empty()
                && active.covers(f.members)
                && self.folders().all(|(o, e)| o == s || (e.id != f.id && e.label != f.label))
        });
        devices
            && folders
            && self.version.version < COUNTER
            && self.former.iter().all(|f| below(f.id) && is_device_name(&f.name))
    }
}

fn read(r: &mut In<'_>) -> Option<Roster> {
    let mut out = Roster::new();
    if r.u8()? != FORMAT {
        return None;
    }
    out.version = RosterVersion { version: r.u64()?, nonce: r.u64()? };
    out.author = DeviceId(r.u32()?);
    out.next_id = r.u32()?;
    for _ in 0..r.u8()? {
        let slot = Slot(r.u8()?);
        let device = Device {
            id: DeviceId(r.u32()?),
            key: PublicKey(*r.take()?),
            name: r.text()?,
            tag: Tag(r.u32()?),
        };
        let place = out.devices.get_mut(slot.0 as usize).filter(|p| p.is_none())?;
        *place = Some(device);
    }
    for _ in 0..r.u8()? {
        out.former.push(Former { id: DeviceId(r.u32()?), name: r.text()? }).ok()?;
    }
    for _ in 0..r.u8()? {
        out.given_up.push(Tag(r.u32()?)).ok()?;
    }
    for _ in 0..r.u16()? {
        out.revoked.push(PublicKey(*r.take()?)).ok()?;
    }
    for _ in 0..r.u16()? {
        let slot = FolderSlot(r.u8()?);
        let folder = FolderEntry { id: FolderId(r.u64()?), label: r.text()?, members: SlotSet(r.u64()?) };
        let place = &mut out.folders[slot.0 as usize];
        if place.is_some() {
            return None;
        }
        *place = Some(folder);
    }
    Some(out)
}

struct Out<'a>(&'a mut Vec<u8, ROSTER_BYTES>);

impl Out<'_> {
    fn raw(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0.extend_from_slice(bytes).map_err(|_| ())
    }
    fn text(&mut self, s: &str) -> Result<(), ()> {
        self.raw(&[s.len() as u8])?;
        self.raw(s.as_bytes())
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (b, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(b)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|b| b[0])
    }
    fn u16(&mut self) -> Option<u16> {
        self.take().map(|b| u16::from_le_bytes(*b))
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(|b| u32::from_le_bytes(*b))
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(|b| u64::from_le_bytes(*b))
    }
    fn text<const N: usize>(&mut self) -> Option<String<N>> {
        let n = self.u8()? as usize;
        let bytes = self.0.get(..n)?;
        self.0 = &self.0[n..];
        String::try_from(core::str::from_utf8(bytes).ok()?).ok()
    }
}
