//! The table's invariants, checked by looking at everything.

use super::log::{BLOCK, DEAD};
use super::tags::TAGS;
use super::{BIG, Table, codec, stored};
use crate::ids::Seq;
use crate::limits::FOLDERS;
use crate::record::Kind;

impl Table<'_> {
    /// Whether log, index, tags and counts agree; what does not. For tests: it looks at every entry.
    pub fn check(&self) -> Result<(), &'static str> {
        let (mut live, mut big, mut dead, mut len, mut tombstones) = (0, 0, 0, 0, 0);
        let (mut refs, mut folders) = ([0u32; TAGS], [0u32; FOLDERS]);
        let (mut last, mut dirty) = (Seq(0), None);
        let mut place = self.log.first();
        while let Some(at) = place {
            place = self.log.next(at);
            let (size, flags, seq) = (self.log.size(at), self.log.flags(at), self.log.seq(at));
            if size == 0 || at % 8 != 0 || at / BLOCK != (at + size - 1) / BLOCK {
                return Err("an entry lies across blocks");
            }
            if seq <= last || seq > self.tail {
                return Err("seqs do not ascend");
            }
            last = seq;
            if flags & DEAD != 0 {
                dead += size;
                if dirty.is_none() && self.log.is_passed(at) {
                    dirty = Some(at);
                }
                continue;
            }
            let entry = self.stored(at);
            if self.lookup(&self.key(entry.folder(), entry.path(), entry.flags().withdrawn())).map(|f| f.1)
                != Some(at)
            {
                return Err("a live entry is not found");
            }
            if !entry.record().is_valid() {
                return Err("a record is not valid");
            }
            codec::each_tag(flags, stored::payload(self.log.entry(at)), |i| refs[usize::from(i)] += 1);
            len += 1;
            live += size;
            big += if size > BIG { size } else { 0 };
            folders[usize::from(entry.folder().0)] += 1;
            tombstones += usize::from(entry.kind() == Kind::Removed);
        }
        if (live, big, dead, dirty) != (self.live, self.big, self.dead, self.dirty) {
            return Err("bytes are miscounted");
        }
        if len != self.index.len() || len != self.index.count() {
            return Err("the index holds something else");
        }
        if folders != self.folders || tombstones != self.tombstones {
            return Err("entries are miscounted");
        }
        if (0..TAGS).any(|i| refs[i] != self.tags.refs(i as u8)) {
            return Err("tags are miscounted");
        }
        Ok(())
    }
}
