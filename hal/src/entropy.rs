//! Where a node's randomness comes from.

/// A source of bytes that nobody can guess.
pub trait Entropy {
    /// Fills `out`. Waits where there is not yet enough entropy; a source that cannot deliver ends the program, since
    /// nothing is safe without it.
    fn fill(&mut self, out: &mut [u8; 32]);
}
