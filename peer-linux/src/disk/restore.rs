//! Out of the trash again: a new edit of its path, put there like any install.

use super::Trashed;
use super::beneath::{Dir, Place, cause, is_no_parent, open_dir, split};
use super::lease::Held;
use super::root::{Root, TMP, TRASH, lock};
use super::stat::{is_same_data, stat_at, wall};
use super::watcher::Displaced;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, Mode, RenameFlags, mkdirat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// What a restore did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The path the item has again; it lies in the trash no more.
    pub path: Vec<u8>,
    /// What it displaced.
    pub trashed: Option<Trashed>,
}

impl Root {
    /// Gives an item of the trash its path back, with the directories it needs, durably. What stands at the path goes to
    /// the trash; [`Cause::OpenWriter`] while that is being written to, [`Cause::NotEmpty`] if it is a directory that holds
    /// something, [`Cause::NoParent`] if something else stands where a directory is needed.
    pub fn trash_restore(&self, at: &[u8]) -> Result<Restored, Cause> {
        self.verify()?;
        let bytes = self.trash_path(at)?;
        let path = Path::new(&bytes).map_err(|_| cause(Errno::INVAL))?;
        let (dir, name) = self.trash_place(at)?;
        let item = stat_at(&dir, name)?.ok_or(cause(Errno::NOENT))?;
        if item.kind == Kind::Directory {
            return Err(cause(Errno::ISDIR));
        }
        self.make_parents(path)?;
        let place = self.place(path)?;
        let found = self.stat_in(&place)?;
        if found.is_some_and(|f| f.kind == Kind::Directory) && !self.is_empty_dir(&place)? {
            return Err(Cause::NotEmpty);
        }
        let held = found.as_ref().map(|f| Held::take(&place.dir, place.name, f)).transpose()?;
        let tmp = self.tmp()?;
        // Found after a crash as a swap file of no row: to the trash.
        let aside = format!("restore-{}.swap", wall());
        renameat_with(&dir, name, &tmp, aside.as_str(), RenameFlags::NOREPLACE).map_err(cause)?;
        if let Err(e) = self.put_at(&tmp, &aside, &place, found.is_some()) {
            // Where it lay nobody can have taken the name but another restore: then it stays in tmp, and is kept.
            let _ = renameat_with(&tmp, aside.as_str(), &dir, name, RenameFlags::NOREPLACE);
            return Err(e);
        }
        lock(&self.watch).forget(at);
        self.touch(place.parent);
        self.touch(TMP);
        self.touch(&[TRASH, b"/", split(at).0].concat());
        let trashed = match (found, held) {
            (Some(found), Some(held)) => self.trash_old(&tmp, &aside, path, (found, held))?,
            _ => None,
        };
        self.sync_dirs()?;
        Ok(Restored { path: bytes, trashed })
    }

    /// Gives an item of the trash another path, durably; `EEXIST` if something stands there. For what was written to after
    /// it was displaced: its writer goes on in the file that everyone sees.
    pub fn trash_move(&self, at: &[u8], to: Path<'_>) -> Result<(), Cause> {
        self.verify()?;
        let (dir, name) = self.trash_place(at)?;
        self.make_parents(to)?;
        let place = self.place(to)?;
        self.allowing(&[place.dir.as_fd()], || {
            renameat_with(&dir, name, &place.dir, place.name, RenameFlags::NOREPLACE)
        })
        .map_err(cause)?;
        lock(&self.watch).forget(at);
        self.touch(place.parent);
        self.touch(&[TRASH, b"/", split(at).0].concat());
        self.sync_dirs()
    }

    fn put_at(&self, tmp: &Dir, aside: &str, place: &Place<'_>, over: bool) -> Result<(), Cause> {
        let flags = if over { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        self.allowing(&[place.dir.as_fd()], || renameat_with(tmp, aside, &place.dir, place.name, flags))
            .map_err(|e| match e {
                Errno::EXIST | Errno::NOENT => self.or_gone(Cause::Raced),
                e => cause(e),
            })
    }

    fn trash_old(
        &self,
        tmp: &Dir,
        aside: &str,
        path: Path<'_>,
        (found, mut held): (Stat, Held),
    ) -> Result<Option<Trashed>, Cause> {
        let now = stat_at(tmp, aside.as_bytes());
        held.release();
        if found.kind == Kind::Directory && unlinkat(tmp, aside, AtFlags::REMOVEDIR).is_ok() {
            return Ok(None);
        }
        let item = self.to_trash(tmp, aside.as_bytes(), path.bytes(), 0)?;
        let same = matches!(now, Ok(Some(now)) if is_same_data(&found, &now));
        if let Some(file) = held.into_file().filter(|_| same) {
            let (at, path) = (item.at.clone(), path.bytes().to_vec());
            self.watch_displaced(Displaced { file, at, path, n: 0, content: None, was: found, sure: true });
        }
        Ok(Some(item))
    }

    /// Makes the directories above a path that are missing.
    fn make_parents(&self, path: Path<'_>) -> Result<(), Cause> {
        let (parent, _) = split(path.bytes());
        match open_dir(self.dir(), parent) {
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => self.verify()?,
            Err(Errno::ACCESS) => return Ok(()),
            Err(e) if is_no_parent(e) => return Err(Cause::NoParent),
            Err(e) => return Err(cause(e)),
        }
        let mut at = open_dir(self.dir(), b"").map_err(cause)?;
        let mut above = Vec::new();
        for name in parent.split(|b| *b == b'/') {
            let made =
                self.allowing(&[at.as_fd()], || mkdirat(&at, name, Mode::RWXU | Mode::RWXG | Mode::RWXO));
            match made {
                Ok(()) => self.touch(&above),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(cause(e)),
            }
            if !above.is_empty() {
                above.push(b'/');
            }
            above.extend_from_slice(name);
            at = open_dir(&at, name).map_err(|e| if is_no_parent(e) { Cause::NoParent } else { cause(e) })?;
        }
        Ok(())
    }
}
