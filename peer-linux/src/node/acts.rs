//! What is done to users' files: each act by a worker, what takes long apart from what somebody waits for.

use super::Node;
use super::effects::Done;
use super::jobs::Spot;
use crate::disk::Act;
use crate::workers::Priority::{self, Interactive, Large};
use dartsync_core::ids::{Row, Ticket};
use dartsync_core::limits::BULK;
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Effect, Outcome};

impl Node {
    /// Acts on users' files.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare { ticket, row, kind, mode, mtime, bulk } => {
                let priority = if bulk { Large } else { Interactive };
                self.act_at(priority, ticket, row, move |s| s.root.prepare(s.path(), s.n, kind, mode, mtime));
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
