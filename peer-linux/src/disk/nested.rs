//! Whether a root stands in a directory that is to be linked: that of another state, which this program knows nothing of.
//! Two states that had the same files would each take what the other writes for a user's edits.

use super::beneath::{open, open_dir};
use super::root::open_root;
use super::{DiskError, marker};
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, statat};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// [`DiskError::Holds`] if a linked directory stands in that one. Goes through all its directories, which may take minutes;
/// not further once `stopping` is set.
pub fn check_within(root: &Path, stopping: &AtomicBool) -> Result<(), DiskError> {
    let (path, dir, _) = open_root(root)?;
    root_within(&path, &dir, stopping).map_or(Ok(()), |inner| Err(DiskError::Holds(inner)))
}

/// The first linked directory found below `root`, which `dir` is open on. Mounts and symlinks are not followed, for no
/// folder does; what cannot be read is passed over, as by a scan.
fn root_within(root: &Path, dir: impl AsFd, stopping: &AtomicBool) -> Option<PathBuf> {
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut paths: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = paths.pop().filter(|_| !stopping.load(Ordering::Relaxed)) {
        let Ok(fd) = open(dir.as_fd(), &path, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
        let mut entries = RawDir::new(&fd, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name().to_bytes();
            let may_be_dir = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if !may_be_dir || matches!(name, b"." | b"..") {
                continue;
            }
            if name != b".dartsync" {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                paths.push([&path[..], slash, name].concat());
            } else if !path.is_empty()
                && let Ok(own) = open_dir(&fd, name)
                && statat(&own, marker::NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            {
                return Some(root.join(OsStr::from_bytes(&path)));
            }
        }
    }
    None
}
