//! A live entry, seen where it lies.

use super::codec;
use super::log::{HEADER, seq_of};
use super::tags::Tags;
use crate::ids::{ContentId, FolderSlot, Seq, SlotSet};
use crate::path::Path;
use crate::record::{Flags, Kind, Record};

/// A live entry of a [`super::Table`]. What it says without [`Stored::record`] costs no decoding.
#[derive(Clone, Copy)]
pub struct Stored<'t> {
    bytes: &'t [u8],
    tags: &'t Tags,
}

impl<'t> Stored<'t> {
    pub(super) fn new(bytes: &'t [u8], tags: &'t Tags) -> Self {
        Stored { bytes, tags }
    }
    /// Its seq.
    pub fn seq(&self) -> Seq {
        seq_of(self.bytes)
    }
    /// The folder.
    pub fn folder(&self) -> FolderSlot {
        FolderSlot(self.bytes[4])
    }
    /// The path.
    pub fn path(&self) -> Path<'t> {
        Path::new(path(self.bytes)).expect("only paths are put")
    }
    /// What stands there.
    pub fn kind(&self) -> Kind {
        codec::kind_of(self.bytes[5])
    }
    /// The record's flags.
    pub fn flags(&self) -> Flags {
        codec::record_flags_of(self.bytes[5])
    }
    /// Who has the content, has applied the removal, or has noted the withdrawn record.
    pub fn holders(&self) -> SlotSet {
        SlotSet(u64::from_le_bytes(self.bytes[16..24].try_into().expect("8 bytes")))
    }
    /// The content.
    pub fn content(&self) -> ContentId {
        codec::content(self.bytes[5], payload(self.bytes))
    }
    /// The whole record.
    pub fn record(&self) -> Record {
        codec::decode(self.bytes[5], payload(self.bytes), self.tags)
    }
}

fn path(entry: &[u8]) -> &[u8] {
    let len = u16::from_le_bytes([entry[2], entry[3]]);
    &entry[HEADER..HEADER + usize::from(len)]
}

/// What lies behind an entry's path.
pub(super) fn payload(entry: &[u8]) -> &[u8] {
    &entry[HEADER + path(entry).len()..]
}
