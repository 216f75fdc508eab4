//! Small acts on users' files that are done many in one job: what they share is done once, and so is waking the main loop.

use super::jobs::Spot;
use crate::disk::{Act, Root, ToPrepare, ToSwap};
use dartsync_core::ids::{Folder, Ticket};
use dartsync_core::path::Path;
use dartsync_core::peer::{Intent, Stat};
use dartsync_core::record::Kind;
use std::sync::Arc;

/// What one job does at most: each file that is made ready is open meanwhile.
const TOGETHER: usize = 128;

/// What kinds there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinds {
    /// [`Prepare`].
    Prepare,
    /// [`Swap`].
    Swap,
}

/// An act that can be one of many.
pub(super) trait OfMany: Sized {
    /// Whose it is, and where.
    fn at(&self) -> (Ticket, &Spot);
    /// Does several, all of that root.
    fn run(root: &Root, all: &[Self]) -> Vec<Act>;
}

/// One file, link or directory to be made ready.
pub(super) struct Prepare {
    pub ticket: Ticket,
    pub spot: Spot,
    pub kind: Kind,
    pub mode: u16,
    pub mtime: i64,
}

impl OfMany for Prepare {
    fn at(&self) -> (Ticket, &Spot) {
        (self.ticket, &self.spot)
    }
    fn run(root: &Root, all: &[Prepare]) -> Vec<Act> {
        let wanted = all.iter().map(|p| {
            let Prepare { ref spot, kind, mode, mtime, .. } = *p;
            ToPrepare { path: spot.path(), n: spot.n, kind, mode, mtime }
        });
        root.prepare_all(&wanted.collect::<Vec<_>>())
    }
}

/// One that is ready, to be put in its place.
pub(super) struct Swap {
    pub ticket: Ticket,
    pub spot: Spot,
    pub expect: Option<Stat>,
    pub intent: Intent,
    /// The path for a copy of what is displaced.
    pub copy: Option<Vec<u8>>,
}

impl Swap {
    /// The size of what it displaces; none: it takes no longer than a rename does.
    pub fn displaced(&self) -> Option<u64> {
        self.expect.filter(|s| s.kind != Kind::Removed).map(|s| s.size)
    }
}

impl OfMany for Swap {
    fn at(&self) -> (Ticket, &Spot) {
        (self.ticket, &self.spot)
    }
    fn run(root: &Root, all: &[Swap]) -> Vec<Act> {
        let wanted = all.iter().map(|s| {
            let copy = s.copy.as_deref().map(|p| Path::new(p).expect("out of the store"));
            ToSwap { path: s.spot.path(), n: s.spot.n, expect: s.expect, intent: s.intent, copy }
        });
        root.swap_all(&wanted.collect::<Vec<_>>())
    }
}

/// Does them, all of one root.
pub(super) fn run<T: OfMany>(all: &[T]) -> Vec<(Ticket, Folder, Act)> {
    let Some(first) = all.first() else { return Vec::new() };
    let acts = T::run(&first.at().1.root, all);
    let whose = all.iter().map(|one| (one.at().0, one.at().1.folder));
    whose.zip(acts).map(|((ticket, folder), act)| (ticket, folder, act)).collect()
}

/// Acts of one kind that wait for a job.
pub(super) struct Gathered<T> {
    queue: Vec<T>,
    /// Those roots for which a job with some of them is under way: a slow disk holds up what is to go to it alone.
    busy: Vec<Arc<Root>>,
}

impl<T> Default for Gathered<T> {
    fn default() -> Gathered<T> {
        Gathered { queue: Vec::new(), busy: Vec::new() }
    }
}

/// Those of each kind.
#[derive(Default)]
pub(super) struct Waiting {
    pub prepares: Gathered<Prepare>,
    pub swaps: Gathered<Swap>,
}

impl<T: OfMany> Gathered<T> {
    pub fn add(&mut self, one: T) {
        self.queue.push(one);
    }

    /// What the next job is to do, all of one root, for which none is under way.
    pub fn next(&mut self) -> Option<(Arc<Root>, Vec<T>)> {
        let Gathered { queue, busy } = self;
        let is_free = |root: &Arc<Root>| !busy.iter().any(|other| Arc::ptr_eq(other, root));
        let root = queue.iter().map(|one| &one.at().1.root).find(|root| is_free(root))?.clone();
        let mut room = TOGETHER;
        let batch = queue.extract_if(.., |one| {
            let with = room > 0 && Arc::ptr_eq(&one.at().1.root, &root);
            room -= usize::from(with);
            with
        });
        let batch = batch.collect();
        busy.push(root.clone());
        Some((root, batch))
    }

    /// That root's job is done.
    pub fn ended(&mut self, root: &Arc<Root>) {
        self.busy.retain(|other| !Arc::ptr_eq(other, root));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_roots_job_holds_up_no_other_roots() {
        let dirs = ["slow", "quick"].map(|name| {
            std::env::temp_dir().join(format!("dartsync-gathered-{name}-{}", std::process::id()))
        });
        let roots = dirs.each_ref().map(|dir| {
            std::fs::create_dir_all(dir).unwrap();
            Arc::new(Root::link(dir, 7).unwrap().0)
        });
        let one = |root: usize, n: u64| Prepare {
            ticket: Ticket(n as u32),
            spot: Spot { folder: Folder(1), root: roots[root].clone(), path: b"f".to_vec(), n },
            kind: Kind::File,
            mode: 0o600,
            mtime: 0,
        };
        let mut all = Gathered::default();
        [one(0, 1), one(1, 2), one(0, 3)].into_iter().for_each(|p| all.add(p));
        let mut next = |more: Option<Prepare>, ended: Option<usize>| {
            more.into_iter().for_each(|p| all.add(p));
            ended.into_iter().for_each(|root| all.ended(&roots[root]));
            let next = all.next().map(|(_, batch)| batch.iter().map(|p| p.spot.n).collect::<Vec<_>>());
            next.unwrap_or_default()
        };
        assert_eq!(next(None, None), [1, 3]);
        assert_eq!(next(Some(one(0, 4)), None), [2], "the other root's");
        assert!(next(Some(one(1, 5)), None).is_empty(), "one job each");
        assert_eq!(next(None, Some(1)), [5]);
        assert_eq!(next(None, Some(0)), [4]);
        dirs.iter().for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
    }
}
