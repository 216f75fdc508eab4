//! DartSync's protocol and every decision it takes, as state machines without input or output of their own.
//!
//! # Map
//! | module | what it holds |
//! |---|---|
//! | [`ids`], [`time`], [`limits`] | the words of the domain, and every bound |
//! | [`rng`] | randomness drawn from one seed |
//! | [`version`], [`record`], [`path`] | version vectors, what is known of one path, path rules |
//! | [`wire`] | messages and their encoding (postcard), frames |
//! | [`link`] | the secure channel (Noise): bytes in, frames out |
//! | [`roster`] | who and what belongs to a home |
//! | [`tracker`] | the tracker: file table, sessions, enrolment |
//! | [`peer`] | the peer: session, reconciling of three trees, plan, guards |
//! | [`content`] | chunks, manifests, content ids |
//! | [`data`] | links between devices and downloads from many of them |
//! | [`mutant`] | for the proof: rules that can be left out |
//!
//! # Invariants
//! - `no_std`, no allocation, no unsafe code, no clock, no sockets, no threads: facts in, effects out.
//! - Memory is lent by the caller or has a fixed size that a test asserts.
//! - Input is validated wholly before anything changes. Bad input is a `Reject`; an own bug is an assertion.
//! - After draining, the next timeout lies in the future.
#![no_std]
#![forbid(unsafe_code)]

// `peer::mem_index` is compiled here for tests and into the tests crate: both know this crate by one name.
#[cfg(test)]
extern crate self as dartsync_core;
#[cfg(test)]
extern crate std;

pub mod content;
pub mod data;
pub mod ids;
pub mod limits;
pub mod link;
pub mod mutant;
pub mod path;
pub mod peer;
pub mod record;
pub mod rng;
pub mod roster;
pub mod sans_io;
pub mod time;
pub mod tracker;
pub mod version;
pub mod wire;
