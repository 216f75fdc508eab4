//! Every write, move and removal of a user's file (RULES R11 to R16): the one module that touches them.
//!
//! A [`Root`] is a folder's directory on this device. Its functions are synchronous, called from worker threads, one
//! act each, and answer with the peer machine's words ([`Outcome`], [`Cause`]); they decide nothing and know no store.
//! Invariants held here and nowhere else:
//!
//! - A path is resolved anew for each act (or a run of them, without pause, in one directory), beneath the root, through
//!   no symlink and no mount: a hostile or moved directory cannot lead an act elsewhere. What a missing path means is said only while the root is known to stand.
//! - A name is only ever changed by `renameat2` with EXCHANGE or NOREPLACE, `linkat`, `symlinkat` or `rmdir`: nothing
//!   of a user is overwritten or deleted. What is displaced goes to `.dartsync/trash`, or is reported as `odd`.
//! - What is displaced has no writer (lease), or is watched until it has none ([`Root::poll_displaced`]).
//! - In `.dartsync/tmp` only partial downloads (`<n>.part`) and own half-made copies (`<n>.copy`) are ever deleted.
//!
//! | file | idea |
//! |---|---|
//! | `root` `marker` `claim` `probe` | a folder's directory: linking, one program at a time, what its file system can do, whether it still stands |
//! | `beneath` `grant` | resolving paths; write permission lent to directories that lack it |
//! | `stat` `lease` `hash` | looking: what stands there, who writes to it, what its content is |
//! | `part` `copy` `prepare` | from bytes to a swap file |
//! | `swap` `displaced` `second` `keep` `meta` `remove` | the acts |
//! | `recover` | after a crash |
//! | `trash` `purge` `restore` | where displaced things go, and how they leave |
//! | `watcher` | displaced inodes that may still be written to |
//! | `sync` | what makes acts, and users' writes, durable |

mod ages;
mod beneath;
mod claim;
mod copy;
mod displaced;
mod grant;
mod hash;
mod keep;
mod lease;
mod marker;
mod meta;
mod nested;
mod part;
mod prepare;
mod probe;
mod purge;
mod recover;
mod remove;
mod restore;
mod root;
mod second;
mod stat;
mod swap;
mod sync;
mod trash;
mod watcher;

#[cfg(test)]
mod tests;

pub use beneath::Run;
pub use lease::{has_writer, is_alone, is_being_saved};
pub use marker::Marker;
pub use nested::check_within;
pub use prepare::ToPrepare;
pub use probe::Probe;
pub use purge::{Policy, Purged};
pub use restore::Restored;
pub use root::{DiskError, Linked, Root};
pub use stat::{file_stat, stat_of, wall};
pub use swap::ToSwap;
pub use trash::{Item, Stuck, TrashWalk};
pub use watcher::Rewritten;

use dartsync_core::ids::ContentId;
use dartsync_core::peer::{Cause, Outcome, Stat};

/// To be called once, before the first [`Root`]: a lease that another program breaks must not end this one.
pub fn init() -> std::io::Result<()> {
    dartsync_hal::os::ignore_sigio()
}

/// What an act did: the outcome for the peer machine, and what went to the trash, for the store.
#[derive(Debug)]
pub struct Act {
    /// What the peer machine is told.
    pub outcome: Outcome,
    /// What was moved to the trash by the act, whatever its outcome.
    pub trashed: Vec<Trashed>,
}

/// One thing that was moved to the trash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trashed {
    /// Where it lies now, below `.dartsync/trash`; a valid core path.
    pub at: Vec<u8>,
    /// Whose it was: the row's number; 0 when that is not known.
    pub n: u64,
    /// Read after it was moved.
    pub stat: Stat,
    /// Its content, when it is known without hashing.
    pub content: Option<ContentId>,
}

/// Runs an act and gathers what it trashed on its way, done or failed.
fn act(run: impl FnOnce(&mut Vec<Trashed>) -> Result<Outcome, Cause>) -> Act {
    let mut trashed = Vec::new();
    let outcome = run(&mut trashed).unwrap_or_else(Outcome::Failed);
    Act { outcome, trashed }
}
