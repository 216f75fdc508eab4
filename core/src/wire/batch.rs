//! Records front-coded into a frame: each path shares a prefix with the one before, tags stand once a frame.
//!
//! ```text
//! batch  = entry…
//! entry  = flags u8 · folder u8 · seq varint · shared varint · suffix len varint · suffix · record
//! record = postcard of the fields, tags as indices into the frame's tag table (a new tag is written where it first appears)
//! ```

use crate::ids::{ContentId, DeviceId, FolderSlot, Seq, Tag};
use crate::limits;
use crate::path::{Path, PathBuf};
use crate::record::{Flags, Kind, Record};
use crate::version::{Edit, VersionVector};
use heapless::Vec;

/// What an entry is beside its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EntryFlags {
    /// The sender has the content (announcements).
    pub held: bool,
    /// Forms a pair with the next entry: both or none (announcements).
    pub pair: bool,
}

/// One record on the wire, with its place.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The folder.
    pub folder: FolderSlot,
    /// Its seq; 0 in announcements.
    pub seq: Seq,
    /// See [`EntryFlags`].
    pub flags: EntryFlags,
    /// The path.
    pub path: Path<'a>,
    /// The record.
    pub record: &'a Record,
}

/// Tags of one frame: more than this ends the frame.
const TAGS: usize = 96;

/// Writes entries behind one another into a lent buffer.
pub struct BatchWriter<'b> {
    out: &'b mut [u8],
    len: usize,
    last: PathBuf,
    tags: Vec<Tag, TAGS>,
    count: usize,
}

impl<'b> BatchWriter<'b> {
    /// Writes into `out` from its start.
    pub fn new(out: &'b mut [u8]) -> Self {
        BatchWriter { out, len: 0, last: PathBuf::new(), tags: Vec::new(), count: 0 }
    }
    /// Appends an entry; false, and nothing changed, if it does not fit.
    pub fn push(&mut self, e: &Entry<'_>) -> bool {
        let known = self.tags.len();
        let mut w = Out { buf: self.out, at: self.len };
        let shared = common(self.last.get().map_or(&[], |p| p.bytes()), e.path.bytes());
        let fits = (|| {
            w.u8(e.flags.held as u8 | (e.flags.pair as u8) << 1)?;
            w.u8(e.folder.0)?;
            w.var(e.seq.0)?;
            w.var(shared as u64)?;
            w.bytes(&e.path.bytes()[shared..])?;
            put_record(&mut w, &mut self.tags, e.record)
        })();
        let at = w.at;
        if fits.is_none() {
            self.tags.truncate(known);
            return false;
        }
        self.len = at;
        self.last.set(e.path);
        self.count += 1;
        true
    }
    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Entries written.
    pub fn count(&self) -> usize {
        self.count
    }
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Reads what [`BatchWriter`] wrote.
pub struct BatchReader<'b> {
    input: &'b [u8],
    path: PathBuf,
    tags: Vec<Tag, TAGS>,
    record: Record,
}

/// A batch that breaks its rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadBatch;

impl<'b> BatchReader<'b> {
    /// Reads from the start of `input`.
    pub fn new(input: &'b [u8]) -> Self {
        BatchReader { input, path: PathBuf::new(), tags: Vec::new(), record: Record::default() }
    }
    /// The next entry: valid by every rule of [`Record::is_valid`] and [`Path::new`].
    pub fn entry(&mut self) -> Result<Option<Entry<'_>>, BadBatch> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let (folder, seq, flags) = self.read().ok_or(BadBatch)?;
        let path = self.path.get().ok_or(BadBatch)?;
        Ok(Some(Entry { folder, seq, flags, path, record: &self.record }))
    }
    /// Whether the whole of `input` is a batch; its entries. Callers validate a frame before anything changes.
    pub fn check(input: &[u8]) -> Result<usize, BadBatch> {
        let mut r = BatchReader::new(input);
        let mut n = 0;
        let mut open_pair = false;
        while let Some(e) = r.entry()? {
            n += 1;
            if e.flags.pair && open_pair {
                return Err(BadBatch);
            }
            open_pair = e.flags.pair;
        }
        if open_pair { Err(BadBatch) } else { Ok(n) }
    }

    fn read(&mut self) -> Option<(FolderSlot, Seq, EntryFlags)> {
        let mut r = In { buf: self.input };
        let bits = r.u8().filter(|b| b & !3 == 0)?;
        let folder = FolderSlot(r.u8()?);
        let seq = Seq(r.var().filter(|n| *n < limits::SEQ)?);
        let shared = usize::try_from(r.var()?).ok()?;
        let suffix = r.bytes()?;
        if !self.path.splice(shared, suffix) {
            return None;
        }
        self.record = get_record(&mut r, &mut self.tags).filter(Record::is_valid)?;
        self.input = r.buf;
        Some((folder, seq, EntryFlags { held: bits & 1 != 0, pair: bits & 2 != 0 }))
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

fn put_record(w: &mut Out<'_>, tags: &mut Vec<Tag, TAGS>, r: &Record) -> Option<()> {
    w.u8(r.kind as u8 | r.flags.0 << 2 | (r.parent.is_some() as u8) << 4)?;
    w.var(r.author.0.into())?;
    match r.kind {
        Kind::Removed => w.raw(&r.content.0)?,
        Kind::Directory => w.var(r.mode.into())?,
        Kind::File | Kind::Symlink => {
            w.var(r.mode.into())?;
            w.var(r.size)?;
            w.raw(&r.mtime.to_le_bytes())?;
            w.raw(&r.content.0)?;
        }
    }
    put_edit(w, tags, r.edit)?;
    if let Some(p) = r.parent {
        put_edit(w, tags, p)?;
    }
    w.u8(r.version.entries().len() as u8)?;
    r.version.entries().iter().try_for_each(|e| put_edit(w, tags, *e))
}

fn get_record(r: &mut In<'_>, tags: &mut Vec<Tag, TAGS>) -> Option<Record> {
    let head = r.u8().filter(|b| b & 0xe0 == 0)?;
    let kind = [Kind::Removed, Kind::File, Kind::Directory, Kind::Symlink][(head & 3) as usize];
    let author = DeviceId(u32::try_from(r.var()?).ok()?);
    let mut out = Record { kind, flags: Flags(head >> 2 & 3), author, ..Record::default() };
    if kind != Kind::Removed {
        out.mode = u16::try_from(r.var()?).ok()?;
    }
    if out.has_content() {
        out.size = r.var()?;
        out.mtime = i64::from_le_bytes(*r.take()?);
    }
    if kind != Kind::Directory {
        out.content = ContentId(*r.take()?);
    }
    out.edit = get_edit(r, tags)?;
    if head & 16 != 0 {
        out.parent = Some(get_edit(r, tags)?);
    }
    let mut version = VersionVector::new();
    for _ in 0..r.u8()? {
        let e = get_edit(r, tags)?;
        if version.get(e.tag) != 0 || !version.raise(e) {
            return None;
        }
    }
    out.version = version;
    Some(out)
}

/// An edit: index of its tag in the frame's table (0 = a new tag follows), then its counter.
fn put_edit(w: &mut Out<'_>, tags: &mut Vec<Tag, TAGS>, e: Edit) -> Option<()> {
    match tags.iter().position(|t| *t == e.tag) {
        Some(i) => w.u8(i as u8 + 1)?,
        None => {
            tags.push(e.tag).ok()?;
            w.u8(0)?;
            w.raw(&e.tag.0.to_le_bytes())?;
        }
    }
    w.var(e.counter)
}

fn get_edit(r: &mut In<'_>, tags: &mut Vec<Tag, TAGS>) -> Option<Edit> {
    let tag = match r.u8()? {
        0 => {
            let tag = Tag(u32::from_le_bytes(*r.take()?));
            tags.push(tag).ok()?;
            tag
        }
        i => *tags.get(i as usize - 1)?,
    };
    Some(Edit { tag, counter: r.var()? })
}

struct Out<'b> {
    buf: &'b mut [u8],
    at: usize,
}

impl Out<'_> {
    fn u8(&mut self, b: u8) -> Option<()> {
        self.raw(&[b])
    }
    fn raw(&mut self, b: &[u8]) -> Option<()> {
        self.buf.get_mut(self.at..self.at + b.len())?.copy_from_slice(b);
        self.at += b.len();
        Some(())
    }
    fn bytes(&mut self, b: &[u8]) -> Option<()> {
        self.var(b.len() as u64)?;
        self.raw(b)
    }
    fn var(&mut self, mut n: u64) -> Option<()> {
        while n >= 0x80 {
            self.u8(n as u8 | 0x80)?;
            n >>= 7;
        }
        self.u8(n as u8)
    }
}

struct In<'b> {
    buf: &'b [u8],
}

impl<'b> In<'b> {
    fn u8(&mut self) -> Option<u8> {
        let (b, rest) = self.buf.split_first()?;
        self.buf = rest;
        Some(*b)
    }
    fn take<const N: usize>(&mut self) -> Option<&'b [u8; N]> {
        let (b, rest) = self.buf.split_first_chunk()?;
        self.buf = rest;
        Some(b)
    }
    fn bytes(&mut self) -> Option<&'b [u8]> {
        let n = usize::try_from(self.var()?).ok()?;
        let (b, rest) = self.buf.split_at_checked(n)?;
        self.buf = rest;
        Some(b)
    }
    fn var(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..70).step_by(7) {
            let b = self.u8()?;
            let bits = u64::from(b & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn record() -> impl Strategy<Value = Record> {
        (
            0..4u8,
            any::<[u8; 32]>(),
            0..0o1000u16,
            1..4000u64,
            any::<i64>(),
            prop::collection::btree_map(1..70u32, 1..1000u64, 1..64),
            any::<bool>(),
        )
            .prop_map(|(k, c, mode, size, mtime, vv, parent)| {
                let kind = [Kind::Removed, Kind::File, Kind::Directory, Kind::Symlink][k as usize];
                let mut version = VersionVector::new();
                vv.iter().for_each(|(t, c)| assert!(version.raise(Edit { tag: Tag(*t), counter: *c })));
                let edit = version.entries()[0];
                let content = if kind == Kind::Directory { ContentId::NONE } else { ContentId(c) };
                let file = matches!(kind, Kind::File | Kind::Symlink);
                Record {
                    kind,
                    edit,
                    version,
                    content,
                    mode: if matches!(kind, Kind::File | Kind::Directory) { mode } else { 0 },
                    size: if file { size } else { 0 },
                    mtime: if file { mtime } else { 0 },
                    author: DeviceId(7),
                    flags: Flags(0),
                    parent: parent.then_some(Edit { tag: Tag(500), counter: 3 }),
                }
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in prop::collection::vec((record(), "[a-c/]{1,20}", any::<bool>(), any::<u32>()), 1..20)) {
            let mut buf = vec![0; 64 * 1024];
            let mut w = BatchWriter::new(&mut buf);
            let mut sent = vec![];
            for (r, p, held, seq) in &records {
                let Ok(path) = Path::new(p.as_bytes()) else { continue };
                let e = Entry { folder: FolderSlot(3), seq: Seq(*seq as u64), flags: EntryFlags { held: *held, pair: false }, path, record: r };
                if w.push(&e) { sent.push((r, path, *held, *seq)) }
            }
            let n = w.len();
            prop_assert_eq!(BatchReader::check(&buf[..n]), Ok(sent.len()));
            let mut r = BatchReader::new(&buf[..n]);
            for (record, path, held, seq) in sent {
                let e = r.entry().unwrap().unwrap();
                prop_assert!(e.record == record && e.path == path && e.flags.held == held && e.seq.0 == u64::from(seq));
            }
            prop_assert!(r.entry().unwrap().is_none());
            for cut in 0..n.min(200) { let _ = BatchReader::check(&buf[..cut]); }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = BatchReader::check(&bytes);
        }
    }
}
