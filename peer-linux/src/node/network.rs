//! Word from the kernel that interfaces or their addresses changed: then the tracker is dialled at once.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Groups of rtnetlink(7): links, IPv4 and IPv6 addresses.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Readable when something changed.
pub struct Changes(OwnedFd);

impl Changes {
    /// Asks the kernel to tell. Fails where a sandbox forbids it; the tracker is then found by trying.
    pub fn watch() -> io::Result<Changes> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Changes(fd))
    }
    /// Whether something changed since the last call.
    pub fn came(&self) -> bool {
        let (mut buf, mut any) = ([0; 4096], false);
        // Lost messages (ENOBUFS) are changes too.
        while !matches!(
            recv(self.0.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT),
            Err(nix::errno::Errno::EAGAIN) | Ok(0)
        ) {
            any = true;
        }
        any
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
