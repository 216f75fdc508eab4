//! Trashes: displaced files that may still be written to are watched, and what is old leaves.

use crate::disk::{Rewritten, Root, TrashWalk};
use crate::node::effects::{Done, Hashed};
use crate::node::jobs::{self, Spot};
use crate::node::{Node, log, now};
use crate::ops;
use crate::trash::{self, Deletable};
use crate::workers::Priority;
use dartsync_core::ids::Folder;
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Index, copy_path};
use dartsync_core::record::{Kind, Record};
use dartsync_core::version::Edit;
use std::sync::{Arc, PoisonError};

/// How often displaced files that may still be written to are looked at, µs.
const DISPLACED: u64 = 300_000;
/// How often trashes are pruned, µs.
pub(super) const PRUNE: u64 = 3_600_000_000;

/// Items of a trash that are looked for in the store in one turn.
const LOOKED_UP: usize = 1024;

/// A folder's trash while it is looked through.
pub(in crate::node) struct Lying {
    folder: Folder,
    walk: TrashWalk,
    /// Where some lie, and their kinds: those that the walk came to last.
    some: Vec<(Vec<u8>, Kind)>,
    /// Something was filed.
    any: bool,
}

impl Node {
    /// Once a run, when a folder's root is there: its trash is looked through for what is not in the store, since a former
    /// run ended before it was filed, or the store was lost. Nobody else may have it.
    pub(super) fn look_through_trash(&mut self, folder: Folder) {
        self.look_further(Lying { folder, walk: TrashWalk::default(), some: Vec::new(), any: false });
    }

    fn look_further(&mut self, mut all: Lying) {
        let Some(root) = self.folders.root(all.folder) else { return self.leave_off(&all) };
        self.workers.submit(Priority::Bulk, move |_| {
            all.some = root.trash_next(&mut all.walk, LOOKED_UP).unwrap_or_else(|e| {
                log(&format!("{}: the trash: {}", root.path().display(), ops::cause(e)));
                Vec::new()
            });
            Done::Lying(all)
        });
    }

    /// Some of what lies in a folder's trash: what the store does not know of it is hashed and filed. After the last, who
    /// waits for any of it is told.
    pub(in crate::node) fn lying(&mut self, mut all: Lying) {
        if all.some.is_empty() {
            return self.tell_filed(&all);
        }
        let trash = all.folder.trash();
        all.some.retain(|(at, _)| Path::new(at).is_ok_and(|at| self.store.find(trash, at).is_none()));
        self.file_next(all);
    }

    fn tell_filed(&mut self, all: &Lying) {
        if all.any {
            self.peer.handle_filed(&mut self.store, now(), all.folder);
            self.pull();
        }
    }

    /// The root went meanwhile.
    fn leave_off(&mut self, all: &Lying) {
        self.folders.look_again(all.folder);
        self.tell_filed(all);
    }

    /// One after the other.
    fn file_next(&mut self, mut all: Lying) {
        let Some((at, kind)) = all.some.pop() else { return self.look_further(all) };
        let Some(root) = self.folders.root(all.folder) else { return self.leave_off(&all) };
        let spot = Spot { folder: all.folder.trash(), root, path: at.clone(), n: 0 };
        self.workers.submit(Priority::Bulk, move |desk| {
            let hashed = jobs::hash_trash(&spot, kind, desk.buffer, desk.stopping);
            Done::Filed(all, at, hashed.map(|(h, size)| (kind, h.content, h.leaves, size)))
        });
    }

    /// One was hashed.
    pub(in crate::node) fn filed(&mut self, mut all: Lying, at: &[u8], found: Hashed) {
        all.any = true;
        self.trash_hashed(all.folder, at, found);
        self.file_next(all);
    }

    /// One folder after the other, each about every [`DISPLACED`].
    pub(super) fn look_at_displaced(&mut self) {
        let at = now().at.0;
        let f = &mut self.folders;
        if f.displaced_busy || f.displaced_at.is_some_and(|t| t > at) {
            return;
        }
        let roots = f.roots.read().unwrap_or_else(PoisonError::into_inner);
        let mut busy: Vec<(Folder, Arc<Root>)> =
            roots.iter().filter(|(_, r)| r.displaced() > 0).map(|(f, r)| (*f, r.clone())).collect();
        drop(roots);
        f.displaced_at = None;
        let folders = busy.len() as u64;
        if let Some(i) = turn(busy.iter().map(|(f, _)| *f), f.displaced_of) {
            let (folder, root) = busy.swap_remove(i);
            f.displaced_busy = true;
            f.displaced_of = Some(folder);
            f.displaced_at = Some(at + DISPLACED / folders);
            self.workers.submit(Priority::Bulk, move |_| Done::Rewritten(folder, root.poll_displaced()));
        }
    }

    /// Displaced files that programs wrote on in: each is a user's edit, and gets the name of a conflict copy (R12).
    pub(in crate::node) fn rewritten(&mut self, folder: Folder, all: Vec<Rewritten>) {
        self.folders.displaced_busy = false;
        let Some(root) = self.folders.root(folder) else { return };
        for r in all {
            let Ok(path) = Path::new(&r.path) else { continue };
            let edit = Edit { counter: now().wall, ..Edit::default() };
            let loser = Record { content: r.content, edit, ..Record::default() };
            let mut copy = PathBuf::new();
            copy_path(path, &loser, Some(&self.config.name), &mut copy);
            let copy = copy.get().expect("just set");
            let (was, at) = (ops::show(&r.path), Path::new(&r.at));
            match (root.trash_move(&r.at, copy), at) {
                (Ok(()), Ok(at)) => {
                    self.store.remove_trash(folder, at);
                    log(&format!("{was}: was written to while it was replaced; that is kept as {copy:?}"));
                }
                (Err(e), Ok(at)) => {
                    self.store.add_trash(folder, at, r.stat.kind, r.content, r.stat.size);
                    let (lies, why) = (ops::show(&r.at), ops::cause(e));
                    log(&format!(
                        "{was}: was written to while it was replaced; that is .dartsync/trash/{lies}: {why}"
                    ));
                }
                (_, Err(_)) => {}
            }
        }
    }

    /// Every hour: what is old, or beyond its share, leaves the trashes.
    pub(super) fn prune(&mut self) {
        if self.folders.prune_at > now().at.0 {
            return;
        }
        let at = now().at.0;
        let ran = at - std::mem::replace(&mut self.folders.pruned_at, at);
        self.folders.prune_at = at + PRUNE;
        let all: Vec<Folder> = self.folders.live.keys().copied().collect();
        for folder in &all {
            let (folder, Some(root)) = (*folder, self.folders.root(*folder)) else { continue };
            let deletable = Deletable::of(&mut self.store, &all, folder);
            self.workers.submit(Priority::Bulk, move |_| {
                let policy = crate::disk::Policy::default();
                let purged = root.trash_prune((now().wall, ran), &policy, &|at| deletable.keeps(at));
                let (gone, odd) = match purged {
                    Ok(p) => (p.gone, trash::unread(&p.stuck, "deleted")),
                    Err(e) => (Vec::new(), Some(ops::cause(e))),
                };
                if let Some(odd) = odd {
                    log(&format!("{}: the trash: {odd}", root.path().display()));
                }
                Done::Purged(folder, gone)
            });
        }
    }
}

/// Whose turn it is among folders after that of `last`: one that needs it for days does not keep it from the others.
fn turn(folders: impl Iterator<Item = Folder>, last: Option<Folder>) -> Option<usize> {
    let next = folders.enumerate().min_by_key(|(_, f)| (Some(*f) <= last, *f));
    next.map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_has_its_turn() {
        let folders = [Folder(7), Folder(2), Folder(5)];
        let mut last = None;
        let turns: Vec<u16> = (0..7)
            .map(|_| {
                last = turn(folders.into_iter(), last).map(|i| folders[i]);
                last.expect("there are some").0
            })
            .collect();
        assert_eq!(turns, [2, 5, 7, 2, 5, 7, 2]);
        assert_eq!(turn([Folder(4)].into_iter(), Some(Folder(4))), Some(0), "alone it has every turn");
        assert_eq!(turn([].into_iter(), last), None);
    }
}
