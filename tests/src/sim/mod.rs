//! A deterministic world: one real tracker machine and 2 to 12 real peer machines, with only their drivers swapped.
//!
//! | file | idea |
//! |---|---|
//! | `world` | what happens when: a heap of events in virtual time |
//! | `device`, `fs`, `bytes`, `acts` | a device: its machine, its clocks, its disk, what the driver does there |
//! | `enrol` | how devices come in |
//! | `parts` | what lies in tmp |
//! | `drive`, `feed` | effects become events, outcomes come back; contents and the kernel's news come in |
//! | `net` | links to the tracker, and the tracker itself |
//! | `user`, `life`, `faults` | who edits, what users decide, what breaks |
//! | `check`, `audit`, `excuse` | the promises, apart from all that, and what is beyond them |
//! | `reached` | what a run came to see |
//! | `seed` | one seed from its start to its verdict |
//! | `stories` | what random seeds reach too seldom |
//! | `torture` | the machines of a working home, fed with whatever |
//! | `less`, `shrink` | the same with less of everything; the least that still fails |
//!
//! The same seed gives the same trace on any machine: nothing here asks for time or order from outside.

mod acts;
mod audit;
mod bytes;
mod check;
mod device;
mod drive;
mod enrol;
mod excuse;
#[cfg(test)]
mod excuse_tests;
mod faults;
mod feed;
mod fs;
mod less;
mod life;
mod net;
mod parts;
mod rand;
mod reached;
#[cfg(test)]
mod scenarios;
mod seed;
mod shrink;
mod stories;
mod torture;
mod user;
mod words;
mod world;

pub use faults::{ALL as FAULTS, Kind as FaultKind};
pub use less::Less;
#[cfg(test)]
pub(crate) use rand::Rand;
pub use reached::{STATES, State};
pub use seed::{Verdict, run, run_less};
pub use shrink::{class, shrink};
pub use stories::{Story, stories};
pub use torture::{Choices, frames, torture};
pub use world::{Pool, World};
