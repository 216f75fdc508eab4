//! How a record lies in an entry: fixed parts first, so that they can be read alone; counters as distances from the
//! highest one of the vector; tags as bytes of the tag table.
//!
//! ```text
//! payload = content 32 (not directories) · mtime i64 (files, symlinks) · mode u16 (files, directories)
//!         · author varint · size varint (files, symlinks)
//!         · entries u8 · highest counter varint · (tag u8 · distance varint)… · edit: nth entry u8 · distance varint
//!         · parent, if any: tag u8 · distance zigzag varint
//! ```

use super::log::PARENT;
use super::tags::Tags;
use crate::ids::{ContentId, DeviceId, Tag};
use crate::limits::VECTOR;
use crate::record::{Flags, Kind, Record};
use crate::version::{Edit, VersionVector};

/// The longest payload: every varint at its 10 bytes.
pub(super) const PAYLOAD: usize = 32 + 8 + 2 + 10 + 10 + 11 + VECTOR * 11 + 11 + 11;

/// Tags that one record names at most: of its vector and its parent.
pub(super) const TAGS_MAX: usize = VECTOR + 1;

/// A record's payload; `missing` says that a tag has no byte yet, so only the length is right.
pub(super) struct Encoded {
    pub(super) bytes: [u8; PAYLOAD],
    pub(super) len: usize,
    pub(super) missing: bool,
}

/// The entry flags of a record.
pub(super) fn flags_of(record: &Record) -> u8 {
    record.kind as u8 | record.flags.0 << 2 | if record.parent.is_some() { PARENT } else { 0 }
}

/// The kind in entry flags.
pub(super) fn kind_of(flags: u8) -> Kind {
    [Kind::Removed, Kind::File, Kind::Directory, Kind::Symlink][usize::from(flags & 3)]
}

/// The record's flags in entry flags.
pub(super) fn record_flags_of(flags: u8) -> Flags {
    Flags(flags >> 2 & 3)
}

fn has_content(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Symlink)
}

/// Encodes a valid record.
pub(super) fn encode(record: &Record, tags: &Tags) -> Encoded {
    let mut w = Writer(Encoded { bytes: [0; PAYLOAD], len: 0, missing: false });
    if record.kind != Kind::Directory {
        w.raw(&record.content.0);
    }
    if has_content(record.kind) {
        w.raw(&record.mtime.to_le_bytes());
    }
    if matches!(record.kind, Kind::File | Kind::Directory) {
        w.raw(&record.mode.to_le_bytes());
    }
    w.var(record.author.0.into());
    if has_content(record.kind) {
        w.var(record.size);
    }
    let entries = record.version.entries();
    let top = entries.iter().map(|e| e.counter).max().unwrap_or(0);
    w.u8(entries.len() as u8);
    w.var(top);
    for e in entries {
        w.tag(tags, e.tag);
        w.var(top - e.counter);
    }
    let own = entries.iter().position(|e| e.tag == record.edit.tag).expect("a valid vector covers the edit");
    w.u8(own as u8);
    w.var(entries[own].counter - record.edit.counter);
    if let Some(p) = record.parent {
        w.tag(tags, p.tag);
        let d = (top as i64).wrapping_sub(p.counter as i64);
        w.var((d << 1 ^ d >> 63) as u64);
    }
    w.0
}

/// Decodes what [`encode`] wrote.
pub(super) fn decode(flags: u8, payload: &[u8], tags: &Tags) -> Record {
    let mut r = Reader(payload);
    let kind = kind_of(flags);
    let mut out = Record { kind, flags: record_flags_of(flags), ..Record::default() };
    if kind != Kind::Directory {
        out.content = ContentId(*r.take());
    }
    if has_content(kind) {
        out.mtime = i64::from_le_bytes(*r.take());
    }
    if matches!(kind, Kind::File | Kind::Directory) {
        out.mode = u16::from_le_bytes(*r.take());
    }
    out.author = DeviceId(r.var() as u32);
    if has_content(kind) {
        out.size = r.var();
    }
    let n = r.u8();
    let top = r.var();
    let mut version = VersionVector::new();
    for _ in 0..n {
        let tag = tags.tag(r.u8());
        assert!(version.raise(Edit { tag, counter: top - r.var() }), "as many entries as were encoded");
    }
    let own = version.entries()[usize::from(r.u8())];
    out.edit = Edit { tag: own.tag, counter: own.counter - r.var() };
    if flags & PARENT != 0 {
        let tag = tags.tag(r.u8());
        let z = r.var();
        let d = (z >> 1) as i64 ^ -((z & 1) as i64);
        out.parent = Some(Edit { tag, counter: (top as i64).wrapping_sub(d) as u64 });
    }
    out.version = version;
    out
}

/// The content id of a payload.
pub(super) fn content(flags: u8, payload: &[u8]) -> ContentId {
    if kind_of(flags) == Kind::Directory { ContentId::NONE } else { ContentId(*Reader(payload).take()) }
}

/// Calls `f` with the byte of each tag that a payload names, as often as it names it.
pub(super) fn each_tag(flags: u8, payload: &[u8], mut f: impl FnMut(u8)) {
    let kind = kind_of(flags);
    let fixed = match kind {
        Kind::Removed => 32,
        Kind::Directory => 2,
        Kind::File => 42,
        Kind::Symlink => 40,
    };
    let mut r = Reader(&payload[fixed..]);
    r.var();
    if has_content(kind) {
        r.var();
    }
    let n = r.u8();
    r.var();
    for _ in 0..n {
        f(r.u8());
        r.var();
    }
    if flags & PARENT != 0 {
        r.u8();
        r.var();
        f(r.u8());
    }
}

struct Writer(Encoded);

impl Writer {
    fn raw(&mut self, b: &[u8]) {
        self.0.bytes[self.0.len..self.0.len + b.len()].copy_from_slice(b);
        self.0.len += b.len();
    }
    fn u8(&mut self, b: u8) {
        self.0.bytes[self.0.len] = b;
        self.0.len += 1;
    }
    fn var(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.u8(n as u8 | 0x80);
            n >>= 7;
        }
        self.u8(n as u8);
    }
    fn tag(&mut self, tags: &Tags, tag: Tag) {
        let index = tags.index(tag);
        self.0.missing |= index.is_none();
        self.u8(index.unwrap_or(0));
    }
}

/// Reads own bytes: they are as they were written, so it never fails.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u8(&mut self) -> u8 {
        let b = self.0[0];
        self.0 = &self.0[1..];
        b
    }
    fn take<const N: usize>(&mut self) -> &'a [u8; N] {
        let (b, rest) = self.0.split_first_chunk().expect("as long as it was written");
        self.0 = rest;
        b
    }
    fn var(&mut self) -> u64 {
        let mut n = 0;
        let mut shift = 0;
        loop {
            let b = self.u8();
            n |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return n;
            }
            shift += 7;
        }
    }
}
