//! Copying a file's bytes: shared blocks, else copied in the kernel, else by hand; holes stay holes.

use super::beneath::{cause, io_cause};
use dartsync_core::peer::Cause;
use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes asked of the kernel in one call, so that a thread can be told to stop between two.
const CALL: u64 = 64 << 20;

/// Makes `to`, which is empty, hold the first `size` bytes of `from`.
pub(super) fn copy_bytes(from: &File, to: &File, size: u64) -> Result<(), Cause> {
    if size == 0 {
        return Ok(());
    }
    if ioctl_ficlone(to, from).is_ok() {
        return to.set_len(size).map_err(io_cause);
    }
    to.set_len(size).map_err(io_cause)?;
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, size)? {
        copy_range(from, to, start, end)?;
        at = end;
    }
    Ok(())
}

/// The next stretch of data at or after `at`, below `size`; none if only a hole is left.
fn next_data(file: &File, at: u64, size: u64) -> Result<Option<(u64, u64)>, Cause> {
    if at >= size {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // It knows of no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(e) => return Err(cause(e)),
    };
    if start >= size {
        return Ok(None);
    }
    let end = seek(file, SeekFrom::Hole(start)).map_err(cause)?;
    Ok(Some((start, end.min(size))))
}

fn copy_range(from: &File, to: &File, mut at: u64, end: u64) -> Result<(), Cause> {
    while at < end {
        let (mut r, mut w) = (at, at);
        match copy_file_range(from, Some(&mut r), to, Some(&mut w), (end - at).min(CALL) as usize) {
            // It got shorter; who verifies will see.
            Ok(0) => return Ok(()),
            Ok(n) => at += n as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::IO) => {
                return copy_by_hand(from, to, at, end);
            }
            Err(e) => return Err(cause(e)),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, mut at: u64, end: u64) -> Result<(), Cause> {
    let mut block = vec![0; 256 * 1024];
    while at < end {
        let most = (end - at).min(block.len() as u64) as usize;
        let n = match from.read_at(&mut block[..most], at) {
            Ok(0) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            n => n.map_err(io_cause)?,
        };
        to.write_all_at(&block[..n], at).map_err(io_cause)?;
        at += n as u64;
    }
    Ok(())
}
