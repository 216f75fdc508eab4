//! A losing version gets the path of its conflict copy before the winner is swapped in (R9, R11).

use super::beneath::{Place, cause};
use super::copy::copy_bytes;
use super::hash::{content_of, holds};
use super::part::remove_part;
use super::probe::set_mtime;
use super::root::{Root, TMP};
use super::stat::{is_same, link_at, read_at, stat_at, wall};
use super::swap::Job;
use super::sync::fsync;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, fchmod, linkat, openat, renameat_with, symlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd;

/// The copy's name.
pub(super) struct Second<'p> {
    place: Place<'p>,
    /// Whether this act made it.
    made: bool,
    /// Its inode.
    ino: u64,
}

fn copy_name(n: u64) -> String {
    format!("{n}.copy")
}

impl Root {
    /// Gives what stands at the job's path, which must be `expect`, the path `copy` too. What stands there already
    /// counts if it is the same inode or has the same content; else `EEXIST`.
    pub(super) fn second_name<'p>(
        &self,
        job: &Job<'_>,
        copy: Path<'p>,
        expect: &Stat,
    ) -> Result<Second<'p>, Cause> {
        let place = self.place(copy)?;
        let from = &job.place;
        let linked = if self.probe().hard_links {
            self.allowing(&[place.dir.as_fd()], || {
                linkat(&from.dir, from.name, &place.dir, place.name, AtFlags::empty())
            })
        } else {
            Err(Errno::PERM)
        };
        self.touch(place.parent);
        match linked {
            Ok(()) => {
                let second = Second { place, made: true, ino: expect.ino };
                if stat_at(&second.place.dir, second.place.name)?.is_some_and(|s| s.ino == expect.ino) {
                    return Ok(second);
                }
                // The path was given to something else in between, and that was linked.
                second.retire(job);
                Err(Cause::Raced)
            }
            Err(Errno::EXIST) => self.second_there(job, place, expect),
            Err(Errno::NOENT) => Err(self.or_gone(Cause::Raced)),
            Err(Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::XDEV | Errno::NOSYS) => {
                self.second_copy(job, place, expect)
            }
            Err(e) => Err(cause(e)),
        }
    }

    fn second_there<'p>(&self, job: &Job<'_>, place: Place<'p>, expect: &Stat) -> Result<Second<'p>, Cause> {
        let there = stat_at(&place.dir, place.name)?.ok_or(Cause::Raced)?;
        if there.ino == expect.ino || holds(&place.dir, place.name, job.intent.from)? {
            return Ok(Second { place, made: false, ino: there.ino });
        }
        Err(cause(Errno::EXIST))
    }

    /// Where names cannot be doubled: a copy of the bytes, verified, durable, with the loser's metadata.
    fn second_copy<'p>(&self, job: &Job<'_>, place: Place<'p>, expect: &Stat) -> Result<Second<'p>, Cause> {
        let from = &job.place;
        let made = match expect.kind {
            Kind::Symlink => {
                let text = link_at(&from.dir, from.name)?;
                self.allowing(&[place.dir.as_fd()], || symlinkat(text.as_slice(), &place.dir, place.name))
            }
            Kind::File => {
                self.copy_aside(job, expect)?;
                self.allowing(&[place.dir.as_fd()], || {
                    let aside = copy_name(job.n);
                    renameat_with(&job.tmp, aside, &place.dir, place.name, RenameFlags::NOREPLACE)
                })
            }
            Kind::Directory | Kind::Removed => return Err(cause(Errno::ISDIR)),
        };
        match made {
            Ok(()) => {
                let ino = stat_at(&place.dir, place.name)?.ok_or(Cause::Raced)?.ino;
                Ok(Second { place, made: true, ino })
            }
            Err(Errno::EXIST) => {
                remove_part(&job.tmp, &copy_name(job.n))?;
                self.second_there(job, place, expect)
            }
            Err(e) => Err(cause(e)),
        }
    }

    fn copy_aside(&self, job: &Job<'_>, expect: &Stat) -> Result<(), Cause> {
        let source = read_at(&job.place.dir, job.place.name)?;
        if !is_same(expect, &super::stat::file_stat(&source)?) {
            return Err(Cause::Raced);
        }
        let name = copy_name(job.n);
        remove_part(&job.tmp, &name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy: File =
            openat(&job.tmp, name.as_str(), flags, Mode::RUSR | Mode::WUSR).map_err(cause)?.into();
        copy_bytes(&source, &copy, expect.size)?;
        if content_of(&copy)? != job.intent.from.1 {
            remove_part(&job.tmp, &name)?;
            return Err(Cause::Raced);
        }
        fchmod(&copy, Mode::from_raw_mode(expect.mode as u32)).map_err(cause)?;
        set_mtime(&copy, expect.mtime).map_err(cause)?;
        // Should it fail, the next try copies anew.
        fsync(&copy)
    }
}

impl Second<'_> {
    /// Whether the copy's name stands for that inode now.
    pub(super) fn is_same_inode(&self, ino: u64) -> bool {
        self.ino == ino
            && stat_at(&self.place.dir, self.place.name).is_ok_and(|s| s.is_some_and(|s| s.ino == ino))
    }

    /// Stat of the copy and when it was read. If a user removed it at once, or it cannot be read, it is told as not there,
    /// and looked at.
    pub(super) fn stat(&self, loser: Kind) -> (Stat, u64) {
        let at = wall();
        debug_assert_ne!(loser, Kind::Removed);
        (stat_at(&self.place.dir, self.place.name).ok().flatten().unwrap_or_default(), at)
    }

    /// Takes the name back because the swap was not made: while the loser stands at its own path it is needless.
    pub(super) fn undo(&self, job: &Job<'_>) {
        let expect = job.expect.as_ref();
        let still = stat_at(&job.place.dir, job.place.name)
            .is_ok_and(|s| s.is_some_and(|s| expect.is_some_and(|e| s.ino == e.ino)));
        if self.made && still {
            self.retire(job);
        }
    }

    /// Moves the name out of sight and deletes it if it is what this act made; else it goes back.
    fn retire(&self, job: &Job<'_>) {
        let aside = copy_name(job.n);
        let (dir, name) = (&self.place.dir, self.place.name);
        if remove_part(&job.tmp, &aside).is_err()
            || renameat_with(dir, name, &job.tmp, aside.as_str(), RenameFlags::NOREPLACE).is_err()
        {
            return;
        }
        job.root.touch(TMP);
        let source = stat_at(&job.place.dir, job.place.name).ok().flatten().map(|s| s.ino);
        let ours = stat_at(&job.tmp, aside.as_bytes())
            .is_ok_and(|s| s.is_some_and(|s| s.ino == self.ino || Some(s.ino) == source));
        if ours {
            // A name too many of what stands at the path: if it stays, it is an unknown file in tmp, and kept.
            let _ = remove_part(&job.tmp, &aside);
        } else {
            // Someone put another file there at that very instant: theirs.
            let _ = renameat_with(&job.tmp, aside.as_str(), dir, name, RenameFlags::NOREPLACE);
        }
    }
}
