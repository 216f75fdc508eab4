//! The trash: `.dartsync/trash/<when>/<path>`.
//!
//! `<when>` is the day (UTC); where that name is taken there, the second, then the microsecond: so the path below it is
//! always the path the item had. One too long for that lies at `<when>-long/<n>-<name>`, its path beside it in `path`.

use super::Trashed;
use super::beneath::{Dir, cause, io_cause, open_dir, split};
use super::grant::chmod;
use super::recover::list;
use super::root::{Root, TRASH};
use super::stat::{handle_at, stat_at, wall};
use dartsync_core::limits;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, fstat, mkdirat, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// How the name of the day's part ends where paths would be too long.
const LONG: &str = "-long";
/// The file beside a long one that has its path.
pub(super) const SIDE: &[u8] = b"path";
/// Attempts at a free name.
const SLOTS: u64 = 64;

/// Sees an item of the trash: its place, its stat; true if it took it away.
type See<'s> = dyn FnMut(&Root, &[u8], Stat) -> Result<bool, Cause> + 's;

/// One item of the trash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Where it lies, below `.dartsync/trash`.
    pub at: Vec<u8>,
    /// The path it had.
    pub path: Vec<u8>,
    /// Its stat; size in bytes.
    pub stat: Stat,
    /// When it came there, seconds since 1970 (its ctime).
    pub when: i64,
}

/// What of a trash could not be read or taken away: it stays, and holds nothing else up.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Stuck {
    /// How many items, or directories of them.
    pub count: usize,
    /// The first of them: where it lies, below `.dartsync/trash`, and why.
    pub first: Option<(Vec<u8>, Cause)>,
}

/// A directory of the trash, and the names in it that are still to be seen.
type Entered = (Vec<u8>, Vec<Vec<u8>>);

/// A walk through a trash, some items at a time. What comes there meanwhile is seen or not.
#[derive(Default)]
pub struct TrashWalk {
    /// Directories under way, the innermost last; none before the first step.
    under_way: Option<Vec<Entered>>,
}

impl Stuck {
    pub(super) fn add(&mut self, at: &[u8], why: Cause) {
        // What is gone by itself, or was never a directory of ours, is in nobody's way.
        if ![Errno::NOENT, Errno::NOTDIR, Errno::LOOP].map(cause).contains(&why) {
            self.count += 1;
            self.first.get_or_insert_with(|| (at.to_vec(), why));
        }
    }
}

impl Root {
    /// Moves what lies at a name to the trash, as an item that had `path`.
    pub(super) fn to_trash(&self, from: &Dir, name: &[u8], path: &[u8], n: u64) -> Result<Trashed, Cause> {
        let now = wall();
        for slot in 0..SLOTS {
            let when = slot_name(now, slot);
            let at = [when.as_bytes(), b"/", path].concat();
            let placed = if at.len() <= limits::PATH {
                self.place_in_trash(from, name, &at)?.then_some(at)
            } else {
                self.place_long(from, name, &when, (path, n))?
            };
            if let Some(at) = placed {
                let stat = self.trash_stat(&at)?.unwrap_or_default();
                return Ok(Trashed { at, n, stat, content: None });
            }
        }
        Err(cause(Errno::EXIST))
    }

    /// Moves it to `at` if that name can be had, in a directory that is young.
    fn place_in_trash(&self, from: &Dir, name: &[u8], at: &[u8]) -> Result<bool, Cause> {
        let (parent, last) = split(at);
        if self.is_old_slot(at.split(|b| *b == b'/').next().unwrap_or(at)) {
            return Ok(false);
        }
        let Some(dir) = self.trash_dir(parent)? else { return Ok(false) };
        let moved = handle_at(from, name)?;
        let done =
            self.allowing(&[moved.as_fd()], || renameat_with(from, name, &dir, last, RenameFlags::NOREPLACE));
        match done {
            Ok(()) => {
                self.touch(&[TRASH, b"/", parent].concat());
                Ok(true)
            }
            // Taken; or the directory was just removed because it was empty.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOENT) => Ok(false),
            Err(e) => Err(cause(e)),
        }
    }

    fn place_long(
        &self,
        from: &Dir,
        name: &[u8],
        when: &str,
        (path, n): (&[u8], u64),
    ) -> Result<Option<Vec<u8>>, Cause> {
        let parent = format!("{when}{LONG}").into_bytes();
        let Some(dir) = self.trash_dir(&parent)? else { return Ok(None) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut side: File = match openat(&dir, SIDE, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => fd.into(),
            Err(Errno::EXIST) => return Ok(None),
            Err(e) => return Err(cause(e)),
        };
        side.write_all(path).map_err(io_cause)?;
        side.sync_data().map_err(io_cause)?;
        let last = split(path).1;
        let short = &last[..last.len().min(64)];
        let at = [&parent[..], b"/", n.to_string().as_bytes(), b"-", short].concat();
        Ok(self.place_in_trash(from, name, &at)?.then_some(at))
    }

    /// Opens a directory of the trash, made with its parents; none if something else has one of the names.
    fn trash_dir(&self, path: &[u8]) -> Result<Option<Dir>, Cause> {
        let trash = self.own(TRASH)?;
        match open_dir(&trash, path) {
            Ok(dir) => return Ok(Some(dir)),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(cause(e)),
        }
        let mut at = trash;
        let mut above = TRASH.to_vec();
        for name in path.split(|b| *b == b'/') {
            match mkdirat(&at, name, Mode::RWXU) {
                Ok(()) => self.touch(&above),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(cause(e)),
            }
            above.push(b'/');
            above.extend_from_slice(name);
            at = match open_dir(&at, name) {
                Ok(dir) => dir,
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => return Ok(None),
                Err(e) => return Err(cause(e)),
            };
        }
        Ok(Some(at))
    }

    /// The directory an item of the trash lies in, and its name there.
    pub(super) fn trash_place<'a>(&self, at: &'a [u8]) -> Result<(Dir, &'a [u8]), Cause> {
        let (parent, name) = split(at);
        if dartsync_core::path::Path::new(at).is_err() || parent.is_empty() {
            return Err(cause(Errno::INVAL));
        }
        let dir = open_dir(self.own(TRASH)?, parent).map_err(cause)?;
        Ok((dir, name))
    }

    /// The stat of an item of the trash; none if it is there no more.
    pub fn trash_stat(&self, at: &[u8]) -> Result<Option<Stat>, Cause> {
        match self.trash_place(at) {
            Ok((dir, name)) => stat_at(&dir, name),
            Err(Cause::Os(e)) if e == Errno::NOENT.raw_os_error() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a file of the trash for reading. [`Cause::Raced`] if it is there no more.
    pub fn trash_open(&self, at: &[u8]) -> Result<File, Cause> {
        let (dir, name) = self.trash_place(at)?;
        super::stat::read_at(&dir, name)
    }

    /// The text of a symlink of the trash.
    pub fn trash_link(&self, at: &[u8]) -> Result<Vec<u8>, Cause> {
        let (dir, name) = self.trash_place(at)?;
        super::stat::link_at(&dir, name)
    }

    /// The path that an item of the trash had. Where that is lost, the name it lies under: it can be brought back by that.
    pub fn trash_path(&self, at: &[u8]) -> Result<Vec<u8>, Cause> {
        let cut = at.iter().position(|b| *b == b'/').ok_or(cause(Errno::INVAL))?;
        let (when, rest) = (&at[..cut], &at[cut + 1..]);
        if !when.ends_with(LONG.as_bytes()) {
            return Ok(rest.to_vec());
        }
        let (dir, _) = self.trash_place(at)?;
        let mut path = Vec::new();
        let read = super::stat::read_at(&dir, SIDE)
            .and_then(|side| side.take(limits::PATH as u64 + 1).read_to_end(&mut path).map_err(io_cause));
        let known = read.is_ok() && dartsync_core::path::Path::new(&path).is_ok();
        Ok(if known { path } else { rest.to_vec() })
    }

    /// Hands every item of the trash to `see`, oldest day first; what it could not reach.
    pub fn trash_list(&self, see: &mut dyn FnMut(Item)) -> Result<Stuck, Cause> {
        let mut stuck = Stuck::default();
        for when in self.slots()? {
            let see = &mut |root: &Root, at: &[u8], stat: Stat| {
                let path = root.trash_path(at)?;
                see(Item { at: at.to_vec(), path, stat, when: stat.ctime.div_euclid(1_000_000_000) });
                Ok(false)
            };
            self.walk_slot(&when, see, &mut stuck)?;
        }
        Ok(stuck)
    }

    /// The next items of a walk, `most` at most: where they lie, and their kinds. None are left when there are none; what
    /// cannot be reached is passed over.
    pub fn trash_next(&self, walk: &mut TrashWalk, most: usize) -> Result<Vec<(Vec<u8>, Kind)>, Cause> {
        let trash = self.own(TRASH)?;
        let under_way = match &mut walk.under_way {
            Some(under_way) => under_way,
            none => none.insert(vec![(Vec::new(), self.slots()?)]),
        };
        let mut items = Vec::new();
        'dirs: while let Some((path, mut names)) = under_way.pop() {
            let Ok(dir) = open_dir(&trash, &path) else { continue };
            while let Some(name) = names.pop() {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                let at = [&path[..], slash, &name].concat();
                match stat_at(&dir, &name) {
                    Ok(Some(s)) if s.kind == Kind::Directory => {
                        let inner = open_dir(&dir, &name).map_err(cause).and_then(|dir| list_own(&dir));
                        under_way.push((path, names));
                        under_way.extend(inner.ok().map(|names| (at, names)));
                        continue 'dirs;
                    }
                    Ok(Some(s)) if !(name == SIDE && is_long(&path)) => items.push((at, s.kind)),
                    _ => {}
                }
                if items.len() >= most {
                    under_way.push((path, names));
                    break 'dirs;
                }
            }
        }
        Ok(items)
    }

    /// The names of the trash's directories of items, oldest first; what is not ours is left out.
    pub(super) fn slots(&self) -> Result<Vec<Vec<u8>>, Cause> {
        let mut names = list_own(&self.own(TRASH)?)?;
        names.retain(|name| slot_day(name).is_some());
        names.sort_unstable();
        Ok(names)
    }

    /// Walks the items of one slot; where `see` says that it took an item away, directories that are left empty are
    /// removed. What cannot be reached, or `see` fails at, is passed over and noted in `stuck`.
    pub(super) fn walk_slot(&self, slot: &[u8], see: &mut See<'_>, stuck: &mut Stuck) -> Result<(), Cause> {
        let trash = self.own(TRASH)?;
        let long = is_long(slot);
        // Directories to walk, and, after what is in them, to leave.
        let mut stack = vec![(slot.to_vec(), false)];
        let mut taken = false;
        while let Some((path, seen)) = stack.pop() {
            if seen && !taken {
                continue;
            }
            if seen {
                leave(&trash, &path, long && path == slot);
                continue;
            }
            let (dir, names) =
                match open_dir(&trash, &path).map_err(cause).and_then(|d| Ok((list_own(&d)?, d))) {
                    Ok((names, dir)) => (dir, names),
                    Err(why) => {
                        stuck.add(&path, why);
                        continue;
                    }
                };
            stack.push((path.clone(), true));
            for name in names {
                let at = [&path[..], b"/", &name].concat();
                let done = match stat_at(&dir, &name) {
                    Ok(Some(s)) if s.kind == Kind::Directory => {
                        stack.push((at, false));
                        continue;
                    }
                    Ok(Some(s)) if !(long && name == SIDE) => see(self, &at, s),
                    Ok(_) | Err(Cause::Special) => continue,
                    Err(why) => Err(why),
                };
                match done {
                    Ok(took) => taken |= took,
                    Err(why) => stuck.add(&at, why),
                }
            }
        }
        Ok(())
    }
}

/// Whether what lies in that directory of the trash has its path beside it.
fn is_long(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').next().is_some_and(|slot| slot.ends_with(LONG.as_bytes()))
}

/// The names in a directory of the trash. One that came whole may deny its owner what is needed to read or empty it: it is
/// allowed for good, for modes of directories mean nothing in here (a restore makes its own).
fn list_own(dir: &Dir) -> Result<Vec<Vec<u8>>, Cause> {
    let stat = fstat(dir).map_err(cause)?;
    if stat.st_mode & 0o700 != 0o700 {
        // Somebody else's: what needs it fails.
        let _ = chmod(dir.as_fd(), stat.st_mode & 0o7777 | 0o700);
    }
    list(dir)
}

/// Removes a directory of the trash if it is empty, or has but the path of an item that is gone. One that cannot be
/// removed stays: it holds nothing.
fn leave(trash: &Dir, path: &[u8], long: bool) {
    let (parent, name) = split(path);
    let Ok(parent) = open_dir(trash, parent) else { return };
    if long
        && let Ok(dir) = open_dir(&parent, name)
        && list(&dir).is_ok_and(|names| names == [SIDE])
    {
        // A path without its item says nothing.
        let _ = unlinkat(&dir, SIDE, AtFlags::empty());
    }
    let _ = unlinkat(&parent, name, AtFlags::REMOVEDIR);
}

/// The name of the n-th attempt's directory at a wall time (µs).
pub(super) fn slot_name(wall: u64, attempt: u64) -> String {
    let wall = wall + attempt.saturating_sub(2);
    let secs = wall / 1_000_000;
    let (y, m, d) = civil(secs / 86_400);
    let day = format!("{y:04}-{m:02}-{d:02}");
    let (h, min, s) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    match attempt {
        0 => day,
        1 => format!("{day}T{h:02}{min:02}{s:02}"),
        _ => format!("{day}T{h:02}{min:02}{s:02}.{:06}", wall % 1_000_000),
    }
}

/// The day (since 1970) that a directory of the trash is of; none if it is not one of ours.
pub(super) fn slot_day(name: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(name).ok()?;
    let day = text.get(..10)?;
    let mut parts = day.split('-').map(|p| p.parse::<u64>().ok());
    let (y, m, d) = (parts.next()??, parts.next()??, parts.next()??);
    let rest = text[10..].strip_suffix(LONG).unwrap_or(&text[10..]);
    let ours = rest.is_empty()
        || (rest.starts_with('T') && rest[1..].bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    let days = days_of(y, m, d)?;
    (ours && slot_name(days * 86_400_000_000, 0) == day).then_some(days)
}

/// Year, month and day of a day since 1970 (Gregorian; after Howard Hinnant's civil_from_days).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    (yoe + era * 400 + u64::from(m <= 2), m, d)
}

fn days_of(y: u64, m: u64, d: u64) -> Option<u64> {
    if !(1970..=9999).contains(&y) || !(1..=12).contains(&m) || !(1..=31).contains(&d) {
        return None;
    }
    let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
    let (era, yoe) = (y / 400, y % 400);
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * m + 2) / 5 + d - 1;
    (era * 146_097 + doe).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_named_by_time_and_read_back() {
        let wall = 1_764_022_362_123_456;
        assert_eq!(slot_name(wall, 0), "2025-11-24");
        assert_eq!(slot_name(wall, 1), "2025-11-24T221242");
        assert_eq!(slot_name(wall, 3), "2025-11-24T221242.123457");
        for days in [0, 58, 59, 60, 364, 365, 11_016, 11_017, 20_000, 47_541, 400_000] {
            for attempt in 0..3 {
                assert_eq!(slot_day(slot_name(days * 86_400_000_000, attempt).as_bytes()), Some(days));
            }
        }
        for other in
            ["", "x", "2025-02-30", "2025-11-24x", "2025-13-01", "notes", "2025-11-24 mine", "0000-00-00"]
        {
            assert_eq!(slot_day(other.as_bytes()), None, "{other}");
        }
        assert_eq!(slot_day(b"1970-01-02T000000.000000-long"), Some(1));
    }
}
