//! Who writes to a file that is to be displaced (R12).

use super::stat::{file_stat, is_same, is_same_data, read_at};
use super::wall;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsFd;

/// A file that nobody wrote to for so long is quiet (µs).
const QUIET: i64 = 200_000;

/// Whether a file has writers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Writers {
    /// None at that moment.
    None,
    /// At least one.
    Some,
    /// Leases are not to be had for it.
    Unknown,
}

/// Asks without holding anything up.
pub(super) fn writers(file: &File) -> Writers {
    let found = take(file);
    if found == Writers::None {
        // It was taken a moment ago; a failure could only mean that it is gone already.
        let _ = dartsync_hal::os::drop_lease(file.as_fd());
    }
    found
}

/// Whether a program has the file open for writing and wrote to it, or cut it, just before: what it holds is then a
/// save under way, not one made. Who keeps a file open for long is not waited for.
pub fn is_being_saved(file: &File, stat: &Stat) -> bool {
    let age = (wall() as i64).saturating_sub(stat.mtime / 1000);
    (-QUIET..QUIET).contains(&age) && writers(file) == Writers::Some
}

#[cfg(test)]
thread_local! {
    /// Makes a test's thread see no leases, as on files of others.
    pub(super) static BLIND: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn take(file: &File) -> Writers {
    #[cfg(test)]
    if BLIND.get() {
        return Writers::Unknown;
    }
    match dartsync_hal::os::take_read_lease(file.as_fd()) {
        Ok(()) => Writers::None,
        Err(Errno::EAGAIN) => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

/// Whether a program has the file open for writing, as far as that can be told. It may write through a map, which shows in
/// no time of the file while the pages that it writes to are not on the platter yet.
pub fn has_writer(file: &File) -> bool {
    writers(file) == Writers::Some
}

/// Whether nobody can write to the file unseen, as far as that can be told for sure: no program has it open for writing, and
/// it has no other name, whose events may not be told.
pub fn is_alone(file: &File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|s| s.st_nlink == 1) && writers(file) == Writers::None
}

/// Checks that what was found at a name is `expect`: [`Cause::Raced`] if it is not, or [`Cause::OpenWriter`] if it may be, but
/// for a writer that a look saw ([`Stat::of_writer`]).
pub(super) fn check(dir: impl AsFd, name: &[u8], expect: &Stat, found: Option<Stat>) -> Result<(), Cause> {
    match found {
        Some(found) if is_same(expect, &found) => Ok(()),
        Some(found) if expect.kind == Kind::File && is_same_data(expect, &found) => {
            Held::take(dir, name, expect)?;
            Err(Cause::Raced)
        }
        _ => Err(Cause::Raced),
    }
}

/// The file about to be displaced, checked, and protected from new writers until [`Held::release`].
pub(super) struct Held {
    file: Option<File>,
    leased: bool,
    sure: bool,
}

impl Held {
    /// Checks that `expect` stands at a name and takes a lease on it if it is a file. [`Cause::Raced`] if something else
    /// stands there, [`Cause::OpenWriter`] if it is being written to.
    pub(super) fn take(dir: impl AsFd, name: &[u8], expect: &Stat) -> Result<Held, Cause> {
        if expect.kind != Kind::File {
            return Ok(Held { file: None, leased: false, sure: true });
        }
        let file = match read_at(dir, name) {
            // Not ours to read: nothing can be known of its writers.
            Err(Cause::Os(e)) if e == Errno::EACCES as i32 || e == Errno::EPERM as i32 => {
                return Ok(Held { file: None, leased: false, sure: false });
            }
            file => file?,
        };
        let state = take(&file);
        let held = Held { leased: state == Writers::None, sure: state == Writers::None, file: Some(file) };
        if state == Writers::Some {
            return Err(Cause::OpenWriter);
        }
        // Read under the lease: nobody can have written since.
        let now = file_stat(held.file.as_ref().expect("it was just opened"))?;
        if is_same(expect, &now) { Ok(held) } else { Err(Cause::Raced) }
    }

    /// Lets writers go on; the file can still be asked for.
    pub(super) fn release(&mut self) {
        if let (true, Some(file)) = (self.leased, &self.file) {
            // Whatever it says, closing the file ends the lease.
            let _ = dartsync_hal::os::drop_lease(file.as_fd());
        }
        self.leased = false;
    }

    /// Whether no writer was there when the stat was compared.
    pub(super) fn is_sure(&self) -> bool {
        self.sure
    }

    /// The open file, to be watched.
    pub(super) fn into_file(mut self) -> Option<File> {
        self.release();
        self.file.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}
