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
    /// By prefix: from the first key up to before the second, the base holds nothing that is not in `gone` or `added`.
    holes: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Layer {
    pub fn new(name: &'static str) -> Layer {
        Layer {
            table: TableDefinition::new(name),
            base: None,
            added: BTreeMap::new(),
            gone: BTreeSet::new(),
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

    pub fn get<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if let Some(value) = self.added.get(key) {
            return Some(f(value));
        }
        if self.gone.contains(key) {
            return None;
        }
        sure(self.base().get(key)).map(|guard| f(guard.value()))
    }
    pub fn has(&self, key: &[u8]) -> bool {
        self.get(key, |_| ()).is_some()
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
            self.added.insert(key.to_vec(), value.to_vec());
        }
    }
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(old) = self.added.remove(key) {
            self.bytes -= key.len() + old.len() + ENTRY;
        }
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
        self.added.clear();
        self.gone.clear();
        self.bytes = 0;
        self.rebase(snapshot);
    }
    /// Takes the snapshot as the base and keeps the changes.
    pub fn rebase(&mut self, snapshot: &ReadTransaction) {
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
