//! One table of the store: what the file holds, and over it, in memory, what changed since.
//!
//! Reads see the changes first, then a snapshot of the file, so that a table is never held open for writing and a commit
//! writes in key order. First-of-a-range questions stay cheap while the front of the range is being removed: the run of
//! removed keys that a question skipped is remembered, and the next one jumps over it.

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, TableDefinition, WriteTransaction};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Entry = (AccessGuard<'static, &'static [u8]>, AccessGuard<'static, &'static [u8]>);

/// The result of the store, or the end of the program: no caller could go on without it.
pub(super) fn sure<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|e| panic!("the store cannot be read: {e}"))
}

pub(super) struct Layer {
    table: TableDefinition<'static, &'static [u8], &'static [u8]>,
    base: Option<Table>,
    added: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys of the base that are removed; never in `added`.
    gone: BTreeSet<Vec<u8>>,
    /// What the base holds under some keys, and none that changed since: what was written or asked for last.
    recent: HashMap<Vec<u8>, Vec<u8>>,
    /// Bytes that these may take, and take.
    room: usize,
    taken: usize,
    /// By prefix: from the first key up to before the second, the base holds nothing that is not in `gone` or `added`.
    holes: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Layer {
    /// `room`: bytes of what was read or written last to keep at hand.
    pub fn new(name: &'static str, room: usize) -> Layer {
        Layer {
            table: TableDefinition::new(name),
            base: None,
            added: BTreeMap::new(),
            gone: BTreeSet::new(),
            recent: HashMap::new(),
            room,
            taken: 0,
            holes: HashMap::new(),
            bytes: 0,
        }
    }
    pub fn table(&self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        self.table
    }
    /// About how much memory the changes take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    pub fn is_clean(&self) -> bool {
        self.added.is_empty() && self.gone.is_empty()
    }

    pub fn get<R>(&mut self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if let Some(value) = self.added.get(key).or_else(|| self.recent.get(key)) {
            return Some(f(value));
        }
        if self.gone.contains(key) {
            return None;
        }
        let guard = sure(self.base().get(key))?;
        if self.room > 0 {
            self.keep(key.to_vec(), guard.value().to_vec());
        }
        Some(f(guard.value()))
    }
    pub fn has(&mut self, key: &[u8]) -> bool {
        self.get(key, |_| ()).is_some()
    }
    /// Keeps at hand what the base holds. When there is no room, all goes that was kept: what is in use comes back.
    fn keep(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let bytes = key.len() + value.len() + ENTRY;
        if bytes > self.room {
            return;
        }
        if self.taken + bytes > self.room {
            self.recent.clear();
            self.taken = 0;
        }
        self.taken += bytes;
        self.recent.insert(key, value);
    }
    fn forget(&mut self, key: &[u8]) {
        if let Some(value) = self.recent.remove(key) {
            self.taken -= key.len() + value.len() + ENTRY;
        }
    }
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        if !self.gone.is_empty() {
            self.gone.remove(key);
        }
        if let Some(old) = self.added.get_mut(key) {
            self.bytes = self.bytes + value.len() - old.len();
            old.clear();
            old.extend_from_slice(value);
        } else {
            self.bytes += key.len() + value.len() + ENTRY;
            self.forget(key);
            self.added.insert(key.to_vec(), value.to_vec());
        }
    }
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(old) = self.added.remove(key) {
            self.bytes -= key.len() + old.len() + ENTRY;
        }
        self.forget(key);
        if !self.gone.contains(key) && sure(self.base().get(key)).is_some() {
            self.bytes += key.len() + ENTRY;
            self.gone.insert(key.to_vec());
        }
    }

    /// The first entry with the prefix whose key is at least `from`.
    pub fn first<R>(&mut self, prefix: &[u8], from: &[u8], f: impl FnOnce(&[u8], &[u8]) -> R) -> Option<R> {
        let base = self.first_in_base(prefix, from);
        let range = (Bound::Included(from), Bound::Unbounded);
        let added = self.added.range::<[u8], _>(range).next().filter(|(k, _)| k.starts_with(prefix));
        match (added, base) {
            (Some((k, v)), Some((in_base, _))) if k.as_slice() <= in_base.value() => Some(f(k, v)),
            (_, Some((k, v))) => Some(f(k.value(), v.value())),
            (Some((k, v)), None) => Some(f(k, v)),
            (None, None) => None,
        }
    }

    fn first_in_base(&mut self, prefix: &[u8], from: &[u8]) -> Option<Entry> {
        let hole = self.holes.get(prefix).filter(|(lo, hi)| lo.as_slice() <= from && from < hi.as_slice());
        let (lo, start) = hole.map_or((from, from), |(lo, hi)| (lo, hi));
        let mut last: Option<AccessGuard<'static, &'static [u8]>> = None;
        let mut found = None;
        for entry in sure(self.base().range::<&[u8]>(start..)) {
            let (key, value) = sure(entry);
            if !key.value().starts_with(prefix) {
                break;
            }
            if !self.gone.contains(key.value()) {
                found = Some((key, value));
                break;
            }
            last = Some(key);
        }
        if let Some(last) = last {
            let hi = [last.value(), &[0]].concat();
            let lo = lo.to_vec();
            self.holes.insert(prefix.to_vec(), (lo, hi));
        }
        found
    }

    /// Writes the changes; they are kept here until [`Layer::settle`].
    pub fn write(&self, to: &WriteTransaction) -> Result<(), redb::Error> {
        if self.is_clean() {
            return Ok(());
        }
        let mut table = to.open_table(self.table)?;
        for key in &self.gone {
            table.remove(key.as_slice())?;
        }
        for (key, value) in &self.added {
            table.insert(key.as_slice(), value.as_slice())?;
        }
        Ok(())
    }
    /// Takes the snapshot as the base; the changes are in it.
    pub fn settle(&mut self, snapshot: &ReadTransaction) {
        let added = std::mem::take(&mut self.added);
        if self.room > 0 {
            added.into_iter().for_each(|(key, value)| self.keep(key, value));
        }
        self.gone.clear();
        self.bytes = 0;
        self.open(snapshot);
    }
    /// Takes the snapshot, of another opening of the file, as the base and keeps the changes.
    pub fn rebase(&mut self, snapshot: &ReadTransaction) {
        self.recent.clear();
        self.taken = 0;
        self.open(snapshot);
    }
    fn open(&mut self, snapshot: &ReadTransaction) {
        self.holes.clear();
        self.base = Some(sure(snapshot.open_table(self.table)));
    }
    /// Lets go of the file.
    pub fn release(&mut self) {
        self.base = None;
    }

    fn base(&self) -> &Table {
        self.base.as_ref().expect("released only while the file is opened anew")
    }
}

/// What a map's entry takes beside its bytes, about.
const ENTRY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{Database, ReadableDatabase, backends::InMemoryBackend};

    #[test]
    fn whatever_is_kept_at_hand_it_reads_as_the_table_and_its_changes() {
        for room in [0, 300, 1 << 20] {
            let db = Database::builder().create_with_backend(InMemoryBackend::new()).expect("in memory");
            let mut layer = Layer::new("t", room);
            let settle = |layer: &mut Layer| {
                let tx = db.begin_write().expect("alone");
                tx.open_table(layer.table()).expect("of its type");
                layer.write(&tx).expect("in memory");
                tx.commit().expect("in memory");
                layer.settle(&db.begin_read().expect("in memory"));
            };
            settle(&mut layer);
            let (mut model, mut x) = (BTreeMap::new(), 1u64);
            let mut draw = |n: u64| {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (x >> 33) % n
            };
            for step in 0..20_000u64 {
                let key = [draw(12) as u8; 3];
                match draw(8) {
                    0 => {
                        model.remove(&key[..]);
                        layer.remove(&key);
                    }
                    1 | 2 => {
                        let value = vec![step as u8; draw(40) as usize];
                        layer.put(&key, &value);
                        model.insert(key.to_vec(), value);
                    }
                    3 if draw(4) == 0 => settle(&mut layer),
                    3 if draw(4) == 0 => {
                        // The file is opened anew after a full disk.
                        layer.release();
                        layer.rebase(&db.begin_read().expect("in memory"));
                    }
                    _ => {
                        let here = model.get(&key[..]).cloned();
                        assert_eq!(layer.get(&key, <[u8]>::to_vec), here, "room {room}, step {step}");
                        let first = model.range(key.to_vec()..).next().map(|(k, v)| (k.clone(), v.clone()));
                        assert_eq!(layer.first(&[], &key, |k, v| (k.to_vec(), v.to_vec())), first);
                    }
                }
                assert!(layer.taken <= room, "bounded");
            }
        }
    }
}
