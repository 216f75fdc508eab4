//! File leases (fcntl(2)): how to learn that nobody has a file open for writing.

use nix::errno::Errno;
use nix::libc;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A lease that this process holds on a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    /// None.
    None,
    /// A read lease.
    Read,
    /// A write lease.
    Write,
}

/// Asks for a read lease on an open regular file (opened for reading alone). `EAGAIN`: someone has it open for
/// writing, memory maps included. Other errors mean that leases are not to be had here (not the owner, no support).
/// While it is held, who opens the file for writing blocks; so it is to be [dropped](drop_lease) at once.
/// [`ignore_sigio`](super::ignore_sigio) must have been called.
pub fn take_read_lease(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    set(fd, libc::F_RDLCK)
}

/// Gives a lease back; whoever waits for it goes on.
pub fn drop_lease(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    set(fd, libc::F_UNLCK)
}

/// The lease held through this open file. A lease that is being broken shows as what it is to become.
pub fn current_lease(fd: BorrowedFd<'_>) -> Result<Lease, Errno> {
    // SAFETY: F_GETLEASE takes no argument and touches no memory of ours; the descriptor is open while borrowed.
    #[allow(unsafe_code)]
    let kind = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETLEASE) })?;
    Ok(match kind {
        libc::F_RDLCK => Lease::Read,
        libc::F_WRLCK => Lease::Write,
        _ => Lease::None,
    })
}

fn set(fd: BorrowedFd<'_>, kind: libc::c_int) -> Result<(), Errno> {
    // SAFETY: F_SETLEASE takes an integer and touches no memory of ours; the descriptor is open while borrowed.
    #[allow(unsafe_code)]
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, kind) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsFd;

    #[test]
    fn a_writer_is_seen_and_an_opener_waits() {
        super::super::ignore_sigio().unwrap();
        let path = std::env::temp_dir().join(format!("dartsync-lease-{}", std::process::id()));
        std::fs::write(&path, b"x").unwrap();
        let reader = File::open(&path).unwrap();
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        let refused = take_read_lease(reader.as_fd());
        if refused != Err(Errno::EAGAIN) {
            // A file system without leases: nothing can be shown here.
            std::fs::remove_file(&path).unwrap();
            assert!(refused.is_err());
            return;
        }
        drop(writer);
        take_read_lease(reader.as_fd()).unwrap();
        assert_eq!(current_lease(reader.as_fd()), Ok(Lease::Read));
        let opener = std::thread::spawn({
            let path = path.clone();
            move || OpenOptions::new().append(true).open(path).map(drop)
        });
        while current_lease(reader.as_fd()) != Ok(Lease::None) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!opener.is_finished(), "it waits until the lease is dropped");
        drop_lease(reader.as_fd()).unwrap();
        opener.join().unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
