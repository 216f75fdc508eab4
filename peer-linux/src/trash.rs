//! The trash as commands see it: listing, bringing back, emptying.

use crate::config::{Config, FolderConfig};
use crate::control::{PathEntry, Paths};
use crate::disk::{Item, Purged, Restored, Root, Stuck, Trashed};
use crate::ops;
use crate::store::Store;
use anyhow::{Context, Result, anyhow, bail};
use dartsync_core::ids::{ContentId, Folder};
use dartsync_core::path::{Path as CorePath, PathBuf};
use dartsync_core::peer::{Index, Lane, Stat, Trees};
use dartsync_core::record::Kind;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Days of a listed date: `YYYY-MM-DD`.
const DATE: usize = 10;

/// What lies in the trashes of all folders, oldest first; folders whose root is gone are left out.
pub fn list(config: &Config) -> Paths {
    let mut out = Paths::default();
    for f in &config.folders {
        let Ok(root) = f.open_root() else { continue };
        let listed = root.trash_list(&mut |item| ops::push(&mut out, entry(f, &item)));
        let odd = match listed {
            Ok(stuck) => unread(&stuck, "read"),
            Err(e) => Some(ops::cause(e)),
        };
        if let Some(odd) = odd {
            let path = format!("({odd})");
            ops::push(&mut out, PathEntry { folder: f.label.clone(), path, ..PathEntry::default() });
        }
    }
    out
}

/// What to tell of what could not be reached.
pub fn unread(stuck: &Stuck, done: &str) -> Option<String> {
    let (at, why) = stuck.first.as_ref()?;
    let (n, at) = (stuck.count, ops::show(at));
    Some(format!("{n} cannot be {done}: .dartsync/trash/{at}: {}", ops::cause(*why)))
}

fn entry(f: &FolderConfig, item: &Item) -> PathEntry {
    let date = String::from_utf8_lossy(&item.at[..item.at.len().min(DATE)]).into_owned();
    let bytes = item.stat.size;
    PathEntry { folder: f.label.clone(), path: ops::show(&item.path), bytes, date: Some(date) }
}

/// What was brought back, for the store.
pub struct Back {
    /// Its folder.
    pub folder: Folder,
    /// Where it lay, below the trash.
    pub at: Vec<u8>,
    /// What was done.
    pub restored: Restored,
    /// The folder's label.
    label: String,
}

impl Back {
    /// Notes in the store where things lie now.
    pub fn note(&self, store: &mut Store) {
        forget(store, self.folder, std::slice::from_ref(&self.at));
        if let Some(t) = &self.restored.trashed {
            file(store, self.folder, t);
        }
    }
    /// What to tell the user.
    pub fn text(&self) -> crate::control::Text {
        let path = ops::show(&self.restored.path);
        let more = if self.restored.trashed.is_some() { "; what stood there is in the trash" } else { "" };
        crate::control::Text { text: format!("{}/{path} is back{more}", self.label) }
    }
}

/// Brings the latest item of a path back, or that of a day. The path is `LABEL/PATH` as listed, absolute, or below the
/// root of the only folder whose trash has it.
pub fn restore(config: &Config, path: &Path, date: Option<&str>) -> Result<Back> {
    let mut found: Option<(&FolderConfig, Root, Item)> = None;
    let mut odd = String::new();
    for f in &config.folders {
        let wanted = below(f, path);
        let Ok(root) = f.open_root() else { continue };
        let mut best: Option<Item> = None;
        let listed = root.trash_list(&mut |item| {
            let day = date.is_none_or(|d| item.at.starts_with(d.as_bytes()));
            let named = wanted.iter().any(|w| *w == item.path || ops::show(&item.path).as_bytes() == *w);
            if day && named && best.as_ref().is_none_or(|b| when(&b.at) <= when(&item.at)) {
                best = Some(item);
            }
        });
        let stuck = listed.map_err(|e| anyhow!("{}: the trash: {}", f.path.0.display(), ops::cause(e)))?;
        odd.extend(unread(&stuck, "read").map(|s| format!("; {s}")));
        match (best, &found) {
            (None, _) => {}
            (Some(_), Some((other, ..))) => {
                bail!(
                    "{}: is in the trash of \"{}\" and of \"{}\": say LABEL/PATH",
                    path.display(),
                    other.label,
                    f.label
                )
            }
            (Some(item), None) => found = Some((f, root, item)),
        }
    }
    let (f, root, item) = found.with_context(|| {
        format!("{}: is in no trash here: see `dartsync trash list`{odd}", path.display())
    })?;
    let restored = root.trash_restore(&item.at);
    let restored =
        restored.map_err(|e| anyhow!("{}: cannot be brought back: {}", path.display(), ops::cause(e)))?;
    Ok(Back { folder: f.folder(), at: item.at, restored, label: f.label.clone() })
}

/// What orders items of one path by when they came: the name of the directory that they lie in.
fn when(at: &[u8]) -> &[u8] {
    let slot = at.split(|b| *b == b'/').next().unwrap_or(at);
    slot.strip_suffix(b"-long").unwrap_or(slot)
}

/// What a path the user gave may mean in a folder.
fn below(f: &FolderConfig, path: &Path) -> Vec<Vec<u8>> {
    if path.is_absolute() {
        let real = std::fs::canonicalize(&f.path.0).unwrap_or_else(|_| f.path.0.clone());
        let rest = path.strip_prefix(&f.path.0).or_else(|_| path.strip_prefix(real));
        return rest.ok().map(|r| r.as_os_str().as_bytes().to_vec()).into_iter().collect();
    }
    let bytes = path.as_os_str().as_bytes();
    let labelled = bytes.strip_prefix(f.label.as_bytes()).and_then(|r| r.strip_prefix(b"/"));
    labelled.into_iter().map(<[u8]>::to_vec).chain([bytes.to_vec()]).collect()
}

/// Notes that places of a folder's trash are empty.
pub fn forget(store: &mut Store, folder: Folder, gone: &[Vec<u8>]) {
    for at in gone {
        if let Ok(at) = CorePath::new(at) {
            store.remove_trash(folder, at);
        }
    }
}

/// Notes what lies in a folder's trash, so that it is found by its content; false if its content is not known: the
/// caller has it hashed.
pub fn file(store: &mut Store, folder: Folder, t: &Trashed) -> bool {
    let Ok(at) = CorePath::new(&t.at) else { return true };
    let content = t.content.or_else(|| known(store, t));
    match content {
        _ if t.stat.kind == Kind::Directory => true,
        Some(content) => {
            store.add_trash(folder, at, t.stat.kind, content, t.stat.size);
            true
        }
        None => false,
    }
}

/// What the store knows of the content that row had before it was trashed, if the stat says that it is the same.
fn known(store: &mut Store, t: &Trashed) -> Option<ContentId> {
    let mut trees = Box::<Trees>::default();
    if t.n == 0 || !store.load(dartsync_core::ids::Row(t.n), &mut trees) {
        return None;
    }
    let local = trees.local.as_ref()?;
    let same = |s: &Stat| (s.kind, s.size, s.mtime, s.ino);
    (same(&local.stat) == same(&t.stat)).then_some(local.record.content).filter(|c| *c != ContentId::NONE)
}

/// Which items of a trash may be deleted (R15): none that a row here waits for.
pub enum Deletable {
    /// Nothing is waited for.
    All,
    /// These alone are known not to be waited for.
    Only(HashSet<Vec<u8>>),
}

impl Deletable {
    /// Looks through what is due in all folders, and what the folder's trash holds.
    pub fn of(store: &mut impl Index, folders: &[Folder], folder: Folder) -> Deletable {
        let wanted = wanted(store, folders);
        if wanted.is_empty() {
            return Deletable::All;
        }
        let (mut at, mut before) = (PathBuf::new(), PathBuf::new());
        let (mut trees, mut free) = (Box::<Trees>::default(), HashSet::new());
        while let Some(row) = store.next(folder.trash(), before.get(), &mut at) {
            before.clone_from(&at);
            if store.load(row, &mut trees)
                && let (Some(c), Some(path)) = (trees.disk_content(), at.get())
                && !wanted.contains(&c)
            {
                free.insert(path.bytes().to_vec());
            }
        }
        Deletable::Only(free)
    }
    /// Whether the item that lies there is to stay.
    pub fn keeps(&self, at: &[u8]) -> bool {
        match self {
            Deletable::All => false,
            Deletable::Only(free) => !free.contains(at),
        }
    }
}

/// Contents that rows here wait for.
fn wanted(store: &mut impl Index, folders: &[Folder]) -> HashSet<ContentId> {
    let (mut trees, mut wanted) = (Box::<Trees>::default(), HashSet::new());
    for f in folders {
        for lane in [Lane::Quick, Lane::Bulk, Lane::Later] {
            let mut after = None;
            while let Some(due) = store.due(*f, lane, after) {
                after = Some(due);
                if store.load(due.1, &mut trees) {
                    let records =
                        [&trees.remote, &trees.withdrawn].into_iter().flatten().map(|r| r.record.content);
                    wanted.extend(records.chain(trees.pending.iter().map(|p| p.0.content)));
                }
            }
        }
    }
    wanted
}

/// Deletes what may be deleted of one folder's trash.
pub fn empty_one(root: &Root, deletable: &Deletable) -> Result<Purged> {
    let purged = root.trash_empty(&|at| deletable.keeps(at));
    purged.map_err(|e| anyhow!("{}: the trash: {}", root.path().display(), ops::cause(e)))
}

/// What is told of emptied trashes.
pub fn emptied(all: &Purged) -> String {
    let (items, kept) = (all.gone.len(), all.kept);
    let kept =
        if kept > 0 { format!("; {kept} are still wanted or written to, and stay") } else { String::new() };
    let stuck = unread(&all.stuck, "deleted").map_or_else(String::new, |s| format!("; {s}"));
    format!("{items} items deleted, {} freed{kept}{stuck}", crate::cli::size(all.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_one_second_is_the_latest() {
        let in_order =
            [&b"2026-11-24/a/b"[..], b"2026-11-24T100000/a/b", b"2026-11-24T100000.000001-long/7-b"];
        assert!(in_order.windows(2).all(|w| when(w[0]) < when(w[1])));
    }

    #[test]
    fn a_path_may_be_said_in_three_ways() {
        let f = FolderConfig {
            number: 1,
            id: "01".into(),
            label: "docs".into(),
            path: crate::config::Root("/nowhere/d".into()),
            paused: false,
            nonce: None,
        };
        for said in ["docs/a/b", "a/b", "/nowhere/d/a/b"] {
            assert!(below(&f, Path::new(said)).contains(&b"a/b".to_vec()), "{said}");
        }
        assert!(below(&f, Path::new("/elsewhere/a/b")).is_empty());
    }
}
