//! What a root's file system can do, tried out in `.dartsync/tmp`.

use super::beneath::{Dir, cause, open_dir};
use super::lease::{Writers, writers};
use super::root::DiskError;
use dartsync_core::peer::Cause;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, futimens, linkat,
    openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The steps in which mtimes are kept, ns.
    pub mtime_grain: u64,
    /// Whether permission bits are kept as set.
    pub modes: bool,
    /// Whether a file can have a second name.
    pub hard_links: bool,
    /// Whether it can be told who writes to a file (R12).
    pub leases: bool,
    /// Whether names that differ in case alone are one name.
    pub folds_case: bool,
}

const A: &str = "probe-a";
const B: &str = "Probe-B";

/// Whether the kernel resolves paths as this module needs it.
pub(super) fn check_resolving(root: &Dir) -> Result<(), DiskError> {
    match open_dir(root, b"") {
        Ok(_) => Ok(()),
        Err(Errno::NOSYS | Errno::INVAL) => Err(DiskError::Unsupported("openat2 (Linux 5.6)")),
        Err(e) => Err(DiskError::Failed(cause(e))),
    }
}

/// Tries everything. An error if installs cannot be safe there.
pub(super) fn probe(tmp: &Dir) -> Result<Probe, DiskError> {
    let result = try_out(tmp);
    for name in [A, B] {
        // Not there: nothing to clean up.
        let _ = unlinkat(tmp, name, AtFlags::empty());
    }
    result
}

fn try_out(tmp: &Dir) -> Result<Probe, DiskError> {
    let a = make(tmp, A)?;
    let folds_case = statat(tmp, "PROBE-A", AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let hard_links = {
        // From a crash in the middle of a probe.
        let _ = unlinkat(tmp, B, AtFlags::empty());
        let made = linkat(tmp, A, tmp, B, AtFlags::empty()).is_ok();
        if made {
            unlinkat(tmp, B, AtFlags::empty()).map_err(cause)?;
        }
        made
    };
    make(tmp, B)?;
    renameat_with(tmp, A, tmp, B, RenameFlags::EXCHANGE)
        .map_err(|e| unsupported(e, "exchanging two names (RENAME_EXCHANGE)"))?;
    match renameat_with(tmp, A, tmp, B, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => {}
        Err(e) => return Err(unsupported(e, "renaming without replacing (RENAME_NOREPLACE)")),
        Ok(()) => return Err(DiskError::Unsupported("renaming without replacing (RENAME_NOREPLACE)")),
    }
    let modes = fchmod(&a, Mode::from_raw_mode(0o741)).is_ok()
        && fstat(&a).map_err(cause)?.st_mode & 0o7777 == 0o741
        && fchmod(&a, Mode::from_raw_mode(0o600)).is_ok();
    let mtime_grain = grain(&a)?;
    drop(a);
    let read = super::stat::read_at(tmp, B.as_bytes())?;
    Ok(Probe { mtime_grain, modes, hard_links, leases: writers(&read) == Writers::None, folds_case })
}

fn make(tmp: &Dir, name: &str) -> Result<File, Cause> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(tmp, name, flags, Mode::RUSR | Mode::WUSR).map(File::from).map_err(cause)
}

fn unsupported(e: Errno, what: &'static str) -> DiskError {
    match e {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => DiskError::Unsupported(what),
        e => DiskError::Failed(cause(e)),
    }
}

/// The step in which mtimes are kept: what is left of an odd number of seconds and nanoseconds.
fn grain(file: &File) -> Result<u64, Cause> {
    const SECS: i64 = 1_700_000_001;
    const NANOS: i64 = 123_456_789;
    set_mtime(file, SECS * 1_000_000_000 + NANOS).map_err(cause)?;
    let s = fstat(file).map_err(cause)?;
    let steps = [1, 100, 1_000, 1_000_000, 10_000_000];
    if s.st_mtime != SECS {
        return Ok(2_000_000_000);
    }
    let kept = s.st_mtime_nsec as i64;
    Ok(steps.into_iter().find(|step| NANOS - NANOS % *step as i64 == kept).unwrap_or(1_000_000_000))
}

/// Sets an open file's mtime, ns; its atime stays.
pub(super) fn set_mtime(file: impl std::os::fd::AsFd, mtime: i64) -> rustix::io::Result<()> {
    futimens(file, &times(mtime))
}

/// The times of a call that sets the mtime alone.
pub(super) fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime.div_euclid(1_000_000_000),
            tv_nsec: mtime.rem_euclid(1_000_000_000) as _,
        },
    }
}
