//! Resolving paths beneath a root, anew for each act, or for a few that follow each other at once.

use super::grant::Grant;
use super::root::Root;
use dartsync_core::mutant::{self, Mutant};
use dartsync_core::path::Path;
use dartsync_core::peer::Cause;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// How every path is resolved.
pub(super) const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Bytes that one call may resolve (PATH_MAX with its NUL is 4096).
const STEP: usize = 4000;

/// A handle on a directory (`O_PATH`), held for one act, or a [`Run`] of them.
pub(super) struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens what lies below `at`; `path` may be empty (`at` itself) and of any length.
pub(super) fn open(at: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    if path.len() > STEP {
        let cut = path[..STEP].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let next = open(at, &path[..cut], OFlags::PATH | OFlags::DIRECTORY)?;
        return open(next.as_fd(), &path[cut + 1..], flags);
    }
    let path = if path.is_empty() { b"." } else { path };
    loop {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let how = match mutant::on(Mutant::FollowsLinks) {
            true => RESOLVE.difference(ResolveFlags::NO_SYMLINKS),
            false => RESOLVE,
        };
        match openat2(at, path, flags, Mode::empty(), how) {
            // The kernel could not settle it because something was renamed meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// A handle on the directory at `path` below `at`.
pub(super) fn open_dir(at: impl AsFd, path: &[u8]) -> Result<Dir> {
    open(at.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY).map(Dir)
}

/// Whether the errno says that nothing can stand at a path because a directory on the way is none (any more).
pub(super) fn is_no_parent(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// The cause of an errno.
pub(super) fn cause(e: Errno) -> Cause {
    Cause::Os(e.raw_os_error())
}

/// The cause of an error of std.
pub(super) fn io_cause(e: std::io::Error) -> Cause {
    Cause::Os(e.raw_os_error().unwrap_or(Errno::IO.raw_os_error()))
}

/// The parent's part and the last name of a path below the root.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(i) => (&path[..i], &path[i + 1..]),
        None => (b"", path),
    }
}

/// A name in an open directory: what `*at` calls take.
#[derive(Clone)]
pub(super) struct Place<'p> {
    /// The directory.
    pub dir: Rc<Dir>,
    /// Its path below the root; empty: the root.
    pub parent: &'p [u8],
    /// The name in it.
    pub name: &'p [u8],
    /// Permissions lent on the way, given back when the act is over.
    _lent: Rc<[Grant]>,
}

/// Acts or stats that follow each other without a pause. What one of them opened serves the next, which needs the root
/// to stand, tmp, and often the same directory: whatever happens to these meanwhile could have happened right after.
#[derive(Default)]
pub struct Run<'p> {
    tmp: Option<Rc<Dir>>,
    last: Option<Place<'p>>,
}

impl Root {
    /// The place of a path. [`Cause::NoParent`] if its directory is missing or is none.
    pub(super) fn place<'p>(&self, path: Path<'p>) -> std::result::Result<Place<'p>, Cause> {
        self.find_place(path).map_err(|e| self.no_place(e))
    }

    fn no_place(&self, e: Errno) -> Cause {
        if is_no_parent(e) { self.or_gone(Cause::NoParent) } else { cause(e) }
    }

    /// The same with the errno.
    pub(super) fn find_place<'p>(&self, path: Path<'p>) -> Result<Place<'p>> {
        let (parent, name) = split(path.bytes());
        let (dir, lent) = match open_dir(self.dir(), parent) {
            Err(Errno::ACCESS) => self.walk_lending(parent)?,
            dir => (dir?, Vec::new()),
        };
        let lent = self.lend_search(&dir, lent)?;
        Ok(Place { dir: Rc::new(dir), parent, name, _lent: lent.into() })
    }

    /// The same in a run.
    pub(super) fn find_place_in<'p>(&self, run: &mut Run<'p>, path: Path<'p>) -> Result<Place<'p>> {
        let (parent, name) = split(path.bytes());
        if let Some(last) = run.last.as_ref().filter(|last| last.parent == parent) {
            return Ok(Place { name, ..last.clone() });
        }
        run.last = None;
        Ok(run.last.insert(self.find_place(path)?).clone())
    }

    /// [`Root::place`] in a run.
    pub(super) fn place_in<'p>(
        &self,
        run: &mut Run<'p>,
        path: Path<'p>,
    ) -> std::result::Result<Place<'p>, Cause> {
        self.find_place_in(run, path).map_err(|e| self.no_place(e))
    }

    /// Lends search permission to the directory itself if names in it cannot be looked up.
    fn lend_search(&self, dir: &Dir, mut lent: Vec<Grant>) -> Result<Vec<Grant>> {
        if fstat(dir)?.st_mode & 0o100 == 0
            && statat(dir, ".", AtFlags::SYMLINK_NOFOLLOW).is_err_and(|e| e == Errno::ACCESS)
        {
            lent.extend(self.lend(dir.as_fd())?);
        }
        Ok(lent)
    }

    /// Walks part by part, lending search permission to directories of ours that lack it.
    fn walk_lending(&self, path: &[u8]) -> Result<(Dir, Vec<Grant>)> {
        let mut lent = Vec::new();
        let mut at = open_dir(self.dir(), b"")?;
        for name in path.split(|b| *b == b'/') {
            at = match open_dir(&at, name) {
                Err(Errno::ACCESS) => {
                    lent.push(self.lend(at.as_fd())?.ok_or(Errno::ACCESS)?);
                    open_dir(&at, name)?
                }
                dir => dir?,
            };
        }
        Ok((at, lent))
    }

    /// `.dartsync/tmp`, made again if someone removed it.
    pub(super) fn tmp(&self) -> std::result::Result<Dir, Cause> {
        self.own(super::root::TMP)
    }

    /// The same in a run, for whose first act the root is known to stand.
    pub(super) fn tmp_in(&self, run: &mut Run<'_>) -> std::result::Result<Rc<Dir>, Cause> {
        if let Some(tmp) = &run.tmp {
            return Ok(tmp.clone());
        }
        self.verify()?;
        Ok(run.tmp.insert(Rc::new(self.tmp()?)).clone())
    }

    /// A directory of our own below the root.
    pub(super) fn own(&self, path: &'static [u8]) -> std::result::Result<Dir, Cause> {
        match open_dir(self.dir(), path) {
            Err(Errno::NOENT) => {
                self.verify()?;
                let (parent, name) = split(path);
                let parent = open_dir(self.dir(), parent).map_err(cause)?;
                match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => open_dir(&parent, name).map_err(cause),
                    Err(e) => Err(cause(e)),
                }
            }
            dir => dir.map_err(cause),
        }
    }

    /// The cause, unless the root itself is gone.
    pub(super) fn or_gone(&self, cause: Cause) -> Cause {
        self.verify().err().unwrap_or(cause)
    }
}
