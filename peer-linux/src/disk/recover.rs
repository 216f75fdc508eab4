//! After a crash: what lies in tmp.

use super::beneath::{Dir, cause, open};
use super::grant::chmod;
use super::hash::look_at;
use super::part::{part_name, remove_part, swap_name, take_name};
use super::root::{Root, TMP, lock};
use super::stat::{handle_at, stat_at, wall};
use super::{Act, Trashed, act};
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Outcome};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, OFlags, RawDir, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

impl Root {
    /// `Effect::Recover` of row `n` at `path`: hashes what stands there and what lies in the swap file.
    pub fn recover(&self, path: Path<'_>, n: u64) -> Act {
        act(|_| {
            self.verify()?;
            let at = wall();
            let disk = match self.place(path) {
                Ok(place) => look_at(&place.dir, place.name)?,
                Err(Cause::NoParent) => None,
                Err(e) => return Err(e),
            };
            if disk.is_none() {
                self.verify()?;
            }
            let swap = look_at(self.tmp()?, swap_name(n).as_bytes())?;
            if let Some((_, content)) = swap {
                lock(&self.tmp_state).ready.insert(n, Some(content));
            }
            let tmp = self.tmp()?;
            let has = |name: String| Ok(stat_at(&tmp, name.as_bytes())?.is_some());
            let part = has(part_name(n))? || has(take_name(n))?;
            Ok(Outcome::Recovered { disk, swap, part, at })
        })
    }

    /// `Effect::Discard` of row `n`, which belongs at `path`.
    pub fn discard(&self, path: Path<'_>, n: u64) -> Act {
        act(|trashed| {
            self.verify()?;
            let tmp = self.tmp()?;
            trashed.extend(self.trash_take(&tmp, n)?);
            self.clear_swap(&tmp, n, path.bytes(), trashed)?;
            self.touch(TMP);
            Ok(Outcome::Done)
        })
    }

    /// The same for a swap file that was prepared and never swapped in: a file becomes the part file again, a directory or
    /// symlink is deleted. One that was taken, or that this process did not make, goes to the trash. Whatever it was, a part
    /// file is there then, be it empty: a recovery knows by it that nothing was swapped.
    pub fn discard_unused(&self, path: Path<'_>, n: u64) -> Act {
        act(|trashed| {
            self.verify()?;
            let (tmp, name) = (self.tmp()?, swap_name(n));
            let ours = {
                let state = lock(&self.tmp_state);
                state.ready.get(&n) == Some(&None) && !state.took.contains(&n)
            };
            let kind = stat_at(&tmp, name.as_bytes())?.map_or(Kind::Removed, |s| s.kind);
            if kind != Kind::Directory && !(kind == Kind::File && ours) {
                self.part_touch(&tmp, n)?;
            }
            trashed.extend(self.trash_take(&tmp, n)?);
            match kind {
                Kind::Removed => {}
                Kind::File if ours => {
                    chmod(handle_at(&tmp, name.as_bytes())?.as_fd(), 0o600).map_err(cause)?;
                    let part = part_name(n);
                    match renameat_with(&tmp, name.as_str(), &tmp, part.as_str(), RenameFlags::NOREPLACE) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => self.clear_swap(&tmp, n, path.bytes(), trashed)?,
                        Err(e) => return Err(cause(e)),
                    }
                }
                Kind::Directory if ours => {
                    unlinkat(&tmp, name.as_str(), AtFlags::REMOVEDIR).map_err(cause)?;
                }
                Kind::Symlink if ours => unlinkat(&tmp, name.as_str(), AtFlags::empty()).map_err(cause)?,
                _ => self.clear_swap(&tmp, n, path.bytes(), trashed)?,
            }
            lock(&self.tmp_state).ready.remove(&n);
            self.touch(TMP);
            Ok(Outcome::Done)
        })
    }

    /// At start, before any act and any look: what was lent is given back. Copies being made, and taken and swap files of rows that bear no intent (`intends`), go to
    /// the trash. Part files stay, and so does what is no file of ours.
    pub fn cleanup_tmp(&self, intends: &dyn Fn(u64) -> bool) -> Result<Vec<Trashed>, Cause> {
        self.verify()?;
        let tmp = self.tmp()?;
        self.end_lending(&tmp)?;
        let mut trashed = Vec::new();
        for name in list(&tmp)? {
            let Some((n, suffix)) = parse(&name) else { continue };
            match suffix {
                // What a recovery is still to look at.
                b"take" | b"swap" if n.is_some_and(intends) => {}
                // A copy that was being made, or a name that was being taken back: perhaps someone's.
                b"take" | b"copy" | b"swap" => self.rescue(&tmp, &name, n, &mut trashed)?,
                _ => {}
            }
        }
        Ok(trashed)
    }

    /// `Effect::Parts`: the rows that have a part file, a taken or a swap file.
    pub fn tmp_rows(&self) -> Result<Vec<u64>, Cause> {
        self.verify()?;
        let names = list(&self.tmp()?)?;
        let ours = |suffix: &[u8]| matches!(suffix, b"part" | b"take" | b"swap");
        let rows = names.iter().filter_map(|name| parse(name).filter(|(_, suffix)| ours(suffix))?.0);
        let mut rows: Vec<u64> = rows.collect();
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// `Effect::Clear` of row `n`.
    pub fn tmp_clear(&self, n: u64) -> Act {
        act(|trashed| {
            self.verify()?;
            let tmp = self.tmp()?;
            for name in [take_name(n), swap_name(n)] {
                if stat_at(&tmp, name.as_bytes())?.is_some() {
                    self.rescue(&tmp, name.as_bytes(), Some(n), trashed)?;
                    self.touch(TMP);
                }
            }
            lock(&self.tmp_state).forget(n);
            remove_part(&tmp, &part_name(n))?;
            Ok(Outcome::Done)
        })
    }

    fn rescue(
        &self,
        tmp: &Dir,
        name: &[u8],
        n: Option<u64>,
        trashed: &mut Vec<Trashed>,
    ) -> Result<(), Cause> {
        if stat_at(tmp, name)?.is_some_and(|s| s.kind == Kind::Directory)
            && unlinkat(tmp, name, AtFlags::REMOVEDIR).is_ok()
        {
            return Ok(());
        }
        let path = [b"recovered-", name].concat();
        trashed.push(self.to_trash(tmp, name, &path, n.unwrap_or(0))?);
        Ok(())
    }
}

/// The number and suffix of a file of ours in tmp; without number if it is one of a restore.
fn parse(name: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let dot = name.iter().position(|b| *b == b'.')?;
    let (stem, suffix) = (&name[..dot], &name[dot + 1..]);
    let n = std::str::from_utf8(stem).ok().and_then(|s| s.parse().ok());
    (n.is_some() || stem.starts_with(b"restore-")).then_some((n, suffix))
}

/// The names in a directory of ours.
pub(super) fn list(dir: &Dir) -> Result<Vec<Vec<u8>>, Cause> {
    let fd = open(dir.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(cause)?;
    let mut buffer = vec![MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(&fd, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(cause)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
