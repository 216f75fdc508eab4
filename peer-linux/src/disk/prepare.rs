//! From a part file to a swap file: what the path will hold, whole, with its metadata, durable.

use super::beneath::{Dir, cause};
use super::grant::chmod;
use super::lease::{Writers, writers};
use super::part::{part_name, remove_part, swap_name, take_name};
use super::probe::{set_mtime, times};
use super::root::{Root, TMP, lock};
use super::stat::{file_stat, is_same_data, read_at, stat_at};
use super::sync::fsync;
use super::{Act, Trashed, act};
use dartsync_core::limits;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Outcome};
use dartsync_core::record::Kind;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, mkdirat, openat, renameat_with, symlinkat, utimensat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

impl Root {
    /// `Effect::Prepare` of row `n`, which belongs at `path`. A swap file that is there is moved to the trash, unless
    /// this process made it and there is no newer part (a swap that was postponed). Without part file: `ENOENT`.
    pub fn prepare(&self, path: Path<'_>, n: u64, kind: Kind, mode: u16, mtime: i64) -> Act {
        act(|trashed| {
            self.verify()?;
            let tmp = self.tmp()?;
            if self.is_prepared(&tmp, n, kind)? {
                if kind == Kind::File {
                    let name = swap_name(n);
                    let file = read_at(&tmp, name.as_bytes())?;
                    self.finish(&tmp, (&file, &name), n, path.bytes(), (mode, mtime), trashed)?;
                }
                return Ok(Outcome::Done);
            }
            self.clear_swap(&tmp, n, path.bytes(), trashed)?;
            match kind {
                Kind::File => self.prepare_file(&tmp, n, path.bytes(), (mode, mtime), trashed)?,
                Kind::Symlink => self.prepare_symlink(&tmp, n, mtime)?,
                Kind::Directory => prepare_dir(&tmp, n, mode)?,
                Kind::Removed => return Err(cause(Errno::INVAL)),
            }
            lock(&self.tmp_state).ready.insert(n, None);
            self.touch(TMP);
            Ok(Outcome::Done)
        })
    }

    fn is_prepared(&self, tmp: &Dir, n: u64, kind: Kind) -> Result<bool, Cause> {
        let known = lock(&self.tmp_state).ready.get(&n) == Some(&None);
        let has = |name: String| stat_at(tmp, name.as_bytes());
        Ok(known
            && kind != Kind::Directory
            && has(swap_name(n))?.is_some_and(|s| s.kind == kind)
            && has(part_name(n))?.is_none()
            && has(take_name(n))?.is_none())
    }

    /// Moves the swap file of row `n`, if there is one, to the trash; an empty directory is removed.
    pub(super) fn clear_swap(
        &self,
        tmp: &Dir,
        n: u64,
        path: &[u8],
        trashed: &mut Vec<Trashed>,
    ) -> Result<(), Cause> {
        let name = swap_name(n);
        {
            let mut tmp = lock(&self.tmp_state);
            tmp.ready.remove(&n);
            tmp.took.remove(&n);
        }
        let Some(stat) = stat_at(tmp, name.as_bytes())? else { return Ok(()) };
        if stat.kind == Kind::Directory
            && rustix::fs::unlinkat(tmp, name.as_str(), AtFlags::REMOVEDIR).is_ok()
        {
            return Ok(());
        }
        trashed.push(self.to_trash(tmp, name.as_bytes(), path, n)?);
        Ok(())
    }

    fn prepare_file(
        &self,
        tmp: &Dir,
        n: u64,
        path: &[u8],
        meta: (u16, i64),
        trashed: &mut Vec<Trashed>,
    ) -> Result<(), Cause> {
        let (take, part) = (take_name(n), part_name(n));
        let name = if stat_at(tmp, take.as_bytes())?.is_some() { take } else { part };
        let file = read_at(tmp, name.as_bytes()).map_err(|c| match c {
            Cause::Raced => cause(Errno::NOENT),
            c => c,
        })?;
        let taken = lock(&self.tmp_state).taken.get(&n).cloned();
        if let Some((stat, from)) = taken.filter(|_| name.ends_with(".take")) {
            if writers(&file) == Writers::Some {
                return Err(Cause::OpenWriter);
            }
            if !is_same_data(&stat, &file_stat(&file)?) {
                lock(&self.tmp_state).taken.remove(&n);
                match from.as_deref().map(Path::new) {
                    Some(Ok(from)) => self.put_back(tmp, &name, self, from, n)?,
                    // From another root: to the trash, and told.
                    _ => self.drop_take(tmp, n)?,
                }
                return Err(Cause::Raced);
            }
        }
        self.finish(tmp, (&file, &name), n, path, meta, trashed)?;
        renameat_with(tmp, name.as_str(), tmp, swap_name(n), RenameFlags::NOREPLACE).map_err(cause)?;
        let mut state = lock(&self.tmp_state);
        state.taken.remove(&n);
        if name.ends_with(".take") {
            state.took.insert(n);
        }
        Ok(())
    }

    /// Gives a file its metadata and makes all of it durable. One that the disk did not take is given up.
    fn finish(
        &self,
        tmp: &Dir,
        (file, name): (&File, &str),
        n: u64,
        path: &[u8],
        (mode, mtime): (u16, i64),
        trashed: &mut Vec<Trashed>,
    ) -> Result<(), Cause> {
        fchmod(file, Mode::from_raw_mode(mode as u32 & 0o777)).map_err(cause)?;
        set_mtime(file, mtime).map_err(cause)?;
        // Not fdatasync: mode and mtime would not be durable with it.
        let Err(e) = fsync(file) else { return Ok(()) };
        self.give_up(tmp, (file, name), n, path, trashed)?;
        Err(e)
    }

    /// A part that is not on the platter: what can be read of it proves nothing, for that is in the page cache. It is emptied,
    /// so that all of it is fetched anew; what is a user's file goes to the trash, from where it is copied. An empty part
    /// stays in any case: a recovery knows by it that nothing was swapped.
    fn give_up(
        &self,
        tmp: &Dir,
        (file, name): (&File, &str),
        n: u64,
        path: &[u8],
        trashed: &mut Vec<Trashed>,
    ) -> Result<(), Cause> {
        let part = part_name(n);
        if name == take_name(n) {
            self.part_touch(tmp, n)?;
            trashed.extend(self.trash_take(tmp, n)?);
            return Ok(());
        }
        if name == swap_name(n) {
            if lock(&self.tmp_state).took.contains(&n) {
                self.part_touch(tmp, n)?;
                return self.clear_swap(tmp, n, path, trashed);
            }
            renameat_with(tmp, name, tmp, part.as_str(), RenameFlags::NOREPLACE).map_err(cause)?;
            lock(&self.tmp_state).ready.remove(&n);
        }
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let emptied = chmod(file.as_fd(), 0o600)
            .and_then(|()| openat(tmp, part.as_str(), flags, Mode::empty()).map(drop));
        if emptied.is_err() {
            remove_part(tmp, &part)?;
            self.part_touch(tmp, n)?;
        }
        Ok(())
    }

    fn prepare_symlink(&self, tmp: &Dir, n: u64, mtime: i64) -> Result<(), Cause> {
        let file = self.part_read(n)?.ok_or(cause(Errno::NOENT))?;
        let mut text = Vec::new();
        file.take(limits::PATH as u64 + 1).read_to_end(&mut text).map_err(super::beneath::io_cause)?;
        if text.is_empty() || text.len() > limits::PATH || text.contains(&0) {
            return Err(Cause::Corrupt);
        }
        symlinkat(text.as_slice(), tmp, swap_name(n)).map_err(cause)?;
        utimensat(tmp, swap_name(n), &times(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(cause)?;
        remove_part(tmp, &part_name(n))
    }
}

/// An empty directory with its mode (whatever the umask).
fn prepare_dir(tmp: &Dir, n: u64, mode: u16) -> Result<(), Cause> {
    let name = swap_name(n);
    mkdirat(tmp, name.as_str(), Mode::RWXU).map_err(cause)?;
    let dir = super::beneath::open(
        rustix::fd::AsFd::as_fd(tmp),
        name.as_bytes(),
        OFlags::RDONLY | OFlags::DIRECTORY,
    )
    .map_err(cause)?;
    fchmod(&dir, Mode::from_raw_mode(mode as u32 & 0o777)).map_err(cause)
}
