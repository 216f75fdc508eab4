//! The signals that ask a program to end, as something to wait for.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// SIGTERM and SIGINT, taken from this thread and from those it starts later. Its descriptor is readable when one
/// has come: watch it with [`NetStd::watch`](crate::net_std::NetStd::watch).
pub struct StopSignals(SignalFd);

impl StopSignals {
    /// Blocks the two signals in this thread. To be called before other threads are started.
    pub fn take() -> io::Result<StopSignals> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGINT);
        set.thread_block()?;
        Ok(StopSignals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }
    /// Whether one has come since the last call.
    pub fn came(&self) -> bool {
        loop {
            match self.0.read_signal() {
                Ok(signal) => return signal.is_some(),
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for StopSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
