//! Folders linked here: their roots, watches and scans.

mod trashes;

use super::effects::Done;
use super::{Node, log, now};
use crate::config::FolderConfig;
use crate::data::Roots;
use crate::disk::{Root, Run};
use crate::ops;
use crate::scan::{Found, Scan};
use crate::watch::{LIMIT_HELP, WatchEvent, Watched, Watcher};
use crate::workers::Priority;
use anyhow::{Context, Result};
use dartsync_core::ids::{ContentId, Folder, Row, Ticket};
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Index, Number, Outcome, Peer, ScanEntry, Touch, Trees};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
pub(super) use trashes::Lying;
use trashes::PRUNE;

/// Reads of the watches in one turn, and batches of scans.
const READS: usize = 4;
const BATCHES: usize = 8;
/// Rows of an unlinked folder erased in one turn.
const ERASED: usize = 2_000;
/// How long a root that is gone is kept for its displaced files, µs.
const FORMER: u64 = 600_000_000;

/// One linked folder.
struct Live {
    label: String,
    path: PathBuf,
    /// Its first scan is done, or its root is not there: it does not hold up `ready`.
    settled: bool,
    /// What a former run left in its `tmp` is cleaned up.
    cleaned: bool,
    /// Its trash was looked through.
    looked_through: bool,
    /// Why its root is not there.
    gone: Option<String>,
    /// The root that it had before it was gone, while displaced files of it are watched; and until when (µs) it is kept
    /// for a root that comes back, lest it keep the disk busy for ever.
    former: Option<(Arc<Root>, u64)>,
}

/// What the watches told of a path, a directory's or not.
struct Touched {
    folder: Folder,
    path: Vec<u8>,
    touch: Touch,
    is_dir: bool,
    /// Where it was moved from.
    from: Option<Vec<u8>>,
}

/// All linked folders, and what goes on in them.
pub struct Folders {
    watcher: Watcher,
    roots: Roots,
    live: BTreeMap<Folder, Live>,
    scans: Vec<(Ticket, Scan)>,
    /// Not told to the machine yet.
    touches: Vec<Touched>,
    /// Contents of fetches under way.
    pub contents: HashMap<Ticket, ContentId>,
    /// Rows to be erased.
    erasing: Vec<Folder>,
    /// Events or scan batches are left for the next turn.
    more: bool,
    displaced_at: Option<u64>,
    displaced_busy: bool,
    /// The folder whose displaced files were looked at last.
    displaced_of: Option<Folder>,
    prune_at: u64,
    /// When that was last, or the start.
    pruned_at: u64,
}

impl AsFd for Folders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watcher.as_fd()
    }
}

impl Folders {
    /// None yet.
    pub fn new(roots: Roots) -> Result<Folders> {
        let help = "inotify: raise the limit with `sysctl fs.inotify.max_user_instances=1024`";
        Ok(Folders {
            watcher: Watcher::new().context(help)?,
            roots,
            live: BTreeMap::new(),
            scans: Vec::new(),
            touches: Vec::new(),
            contents: HashMap::new(),
            erasing: Vec::new(),
            more: false,
            displaced_at: None,
            displaced_busy: false,
            displaced_of: None,
            prune_at: now().at.0 + PRUNE / 60,
            pruned_at: now().at.0,
        })
    }
    /// A folder's root went while its trash was looked through: that is done once more when it is there again.
    fn look_again(&mut self, folder: Folder) {
        if let Some(live) = self.live.get_mut(&folder) {
            live.looked_through = false;
        }
    }
    /// The root of a folder, or of a folder's trash.
    pub fn root(&self, folder: Folder) -> Option<Arc<Root>> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).get(&folder.live()).cloned()
    }
    fn set_root(&self, folder: Folder, root: Option<Arc<Root>>) {
        let mut roots = self.roots.write().unwrap_or_else(PoisonError::into_inner);
        match root {
            Some(r) => roots.insert(folder, r),
            None => roots.remove(&folder),
        };
    }
    /// A folder's root is not there any more, for now.
    fn lay_by(&mut self, folder: Folder) {
        let (root, at) = (self.root(folder), now().at.0);
        self.set_root(folder, None);
        let Some(live) = self.live.get_mut(&folder) else { return };
        if let Some(root) = root.filter(|r| r.displaced() > 0) {
            live.former = Some((root, at + FORMER));
        }
        if live.former.as_ref().is_some_and(|(_, until)| *until < at) {
            live.former = None;
        }
    }
    /// Its label.
    pub fn label(&self, folder: Folder) -> String {
        self.live.get(&folder.live()).map_or_else(|| "?".into(), |l| l.label.clone())
    }
    /// Why its root is not there.
    pub fn gone(&self, folder: Folder) -> Option<&str> {
        self.live.get(&folder)?.gone.as_deref()
    }
    /// Whether its watches reach only part of it.
    pub fn is_limited(&self, folder: Folder) -> bool {
        self.watcher.is_limited(folder)
    }
    /// It does not hold up `ready` any more.
    pub fn settle(&mut self, folder: Folder) {
        if let Some(l) = self.live.get_mut(&folder) {
            l.settled = true;
        }
    }
    /// Whether there is more to read or hand on than the last turn took.
    pub fn has_more(&self) -> bool {
        self.more || !self.erasing.is_empty()
    }
    /// The watches are readable.
    pub fn has_events(&mut self) {
        self.more = true;
    }
    /// When [`Node::step_folders`] is due.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.prune_at.min(self.displaced_at.unwrap_or(u64::MAX)))
    }
}

impl Node {
    /// A folder of the configuration is linked: the machine watches and scans it.
    pub(super) fn take_up(&mut self, f: &FolderConfig) -> Result<()> {
        let (folder, id) = (f.folder(), f.folder_id()?);
        let live = Live {
            label: f.label.clone(),
            path: f.path.0.clone(),
            settled: false,
            cleaned: false,
            looked_through: false,
            gone: None,
            former: None,
        };
        self.folders.live.insert(folder, live);
        self.peer.link_folder(&mut self.store, now(), folder, id);
        if f.paused != (self.store.number(folder, Number::State) & 1 != 0) {
            self.peer.set_paused(&mut self.store, now(), folder, f.paused);
        }
        Ok(())
    }

    /// A folder is linked no more: its rows go, its files stay.
    pub(super) fn give_up(&mut self, folder: Folder) -> Result<()> {
        self.config.folders.retain(|f| f.folder() != folder);
        self.state.set_config(&self.config)?;
        self.peer.unlink_folder(&mut self.store, now(), folder);
        self.folders.watcher.remove_root(folder);
        let label = self.folders.label(folder);
        if let Some(root) = self.folders.root(folder)
            && let Err(e) = root.unlink()
        {
            log(&format!("{label}: its marker could not be removed: {}", ops::cause(e)));
        }
        self.folders.set_root(folder, None);
        self.folders.live.remove(&folder);
        self.folders.erasing.push(folder);
        log(&format!("{label}: is linked here no more"));
        self.say_ready();
        Ok(())
    }

    /// Says `ready` once all folders are watched and scanned.
    pub(super) fn say_ready(&mut self) {
        if !self.news.ready_said && self.folders.live.values().all(|l| l.settled) {
            self.news.ready_said = true;
            let mut out = std::io::stdout();
            let _ = writeln!(out, "ready").and_then(|()| out.flush());
        }
    }

    /// `Effect::Watch`: the root is looked for on a worker, which tries what its file system can do.
    pub(super) fn watch(&mut self, ticket: Ticket, folder: Folder) {
        let Some(linked) = self.config.folders.iter().find(|f| f.folder() == folder).cloned() else {
            return self.finish(ticket, Outcome::Failed(Cause::RootGone));
        };
        self.workers.submit(Priority::Interactive, move |_| {
            let root = linked.open_root().map(Box::new).map_err(|e| format!("{e:#}"));
            Done::Root(ticket, folder, root)
        });
    }

    /// The root was found, or not.
    pub(super) fn root_found(&mut self, ticket: Ticket, folder: Folder, root: Result<Box<Root>, String>) {
        let before = self.folders.root(folder);
        let Some(live) = self.folders.live.get_mut(&folder) else {
            return self.finish(ticket, Outcome::Failed(Cause::RootGone));
        };
        let watched = root.and_then(|root| {
            let dir = root.open_dir(None).map_err(ops::cause)?;
            let watched = self.folders.watcher.add_root(folder, dir.into());
            Ok((root, watched.map_err(|e| format!("{}: {e}", live.path.display()))?))
        });
        match watched {
            Ok((mut root, watched)) => {
                if let Some(before) = before.or(live.former.take().map(|(root, _)| root)) {
                    root.take_over(&before);
                }
                if live.gone.take().is_some() {
                    log(&format!("{}: its root is there again", live.label));
                }
                if watched == Watched::Limited {
                    log(&format!("{}: {LIMIT_HELP}", live.label));
                }
                self.remember(folder, &root);
                self.clean_up(folder, &root);
                self.folders.set_root(folder, Some(Arc::new(*root)));
                let live = self.folders.live.get_mut(&folder);
                if live.is_some_and(|l| !std::mem::replace(&mut l.looked_through, true)) {
                    self.look_through_trash(folder);
                }
                self.finish(ticket, Outcome::Done);
            }
            Err(why) => {
                if live.gone.as_ref() != Some(&why) {
                    log(&format!("{}: {why}; it is looked for again and again", live.label));
                }
                live.gone = Some(why);
                live.settled = true;
                self.folders.lay_by(folder);
                self.finish(ticket, Outcome::Failed(Cause::RootGone));
                self.say_ready();
            }
        }
    }

    /// The root is known by its marker from now on, where it was linked before that was remembered.
    fn remember(&mut self, folder: Folder, root: &Root) {
        let linked = self.config.folders.iter_mut().find(|f| f.folder() == folder && f.nonce.is_none());
        if linked.is_some_and(|f| f.remember(root.marker()))
            && let Err(e) = self.state.set_config(&self.config)
        {
            log(&format!("{e:#}"));
        }
    }

    /// Once a run, before any act: what a former run left in `tmp`.
    fn clean_up(&mut self, folder: Folder, root: &Root) {
        let Some(live) = self.folders.live.get_mut(&folder).filter(|l| !l.cleaned) else { return };
        live.cleaned = true;
        let label = live.label.clone();
        let store = std::cell::RefCell::new((&mut self.store, Box::<Trees>::default()));
        let intends = |n: u64| {
            let (store, trees) = &mut *store.borrow_mut();
            store.load(Row(n), trees) && trees.intent.is_some()
        };
        match root.cleanup_tmp(&intends) {
            Ok(trashed) => {
                trashed.iter().for_each(|t| self.file_trash(folder, t));
                if !trashed.is_empty() {
                    self.peer.handle_filed(&mut self.store, now(), folder);
                }
            }
            Err(e) => log(&format!("{label}: .dartsync/tmp: {}", ops::cause(e))),
        }
    }

    /// `Effect::Scan`.
    pub(super) fn scan(&mut self, ticket: Ticket, folder: Folder, dir: Option<Row>) {
        let path = match dir.map(|row| self.path_of(row)) {
            None => Vec::new(),
            Some(Some((_, path))) => path,
            Some(None) => return self.finish(ticket, Outcome::Failed(Cause::NoParent)),
        };
        let Some(root) = self.folders.root(folder) else {
            return self.finish(ticket, Outcome::Failed(Cause::RootGone));
        };
        if let Err(cause) = root.verify() {
            return self.finish(ticket, Outcome::Failed(cause));
        }
        let waker = self.net.waker();
        let started = root.open_dir(None).and_then(|dir| {
            let started = Scan::start(dir.into(), path, move || waker.wake());
            started.map_err(|e| Cause::Os(e.raw_os_error().unwrap_or_default()))
        });
        match started {
            Ok(scan) => self.folders.scans.push((ticket, scan)),
            Err(cause) => self.finish(ticket, Outcome::Failed(cause)),
        }
    }

    /// Reads the watches at the start of a turn; what touches paths is kept for [`Node::tell_touches`].
    pub(super) fn read_watches(&mut self) {
        self.folders.more = self.read_some();
    }

    /// Whether there is more to read.
    fn read_some(&mut self) -> bool {
        let mut more = false;
        let (mut roots, mut limited) = (Vec::new(), Vec::new());
        let touches = &mut self.folders.touches;
        for _ in 0..READS {
            let mut any = false;
            let (peer, store): (&mut Peer, _) = (&mut self.peer, &mut self.store);
            let read = self.folders.watcher.read(&mut |event| {
                any = true;
                match event {
                    WatchEvent::Touch { folder, path, is_dir, touch, from } => {
                        let [path, from] = [Some(path), from].map(|p| p.map(|p| p.bytes().to_vec()));
                        let path = path.expect("it is named");
                        touches.push(Touched { folder, path, touch, is_dir, from });
                    }
                    WatchEvent::Lost(folder) => peer.handle_lost_events(store, now(), folder),
                    WatchEvent::Unwatched(folder) => peer.handle_unwatched(store, now(), folder),
                    WatchEvent::Root(folder) => roots.push(folder),
                    WatchEvent::Limited(folder) => limited.push(folder),
                }
            });
            if let Err(e) = read {
                log(&format!("inotify: {e}"));
            }
            more = any;
            if !any {
                break;
            }
        }
        for folder in limited {
            log(&format!("{}: {LIMIT_HELP}", self.folders.label(folder)));
        }
        for folder in roots {
            if self.folders.root(folder).is_some_and(|r| r.verify() == Err(Cause::RootGone)) {
                // A scan finds out that the root is gone; nothing below it is a removal.
                self.peer.handle_lost_events(&mut self.store, now(), folder);
            }
        }
        more
    }

    /// Tells the machine of touched paths; of files, what their stat is now.
    pub(super) fn tell_touches(&mut self) {
        let touches = std::mem::take(&mut self.folders.touches);
        let (mut run, mut of) = (Run::default(), None);
        for t in &touches {
            let Touched { folder, touch, .. } = *t;
            if of.replace(folder) != Some(folder) {
                run = Run::default();
            }
            let path = Path::new(&t.path).expect("it was one when it was read");
            let from = t.from.as_ref().and_then(|from| Path::new(from).ok());
            let root = self.folders.root(folder).filter(|_| touch == Touch::Settled && !t.is_dir);
            let stat = root.and_then(|root| root.stat_next(&mut run, path).ok().flatten());
            let (peer, store) = (&mut self.peer, &mut self.store);
            match (stat, from) {
                (Some(stat), Some(from)) => peer.handle_moved(store, now(), folder, from, path, &stat),
                (Some(stat), None) => peer.handle_seen(store, now(), folder, path, &stat),
                (None, _) => peer.handle_touched(store, now(), folder, path, touch),
            }
        }
    }

    /// Tells the machine of all that has touched paths up to now. False if that is too much for one turn.
    pub(super) fn tell_all_touches(&mut self) -> bool {
        let more = self.read_some();
        self.tell_touches();
        // Batches of scans that were left for the next turn still are.
        self.folders.more |= more;
        !more
    }

    /// Hands on what scans found; erases rows of unlinked folders; looks at displaced files; prunes trashes.
    pub(super) fn step_folders(&mut self) {
        let mut scans = std::mem::take(&mut self.folders.scans);
        scans.retain_mut(|(ticket, scan)| self.step_scan(*ticket, scan));
        scans.append(&mut self.folders.scans);
        self.folders.scans = scans;
        if let Some(folder) = self.folders.erasing.first().copied()
            && self.store.erase_folder(folder, ERASED)
        {
            self.folders.erasing.remove(0);
        }
        self.look_at_displaced();
        self.prune();
    }

    /// False when the scan is over.
    fn step_scan(&mut self, ticket: Ticket, scan: &mut Scan) -> bool {
        for _ in 0..BATCHES {
            let Some(found) = scan.poll() else { return true };
            match found {
                Found::Entries(batch) => {
                    let entries: Vec<ScanEntry<'_>> = batch.iter().collect();
                    self.peer.handle_entries(&mut self.store, now(), ticket, &entries);
                    self.pull();
                }
                Found::Blind(path, cause) => {
                    log(&format!("{}: cannot be read: {}", ops::show(&path), ops::cause(cause)));
                    if let Ok(path) = Path::new(&path) {
                        self.peer.handle_blind(&mut self.store, now(), ticket, path);
                    }
                }
                Found::Odd(path, why) => {
                    log(&format!("{}: cannot be synced: {why:?}", ops::show(&path)));
                }
                Found::Done => {
                    self.finish(ticket, Outcome::Done);
                    return false;
                }
                Found::Failed(cause) => {
                    self.finish(ticket, Outcome::Failed(cause));
                    return false;
                }
            }
        }
        self.folders.more = true;
        true
    }

    /// The roster may say that a folder is the home's no more: then it is unlinked here.
    pub(super) fn drop_forgotten(&mut self) {
        let roster = self.peer.roster();
        let gone = |f: &&FolderConfig| f.folder_id().is_ok_and(|id| roster.folder_by_id(id).is_none());
        let forgotten: Vec<FolderConfig> = self.config.folders.iter().filter(gone).cloned().collect();
        for f in forgotten {
            log(&format!("{}: is a folder of the home no more; its files stay", f.label));
            if let Err(e) = self.give_up(f.folder()) {
                log(&format!("{}: {e:#}", f.label));
            }
        }
    }

    /// The root of a folder is somewhere else now.
    pub(super) fn root_moved(&mut self, folder: Folder, path: PathBuf) {
        if let Some(live) = self.folders.live.get_mut(&folder) {
            live.path = path;
        }
        self.folders.watcher.remove_root(folder);
        self.folders.lay_by(folder);
        self.peer.handle_lost_events(&mut self.store, now(), folder);
    }

    pub(super) fn folder_state_changed(&mut self, folder: Folder) {
        if let Some(view) = self.peer.folder_view(&mut self.store, now(), folder) {
            let label = self.folders.label(folder);
            let why = match view.state {
                dartsync_core::peer::State::Held => {
                    format!(": {} removals wait for `dartsync approve {label}` (see --list)", view.vanished)
                }
                _ => String::new(),
            };
            log(&format!("{label}: {}{why}", view.state.word()));
        }
    }
}
