//! Putting a swap file at its path (R11, R12, R14).

use super::beneath::{Dir, Place, Run, cause};
use super::hash::look_at;
use super::lease::{self, Held};
use super::part::swap_name;
use super::root::{Root, TMP, lock};
use super::stat::{file_stat, handle_at, is_same_data, stat_at, wall};
use super::{Act, Trashed, act};
use dartsync_core::ids::ContentId;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Intent, Outcome, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{OFlags, RawDir, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// What `Effect::Swap` asks for: row `n`, at `path`.
pub struct ToSwap<'a> {
    /// Where the swap file goes.
    pub path: Path<'a>,
    /// The row.
    pub n: u64,
    /// What stands there; none, or of kind Removed: nothing.
    pub expect: Option<Stat>,
    /// What was noted before.
    pub intent: Intent,
    /// The path of the row that the intent names for a copy.
    pub copy: Option<Path<'a>>,
}

/// One swap while it is made.
pub(super) struct Job<'a> {
    pub root: &'a Root,
    pub place: Place<'a>,
    pub path: Path<'a>,
    pub tmp: Rc<Dir>,
    pub n: u64,
    pub name: String,
    pub expect: Option<Stat>,
    pub intent: Intent,
    /// What is being installed: a handle on it, and its stat before.
    pub new: (OwnedFd, Stat),
}

impl Root {
    /// `Effect::Swap` of one row; see [`Root::swap_all`].
    #[cfg(test)]
    pub fn swap(
        &self,
        path: Path<'_>,
        n: u64,
        expect: Option<&Stat>,
        intent: &Intent,
        copy: Option<Path<'_>>,
    ) -> Act {
        let one = ToSwap { path, n, expect: expect.copied(), intent: *intent, copy };
        self.swap_all(&[one]).pop().expect("an act for each")
    }

    /// `Effect::Swap` of several rows, one after the other, an act for each. [`Outcome::Swapped`], or [`Outcome::Failed`] and
    /// nothing changed: `ENOENT` if there is no swap file of the right kind, [`Cause::Corrupt`] if what a crash left in it is
    /// not what the intent says (it goes to the trash), else as the effect's documentation says.
    pub fn swap_all(&self, all: &[ToSwap<'_>]) -> Vec<Act> {
        let mut run = Run::default();
        let swap = |s| {
            let done = act(|trashed| self.swap_next(&mut run, s, trashed));
            if matches!(done.outcome, Outcome::Failed(_)) {
                // What is held open may be what failed it.
                run = Run::default();
            }
            done
        };
        all.iter().map(swap).collect()
    }

    /// One of a run.
    pub(super) fn swap_next<'p>(
        &self,
        run: &mut Run<'p>,
        s: &ToSwap<'p>,
        trashed: &mut Vec<Trashed>,
    ) -> Result<Outcome, Cause> {
        let ToSwap { path, n, expect, intent, copy } = *s;
        let tmp = self.tmp_in(run)?;
        let place = self.place_in(run, path)?;
        let new = self.ready_swap(&tmp, n, intent.to, path, trashed)?;
        let expect = expect.filter(|s| s.kind != Kind::Removed);
        let job = Job { root: self, place, path, tmp, n, name: swap_name(n), expect, intent, new };
        job.run(copy, trashed)
    }

    /// The swap file of row `n`, known to be what the intent says.
    fn ready_swap(
        &self,
        tmp: &Dir,
        n: u64,
        to: (Kind, ContentId),
        path: Path<'_>,
        trashed: &mut Vec<Trashed>,
    ) -> Result<(OwnedFd, Stat), Cause> {
        let name = swap_name(n);
        let missing = cause(Errno::NOENT);
        let handle = handle_at(tmp, name.as_bytes())?;
        let found = file_stat(&handle)?;
        if found.kind != to.0 {
            return Err(missing);
        }
        let known = lock(&self.tmp_state).ready.get(&n).copied();
        let content = match known {
            Some(None) => to.1,
            Some(Some(content)) => content,
            None => look_at(tmp, name.as_bytes())?.ok_or(missing)?.1,
        };
        if content != to.1 && to.0 != Kind::Directory {
            self.clear_swap(tmp, n, path.bytes(), trashed)?;
            return Err(Cause::Corrupt);
        }
        match known {
            Some(_) => Ok((handle, found)),
            // What was hashed by its name is what the handle is on.
            None => match stat_at(tmp, name.as_bytes())?.filter(|now| now.ino == found.ino) {
                Some(now) => Ok((handle, now)),
                None => Err(Cause::Raced),
            },
        }
    }
}

impl Job<'_> {
    fn run(&self, copy: Option<Path<'_>>, trashed: &mut Vec<Trashed>) -> Result<Outcome, Cause> {
        let root = self.root;
        let held = self.check()?;
        let second = match (copy, &self.expect) {
            (Some(copy), Some(expect)) => Some(root.second_name(self, copy, expect)?),
            (Some(_), None) => return Err(Cause::Raced),
            (None, _) => None,
        };
        if let Err(e) = self.rename() {
            if let Some(second) = &second {
                second.undo(self);
            }
            return Err(e);
        }
        root.touch(self.place.parent);
        root.touch(TMP);
        lock(&root.tmp_state).ready.remove(&self.n);
        let odd = match (&self.expect, held) {
            (Some(expect), Some(held)) => self.settle(expect, held, second.as_ref(), trashed)?,
            _ => None,
        };
        // From here on it is made, whatever cannot be read of it.
        let (stat, at) = self.installed();
        let copy = second.map(|s| s.stat(expect_kind(&self.expect)));
        Ok(Outcome::Swapped { stat, at, copy, odd })
    }

    /// Whether what stands at the path is what was expected, and nobody writes to it.
    fn check(&self) -> Result<Option<Held>, Cause> {
        // Where nothing is to stand, the rename itself tells.
        let Some(expect) = self.expect else { return Ok(None) };
        let found = self.root.stat_in(&self.place)?;
        lease::check(&self.place.dir, self.place.name, &expect, found)?;
        if expect.kind == Kind::Directory && !self.root.is_empty_dir(&self.place)? {
            return Err(Cause::NotEmpty);
        }
        Held::take(&self.place.dir, self.place.name, &expect).map(Some)
    }

    /// The rename itself: the one instant at which the path changes.
    fn rename(&self) -> Result<(), Cause> {
        if self.expect.is_some() {
            return self.rename_with(RenameFlags::EXCHANGE);
        }
        self.rename_with(RenameFlags::NOREPLACE).map_err(|e| match e {
            // Something stands there: what it is may say more.
            Cause::Raced => self.root.stat_in(&self.place).err().unwrap_or(e),
            e => e,
        })
    }

    pub(super) fn rename_with(&self, flags: RenameFlags) -> Result<(), Cause> {
        // A directory that changes its parent must itself be writable.
        let dirs = [(&self.tmp, self.name.as_bytes()), (&self.place.dir, self.place.name)];
        let may_move = [self.new.1.kind, expect_kind(&self.expect)].contains(&Kind::Directory);
        let moved: Vec<OwnedFd> = dirs
            .iter()
            .filter(|_| may_move)
            .filter(|(dir, name)| {
                stat_at(dir, name).is_ok_and(|s| s.is_some_and(|s| s.kind == Kind::Directory))
            })
            .filter_map(|(dir, name)| handle_at(dir, name).ok())
            .collect();
        let mut lend: Vec<BorrowedFd<'_>> = vec![self.place.dir.as_fd(), self.tmp.as_fd()];
        lend.extend(moved.iter().map(AsFd::as_fd));
        self.root
            .allowing(&lend, || {
                renameat_with(&self.tmp, self.name.as_str(), &self.place.dir, self.place.name, flags)
            })
            .map_err(|e| match e {
                Errno::EXIST | Errno::NOENT => self.root.or_gone(Cause::Raced),
                e => cause(e),
            })
    }

    /// The stat of what was installed (R14), read back; or as it was before, if someone wrote to it at once: then it
    /// must look changed.
    fn installed(&self) -> (Stat, u64) {
        let at = wall();
        let (handle, before) = &self.new;
        let same = |now: &Stat| is_same_data(now, before) && now.mode == before.mode;
        (file_stat(handle).ok().filter(same).unwrap_or(*before), at)
    }
}

fn expect_kind(expect: &Option<Stat>) -> Kind {
    expect.map_or(Kind::Removed, |s| s.kind)
}

impl Root {
    /// Whether the directory at a place holds nothing. One that may not be listed counts as empty: `rmdir` decides.
    pub(super) fn is_empty_dir(&self, place: &Place<'_>) -> Result<bool, Cause> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = match super::beneath::open(place.dir.as_fd(), place.name, flags) {
            Ok(dir) => dir,
            Err(Errno::ACCESS) => return Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(Cause::Raced),
            Err(e) => return Err(cause(e)),
        };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut entries = RawDir::new(&dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(cause)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
