//! The few bytes that a node keeps over a restart.

/// What is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// The node's secret key: 32 bytes.
    Identity,
    /// The sealed roster.
    Roster,
}

/// Keeps items, each wholly old or wholly new whatever happens, unreadable to other users.
pub trait Storage {
    /// What a failure says.
    type Error: core::fmt::Display;
    /// Reads an item to the start of `into`; gives its length, none where it was never saved. An item that does not
    /// fit is an error.
    fn load(&mut self, item: Item, into: &mut [u8]) -> Result<Option<usize>, Self::Error>;
    /// Keeps an item durably: when this returns, a power cut does not lose it.
    fn save(&mut self, item: Item, bytes: &[u8]) -> Result<(), Self::Error>;
}
