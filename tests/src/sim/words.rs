//! Effects, outcomes and frames as words and numbers of the trace.

use super::fs::Ino;
use dartsync_core::ids::{Row, Ticket};
use dartsync_core::mutant::{self, Mutant};
use dartsync_core::peer::{Cause, Effect, Outcome, Touch};

/// A change that the kernel tells: the directory's path, the name, how.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// Below the root.
    pub path: Vec<u8>,
    /// How.
    pub touch: Touch,
    /// A directory that is to be watched when the event is read.
    pub dir: Option<Ino>,
    /// It came by a move.
    pub moved: bool,
    /// The path that a file was moved from.
    pub from: Option<Vec<u8>>,
}

/// Each path once, with the latest of what was told of it, where it was told last.
pub(super) fn coalesce(told: Vec<Told>) -> Vec<Told> {
    let mut out: Vec<Told> = Vec::new();
    let names: Vec<Vec<u8>> = told.iter().map(|t| t.path.clone()).collect();
    for (at, mut t) in told.into_iter().enumerate() {
        // Something else was told of the name that it left, before it did.
        let earlier = &names[..at.saturating_sub(1)];
        t.from = t.from.filter(|from| !earlier.contains(from) || mutant::on(Mutant::R17Touched));
        let old = out.iter().position(|o| o.path == t.path && o.dir.is_none());
        if let Some(i) = old {
            // Should another directory have come to the name, what was below the one that left is scanned for.
            t.moved |= out.remove(i).touch == Touch::Gone;
        }
        out.push(t);
    }
    out
}

/// Tree order of raw paths.
pub(super) fn cmp(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let key = |b: &u8| if *b == b'/' { 0 } else { *b };
    a.iter().map(key).cmp(b.iter().map(key))
}

pub(super) fn name_of(e: &Effect) -> (&'static str, Ticket, Row) {
    let none = (Ticket(0), Row(0));
    let (name, (ticket, row)) = match e {
        Effect::Dial => ("dial", none),
        Effect::Hang(_) => ("hang", none),
        Effect::Watch { ticket, .. } => ("watch", (*ticket, Row(0))),
        Effect::Scan { ticket, dir, .. } => ("scan", (*ticket, dir.unwrap_or_default())),
        Effect::Look { ticket, row, .. } => ("look", (*ticket, *row)),
        Effect::Fetch { ticket, row, .. } => ("fetch", (*ticket, *row)),
        Effect::Sources { ticket, .. } => ("sources", (*ticket, Row(0))),
        Effect::Make { ticket, row, .. } => ("make", (*ticket, *row)),
        Effect::Prepare { ticket, row, .. } => ("prepare", (*ticket, *row)),
        Effect::Swap { ticket, row, .. } => ("swap", (*ticket, *row)),
        Effect::Keep { ticket, row, .. } => ("keep", (*ticket, *row)),
        Effect::Meta { ticket, row, .. } => ("meta", (*ticket, *row)),
        Effect::Remove { ticket, row, .. } => ("remove", (*ticket, *row)),
        Effect::Recover { ticket, row } => ("recover", (*ticket, *row)),
        Effect::Discard { ticket, row, .. } => ("discard", (*ticket, *row)),
        Effect::Parts { ticket, .. } => ("parts", (*ticket, Row(0))),
        // Its row may be forgotten.
        Effect::Clear { ticket, .. } => ("clear", (*ticket, Row(0))),
        Effect::Sync { ticket, .. } => ("sync", (*ticket, Row(0))),
        Effect::Flush { ticket, .. } => ("flush", (*ticket, Row(0))),
        Effect::Commit { ticket } => ("commit", (*ticket, Row(0))),
        Effect::Cancel(ticket) => ("cancel", (*ticket, Row(0))),
        Effect::Reach(_) => ("reach", none),
        Effect::Tell(_) => ("tell", none),
    };
    (name, ticket, row)
}

pub(super) fn code(o: &Outcome) -> u64 {
    match o {
        Outcome::Done => 0,
        Outcome::Failed(Cause::Os(e)) => 100 + *e as u64,
        Outcome::Failed(_) => 1,
        Outcome::Looked { .. } => 2,
        Outcome::Ready | Outcome::Taken => 3,
        Outcome::Swapped { odd: None, .. } => 4,
        Outcome::Swapped { .. } => 5,
        Outcome::Removed => 6,
        Outcome::Recovered { .. } => 7,
    }
}

pub(super) fn explain_down(frame: &[u8]) -> String {
    use dartsync_core::wire::message::{ToPeer, decode};
    match decode::<ToPeer<'_>>(frame) {
        Some(ToPeer::Records(b)) => super::net::explain_batch(b),
        m => format!("{m:?}").chars().take(300).collect(),
    }
}
