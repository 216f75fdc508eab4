//! Watching folders by inotify: what changed in them, as marks on paths. Events decide nothing; a stat does.
//!
//! Invariant: every directory below a root has a watch, set before it was listed, unless the root is said to be limited.
//! A watch is a node of a tree of names ([`Tree`]); the paths of events are derived from it when they are told, so a
//! renamed directory costs one changed node.

mod pending;
#[cfg(test)]
mod tests;
mod tree;

use crate::scan::{child, open_dir};
use dartsync_core::ids::Folder;
use dartsync_core::path::{Path, check_name};
use dartsync_core::peer::Touch;
use pending::{Change, Pending};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use tree::{Node, Tree};

/// What is asked of every watched directory.
const EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);
/// Events that are taken in one [`Watcher::read`], about.
const AT_ONCE: usize = 8192;

/// News of a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchEvent<'a> {
    /// A path may have changed. A directory that is [`Touch::Gone`] stands for all that was below it.
    Touch {
        /// Where.
        folder: Folder,
        /// What.
        path: Path<'a>,
        /// Whether it is, or was, a directory.
        is_dir: bool,
        /// How.
        touch: Touch,
        /// The path of the same folder that the file was moved from, when no event of either was told or read but that.
        from: Option<Path<'a>>,
    },
    /// Events were lost: anything in the folder may have changed. It is watched again as a whole.
    Lost(Folder),
    /// The root or its `.dartsync` was removed, moved, unmounted or changed: see whether it still stands.
    Root(Folder),
    /// The kernel ended the root's watch: nothing is told of the folder any more.
    Unwatched(Folder),
    /// The folder is from now on watched in part only: see [`LIMIT_HELP`].
    Limited(Folder),
}

/// How far a root is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    /// Wholly.
    Complete,
    /// The system's limit was reached: see [`LIMIT_HELP`]. Scans must find what events do not tell.
    Limited,
}

/// What a user can do about [`Watched::Limited`].
pub const LIMIT_HELP: &str =
    "too many directories to watch: raise the limit with `sysctl fs.inotify.max_user_watches=1048576`";

struct Root {
    dir: OwnedFd,
    device: u64,
    is_limited: bool,
}

/// See the module.
pub struct Watcher {
    inotify: OwnedFd,
    roots: HashMap<Folder, Root>,
    tree: Tree,
    pending: Pending,
    /// Directories that were moved away, not yet seen to arrive: cookie, parent's watch, name.
    moving: Vec<(u32, i32, Vec<u8>)>,
    /// The file that was moved away last in this read, of whose name nothing else was noted: cookie, directory, name.
    left: Option<(u32, i32, Vec<u8>)>,
}

impl AsFd for Watcher {
    /// Readable when there is something to [`Watcher::read`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Watcher {
    /// A watcher of nothing. Fails when the system allows no further inotify instance
    /// (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Watcher> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Watcher {
            inotify,
            roots: HashMap::new(),
            tree: Tree::default(),
            pending: Pending::default(),
            moving: Vec::new(),
            left: None,
        })
    }

    /// Watches everything below `dir`, a directory's handle, as `folder`, which it replaces if it is watched already.
    /// What changes after this returns is told. Fails if the root itself cannot be watched.
    pub fn add_root(&mut self, folder: Folder, dir: OwnedFd) -> io::Result<Watched> {
        self.remove_root(folder);
        let device = rustix::fs::fstat(&dir)?.st_dev;
        let dir = open_dir(dir.as_fd(), b"")?;
        let wd = self.add_watch(dir.as_fd())?;
        self.tree.put(wd, Node::root(folder));
        self.roots.insert(folder, Root { dir, device, is_limited: false });
        self.watch_below(folder, wd, b"");
        Ok(if self.roots[&folder].is_limited { Watched::Limited } else { Watched::Complete })
    }

    /// Watches the folder no more.
    pub fn remove_root(&mut self, folder: Folder) {
        if self.roots.remove(&folder).is_some() {
            for wd in self.tree.take_folder(folder) {
                self.drop_watch(wd);
            }
        }
    }

    /// Whether part of the folder is not watched.
    pub fn is_limited(&self, folder: Folder) -> bool {
        self.roots.get(&folder).is_some_and(|r| r.is_limited)
    }

    /// How many directories are watched.
    pub fn len(&self) -> usize {
        self.tree.len()
    }
    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the events that are there, each path once, and tells them. If there are very many, some are left for the
    /// next call; the watcher is then still readable.
    pub fn read(&mut self, sink: &mut dyn FnMut(WatchEvent<'_>)) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut taken = 0;
        let mut last_moved = false;
        // A handle of the reader's own, for it is held while events change the watcher.
        let fd = self.inotify.try_clone()?;
        let mut reader = Reader::new(&fd, &mut buffer);
        loop {
            if taken >= AT_ONCE && reader.is_buffer_empty() {
                break;
            }
            match reader.next() {
                Ok(event) => {
                    taken += 1;
                    last_moved = event.events().contains(ReadFlags::MOVED_FROM);
                    let name = event.file_name().map(|n| n.to_bytes());
                    self.take(event.wd(), event.events(), event.cookie(), name, sink);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.left = None;
        self.tell(sink);
        // The other half of a move may be the first event of the next read.
        self.settle_moves(usize::from(last_moved));
        Ok(())
    }

    fn take(
        &mut self,
        wd: i32,
        events: ReadFlags,
        cookie: u32,
        name: Option<&[u8]>,
        sink: &mut dyn FnMut(WatchEvent<'_>),
    ) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.lost(sink);
        }
        if events.contains(ReadFlags::IGNORED) {
            // The directory is gone, or the watch was removed. What was in it is told while its path is known.
            if self.pending.has(wd) {
                self.tell(sink);
            }
            let root = self.tree.get(wd).and_then(Node::is_root_of);
            self.tree.remove(wd);
            if let Some(folder) = root {
                sink(WatchEvent::Unwatched(folder));
            }
            return;
        }
        let Some(node) = self.tree.get(wd) else { return };
        let Some(name) = name else {
            let about_self =
                ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::ATTRIB;
            if let Some(folder) = node.is_root_of().filter(|_| events.intersects(about_self)) {
                sink(WatchEvent::Root(folder));
            }
            return;
        };
        if check_name(name).is_err() {
            // Our own directory: what happens in it is not watched, but a root without its marker is none. (A removed
            // root is often seen by this alone: while a handle on it is open, the kernel tells no removal.)
            let is_written = ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE | ReadFlags::ATTRIB;
            if let Some(folder) = node.is_root_of().filter(|_| !events.intersects(is_written)) {
                sink(WatchEvent::Root(folder));
            }
            return;
        }
        let is_dir = events.contains(ReadFlags::ISDIR);
        if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            let moved = events.contains(ReadFlags::MOVED_TO);
            self.arrived(wd, name, is_dir, moved, cookie, sink);
        } else if events.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            let moved = events.contains(ReadFlags::MOVED_FROM);
            if moved && is_dir {
                self.moving.push((cookie, wd, name.to_vec()));
            } else if moved {
                let is_untouched = !self.pending.has_name(wd, name);
                self.left = is_untouched.then(|| (cookie, wd, name.to_vec()));
            }
            self.pending.note(wd, name, is_dir, if moved { Change::MovedAway } else { Change::Deleted });
        } else if events.contains(ReadFlags::CLOSE_WRITE) {
            self.pending.note(wd, name, is_dir, Change::Settled);
        } else if events.contains(ReadFlags::MODIFY) {
            self.pending.note(wd, name, is_dir, Change::Written);
        } else if events.contains(ReadFlags::ATTRIB) {
            self.pending.note(wd, name, is_dir, Change::Metadata);
        }
    }

    /// Something has appeared under a name.
    fn arrived(
        &mut self,
        wd: i32,
        name: &[u8],
        is_dir: bool,
        moved: bool,
        cookie: u32,
        sink: &mut dyn FnMut(WatchEvent<'_>),
    ) {
        let Some((folder, path)) = self.tree.path_of(wd).map(|(f, dir)| (f, child(&dir, name))) else {
            return;
        };
        let mut change = if moved { Change::MovedHere } else { Change::Settled };
        if is_dir {
            self.moving.retain(|m| m.0 != cookie || !moved);
            let was_limited = self.is_limited(folder);
            // Even when it is empty: something that left before it was watched may be known already.
            if self.watch_dir(folder, wd, name, &path) || moved {
                self.pending.note_subtree(wd, name);
            }
            if self.is_limited(folder) && !was_limited {
                sink(WatchEvent::Limited(folder));
            }
        } else if !moved && self.is_being_written(folder, &path) {
            change = Change::Written;
        }
        self.pending.note(wd, name, is_dir, change);
        if let Some((_, dir, from)) = self.left.take_if(|l| moved && !is_dir && l.0 == cookie) {
            self.pending.note_from(wd, name, (dir, &from));
        }
    }

    /// Whether what was made at the path is a regular file of one name: it was opened, and will be closed. Symlinks and
    /// further names of a file are whole when they are made.
    fn is_being_written(&self, folder: Folder, path: &[u8]) -> bool {
        let Some(root) = self.roots.get(&folder) else { return false };
        statat(&root.dir, path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_file() && s.st_nlink == 1)
    }

    /// Watches a directory under a watched one, and all below it; false if it could not be opened or watched.
    fn watch_dir(&mut self, folder: Folder, parent: i32, name: &[u8], path: &[u8]) -> bool {
        let Some(root) = self.roots.get(&folder) else { return false };
        let Ok(dir) = open_dir(root.dir.as_fd(), path) else { return false };
        if rustix::fs::fstat(&dir).map(|s| s.st_dev) != Ok(root.device) {
            return false;
        }
        let Some(wd) = self.watch_one(folder, dir.as_fd()) else { return false };
        self.tree.put(wd, Node::child(parent, name));
        drop(dir);
        self.watch_below(folder, wd, path);
        true
    }

    /// Adds one watch; notes when the limit is reached.
    fn watch_one(&mut self, folder: Folder, dir: BorrowedFd<'_>) -> Option<i32> {
        match self.add_watch(dir) {
            Ok(wd) => Some(wd),
            Err(Errno::NOSPC | Errno::NOMEM) => {
                self.roots.get_mut(&folder)?.is_limited = true;
                None
            }
            // Not readable: scans tell of it.
            Err(_) => None,
        }
    }

    fn add_watch(&self, dir: BorrowedFd<'_>) -> Result<i32, Errno> {
        // By its handle: of any length of path, and no symlink on the way.
        inotify::add_watch(&self.inotify, format!("/proc/self/fd/{}", dir.as_raw_fd()), EVENTS)
    }

    /// Watches all directories below one that is watched.
    fn watch_below(&mut self, folder: Folder, wd: i32, path: &[u8]) {
        let mut buffer = vec![MaybeUninit::uninit(); 16 * 1024];
        let mut todo = vec![(wd, path.to_vec())];
        while let Some((parent, path)) = todo.pop() {
            let Some(root) = self.roots.get(&folder).filter(|r| !r.is_limited) else { break };
            let Ok(dir) = open_dir(root.dir.as_fd(), &path) else { continue };
            let mut names = Vec::new();
            list_dirs(&dir, &mut buffer, &mut names);
            for name in names {
                let (path, Some(root)) = (child(&path, &name), self.roots.get(&folder)) else { break };
                let Ok(dir) = open_dir(root.dir.as_fd(), &path) else { continue };
                let is_ours = rustix::fs::fstat(&dir).is_ok_and(|s| s.st_dev == root.device);
                if let Some(wd) = is_ours.then(|| self.watch_one(folder, dir.as_fd())).flatten() {
                    self.tree.put(wd, Node::child(parent, &name));
                    todo.push((wd, path));
                }
            }
        }
    }

    fn drop_watch(&self, wd: i32) {
        // It may be gone already with its directory.
        let _ = inotify::remove_watch(&self.inotify, wd);
    }

    /// Drops the watches of directories that were moved out of all folders: those that did not arrive anywhere. Keeps
    /// the last `keep` for later.
    fn settle_moves(&mut self, keep: usize) {
        let done = self.moving.len().saturating_sub(keep);
        for (_, parent, name) in self.moving.drain(..done).collect::<Vec<_>>() {
            let path = self.tree.path_of(parent).map(|(folder, dir)| (folder, child(&dir, &name)));
            let dir =
                path.and_then(|(folder, path)| open_dir(self.roots.get(&folder)?.dir.as_fd(), &path).ok());
            // Another directory may stand there by now: asking for its watch again tells it from the one that left.
            let there = dir.and_then(|dir| self.add_watch(dir.as_fd()).ok());
            for wd in self.tree.take_below(parent, &name, there) {
                self.drop_watch(wd);
            }
        }
    }

    /// The kernel dropped events: directories may have come and moved unseen, so all is watched anew.
    fn lost(&mut self, sink: &mut dyn FnMut(WatchEvent<'_>)) {
        self.pending.clear();
        self.moving.clear();
        self.left = None;
        let mut folders: Vec<Folder> = self.roots.keys().copied().collect();
        folders.sort();
        for folder in folders {
            let Some(wd) = self.tree.root_of(folder) else { continue };
            self.watch_below(folder, wd, b"");
            sink(WatchEvent::Lost(folder));
            if self.is_limited(folder) {
                sink(WatchEvent::Limited(folder));
            }
        }
    }

    /// Tells what was noted, each path once.
    fn tell(&mut self, sink: &mut dyn FnMut(WatchEvent<'_>)) {
        for noted in self.pending.take() {
            let Some((folder, dir)) = self.tree.path_of(noted.wd) else { continue };
            let bytes = child(&dir, &noted.name);
            let Ok(path) = Path::new(&bytes) else { continue };
            let (is_dir, touch) = (noted.is_dir, noted.touch);
            let from = noted.from.and_then(|(wd, name)| {
                let (whose, dir) = self.tree.path_of(wd)?;
                (whose == folder).then(|| child(&dir, &name))
            });
            let from = from.as_ref().and_then(|bytes| Path::new(bytes).ok());
            sink(WatchEvent::Touch { folder, path, is_dir, touch, from });
            if noted.subtree && touch != Touch::Gone {
                sink(WatchEvent::Touch { folder, path, is_dir, touch: Touch::Subtree, from: None });
            }
        }
    }
}

/// Gathers the names of the directories in `dir`.
fn list_dirs(dir: &OwnedFd, buffer: &mut [MaybeUninit<u8>], names: &mut Vec<Vec<u8>>) {
    let mut entries = RawDir::new(dir, buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        if check_name(name.to_bytes()).is_err() {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_dir()),
            _ => false,
        };
        if is_dir {
            names.push(name.to_bytes().to_vec());
        }
    }
}
