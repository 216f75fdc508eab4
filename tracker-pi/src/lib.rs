//! The tracker as a program: the loop that carries [`dartsync_core::tracker`] over a [`dartsync_hal`] board.
//!
//! | module | what it holds |
//! |---|---|
//! | [`serve`] | the loop: links in, frames to the machine, frames out; no heap, bounded memory |
//! | [`start`] | from what is stored to what a tracker is made of: identity, roster, code |
//! | [`words`] | the identity as words to keep |
//! | [`card`] | `dartsync.cfg`: what a tracker without storage is told at each start |
//! | [`signpost`] | how a tracker on a board is found on its network |
//! | `linux` | the program of Linux: command line, files, sockets |
//! | `bare` | the program of a board without an operating system |
//!
//! # Invariants
//! - A link costs its slot and no more: input is buffered up to one frame, output is made only when the link takes it.
//! - A stranger costs a slot for five seconds at most, and one computed handshake only when [`serve`] admits it.
//! - No secret is logged.

#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(all(feature = "bare", target_arch = "aarch64", target_os = "none"))]
pub mod bare;
pub mod card;
#[cfg(feature = "std")]
pub mod linux;
pub mod serve;
pub mod signpost;
pub mod start;
pub mod words;
