//! Changes of a roster: the tracker's alone. Each keeps the invariants; [`Roster::next_version`] dates them.

use super::{Device, FolderEntry, Former, Label, Name, Roster, is_device_name};
use crate::ids::{DeviceId, FolderId, FolderSlot, PublicKey, Slot, SlotSet, Tag};
use crate::limits;
use crate::wire::message::RosterVersion;
use core::fmt::Write;

/// No place is left for what was asked; the words are for the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full(pub &'static str);

impl Roster {
    /// Dates the changes made since the last call: one version up, written by the boot of that nonce for `author`.
    pub fn next_version(&mut self, nonce: u64, author: DeviceId) {
        self.version = RosterVersion { version: self.version.version + 1, nonce };
        self.author = author;
    }
    /// Makes the next version greater than `other`'s.
    pub fn outrun(&mut self, other: RosterVersion) {
        self.version.version = self.version.version.max(other.version);
    }

    /// A slot outside `avoid` for one more device.
    pub fn free_slot(&self, avoid: SlotSet) -> Result<Slot, Full> {
        let free = (0..limits::DEVICES as u8).map(Slot).find(|s| self.device(*s).is_none() && !avoid.has(*s));
        free.ok_or(Full("the home has 64 devices already; revoke one that is lost"))
    }

    /// Takes a device in, into a slot outside `avoid`, under `wish` or a name made from it. The key is not active
    /// and not revoked, the tag is in nobody's use.
    pub fn enrol(&mut self, key: PublicKey, wish: &str, tag: Tag, avoid: SlotSet) -> Result<Slot, Full> {
        assert!(!self.is_active(&key), "a device is enrolled once");
        assert!(!self.is_revoked(&key), "a revoked key stays out");
        assert!(self.device_by_tag(tag).is_none() && tag.0 != 0, "a tag has one device");
        let slot = self.free_slot(avoid)?;
        let id = DeviceId(self.next_id);
        self.next_id = self.next_id.checked_add(1).ok_or(Full("no device number is left"))?;
        let name = self.unique_name(wish);
        self.devices[slot.0 as usize] = Some(Device { id, key, name, tag });
        Ok(slot)
    }

    /// Whether one more key can be put out.
    pub fn has_room_to_revoke(&self, key: &PublicKey) -> Result<(), Full> {
        if self.revoked.is_full() && !self.is_revoked(key) {
            return Err(Full("256 devices were revoked already: no room for one more"));
        }
        Ok(())
    }

    /// Puts a key out for good: its device, if it has one, leaves its slot and every folder.
    pub fn revoke(&mut self, key: &PublicKey) -> Result<Option<Slot>, Full> {
        if !self.is_revoked(key) {
            self.has_room_to_revoke(key)?;
            self.revoked.push(*key).expect("room was seen");
        }
        let Some(slot) = self.device_by_key(key).map(|(s, _)| s) else { return Ok(None) };
        let device = self.devices[slot.0 as usize].take().expect("found just now");
        self.give_up(device.tag);
        if self.former.is_full() {
            self.former.remove(0);
        }
        self.former.push(Former { id: device.id, name: device.name }).expect("room was made");
        self.folders.iter_mut().flatten().for_each(|f| f.members.remove(slot));
        Ok(Some(slot))
    }

    /// The device in that slot has a new store; its old tag is given up.
    pub fn retag(&mut self, slot: Slot, tag: Tag) {
        assert!(self.device_by_tag(tag).is_none_or(|(s, _)| s == slot), "a tag has one device");
        let device = self.devices[slot.0 as usize].as_mut().expect("an active device");
        let old = core::mem::replace(&mut device.tag, tag);
        if old != tag {
            self.give_up(old);
        }
    }

    /// Makes a folder in a slot for which `usable` holds. The label is in nobody's use.
    pub fn add_folder(
        &mut self,
        id: FolderId,
        label: &str,
        usable: impl Fn(FolderSlot) -> bool,
    ) -> Result<FolderSlot, Full> {
        assert!(self.folder_by_id(id).is_none() && self.folder_by_label(label).is_none(), "a new folder");
        let label = Label::try_from(label).map_err(|_| Full("a label has at most 64 bytes"))?;
        let free = (0..=255).map(FolderSlot).find(|s| self.folder(*s).is_none() && usable(*s));
        let slot = free.ok_or(Full("the home has 256 folders already"))?;
        self.folders[slot.0 as usize] = Some(FolderEntry { id, label, members: SlotSet::default() });
        Ok(slot)
    }

    /// Takes a folder out of the home.
    pub fn remove_folder(&mut self, slot: FolderSlot) {
        self.folders[slot.0 as usize] = None;
    }

    /// Sets or clears one member bit; whether that changed anything.
    pub fn set_member(&mut self, folder: FolderSlot, slot: Slot, member: bool) -> bool {
        assert!(self.device(slot).is_some(), "members are active devices");
        let Some(f) = self.folders[folder.0 as usize].as_mut() else { return false };
        let before = f.members;
        if member {
            f.members.add(slot)
        } else {
            f.members.remove(slot)
        }
        before != f.members
    }

    /// `wish` if it is a free name, else the nearest free one: odd characters become `-`, a taken one gets `-2`, `-3`, …
    pub fn unique_name(&self, wish: &str) -> Name {
        let mut base = Name::new();
        for c in wish.chars() {
            let c = if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
            if base.push(c).is_err() {
                break;
            }
        }
        if !is_device_name(&base) {
            base = Name::try_from("device").expect("short");
        }
        if self.device_by_name(&base).is_none() {
            return base;
        }
        (2..)
            .map(|n| numbered(&base, n))
            .find(|name| self.device_by_name(name).is_none())
            .expect("at most 64 are taken")
    }

    fn give_up(&mut self, tag: Tag) {
        if self.given_up.contains(&tag) {
            return;
        }
        if self.given_up.is_full() {
            self.given_up.remove(0);
        }
        self.given_up.push(tag).expect("room was made");
    }
}

/// `base-n`, the base cut so that it fits.
fn numbered(base: &Name, n: u32) -> Name {
    let mut tail = Name::new();
    write!(tail, "-{n}").expect("short");
    let mut name = Name::new();
    name.push_str(&base[..base.len().min(limits::DEVICE_NAME - tail.len())]).expect("cut to fit");
    name.push_str(&tail).expect("cut to fit");
    name
}
