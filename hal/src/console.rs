//! Where a node speaks to people.

use core::fmt::Arguments;

/// Two streams of lines. Neither may block for long or fail: what cannot be said is dropped.
pub trait Console {
    /// An answer: one line that programs may read (stdout on an operating system), flushed.
    fn say(&mut self, line: Arguments<'_>);
    /// One line of the log (stderr on an operating system). Never holds a secret.
    fn log(&mut self, line: Arguments<'_>);
}
