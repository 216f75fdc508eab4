//! The peer: session, reconciling of three trees, plan, guards.
//!
//! A [`Peer`] is told facts and asked for effects and frames; it works over the [`Index`] it is lent in each call. Work is
//! derived, not queued: the three trees live in the store, a row a path; the to-do is the set of rows whose trees differ.
//!
//! | file | idea |
//! |---|---|
//! | `machine` | the state, the calls, the order of polling |
//! | `trees`, `index`, `effect` | what is kept of a path; the store; what the driver is asked |
//! | `reconcile` | the next step of a row, who wins: pure |
//! | `rows` | a row is opened, changed, closed: lane and counts follow |
//! | `session`, `frames`, `requests` | the tracker link; what is asked of the home |
//! | `announce`, `merge` | announcing and verdicts; minting, merging, conflict copies |
//! | `scan`, `look`, `lose`, `guard` | what the disk says, and when it is not believed |
//! | `flush`, `torn` | what users wrote is made durable; what a power cut has left of it |
//! | `moved` | what a file that was moved is known to hold |
//! | `plan`, `install`, `obtain`, `remove`, `recover` | what is done next, and what became of it |
//! | `pair` | what a copy and its winner are announced together by |
//! | `copies` | conflict copies that come to stand |
//! | `room`, `waiting` | what gives way to others, and what waits for its directory |
//! | `parts` | what was given up half done is cleared away |
//! | `vain` | what others asked this device for in vain |
//! | `tree` | what hangs together by paths |
//! | `views` | status |

mod announce;
mod copies;
#[cfg(test)]
mod copies_tests;
mod copy_name;
#[cfg(test)]
mod cuts_tests;
mod effect;
mod flush;
#[cfg(test)]
mod flush_tests;
mod frames;
mod guard;
#[cfg(test)]
mod guard_tests;
mod index;
mod install;
#[cfg(test)]
mod install_tests;
mod look;
#[cfg(test)]
mod look_tests;
mod lose;
#[cfg(test)]
mod lose_tests;
#[cfg(test)]
mod lost_tests;
mod machine;
#[cfg(test)]
pub mod mem_index;
mod merge;
mod moved;
#[cfg(test)]
mod moved_tests;
mod obtain;
#[cfg(test)]
mod overtake_tests;
mod pair;
#[cfg(test)]
mod pair_tests;
mod parts;
#[cfg(test)]
mod parts_tests;
mod plan;
mod reconcile;
#[cfg(test)]
mod reconcile_tests;
mod recover;
#[cfg(test)]
mod recover_tests;
mod remove;
#[cfg(test)]
mod rename_tests;
mod requests;
#[cfg(test)]
mod revival_tests;
#[cfg(test)]
mod rig;
mod room;
#[cfg(test)]
mod room_tests;
mod rows;
mod scan;
#[cfg(test)]
mod seek_tests;
#[cfg(test)]
mod seq_tests;
mod session;
mod state;
mod torn;
#[cfg(test)]
mod torn_tests;
#[cfg(test)]
mod touch_tests;
mod tree;
mod trees;
#[cfg(test)]
mod untold_tests;
mod vain;
mod views;
mod waiting;

pub use copy_name::{copy_path, is_copy_name};
pub use effect::{Effect, Outcome, ScanEntry, Tell, Touch};
pub use index::{DEVICE, HELD, Index, Mark, Number, PAUSED, UNCLEAN};
pub use machine::{Config, Peer};
pub use requests::Reply;
pub use session::Presence;
pub use trees::{Cause, Due, Intent, Lane, Local, Made, Remote, Stat, Trees};
pub use views::{FolderView, State};
