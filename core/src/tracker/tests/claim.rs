//! Holder bits, lag, and what follows from them.
