//! What makes acts, and users' writes, durable (R11, R13, R16).

use super::beneath::{cause, open, split};
use super::root::{Root, lock};
use super::stat::read_at;
use dartsync_core::path::Path;
use dartsync_core::peer::Cause;
use rustix::fs::{OFlags, fstatfs, fsync as sys_fsync, syncfs};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// Bytes that wait in the system's cache, up to which flushing a whole file system is cheap.
const FEW: u64 = 64 << 20;
/// Directories, beyond which flushing the file system is cheaper than each of them, if little waits.
const MANY: usize = 64;
/// Threads that flush files side by side.
const THREADS: usize = 8;

#[cfg(test)]
thread_local! {
    /// Makes so many of a test's thread's next calls of [`fsync`] or [`Root::flush`] fail, as the system tells that it could not write.
    pub(super) static FAULTS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    /// What [`waiting`] says to a test's thread, whatever else the machine writes meanwhile.
    pub(super) static WAITING: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Makes a file, with its metadata, or a directory durable. After an error the next call says nothing of what this one
/// could not write: the system tells it once, and takes the pages for written. Whatever fails here is thus to be
/// written anew (a part), or never said to be durable (the peer machine's marks). A directory is an exception: its
/// entries are in the file system's journal, which goes on failing if it could not be written.
pub(super) fn fsync(fd: impl AsFd) -> Result<(), Cause> {
    fault()?;
    sys_fsync(fd).map_err(cause)
}

fn fault() -> Result<(), Cause> {
    #[cfg(test)]
    if let Some(left) = FAULTS.get().checked_sub(1) {
        FAULTS.set(left);
        return Err(cause(Errno::IO));
    }
    Ok(())
}

/// How files that were just written are made durable together.
///
/// The system tells each handle once of each error in writing anything of its file system back, whoever wrote it, from the
/// handle's opening on (Linux 5.8). So that of [`Together::Whole`] is opened before any file that it is to stand for is
/// written, its flushes are told apart by the lock, and after an error there are none: whose file it was is for each file's
/// own fsync to say.
pub(super) enum Together {
    /// Nothing outlives a power cut in any case: one after the other, which costs nothing.
    Memory,
    /// All of the file system is flushed by that handle.
    Whole(Mutex<Option<OwnedFd>>),
    /// Each by itself, side by side.
    Each,
}

impl Together {
    pub(super) fn of(dir: impl AsFd) -> Together {
        // Of these it is known that what syncfs says to have flushed is durable. A server behind FUSE is not even told.
        const EXT: u64 = 0xEF53;
        const XFS: u64 = 0x5846_5342;
        const BTRFS: u64 = 0x9123_683E;
        const F2FS: u64 = 0xF2F5_2010;
        const TMPFS: u64 = 0x0102_1994;
        let tells = is_since(rustix::system::uname().release().to_bytes(), (5, 8));
        match fstatfs(&dir).map_or(0, |s| s.f_type as u64 & 0xFFFF_FFFF) {
            TMPFS => Together::Memory,
            EXT | XFS | BTRFS | F2FS if tells => {
                Together::Whole(Mutex::new(open(dir.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY).ok()))
            }
            _ => Together::Each,
        }
    }

    /// Whether all that was written before the call is durable now.
    fn sync_whole(&self) -> bool {
        let Together::Whole(handle) = self else { return false };
        let mut handle = lock(handle);
        let Some(fd) = handle.as_ref() else { return false };
        let done = fault().is_ok() && syncfs(fd).is_ok();
        if !done {
            *handle = None;
        }
        done
    }
}

/// Whether a kernel's release (`6.1.0-13-amd64`) is that version or a later one.
fn is_since(release: &[u8], version: (u32, u32)) -> bool {
    let mut numbers = release.split(|b| !b.is_ascii_digit()).map(|n| {
        let text = std::str::from_utf8(n).ok()?;
        text.parse::<u32>().ok()
    });
    let (major, minor) = (numbers.next().flatten(), numbers.next().flatten());
    major.zip(minor).is_some_and(|found| found >= version)
}

/// The handle by which [`Root::flush`] flushes the file system. Of an error that anybody was told of already, be it this
/// program at a batch of [`Together::Whole`], a handle that is opened afterwards is told nothing: so this one is opened
/// before anything is written here, and nothing else is asked by it.
pub(super) fn witness(dir: impl AsFd) -> Result<Arc<OwnedFd>, Cause> {
    open(dir.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY).map(Arc::new).map_err(cause)
}

/// What is not durable yet. Paths below the root, own directories too.
#[derive(Default)]
pub(super) struct Touched {
    dirs: HashSet<Vec<u8>>,
    files: HashSet<Vec<u8>>,
}

impl Root {
    /// An entry of that directory was changed by an act.
    pub(super) fn touch(&self, dir: &[u8]) {
        let mut touched = lock(&self.touched);
        if !touched.dirs.contains(dir) {
            touched.dirs.insert(dir.to_vec());
        }
    }

    /// Whether changes in that directory are still to be made durable.
    #[cfg(test)]
    pub(super) fn is_touched(&self, dir: &[u8]) -> bool {
        lock(&self.touched).dirs.contains(dir)
    }

    /// That directory was removed by an act: what was done in it needs no care of its own.
    pub(super) fn untouch(&self, dir: &[u8]) {
        lock(&self.touched).dirs.remove(dir);
    }

    /// The metadata of that file was changed by an act.
    pub(super) fn touch_file(&self, path: Path<'_>) {
        lock(&self.touched).files.insert(path.bytes().to_vec());
    }

    /// `Effect::Sync`: makes every act that was answered before this call durable. What could not be made so is tried
    /// again by the next call.
    pub fn sync_dirs(&self) -> Result<(), Cause> {
        let (dirs, files) = {
            let mut touched = lock(&self.touched);
            (std::mem::take(&mut touched.dirs), std::mem::take(&mut touched.files))
        };
        let done = self.sync_all(&dirs, &files);
        if done.is_err() {
            let mut touched = lock(&self.touched);
            touched.dirs.extend(dirs);
            touched.files.extend(files);
        }
        done
    }

    fn sync_all(&self, dirs: &HashSet<Vec<u8>>, files: &HashSet<Vec<u8>>) -> Result<(), Cause> {
        if dirs.len() + files.len() > MANY && waiting() <= FEW {
            return self.sync_fs();
        }
        let mut lost = false;
        for path in files {
            match self.open_for_sync(path, OFlags::NONBLOCK) {
                Some(fd) => fsync(fd)?,
                None => lost = true,
            }
        }
        for path in dirs {
            match self.open_for_sync(path, OFlags::DIRECTORY) {
                Some(fd) => fsync(fd)?,
                None => lost = true,
            }
        }
        // It was moved or removed since, or may not be read: only all of it is sure to hold it.
        if lost { self.sync_fs() } else { Ok(()) }
    }

    fn open_for_sync(&self, path: &[u8], flags: OFlags) -> Option<OwnedFd> {
        let (parent, name) = split(path);
        if name.is_empty() {
            return open(self.dir(), b"", OFlags::RDONLY | flags).ok();
        }
        let dir = super::beneath::open_dir(self.dir(), parent).ok()?;
        if flags.contains(OFlags::DIRECTORY) {
            open(dir.as_fd(), name, OFlags::RDONLY | flags).ok()
        } else {
            read_at(&dir, name).ok().map(OwnedFd::from)
        }
    }

    /// Makes files in tmp durable of which all was written since the root was opened; an answer for each.
    pub(super) fn sync_written(&self, files: &[&File]) -> Vec<Result<(), Cause>> {
        if files.len() > 1 && waiting() <= FEW && self.together.sync_whole() {
            return files.iter().map(|_| Ok(())).collect();
        }
        self.sync_each(files)
    }

    /// Makes files in tmp durable by an fsync each, side by side; an answer for each.
    pub(super) fn sync_each(&self, files: &[&File]) -> Vec<Result<(), Cause>> {
        if files.len() <= 1 || matches!(self.together.as_ref(), Together::Memory) {
            return files.iter().map(fsync).collect();
        }
        let flush = |part: &[&File]| part.iter().map(fsync).collect::<Vec<_>>();
        let lost = |part: &[&File]| part.iter().map(|_| Err(cause(Errno::IO))).collect();
        std::thread::scope(|s| {
            let parts = files.chunks(files.len().div_ceil(THREADS));
            let threads: Vec<_> = parts.map(|part| (part, s.spawn(move || flush(part)))).collect();
            threads.into_iter().flat_map(|(part, t)| t.join().unwrap_or_else(|_| lost(part))).collect()
        })
    }

    fn sync_fs(&self) -> Result<(), Cause> {
        let dir = open(self.dir(), b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(cause)?;
        syncfs(dir).map_err(cause)
    }

    /// `Effect::Flush` (R13): makes files that others wrote durable, and their names: all of the file system, however much
    /// waits to be written, for all that was looked at before counts as durable then.
    pub fn flush(&self) -> Result<(), Cause> {
        fault()?;
        syncfs(&*self.witness).map_err(cause)
    }
}

/// Bytes that wait in the system's cache to be written; very many if that cannot be known.
fn waiting() -> u64 {
    #[cfg(test)]
    if let Some(bytes) = WAITING.get() {
        return bytes;
    }
    std::fs::read_to_string("/proc/meminfo").map_or(u64::MAX, |text| parse_waiting(&text))
}

fn parse_waiting(meminfo: &str) -> u64 {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    match (field("Dirty:"), field("Writeback:")) {
        (Some(d), Some(w)) => (d + w).saturating_mul(1024),
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart() {
        let since = |release: &str| is_since(release.as_bytes(), (5, 8));
        assert!(["5.8.0", "5.10.63-v7+", "6.1.0-13-amd64", "10.0"].into_iter().all(since));
        assert!(!["5.7.19", "4.19.0", "3.10", "5", "", "x.y"].into_iter().any(since));
    }

    #[test]
    fn what_waits_is_read_from_meminfo() {
        let text = "MemTotal: 9 kB\nDirty:   100 kB\nWriteback:    28 kB\nWritebackTmp: 5 kB\n";
        assert_eq!(parse_waiting(text), 128 * 1024);
        assert_eq!(parse_waiting("MemTotal: 9 kB\n"), u64::MAX);
        assert!(waiting() < u64::MAX);
    }
}
