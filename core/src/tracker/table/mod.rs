//! The tracker's file table: what is known of every path of every folder, in one lent buffer.
//!
//! The table is a log. A record that is put is appended under the next seq; what it replaces becomes garbage, and
//! compaction, paced by the appends, closes the gaps in small steps. So the live entries, walked in order of their
//! seqs, are what a device lacks that has seen everything up to some seq, and a cursor is nothing but a seq: it
//! survives compaction, replacement and removal.
//!
//! At each path there is at most one record, and beside it at most one *withdrawn* one (R9a): another key.
//!
//! # Invariants
//! - Seqs ascend along the log and are never used twice between two [`Table::clear`]s.
//! - The index holds exactly the live entries. `check` (tests) says so.
//! - What was admitted fits: space is counted with the worst loss at block ends, and a tenth is kept for updates,
//!   tombstones and withdrawn records, so that a full table still follows what changes and what is removed.
//! - No call looks at more than a bounded number of entries, but [`Table::next_after`] over garbage.

mod check;
mod codec;
mod compact;
mod index;
mod log;
mod stored;
mod sweep;
mod tags;
#[cfg(test)]
mod tests;

pub use stored::Stored;
pub use sweep::{Progress, Step};
pub(super) use tags::TAGS;

use crate::ids::{FolderSlot, Seq, SlotSet, Tag};
use crate::limits::{self, FOLDERS, PATH};
use crate::mutant::{self, Mutant};
use crate::path::{Path, PathBuf};
use crate::record::{Flags, Kind, Record};
use index::{Index, SLOT};
use log::{BLOCK, HEADER, Head, Log};
use tags::Tags;

/// What the index is made for: entries of this many bytes in the log. Smaller ones fill the index first.
const TYPICAL: usize = 120;
/// Entries above this many bytes are counted one by one in the worst loss at block ends.
const BIG: usize = 512;
/// The largest entry.
const ENTRY_MAX: usize = (HEADER + PATH + codec::PAYLOAD).next_multiple_of(8);
/// Seqs have 48 bits.
const SEQ_MAX: u64 = limits::SEQ - 1;

/// Why a record was not taken; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// No room in the log or the index: [`Table::estimate_capacity`] says how many records fit.
    Space,
    /// The live records name 255 tags already.
    Tags,
}

/// How full a table is. Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes of live entries.
    pub live: usize,
    /// Bytes of live entries, garbage and block ends.
    pub used: usize,
    /// Bytes of the log.
    pub total: usize,
    /// Live entries.
    pub entries: usize,
    /// Entries that the index can hold.
    pub entries_max: usize,
    /// Thousandths of what may be filled (log or index, whichever is fuller); new paths are refused from 900 on.
    pub permille: u32,
}

const _: () = assert!(size_of::<Table<'_>>() <= 8 * 1024, "beside what is lent, a table is small");

/// The key of an entry, with its hash.
struct Key<'a> {
    hash: u32,
    folder: FolderSlot,
    withdrawn: bool,
    path: &'a [u8],
}

/// See the module.
pub struct Table<'m> {
    log: Log<'m>,
    index: Index<'m>,
    tags: Tags,
    seed: u64,
    tail: Seq,
    /// Bytes of live entries; of those, bytes of entries above [`BIG`].
    live: usize,
    big: usize,
    /// Bytes of dead entries that are still in the log; the lowest one that the running pass will not reach.
    dead: usize,
    dirty: Option<usize>,
    /// Where the running pass should end: the log's tail by then.
    goal: usize,
    /// Passes that had to be run to their end at once.
    stalls: u32,
    tombstones: usize,
    folders: [u32; FOLDERS],
}

impl<'m> Table<'m> {
    /// A table in `memory`: about 1/20 of it is index, the rest log. Any size will do; below a few KiB nothing fits.
    pub fn new(memory: &'m mut [u8]) -> Self {
        Table::seeded(memory, 0)
    }
    /// [`Table::new`] with a random number, so that nobody can choose paths that collide in the index.
    pub fn seeded(memory: &'m mut [u8], seed: u64) -> Self {
        // At load 0.8 an entry has 1.25 slots.
        let slots = memory.len() / (TYPICAL * 4 / 5 + SLOT);
        let log_len = (memory.len() - slots * SLOT) / 8 * 8;
        let (log, index) = memory.split_at_mut(log_len);
        Table {
            log: Log::new(log),
            index: Index::new(index),
            tags: Tags::new(),
            seed,
            tail: Seq(0),
            live: 0,
            big: 0,
            dead: 0,
            dirty: None,
            goal: 0,
            stalls: 0,
            tombstones: 0,
            folders: [0; FOLDERS],
        }
    }
    /// Forgets everything; seqs start anew (so a new epoch must, too).
    pub fn clear(&mut self) {
        self.log.clear();
        self.index.clear();
        self.tags = Tags::new();
        self.tail = Seq(0);
        (self.live, self.big, self.dead, self.dirty) = (0, 0, 0, None);
        (self.tombstones, self.folders) = (0, [0; FOLDERS]);
    }

    // What it holds.

    /// Live entries: records, tombstones and withdrawn ones.
    pub fn len(&self) -> usize {
        self.index.len()
    }
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Live entries that are tombstones.
    pub fn tombstones(&self) -> usize {
        self.tombstones
    }
    /// Live entries of one folder.
    pub fn folder_len(&self, folder: FolderSlot) -> usize {
        self.folders[usize::from(folder.0)] as usize
    }
    /// The last seq that was given out; 0 before the first.
    pub fn tail(&self) -> Seq {
        self.tail
    }
    /// The highest counter put under a tag in this epoch, as far as known (a tag that no live entry names may be
    /// forgotten); 0 if none.
    pub fn highest_counter(&self, tag: Tag) -> u64 {
        self.tags.top(tag)
    }
    /// Whether the tag takes up one of the places for tags already.
    pub fn knows_tag(&self, tag: Tag) -> bool {
        self.tags.index(tag).is_some()
    }
    /// How many tags can be added to those that entries name.
    pub fn spare_tags(&self) -> usize {
        self.tags.spare()
    }
    /// About how many records fit, if the others are like those that are here.
    pub fn estimate_capacity(&self) -> usize {
        let average = if self.is_empty() { TYPICAL } else { self.live.div_ceil(self.len()) };
        let by_space = self.room(self.big) / 10 * 9 / average;
        by_space.min(self.index.max() / 10 * 9).max(self.len())
    }
    /// How full it is.
    pub fn usage(&self) -> Usage {
        let thousandths =
            |part: usize, of: usize| (part as u64 * 1000).checked_div(of as u64).unwrap_or(1000);
        let permille =
            thousandths(self.live, self.room(self.big)).max(thousandths(self.len(), self.index.max()));
        Usage {
            live: self.live,
            used: self.log.used(),
            total: self.log.capacity(),
            entries: self.len(),
            entries_max: self.index.max(),
            permille: permille.min(1000) as u32,
        }
    }

    // Reading.

    /// The record at a path (a tombstone, too), but not the withdrawn one beside it.
    pub fn find(&self, folder: FolderSlot, path: Path<'_>) -> Option<Stored<'_>> {
        self.find_key(&self.key(folder, path, false))
    }
    /// The withdrawn record beside a path.
    pub fn find_withdrawn(&self, folder: FolderSlot, path: Path<'_>) -> Option<Stored<'_>> {
        self.find_key(&self.key(folder, path, true))
    }
    /// The live entry of that very seq.
    pub fn get(&self, seq: Seq) -> Option<Stored<'_>> {
        self.live_at(seq).map(|at| self.stored(at))
    }

    // Changing.

    /// Puts a valid record in place of the one at its path (or, if its flags say so, of the withdrawn one beside it),
    /// under the next seq, which is returned. New paths are refused when nine tenths are full; updates, tombstones
    /// and withdrawn records may use the rest.
    ///
    /// # Panics
    /// If the record is not valid by [`Record::is_valid`].
    pub fn put(
        &mut self,
        folder: FolderSlot,
        path: Path<'_>,
        record: &Record,
        holders: SlotSet,
    ) -> Result<Seq, Full> {
        assert!(record.is_valid(), "callers check what they were told");
        let key = self.key(folder, path, record.flags.withdrawn());
        let old = self.lookup(&key);
        let mut encoded = codec::encode(record, &self.tags);
        let size = (HEADER + path.bytes().len() + encoded.len).next_multiple_of(8);
        let reserve = old.is_some() || !record.is_live() || key.withdrawn;
        self.admit(size, old.map(|(_, at)| at), reserve)?;
        if encoded.missing {
            self.learn_tags(record, old.map(|(_, at)| at))?;
            encoded = codec::encode(record, &self.tags);
        }
        let payload = &encoded.bytes[..encoded.len];
        // The new entry's references before the old one's go, so that no tag is given away between.
        let flags = codec::flags_of(record);
        codec::each_tag(flags, payload, |i| self.tags.retain(i));
        if let Some((slot, at)) = old {
            self.index.reserve(slot);
            self.bury(at);
        }
        self.make_room(size);
        self.tail.0 += 1;
        assert!(self.tail.0 <= SEQ_MAX);
        let head = Head { folder: folder.0, flags, hash: key.hash, seq: self.tail, holders };
        let at = self.log.append(&head, path.bytes(), payload);
        match old {
            Some((slot, _)) => self.index.fill(slot, at),
            None => self.index.insert(key.hash, at),
        }
        self.count(at, true);
        for e in record.version.entries() {
            let index = self.tags.index(e.tag).expect("just retained");
            self.tags.raise(index, e.counter);
        }
        self.pace(size);
        Ok(self.tail)
    }
    /// Sets who has the content of the live entry of that seq; false if there is none.
    pub fn set_holders(&mut self, seq: Seq, holders: SlotSet) -> bool {
        let Some(at) = self.live_at(seq) else { return false };
        self.log.set_holders(at, holders);
        true
    }
    /// Drops the live entry of that seq: a collected tombstone, or a withdrawn record that is noted everywhere.
    /// False if there is none.
    pub fn remove(&mut self, seq: Seq) -> bool {
        let Some(at) = self.live_at(seq) else { return false };
        let (slot, _) =
            self.index.find(self.log.hash(at), |a| a == at).expect("live entries are in the index");
        self.index.delete(slot, |at| self.log.hash(at));
        self.bury(at);
        if mutant::on(Mutant::SeqAgain) && seq == self.tail {
            self.tail.0 -= 1;
        }
        true
    }
    /// Takes a live record that nobody holds from its path and keeps it beside it, withdrawn, with no holder, in
    /// place of the one kept there before (R9a); its new seq. `None` if there is no entry of that seq, or it is a
    /// removal or a directory (those are whole in the record), or withdrawn already.
    pub fn withdraw(&mut self, seq: Seq) -> Option<Seq> {
        let stored = self.get(seq)?;
        let mut record = stored.record();
        if !record.has_content() || record.flags.withdrawn() {
            return None;
        }
        record.flags.0 |= Flags::WITHDRAWN;
        let (folder, mut path) = (stored.folder(), PathBuf::new());
        path.set(stored.path());
        assert!(self.remove(seq), "it was there just now");
        let path = path.get().expect("a stored path is not empty");
        Some(
            self.put(folder, path, &record, SlotSet::default())
                .expect("there is room for what was there just now"),
        )
    }

    // Inside.

    fn key<'a>(&self, folder: FolderSlot, path: Path<'a>, withdrawn: bool) -> Key<'a> {
        Key { hash: hash(self.seed, folder, path.bytes()), folder, withdrawn, path: path.bytes() }
    }
    fn lookup(&self, key: &Key<'_>) -> Option<(usize, usize)> {
        self.index.find(key.hash, |at| self.log.is_key(at, key.hash, key.folder.0, key.withdrawn, key.path))
    }
    fn find_key(&self, key: &Key<'_>) -> Option<Stored<'_>> {
        let (_, at) = self.lookup(key)?;
        self.log.note(self.log.seq(at), at);
        Some(self.stored(at))
    }
    fn stored(&self, at: usize) -> Stored<'_> {
        Stored::new(self.log.entry(at), &self.tags)
    }
    /// Where the live entry of that very seq stands.
    fn live_at(&self, seq: Seq) -> Option<usize> {
        if seq.0 == 0 || seq > self.tail {
            return None;
        }
        let at = self.log.hint(seq).or_else(|| self.log.after(Seq(seq.0 - 1)))?;
        self.log.note(self.log.seq(at), at);
        (self.log.seq(at) == seq && self.log.flags(at) & log::DEAD == 0).then_some(at)
    }
    /// Bytes that live entries may have in all, `big` of them in big ones: the log without the worst loss at block
    /// ends. A block loses less than the size of the entry that did not fit in, and each entry does so once.
    fn room(&self, big: usize) -> usize {
        let ends = self.log.capacity().div_ceil(BLOCK).saturating_sub(1);
        let loss = (ends * (BIG - 8) + big).min(ends * (ENTRY_MAX - 8));
        self.log.capacity().saturating_sub(loss)
    }
    fn admit(&self, size: usize, old: Option<usize>, reserve: bool) -> Result<(), Full> {
        let old_size = old.map_or(0, |at| self.log.size(at));
        let big_part = |n: usize| if n > BIG { n } else { 0 };
        let live = self.live - old_size + size;
        let room = self.room(self.big - big_part(old_size) + big_part(size));
        let most = self.index.max();
        // A little stays free for ever, for compaction to breathe.
        let (room, most) = if reserve { (room - room / 64, most) } else { (room / 10 * 9, most / 10 * 9) };
        let fits = live <= room && (old.is_some() || self.len() < most);
        if fits { Ok(()) } else { Err(Full::Space) }
    }
    /// Makes the record's tags known, if they can be once the old entry is gone.
    fn learn_tags(&mut self, record: &Record, old: Option<usize>) -> Result<(), Full> {
        let in_vector = record.version.entries().iter().map(|e| e.tag);
        let parent = record.parent.map(|p| p.tag).filter(|t| record.version.get(*t) == 0);
        let (mut missing, mut known) = (0, [false; tags::TAGS]);
        for tag in in_vector.clone().chain(parent) {
            match self.tags.index(tag) {
                Some(i) => known[usize::from(i)] = true,
                None => missing += 1,
            }
        }
        self.name_tags(old, Tags::release);
        (0..tags::TAGS as u8).filter(|i| known[usize::from(*i)]).for_each(|i| self.tags.retain(i));
        let fits = missing <= self.tags.spare();
        if fits {
            let mut fresh: [Option<u8>; codec::TAGS_MAX] = [None; codec::TAGS_MAX];
            for (tag, fresh) in in_vector.chain(parent).zip(&mut fresh) {
                if self.tags.index(tag).is_none() {
                    let i = self.tags.add(tag);
                    self.tags.retain(i);
                    *fresh = Some(i);
                }
            }
            fresh.iter().flatten().for_each(|i| self.tags.release(*i));
        }
        (0..tags::TAGS as u8).filter(|i| known[usize::from(*i)]).for_each(|i| self.tags.release(i));
        self.name_tags(old, Tags::retain);
        if fits { Ok(()) } else { Err(Full::Tags) }
    }
    /// Retains or releases each tag that the entry names.
    fn name_tags(&mut self, at: Option<usize>, f: fn(&mut Tags, u8)) {
        let Some(at) = at else { return };
        let (flags, tags) = (self.log.flags(at), &mut self.tags);
        codec::each_tag(flags, stored::payload(self.log.entry(at)), |i| f(tags, i));
    }
    /// Makes a live entry garbage; the index is the caller's.
    fn bury(&mut self, at: usize) {
        self.name_tags(Some(at), Tags::release);
        self.count(at, false);
        self.log.kill(at);
        self.dead += self.log.size(at);
        if self.log.is_passed(at) {
            self.dirty = Some(self.dirty.map_or(at, |d| d.min(at)));
        }
    }
    /// Counts a live entry in or out.
    fn count(&mut self, at: usize, more: bool) {
        let stored = self.stored(at);
        let (size, folder) = (self.log.size(at), usize::from(stored.folder().0));
        let tombstone = usize::from(stored.kind() == Kind::Removed);
        let big = if size > BIG { size } else { 0 };
        if more {
            (self.live, self.big) = (self.live + size, self.big + big);
            self.tombstones += tombstone;
            self.folders[folder] += 1;
        } else {
            (self.live, self.big) = (self.live - size, self.big - big);
            self.tombstones -= tombstone;
            self.folders[folder] -= 1;
        }
    }
}

/// Hash of a path of a folder; the withdrawn entry has the same.
fn hash(seed: u64, folder: FolderSlot, path: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |a: u64, b: u64| {
        let m = u128::from(a) * u128::from(b);
        m as u64 ^ (m >> 64) as u64
    };
    let mut h = fold(seed ^ K, u64::from(folder.0) << 32 | path.len() as u64 | 1 << 63);
    for chunk in path.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        h = fold(h ^ u64::from_le_bytes(word), K ^ seed.rotate_left(17)) ^ h.rotate_left(29);
    }
    (fold(h, K) >> 16) as u32
}
