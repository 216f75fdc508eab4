//! Write and search permission lent for an act to directories of ours that lack it (mode 0555 and the like).
//!
//! Lending is counted per directory, so that acts side by side agree on the mode to go back to, and the true mode
//! can be told to whoever looks meanwhile. Before a mode is changed it is noted durably in `.dartsync/tmp`, so that a
//! program that ends meanwhile gives it back when it starts: else the lent mode would be announced as a user's. A note is
//! a symlink `lent-<inode>-<mode>` to where the directory was, below the root.

use super::beneath::{Dir, open, open_dir};
use super::recover::list;
use super::root::{Root, TMP};
use super::stat::link_at;
use dartsync_core::peer::Cause;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, chmodat, fstat, fsync, statat, symlinkat, unlinkat};
use rustix::io::{Errno, Result};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an owner needs to change a directory.
const WANT: u32 = 0o300;
/// How a note's name begins.
const NOTE: &str = "lent-";

/// Directories whose mode is lent, by inode.
#[derive(Default)]
pub(super) struct Grants(Mutex<HashMap<u64, Lent>>);

/// What is lent to one directory.
struct Lent {
    /// How many acts.
    count: usize,
    /// The mode to go back to.
    mode: u32,
    /// Where that is noted.
    note: Option<(Dir, String)>,
}

/// Permission lent to one directory; ends with the value.
pub(super) struct Grant {
    table: Arc<Grants>,
    dir: OwnedFd,
    ino: u64,
}

impl Grants {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Lent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The mode a directory has when nothing is lent to it.
    pub(super) fn true_mode(&self, ino: u64, mode: u32) -> u32 {
        self.lock().get(&ino).map_or(mode, |lent| lent.mode & 0o7777)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        let Some(lent) = table.get_mut(&self.ino) else { return };
        lent.count -= 1;
        if lent.count > 0 {
            return;
        }
        let Some(lent) = table.remove(&self.ino) else { return };
        // If it fails the directory keeps a permission its owner has not given: shown by the next scan.
        let _ = take_back(self.dir.as_fd(), lent.mode);
        if let Some((tmp, name)) = &lent.note {
            // A note that stays speaks of a mode that is not there any more.
            let _ = unlinkat(tmp, name.as_str(), AtFlags::empty());
        }
    }
}

/// Ends the lending of a directory that had that mode. A user who set another meanwhile meant it.
fn take_back(dir: BorrowedFd<'_>, mode: u32) -> Result<()> {
    if fstat(dir)?.st_mode & 0o7777 == mode | WANT { chmod(dir, mode) } else { Ok(()) }
}

impl Root {
    /// Lends write and search permission to a directory; none if it has both (then something else is missing).
    pub(super) fn lend(&self, dir: BorrowedFd<'_>) -> Result<Option<Grant>> {
        let fd = dir.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        let mut table = self.grants.lock();
        let stat = fstat(&fd)?;
        let mode = stat.st_mode & 0o7777;
        if let Some(lent) = table.get_mut(&stat.st_ino) {
            lent.count += 1;
        } else if mode & WANT == WANT {
            return Ok(None);
        } else {
            let note = self.note_lent(dir, stat.st_ino, mode)?;
            if chmod(dir, mode | WANT).is_err() {
                if let Some((tmp, name)) = &note {
                    let _ = unlinkat(tmp, name.as_str(), AtFlags::empty());
                }
                return Err(Errno::ACCESS);
            }
            table.insert(stat.st_ino, Lent { count: 1, mode, note });
        }
        Ok(Some(Grant { table: self.grants.clone(), dir: fd, ino: stat.st_ino }))
    }

    /// Notes durably what is about to be lent. None where the directory of notes is the one that lacks permission: it is
    /// ours, and no mode of it is announced.
    fn note_lent(&self, dir: BorrowedFd<'_>, ino: u64, mode: u32) -> Result<Option<(Dir, String)>> {
        let tmp = open_dir(self.dir(), TMP)?;
        let name = format!("{NOTE}{ino}-{mode:o}");
        let at = std::fs::read_link(proc_path(dir)).unwrap_or_default();
        let below = at.strip_prefix(self.path()).map_or(&b""[..], |p| p.as_os_str().as_bytes());
        match symlinkat([b"./", below].concat().as_slice(), &tmp, name.as_str()) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::ACCESS) => return Ok(None),
            Err(e) => return Err(e),
        }
        fsync(open(tmp.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        Ok(Some((tmp, name)))
    }

    /// Gives back what a former run had lent when it ended. Once, before the folder is looked at.
    pub(super) fn end_lending(&self, tmp: &Dir) -> std::result::Result<(), Cause> {
        let mut notes: Vec<(Vec<u8>, String, u64, u32)> = Vec::new();
        for name in list(tmp)? {
            let Some((name, ino, mode)) = parse(name) else { continue };
            if !self.grants.lock().contains_key(&ino) {
                let at = link_at(tmp, name.as_bytes()).unwrap_or_default();
                notes.push((at.strip_prefix(b"./").unwrap_or_default().to_vec(), name, ino, mode));
            }
        }
        // The deepest first: what is above may not be gone through any more once it has its mode.
        notes.sort_by_key(|(at, ..)| std::cmp::Reverse(at.len()));
        for (at, name, ino, mode) in notes {
            let is_it = |dir: &Dir| fstat(dir).is_ok_and(|s| s.st_ino == ino);
            let there = open_dir(self.dir(), &at).ok().filter(is_it);
            // Moved by the very act, or by a user since.
            if let Some(dir) = there.or_else(|| self.find_dir(ino)) {
                // One that is not ours any more keeps the mode that its owner sees.
                let _ = take_back(dir.as_fd(), mode);
            }
            let _ = unlinkat(tmp, name.as_str(), AtFlags::empty());
        }
        Ok(())
    }

    /// Looks for a directory below the root by its inode.
    fn find_dir(&self, ino: u64) -> Option<Dir> {
        let mut left = vec![Vec::new()];
        while let Some(path) = left.pop() {
            let Ok(dir) = open_dir(self.dir(), &path) else { continue };
            let found = fstat(&dir).ok()?;
            if found.st_ino == ino {
                return Some(dir);
            }
            for name in list(&dir).unwrap_or_default() {
                let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
                let is_dir = |s: rustix::fs::Stat| {
                    FileType::from_raw_mode(s.st_mode).is_dir() && s.st_dev == self.dev()
                };
                if statat(&dir, name.as_slice(), flags).is_ok_and(is_dir) {
                    let sep: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    left.push([&path, sep, &name].concat());
                }
            }
        }
        None
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

/// What a note's name says: inode and mode.
fn parse(name: Vec<u8>) -> Option<(String, u64, u32)> {
    let name = String::from_utf8(name).ok()?;
    let (ino, mode) = name.strip_prefix(NOTE)?.split_once('-')?;
    let (ino, mode) = (ino.parse().ok()?, u32::from_str_radix(mode, 8).ok()?);
    (mode <= 0o7777).then_some((name, ino, mode))
}

/// Sets the mode of what a handle stands for (also an `O_PATH` one), never of what a symlink points at.
pub(super) fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    chmodat(CWD, proc_path(fd), Mode::from_raw_mode(mode), AtFlags::empty())
}

/// A path that stands for an open handle.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
