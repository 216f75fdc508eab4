//! What is done to users' files: each act by a worker, what takes long apart from what somebody waits for.

use super::Node;
use super::effects::Done;
use super::gathered::{Kinds, Prepare, Swap, run};
use super::jobs::Spot;
use crate::disk::{Act, Root};
use crate::workers::Priority::{self, Interactive, Large};
use dartsync_core::ids::{Folder, Row, Ticket};
use dartsync_core::limits::BULK;
use dartsync_core::peer::{Cause, Effect, Outcome};
use std::sync::Arc;

impl Node {
    /// Acts on users' files.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare { ticket, row, kind, mode, mtime, bulk } => {
                let Some(spot) = self.spot(ticket, row) else { return };
                let one = Prepare { ticket, spot, kind, mode, mtime };
                match bulk {
                    true => self.workers.submit(Large, move |_| Done::Acts(None, run(&[one]))),
                    false => self.waiting.prepares.add(one),
                }
            }
            Effect::Swap { ticket, row, expect, intent } => {
                let copy = match intent.copy.map(|row| self.path_of(row)) {
                    Some(None) => return self.finish(ticket, Outcome::Failed(Cause::Raced)),
                    Some(Some((_, path))) => Some(path),
                    None => None,
                };
                let Some(spot) = self.spot(ticket, row) else { return };
                let one = Swap { ticket, spot, expect, intent, copy };
                match one.displaced() {
                    None => self.waiting.swaps.add(one),
                    // What it displaces may have to be hashed.
                    Some(size) => {
                        let priority = if size > BULK { Large } else { Interactive };
                        self.workers.submit(priority, move |_| Done::Acts(None, run(&[one])));
                    }
                }
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

    /// Begins what was gathered, all of a root at once; one such job of a kind at a time for each root, while which the next
    /// gather.
    pub(super) fn begin_gathered(&mut self) {
        while let Some((root, batch)) = self.waiting.prepares.next() {
            self.workers.submit(Interactive, move |_| Done::Acts(Some((Kinds::Prepare, root)), run(&batch)));
        }
        while let Some((root, batch)) = self.waiting.swaps.next() {
            self.workers.submit(Interactive, move |_| Done::Acts(Some((Kinds::Swap, root)), run(&batch)));
        }
    }

    /// What was done; and of which root it was the one job of its kind.
    pub(super) fn acted(&mut self, of: Option<(Kinds, Arc<Root>)>, acts: Vec<(Ticket, Folder, Act)>) {
        match of {
            Some((Kinds::Prepare, root)) => self.waiting.prepares.ended(&root),
            Some((Kinds::Swap, root)) => self.waiting.swaps.ended(&root),
            None => {}
        }
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
