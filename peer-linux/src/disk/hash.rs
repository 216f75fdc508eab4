//! The content of what lies at a name.

use super::beneath::cause;
use super::stat::{file_stat, is_same, link_at, read_at, read_cause, stat_at};
use crate::content::{HashError, hash_file, hash_symlink};
use dartsync_core::ids::ContentId;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;

/// The content of an open file.
pub(super) fn content_of(file: &File) -> Result<ContentId, Cause> {
    match hash_file(file, &mut Vec::new(), &AtomicBool::new(false)) {
        Ok(hashed) => Ok(hashed.content),
        Err(HashError::Io(e)) => Err(read_cause(e)),
        Err(HashError::TooLarge) => Err(cause(Errno::FBIG)),
        Err(HashError::Changed | HashError::Cancelled) => Err(Cause::Changing),
    }
}

/// Stat and content of what lies at a name, with the same stat before and after; none if nothing does.
/// [`Cause::Changing`] if it would not keep still.
pub(super) fn look_at(dir: impl AsFd, name: &[u8]) -> Result<Option<(Stat, ContentId)>, Cause> {
    let dir = dir.as_fd();
    let Some(stat) = stat_at(dir, name)? else { return Ok(None) };
    let content = match stat.kind {
        Kind::File => {
            let file = read_at(dir, name)?;
            let content = content_of(&file)?;
            if !is_same(&stat, &file_stat(&file)?) {
                return Err(Cause::Changing);
            }
            content
        }
        Kind::Symlink => hash_symlink(&link_at(dir, name)?).content,
        Kind::Directory | Kind::Removed => ContentId::NONE,
    };
    Ok(Some((stat, content)))
}

/// Whether that kind and content lies at a name.
pub(super) fn holds(dir: impl AsFd, name: &[u8], what: (Kind, ContentId)) -> Result<bool, Cause> {
    let found = look_at(dir, name)?;
    Ok(found.is_some_and(|(stat, content)| (stat.kind, content) == what))
}
