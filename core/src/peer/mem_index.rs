//! An [`Index`] in memory: what the peer machine is tested over, and the oracle of the store on disk.
//!
//! A crash is played by [`MemIndex::crash`]: all since the last [`MemIndex::commit`] is undone. A commit that takes its time
//! is [`MemIndex::seal`], and [`MemIndex::settle`] once it is durable.

use dartsync_core::ids::{ContentId, Folder, Row, Seq};
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Due, Index, Lane, Local, Made, Mark, Number, Trees};
use dartsync_core::record::{Kind, Record};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// A row as it is kept.
#[derive(Clone, Debug)]
struct Held {
    key: Vec<u8>,
    trees: Box<Trees>,
    due: Option<Due>,
}

/// What a change replaced since the last commit.
#[derive(Clone, Debug, Default)]
struct Undo {
    rows: BTreeMap<Row, Option<Held>>,
    numbers: BTreeMap<(Folder, Number), Option<u64>>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemIndex {
    rows: BTreeMap<Row, Held>,
    paths: BTreeMap<Vec<u8>, Row>,
    due: BTreeSet<(Folder, Lane, u64, Row)>,
    marks: BTreeSet<(Folder, u8, Row)>,
    contents: BTreeSet<(ContentId, Row)>,
    seqs: BTreeSet<(Folder, Seq, Row)>,
    numbers: BTreeMap<(Folder, Number), u64>,
    /// The last row given out; survives a crash, so that rows are never reused.
    last: u64,
    undo: Undo,
    /// Of the transaction whose commit is under way.
    sealed: Undo,
    /// How often a row was loaded.
    pub loads: u64,
}

/// The key of a path: its folder, and its bytes with `/` as NUL, so that byte order is tree order.
fn key(folder: Folder, path: &[u8]) -> Vec<u8> {
    let bytes = path.iter().map(|b| if *b == b'/' { 0 } else { *b });
    folder.0.to_be_bytes().into_iter().chain(bytes).collect()
}

/// The folder of a key; its path goes into `into`.
fn open_key(key: &[u8], into: &mut PathBuf) -> Folder {
    let bytes: Vec<u8> = key[2..].iter().map(|b| if *b == 0 { b'/' } else { *b }).collect();
    into.set(Path::new(&bytes).expect("only paths are made keys"));
    Folder(u16::from_be_bytes([key[0], key[1]]))
}

impl Held {
    fn folder(&self) -> Folder {
        Folder(u16::from_be_bytes([self.key[0], self.key[1]]))
    }
    fn seqs(&self) -> impl Iterator<Item = Seq> {
        let t = &self.trees;
        [&t.remote, &t.withdrawn].into_iter().flatten().map(|r| r.seq)
    }
}

impl MemIndex {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
    /// Keeps all changes up to now through a [`MemIndex::crash`].
    pub fn commit(&mut self) {
        self.seal();
        self.settle();
    }
    /// Closes the open transaction and opens the next; what it changed is lost in a crash until [`MemIndex::settle`].
    pub fn seal(&mut self) {
        let newer = core::mem::take(&mut self.undo);
        for (row, old) in newer.rows {
            self.sealed.rows.entry(row).or_insert(old);
        }
        for (k, old) in newer.numbers {
            self.sealed.numbers.entry(k).or_insert(old);
        }
    }
    /// What was sealed is durable.
    pub fn settle(&mut self) {
        self.sealed = Undo::default();
    }
    /// The row's trees as a crash at this moment would leave them.
    pub fn durable(&self, row: Row) -> Option<&Trees> {
        let old = self.sealed.rows.get(&row).or_else(|| self.undo.rows.get(&row));
        match old {
            Some(held) => held.as_ref().map(|h| &*h.trees),
            None => self.rows.get(&row).map(|h| &*h.trees),
        }
    }
    /// The trees of every row, as the last commit that was settled left them.
    pub fn all_durable(&self) -> impl Iterator<Item = &Trees> {
        let rows: BTreeSet<Row> =
            self.rows.keys().chain(self.undo.rows.keys()).chain(self.sealed.rows.keys()).copied().collect();
        rows.into_iter().filter_map(|row| self.durable(row))
    }
    /// Undoes all changes since the last commit that was settled.
    pub fn crash(&mut self) {
        let open = core::mem::take(&mut self.undo);
        self.undo_all(open);
        let sealed = core::mem::take(&mut self.sealed);
        self.undo_all(sealed);
        self.undo = Undo::default();
    }
    fn undo_all(&mut self, undo: Undo) {
        let rows: Vec<Row> = undo.rows.keys().copied().collect();
        rows.iter().for_each(|row| drop(self.take(*row)));
        for (row, old) in undo.rows {
            if let Some(held) = old {
                self.put(row, held);
            }
        }
        for (k, old) in undo.numbers {
            match old {
                Some(n) => self.numbers.insert(k, n),
                None => self.numbers.remove(&k),
            };
        }
    }
    /// How many rows there are, trash included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// Files what lies in the trash of `folder` at `path` (below the trash), for [`Index::with_content`].
    pub fn add_trash(
        &mut self,
        folder: Folder,
        path: Path<'_>,
        kind: Kind,
        content: ContentId,
        size: u64,
    ) -> Row {
        let trash = folder.trash();
        let row = self.find(trash, path).unwrap_or_else(|| self.create(trash, path));
        let record = Record { kind, content, size, ..Record::default() };
        let local = Local { record, made: Made::Unminted, stat: Default::default(), at: 0 };
        self.save(row, &Trees { local: Some(local), ..Trees::default() }, None);
        row
    }
    /// Forgets what lay in the trash of `folder` at `path`; false if nothing was known there.
    pub fn remove_trash(&mut self, folder: Folder, path: Path<'_>) -> bool {
        let row = self.find(folder.trash(), path);
        row.into_iter().for_each(|row| self.erase(row));
        row.is_some()
    }
    /// Forgets every row and number of a folder and of its trash.
    pub fn erase_folder(&mut self, folder: Folder) {
        for f in [folder.live(), folder.trash()] {
            let rows: Vec<Row> = self.rows.iter().filter(|(_, h)| h.folder() == f).map(|(r, _)| *r).collect();
            rows.into_iter().for_each(|row| self.erase(row));
            let keys: Vec<_> = self.numbers.keys().filter(|k| k.0 == f).copied().collect();
            for k in keys {
                let old = self.numbers.remove(&k);
                self.undo.numbers.entry(k).or_insert(old);
            }
        }
    }
    fn take(&mut self, row: Row) -> Option<Held> {
        let held = self.rows.remove(&row)?;
        let folder = held.folder();
        self.paths.remove(&held.key);
        if let Some(d) = held.due {
            self.due.remove(&(folder, d.lane, d.key, row));
        }
        for m in Mark::ALL {
            self.marks.remove(&(folder, m as u8, row));
        }
        if let Some(c) = held.trees.disk_content() {
            self.contents.remove(&(c, row));
        }
        for seq in held.seqs() {
            self.seqs.remove(&(folder, seq, row));
        }
        Some(held)
    }
    fn put(&mut self, row: Row, held: Held) {
        let folder = held.folder();
        self.paths.insert(held.key.clone(), row);
        if let Some(d) = held.due {
            self.due.insert((folder, d.lane, d.key, row));
        }
        for m in Mark::ALL {
            if m.is_on(&held.trees) {
                self.marks.insert((folder, m as u8, row));
            }
        }
        if let Some(c) = held.trees.disk_content() {
            self.contents.insert((c, row));
        }
        for seq in held.seqs() {
            self.seqs.insert((folder, seq, row));
        }
        self.rows.insert(row, held);
    }
}

impl Index for MemIndex {
    fn find(&mut self, folder: Folder, path: Path<'_>) -> Option<Row> {
        self.paths.get(&key(folder, path.bytes())).copied()
    }
    fn create(&mut self, folder: Folder, path: Path<'_>) -> Row {
        let key = key(folder, path.bytes());
        assert!(!self.paths.contains_key(&key), "a row of {path:?} is there already");
        self.last += 1;
        let row = Row(self.last);
        self.undo.rows.insert(row, None);
        self.put(row, Held { key, trees: Box::default(), due: None });
        row
    }
    fn next(&mut self, folder: Folder, after: Option<Path<'_>>, into: &mut PathBuf) -> Option<Row> {
        let from = key(folder, after.map_or(&[], |p| p.bytes()));
        let (k, row) = self.paths.range(from.clone()..).find(|(k, _)| **k != from)?;
        if k[..2] != from[..2] {
            return None;
        }
        open_key(k, into);
        Some(*row)
    }
    fn path(&mut self, row: Row, into: &mut PathBuf) -> Folder {
        open_key(&self.rows.get(&row).expect("the row exists").key, into)
    }
    fn load(&mut self, row: Row, into: &mut Trees) -> bool {
        self.loads += 1;
        match self.rows.get(&row) {
            Some(held) => into.clone_from(&held.trees),
            None => *into = Trees::default(),
        }
        self.rows.contains_key(&row)
    }
    fn save(&mut self, row: Row, trees: &Trees, due: Option<Due>) {
        let old = self.take(row).expect("the row exists");
        let key = old.key.clone();
        self.undo.rows.entry(row).or_insert(Some(old));
        self.put(row, Held { key, trees: Box::new(trees.clone()), due });
    }
    fn due_of(&mut self, row: Row) -> Option<Due> {
        self.rows.get(&row)?.due
    }
    fn erase(&mut self, row: Row) {
        let old = self.take(row).expect("the row exists");
        self.undo.rows.entry(row).or_insert(Some(old));
    }
    fn due(&mut self, folder: Folder, lane: Lane, after: Option<(u64, Row)>) -> Option<(u64, Row)> {
        let (key, row) = after.unwrap_or((0, Row(0)));
        let next = self.due.range((folder, lane, key, row)..).find(|d| after != Some((d.2, d.3)))?;
        ((next.0, next.1) == (folder, lane)).then_some((next.2, next.3))
    }
    fn marked(&mut self, folder: Folder, mark: Mark, after: Option<Row>) -> Option<Row> {
        let from = after.map_or(0, |r| r.0 + 1);
        let next = self.marks.range((folder, mark as u8, Row(from))..).next()?;
        ((next.0, next.1) == (folder, mark as u8)).then_some(next.2)
    }
    fn with_content(&mut self, content: &ContentId, after: Option<Row>) -> Option<Row> {
        let from = after.map_or(0, |r| r.0 + 1);
        let next = self.contents.range((*content, Row(from))..).next()?;
        (next.0 == *content).then_some(next.1)
    }
    fn by_seq(&mut self, folder: Folder, (seq, row): (Seq, Row)) -> Option<(Seq, Row)> {
        let next = self.seqs.range((folder, seq, Row(row.0 + 1))..).next()?;
        (next.0 == folder).then_some((next.1, next.2))
    }
    fn number(&mut self, folder: Folder, key: Number) -> u64 {
        self.numbers.get(&(folder, key)).copied().unwrap_or(0)
    }
    fn set_number(&mut self, folder: Folder, key: Number, to: u64) {
        let old = self.numbers.insert((folder, key), to);
        self.undo.numbers.entry((folder, key)).or_insert(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(s: &str) -> Path<'_> {
        Path::new(s.as_bytes()).expect("a path")
    }

    #[test]
    fn a_crash_undoes_what_was_not_committed() {
        let (mut m, f, other) = (MemIndex::new(), Folder(1), Folder(2));
        let kept = m.create(f, path("a/b"));
        let look = Some(Due { lane: Lane::Look, key: 7 });
        m.save(kept, &Trees { unsynced: true, ..Trees::default() }, look);
        m.set_number(f, Number::Seen, 5);
        m.commit();
        let lost = m.create(f, path("a"));
        m.save(kept, &Trees::default(), None);
        m.erase(kept);
        m.set_number(f, Number::Seen, 6);
        m.set_number(other, Number::Seen, 1);
        m.crash();
        assert_eq!((m.find(f, path("a")), m.find(f, path("a/b"))), (None, Some(kept)));
        assert_eq!((m.due(f, Lane::Look, None), m.due_of(kept)), (Some((7, kept)), look));
        assert_eq!(m.marked(f, Mark::Unsynced, None), Some(kept));
        assert_eq!((m.number(f, Number::Seen), m.number(other, Number::Seen)), (5, 0));
        assert!(m.create(f, path("a")).0 > lost.0, "rows are never reused");
    }

    #[test]
    fn next_walks_one_folder_in_tree_order() {
        let mut m = MemIndex::new();
        for p in ["b", "a.txt", "a/b/c", "a", "a/b"] {
            m.create(Folder(1), path(p));
        }
        m.create(Folder(2), path("z"));
        let (mut at, mut seen) = (PathBuf::new(), Vec::new());
        loop {
            let before = at.clone();
            if m.next(Folder(1), before.get(), &mut at).is_none() {
                break;
            }
            seen.push(at.get().expect("found").bytes().to_vec());
        }
        assert_eq!(seen, [&b"a"[..], b"a/b", b"a/b/c", b"a.txt", b"b"]);
    }
}
