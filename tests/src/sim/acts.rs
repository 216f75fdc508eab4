//! What the driver does for an effect, on the disk of the world: as `effect.rs` says and the program's disk does.

use super::fs::{Bytes, Errno, Fs, Ino, ROOT, TMP, TRASH};
use super::rand::Rand;
use dartsync_core::ids::ContentId;
use dartsync_core::mutant::{self, Mutant};
use dartsync_core::peer::{Cause, Intent, Outcome, Stat};
use dartsync_core::record::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// What went to the trash: its name there, what it is.
pub type Trashed = (Vec<u8>, Kind, ContentId, u64);

/// What a program knows of the files in tmp, and gathers while it acts.
#[derive(Default)]
pub struct Tmp {
    /// Swap files whose content is vouched for (`None`: made here).
    pub(super) ready: BTreeMap<u64, Option<ContentId>>,
    /// Files taken: their stat then, and whence.
    pub(super) taken: BTreeMap<u64, (Stat, Vec<u8>)>,
    /// Swap files that were made of a taken file.
    pub(super) took: BTreeSet<u64>,
    /// Files that looks read to their end.
    pub hashed: u64,
    /// Names in the trash so far.
    pub trashed: u64,
    /// What the running act moved there.
    pub news: Vec<Trashed>,
}

/// One act.
pub struct Act<'a> {
    /// The disk.
    pub fs: &'a mut Fs,
    /// See [`Tmp`].
    pub tmp: &'a mut Tmp,
    /// The folder's root is not there.
    pub root_gone: bool,
    /// An errno that the next change of a name ends in.
    pub fail: Option<i32>,
    /// Something a user does at the last instant, at this path.
    pub race: Option<Race<'a>>,
    /// For what may happen either way.
    pub rand: Rand,
}

pub(super) fn part(n: u64) -> Vec<u8> {
    format!("{n}.part").into_bytes()
}
pub(super) fn take(n: u64) -> Vec<u8> {
    format!("{n}.take").into_bytes()
}
pub(super) fn swap(n: u64) -> Vec<u8> {
    format!("{n}.swap").into_bytes()
}

fn is_same(expect: &Stat, found: &Stat) -> bool {
    match expect.kind {
        Kind::Directory => found.kind == Kind::Directory && found.mode == expect.mode,
        _ => expect == found,
    }
}
fn is_same_data(a: &Stat, b: &Stat) -> bool {
    (a.kind, a.size, a.mtime, a.ino) == (b.kind, b.size, b.mtime, b.ino)
}
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

pub(super) type Done = Result<Outcome, Cause>;

impl<'a> Act<'a> {
    /// One that nothing disturbs.
    pub(super) fn plain(fs: &'a mut Fs, tmp: &'a mut Tmp) -> Act<'a> {
        Act { fs, tmp, root_gone: false, fail: None, race: None, rand: Rand::new(0) }
    }
}

impl Act<'_> {
    /// Runs one: what stops it is its outcome.
    pub fn run(mut self, f: impl FnOnce(&mut Self) -> Done) -> Outcome {
        if self.root_gone {
            let nothing = Outcome::Looked { stat: Stat::default(), content: None, at: self.wall() };
            return if mutant::on(Mutant::NoRoot) { nothing } else { Outcome::Failed(Cause::RootGone) };
        }
        f(&mut self).unwrap_or_else(Outcome::Failed)
    }
    pub(super) fn may_fail(&mut self) -> Result<(), Cause> {
        self.fail.take().map_or(Ok(()), |e| Err(Cause::Os(e)))
    }
    fn place<'p>(&self, path: &'p [u8]) -> Result<(Ino, &'p [u8]), Cause> {
        self.fs.place(path).ok_or(Cause::NoParent)
    }
    fn what(&self, ino: Ino) -> (Kind, ContentId) {
        let n = self.fs.node(ino);
        (n.kind, n.data.id)
    }
    /// As a lease tells (R12).
    fn has_writer(&self, ino: Ino) -> bool {
        self.fs.node(ino).writers > 0 && !mutant::on(Mutant::R12Writers)
    }
    fn wall(&self) -> u64 {
        self.fs.wall
    }

    /// `Look`.
    pub fn look(&mut self, path: &[u8], known: Option<Stat>, moved: Option<(Stat, ContentId)>) -> Done {
        let at = self.wall();
        let Ok((dir, name)) = self.place(path) else {
            if self.rand.chance(1, 2) {
                return Err(Cause::NoParent);
            }
            return Ok(Outcome::Looked { stat: Stat::default(), content: None, at });
        };
        let Some(ino) = self.fs.entry(dir, name) else {
            return Ok(Outcome::Looked { stat: Stat::default(), content: None, at });
        };
        let stat = self.fs.stat(ino);
        let alone = self.fs.node(ino).writers == 0 && self.names_of(ino) == 1;
        let still = |before: &Stat| before.is_moved_to(&stat) && !stat.is_fresh(at);
        if let Some((_, content)) = moved.filter(|(before, _)| alone && still(before)) {
            return Ok(Outcome::Looked { stat, content: Some(content), at });
        }
        if stat.kind != Kind::Directory && known != Some(stat) {
            self.may_fail()?;
        }
        let hash = stat.kind != Kind::Directory && known != Some(stat);
        self.tmp.hashed += u64::from(hash);
        Ok(Outcome::Looked { stat, content: hash.then(|| self.fs.node(ino).data.id), at })
    }

    /// A fetch's end: the content is in the part file.
    pub fn store_part(&mut self, n: u64, kind: Kind, data: Bytes) -> Done {
        self.may_fail()?;
        self.drop_take(n);
        let _ = self.fs.unlink(TMP, &part(n));
        let _ = kind;
        let ino = self.fs.make(Kind::File, 0o600, Some(data));
        self.fs.link(TMP, &part(n), ino).expect("the name is free");
        Ok(Outcome::Ready)
    }

    /// `Make`, from a path of the folder or a name in the trash.
    pub fn make(
        &mut self,
        n: u64,
        want: (Kind, ContentId),
        from: (bool, &[u8]),
        known: Option<Stat>,
    ) -> Done {
        self.may_fail()?;
        let (dir, name) =
            if from.0 { (TRASH, from.1) } else { self.place(from.1).map_err(|_| Cause::Raced)? };
        let ino = self.fs.entry(dir, name).ok_or(Cause::Raced)?;
        let stat = self.fs.stat(ino);
        if self.what(ino) != want {
            return Err(Cause::Corrupt);
        }
        match known {
            Some(k) if k != stat => Err(Cause::Raced),
            Some(_) if self.has_writer(ino) => Err(Cause::OpenWriter),
            Some(_) if want.0 == Kind::File && self.names_of(ino) == 1 => {
                self.drop_take(n);
                self.fs.rename((dir, name), (TMP, &take(n)), true).map_err(|_| Cause::Raced)?;
                let _ = self.fs.unlink(TMP, &part(n));
                self.tmp.taken.insert(n, (self.fs.stat(ino), from.1.to_vec()));
                Ok(Outcome::Taken)
            }
            _ => {
                let data = self.fs.node(ino).data.clone();
                self.store_part(n, want.0, data)
            }
        }
    }
    fn names_of(&self, ino: Ino) -> usize {
        [ROOT, TMP, TRASH].iter().map(|d| self.fs.walk(*d, b"").iter().filter(|w| w.1 == ino).count()).sum()
    }
    fn drop_take(&mut self, n: u64) {
        if self.fs.entry(TMP, &take(n)).is_some() {
            self.tmp.taken.remove(&n);
            self.trash_it(&take(n));
        }
    }
    pub(super) fn trash_it(&mut self, name: &[u8]) {
        let Some(ino) = self.fs.entry(TMP, name) else { return };
        if mutant::on(Mutant::R15Trash) && self.fs.unlink(TMP, name).is_ok() {
            return;
        }
        self.tmp.trashed += 1;
        let to = format!("t{}", self.tmp.trashed).into_bytes();
        self.fs.rename((TMP, name), (TRASH, &to), true).expect("names in the trash are new");
        let (kind, id) = self.what(ino);
        self.tmp.news.push((to, kind, id, self.fs.stat(ino).size));
    }
    fn clear_swap(&mut self, n: u64) {
        self.tmp.ready.remove(&n);
        self.tmp.took.remove(&n);
        if let Some(ino) = self.fs.entry(TMP, &swap(n))
            && (self.fs.node(ino).kind != Kind::Directory || self.fs.unlink(TMP, &swap(n)).is_err())
        {
            self.trash_it(&swap(n));
        }
    }

    /// `Prepare`.
    pub fn prepare(&mut self, n: u64, kind: Kind, mode: u16, mtime: i64) -> Done {
        let has = |fs: &Fs, name: Vec<u8>| fs.entry(TMP, &name);
        let prepared = self.tmp.ready.get(&n) == Some(&None) && kind != Kind::Directory;
        let fresh = has(self.fs, part(n)).is_none() && has(self.fs, take(n)).is_none();
        let there = has(self.fs, swap(n)).filter(|i| prepared && fresh && self.fs.node(*i).kind == kind);
        if let Some(ino) = there {
            self.finish(n, ino, kind, mode, mtime);
            return Ok(Outcome::Done);
        }
        self.clear_swap(n);
        self.may_fail()?;
        if kind == Kind::Directory {
            let ino = self.fs.make(kind, mode, None);
            self.fs.link(TMP, &swap(n), ino).expect("cleared");
        } else if kind == Kind::Symlink {
            let old = has(self.fs, part(n)).ok_or(Cause::Os(ENOENT))?;
            let data = Bytes::link(&self.fs.node(old).data.bytes.clone());
            let ino = self.fs.make(kind, 0o777, Some(data));
            let _ = self.fs.unlink(TMP, &part(n));
            self.fs.link(TMP, &swap(n), ino).expect("cleared");
            self.finish(n, ino, kind, 0o777, mtime);
        } else {
            let name = if has(self.fs, take(n)).is_some() { take(n) } else { part(n) };
            let ino = has(self.fs, name.clone()).ok_or(Cause::Os(ENOENT))?;
            if let Some((was, from)) = self.tmp.taken.get(&n).cloned() {
                if self.has_writer(ino) {
                    return Err(Cause::OpenWriter);
                }
                if !is_same_data(&was, &self.fs.stat(ino)) {
                    self.tmp.taken.remove(&n);
                    self.put_back(&name, &from);
                    return Err(Cause::Raced);
                }
            }
            self.finish(n, ino, kind, mode, mtime);
            self.fs.rename((TMP, &name), (TMP, &swap(n)), true).expect("cleared");
            if self.tmp.taken.remove(&n).is_some() {
                self.tmp.took.insert(n);
            }
        }
        self.tmp.ready.insert(n, None);
        Ok(Outcome::Done)
    }
    fn finish(&mut self, n: u64, ino: Ino, kind: Kind, mode: u16, mtime: i64) {
        let mode = if kind == Kind::File { Some(mode) } else { None };
        self.fs.set_meta((TMP, &swap(n)), ino, mode, Some(mtime));
        self.fs.sync_file(ino);
    }
    fn put_back(&mut self, name: &[u8], path: &[u8]) {
        let back = self.fs.place(path).map(|p| self.fs.rename((TMP, name), p, true));
        if back != Some(Ok(())) {
            self.trash_it(name);
        }
    }

    /// `Swap`.
    pub fn swap(
        &mut self,
        path: &[u8],
        n: u64,
        expect: Option<Stat>,
        i: &Intent,
        copy: Option<&[u8]>,
    ) -> Done {
        let (dir, name) = self.place(path)?;
        let new = self.fs.entry(TMP, &swap(n)).ok_or(Cause::Os(ENOENT))?;
        if self.fs.node(new).kind != i.to.0 {
            return Err(Cause::Os(ENOENT));
        }
        let wrong = i.to.0 != Kind::Directory && self.fs.node(new).data.id != i.to.1;
        if wrong && !mutant::on(Mutant::NoHash) {
            assert!(self.tmp.ready.get(&n) != Some(&None), "a swap file made here holds what it was made of");
            self.clear_swap(n);
            return Err(Cause::Corrupt);
        }
        let expect = expect.filter(|e| e.kind != Kind::Removed);
        self.check(dir, name, expect)?;
        self.may_fail()?;
        let second = match (copy, expect) {
            (Some(c), Some(_)) => Some(self.second(dir, name, c, i)?),
            (Some(_), None) => return Err(Cause::Raced),
            _ => None,
        };
        if let Some(race) = self.race.take() {
            race(self.fs, path);
        }
        let moved = match expect {
            Some(_) => self.fs.exchange((TMP, &swap(n)), (dir, name)),
            None => self.fs.rename((TMP, &swap(n)), (dir, name), true),
        };
        if moved.is_err() {
            if let Some((d, name, true)) = &second {
                let _ = self.fs.unlink(*d, name);
            }
            return Err(Cause::Raced);
        }
        self.tmp.ready.remove(&n);
        let odd = match expect {
            Some(e) => self.settle(n, (dir, name), &e, second.as_ref())?,
            None => None,
        };
        let at = self.wall();
        let copy = second
            .map(|(d, name, _)| (self.fs.entry(d, &name).map_or(Stat::default(), |i| self.fs.stat(i)), at));
        Ok(Outcome::Swapped { stat: self.fs.stat(new), at, copy, odd })
    }
    fn check(&mut self, dir: Ino, name: &[u8], expect: Option<Stat>) -> Result<(), Cause> {
        match (self.fs.entry(dir, name), expect) {
            (None, None) => Ok(()),
            (Some(ino), Some(e)) if is_same(&e, &self.fs.stat(ino)) => {
                if e.kind == Kind::Directory && !self.fs.is_empty(ino) {
                    return Err(Cause::NotEmpty);
                }
                if self.has_writer(ino) { Err(Cause::OpenWriter) } else { Ok(()) }
            }
            _ => Err(Cause::Raced),
        }
    }
    /// The copy's directory and name, and whether it was made now.
    fn second(
        &mut self,
        dir: Ino,
        name: &[u8],
        copy: &[u8],
        i: &Intent,
    ) -> Result<(Ino, Vec<u8>, bool), Cause> {
        let (to, as_name) = self.place(copy)?;
        let ino = self.fs.entry(dir, name).expect("checked");
        match self.fs.link(to, as_name, ino) {
            Ok(()) => Ok((to, as_name.to_vec(), true)),
            Err(Errno::Exists) => {
                let there = self.fs.entry(to, as_name).expect("it exists");
                if there != ino && self.what(there) != i.from {
                    return Err(Cause::Os(EEXIST));
                }
                Ok((to, as_name.to_vec(), false))
            }
            Err(_) => Err(Cause::Raced),
        }
    }
    fn settle(
        &mut self,
        n: u64,
        place: (Ino, &[u8]),
        expect: &Stat,
        second: Option<&(Ino, Vec<u8>, bool)>,
    ) -> Result<Option<(Kind, ContentId, Stat)>, Cause> {
        let found = self.fs.entry(TMP, &swap(n)).expect("exchanged");
        let stat = self.fs.stat(found);
        if stat.kind == Kind::Directory {
            return match self.fs.unlink(TMP, &swap(n)) {
                Ok(()) => Ok(None),
                Err(_) => {
                    self.fs.exchange((TMP, &swap(n)), place).expect("both are there");
                    self.tmp.ready.insert(n, None);
                    Err(Cause::NotEmpty)
                }
            };
        }
        if !is_same_data(expect, &stat) {
            let (kind, id) = self.what(found);
            return Ok(Some((kind, id, stat)));
        }
        if second.is_some_and(|(d, name, _)| self.fs.entry(*d, name) == Some(found)) {
            self.fs.unlink(TMP, &swap(n)).expect("it is there");
        } else {
            self.trash_it(&swap(n));
        }
        Ok(None)
    }

    /// `Keep`.
    pub fn keep(&mut self, path: &[u8], of: u64) -> Done {
        let (dir, name) = self.place(path)?;
        let here = self.fs.entry(TMP, &swap(of)).ok_or(Cause::Os(ENOENT))?;
        self.may_fail()?;
        if self.fs.rename((TMP, &swap(of)), (dir, name), true).is_err() {
            let there = self.fs.entry(dir, name).ok_or(Cause::Raced)?;
            if self.what(there) != self.what(here) {
                return Err(Cause::Os(EEXIST));
            }
            self.trash_it(&swap(of));
        }
        self.tmp.ready.remove(&of);
        let stat = self.fs.entry(dir, name).map_or(Stat::default(), |i| self.fs.stat(i));
        Ok(Outcome::Swapped { stat, at: self.wall(), copy: None, odd: None })
    }

    /// `Meta`.
    pub fn meta(&mut self, path: &[u8], expect: &Stat, mode: u16, mtime: i64) -> Done {
        let (dir, name) = self.place(path)?;
        let ino =
            self.fs.entry(dir, name).filter(|i| is_same(expect, &self.fs.stat(*i))).ok_or(Cause::Raced)?;
        if self.has_writer(ino) {
            return Err(Cause::OpenWriter);
        }
        self.may_fail()?;
        let at = (dir, name);
        match expect.kind {
            Kind::File => self.fs.set_meta(at, ino, Some(mode), (expect.mtime != mtime).then_some(mtime)),
            Kind::Directory => self.fs.set_meta(at, ino, Some(mode), None),
            _ => {}
        }
        self.fs.touched.insert(ino);
        Ok(Outcome::Swapped { stat: self.fs.stat(ino), at: self.wall(), copy: None, odd: None })
    }

    /// `Remove`.
    pub fn remove(&mut self, path: &[u8], n: u64, expect: &Stat) -> Done {
        let (dir, name) = self.place(path)?;
        let ino =
            self.fs.entry(dir, name).filter(|i| is_same(expect, &self.fs.stat(*i))).ok_or(Cause::Raced)?;
        self.may_fail()?;
        if expect.kind == Kind::Directory {
            return match self.fs.unlink(dir, name) {
                Ok(()) => Ok(Outcome::Removed),
                Err(Errno::NotEmpty) => Err(Cause::NotEmpty),
                Err(_) => Err(Cause::Raced),
            };
        }
        if self.has_writer(ino) {
            return Err(Cause::OpenWriter);
        }
        self.clear_swap(n);
        if let Some(race) = self.race.take() {
            race(self.fs, path);
        }
        self.fs.rename((dir, name), (TMP, &swap(n)), true).map_err(|_| Cause::Raced)?;
        let found = self.fs.entry(TMP, &swap(n)).expect("moved");
        if !is_same_data(expect, &self.fs.stat(found)) {
            self.put_back(&swap(n), path);
            return Err(Cause::Raced);
        }
        self.trash_it(&swap(n));
        Ok(Outcome::Removed)
    }

    /// `Recover`.
    pub fn recover(&mut self, path: &[u8], n: u64) -> Done {
        let disk = self.fs.find(path).map(|i| (self.fs.stat(i), self.fs.node(i).data.id));
        let swap = self.fs.entry(TMP, &swap(n)).map(|i| (self.fs.stat(i), self.fs.node(i).data.id));
        if let Some((_, id)) = swap {
            self.tmp.ready.insert(n, Some(id));
        }
        let part = self.fs.entry(TMP, &part(n)).is_some() || self.fs.entry(TMP, &take(n)).is_some();
        Ok(Outcome::Recovered { disk, swap, part, at: self.wall() })
    }

    /// `Discard`.
    pub fn discard(&mut self, n: u64, unused: bool) -> Done {
        self.may_fail()?;
        let ours = self.tmp.ready.get(&n) == Some(&None) && !self.tmp.took.contains(&n);
        let kind = self.fs.entry(TMP, &swap(n)).map_or(Kind::Removed, |i| self.fs.node(i).kind);
        let becomes = kind == Kind::Directory || (kind == Kind::File && ours);
        if unused && !becomes && self.fs.entry(TMP, &part(n)).is_none() {
            // A sign for recoveries that nothing was swapped in.
            let ino = self.fs.make(Kind::File, 0o600, Some(Bytes::file(b"")));
            self.fs.link(TMP, &part(n), ino).expect("the name is free");
        }
        self.drop_take(n);
        let swapped = self.fs.entry(TMP, &swap(n)).filter(|_| unused && ours);
        match swapped.map(|i| self.fs.node(i).kind) {
            Some(Kind::File) => {
                let _ = self.fs.unlink(TMP, &part(n));
                self.fs.rename((TMP, &swap(n)), (TMP, &part(n)), true).expect("the name is free");
                self.tmp.ready.remove(&n);
            }
            Some(_) if self.fs.unlink(TMP, &swap(n)).is_ok() => drop(self.tmp.ready.remove(&n)),
            _ => self.clear_swap(n),
        }
        Ok(Outcome::Done)
    }
}

/// What a user does at the last instant, at a path.
pub type Race<'a> = &'a mut dyn FnMut(&mut Fs, &[u8]);
