//! Metadata in place.

use super::beneath::cause;
use super::grant::chmod;
use super::lease::{Held, check};
use super::probe::times;
use super::root::Root;
use super::stat::{file_stat, handle_at, stat_of, wall};
use super::{Act, act};
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Outcome, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, CWD, fstat, utimensat};
use std::os::fd::AsFd;

impl Root {
    /// `Effect::Meta`: mode bits, and a file's mtime, of what stands at `path` and has the stat `expect`. Bits beyond 0777
    /// stay on directories and are dropped from files. A symlink has none: nothing is done.
    pub fn meta(&self, path: Path<'_>, expect: &Stat, mode: u16, mtime: i64) -> Act {
        act(|_| {
            self.verify()?;
            let place = self.place(path)?;
            let found = self.stat_in(&place)?;
            check(&place.dir, place.name, expect, found)?;
            // A writer's next write would not show beside an mtime set at that moment.
            let held = Held::take(&place.dir, place.name, expect)?;
            let handle = handle_at(&place.dir, place.name)?;
            let raw = fstat(&handle).map_err(cause)?;
            if raw.st_ino != expect.ino && expect.kind != Kind::Directory {
                return Err(Cause::Raced);
            }
            if stat_of(&raw)?.kind != expect.kind {
                return Err(Cause::Raced);
            }
            if expect.kind != Kind::Symlink {
                let beyond = if expect.kind == Kind::Directory { raw.st_mode & 0o7000 } else { 0 };
                let want = beyond | (mode as u32 & 0o777);
                if raw.st_mode & 0o7777 != want {
                    chmod(handle.as_fd(), want).map_err(cause)?;
                }
            }
            if expect.kind == Kind::File && expect.mtime != mtime {
                let through = super::grant::proc_path(handle.as_fd());
                utimensat(CWD, through, &times(mtime), AtFlags::empty()).map_err(cause)?;
            }
            let at = wall();
            let mut stat = file_stat(&handle)?;
            if !held.is_sure() {
                // Someone may have written in between unseen: the next look must not take it for unchanged.
                stat = stat.of_writer();
            }
            drop(held);
            self.touch_file(path);
            Ok(Outcome::Swapped { stat, at, copy: None, odd: None })
        })
    }
}
