//! The store: what this device knows, in one file `store.redb` of the state directory.
//!
//! One transaction is always open, in memory: [`Store`] reads through its changes to the last commit, and
//! [`Store::commit`] alone writes ([`layer`] says how). When the changes grow large they are written without being made
//! durable, so memory stays bounded and a crash still takes all or none. A store that cannot be read ends the program;
//! a full disk is an answer of `commit`.

mod codec;
mod file;
mod index;
mod keys;
mod layer;
mod manifests;
mod reader;
#[cfg(test)]
mod tests;

pub use file::Found;
pub use reader::{Candidate, Reader};

use anyhow::Context;
use dartsync_core::ids::{ContentId, Folder, Row};
use dartsync_core::path::Path;
use dartsync_core::peer::{Index, Local, Made, Stat, Trees};
use dartsync_core::record::{Kind, Record};
use layer::{Layer, sure};
use manifests::Sweep;
use reader::Shared;
use redb::{Durability, ReadableDatabase};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes of redb's page cache.
const CACHE: usize = 6 * 1024 * 1024;
/// Bytes of changes that are kept in memory.
const CHANGES: usize = 6 * 1024 * 1024;
/// Bytes of rows that are kept at hand as the file has them, and of paths' entries: each takes several steps, a commit apart.
const ROWS_AT_HAND: usize = 2 * 1024 * 1024;
const PATHS_AT_HAND: usize = 512 * 1024;
/// Rows that may be made before the mark below which none is made again is durable anew.
const ROWS_AHEAD: u64 = 1 << 21;
/// What the file is called.
const NAME: &str = "store.redb";
/// Names of blobs that are the store's own.
const FORMAT: &str = "\0format";
const ROWS: &str = "\0rows";

/// The tables.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Path key → row.
    Paths = 0,
    /// Row → what [`codec`] writes.
    Rows = 1,
    /// Folder, lane, key, row.
    Due = 2,
    /// Folder, mark, row.
    Marks = 3,
    /// Content, row.
    Contents = 4,
    /// Folder, seq, row.
    Seqs = 5,
    /// Folder, number → u64.
    Numbers = 6,
    /// Name → bytes.
    Blobs = 7,
    /// Content → leaves.
    Manifests = 8,
    /// Content of a manifest that may have lost its last row → when (s since 1970).
    Loose = 9,
    /// The beginning of a chunk's name → a content that has it, with its manifest: a sample.
    Chunks = 10,
}

impl Part {
    const ALL: [Part; 11] = [
        Part::Paths,
        Part::Rows,
        Part::Due,
        Part::Marks,
        Part::Contents,
        Part::Seqs,
        Part::Numbers,
        Part::Blobs,
        Part::Manifests,
        Part::Loose,
        Part::Chunks,
    ];
    fn layer(self) -> Layer {
        let at_hand = match self {
            Part::Rows => ROWS_AT_HAND,
            Part::Paths => PATHS_AT_HAND,
            _ => 0,
        };
        Layer::new(self.name(), at_hand)
    }
    const fn name(self) -> &'static str {
        match self {
            Part::Paths => "paths",
            Part::Rows => "rows",
            Part::Due => "due",
            Part::Marks => "marks",
            Part::Contents => "contents",
            Part::Seqs => "seqs",
            Part::Numbers => "numbers",
            Part::Blobs => "blobs",
            Part::Manifests => "manifests",
            Part::Loose => "loose",
            Part::Chunks => "chunks",
        }
    }
}

/// The disk has no room for a commit. Nothing is lost: the changes stay in the open transaction; try again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskFull;

impl std::fmt::Display for DiskFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the disk that holds the state directory is full")
    }
}

impl std::error::Error for DiskFull {}

/// See the module.
pub struct Store {
    path: PathBuf,
    shared: Arc<Shared>,
    layers: [Layer; Part::ALL.len()],
    /// The last row made, and the mark below which rows may have been made before a crash.
    last: u64,
    reserved: u64,
    /// Something was written since the last durable commit.
    is_soft: bool,
    /// Part of the open transaction is among it.
    is_partial: bool,
    /// Bytes of changes above which they are written.
    bound: usize,
    sweep: Sweep,
    /// Room for encoding.
    value: Vec<u8>,
}

impl Store {
    /// Opens the store of a state directory, or makes a new one where there is none or a damaged one, which is then
    /// kept under another name. Fails if another program has it open, if it is of a newer version, or by the cause of
    /// the operating system.
    pub fn open(state: &std::path::Path) -> anyhow::Result<(Store, Found)> {
        let path = state.join(NAME);
        let (db, found) = file::open(&path)?;
        let mut store = Store {
            path,
            shared: Arc::new(Shared(RwLock::new(Some(db)))),
            layers: Part::ALL.map(Part::layer),
            last: 0,
            reserved: 0,
            is_soft: false,
            is_partial: false,
            bound: CHANGES,
            sweep: Sweep::default(),
            value: Vec::new(),
        };
        store.start()?;
        Ok((store, found))
    }

    /// Makes the tables if they are not there, and takes the first snapshot.
    fn start(&mut self) -> anyhow::Result<()> {
        let made: Result<(), redb::Error> = self.with_db(|db, layers| {
            let tx = db.begin_write()?;
            for layer in layers.iter() {
                tx.open_table(layer.table())?;
            }
            Ok(tx.commit()?)
        });
        made.context("the store cannot be written")?;
        let snapshot = self.shared.snapshot();
        self.layers.iter_mut().for_each(|l| l.settle(&snapshot));
        if let Some(format) = self.blob(FORMAT).filter(|f| f != b"1") {
            anyhow::bail!("the store is of another version ({})", format.escape_ascii());
        }
        self.set_blob(FORMAT, b"1");
        self.last = self.blob(ROWS).map_or(0, |b| keys::u64_at(&b, 0));
        self.reserved = self.last;
        self.reserve();
        Ok(self.commit(true)?)
    }

    fn with_db<R>(&self, f: impl FnOnce(&redb::Database, &[Layer]) -> R) -> R {
        let db = self.shared.0.read().unwrap_or_else(PoisonError::into_inner);
        f(db.as_ref().expect("opened again before the lock is let go"), &self.layers)
    }

    fn layer(&mut self, part: Part) -> &mut Layer {
        &mut self.layers[part as usize]
    }

    /// A row never made before, by this store, crash or not.
    fn new_row(&mut self) -> Row {
        assert!(self.last < self.reserved, "rows are made without ever being committed");
        self.last += 1;
        Row(self.last)
    }

    fn reserve(&mut self) {
        if self.reserved - self.last <= ROWS_AHEAD / 2 {
            self.reserved = self.last + ROWS_AHEAD;
            self.set_blob(ROWS, &self.reserved.to_be_bytes());
        }
    }

    /// Ends the open transaction and opens the next: readers see it from now on. Durable: it is on the platter when
    /// this returns. Otherwise a crash takes it back, as a whole, until a durable one follows.
    pub fn commit(&mut self, durable: bool) -> Result<(), DiskFull> {
        self.reserve();
        if durable {
            self.sweep_manifests();
        }
        self.write(durable)?;
        (self.bound, self.is_partial) = (CHANGES, false);
        Ok(())
    }

    /// Whether the open transaction has grown so large that it should be committed soon.
    pub fn is_heavy(&self) -> bool {
        self.bytes() > CHANGES / 2
    }

    /// Writes the changes when they take too much memory, without making them durable.
    fn relieve(&mut self) {
        if self.bytes() <= self.bound {
            return;
        }
        match self.write(false) {
            Ok(()) => self.is_partial = true,
            // The commit to come tells of the full disk; until then memory has to hold more.
            Err(DiskFull) => self.bound *= 2,
        }
    }

    fn bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum()
    }

    fn write(&mut self, durable: bool) -> Result<(), DiskFull> {
        if self.layers.iter().all(Layer::is_clean) && !(durable && self.is_soft) {
            return Ok(());
        }
        if !self.has_room() {
            return Err(DiskFull);
        }
        let written: Result<(), redb::Error> = self.with_db(|db, layers| {
            let mut tx = db.begin_write()?;
            tx.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
            layers.iter().try_for_each(|l| l.write(&tx))?;
            Ok(tx.commit()?)
        });
        if let Err(e) = written {
            return self.recover(e);
        }
        self.is_soft = !durable;
        let snapshot = self.shared.snapshot();
        self.layers.iter_mut().for_each(|l| l.settle(&snapshot));
        Ok(())
    }

    /// Whether the disk has room for what is to be written. Asked first because redb takes no more work after a failed
    /// write until it is opened again.
    fn has_room(&self) -> bool {
        let Some(Ok(fs)) = self.path.parent().map(rustix::fs::statvfs) else { return true };
        fs.f_bavail.saturating_mul(fs.f_frsize) > 4 * self.bytes() as u64 + (1 << 20)
    }

    /// After a failed write: opens the file anew if the disk was full, as it was at the last durable commit; the
    /// changes are still here.
    fn recover(&mut self, e: redb::Error) -> Result<(), DiskFull> {
        let full = matches!(&e, redb::Error::Io(io) if is_full(io));
        if !full || self.is_soft {
            panic!("the store cannot be written: {e}");
        }
        self.layers.iter_mut().for_each(Layer::release);
        let shared = self.shared.clone();
        let mut db = shared.0.write().unwrap_or_else(PoisonError::into_inner);
        *db = None;
        *db = Some(sure(file::try_open(&self.path)).expect("the store is damaged after a full disk"));
        let snapshot = sure(db.as_ref().expect("just opened").begin_read());
        self.layers.iter_mut().for_each(|l| l.rebase(&snapshot));
        Err(DiskFull)
    }

    /// A handle for other threads.
    pub fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }

    /// A small blob by name; none if never set.
    pub fn blob(&mut self, name: &str) -> Option<Vec<u8>> {
        self.layer(Part::Blobs).get(name.as_bytes(), <[u8]>::to_vec)
    }
    /// Keeps a small blob.
    pub fn set_blob(&mut self, name: &str, bytes: &[u8]) {
        self.layer(Part::Blobs).put(name.as_bytes(), bytes);
    }

    /// Files what lies in the trash of `folder` at `path` (below the trash), so that it is found by its content.
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
        let local = Local { record, made: Made::Unminted, stat: Stat::default(), at: 0 };
        self.save(row, &Trees { local: Some(local), ..Trees::default() }, None);
        row
    }
    /// Forgets what lay in the trash of `folder` at `path`; false if nothing was known there.
    pub fn remove_trash(&mut self, folder: Folder, path: Path<'_>) -> bool {
        let row = self.find(folder.trash(), path);
        row.into_iter().for_each(|row| self.erase(row));
        row.is_some()
    }

    /// Forgets up to `most` rows of a folder and of its trash, and with the last of them its numbers. True when all is
    /// forgotten.
    pub fn erase_folder(&mut self, folder: Folder, most: usize) -> bool {
        for _ in 0..most {
            let first = [folder.live(), folder.trash()].into_iter().find_map(|f| {
                let prefix = keys::folder_key(f);
                self.layer(Part::Paths).first(&prefix, &prefix, |_, row| Row(keys::u64_at(row, 0)))
            });
            let Some(row) = first else {
                self.erase_numbers(folder);
                return true;
            };
            self.erase(row);
        }
        false
    }

    fn erase_numbers(&mut self, folder: Folder) {
        for prefix in [folder.live(), folder.trash()].map(keys::folder_key) {
            let numbers = self.layer(Part::Numbers);
            while let Some(key) = numbers.first(&prefix, &prefix, |key, _| key.to_vec()) {
                numbers.remove(&key);
            }
        }
    }

    /// Forgets everything, durably: the store is new, and rows, blobs and numbers start afresh.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        self.layers = Part::ALL.map(Part::layer);
        {
            let mut db = self.shared.0.write().unwrap_or_else(PoisonError::into_inner);
            *db = None;
            std::fs::remove_file(&self.path).with_context(|| format!("{}", self.path.display()))?;
            *db = Some(file::open(&self.path)?.0);
        }
        (self.last, self.reserved, self.is_soft, self.is_partial) = (0, 0, false, false);
        self.start()
    }
}

impl Drop for Store {
    /// Closing the file would make everything written durable, half a transaction too; then it is left as after a crash.
    fn drop(&mut self) {
        let mut db = self.shared.0.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_partial {
            std::mem::forget(db.take());
        }
    }
}

fn is_full(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(e.kind(), StorageFull | QuotaExceeded)
}
