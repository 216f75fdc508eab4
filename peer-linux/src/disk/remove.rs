//! Applying a removal (R15): to the trash, by way of the swap file, so that a crash finds it there.

use super::beneath::{Dir, Place, cause};
use super::hash::look_at;
use super::lease::{Held, check};
use super::part::swap_name;
use super::root::{Root, TMP};
use super::stat::{is_same_data, stat_at};
use super::watcher::Displaced;
use super::{Act, Trashed, act};
use dartsync_core::ids::ContentId;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Outcome, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;
use std::os::fd::AsFd;

impl Root {
    /// `Effect::Remove` of row `n` at `path`; `content` is what the local tree says of it: compared where it cannot be
    /// told who writes to it. A directory is removed if it is empty, whatever of ours was lent to its parent.
    pub fn remove(&self, path: Path<'_>, n: u64, expect: &Stat, content: Option<ContentId>) -> Act {
        act(|trashed| {
            self.verify()?;
            let (tmp, place) = (self.tmp()?, self.place(path)?);
            let found = self.stat_in(&place)?;
            check(&place.dir, place.name, expect, found)?;
            if expect.kind == Kind::Directory {
                return self.remove_dir(&place, path);
            }
            self.clear_swap(&tmp, n, path.bytes(), trashed)?;
            self.remove_file(&tmp, &place, path, n, (expect, content), trashed)
        })
    }

    fn remove_dir(&self, place: &Place<'_>, path: Path<'_>) -> Result<Outcome, Cause> {
        let gone =
            self.allowing(&[place.dir.as_fd()], || unlinkat(&place.dir, place.name, AtFlags::REMOVEDIR));
        match gone {
            Ok(()) => {
                self.untouch(path.bytes());
                self.touch(place.parent);
                Ok(Outcome::Removed)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Cause::NotEmpty),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(self.or_gone(Cause::Raced)),
            Err(e) => Err(cause(e)),
        }
    }

    fn remove_file(
        &self,
        tmp: &Dir,
        place: &Place<'_>,
        path: Path<'_>,
        n: u64,
        (expect, content): (&Stat, Option<ContentId>),
        trashed: &mut Vec<Trashed>,
    ) -> Result<Outcome, Cause> {
        let name = swap_name(n);
        let mut held = Held::take(&place.dir, place.name, expect)?;
        self.allowing(&[place.dir.as_fd()], || {
            renameat_with(&place.dir, place.name, tmp, name.as_str(), RenameFlags::NOREPLACE)
        })
        .map_err(|e| if e == Errno::NOENT { self.or_gone(Cause::Raced) } else { cause(e) })?;
        self.touch(place.parent);
        self.touch(TMP);
        let found = stat_at(tmp, name.as_bytes());
        held.release();
        let same = matches!(&found, Ok(Some(f)) if is_same_data(expect, f));
        let sure = same && (held.is_sure() || self.is_content(tmp, &name, content));
        if !sure {
            // Not what was to be removed: a user's last edit. It goes back.
            self.put_back(tmp, &name, self, path, n)?;
            return Err(Cause::Raced);
        }
        let certain = held.is_sure();
        let mut item = match self.to_trash(tmp, name.as_bytes(), path.bytes(), n) {
            Ok(item) => item,
            Err(e) => {
                self.put_back(tmp, &name, self, path, n)?;
                return Err(e);
            }
        };
        item.content = content;
        if let Some(file) = held.into_file() {
            self.watch_displaced(Displaced {
                file,
                at: item.at.clone(),
                path: path.bytes().to_vec(),
                n,
                content,
                was: *expect,
                sure: certain,
            });
        }
        trashed.push(item);
        Ok(Outcome::Removed)
    }

    /// Whether the swap file has that content; true if it is not known, or it cannot be read.
    fn is_content(&self, tmp: &Dir, name: &str, content: Option<ContentId>) -> bool {
        let Some(content) = content else { return true };
        match look_at(tmp, name.as_bytes()) {
            Ok(found) => found.is_some_and(|(_, c)| c == content),
            Err(c) => c != Cause::Changing && c != Cause::Raced,
        }
    }
}
