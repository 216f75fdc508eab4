//! File bytes that go out: read right behind their record's head, sealed in place.

use super::deeds::Deeds;
use super::hub::Shared;
use super::link::Outlet;
use super::partial::{Partial, read_verified};
use super::record::{Buffer, LENGTH, OVERHEAD, RECORD};
use super::{Bytes, Report};
use crate::content::{OwnedManifest, manifest};
use dartsync_core::content::{NODE_BYTES, Root, entry_bytes, pieces, symlink_root};
use dartsync_core::data::message::{self, BODY, HEAD, RANGES_MAX, Refusal, SHORT_BYTES};
use dartsync_core::data::{DataLink, Form, Work};
use dartsync_core::ids::{ContentId, Slot};
use dartsync_core::limits::{AEAD_TAG, CHUNK_MAX};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

/// Contents that are kept open for the next ask.
const OPEN: usize = 4;
/// Records of a body are no shorter, but for the last of a range.
const BLOCK_MIN: usize = 8 * 1024;
/// Room that the longest answer takes.
const ROOM: usize = CHUNK_MAX + (CHUNK_MAX / BLOCK_MIN + 1 + RANGES_MAX) * (OVERHEAD + HEAD);

/// What tells one state of a file from another.
type Stamp = (u64, u64, i64, i64, i64, i64);

struct Served {
    content: ContentId,
    bytes: Held,
    manifest: Option<OwnedManifest>,
}

/// Bytes of a content, and why they are taken for its.
enum Held {
    /// The file's stat has stayed the same.
    File(File, Stamp),
    Text(Vec<u8>),
    /// Of a part file: those that are asked for now are verified.
    Part(Arc<File>),
    /// Of a file that was one: each chunk is held against this list.
    Arrived(Arc<File>, Arc<Vec<u8>>),
}

/// A link's serving side.
pub struct Server {
    stage: Buffer,
    /// Records that are laid out in `stage`.
    staged: Vec<(usize, usize)>,
    /// Most bytes of a body in one record.
    block: usize,
    open: Vec<Served>,
}

fn stamp(file: &File) -> Option<Stamp> {
    let m = file.metadata().ok()?;
    Some((m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
}

impl Served {
    fn len(&self) -> u64 {
        match &self.bytes {
            Held::File(_, stamp) => stamp.1,
            Held::Text(text) => text.len() as u64,
            Held::Part(file) | Held::Arrived(file, _) => file.metadata().map_or(0, |m| m.len()),
        }
    }
    /// Whether the next ask may be served from it.
    fn lasts(&self) -> bool {
        matches!(self.bytes, Held::File(..) | Held::Text(_)) && self.is_current()
    }
    fn is_current(&self) -> bool {
        match &self.bytes {
            Held::File(file, known) => stamp(file) == Some(*known),
            Held::Text(_) | Held::Part(_) | Held::Arrived(..) => true,
        }
    }
    /// The chunk at `offset`, where it is to be verified before it goes out.
    fn verified(&self, offset: u64) -> Option<Result<Vec<u8>, Refusal>> {
        let Held::Arrived(file, leaves) = &self.bytes else { return None };
        Some(read_verified(file, leaves, offset).ok_or(Refusal::Busy))
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        match &self.bytes {
            Held::File(file, _) => file.read_exact_at(out, offset).is_ok(),
            Held::Part(file) | Held::Arrived(file, _) => file.read_exact_at(out, offset).is_ok(),
            Held::Text(text) => copy_at(text, offset, out),
        }
    }
}

fn copy_at(bytes: &[u8], offset: u64, out: &mut [u8]) -> bool {
    let from = usize::try_from(offset).ok();
    let found = from.and_then(|f| bytes.get(f..f + out.len()));
    found.map(|bytes| out.copy_from_slice(bytes)).is_some()
}

impl Server {
    /// Serves from this buffer.
    pub fn new(stage: Buffer) -> Server {
        Server { stage, staged: Vec::new(), block: BODY, open: Vec::new() }
    }

    /// Nothing was asked for a while: closes files, gives memory back.
    pub fn tidy(&mut self) {
        self.open.clear();
        self.stage.renew();
    }

    /// Whether something is laid out that was not handed over.
    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Lays out answers while there is room for one more, and less than so many bytes are laid out, or a chunk; bodies
    /// in records of about so many. The device in slot `asker` asked for them.
    pub fn stage(&mut self, shared: &Arc<Shared>, asker: Slot, machine: &mut DataLink, part: Option<usize>) {
        let most = part.unwrap_or(CHUNK_MAX);
        self.block = most.clamp(BLOCK_MIN, BODY);
        let mut tell = false;
        while self.stage.filled().len() < most && self.stage.room(ROOM).len() >= ROOM {
            let Some(work) = machine.poll_work() else { break };
            tell |= self.answer(shared, work).is_some_and(|content| shared.gone.add(asker, content));
        }
        if tell {
            Deeds { reports: vec![Report::Gone], ..Deeds::default() }.carry_out(shared);
        }
    }

    /// Seals what is laid out and queues it, as many records as so many bytes need; how many bytes.
    pub fn hand_over(&mut self, outlet: &mut Outlet, most: usize) -> usize {
        let end = |(from, len): &(usize, usize)| from + len;
        let count =
            self.staged.iter().position(|r| end(r) >= most).map_or(self.staged.len(), |last| last + 1);
        let bytes = self.staged[..count].last().map_or(0, end);
        outlet.push_staged(&mut self.stage, &self.staged[..count]);
        self.staged.drain(..count);
        self.staged.iter_mut().for_each(|(from, _)| *from -= bytes);
        bytes
    }

    /// Lays out one answer; the content, if it is not here.
    fn answer(&mut self, shared: &Arc<Shared>, work: Work) -> Option<ContentId> {
        let (id, content) = match work {
            Work::Refuse { id, why } => {
                self.record(|out| message::encode_refusal(id, why, out));
                return None;
            }
            Work::Read { id, content, .. }
            | Work::Ranges { id, content, .. }
            | Work::Pieces { id, content, .. }
            | Work::Node { id, content, .. }
            | Work::Root { id, content } => (id, content),
        };
        let served = match work {
            Work::Read { offset, len, .. } => self.read(shared, id, &content, offset, &[(0, len)]),
            Work::Ranges { offset, ranges, .. } => self.read(shared, id, &content, offset, ranges.as_slice()),
            Work::Pieces { offset, len, .. } => self.pieces(shared, id, &content, offset, len as usize),
            Work::Node { level, offset, form, .. } => self.node(shared, id, &content, level, offset, form),
            Work::Root { .. } => self.root(shared, id, &content),
            Work::Refuse { .. } => unreachable!("taken above"),
        };
        let why = served.err()?;
        let gone = why == Refusal::Gone;
        if gone {
            self.open.retain(|s| s.content != content);
        }
        self.record(|out| message::encode_refusal(id, why, out));
        gone.then_some(content)
    }

    /// Lays out one record with this payload.
    fn record(&mut self, payload: impl FnOnce(&mut [u8]) -> usize) {
        let from = self.stage.filled().len();
        let room = self.stage.room(RECORD);
        let end = room.len().min(RECORD) - AEAD_TAG;
        let n = OVERHEAD + payload(&mut room[LENGTH..end]);
        self.stage.grow(n);
        self.staged.push((from, n));
    }

    /// The content, from those kept open or anew; for these bytes of it, or what is known of it.
    fn find(
        &mut self,
        shared: &Arc<Shared>,
        content: &ContentId,
        range: Option<(u64, u32)>,
    ) -> Result<usize, Refusal> {
        if let Some(i) = self.open.iter().position(|s| s.content == *content) {
            if self.open[i].lasts() {
                return Ok(i);
            }
            self.open.remove(i);
        }
        let bytes = self.held(shared, content, range)?;
        if self.open.len() == OPEN {
            self.open.remove(0);
        }
        self.open.push(Served { content: *content, bytes, manifest: None });
        Ok(self.open.len() - 1)
    }
    fn held(
        &self,
        shared: &Arc<Shared>,
        content: &ContentId,
        range: Option<(u64, u32)>,
    ) -> Result<Held, Refusal> {
        let partial = shared.hub().partial(content, range);
        if let Some(Partial::Here(file)) = partial {
            return Ok(Held::Part(file));
        }
        match (shared.source.open(content), partial) {
            (Some(Bytes::Text(text)), _) => Ok(Held::Text(text)),
            (Some(Bytes::File(file)), _) => {
                let stamp = stamp(&file).ok_or(Refusal::Gone)?;
                Ok(Held::File(file, stamp))
            }
            (None, Some(Partial::Arrived(file, leaves))) => Ok(Held::Arrived(file, leaves)),
            (None, Some(_)) => Err(Refusal::Busy),
            (None, None) => Err(Refusal::Gone),
        }
    }

    /// Lays out parts of a content, counted from `offset`, and takes them back if its file changed meanwhile. Once
    /// more then: a rename or a change of mode alters the stat too.
    fn read(
        &mut self,
        shared: &Arc<Shared>,
        id: u32,
        content: &ContentId,
        offset: u64,
        parts: &[(u32, u32)],
    ) -> Result<(), Refusal> {
        for _ in 0..2 {
            let end = parts.last().map_or(0, |(at, len)| at + len);
            let i = self.find(shared, content, Some((offset, end)))?;
            let chunk = self.open[i].verified(offset).transpose()?;
            if offset + end as u64 > self.open[i].len() {
                return Err(Refusal::Unknown);
            }
            let (start, records) = (self.stage.filled().len(), self.staged.len());
            let (mut from, mut sent, block) = (start, 0, self.block);
            let room = self.stage.room(ROOM);
            let mut free = room;
            let mut ok = true;
            let blocks = parts.iter().flat_map(|&(at, len)| {
                (0..len as usize).step_by(block).map(move |n| (at as usize + n, block.min(len as usize - n)))
            });
            for (at, n) in blocks {
                let head = message::encode_body_head(id, sent, &mut free[LENGTH..LENGTH + HEAD]);
                let (record, rest) = free.split_at_mut(OVERHEAD + head + n);
                let room = &mut record[LENGTH + head..LENGTH + head + n];
                ok &= match &chunk {
                    Some(chunk) => copy_at(chunk, at as u64, room),
                    None => self.open[i].read(offset + at as u64, room),
                };
                self.staged.push((from, record.len()));
                from += record.len();
                sent += n as u32;
                free = rest;
            }
            if ok && self.open[i].is_current() {
                self.stage.grow(from - start);
                return Ok(());
            }
            self.staged.truncate(records);
            self.open.remove(i);
        }
        Err(Refusal::Gone)
    }

    /// Lays out the list of a chunk's pieces.
    fn pieces(
        &mut self,
        shared: &Arc<Shared>,
        id: u32,
        content: &ContentId,
        offset: u64,
        len: usize,
    ) -> Result<(), Refusal> {
        let mut chunk = vec![0; len];
        for _ in 0..2 {
            let i = self.find(shared, content, Some((offset, len as u32)))?;
            if offset + len as u64 > self.open[i].len() {
                return Err(Refusal::Unknown);
            }
            let read = match self.open[i].verified(offset).transpose()? {
                Some(bytes) => copy_at(&bytes, 0, &mut chunk),
                None => self.open[i].read(offset, &mut chunk),
            };
            if read && self.open[i].is_current() {
                self.record(|out| {
                    let mut at = message::encode_pieces_head(id, out);
                    for (piece, _) in pieces(&chunk) {
                        let bytes = piece.encode();
                        out[at..at + bytes.len()].copy_from_slice(&bytes);
                        at += bytes.len();
                    }
                    at
                });
                return Ok(());
            }
            self.open.remove(i);
        }
        Err(Refusal::Gone)
    }

    fn manifest(&mut self, shared: &Arc<Shared>, content: &ContentId) -> Result<&OwnedManifest, Refusal> {
        let i = self.find(shared, content, None)?;
        let served = &mut self.open[i];
        if served.manifest.is_none() {
            let list = match &served.bytes {
                Held::Arrived(_, leaves) => Some(leaves.to_vec()),
                _ => shared.source.leaves(content),
            };
            served.manifest = list.and_then(|list| manifest(list).ok());
        }
        served.manifest.as_ref().ok_or(Refusal::Gone)
    }

    fn node(
        &mut self,
        shared: &Arc<Shared>,
        id: u32,
        content: &ContentId,
        level: u8,
        offset: u64,
        form: Form,
    ) -> Result<(), Refusal> {
        let mut bytes = vec![0; NODE_BYTES];
        match self.manifest(shared, content) {
            Ok(manifest) => {
                let node = manifest.node(level, offset).ok_or(Refusal::Unknown)?;
                let n = manifest.encode(node, &mut bytes);
                bytes.truncate(n);
            }
            // It is on its way: a fellow is told what is known of its tree.
            Err(Refusal::Busy) => {
                let bank = shared.hub().tree(content).ok_or(Refusal::Busy)?;
                bytes = bank.tree().node(level, offset).ok_or(Refusal::Busy)?.to_vec();
            }
            Err(why) => return Err(why),
        }
        let entries = bytes.chunks(entry_bytes(level)).enumerate();
        self.record(|out| {
            let mut at = match form {
                Form::Short => message::encode_short_head(id, out),
                Form::Full | Form::Some(_) => message::encode_node_head(id, out),
            };
            for (i, entry) in entries {
                let part = match form {
                    Form::Full => entry,
                    Form::Short => &entry[..SHORT_BYTES],
                    Form::Some(wants) if wants[i / 8] >> (i % 8) & 1 != 0 => entry,
                    Form::Some(_) => &[],
                };
                out[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            at
        });
        Ok(())
    }

    fn root(&mut self, shared: &Arc<Shared>, id: u32, content: &ContentId) -> Result<(), Refusal> {
        let root: Root = match self.find(shared, content, None) {
            Ok(i) => match &self.open[i].bytes {
                Held::Text(text) => symlink_root(text),
                _ => self.manifest(shared, content)?.root(),
            },
            Err(Refusal::Busy) => {
                let bank = shared.hub().tree(content).ok_or(Refusal::Busy)?;
                bank.tree().root().ok_or(Refusal::Busy)?
            }
            Err(why) => return Err(why),
        };
        self.record(|out| message::encode_root(id, &root, out));
        Ok(())
    }
}
