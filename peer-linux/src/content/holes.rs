//! Where a sparse file has no bytes, so that they need not be read.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;

/// Answers for rising offsets where holes are, asking the system once an extent. Moves the file's own offset, which
/// nothing here reads by.
pub struct Holes<'a> {
    file: &'a File,
    /// The last extent asked for: a hole from `from` to `data`, then data until `end`.
    from: u64,
    data: u64,
    end: u64,
}

impl<'a> Holes<'a> {
    /// Of a file that may have some.
    pub fn new(file: &'a File) -> Holes<'a> {
        Holes { file, from: 0, data: 0, end: 0 }
    }

    /// Of a file that has none, or whose holes are not worth asking for.
    pub fn none(file: &'a File) -> Holes<'a> {
        Holes { file, from: 0, data: 0, end: u64::MAX }
    }

    /// Bytes of the hole that begins at, or holds, this offset; 0 if there is data. The last hole of a file has no
    /// end: callers know the size.
    pub fn hole_at(&mut self, at: u64) -> u64 {
        if at < self.from || at >= self.end {
            self.ask(at);
        }
        self.data.saturating_sub(at)
    }

    fn ask(&mut self, at: u64) {
        self.from = at;
        match seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => {
                self.data = data;
                // Without an answer the rest is read as data: slower, never wrong.
                self.end = seek(self.file, SeekFrom::Hole(data)).unwrap_or(u64::MAX).max(data + 1);
            }
            Err(Errno::NXIO) => (self.data, self.end) = (u64::MAX, u64::MAX),
            Err(_) => (self.data, self.end) = (at, u64::MAX),
        }
    }
}
