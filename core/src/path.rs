//! Paths as the protocol knows them: bytes below a folder's root, parts divided by `/`.
//!
//! Invariant: a [`Path`] is 1..=4096 bytes; each part is 1..=255 bytes, none is `.` or `..` or `.dartsync` in any
//! case, and no byte is NUL. Only [`Path::new`] makes one, so whoever holds one need not check again.

use crate::limits::{NAME, PATH};
use core::cmp::Ordering;

/// A valid path below a folder's root; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path<'a>(&'a [u8]);

/// Why bytes are not a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadPath {
    /// Empty, or an empty part (`/x`, `a//b`, `a/`).
    Empty,
    /// Longer than a path or a name may be.
    TooLong,
    /// A part is `.` or `..`.
    Dots,
    /// A part is DartSync's own directory.
    Reserved,
    /// A NUL byte.
    Nul,
}

impl<'a> Path<'a> {
    /// Checks the rules of the module.
    pub fn new(bytes: &'a [u8]) -> Result<Path<'a>, BadPath> {
        if bytes.len() > PATH {
            return Err(BadPath::TooLong);
        }
        if bytes.contains(&0) {
            return Err(BadPath::Nul);
        }
        bytes.split(|b| *b == b'/').try_for_each(check_name)?;
        Ok(Path(bytes))
    }
    /// The bytes.
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
    /// The path of the directory it stands in; none for a path of one part.
    pub fn parent(self) -> Option<Path<'a>> {
        self.0.iter().rposition(|b| *b == b'/').map(|i| Path(&self.0[..i]))
    }
    /// The last part.
    pub fn name(self) -> &'a [u8] {
        self.0.rsplit(|b| *b == b'/').next().expect("a path has a part")
    }
    /// How many parts it has.
    pub fn depth(self) -> usize {
        self.0.iter().filter(|b| **b == b'/').count() + 1
    }
    /// Whether it stands below `dir`, at any depth.
    pub fn is_under(self, dir: Path<'_>) -> bool {
        self.0.len() > dir.0.len() && self.0.starts_with(dir.0) && self.0[dir.0.len()] == b'/'
    }
    /// Tree order: a directory comes before what is in it, and that before its next sibling. Byte order with `/`
    /// taken as NUL; what a store gets for free by keeping `/` as NUL in its keys.
    pub fn tree_cmp(self, other: Path<'_>) -> Ordering {
        let key = |b: &u8| if *b == b'/' { 0 } else { *b };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl core::fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Checks one part of a path.
pub fn check_name(name: &[u8]) -> Result<(), BadPath> {
    match name {
        [] => Err(BadPath::Empty),
        b"." | b".." => Err(BadPath::Dots),
        n if n.len() > NAME => Err(BadPath::TooLong),
        n if n.eq_ignore_ascii_case(b".dartsync") => Err(BadPath::Reserved),
        _ => Ok(()),
    }
}

/// Owns the bytes of a path; holds any path, may be empty (the root).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PathBuf(heapless::Vec<u8, PATH>);

impl PathBuf {
    /// The empty buffer.
    pub const fn new() -> Self {
        PathBuf(heapless::Vec::new())
    }
    /// Replaces what is held.
    pub fn set(&mut self, path: Path<'_>) {
        self.0.clear();
        self.0.extend_from_slice(path.0).expect("a path fits");
    }
    /// Empties it.
    pub fn clear(&mut self) {
        self.0.clear();
    }
    /// The path held; none if empty.
    pub fn get(&self) -> Option<Path<'_>> {
        if self.0.is_empty() { None } else { Some(Path(&self.0)) }
    }
    /// Shortens the buffer to `keep` bytes and appends `suffix`; false (and unchanged) if that is no path.
    pub fn splice(&mut self, keep: usize, suffix: &[u8]) -> bool {
        if keep > self.0.len() || keep + suffix.len() > PATH {
            return false;
        }
        let mut next = self.0.clone();
        next.truncate(keep);
        if next.extend_from_slice(suffix).is_err() || Path::new(&next).is_err() {
            return false;
        }
        self.0 = next;
        true
    }
}

impl core::fmt::Debug for PathBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn refuses_whatever_could_leave_the_root_or_touch_our_own() {
        for (bad, why) in [
            (&b""[..], BadPath::Empty),
            (b"/x", BadPath::Empty),
            (b"a//b", BadPath::Empty),
            (b"a/", BadPath::Empty),
            (b"../x", BadPath::Dots),
            (b"a/../../x", BadPath::Dots),
            (b"a/.", BadPath::Dots),
            (b".dartsync/x", BadPath::Reserved),
            (b"a/.DartSync", BadPath::Reserved),
            (b"a\0b", BadPath::Nul),
            (&[b'n'; 256], BadPath::TooLong),
            (&b"ab/".repeat(1366)[..4097], BadPath::TooLong),
        ] {
            assert_eq!(Path::new(bad), Err(why), "{:?}", bad.escape_ascii());
        }
        for good in
            [&b"a"[..], b"...", b"a b\n", b"\xff\xfe", &[b'n'; 255], b".dartsyncignore", b"x.dartsync"]
        {
            assert!(Path::new(good).is_ok());
        }
    }

    #[test]
    fn tree_order_puts_a_directory_right_before_what_is_in_it() {
        let mut v: Vec<Path> =
            [&b"a.txt"[..], b"a/b", b"a", b"a b", b"a/b/c", b"b"].map(|b| Path::new(b).unwrap()).to_vec();
        v.sort_by(|a, b| a.tree_cmp(*b));
        assert_eq!(
            v.iter().map(|p| p.bytes()).collect::<Vec<_>>(),
            [&b"a"[..], b"a/b", b"a/b/c", b"a b", b"a.txt", b"b"]
        );
    }
}
