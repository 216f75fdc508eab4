//! What makes acts, and users' writes, durable (R11, R13, R16).

use super::beneath::{cause, open, split};
use super::root::{Root, lock};
use super::stat::read_at;
use dartsync_core::path::Path;
use dartsync_core::peer::Cause;
use rustix::fs::{OFlags, fdatasync, fsync as sys_fsync, syncfs};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

/// Files whose contents are remembered one by one; beyond, the file system is flushed as a whole.
const NOTES: usize = 4096;
/// Bytes that wait in the system's cache, up to which flushing a whole file system is cheap.
const FEW: u64 = 64 << 20;
/// Directories, beyond which flushing the file system is cheaper than each of them, if little waits.
const MANY: usize = 64;
/// Threads that flush files side by side.
const THREADS: usize = 8;

#[cfg(test)]
thread_local! {
    /// Makes so many of a test's thread's next calls of [`fsync`] fail, as the system tells that it could not write.
    pub(super) static FAULTS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Makes a file, with its metadata, or a directory durable. After an error the next call says nothing of what this one
/// could not write: the system tells it once, and takes the pages for written. Whatever fails here is thus to be
/// written anew (a part), or never said to be durable (the peer machine's marks). A directory is an exception: its
/// entries are in the file system's journal, which goes on failing if it could not be written.
pub(super) fn fsync(fd: impl AsFd) -> Result<(), Cause> {
    #[cfg(test)]
    if let Some(left) = FAULTS.get().checked_sub(1) {
        FAULTS.set(left);
        return Err(cause(Errno::IO));
    }
    sys_fsync(fd).map_err(cause)
}

/// What is not durable yet. Paths below the root, own directories too.
#[derive(Default)]
pub(super) struct Touched {
    dirs: HashSet<Vec<u8>>,
    files: HashSet<Vec<u8>>,
    notes: HashSet<Vec<u8>>,
    /// More were noted than are remembered.
    many: bool,
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

    /// Remembers a file that others wrote, for [`Root::flush`].
    pub fn note(&self, path: Path<'_>) {
        let mut touched = lock(&self.touched);
        if touched.notes.len() < NOTES {
            touched.notes.insert(path.bytes().to_vec());
        } else {
            touched.many = true;
        }
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

    fn sync_fs(&self) -> Result<(), Cause> {
        let dir = open(self.dir(), b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(cause)?;
        syncfs(dir).map_err(cause)
    }

    /// `Effect::Flush` (R13): makes files that others wrote durable, and their names: those noted since the last flush; all
    /// of the file system when nothing, or too much, was noted, or when little waits in the system's cache.
    pub fn flush(&self) -> Result<(), Cause> {
        let (notes, many) = {
            let mut touched = lock(&self.touched);
            (std::mem::take(&mut touched.notes), std::mem::take(&mut touched.many))
        };
        let done = if many || notes.is_empty() || waiting() <= FEW {
            self.sync_fs()
        } else {
            self.flush_files(&notes.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        if done.is_err() {
            let mut touched = lock(&self.touched);
            touched.notes.extend(notes);
            touched.many |= many;
        }
        done
    }

    fn flush_files(&self, paths: &[&[u8]]) -> Result<(), Cause> {
        let share = paths.len().div_ceil(THREADS);
        std::thread::scope(|s| {
            let threads: Vec<_> =
                paths.chunks(share).map(|part| s.spawn(move || self.flush_some(part))).collect();
            threads.into_iter().try_for_each(|t| t.join().unwrap_or(Err(cause(Errno::IO))))
        })
    }

    fn flush_some(&self, paths: &[&[u8]]) -> Result<(), Cause> {
        for path in paths {
            // Moved, removed or replaced since: whoever sees that notes it anew.
            let Some(file) = self.open_for_sync(path, OFlags::NONBLOCK) else { continue };
            fdatasync(file).map_err(cause)?;
            // Its name, too: a file that is gone after a power cut looks like one that was removed.
            if let Some(dir) = self.open_for_sync(split(path).0, OFlags::DIRECTORY) {
                fsync(dir)?;
            }
        }
        Ok(())
    }
}

/// Bytes that wait in the system's cache to be written; very many if that cannot be known.
fn waiting() -> u64 {
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
    fn what_waits_is_read_from_meminfo() {
        let text = "MemTotal: 9 kB\nDirty:   100 kB\nWriteback:    28 kB\nWritebackTmp: 5 kB\n";
        assert_eq!(parse_waiting(text), 128 * 1024);
        assert_eq!(parse_waiting("MemTotal: 9 kB\n"), u64::MAX);
        assert!(waiting() < u64::MAX);
    }
}
