//! Giving what a swap displaced unexpectedly a path of its own.

use super::beneath::cause;
use super::hash::look_at;
use super::part::swap_name;
use super::root::{Root, TMP, lock};
use super::stat::{stat_at, wall};
use super::{Act, act};
use dartsync_core::path::Path;
use dartsync_core::peer::Outcome;
use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;
use std::os::fd::AsFd;

impl Root {
    /// `Effect::Keep`: what lies in the swap file of row `of` gets `path`. If the very same content stands there, that is
    /// the copy, and the swap file goes to the trash. `ENOENT` if there is no swap file, `EEXIST` if something else stands
    /// at the path.
    pub fn keep(&self, path: Path<'_>, of: u64) -> Act {
        act(|trashed| {
            self.verify()?;
            let (tmp, place, name) = (self.tmp()?, self.place(path)?, swap_name(of));
            let here = stat_at(&tmp, name.as_bytes())?.ok_or(cause(Errno::NOENT))?;
            let moved = self.allowing(&[place.dir.as_fd()], || {
                renameat_with(&tmp, name.as_str(), &place.dir, place.name, RenameFlags::NOREPLACE)
            });
            match moved {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    let ours = look_at(&tmp, name.as_bytes())?.map(|(s, c)| (s.kind, c));
                    let there = look_at(&place.dir, place.name)?.map(|(s, c)| (s.kind, c));
                    if ours != there {
                        return Err(cause(Errno::EXIST));
                    }
                    trashed.push(self.to_trash(&tmp, name.as_bytes(), path.bytes(), of)?);
                }
                Err(e) => return Err(cause(e)),
            }
            self.touch(place.parent);
            self.touch(TMP);
            lock(&self.tmp_state).ready.remove(&of);
            let at = wall();
            let stat = self.stat_in(&place)?.unwrap_or(here);
            Ok(Outcome::Swapped { stat, at, copy: None, odd: None })
        })
    }
}
