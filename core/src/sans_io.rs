//! What every machine's calls share.

/// What `poll_transmit` did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// A frame of so many bytes stands in `out`: send it, then ask again.
    Frame(usize),
    /// Nothing is due.
    Idle,
    /// Nothing yet, but the budget of this step is spent: ask again after others had their turn.
    Again,
}

/// Input that breaks the protocol: the driver hangs up. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reject {
    /// In words, for the log.
    pub why: &'static str,
}

impl Reject {
    /// A reject for this reason.
    pub const fn new(why: &'static str) -> Reject {
        Reject { why }
    }
}
