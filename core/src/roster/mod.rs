//! Who and what belongs to a home: devices, folders, members, and who was put out for good.
//!
//! Only the tracker changes a roster, each change under a higher version ([`Roster::next_version`]). Its sealed form
//! ([`Roster::seal`]) carries a MAC under a key that the tracker alone has; peers keep those bytes and read them
//! ([`Roster::decode`]) but cannot make them.
//!
//! Invariants, checked by `decode` and kept by every change: names and labels are well-formed and unique, device ids
//! are below `next_id`, tags and keys are used once, no revoked key is active, members are active slots.

mod assemble;
mod change;
mod codec;

pub use assemble::{RosterAssembler, part_at};
pub use change::Full;
pub use codec::{BadRoster, MAC, ROSTER_BYTES, is_device_name, verify};

use crate::ids::{DeviceId, FolderId, FolderSlot, PublicKey, Slot, SlotSet, Tag};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::wire::message::RosterVersion;
use heapless::{String, Vec};

/// A device's name.
pub type Name = String<{ limits::DEVICE_NAME }>;
/// A folder's label.
pub type Label = String<{ limits::LABEL }>;

/// An active device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its number, never used again.
    pub id: DeviceId,
    /// Who it is on links.
    pub key: PublicKey,
    /// Unique among active devices.
    pub name: Name,
    /// Its store's current tag.
    pub tag: Tag,
}

/// A device that was revoked: its name is still wanted for conflict copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Former {
    /// Its number.
    pub id: DeviceId,
    /// Its last name.
    pub name: Name,
}

/// A folder of the home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FolderEntry {
    /// Never reused.
    pub id: FolderId,
    /// Unique among folders.
    pub label: Label,
    /// Devices that have linked it.
    pub members: SlotSet,
}

/// The roster; see the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    version: RosterVersion,
    author: DeviceId,
    next_id: u32,
    devices: [Option<Device>; limits::DEVICES],
    former: Vec<Former, { limits::FORMER }>,
    given_up: Vec<Tag, { limits::GIVEN_UP_TAGS }>,
    revoked: Vec<PublicKey, { limits::REVOKED }>,
    folders: [Option<FolderEntry>; limits::FOLDERS],
}

impl Default for Roster {
    fn default() -> Self {
        Roster::new()
    }
}

impl Roster {
    /// The roster of a home that nobody has joined, older than any other.
    pub const fn new() -> Self {
        Roster {
            version: RosterVersion { version: 0, nonce: 0 },
            author: DeviceId(0),
            next_id: 1,
            devices: [const { None }; limits::DEVICES],
            former: Vec::new(),
            given_up: Vec::new(),
            revoked: Vec::new(),
            folders: [const { None }; limits::FOLDERS],
        }
    }

    /// Which roster this is: what it is ordered by (R20).
    pub fn version(&self) -> RosterVersion {
        self.version
    }
    /// The device that asked for the last change; 0 = the tracker itself.
    pub fn author(&self) -> DeviceId {
        self.author
    }
    /// Whether no device has ever joined.
    pub fn is_unused(&self) -> bool {
        self.next_id == 1
    }
    /// The active devices with their slots, ascending.
    pub fn devices(&self) -> impl Iterator<Item = (Slot, &Device)> {
        self.devices.iter().enumerate().filter_map(|(i, d)| Some((Slot(i as u8), d.as_ref()?)))
    }
    /// The slots of active devices.
    pub fn active(&self) -> SlotSet {
        let mut set = SlotSet::default();
        self.devices().for_each(|(s, _)| set.add(s));
        set
    }
    /// The device in a slot.
    pub fn device(&self, slot: Slot) -> Option<&Device> {
        self.devices.get(slot.0 as usize)?.as_ref()
    }
    /// The active device with that key.
    pub fn device_by_key(&self, key: &PublicKey) -> Option<(Slot, &Device)> {
        self.devices().find(|(_, d)| d.key == *key)
    }
    /// The active device with that number.
    pub fn device_by_id(&self, id: DeviceId) -> Option<(Slot, &Device)> {
        self.devices().find(|(_, d)| d.id == id)
    }
    /// The active device of that name.
    pub fn device_by_name(&self, name: &str) -> Option<(Slot, &Device)> {
        self.devices().find(|(_, d)| d.name == name)
    }
    /// The active device whose store has that tag.
    pub fn device_by_tag(&self, tag: Tag) -> Option<(Slot, &Device)> {
        self.devices().find(|(_, d)| d.tag == tag)
    }
    /// The name of a device, present or former.
    pub fn name_of(&self, id: DeviceId) -> Option<&str> {
        let present = self.device_by_id(id).map(|(_, d)| d.name.as_str());
        present.or_else(|| self.former.iter().find(|f| f.id == id).map(|f| f.name.as_str()))
    }
    /// Whether that key is an active device's.
    pub fn is_active(&self, key: &PublicKey) -> bool {
        self.device_by_key(key).is_some()
    }
    /// Whether that key was put out for good.
    pub fn is_revoked(&self, key: &PublicKey) -> bool {
        self.revoked.contains(key)
    }
    /// Keys that were put out for good.
    pub fn revoked(&self) -> &[PublicKey] {
        &self.revoked
    }
    /// Former devices whose names are still known, oldest first.
    pub fn former(&self) -> &[Former] {
        &self.former
    }
    /// Whether a device has given that tag up.
    pub fn is_given_up(&self, tag: Tag) -> bool {
        self.given_up.contains(&tag)
    }
    /// The folders with their slots, ascending.
    pub fn folders(&self) -> impl Iterator<Item = (FolderSlot, &FolderEntry)> {
        self.folders.iter().enumerate().filter_map(|(i, f)| Some((FolderSlot(i as u8), f.as_ref()?)))
    }
    /// The folder in a slot.
    pub fn folder(&self, slot: FolderSlot) -> Option<&FolderEntry> {
        self.folders[slot.0 as usize].as_ref()
    }
    /// The folder with that id.
    pub fn folder_by_id(&self, id: FolderId) -> Option<(FolderSlot, &FolderEntry)> {
        self.folders().find(|(_, f)| f.id == id)
    }
    /// The folder of that label.
    pub fn folder_by_label(&self, label: &str) -> Option<(FolderSlot, &FolderEntry)> {
        self.folders().find(|(_, f)| f.label == label)
    }
    /// The devices that have linked the folder in that slot; empty if there is none.
    pub fn members(&self, slot: FolderSlot) -> SlotSet {
        self.folder(slot).map_or(SlotSet::default(), |f| f.members)
    }
    /// Whether `self` may follow `old` in a peer's hands (R20): it is not older and knows every revocation of it.
    pub fn may_follow(&self, old: &Roster) -> bool {
        self.version >= old.version
            && (mutant::on(Mutant::R20Forgets) || old.revoked.iter().all(|k| self.is_revoked(k)))
    }
}

#[cfg(test)]
mod tests;
