//! Many TCP links as byte streams that never block, with readiness: what a node's driver loop stands on.
//!
//! # The loop
//! [`Net::wait`], then [`Net::next_event`] until there is none, then again. Readiness is by level: a link that is
//! readable is told at every wait until it was read empty; one that is writable, as long as that is asked for with
//! [`Net::set_interest`]. The end of a link is read: `read` gives 0 or an error; it is then to be
//! [closed](Net::close). A link whose reading is paused says [`Event::Closed`] when it breaks.

use core::fmt;
use embedded_io::{ErrorKind, Read, ReadReady, Write, WriteReady};

/// An IP address and port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Addr {
    /// IPv4.
    V4([u8; 4], u16),
    /// IPv6.
    V6([u8; 16], u16),
}

impl Addr {
    /// The port.
    pub const fn port(&self) -> u16 {
        match *self {
            Addr::V4(_, port) | Addr::V6(_, port) => port,
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Addr::V4(ip, port) => core::net::SocketAddr::from((ip, port)).fmt(f),
            Addr::V6(ip, port) => core::net::SocketAddr::from((ip, port)).fmt(f),
        }
    }
}

impl From<core::net::SocketAddr> for Addr {
    fn from(a: core::net::SocketAddr) -> Addr {
        match a.ip().to_canonical() {
            core::net::IpAddr::V4(ip) => Addr::V4(ip.octets(), a.port()),
            core::net::IpAddr::V6(ip) => Addr::V6(ip.octets(), a.port()),
        }
    }
}

impl From<Addr> for core::net::SocketAddr {
    fn from(a: Addr) -> Self {
        match a {
            Addr::V4(ip, port) => (ip, port).into(),
            Addr::V6(ip, port) => (ip, port).into(),
        }
    }
}

/// Names a link as long as it is not closed; a number is not used again for long (some 65,000 links later).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkKey(pub u32);

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A link came in, from there. Its reading is on.
    Accepted(LinkKey, Addr),
    /// A dialled link stands. Its reading is on.
    Connected(LinkKey),
    /// A dialled link came to nothing; it is closed already.
    Failed(LinkKey, NetError),
    /// There is something to read: bytes, the end, or an error.
    Readable(LinkKey),
    /// There is room to write, and [`Net::set_interest`] asked for it.
    Writable(LinkKey),
    /// Broken; told at every wait until it is closed.
    Closed(LinkKey),
    /// Another thread or an interrupt asked for attention.
    Woken,
    /// A descriptor that was given to a network of an operating system to watch is ready.
    Ready(u32),
}

/// Why something on the network was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetError {
    /// It would have to wait: try again when the link is ready.
    NotReady,
    /// The link was closed or reset, or was never there.
    Closed,
    /// Nobody listens there.
    Refused,
    /// There is no way to there, or no answer from there.
    Unreachable,
    /// There is no room for another link.
    Full,
    /// Something else: the number of the operating system's error, 0 if it has none.
    Other(i32),
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetError::NotReady => f.write_str("not ready"),
            NetError::Closed => f.write_str("closed by the other end"),
            NetError::Refused => f.write_str("refused: nobody listens there"),
            NetError::Unreachable => f.write_str("unreachable"),
            NetError::Full => f.write_str("too many links"),
            NetError::Other(n) => write!(f, "network error {n}"),
        }
    }
}

impl core::error::Error for NetError {}

impl embedded_io::Error for NetError {
    fn kind(&self) -> ErrorKind {
        match self {
            NetError::Closed => ErrorKind::ConnectionReset,
            NetError::Refused => ErrorKind::ConnectionRefused,
            NetError::Full => ErrorKind::OutOfMemory,
            NetError::NotReady | NetError::Unreachable | NetError::Other(_) => ErrorKind::Other,
        }
    }
}

/// A network with one listener at most. The number of links is bounded when it is made.
pub trait Net {
    /// One link, borrowed: its `read` and `write` never block but give [`NetError::NotReady`]; `write` may take less
    /// than it is given; `read` gives 0 at the end, for good.
    type Link<'a>: Read<Error = NetError> + Write<Error = NetError> + ReadReady + WriteReady
    where
        Self: 'a;

    /// Waits until something happens or the node's [clock](crate::clock::Clock) reaches `until_us` (at once if that
    /// is past; `u64::MAX` = for ever). May return early.
    fn wait(&mut self, until_us: u64) -> Result<(), NetError>;
    /// What has happened. Events of links closed meanwhile are not told.
    fn next_event(&mut self) -> Option<Event>;
    /// The link, if it is not closed.
    fn link(&mut self, key: LinkKey) -> Option<Self::Link<'_>>;
    /// Whether [`Event::Readable`] and [`Event::Writable`] are told of the link. At first: readable only.
    fn set_interest(&mut self, key: LinkKey, read: bool, write: bool);
    /// Ends a link, in both directions; what was written before still goes out where that is possible.
    fn close(&mut self, key: LinkKey);
    /// Begins to dial; [`Event::Connected`] or [`Event::Failed`] follows.
    fn dial(&mut self, to: Addr) -> Result<LinkKey, NetError>;
    /// Where links are accepted, with the real port; none if nowhere.
    fn listening(&self) -> Option<Addr>;
    /// This end's address on a link.
    fn local(&self, key: LinkKey) -> Option<Addr>;
}
