//! One program at a time works on a root: two that give the same names in `.dartsync/tmp` to their own files would mix
//! the bytes of both.
//!
//! The kernel ends a claim with the process that has it, so that none outlives a crash. Within a process it is shared:
//! a folder's root may be opened anew while an act still holds the former [`super::Root`], and a program works on one
//! store.

use super::beneath::{Dir, cause, open};
use super::root::{DiskError, lock};
use rustix::fs::{FlockOperation, OFlags, flock, fstat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

/// Device and inode of each claimed `.dartsync`: how many claims there are, and the handle that bears the lock.
static CLAIMS: Mutex<BTreeMap<(u64, u64), (usize, OwnedFd)>> = Mutex::new(BTreeMap::new());

/// Held while this process works on a root.
#[derive(Debug)]
pub(super) struct Claim {
    key: (u64, u64),
}

impl Claim {
    /// Claims the root that `root` is open on, by a lock on its `.dartsync`: unlike a file in it, that is the very
    /// directory all acts go through. [`DiskError::InUse`] if another process has it.
    pub(super) fn take(root: &Dir) -> Result<Claim, DiskError> {
        let own = open(root.as_fd(), b".dartsync", OFlags::RDONLY | OFlags::DIRECTORY).map_err(cause)?;
        let stat = fstat(&own).map_err(cause)?;
        let key = (stat.st_dev, stat.st_ino);
        let mut claims = lock(&CLAIMS);
        if let Some((count, _)) = claims.get_mut(&key) {
            *count += 1;
            return Ok(Claim { key });
        }
        match flock(&own, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DiskError::InUse),
            Err(e) => return Err(cause(e).into()),
        }
        claims.insert(key, (1, own));
        Ok(Claim { key })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The handle is closed before anyone else looks: who takes a claim next finds no lock of ours.
        let mut claims = lock(&CLAIMS);
        if let Some((count, _)) = claims.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                claims.remove(&self.key);
            }
        }
    }
}
