//! Whether a root stands in a directory that is to be linked: that of another state, which this program knows nothing of.
//! Two states that had the same files would each take what the other writes for a user's edits.

use super::beneath::{open, open_dir};
use super::marker;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, statat};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The first linked directory found below `root`, which `dir` is open on. Mounts and symlinks are not followed, for no
/// folder does; what cannot be read is passed over, as by a scan.
pub(super) fn root_within(root: &Path, dir: impl AsFd) -> Option<PathBuf> {
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut paths: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = paths.pop() {
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
