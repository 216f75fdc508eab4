//! Looking without touching: what stands at a path.

use super::beneath::{Place, Run, cause, io_cause, is_no_parent};
use super::root::Root;
use dartsync_core::limits;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time, µs since 1970.
pub fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// What the system's stat says, in the peer machine's words: whoever compares stats must have them from here.
/// Directories have no size and no mtime, symlinks no mode. [`Cause::Special`] for what is not synced.
pub fn stat_of(s: &rustix::fs::Stat) -> Result<Stat, Cause> {
    let kind = match FileType::from_raw_mode(s.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => return Err(Cause::Special),
    };
    let ns = |secs: i64, nanos: i64| secs.saturating_mul(1_000_000_000).saturating_add(nanos);
    let dir = kind == Kind::Directory;
    Ok(Stat {
        kind,
        mode: if kind == Kind::Symlink { 0 } else { (s.st_mode & 0o777) as u16 },
        size: if dir { 0 } else { s.st_size as u64 },
        mtime: if dir { 0 } else { ns(s.st_mtime, s.st_mtime_nsec as i64) },
        ctime: ns(s.st_ctime, s.st_ctime_nsec as i64),
        ino: s.st_ino,
    })
}

/// The stat of an open file.
pub fn file_stat(file: impl AsFd) -> Result<Stat, Cause> {
    stat_of(&fstat(file).map_err(cause)?)
}

/// Whether what was found is what was expected. Of a directory kind and mode count (what is put in it changes its
/// times), and its number does not.
pub(super) fn is_same(expect: &Stat, found: &Stat) -> bool {
    match expect.kind {
        Kind::Directory => found.kind == Kind::Directory && found.mode == expect.mode,
        _ => expect == found,
    }
}

/// Whether two stats can be of the same state of one file: ctime and mode aside, which a rename or chmod changes.
pub(super) fn is_same_data(a: &Stat, b: &Stat) -> bool {
    (a.kind, a.size, a.mtime, a.ino) == (b.kind, b.size, b.mtime, b.ino)
}

/// What stands at a name; none if nothing does. The symlink itself, not what it points at.
pub(super) fn stat_at(dir: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Cause> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
        Ok(s) => stat_of(&s).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(cause(e)),
    }
}

/// A handle (`O_PATH`) on what stands at a name, a symlink itself.
pub(super) fn handle_at(dir: impl AsFd, name: &[u8]) -> Result<std::os::fd::OwnedFd, Cause> {
    openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(cause)
}

/// Opens the regular file at a name for reading, following nothing. What is found there instead: [`Cause::Raced`].
pub(super) fn read_at(dir: impl AsFd, name: &[u8]) -> Result<File, Cause> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty()).map_err(|e| match e {
        Errno::LOOP | Errno::NOENT | Errno::NXIO => Cause::Raced,
        e => cause(e),
    })?;
    match file_stat(&fd)?.kind {
        Kind::File => Ok(fd.into()),
        _ => Err(Cause::Raced),
    }
}

/// The text of the symlink at a name.
pub(super) fn link_at(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Cause> {
    let text = readlinkat(dir, name, Vec::with_capacity(256)).map_err(|e| match e {
        Errno::INVAL | Errno::NOENT => Cause::Raced,
        e => cause(e),
    })?;
    let text = text.into_bytes();
    if text.len() > limits::PATH { Err(cause(Errno::NAMETOOLONG)) } else { Ok(text) }
}

impl Root {
    /// What stands at a path; none if nothing does, nor can because a directory on the way is missing or is none.
    /// [`Cause::Special`], [`Cause::RootGone`] (absence is only ever told of a root that stands), or the errno; a mount
    /// in the folder is `EXDEV`.
    pub fn stat(&self, path: Path<'_>) -> Result<Option<Stat>, Cause> {
        self.stat_next(&mut Run::default(), path)
    }

    /// The same as one of a run.
    pub fn stat_next<'p>(&self, run: &mut Run<'p>, path: Path<'p>) -> Result<Option<Stat>, Cause> {
        let found = match self.find_place_in(run, path) {
            Ok(place) => self.stat_in(&place)?,
            Err(e) if is_no_parent(e) => None,
            Err(e) => return Err(cause(e)),
        };
        if found.is_none() {
            self.verify()?;
        }
        Ok(found)
    }

    /// The stat at a place, with the mode that a directory has when nothing is lent to it.
    pub(super) fn stat_in(&self, place: &Place<'_>) -> Result<Option<Stat>, Cause> {
        match statat(&place.dir, place.name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
            // Only directories: some file systems give files device numbers of their own.
            Ok(s) if FileType::from_raw_mode(s.st_mode).is_dir() && s.st_dev != self.dev() => {
                Err(cause(Errno::XDEV))
            }
            Ok(s) => {
                let mut stat = stat_of(&s)?;
                if stat.kind == Kind::Directory {
                    stat.mode = (self.grants.true_mode(s.st_ino, s.st_mode) & 0o777) as u16;
                }
                Ok(Some(stat))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(cause(e)),
        }
    }

    /// Opens the file at a path for reading, following no symlink. [`Cause::Raced`] if there is no regular file.
    pub fn open_read(&self, path: Path<'_>) -> Result<File, Cause> {
        let place = self.place(path)?;
        match self.stat_in(&place)? {
            // Looked at first: opening a device can have effects.
            Some(s) if s.kind == Kind::File => read_at(&place.dir, place.name),
            _ => Err(self.or_gone(Cause::Raced)),
        }
    }

    /// The text of the symlink at a path. [`Cause::Raced`] if there is none.
    pub fn read_link(&self, path: Path<'_>) -> Result<Vec<u8>, Cause> {
        let place = self.place(path)?;
        link_at(&place.dir, place.name)
    }

    /// Opens a directory for listing; none: the root.
    pub fn open_dir(&self, path: Option<Path<'_>>) -> Result<File, Cause> {
        let bytes = path.map_or(&b""[..], |p| p.bytes());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match super::beneath::open(self.dir().as_fd(), bytes, flags) {
            Ok(fd) => Ok(fd.into()),
            Err(e) if is_no_parent(e) => Err(self.or_gone(Cause::NoParent)),
            Err(e) => Err(cause(e)),
        }
    }

    /// Free bytes for this user on the root's file system.
    pub fn free(&self) -> Result<u64, Cause> {
        let s = rustix::fs::fstatvfs(self.dir()).map_err(cause)?;
        Ok(s.f_bavail.saturating_mul(s.f_frsize))
    }

    /// Bytes of the root's file system in all.
    pub(super) fn capacity(&self) -> Result<u64, Cause> {
        let s = rustix::fs::fstatvfs(self.dir()).map_err(cause)?;
        Ok(s.f_blocks.saturating_mul(s.f_frsize))
    }
}

/// The cause of a failed read of a file.
pub(super) fn read_cause(e: std::io::Error) -> Cause {
    io_cause(e)
}
