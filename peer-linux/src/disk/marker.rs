//! The marker of a linked root, `.dartsync/folder`: which folder it is, and a random number drawn when it was linked,
//! so that another root at the same place is not taken for it. The configuration remembers that number; who links the root
//! anew draws another one.

use super::beneath::{Dir, cause, io_cause, open, open_dir};
use dartsync_core::peer::Cause;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{Mode, OFlags, fsync, openat, renameat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// Where it stands below the root.
pub(super) const PATH: &[u8] = b".dartsync/folder";
/// Its name there.
pub(super) const NAME: &[u8] = b"folder";
const FIRST_LINE: &str = "DartSync folder 1";

/// What a marker says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marker {
    /// The folder's id in the home.
    pub folder: u64,
    /// Drawn when the root was linked.
    pub nonce: u64,
}

impl Marker {
    /// A marker for a newly linked root.
    pub(super) fn draw(folder: u64) -> Marker {
        let mut bytes = [0; 8];
        SystemRandom::new().fill(&mut bytes).expect("the system gives random numbers");
        Marker { folder, nonce: u64::from_le_bytes(bytes) }
    }

    fn text(&self) -> String {
        format!("{FIRST_LINE}\n{:016x}\n{:016x}\n", self.folder, self.nonce)
    }

    fn parse(text: &str) -> Option<Marker> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let mut number = || u64::from_str_radix(lines.next()?, 16).ok();
        Some(Marker { folder: number()?, nonce: number()? })
    }

    /// Reads the marker of the root that `root` is open on; none if there is none, or not a whole one.
    pub(super) fn read(root: impl AsFd) -> Result<Option<Marker>, Cause> {
        let fd = match open(root.as_fd(), PATH, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(cause(e)),
        };
        let mut text = String::new();
        match File::from(fd).take(256).read_to_string(&mut text) {
            Ok(_) => Ok(Marker::parse(&text)),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(e) => Err(io_cause(e)),
        }
    }

    /// Puts the marker into `.dartsync`, durably and whole; `tmp` is its `tmp`.
    pub(super) fn write(&self, own: &Dir, tmp: &Dir) -> Result<(), Cause> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = openat(tmp, "marker", flags, Mode::RUSR | Mode::WUSR).map_err(cause)?.into();
        file.write_all(self.text().as_bytes()).map_err(io_cause)?;
        file.sync_all().map_err(io_cause)?;
        renameat(tmp, "marker", own, NAME).map_err(cause)?;
        sync_dir(own)
    }
}

/// Makes a directory's entries durable.
pub(super) fn sync_dir(dir: impl AsFd) -> Result<(), Cause> {
    let dir = open(dir.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(cause)?;
    fsync(dir).map_err(cause)
}

/// Whether the directory at `path` is a linked root.
pub(super) fn is_marked(path: &std::path::Path) -> bool {
    path.join(".dartsync/folder").symlink_metadata().is_ok()
}

/// Opens `.dartsync` below a root.
pub(super) fn own_dir(root: impl AsFd) -> Result<Dir, Cause> {
    open_dir(root, b".dartsync").map_err(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_a_torn_one_is_none() {
        let marker = Marker::draw(u64::MAX - 5);
        let text = marker.text();
        assert_eq!(Marker::parse(&text), Some(marker));
        assert_ne!(Marker::draw(1).nonce, Marker::draw(1).nonce);
        for torn in ["", FIRST_LINE, &text[..20], "DartSync folder 2\n1\n2\n", "DartSync folder 1\nx\n2\n"] {
            assert_eq!(Marker::parse(torn), None, "{torn:?}");
        }
    }
}
