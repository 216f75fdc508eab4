//! The tracker as a program: the loop that carries [`dartsync_core::tracker`] over a [`dartsync_hal`] board.
//!
//! | module | what it holds |
//! |---|---|
//! | [`serve`] | the loop: links in, frames to the machine, frames out; no heap, bounded memory |
//! | [`start`] | from what is stored to what a tracker is made of: identity, roster, code |
//! | [`words`] | the identity as words to keep |
//! | [`linux`] | the command line |
//!
//! # Invariants
//! - A link costs its slot and no more: input is buffered up to one frame, output is made only when the link takes it.
//! - A stranger costs a slot for five seconds at most, and one computed handshake only when [`serve`] admits it.
//! - No secret is logged.

pub mod linux;
pub mod serve;
pub mod start;
pub mod words;
