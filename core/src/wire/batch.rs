//! Records front-coded into a frame: each is written as what differs from the ones before it, for thousands of a kind come
//! together: a path shares a prefix with the one before, counters and times are near those before, tags stand once a frame.
//!
//! ```text
//! batch  = entry…
//! entry  = bits u8 · folder u8 · seq varint · shared varint · length varint · suffix · record
//! record = head u8 · author varint · mode varint · size varint · mtime varint · content 32 · edit · parent · vector
//! ```
//!
//! Bits say what is left out, since it is as before; docs/PROTOCOL.md has all of it.

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

/// Bits of an entry: held, pair; the folder is that of the entry before; the seq is the next after that of the entry before.
const HELD: u8 = 1;
const PAIR: u8 = 2;
const SAME_FOLDER: u8 = 4;
const NEXT_SEQ: u8 = 8;

/// Bits of a record's head, above its kind and flags: it has a parent; author and mode are as before; the vector is its edit
/// alone.
const PARENT: u8 = 16;
const SAME_MAKER: u8 = 32;
const EDIT_ALONE: u8 = 64;

/// What was written before, which the next entry is written against.
#[derive(Clone, Default)]
struct Before {
    folder: FolderSlot,
    seq: Seq,
    author: DeviceId,
    /// Of the last record that has one, as the next.
    mode: u16,
    mtime: i64,
    tags: Vec<Known, TAGS>,
}

/// A tag of the frame, and the counters that stood last beside it.
#[derive(Clone, Copy)]
struct Known {
    tag: Tag,
    /// In an edit or a vector.
    edit: u64,
    /// In a parent: those follow each other, too.
    parent: u64,
}

/// Where a counter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    Edit,
    Parent,
}

impl Known {
    fn last(&mut self, place: As) -> &mut u64 {
        match place {
            As::Edit => &mut self.edit,
            As::Parent => &mut self.parent,
        }
    }
}

impl Before {
    fn next_seq(&self) -> u64 {
        self.seq.0 + 1
    }
    fn place(&self, tag: Tag) -> Option<usize> {
        self.tags.iter().position(|k| k.tag == tag)
    }
    fn add(&mut self, tag: Tag) -> Option<usize> {
        self.tags.push(Known { tag, edit: 0, parent: 0 }).ok()?;
        Some(self.tags.len() - 1)
    }
}

/// Writes entries behind one another into a lent buffer.
pub struct BatchWriter<'b> {
    out: &'b mut [u8],
    len: usize,
    last: PathBuf,
    before: Before,
    count: usize,
}

impl<'b> BatchWriter<'b> {
    /// Writes into `out` from its start.
    pub fn new(out: &'b mut [u8]) -> Self {
        BatchWriter { out, len: 0, last: PathBuf::new(), before: Before::default(), count: 0 }
    }
    /// Appends an entry; false, and nothing changed, if it does not fit.
    pub fn push(&mut self, e: &Entry<'_>) -> bool {
        let mut b = self.before.clone();
        let mut w = Out { buf: self.out, at: self.len };
        let shared = common(self.last.get().map_or(&[], |p| p.bytes()), e.path.bytes());
        let fits = (|| {
            put_place(&mut w, &mut b, e)?;
            w.var(shared as u64)?;
            w.bytes(&e.path.bytes()[shared..])?;
            put_record(&mut w, &mut b, e.record)
        })();
        let at = w.at;
        if fits.is_none() {
            return false;
        }
        self.before = b;
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
    before: Before,
    record: Record,
}

/// A batch that breaks its rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadBatch;

impl<'b> BatchReader<'b> {
    /// Reads from the start of `input`.
    pub fn new(input: &'b [u8]) -> Self {
        BatchReader { input, path: PathBuf::new(), before: Before::default(), record: Record::default() }
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
        let b = &mut self.before;
        let bits = r.u8().filter(|b| b & !(HELD | PAIR | SAME_FOLDER | NEXT_SEQ) == 0)?;
        let folder = if bits & SAME_FOLDER != 0 { b.folder } else { FolderSlot(r.u8()?) };
        let seq = if bits & NEXT_SEQ != 0 { b.next_seq() } else { r.var()? };
        let seq = Seq(Some(seq).filter(|n| *n < limits::SEQ)?);
        (b.folder, b.seq) = (folder, seq);
        let shared = usize::try_from(r.var()?).ok()?;
        let suffix = r.bytes()?;
        if !self.path.splice(shared, suffix) {
            return None;
        }
        self.record = get_record(&mut r, &mut self.before).filter(Record::is_valid)?;
        self.input = r.buf;
        Some((folder, seq, EntryFlags { held: bits & HELD != 0, pair: bits & PAIR != 0 }))
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

fn put_place(w: &mut Out<'_>, b: &mut Before, e: &Entry<'_>) -> Option<()> {
    let (same, next) = (e.folder == b.folder, e.seq.0 == b.next_seq());
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    w.u8(bit(e.flags.held, HELD) | bit(e.flags.pair, PAIR) | bit(same, SAME_FOLDER) | bit(next, NEXT_SEQ))?;
    if !same {
        w.u8(e.folder.0)?;
    }
    if !next {
        w.var(e.seq.0)?;
    }
    (b.folder, b.seq) = (e.folder, e.seq);
    Some(())
}

fn has_mode(kind: Kind) -> bool {
    kind != Kind::Removed
}

fn put_record(w: &mut Out<'_>, b: &mut Before, r: &Record) -> Option<()> {
    let same = r.author == b.author && (!has_mode(r.kind) || r.mode == b.mode);
    let alone = r.version == VersionVector::of(r.edit);
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let bits = bit(r.parent.is_some(), PARENT) | bit(same, SAME_MAKER) | bit(alone, EDIT_ALONE);
    w.u8(r.kind as u8 | r.flags.0 << 2 | bits)?;
    if !same {
        w.var(r.author.0.into())?;
        b.author = r.author;
        if has_mode(r.kind) {
            w.var(r.mode.into())?;
            b.mode = r.mode;
        }
    }
    if r.has_content() {
        w.var(r.size)?;
        w.near(r.mtime as u64, b.mtime as u64)?;
        b.mtime = r.mtime;
    }
    if r.kind != Kind::Directory {
        w.raw(&r.content.0)?;
    }
    put_edit(w, b, As::Edit, r.edit)?;
    if let Some(p) = r.parent {
        put_edit(w, b, As::Parent, p)?;
    }
    if alone {
        return Some(());
    }
    w.u8(r.version.entries().len() as u8)?;
    r.version.entries().iter().try_for_each(|e| put_edit(w, b, As::Edit, *e))
}

fn get_record(r: &mut In<'_>, b: &mut Before) -> Option<Record> {
    let head = r.u8().filter(|b| b & 0x80 == 0)?;
    let kind = [Kind::Removed, Kind::File, Kind::Directory, Kind::Symlink][(head & 3) as usize];
    if head & SAME_MAKER == 0 {
        b.author = DeviceId(u32::try_from(r.var()?).ok()?);
        if has_mode(kind) {
            b.mode = u16::try_from(r.var()?).ok()?;
        }
    }
    let mut out = Record { kind, flags: Flags(head >> 2 & 3), author: b.author, ..Record::default() };
    if has_mode(kind) {
        out.mode = b.mode;
    }
    if out.has_content() {
        out.size = r.var()?;
        b.mtime = r.near(b.mtime as u64)? as i64;
        out.mtime = b.mtime;
    }
    if kind != Kind::Directory {
        out.content = ContentId(*r.take()?);
    }
    out.edit = get_edit(r, b, As::Edit)?;
    if head & PARENT != 0 {
        out.parent = Some(get_edit(r, b, As::Parent)?);
    }
    if head & EDIT_ALONE != 0 {
        return out.version.raise(out.edit).then_some(out);
    }
    for _ in 0..r.u8()? {
        let e = get_edit(r, b, As::Edit)?;
        if out.version.get(e.tag) != 0 || !out.version.raise(e) {
            return None;
        }
    }
    Some(out)
}

/// An edit: its tag's place in the frame's table (0 = a new tag follows), then how far its counter is from the last of that
/// tag that stood in such a place.
fn put_edit(w: &mut Out<'_>, b: &mut Before, place: As, e: Edit) -> Option<()> {
    let at = match b.place(e.tag) {
        Some(i) => {
            w.u8(i as u8 + 1)?;
            i
        }
        None => {
            w.u8(0)?;
            w.raw(&e.tag.0.to_le_bytes())?;
            b.add(e.tag)?
        }
    };
    let last = b.tags[at].last(place);
    w.near(e.counter, *last)?;
    *last = e.counter;
    Some(())
}

fn get_edit(r: &mut In<'_>, b: &mut Before, place: As) -> Option<Edit> {
    let at = match r.u8()? {
        0 => b.add(Tag(u32::from_le_bytes(*r.take()?)))?,
        i => usize::from(i) - 1,
    };
    let known = b.tags.get_mut(at)?;
    let counter = r.near(*known.last(place))?;
    *known.last(place) = counter;
    Some(Edit { tag: known.tag, counter })
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
    /// How far `n` is from `last`, either way.
    fn near(&mut self, n: u64, last: u64) -> Option<()> {
        let by = n.wrapping_sub(last) as i64;
        self.var((by << 1 ^ by >> 63) as u64)
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
    fn near(&mut self, last: u64) -> Option<u64> {
        let by = self.var()?;
        Some(last.wrapping_add(by >> 1 ^ (by & 1).wrapping_neg()))
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
