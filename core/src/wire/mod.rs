//! What travels on a tracker link: one frame is one postcard enum ([`message`]); records within a frame are
//! front-coded ([`batch`]).

pub mod batch;
#[cfg(test)]
mod batch_tests;
pub mod message;
