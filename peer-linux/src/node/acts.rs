//! What is done to users' files: each act by a worker, what takes long apart from what somebody waits for.

use super::Node;
use super::effects::Done;
use super::jobs::Spot;
use crate::disk::{Act, ToPrepare};
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
    /// A job with some of them is under way.
    busy: bool,
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
                    self.workers.submit(Large, move |_| Done::Prepared(false, prepare(vec![one])));
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

    /// Begins to make ready what waits for it, all at once, so that one flush serves all; one such job at a time, while
    /// which the next gather.
    pub(super) fn prepare_queued(&mut self) {
        let Preparing { queue, busy } = &mut self.preparing;
        let Some(first) = queue.first().filter(|_| !*busy) else { return };
        let root = first.spot.root.clone();
        let mut room = TOGETHER;
        let batch: Vec<Prepare> = queue
            .extract_if(.., |p| {
                let with = room > 0 && Arc::ptr_eq(&p.spot.root, &root);
                room -= usize::from(with);
                with
            })
            .collect();
        *busy = true;
        self.workers.submit(Interactive, move |_| Done::Prepared(true, prepare(batch)));
    }

    /// What was made ready, or not.
    pub(super) fn prepared(&mut self, queued: bool, acts: Vec<(Ticket, Folder, Act)>) {
        self.preparing.busy &= !queued;
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
