//! A disk in memory that hurts: names and bytes are volatile until something makes them durable, and a power cut keeps
//! what it likes of the rest. Names follow a journal: a cut keeps a prefix of their changes.

pub use super::bytes::Bytes;
use super::rand::{Rand, number};
pub use super::words::Told;
use dartsync_core::ids::ContentId;
use dartsync_core::peer::{Stat, Touch};
use dartsync_core::record::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// An inode's number.
pub type Ino = u64;
/// The folder's root.
pub const ROOT: Ino = 1;
/// `.dartsync/tmp`.
pub const TMP: Ino = 2;
/// `.dartsync/trash`.
pub const TRASH: Ino = 3;
/// What stands in the page cache for so long is on the platter (µs).
pub const WRITTEN_BACK: u64 = 30_000_000;
/// A byte string's name in a directory.
pub type Name = Vec<u8>;

type Entries = Rc<BTreeMap<Name, Ino>>;
type Names = BTreeMap<Ino, Entries>;

/// An inode.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// ns.
    pub mtime: i64,
    ctime: i64,
    /// Bytes or text.
    pub data: Bytes,
    /// What is on the platter: bytes, mode, mtime; none: nothing yet.
    durable: Option<(Bytes, u16, i64)>,
    /// When its bytes last changed (µs): they are written back soon after, whatever is done to mode and times then.
    changed: u64,
    /// Open for writing by so many.
    pub writers: u32,
}

/// See the module.
#[derive(Clone)]
pub struct Fs {
    nodes: BTreeMap<Ino, Node>,
    names: Names,
    above: BTreeMap<Ino, (Ino, Name)>,
    /// Earlier states of the names that a power cut may fall back to, oldest first, and until when (µs) each stood.
    past: Vec<(u64, Names)>,
    last: Ino,
    watched: BTreeSet<Ino>,
    /// What the kernel has to tell.
    pub told: Vec<Told>,
    /// Names that acts have changed metadata of, since the last sync.
    pub touched: BTreeSet<Ino>,
    /// Wall time (µs): set before each act.
    pub wall: u64,
    /// The world's time (µs): set before each act.
    pub now: u64,
    /// Stored times are multiples of it (ns).
    pub grain: i64,
    /// The clock that stamps changes ticks so often (ns).
    pub tick: i64,
    /// Mode bits that it keeps, and those that it shows whatever is set.
    pub modes: (u16, u16),
}

/// What stops an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// ENOENT
    NoEntry,
    /// EEXIST
    Exists,
    /// ENOTEMPTY
    NotEmpty,
    /// EINVAL: a directory into itself
    Inside,
}

impl Fs {
    /// An empty folder.
    pub fn new(grain: i64, tick: i64) -> Fs {
        let dir = |mode| Node {
            kind: Kind::Directory,
            mode,
            mtime: 0,
            ctime: 0,
            data: Bytes::none(),
            durable: None,
            changed: 0,
            writers: 0,
        };
        let nodes = [ROOT, TMP, TRASH].map(|i| (i, dir(0o755))).into();
        let names = [ROOT, TMP, TRASH].map(|i| (i, Entries::default())).into();
        Fs {
            nodes,
            names,
            above: BTreeMap::new(),
            past: Vec::new(),
            last: 9,
            watched: BTreeSet::new(),
            told: Vec::new(),
            touched: BTreeSet::new(),
            wall: 0,
            now: 0,
            grain,
            tick,
            modes: (0o777, 0),
        }
    }

    // Looking.

    /// The inode at a name of a directory.
    pub fn entry(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        self.names.get(&dir)?.get(name).copied()
    }
    /// The entries of a directory.
    pub fn entries(&self, dir: Ino) -> impl Iterator<Item = (&Name, Ino)> {
        self.names.get(&dir).into_iter().flat_map(|e| e.iter().map(|(n, i)| (n, *i)))
    }
    /// Where a path leads: its directory and last name; none if a directory on the way is missing.
    pub fn place<'p>(&self, path: &'p [u8]) -> Option<(Ino, &'p [u8])> {
        let mut dir = ROOT;
        let mut parts = path.split(|b| *b == b'/').peekable();
        loop {
            let name = parts.next()?;
            if parts.peek().is_none() {
                return Some((dir, name));
            }
            dir = self.entry(dir, name).filter(|i| self.node(*i).kind == Kind::Directory)?;
        }
    }
    /// The inode at a path.
    pub fn find(&self, path: &[u8]) -> Option<Ino> {
        let (dir, name) = self.place(path)?;
        self.entry(dir, name)
    }
    /// An inode.
    pub fn node(&self, ino: Ino) -> &Node {
        &self.nodes[&ino]
    }
    /// An inode, to be changed by a user's open handle.
    pub fn node_mut(&mut self, ino: Ino) -> &mut Node {
        self.nodes.get_mut(&ino).expect("inodes stay")
    }
    /// What stat says.
    pub fn stat(&self, ino: Ino) -> Stat {
        let n = self.node(ino);
        let dir = n.kind == Kind::Directory;
        Stat {
            kind: n.kind,
            mode: if n.kind == Kind::Symlink { 0 } else { n.mode },
            size: if dir { 0 } else { n.data.bytes.len() as u64 },
            mtime: if dir { 0 } else { n.mtime },
            ctime: n.ctime,
            ino,
        }
    }
    /// The path of a directory, if it hangs below the root.
    pub fn path_of(&self, dir: Ino) -> Option<Vec<u8>> {
        if dir == ROOT {
            return Some(Vec::new());
        }
        let (up, name) = self.above.get(&dir)?;
        let mut path = self.path_of(*up)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Some(path)
    }
    fn path_at(&self, (dir, name): (Ino, &[u8])) -> Option<Vec<u8>> {
        let mut path = self.path_of(dir)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Some(path)
    }
    /// Every path below a directory with its inode, in tree order.
    pub fn walk(&self, dir: Ino, at: &[u8]) -> Vec<(Vec<u8>, Ino)> {
        let mut out = Vec::new();
        for (name, ino) in self.entries(dir) {
            let mut path = at.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let below = self.node(ino).kind == Kind::Directory;
            out.push((path.clone(), ino));
            if below {
                out.extend(self.walk(ino, &path));
            }
        }
        out
    }
    /// The directory and name of a file that stood at `was`: there, or where it was moved to.
    pub fn name_of(&self, ino: Ino, was: (Ino, Name)) -> (Ino, Name) {
        if self.entry(was.0, &was.1) == Some(ino) {
            return was;
        }
        let moved = self.walk(ROOT, b"").into_iter().find(|w| w.1 == ino);
        moved.and_then(|w| self.place(&w.0).map(|(dir, name)| (dir, name.to_vec()))).unwrap_or(was)
    }
    /// Whether that name holds an empty directory.
    pub fn is_empty(&self, dir: Ino) -> bool {
        self.entries(dir).next().is_none()
    }

    // Changing.

    /// The time that a change gets now.
    pub fn stamp(&self) -> i64 {
        let ns = self.wall as i64 * 1000;
        let ns = ns - ns.rem_euclid(self.tick);
        ns - ns.rem_euclid(self.grain)
    }
    /// What becomes of a mode here.
    pub fn masked(&self, mode: u16) -> u16 {
        mode & self.modes.0 | self.modes.1
    }
    fn keep_past(&mut self) {
        let old = self.names.clone();
        self.past.push((self.now, old));
        if self.past.len() > 48 {
            self.past.remove(0);
        }
    }
    fn set(&mut self, dir: Ino, name: &[u8], to: Option<Ino>) {
        let entries = Rc::make_mut(self.names.get_mut(&dir).expect("a directory"));
        match to {
            Some(i) => {
                entries.insert(name.to_vec(), i);
                if self.nodes[&i].kind == Kind::Directory {
                    self.above.insert(i, (dir, name.to_vec()));
                }
            }
            None => {
                entries.remove(name);
            }
        }
    }
    fn tell(&mut self, dir: Ino, name: &[u8], touch: Touch, sub: Option<Ino>, moved: bool) {
        if !self.watched.contains(&dir) {
            return;
        }
        let Some(path) = self.path_at((dir, name)) else { return };
        let told = Told { path, touch, dir: sub, moved, from: None };
        if self.told.last() != Some(&told) {
            self.told.push(told);
        }
    }
    /// An inode without a name yet.
    pub fn make(&mut self, kind: Kind, mode: u16, data: Option<Bytes>) -> Ino {
        self.last += 1;
        let at = self.stamp();
        let node = Node {
            kind,
            mode: self.masked(mode),
            mtime: at,
            ctime: at,
            data: data.unwrap_or_else(Bytes::none),
            durable: None,
            changed: self.now,
            writers: 0,
        };
        self.nodes.insert(self.last, node);
        if kind == Kind::Directory {
            self.names.insert(self.last, Entries::default());
        }
        self.last
    }
    /// Gives an inode a name that is free.
    pub fn link(&mut self, dir: Ino, name: &[u8], ino: Ino) -> Result<(), Errno> {
        if !self.names.contains_key(&dir) {
            return Err(Errno::NoEntry);
        }
        if self.entry(dir, name).is_some() {
            return Err(Errno::Exists);
        }
        self.keep_past();
        self.set(dir, name, Some(ino));
        self.nodes.get_mut(&ino).expect("inodes stay").ctime = self.stamp();
        let is_dir = self.node(ino).kind == Kind::Directory;
        self.tell(dir, name, Touch::Settled, is_dir.then_some(ino), false);
        Ok(())
    }
    /// Takes a name away: of a directory only if it is empty.
    pub fn unlink(&mut self, dir: Ino, name: &[u8]) -> Result<(), Errno> {
        let ino = self.entry(dir, name).ok_or(Errno::NoEntry)?;
        if self.node(ino).kind == Kind::Directory && !self.is_empty(ino) {
            return Err(Errno::NotEmpty);
        }
        self.keep_past();
        self.set(dir, name, None);
        self.above.remove(&ino);
        self.nodes.get_mut(&ino).expect("inodes stay").ctime = self.stamp();
        self.tell(dir, name, Touch::Gone, None, false);
        Ok(())
    }
    /// Renames; what stands at the new name is replaced if it can be, unless `keep` (NOREPLACE).
    pub fn rename(&mut self, a: (Ino, &[u8]), b: (Ino, &[u8]), keep: bool) -> Result<(), Errno> {
        let ino = self.entry(a.0, a.1).ok_or(Errno::NoEntry)?;
        if !self.names.contains_key(&b.0) {
            return Err(Errno::NoEntry);
        }
        let is_dir = self.node(ino).kind == Kind::Directory;
        if is_dir && self.is_inside(b.0, ino) {
            return Err(Errno::Inside);
        }
        if let Some(old) = self.entry(b.0, b.1) {
            if keep || old == ino || is_dir != (self.node(old).kind == Kind::Directory) {
                return Err(Errno::Exists);
            }
            if is_dir && !self.is_empty(old) {
                return Err(Errno::NotEmpty);
            }
            self.above.remove(&old);
        }
        self.keep_past();
        self.set(a.0, a.1, None);
        self.set(b.0, b.1, Some(ino));
        self.nodes.get_mut(&ino).expect("inodes stay").ctime = self.stamp();
        self.tell(a.0, a.1, Touch::Gone, None, true);
        self.tell(b.0, b.1, Touch::Settled, is_dir.then_some(ino), true);
        if !is_dir && self.watched.contains(&a.0) {
            let (from, to) = (self.path_at(a), self.path_at(b));
            self.told
                .last_mut()
                .filter(|t| Some(&t.path) == to.as_ref())
                .into_iter()
                .for_each(|t| t.from = from.clone());
        }
        if is_dir && self.path_of(ino).is_none() {
            for (_, below) in self.walk(ino, b"") {
                self.watched.remove(&below);
            }
            self.watched.remove(&ino);
        }
        Ok(())
    }
    /// Exchanges two names.
    pub fn exchange(&mut self, a: (Ino, &[u8]), b: (Ino, &[u8])) -> Result<(), Errno> {
        let (x, y) =
            (self.entry(a.0, a.1).ok_or(Errno::NoEntry)?, self.entry(b.0, b.1).ok_or(Errno::NoEntry)?);
        self.keep_past();
        self.set(a.0, a.1, Some(y));
        self.set(b.0, b.1, Some(x));
        let at = self.stamp();
        for (ino, to) in [(x, b), (y, a)] {
            self.nodes.get_mut(&ino).expect("inodes stay").ctime = at;
            let dir = self.node(ino).kind == Kind::Directory;
            self.tell(to.0, to.1, Touch::Settled, dir.then_some(ino), true);
            self.tell(to.0, to.1, Touch::Gone, None, true);
        }
        Ok(())
    }
    fn is_inside(&self, dir: Ino, of: Ino) -> bool {
        dir == of || self.above.get(&dir).is_some_and(|(up, _)| self.is_inside(*up, of))
    }
    /// Replaces the bytes of a file in place, as a write does.
    pub fn write(&mut self, at: (Ino, &[u8]), ino: Ino, data: Bytes, touch: Touch) {
        let stamp = self.stamp();
        let now = self.now;
        let n = self.node_mut(ino);
        (n.data, n.mtime, n.ctime, n.changed) = (data, stamp, stamp, now);
        if self.entry(at.0, at.1) == Some(ino) {
            self.tell(at.0, at.1, touch, None, false);
        }
    }
    /// Closes a file that was written.
    pub fn closed(&mut self, at: (Ino, &[u8])) {
        self.tell(at.0, at.1, Touch::Settled, None, false);
    }
    /// Sets mode and mtime.
    pub fn set_meta(&mut self, at: (Ino, &[u8]), ino: Ino, mode: Option<u16>, mtime: Option<i64>) {
        let (stamp, grain) = (self.stamp(), self.grain);
        let mode = mode.map(|m| self.masked(m));
        let n = self.node_mut(ino);
        n.mode = mode.unwrap_or(n.mode);
        n.mtime = mtime.map_or(n.mtime, |m| m - m.rem_euclid(grain));
        n.ctime = stamp;
        self.tell(at.0, at.1, Touch::Settled, None, false);
    }

    // Durability.

    /// fsync of a file.
    pub fn sync_file(&mut self, ino: Ino) {
        let n = self.node_mut(ino);
        n.durable = Some((n.data.clone(), n.mode, n.mtime));
    }
    /// All names so far are durable.
    pub fn sync_names(&mut self) {
        self.past.clear();
        for ino in std::mem::take(&mut self.touched) {
            self.sync_file(ino);
        }
    }
    /// All file contents are durable, and their names.
    pub fn flush(&mut self) {
        let all: Vec<Ino> = self.nodes.keys().copied().collect();
        all.into_iter().for_each(|i| self.sync_file(i));
        self.past.clear();
    }
    /// The power fails: some earlier state of the names comes back, and files that were not durable hold whatever.
    /// The contents that were torn.
    pub fn power_cut(&mut self, rand: &mut Rand) -> Vec<Bytes> {
        let now = self.now;
        self.past.retain(|(at, _)| at + WRITTEN_BACK > now);
        if !self.past.is_empty() && rand.chance(3, 4) {
            let one = rand.choose(std::mem::take(&mut self.past), |p| p.0).expect("there are some");
            let mut names = one.1;
            // Directories that were made since hang nowhere, but their inodes stay.
            for (ino, entries) in std::mem::take(&mut self.names) {
                names.entry(ino).or_insert(entries);
            }
            self.names = names;
        }
        self.past.clear();
        // What hangs nowhere any more is above nothing: what it held may hang elsewhere again.
        self.above.clear();
        [ROOT, TMP, TRASH].into_iter().for_each(|dir| self.hang(dir));
        let mut torn = Vec::new();
        let key = rand.next();
        for n in self.nodes.values_mut().filter(|n| n.kind == Kind::File) {
            // Whatever else lies on the disk.
            let rand = &mut Rand::new(key ^ number(&n.data.id.0));
            n.writers = 0;
            let same = n.durable.as_ref().is_some_and(|d| d.0 == n.data);
            let old = n.changed + WRITTEN_BACK <= now;
            if !same && !old && rand.chance(1, 2) {
                let (data, mode, mtime) = match (&n.durable, rand.below(3)) {
                    (Some(d), 0 | 1) => d.clone(),
                    _ => {
                        let cut = rand.below(n.data.bytes.len() as u64 + 1) as usize;
                        (Bytes::file(&n.data.bytes[..cut]), n.mode, n.mtime)
                    }
                };
                (n.data, n.mode, n.mtime) = (data, mode, mtime);
                torn.push(n.data.clone());
            }
            n.durable = Some((n.data.clone(), n.mode, n.mtime));
        }
        self.reset();
        torn
    }
    fn hang(&mut self, dir: Ino) {
        let below: Vec<(Name, Ino)> = self.entries(dir).map(|(n, i)| (n.clone(), i)).collect();
        for (name, i) in below {
            if self.nodes[&i].kind == Kind::Directory {
                self.above.insert(i, (dir, name));
                self.hang(i);
            }
        }
    }
    /// The program ended: nobody watches.
    pub fn reset(&mut self) {
        self.watched.clear();
        self.told.clear();
        self.touched.clear();
    }

    // Watching.

    /// Watches the whole folder.
    pub fn watch_all(&mut self) {
        self.watched.clear();
        self.watch(ROOT);
    }
    /// Watches a directory and those below it.
    pub fn watch(&mut self, dir: Ino) {
        self.watched.insert(dir);
        let below: Vec<Ino> = self.entries(dir).map(|e| e.1).collect();
        for i in &below {
            if self.nodes[i].kind == Kind::Directory {
                self.watch(*i);
            }
        }
    }
    /// Every content that is visible or in the trash: parts may be fetched anew at any time.
    pub fn kept(&self) -> BTreeSet<ContentId> {
        let all = [ROOT, TRASH].into_iter().flat_map(|d| self.walk(d, b""));
        all.map(|(_, i)| self.node(i).data.id).collect()
    }
    /// Every content on this disk, wherever it lies.
    pub fn contents(&self) -> BTreeSet<ContentId> {
        let all = [ROOT, TMP, TRASH].into_iter().flat_map(|d| self.walk(d, b""));
        all.map(|(_, i)| self.node(i).data.id).collect()
    }
}
