//! The tracker as a program: the loop that carries [`dartsync_core::tracker`] over a [`dartsync_hal`] board.
//!
//! | module | what it holds |
//! |---|---|
//! | [`serve`] | the loop: links in, frames to the machine, frames out; no heap, bounded memory |
//! | [`words`] | the identity as words to keep |
//!
//! # Invariants
//! - A link costs its slot and no more: input is buffered up to one frame, output is made only when the link takes it.
//! - A stranger costs a slot for five seconds at most, and one computed handshake only when [`serve`] admits it.
//! - No secret is logged.

pub mod serve;
pub mod words;
