//! The peer: session, reconciling of three trees, plan, guards.
//!
//! A [`Peer`](machine::Peer) is told facts and asked for effects and frames; it works over the [`Index`] it is lent in
//! each call. Work is derived, not queued: the three trees live in the store, a row a path; the to-do is the set of rows
//! whose trees differ.

mod copy_name;
mod effect;
mod index;
#[cfg(test)]
pub mod mem_index;
mod reconcile;
mod trees;

pub use effect::{Effect, Outcome, ScanEntry, Tell, Touch};
pub use index::{DEVICE, Index, Mark, Number};
pub use trees::{Cause, Due, Intent, Lane, Local, Made, Remote, Stat, Trees};
