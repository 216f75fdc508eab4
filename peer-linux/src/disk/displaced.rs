//! What a swap displaced: compared with what was expected, then to the trash, or reported as odd.

use super::hash::{content_of, look_at};
use super::lease::Held;
use super::part::swap_name;
use super::root::lock;
use super::second::Second;
use super::stat::{handle_at, is_same_data, read_at, stat_at};
use super::swap::Job;
use super::{Trashed, watcher::Displaced};
use dartsync_core::ids::ContentId;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, RenameFlags, unlinkat};
use rustix::io::Errno;
use std::thread::sleep;
use std::time::Duration;

/// What was displaced and is not what was expected.
pub(super) type Odd = Option<(Kind, ContentId, Stat)>;

/// How often a displaced file that changes while it is hashed is hashed again, and the pause between.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(25);

#[cfg(test)]
thread_local! {
    /// Makes a test's thread find no room in the trash for what a swap displaced.
    pub(super) static NO_TRASH: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl Job<'_> {
    /// Judges what lies in the swap file after the exchange. An error says that the exchange was undone: whatever else goes
    /// wrong here, the new file stands at its path, and what it displaced is told as odd, so that it gets a name.
    pub(super) fn settle(
        &self,
        expect: &Stat,
        mut held: Held,
        second: Option<&Second<'_>>,
        trashed: &mut Vec<Trashed>,
    ) -> Result<Odd, Cause> {
        // Still under the lease: nobody can have written since it was taken.
        let found = stat_at(&self.tmp, self.name.as_bytes());
        let beyond_doubt = held.is_sure() && matches!(&found, Ok(Some(f)) if is_same_data(expect, f));
        held.release();
        let found = match found {
            Ok(Some(found)) => found,
            // Someone emptied our directory: nothing is left to judge.
            Ok(None) => return Ok(None),
            Err(e) => {
                // Something that is no file was put there at the last instant; it is not ours to keep.
                return match self.swap_back() {
                    Ok(()) => Err(e),
                    Err(_) => Ok(Some((expect.kind, self.intent.from.1, *expect))),
                };
            }
        };
        if found.kind == Kind::Directory && expect.kind == Kind::Directory {
            return self.drop_directory(found);
        }
        if !beyond_doubt {
            match self.judge() {
                Some(what) if what == self.intent.from => {}
                Some((kind, content)) => {
                    let stat = stat_at(&self.tmp, self.name.as_bytes()).ok().flatten().unwrap_or(found);
                    return Ok(Some((kind, content, stat)));
                }
                // It cannot be read, nor could it before: its stat must do.
                None if is_same_data(expect, &found) => {}
                None => {
                    return match self.trash() {
                        Ok(item) => {
                            trashed.push(item);
                            Ok(None)
                        }
                        Err(_) => Ok(Some((found.kind, self.intent.from.1, found))),
                    };
                }
            }
        }
        if second.is_some_and(|s| s.is_same_inode(found.ino)) {
            // The copy is that very inode, and a live file: it needs no place in the trash. If the name stays, the next act
            // of the row, or its end, clears it.
            let _ = unlinkat(&self.tmp, self.name.as_str(), AtFlags::empty());
            return Ok(None);
        }
        self.trash_displaced(found, held, trashed)
    }

    /// Kind and content in the swap file, as well as it can be said; none if it cannot be read.
    fn judge(&self) -> Option<(Kind, ContentId)> {
        for _ in 0..TRIES {
            match look_at(&self.tmp, self.name.as_bytes()) {
                Ok(found) => return found.map(|(stat, content)| (stat.kind, content)),
                Err(Cause::Changing | Cause::Raced) => sleep(PAUSE),
                Err(_) => return None,
            }
        }
        // A writer that never rests: what it has written by now. It is no longer what was expected in any case.
        let file = read_at(&self.tmp, self.name.as_bytes()).ok()?;
        content_of(&file).ok().map(|content| (Kind::File, content))
    }

    fn trash(&self) -> Result<Trashed, Cause> {
        #[cfg(test)]
        if NO_TRASH.get() {
            return Err(super::beneath::cause(Errno::NOSPC));
        }
        self.root.to_trash(&self.tmp, self.name.as_bytes(), self.path.bytes(), self.n)
    }

    fn trash_displaced(&self, found: Stat, held: Held, trashed: &mut Vec<Trashed>) -> Result<Odd, Cause> {
        let content = self.intent.from.1;
        let sure = held.is_sure();
        match self.trash() {
            Ok(mut item) => {
                item.content = Some(content);
                if let Some(file) = held.into_file() {
                    self.root.watch_displaced(Displaced {
                        file,
                        at: item.at.clone(),
                        path: self.path.bytes().to_vec(),
                        n: self.n,
                        content: Some(content),
                        was: found,
                        sure,
                    });
                }
                trashed.push(item);
                Ok(None)
            }
            // No room even for a name: it stays where it is, and is told.
            Err(_) => Ok(Some((found.kind, content, found))),
        }
    }

    /// Removes an exchanged-out directory; one that is not empty goes back.
    fn drop_directory(&self, found: Stat) -> Result<Odd, Cause> {
        match unlinkat(&self.tmp, self.name.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) => {
                if self.new.1.kind != Kind::Directory {
                    self.root.untouch(self.path.bytes());
                }
                Ok(None)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => match self.swap_back() {
                Ok(()) => Err(Cause::NotEmpty),
                Err(_) => Ok(Some((Kind::Directory, ContentId::NONE, found))),
            },
            Err(_) => Ok(Some((Kind::Directory, ContentId::NONE, found))),
        }
    }

    /// Undoes the exchange; it stands if this fails. If something else than what was installed stands at the path by now, it is left alone.
    fn swap_back(&self) -> Result<(), Cause> {
        let ours = |dir, name| -> Result<bool, Cause> {
            let handle = handle_at(dir, name)?;
            Ok(super::stat::file_stat(&handle)?.ino == self.new.1.ino)
        };
        match ours(&self.place.dir, self.place.name) {
            Ok(true) => self.rename_with(RenameFlags::EXCHANGE)?,
            Ok(false) => return Err(Cause::Raced),
            // The name is free again: what was displaced goes back, what was installed was removed by a user.
            Err(_) => return self.rename_with(RenameFlags::NOREPLACE),
        }
        if !ours(&self.tmp, self.name.as_bytes()).unwrap_or(true) {
            // Replaced in the same instant: exchange once more, so that the newest stands at the path.
            self.rename_with(RenameFlags::EXCHANGE)?;
            return Err(Cause::Raced);
        }
        lock(&self.root.tmp_state).ready.insert(self.n, None);
        debug_assert_eq!(self.name, swap_name(self.n));
        Ok(())
    }
}
