//! Scans: everything below a directory, in tree order, from a thread of its own.
//!
//! A directory is listed and looked at as a whole, then closed: memory holds one sorted listing a level, and one
//! directory is open at a time, however deep the tree. Nothing is followed: no symlink, no mount.

use crate::disk::stat_of;
use dartsync_core::limits::PATH;
use dartsync_core::path::{BadPath, Path, check_name};
use dartsync_core::peer::{Cause, ScanEntry, Stat};
use dartsync_core::record::Kind;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, openat2, statat};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

/// Entries of a batch, at most.
const BATCH: usize = 1024;
/// Batches that wait to be taken.
const WAITING: usize = 4;

/// What a scan finds, in tree order.
#[derive(Debug)]
pub enum Found {
    /// Entries.
    Entries(Batch),
    /// What is below this directory could not be read, for this cause: nothing is said of rows there. If the directory
    /// itself could not be looked at (a mount: `EXDEV`), it was no entry either.
    Blind(Vec<u8>, Cause),
    /// Something whose path no device could hold is left out, with what is below it.
    Odd(Vec<u8>, BadPath),
    /// All was told.
    Done,
    /// The directory to be scanned could not be read.
    Failed(Cause),
}

/// At most 1,024 entries.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<(u32, Stat)>,
}

impl Batch {
    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// The entries, in tree order.
    pub fn iter(&self) -> impl Iterator<Item = ScanEntry<'_>> {
        let starts = std::iter::once(0).chain(self.entries.iter().map(|e| e.0 as usize));
        self.entries.iter().zip(starts).map(|((end, stat), start)| {
            let path = Path::new(&self.bytes[start..*end as usize]).expect("checked when it was put in");
            ScanEntry { path, stat: *stat }
        })
    }
    fn push(&mut self, path: &[u8], stat: Stat) {
        self.bytes.extend_from_slice(path);
        // 1,024 paths of at most 4 KiB.
        self.entries.push((self.bytes.len() as u32, stat));
    }
}

/// A scan under way on its own thread; dropping it stops it.
pub struct Scan {
    found: Receiver<Found>,
    ended: bool,
}

impl Scan {
    /// Starts to list what is below `dir` (empty: the root). `wake` is called on the scan's thread after each thing found,
    /// and must not block.
    pub fn start(root: OwnedFd, dir: Vec<u8>, wake: impl Fn() + Send + 'static) -> std::io::Result<Scan> {
        let (sender, found) = sync_channel(WAITING);
        thread::Builder::new().name("scan".into()).stack_size(256 * 1024).spawn(move || {
            let tell = |f| {
                let sent = sender.send(f);
                wake();
                if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            // Broken off: the scan was dropped, nobody listens.
            let _ = Walk::run(root.as_fd(), &dir, &tell);
        })?;
        Ok(Scan { found, ended: false })
    }
    /// The next thing found, if there is one. [`Found::Done`] or [`Found::Failed`] is the last.
    pub fn poll(&mut self) -> Option<Found> {
        match self.found.try_recv() {
            Ok(found) => {
                self.ended = matches!(found, Found::Done | Found::Failed(_));
                Some(found)
            }
            Err(TryRecvError::Disconnected) if !self.ended => {
                panic!("the scan's thread has ended by a panic")
            }
            Err(_) => None,
        }
    }
}

/// Paths that are left out, and why.
type OddOnes = Vec<(Vec<u8>, BadPath)>;

/// One directory's entries that are still to be told.
struct Level {
    names: Vec<u8>,
    /// Sorted by descending name.
    entries: Vec<Listed>,
    /// Bytes of the directory's path.
    path: usize,
}

struct Listed {
    /// Where its name is, and how long.
    start: u32,
    len: u8,
    stat: Result<Stat, Cause>,
}

impl Level {
    fn name(&self, entry: &Listed) -> &[u8] {
        &self.names[entry.start as usize..][..usize::from(entry.len)]
    }
    fn push(&mut self, name: &[u8], stat: Result<Stat, Cause>) {
        self.entries.push(Listed { start: self.names.len() as u32, len: name.len() as u8, stat });
        self.names.extend_from_slice(name);
    }
    fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|a, b| self.name(b).cmp(self.name(a)));
        self.entries = entries;
    }
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    device: u64,
    tell: &'a dyn Fn(Found) -> ControlFlow<()>,
    path: Vec<u8>,
    batch: Batch,
    buffer: Box<[MaybeUninit<u8>]>,
}

impl<'a> Walk<'a> {
    fn run(root: BorrowedFd<'a>, dir: &[u8], tell: &'a dyn Fn(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let (path, batch) = (dir.to_vec(), Batch::default());
        let buffer = vec![MaybeUninit::uninit(); 32 * 1024].into_boxed_slice();
        let device = match rustix::fs::fstat(root) {
            Ok(stat) => stat.st_dev,
            Err(e) => return tell(Found::Failed(cause(e))),
        };
        let mut walk = Walk { root, device, tell, path, batch, buffer };
        match walk.list() {
            Ok(level) => walk.levels(level?),
            Err(e) => tell(Found::Failed(cause(e))),
        }
    }

    fn levels(&mut self, first: Level) -> ControlFlow<()> {
        let mut levels = vec![first];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path);
            let Some(entry) = level.entries.pop() else {
                levels.pop();
                continue;
            };
            push_name(&mut self.path, level.name(&entry));
            match entry.stat {
                Ok(stat) => self.entry(stat)?,
                Err(cause) => self.aside(Found::Blind(self.path.clone(), cause))?,
            }
            if entry.stat.is_ok_and(|s| s.kind == Kind::Directory) {
                match self.list() {
                    Ok(level) => levels.push(level?),
                    Err(e) => self.aside(Found::Blind(self.path.clone(), cause(e)))?,
                }
            }
        }
        self.flush()?;
        (self.tell)(Found::Done)
    }

    fn entry(&mut self, stat: Stat) -> ControlFlow<()> {
        self.batch.push(&self.path, stat);
        if self.batch.len() == BATCH { self.flush() } else { ControlFlow::Continue(()) }
    }
    fn flush(&mut self) -> ControlFlow<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { ControlFlow::Continue(()) } else { (self.tell)(Found::Entries(batch)) }
    }
    /// Tells something else than an entry, after the entries before it.
    fn aside(&mut self, found: Found) -> ControlFlow<()> {
        self.flush()?;
        (self.tell)(found)
    }

    /// Lists the directory at `path`. What is odd in it is told before its entries.
    fn list(&mut self) -> Result<ControlFlow<(), Level>, Errno> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let listed = self.list_with(&mut buffer);
        self.buffer = buffer;
        let (level, odd) = listed?;
        Ok(match odd.into_iter().try_for_each(|(path, why)| self.aside(Found::Odd(path, why))) {
            ControlFlow::Continue(()) => ControlFlow::Continue(level),
            ControlFlow::Break(()) => ControlFlow::Break(()),
        })
    }

    fn list_with(&self, buffer: &mut [MaybeUninit<u8>]) -> Result<(Level, OddOnes), Errno> {
        let dir = open_dir(self.root, &self.path)?;
        let mut level = Level { names: Vec::new(), entries: Vec::new(), path: self.path.len() };
        let mut odd = Vec::new();
        let mut reader = RawDir::new(&dir, buffer);
        while let Some(entry) = reader.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let path_len = level.path + usize::from(level.path > 0) + name.len();
            match check_name(name) {
                Err(BadPath::Dots | BadPath::Reserved) => continue,
                Err(why) => odd.push((child(&self.path, name), why)),
                Ok(()) if path_len > PATH => odd.push((child(&self.path, name), BadPath::TooLong)),
                Ok(()) => match self.look(dir.as_fd(), entry.file_name()) {
                    // Gone meanwhile, or nothing that is synced.
                    Err(Cause::Special) => {}
                    Err(Cause::Os(e)) if e == Errno::NOENT.raw_os_error() => {}
                    stat => level.push(name, stat),
                },
            }
        }
        level.sort();
        Ok((level, odd))
    }

    fn look(&self, dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<Stat, Cause> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT).map_err(cause)?;
        let judged = stat_of(&stat)?;
        // Directories alone: some file systems give files device numbers of their own.
        let is_mount = judged.kind == Kind::Directory && stat.st_dev != self.device;
        if is_mount { Err(cause(Errno::XDEV)) } else { Ok(judged) }
    }
}

/// Opens the directory at `path` below the root (empty: the root itself) for listing, following no symlink and crossing
/// no mount.
pub(crate) fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b"." } else { path };
    let mut tries = 0;
    loop {
        match openat2(root, path, flags, Mode::empty(), within) {
            // Something was renamed on the way while the kernel walked it.
            Err(Errno::AGAIN | Errno::INTR) if tries < 16 => tries += 1,
            opened => return opened,
        }
    }
}

/// The path of an entry of the directory at `dir` (empty: the root).
pub(crate) fn child(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    push_name(&mut path, name);
    path
}

/// Appends a name to a directory's path (empty: the root).
pub(crate) fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn cause(e: Errno) -> Cause {
    Cause::Os(e.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;
    use std::time::Duration;

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Temp {
            let dir = std::env::temp_dir().join(format!("dartsync-scan-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).expect("a temporary directory");
            Temp(dir)
        }
        fn make(&self, path: &[u8]) {
            let at = self.0.join(std::ffi::OsStr::from_bytes(path));
            fs::create_dir_all(at.parent().expect("a parent")).expect("made");
            fs::write(at, path).expect("written");
        }
        fn start(&self, dir: &str) -> Scan {
            let root = open_dir(rustix::fs::CWD, self.0.as_os_str().as_bytes());
            let root = root.or_else(|_| fs::File::open(&self.0).map(OwnedFd::from)).expect("the root opens");
            Scan::start(root, dir.into(), || ()).expect("a thread")
        }
        fn all(&self, dir: &str) -> Vec<Found> {
            let (mut scan, mut all) = (self.start(dir), Vec::new());
            while !matches!(all.last(), Some(Found::Done | Found::Failed(_))) {
                match scan.poll() {
                    Some(found) => all.push(found),
                    None => thread::sleep(Duration::from_millis(1)),
                }
            }
            assert!(scan.poll().is_none());
            all
        }
        fn paths(&self, dir: &str) -> Vec<Vec<u8>> {
            let batch = |f: &Found| match f {
                Found::Entries(b) => b.iter().map(|e| e.path.bytes().to_vec()).collect(),
                _ => Vec::new(),
            };
            self.all(dir).iter().flat_map(batch).collect()
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn everything_comes_in_tree_order_and_what_is_not_synced_is_left_out() {
        let temp = Temp::new("order");
        for path in
            [&b"a/b/c"[..], b"a/b c", b"a.txt", b"a b", b"a/\xff", b"b", b".dartsync/x", b"a/.DartSync/y"]
        {
            temp.make(path);
        }
        std::os::unix::fs::symlink("/", temp.0.join("link")).expect("linked");
        rustix::fs::mknodat(rustix::fs::CWD, temp.0.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(temp.0.join("socket")).expect("bound");
        let expect: [&[u8]; 9] =
            [b"a", b"a/b", b"a/b/c", b"a/b c", b"a/\xff", b"a b", b"a.txt", b"b", b"link"];
        assert_eq!(temp.paths(""), expect);
        assert_eq!(temp.paths("a"), expect[1..5]);
        assert_eq!(temp.paths("a/b"), expect[2..3]);
        let is_sorted = |p: &[Vec<u8>]| {
            p.is_sorted_by(|a, b| Path::new(a).unwrap().tree_cmp(Path::new(b).unwrap()).is_lt())
        };
        assert!(is_sorted(&temp.paths("")));
    }

    #[test]
    fn what_cannot_be_listed_says_so() {
        let temp = Temp::new("blind");
        temp.make(b"a/x");
        std::os::unix::fs::symlink("a", temp.0.join("link")).expect("linked");
        for dir in ["nothing", "link", "a/x", "link/x"] {
            assert!(matches!(temp.all(dir)[..], [Found::Failed(Cause::Os(_))]), "{dir}");
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(temp.0.join("a"), fs::Permissions::from_mode(0o0)).expect("set");
        let is_root = rustix::process::geteuid().is_root();
        let found = temp.all("");
        fs::set_permissions(temp.0.join("a"), fs::Permissions::from_mode(0o755)).expect("set");
        let is_blind = |f: &Found| matches!(f, Found::Blind(dir, Cause::Os(13)) if dir == b"a");
        assert!(is_root || found.iter().any(is_blind), "{found:?}");
    }

    #[test]
    fn paths_that_are_too_long_are_told() {
        let temp = Temp::new("long");
        let mut dir = OwnedFd::from(fs::File::open(&temp.0).expect("opened"));
        // 16 names of 255 bytes: the 16th ends at byte 4,095, and what is in it is out of reach.
        for _ in 0..16 {
            let name = [b'd'; 255];
            rustix::fs::mkdirat(&dir, &name[..], Mode::RWXU).expect("made");
            dir = rustix::fs::openat(&dir, &name[..], OFlags::DIRECTORY, Mode::empty()).expect("opened");
        }
        rustix::fs::mkdirat(&dir, "e", Mode::RWXU).expect("made");
        let found = temp.all("");
        let [Found::Entries(batch), Found::Odd(path, BadPath::TooLong), Found::Done] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (batch.len(), batch.iter().last().map(|e| e.path.bytes().len()), path.len()),
            (16, Some(4095), 4097)
        );
    }

    #[test]
    fn batches_are_bounded_and_a_scan_can_be_dropped() {
        let temp = Temp::new("many");
        (0..2100).for_each(|n| temp.make(format!("{}/{n}", n % 7).as_bytes()));
        let found = temp.all("");
        let sizes: Vec<usize> =
            found.iter().map(|f| if let Found::Entries(b) = f { b.len() } else { 0 }).collect();
        assert_eq!(sizes, [1024, 1024, 59, 0]);
        let mut scan = temp.start("");
        while scan.poll().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        drop(scan);
    }
}
