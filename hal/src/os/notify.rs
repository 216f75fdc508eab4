//! Word to the service manager that started this program (systemd's protocol: a datagram of `NAME=value` lines to the
//! socket that `NOTIFY_SOCKET` names; see sd_notify(3)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What a service manager is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The start is done: what depends on this program may be started.
    Ready,
    /// The program was asked to end, and does.
    Stopping,
}

/// Tells the service manager, if one wants to know. An error says that it could not be told: no reason to stop.
pub fn notify(standing: Standing) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        None => Ok(()),
        Some(socket) => tell(&socket, standing),
    }
}

fn tell(socket: &OsString, standing: Standing) -> io::Result<()> {
    let text: &[u8] = match standing {
        Standing::Ready => b"READY=1",
        Standing::Stopping => b"STOPPING=1",
    };
    UnixDatagram::unbound()?.send_to_addr(text, &address(socket)?)?;
    Ok(())
}

/// A path, or behind an `@` a name in no directory.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        Some((b'/', _)) => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "NOTIFY_SOCKET is neither a path nor a name behind @",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(at: &UnixDatagram) -> Vec<u8> {
        let mut buf = [0; 64];
        let n = at.recv(&mut buf).unwrap();
        buf[..n].to_vec()
    }

    #[test]
    fn managers_are_told_wherever_they_listen() {
        let name = format!("dartsync-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let file = UnixDatagram::bind(&path).unwrap();
        tell(&path.clone().into(), Standing::Ready).unwrap();
        assert_eq!(heard(&file), b"READY=1");
        std::fs::remove_file(&path).unwrap();
        assert!(tell(&path.into(), Standing::Ready).is_err());
        let nowhere = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        tell(&format!("@{name}").into(), Standing::Stopping).unwrap();
        assert_eq!(heard(&nowhere), b"STOPPING=1");
        for bad in ["", "socket", "vsock:2:1"] {
            assert!(tell(&bad.into(), Standing::Ready).is_err(), "{bad}");
        }
    }
}
