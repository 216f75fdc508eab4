//! From a part file to a swap file: what the path will hold, whole, with its metadata, durable.

use super::beneath::{Dir, cause};
use super::grant::chmod;
use super::lease::{Writers, writers};
use super::part::{part_name, remove_part, swap_name, take_name};
use super::probe::{set_mtime, times};
use super::root::{Root, TMP, lock};
use super::stat::{file_stat, is_same_data, read_at, stat_at};
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

/// What `Effect::Prepare` asks for: row `n`, which belongs at `path`.
pub struct ToPrepare<'a> {
    /// Where it belongs.
    pub path: Path<'a>,
    /// The row.
    pub n: u64,
    /// What it is to be.
    pub kind: Kind,
    /// Its mode bits.
    pub mode: u16,
    /// ns since 1970.
    pub mtime: i64,
}

/// A file in tmp that is whole but for being durable: a handle on it, and its name.
struct Written {
    file: File,
    name: String,
    /// All of it was written since the root was opened.
    fresh: bool,
}

impl Root {
    /// `Effect::Prepare` of one row; see [`Root::prepare_all`].
    #[cfg(test)]
    pub fn prepare(&self, path: Path<'_>, n: u64, kind: Kind, mode: u16, mtime: i64) -> Act {
        self.prepare_all(&[ToPrepare { path, n, kind, mode, mtime }]).pop().expect("an act for each")
    }

    /// `Effect::Prepare` of several rows, an act for each; their files are made durable together. A swap file that is there
    /// is moved to the trash, of a file once there is another to take its place, unless this process made it and there is no
    /// newer part (a swap that was postponed). Without part file: `ENOENT`.
    pub fn prepare_all(&self, all: &[ToPrepare<'_>]) -> Vec<Act> {
        let tmp = match self.verify().and_then(|()| self.tmp()) {
            Ok(tmp) => tmp,
            Err(e) => return all.iter().map(|_| act(|_| Err(e))).collect(),
        };
        let mut written = Vec::new();
        let mut acts: Vec<Act> = Vec::with_capacity(all.len());
        for p in all {
            acts.push(act(|trashed| {
                written.push(self.begin_prepare(&tmp, p, trashed)?);
                Ok(Outcome::Done)
            }));
            written.resize_with(acts.len(), || None);
        }
        let of = |fresh: bool| -> Vec<&File> {
            written.iter().flatten().filter(|w| w.fresh == fresh).map(|w| &w.file).collect()
        };
        // Of what was written before, or was a user's, only its own fsync tells.
        let mut others = self.sync_each(&of(false)).into_iter();
        let mut synced = self.sync_written(&of(true)).into_iter();
        for ((p, w), done) in all.iter().zip(&written).zip(&mut acts) {
            let Some(w) = w else { continue };
            let durable = if w.fresh { &mut synced } else { &mut others }.next().expect("an answer for each");
            let Act { outcome, trashed } = done;
            *outcome = match self.end_prepare(&tmp, p, w, durable, trashed) {
                Ok(()) => Outcome::Done,
                Err(e) => Outcome::Failed(e),
            };
        }
        acts
    }

    /// As far as the file, if it is one, is whole, with its metadata.
    fn begin_prepare(
        &self,
        tmp: &Dir,
        p: &ToPrepare<'_>,
        trashed: &mut Vec<Trashed>,
    ) -> Result<Option<Written>, Cause> {
        let n = p.n;
        if self.is_prepared(tmp, n, p.kind)? {
            if p.kind != Kind::File {
                return Ok(None);
            }
            let name = swap_name(n);
            let file = read_at(tmp, name.as_bytes())?;
            set_meta(&file, p)?;
            return Ok(Some(Written { file, name, fresh: false }));
        }
        match p.kind {
            Kind::File => {
                lock(&self.tmp_state).unready(n);
                let mut w = self.begin_file(tmp, p)?;
                w.fresh = lock(&self.tmp_state).fresh.remove(&n) && w.name == part_name(n);
                return Ok(Some(w));
            }
            Kind::Symlink => {
                self.clear_swap(tmp, n, p.path.bytes(), trashed)?;
                self.prepare_symlink(tmp, n, p.mtime)?;
            }
            Kind::Directory => {
                self.clear_swap(tmp, n, p.path.bytes(), trashed)?;
                prepare_dir(tmp, n, p.mode)?;
            }
            Kind::Removed => return Err(cause(Errno::INVAL)),
        }
        self.note_ready(n);
        Ok(None)
    }

    /// The file is durable, or the disk did not take it: then it is given up.
    fn end_prepare(
        &self,
        tmp: &Dir,
        p: &ToPrepare<'_>,
        w: &Written,
        durable: Result<(), Cause>,
        trashed: &mut Vec<Trashed>,
    ) -> Result<(), Cause> {
        let (n, name) = (p.n, w.name.as_str());
        if let Err(e) = durable {
            self.give_up(tmp, name, n, p.path.bytes(), trashed)?;
            return Err(e);
        }
        // Somebody may have written to it while the others were made durable.
        self.check_taken(tmp, n, w)?;
        if name != swap_name(n) {
            let rename = || renameat_with(tmp, name, tmp, swap_name(n), RenameFlags::NOREPLACE);
            match rename() {
                // One that was there before.
                Err(Errno::EXIST) => {
                    self.clear_swap(tmp, n, p.path.bytes(), trashed)?;
                    rename()
                }
                done => done,
            }
            .map_err(cause)?;
            let mut state = lock(&self.tmp_state);
            state.taken.remove(&n);
            if name.ends_with(".take") {
                state.took.insert(n);
            }
        }
        self.note_ready(n);
        Ok(())
    }

    fn note_ready(&self, n: u64) {
        lock(&self.tmp_state).ready.insert(n, None);
        self.touch(TMP);
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
        lock(&self.tmp_state).unready(n);
        let Some(stat) = stat_at(tmp, name.as_bytes())? else { return Ok(()) };
        if stat.kind == Kind::Directory
            && rustix::fs::unlinkat(tmp, name.as_str(), AtFlags::REMOVEDIR).is_ok()
        {
            return Ok(());
        }
        trashed.push(self.to_trash(tmp, name.as_bytes(), path, n)?);
        Ok(())
    }

    fn begin_file(&self, tmp: &Dir, p: &ToPrepare<'_>) -> Result<Written, Cause> {
        let n = p.n;
        let (take, part) = (take_name(n), part_name(n));
        // Beside a part that was opened empty no taken file was left, nor did one come but by this process.
        let (is_taken, is_fresh) = {
            let state = lock(&self.tmp_state);
            (state.taken.contains_key(&n), state.fresh.contains(&n))
        };
        let has_take = is_taken || (!is_fresh && stat_at(tmp, take.as_bytes())?.is_some());
        let name = if has_take { take } else { part };
        let file = read_at(tmp, name.as_bytes()).map_err(|c| match c {
            Cause::Raced => cause(Errno::NOENT),
            c => c,
        })?;
        let w = Written { file, name, fresh: false };
        self.check_taken(tmp, n, &w)?;
        set_meta(&w.file, p)?;
        if let Some((stat, _)) = lock(&self.tmp_state).taken.get_mut(&n) {
            *stat = file_stat(&w.file)?;
        }
        Ok(w)
    }

    /// Whether a taken file is what it was when it was taken, and nobody writes to it. If it is not, it goes back, or to the
    /// trash.
    fn check_taken(&self, tmp: &Dir, n: u64, w: &Written) -> Result<(), Cause> {
        let taken = lock(&self.tmp_state).taken.get(&n).cloned();
        let Some((stat, from)) = taken.filter(|_| w.name.ends_with(".take")) else { return Ok(()) };
        if writers(&w.file) == Writers::Some {
            return Err(Cause::OpenWriter);
        }
        if is_same_data(&stat, &file_stat(&w.file)?) {
            return Ok(());
        }
        lock(&self.tmp_state).taken.remove(&n);
        match from.as_deref().map(Path::new) {
            Some(Ok(from)) => self.put_back(tmp, &w.name, self, from, n)?,
            // From another root: to the trash, and told.
            _ => self.drop_take(tmp, n)?,
        }
        Err(Cause::Raced)
    }

    /// A part that is not on the platter: what can be read of it proves nothing, for that is in the page cache. It is emptied,
    /// so that all of it is fetched anew; what is a user's file goes to the trash, from where it is copied. An empty part
    /// stays in any case: a recovery knows by it that nothing was swapped.
    fn give_up(
        &self,
        tmp: &Dir,
        name: &str,
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
        let emptied = read_at(tmp, part.as_bytes())
            .and_then(|file| chmod(file.as_fd(), 0o600).map_err(cause))
            .and_then(|()| openat(tmp, part.as_str(), flags, Mode::empty()).map(drop).map_err(cause));
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

fn set_meta(file: &File, p: &ToPrepare<'_>) -> Result<(), Cause> {
    fchmod(file, Mode::from_raw_mode(u32::from(p.mode) & 0o777)).map_err(cause)?;
    set_mtime(file, p.mtime).map_err(cause)
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
