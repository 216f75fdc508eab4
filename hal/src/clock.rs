//! What time it is.

/// A node's two clocks.
pub trait Clock {
    /// Microseconds of a clock that never steps or goes back; its start is of no meaning.
    fn now_us(&self) -> u64;
    /// Microseconds since 1970 by the wall clock; 0 where a board does not know.
    fn wall_us(&self) -> u64;
}
