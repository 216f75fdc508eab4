//! A folder's directory on this device: linking it, and telling whether it still stands.

use super::ages::Ages;
use super::beneath::{Dir, cause, open, open_dir};
use super::claim::Claim;
use super::grant::Grants;
use super::marker::{self, Marker};
use super::part::Tmp;
use super::probe::{self, Probe};
use super::sync::{self, Together, Touched};
use super::watcher::Watch;
use super::{Trashed, stat};
use dartsync_core::peer::{Cause, Outcome, Stat};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, unlinkat};
use rustix::io::Errno;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Parts, swap files, copies being made.
pub(super) const TMP: &[u8] = b".dartsync/tmp";
/// What was displaced and removed.
pub(super) const TRASH: &[u8] = b".dartsync/trash";

/// A linked directory. Shared among threads; every act resolves its paths anew.
pub struct Root {
    path: PathBuf,
    dir: Dir,
    dev: u64,
    ino: u64,
    marker: Marker,
    /// The stat of the marker's file when it was last read and said what it should.
    pub(super) read: Mutex<Option<Stat>>,
    probe: Probe,
    _claim: Claim,
    pub(super) grants: Arc<Grants>,
    pub(super) tmp_state: Mutex<Tmp>,
    pub(super) touched: Arc<Mutex<Touched>>,
    pub(super) together: Arc<Together>,
    pub(super) witness: Arc<OwnedFd>,
    pub(super) watch: Arc<Mutex<Watch>>,
    pub(super) strays: Mutex<Vec<Trashed>>,
    pub(super) ages: Arc<Mutex<Ages>>,
}

/// Whether a directory was linked before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Linked {
    /// It got its marker now: a new link.
    New,
    /// Its marker named this folder already (a lost store): a tombstone may speak of what is in it (R10). It is another
    /// marker now: whoever has linked it before does not take it for its own.
    Again,
}

/// Why a directory cannot be a folder's root.
#[derive(Debug)]
pub enum DiskError {
    /// There is no such directory, or it cannot be opened.
    Open(std::io::Error),
    /// It was never linked, or lost its marker.
    NoMarker,
    /// Another program works on it.
    InUse,
    /// It is linked to another folder: this id.
    OtherFolder(u64),
    /// It stands in another root: that one.
    Nested(PathBuf),
    /// A linked directory stands in it: that one.
    Holds(PathBuf),
    /// Its file system cannot do what safe installs need: what is missing.
    Unsupported(&'static str),
    /// The operating system said no.
    Failed(Cause),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Open(e) => write!(f, "cannot open the directory: {e}"),
            DiskError::NoMarker => f.write_str("the directory has no marker (.dartsync/folder): not linked"),
            DiskError::InUse => f.write_str("another DartSync on this machine uses this folder"),
            DiskError::OtherFolder(id) => write!(f, "the directory is linked to another folder ({id:016x})"),
            DiskError::Nested(p) => write!(f, "it stands in a linked folder: {}", p.display()),
            DiskError::Holds(p) => write!(
                f,
                "a linked folder stands in it: {} (if it is linked no more, remove its .dartsync)",
                p.display()
            ),
            DiskError::Unsupported(what) => write!(f, "the file system lacks {what}"),
            DiskError::Failed(Cause::Os(e)) => std::io::Error::from_raw_os_error(*e).fmt(f),
            DiskError::Failed(c) => write!(f, "{c:?}"),
        }
    }
}

impl std::error::Error for DiskError {}

impl From<Cause> for DiskError {
    fn from(c: Cause) -> DiskError {
        DiskError::Failed(c)
    }
}

impl Root {
    /// Opens a directory that is linked. No other process can while the [`Root`] lives.
    pub fn open(path: &Path) -> Result<Root, DiskError> {
        let (path, dir, meta) = open_root(path)?;
        // Nothing is made in a directory that was never linked.
        Marker::read(&dir)?.ok_or(DiskError::NoMarker)?;
        let (claim, marker) = claim(&dir)?;
        Root::start(path, dir, meta, claim, marker.ok_or(DiskError::NoMarker)?)
    }

    /// Links a directory to a folder: makes `.dartsync` and the marker, and tries what the file system can do. No
    /// other process can open it while the [`Root`] lives. That no linked directory stands in it is to be found out before
    /// ([`super::check_within`]).
    pub fn link(path: &Path, folder: u64) -> Result<(Root, Linked), DiskError> {
        let (path, dir, meta) = open_root(path)?;
        if let Some(outer) = path.ancestors().skip(1).find(|p| marker::is_marked(p)) {
            return Err(DiskError::Nested(outer.to_owned()));
        }
        if let Some(m) = Marker::read(&dir)?.filter(|m| m.folder != folder) {
            return Err(DiskError::OtherFolder(m.folder));
        }
        let (claim, found) = claim(&dir)?;
        let linked = match found {
            Some(m) if m.folder == folder => Linked::Again,
            Some(m) => return Err(DiskError::OtherFolder(m.folder)),
            None => Linked::New,
        };
        let marker = Marker::draw(folder);
        let root = match Root::start(path.clone(), dir, meta, claim, marker) {
            Ok(root) => root,
            Err(e) if linked == Linked::Again => return Err(e),
            Err(e) => {
                for own in [".dartsync/tmp", ".dartsync/trash", ".dartsync"] {
                    // Not empty: then it was there before.
                    let _ = std::fs::remove_dir(path.join(own));
                }
                return Err(e);
            }
        };
        marker.write(&marker::own_dir(&root.dir)?, &open_dir(&root.dir, TMP).map_err(cause)?)?;
        marker::sync_dir(&root.dir)?;
        Ok((root, linked))
    }

    fn start(
        path: PathBuf,
        dir: Dir,
        meta: std::fs::Metadata,
        claim: Claim,
        marker: Marker,
    ) -> Result<Root, DiskError> {
        let witness = sync::witness(&dir)?;
        let probe = probe::probe(&open_dir(&dir, TMP).map_err(cause)?)?;
        let together = Arc::new(Together::of(&dir));
        let ages = Arc::new(Mutex::new(Ages::read(&dir)));
        Ok(Root {
            path,
            dir,
            dev: meta.dev(),
            ino: meta.ino(),
            marker,
            read: Mutex::default(),
            probe,
            _claim: claim,
            grants: Arc::default(),
            tmp_state: Mutex::default(),
            touched: Arc::default(),
            together,
            witness,
            watch: Arc::default(),
            strays: Mutex::default(),
            ages,
        })
    }

    /// Shares what is still to be done with the value that stood for the same directory before, and may still be at work:
    /// displaced files to be watched, changes and files to be made durable; and how old its trash is. Nothing if that was
    /// another directory.
    pub fn take_over(&mut self, before: &Root) {
        if self.is_same_root(before) && self.marker == before.marker {
            self.watch = before.watch.clone();
            self.touched = before.touched.clone();
            self.together = before.together.clone();
            self.witness = before.witness.clone();
            self.ages = before.ages.clone();
        }
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its marker says.
    pub fn marker(&self) -> Marker {
        self.marker
    }

    /// What its file system can do.
    pub fn probe(&self) -> Probe {
        self.probe
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn is_same_root(&self, other: &Root) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    pub(super) fn dev(&self) -> u64 {
        self.dev
    }

    /// Whether the root's path still leads to the directory that was opened, with its marker. [`Cause::RootGone`]; or why
    /// nothing can be told of that marker.
    pub fn verify(&self) -> Result<(), Cause> {
        let same = std::fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == (self.dev, self.ino));
        if same && self.is_marked()? { Ok(()) } else { Err(Cause::RootGone) }
    }

    /// Whether the marker stands and says what it should. It is asked for several times for each file: as long as its stat
    /// is the very same, it is not read again. Where this process may open nothing more, that says nothing of the marker.
    fn is_marked(&self) -> Result<bool, Cause> {
        let at = stat::wall();
        let few = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(cause);
        let file = match open(self.dir.as_fd(), marker::PATH, OFlags::PATH).map_err(cause) {
            Err(e) if few.contains(&e) => return Err(e),
            file => file.ok(),
        };
        let mut read = lock(&self.read);
        let now = file.and_then(|file| stat::file_stat(&file).ok());
        if now.is_some() && *read == now {
            return Ok(true);
        }
        let right = match Marker::read(&self.dir) {
            Err(e) if few.contains(&e) => return Err(e),
            found => found == Ok(Some(self.marker)),
        };
        *read = now.filter(|s| right && !s.is_fresh(at));
        Ok(right)
    }

    /// Ends the link: parts are deleted, swap files moved to the trash, the marker removed. The trash stays.
    pub fn unlink(&self) -> Result<Vec<Trashed>, Cause> {
        self.verify()?;
        let mut trashed = self.cleanup_tmp(&|_| false)?;
        for n in self.tmp_rows()? {
            let act = self.tmp_clear(n);
            trashed.extend(act.trashed);
            if let Outcome::Failed(cause) = act.outcome {
                return Err(cause);
            }
        }
        let own = marker::own_dir(&self.dir)?;
        unlinkat(&own, marker::NAME, AtFlags::empty()).map_err(cause)?;
        // Something unknown may lie in it; that stays.
        let _ = unlinkat(&own, "tmp", AtFlags::REMOVEDIR);
        marker::sync_dir(&own)?;
        Ok(trashed)
    }

    /// What was moved to the trash by calls that have no [`super::Act`] to tell it: to be asked for after
    /// [`Root::part_open`] and its like.
    pub fn take_strays(&self) -> Vec<Trashed> {
        std::mem::take(&mut *lock(&self.strays))
    }
}

/// Locks; a thread that panicked while it held the lock left nothing half done that matters here.
pub(super) fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(super) fn open_root(path: &Path) -> Result<(PathBuf, Dir, std::fs::Metadata), DiskError> {
    let path = std::fs::canonicalize(path).map_err(DiskError::Open)?;
    let meta = std::fs::metadata(&path).map_err(DiskError::Open)?;
    let dir = rustix::fs::open(&path, dir_flags(), Mode::empty())
        .map_err(|e| DiskError::Open(std::io::Error::from_raw_os_error(e.raw_os_error())))?;
    let dir = open_dir(&dir, b"").map_err(|e| match e {
        Errno::NOSYS => DiskError::Unsupported("openat2 (Linux 5.6)"),
        e => DiskError::Failed(cause(e)),
    })?;
    let opened = rustix::fs::fstat(&dir).map_err(cause)?;
    if (opened.st_dev, opened.st_ino) != (meta.dev(), meta.ino()) {
        return Err(DiskError::Failed(Cause::RootGone));
    }
    stat::stat_of(&opened)?;
    Ok((path, dir, meta))
}

fn dir_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// Makes what is missing of `.dartsync`, and claims it; the marker is read once nobody else can change it.
fn claim(dir: &Dir) -> Result<(Claim, Option<Marker>), DiskError> {
    // Before anything is left behind in a directory that cannot be linked.
    probe::check_resolving(dir)?;
    make_own(dir)?;
    let claim = Claim::take(dir)?;
    Ok((claim, Marker::read(dir)?))
}

/// Makes `.dartsync` and what is in it, as far as it is missing.
fn make_own(dir: &Dir) -> Result<(), Cause> {
    for path in [&b".dartsync"[..], TMP, TRASH] {
        let (parent, name) = super::beneath::split(path);
        let parent = open_dir(dir, parent).map_err(cause)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(cause(e)),
        }
        // A file or a symlink in its place, or a mount: refused here.
        open_dir(&parent, name).map_err(cause)?;
    }
    Ok(())
}
