//! What is done to users' files: each act by a worker, what takes long apart from what somebody waits for.

use super::Node;
use super::effects::Done;
use super::jobs::Spot;
use crate::disk::{Act, Root, ToPrepare};
use crate::workers::Priority::{self, Interactive, Large};
use dartsync_core::ids::{Folder, Row, Ticket};
use dartsync_core::limits::BULK;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Effect, Outcome};
use dartsync_core::record::Kind;
use std::sync::Arc;

/// Files made ready in one job, at most: each is open meanwhile.
const TOGETHER: usize = 128;

/// One file, link or directory to be made ready.
pub(super) struct Prepare {
    ticket: Ticket,
    spot: Spot,
    kind: Kind,
    mode: u16,
    mtime: i64,
}

impl Prepare {
    fn wanted(&self) -> ToPrepare<'_> {
        let Prepare { ref spot, kind, mode, mtime, .. } = *self;
        ToPrepare { path: spot.path(), n: spot.n, kind, mode, mtime }
    }
}

/// Small ones that wait to be made ready.
#[derive(Default)]
pub(super) struct Preparing {
    queue: Vec<Prepare>,
    /// Those roots for which a job with some of them is under way: a slow disk holds up what is to go to it alone.
    busy: Vec<Arc<Root>>,
}

impl Preparing {
    /// What the next job is to make ready, all of one root, for which none is under way.
    fn next(&mut self) -> Option<(Arc<Root>, Vec<Prepare>)> {
        let Preparing { queue, busy } = self;
        let is_free = |root: &Arc<Root>| !busy.iter().any(|other| Arc::ptr_eq(other, root));
        let root = queue.iter().map(|p| &p.spot.root).find(|root| is_free(root))?.clone();
        let mut room = TOGETHER;
        let batch = queue.extract_if(.., |p| {
            let with = room > 0 && Arc::ptr_eq(&p.spot.root, &root);
            room -= usize::from(with);
            with
        });
        let batch = batch.collect();
        busy.push(root.clone());
        Some((root, batch))
    }

    /// That root's job is done.
    fn ended(&mut self, root: &Arc<Root>) {
        self.busy.retain(|other| !Arc::ptr_eq(other, root));
    }
}

/// Makes them ready, all of one root.
fn prepare(all: Vec<Prepare>) -> Vec<(Ticket, Folder, Act)> {
    let Some(first) = all.first() else { return Vec::new() };
    let wanted: Vec<_> = all.iter().map(Prepare::wanted).collect();
    let acts = first.spot.root.prepare_all(&wanted);
    all.iter().zip(acts).map(|(p, act)| (p.ticket, p.spot.folder, act)).collect()
}

impl Node {
    /// Acts on users' files.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare { ticket, row, kind, mode, mtime, bulk } => {
                let Some(spot) = self.spot(ticket, row) else { return };
                let one = Prepare { ticket, spot, kind, mode, mtime };
                if bulk {
                    self.workers.submit(Large, move |_| Done::Prepared(None, prepare(vec![one])));
                } else {
                    self.preparing.queue.push(one);
                }
            }
            Effect::Swap { ticket, row, expect, intent } => {
                let copy = match intent.copy.map(|row| self.path_of(row)) {
                    Some(None) => return self.finish(ticket, Outcome::Failed(Cause::Raced)),
                    Some(Some((_, path))) => Some(path),
                    None => None,
                };
                // What it displaces may have to be hashed.
                let large = expect.as_ref().is_some_and(|stat| stat.size > BULK);
                self.act_at(if large { Large } else { Interactive }, ticket, row, move |s| {
                    let copy = copy.as_deref().map(|p| Path::new(p).expect("out of the store"));
                    s.root.swap(s.path(), s.n, expect.as_ref(), &intent, copy)
                });
            }
            Effect::Keep { ticket, row, of } => {
                self.act_at(Interactive, ticket, row, move |s| s.root.keep(s.path(), of.0))
            }
            Effect::Meta { ticket, row, expect, mode, mtime } => {
                self.act_at(Interactive, ticket, row, move |s| s.root.meta(s.path(), &expect, mode, mtime));
            }
            Effect::Remove { ticket, row, expect } => {
                let content = self.content_of(row);
                self.act_at(Interactive, ticket, row, move |s| {
                    s.root.remove(s.path(), s.n, &expect, content)
                });
            }
            Effect::Recover { ticket, row } => {
                self.act_at(Interactive, ticket, row, |s| s.root.recover(s.path(), s.n))
            }
            Effect::Discard { ticket, row, unused } => {
                self.act_at(Interactive, ticket, row, move |s| match unused {
                    true => s.root.discard_unused(s.path(), s.n),
                    false => s.root.discard(s.path(), s.n),
                })
            }
            other => unreachable!("{other:?} is no act"),
        }
    }

    /// Begins to make ready what waits for it, all of a root at once, so that one flush serves all; one such job at a time
    /// for each root, while which the next gather.
    pub(super) fn prepare_queued(&mut self) {
        while let Some((root, batch)) = self.preparing.next() {
            self.workers.submit(Interactive, move |_| Done::Prepared(Some(root), prepare(batch)));
        }
    }

    /// What was made ready, or not; and of which root it was the one job.
    pub(super) fn prepared(&mut self, of: Option<Arc<Root>>, acts: Vec<(Ticket, Folder, Act)>) {
        of.iter().for_each(|root| self.preparing.ended(root));
        for (ticket, folder, act) in acts {
            act.trashed.iter().for_each(|t| self.file_trash(folder, t));
            self.finish(ticket, act.outcome);
        }
    }

    fn act_at(
        &mut self,
        priority: Priority,
        ticket: Ticket,
        row: Row,
        run: impl FnOnce(&Spot) -> Act + Send + 'static,
    ) {
        let Some(spot) = self.spot(ticket, row) else { return };
        self.workers.submit(priority, move |_| Done::Act(ticket, spot.folder, run(&spot)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_roots_job_holds_up_no_other_roots() {
        let dirs = ["slow", "quick"]
            .map(|name| std::env::temp_dir().join(format!("dartsync-acts-{name}-{}", std::process::id())));
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
        let mut all = Preparing::default();
        all.queue.extend([one(0, 1), one(1, 2), one(0, 3)]);
        let mut next = |more: Option<Prepare>, ended: Option<usize>| {
            all.queue.extend(more);
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
