//! Acts on real directories.
