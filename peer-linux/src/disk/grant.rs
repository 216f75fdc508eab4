//! Write and search permission lent for an act to directories of ours that lack it (mode 0555 and the like).
//!
//! Lending is counted per directory, so that acts side by side agree on the mode to go back to, and the true mode
//! can be told to whoever looks meanwhile.

use super::root::Root;
use rustix::fs::{AtFlags, CWD, Mode, chmodat, fstat};
use rustix::io::{Errno, Result};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// What an owner needs to change a directory.
const WANT: u32 = 0o300;

/// Directories whose mode is lent: by inode, how many acts, and the mode to go back to.
#[derive(Default)]
pub(super) struct Grants(Mutex<HashMap<u64, (usize, u32)>>);

/// Permission lent to one directory; ends with the value.
pub(super) struct Grant {
    table: Arc<Grants>,
    dir: OwnedFd,
    ino: u64,
}

impl Grants {
    /// The mode a directory has when nothing is lent to it.
    pub(super) fn true_mode(&self, ino: u64, mode: u32) -> u32 {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&ino).map_or(mode, |(_, old)| *old & 0o7777)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut table = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((count, mode)) = table.get_mut(&self.ino) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        let mode = *mode;
        table.remove(&self.ino);
        // A user who set the mode meanwhile meant it.
        if fstat(&self.dir).is_ok_and(|s| s.st_mode & 0o7777 == mode | WANT) {
            // If it fails the directory keeps a permission its owner has not given: shown by the next scan.
            let _ = chmod(self.dir.as_fd(), mode);
        }
    }
}

impl Root {
    /// Lends write and search permission to a directory; none if it has both (then something else is missing).
    pub(super) fn lend(&self, dir: BorrowedFd<'_>) -> Result<Option<Grant>> {
        let fd = dir.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        let mut table = self.grants.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stat = fstat(&fd)?;
        let mode = stat.st_mode & 0o7777;
        if let Some((count, _)) = table.get_mut(&stat.st_ino) {
            *count += 1;
        } else if mode & WANT == WANT {
            return Ok(None);
        } else {
            chmod(dir, mode | WANT).map_err(|_| Errno::ACCESS)?;
            table.insert(stat.st_ino, (1, mode));
        }
        Ok(Some(Grant { table: self.grants.clone(), dir: fd, ino: stat.st_ino }))
    }

    /// Runs a call, and once more with permission lent to `dirs` if it was denied.
    pub(super) fn allowing<T>(&self, dirs: &[BorrowedFd<'_>], call: impl Fn() -> Result<T>) -> Result<T> {
        match call() {
            Err(Errno::ACCESS) => {
                let lent =
                    dirs.iter().filter_map(|d| self.lend(*d).transpose()).collect::<Result<Vec<_>>>()?;
                if lent.is_empty() { Err(Errno::ACCESS) } else { call() }
            }
            done => done,
        }
    }
}

/// Sets the mode of what a handle stands for (also an `O_PATH` one), never of what a symlink points at.
pub(super) fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    chmodat(CWD, proc_path(fd), Mode::from_raw_mode(mode), AtFlags::empty())
}

/// A path that stands for an open handle.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
