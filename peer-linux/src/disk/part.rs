//! Part files: content on its way in, `.dartsync/tmp/<n>.part`; and a user's file taken as such, `<n>.take`.

use super::Trashed;
use super::beneath::{Dir, cause, io_cause};
use super::copy::copy_bytes;
use super::lease::Held;
use super::root::{Root, lock};
use super::stat::{handle_at, is_same_data, link_at, read_at, stat_at, stat_of};
use dartsync_core::ids::ContentId;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;

/// What is known of the files in tmp that this process made.
#[derive(Default)]
pub(super) struct Tmp {
    /// Swap files whose content is vouched for: prepared here from a verified part (`None`), or hashed after a crash.
    pub ready: HashMap<u64, Option<ContentId>>,
    /// Files taken: the stat after they were, and the path they had, if it was in this root.
    pub taken: HashMap<u64, (Stat, Option<Vec<u8>>)>,
    /// Swap files that were made of a taken file: a user's, never to be a part file.
    pub took: HashSet<u64>,
    /// Rows whose part file was empty when this process opened it: all of it was written since.
    pub fresh: HashSet<u64>,
}

impl Tmp {
    /// Nothing vouches for a swap file of row `n` any more.
    pub fn unready(&mut self, n: u64) {
        self.ready.remove(&n);
        self.took.remove(&n);
    }
    /// Nothing of row `n` is there any more.
    pub fn forget(&mut self, n: u64) {
        self.unready(n);
        self.taken.remove(&n);
        self.fresh.remove(&n);
    }
}

pub(super) fn part_name(n: u64) -> String {
    format!("{n}.part")
}
pub(super) fn take_name(n: u64) -> String {
    format!("{n}.take")
}
pub(super) fn swap_name(n: u64) -> String {
    format!("{n}.swap")
}

impl Root {
    /// Opens the part file of row `n`, made if it is not there, for positioned reads and writes; it is `size` bytes
    /// long, and what was never written is a hole. `ENOSPC` at once if the rest cannot fit.
    pub fn part_open(&self, n: u64, size: u64) -> Result<File, Cause> {
        let tmp = self.tmp()?;
        self.drop_take(&tmp, n)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = openat(&tmp, part_name(n), flags, Mode::RUSR | Mode::WUSR).map_err(cause)?.into();
        let s = rustix::fs::fstat(&file).map_err(cause)?;
        if stat_of(&s)?.kind != Kind::File {
            return Err(Cause::Special);
        }
        if size.saturating_sub(s.st_blocks as u64 * 512) > self.free()? {
            return Err(cause(Errno::NOSPC));
        }
        if s.st_size == 0 {
            lock(&self.tmp_state).fresh.insert(n);
        }
        if s.st_size as u64 != size {
            file.set_len(size).map_err(io_cause)?;
        }
        Ok(file)
    }

    /// Makes sure that row `n` has a part file, be it empty.
    pub(super) fn part_touch(&self, tmp: &Dir, n: u64) -> Result<(), Cause> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(tmp, part_name(n), flags, Mode::RUSR | Mode::WUSR).map(drop).map_err(cause)
    }

    /// The part (or taken) file of row `n` as it is, for reading; none if there is none.
    pub fn part_read(&self, n: u64) -> Result<Option<File>, Cause> {
        let tmp = self.tmp()?;
        for name in [take_name(n), part_name(n)] {
            match read_at(&tmp, name.as_bytes()) {
                Err(Cause::Raced) => {}
                file => return file.map(Some),
            }
        }
        Ok(None)
    }

    /// Where the part file of row `n` is, for messages alone.
    pub fn part_path(&self, n: u64) -> std::path::PathBuf {
        self.path().join(".dartsync/tmp").join(part_name(n))
    }

    /// Makes the part file hold a symlink's text.
    pub fn part_write(&self, n: u64, bytes: &[u8]) -> Result<(), Cause> {
        let mut file = self.part_open(n, bytes.len() as u64)?;
        file.write_all(bytes).map_err(io_cause)
    }

    /// Deletes the part file of row `n`: what it held is wanted no more.
    pub fn part_drop(&self, n: u64) -> Result<(), Cause> {
        let tmp = self.tmp()?;
        self.drop_take(&tmp, n)?;
        lock(&self.tmp_state).fresh.remove(&n);
        remove_part(&tmp, &part_name(n))
    }

    /// Copies `source` (shared blocks where the file system can) into the part file of row `n`, from its start to its
    /// end, holes kept. The copy is to be verified: the source may have changed meanwhile.
    pub fn make_copy(&self, n: u64, source: &File) -> Result<File, Cause> {
        let size = source.metadata().map_err(io_cause)?.len();
        let part = self.part_open(n, 0)?;
        copy_bytes(source, &part, size)?;
        Ok(part)
    }

    /// Takes the file at `from` in `source` (this root, or another on the same file system: else `EXDEV`) as the part
    /// file of row `n`, by moving it; its stat must be `expect` before and, but for ctime, after. A symlink, or a file
    /// that has other names, is copied instead and stays: its own removal follows. What is returned is for reading.
    pub fn make_take(&self, n: u64, source: &Root, from: Path<'_>, expect: &Stat) -> Result<File, Cause> {
        self.verify()?;
        source.verify()?;
        let tmp = self.tmp()?;
        self.drop_take(&tmp, n)?;
        let place = source.place(from)?;
        if expect.kind == Kind::Symlink {
            let text = link_at(&place.dir, place.name)?;
            if stat_at(&place.dir, place.name)? != Some(*expect) {
                return Err(Cause::Raced);
            }
            self.part_write(n, &text)?;
            return self.part_read(n)?.ok_or(Cause::Raced);
        }
        let mut held = Held::take(&place.dir, place.name, expect)?;
        let handle = handle_at(&place.dir, place.name)?;
        let raw = rustix::fs::fstat(&handle).map_err(cause)?;
        if raw.st_ino != expect.ino {
            return Err(Cause::Raced);
        }
        if raw.st_nlink > 1 || !held.is_sure() {
            held.release();
            return self.make_copy(n, &read_at(&place.dir, place.name)?);
        }
        let name = take_name(n);
        source
            .allowing(&[rustix::fd::AsFd::as_fd(&place.dir)], || {
                renameat_with(&place.dir, place.name, &tmp, name.as_str(), RenameFlags::NOREPLACE)
            })
            .map_err(|e| if e == Errno::NOENT { Cause::Raced } else { cause(e) })?;
        held.release();
        source.touch(place.parent);
        self.touch(super::root::TMP);
        let now = stat_at(&tmp, name.as_bytes())?;
        let Some(now) = now.filter(|s| is_same_data(s, expect) && s.mode == expect.mode) else {
            self.put_back(&tmp, &name, source, from, n)?;
            return Err(Cause::Raced);
        };
        lock(&self.tmp_state)
            .taken
            .insert(n, (now, source.is_same_root(self).then(|| from.bytes().to_vec())));
        remove_part(&tmp, &part_name(n))?;
        read_at(&tmp, name.as_bytes())
    }

    /// Whether [`Root::make_take`] moved the file for row `n`, rather than copy it.
    pub fn has_taken(&self, n: u64) -> bool {
        lock(&self.tmp_state).taken.contains_key(&n)
    }

    /// Gives what was moved to tmp its path back; to the trash if something stands there again.
    pub(super) fn put_back(
        &self,
        tmp: &Dir,
        name: &str,
        source: &Root,
        path: Path<'_>,
        n: u64,
    ) -> Result<(), Cause> {
        let back = source.place(path).and_then(|p| {
            source.touch(p.parent);
            source
                .allowing(&[rustix::fd::AsFd::as_fd(&p.dir)], || {
                    renameat_with(tmp, name, &p.dir, p.name, RenameFlags::NOREPLACE)
                })
                .map_err(cause)
        });
        if back.is_err() {
            let trashed = self.to_trash(tmp, name.as_bytes(), path.bytes(), n)?;
            lock(&self.strays).push(trashed);
        }
        Ok(())
    }

    /// Moves a taken file of row `n`, if there is one, to the trash: it is a user's.
    pub(super) fn drop_take(&self, tmp: &Dir, n: u64) -> Result<(), Cause> {
        let trashed = self.trash_take(tmp, n)?;
        lock(&self.strays).extend(trashed);
        Ok(())
    }

    /// The same, told at once.
    pub(super) fn trash_take(&self, tmp: &Dir, n: u64) -> Result<Option<Trashed>, Cause> {
        let name = take_name(n);
        if stat_at(tmp, name.as_bytes())?.is_none() {
            return Ok(None);
        }
        let from = lock(&self.tmp_state).taken.remove(&n).and_then(|(_, from)| from);
        let path = from.unwrap_or_else(|| format!("taken-{n}").into_bytes());
        self.to_trash(tmp, name.as_bytes(), &path, n).map(Some)
    }
}

/// Deletes a part file, or an own half-made copy, if it is there.
pub(super) fn remove_part(tmp: &Dir, name: &str) -> Result<(), Cause> {
    match unlinkat(tmp, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(cause(e)),
    }
}
