//! [`Net`] over epoll. Beside it: descriptors of the program's own can be watched, other threads can wake the loop,
//! and a link can be taken out to live in a thread of its own.

use crate::net::{Addr, Event, LinkKey, Net, NetError};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kernel events taken at once.
const BATCH: usize = 64;
/// How long accepting rests after the system ran out of something.
const REST_US: u64 = 200_000;

/// Those of listeners begin here.
const LISTENER: u64 = u64::MAX - 1;
const WAKER: u64 = u64::MAX - 2;
/// Marks the token of a watched descriptor.
const WATCHED: u64 = 1 << 32;

/// TCP of the operating system.
pub struct NetStd {
    epoll: Epoll,
    waker: Waker,
    /// The first is the one that is told of, the second another one.
    listeners: [Option<TcpListener>; 2],
    /// Accepting rests until then; `u64::MAX` = until a link is closed.
    resting: Option<u64>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    batch: [EpollEvent; BATCH],
    left: std::ops::Range<usize>,
    /// Of the kernel event being told: whose, and what is still to be told.
    current: Option<(u64, EpollFlags)>,
}

#[derive(Default)]
struct Slot {
    generation: u16,
    open: Option<Open>,
}

struct Open {
    stream: TcpStream,
    connecting: bool,
    interest: EpollFlags,
}

/// Wakes a [`NetStd`] from any thread: its loop is told [`Event::Woken`], once for many wakes.
#[derive(Clone)]
pub struct Waker(Arc<Bell>);

struct Bell {
    fd: EventFd,
    /// It was rung, and the loop has not heard it yet.
    rung: AtomicBool,
}

impl Waker {
    fn new() -> io::Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Waker(Arc::new(Bell {
            fd: EventFd::from_value_and_flags(0, flags)?,
            rung: AtomicBool::new(false),
        })))
    }
    /// Wakes: what this thread did before is seen by the loop once it is told.
    pub fn wake(&self) {
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            // A counter that is full has not been read: the loop is to wake anyway.
            let _ = self.0.fd.write(1);
        }
    }
    /// The loop has heard it. The counter first: who wakes in between is seen by the turn that follows, and who wakes after
    /// that rings again.
    fn hear(&self) {
        let _ = self.0.fd.read();
        self.0.rung.swap(false, Ordering::AcqRel);
    }
}

impl NetStd {
    /// A network of at most `links` links (at most 65,535), which listens at `listen` if given; port 0 = a free one.
    pub fn new(listen: Option<SocketAddr>, links: usize) -> io::Result<NetStd> {
        assert!(links <= usize::from(u16::MAX), "link numbers have 16 bits");
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let waker = Waker::new()?;
        epoll.add(&waker.0.fd, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        let mut net = NetStd {
            epoll,
            waker,
            listeners: [None, None],
            resting: None,
            slots: (0..links).map(|_| Slot::default()).collect(),
            free: (0..links as u16).rev().collect(),
            batch: [EpollEvent::empty(); BATCH],
            left: 0..0,
            current: None,
        };
        if let Some(at) = listen {
            net.listen(0, at)?;
        }
        Ok(net)
    }
    /// Listens at a second address too; gives it with its port. [`Net::local`] says at which a link came in.
    pub fn also_listen(&mut self, at: SocketAddr) -> io::Result<Addr> {
        assert!(self.listeners[1].is_none(), "there are two addresses at most");
        self.listen(1, at)
    }
    /// Something that wakes this network's loop.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
    /// Tells [`Event::Ready`] with this token whenever `fd` is readable, until [`unwatch`](NetStd::unwatch).
    pub fn watch(&mut self, fd: BorrowedFd<'_>, token: u32) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, WATCHED | u64::from(token)))?)
    }
    /// Watches `fd` no longer. To be called before it is closed.
    pub fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }
    /// Takes a link out, as a blocking stream; for this network it is closed.
    pub fn take(&mut self, key: LinkKey) -> Option<TcpStream> {
        let open = self.remove(key)?;
        open.stream.set_nonblocking(false).ok()?;
        Some(open.stream)
    }
    /// Links that are not closed.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn listen(&mut self, which: usize, at: SocketAddr) -> io::Result<Addr> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let here = listener.local_addr()?;
        self.epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER + which as u64))?;
        self.listeners[which] = Some(listener);
        Ok(here.into())
    }
    fn open(&mut self, key: LinkKey) -> Option<&mut Open> {
        let slot = self.slots.get_mut(usize::from(key.0 as u16))?;
        if slot.generation != (key.0 >> 16) as u16 { None } else { slot.open.as_mut() }
    }
    fn insert(&mut self, stream: TcpStream, connecting: bool) -> Result<LinkKey, NetError> {
        // Small frames go out at once. A socket that refuses this option still works.
        let _ = stream.set_nodelay(true);
        let i = self.free.pop().ok_or(NetError::Full)?;
        let slot = &mut self.slots[usize::from(i)];
        slot.generation = slot.generation.wrapping_add(1);
        let key = LinkKey(u32::from(slot.generation) << 16 | u32::from(i));
        let interest = if connecting { EpollFlags::EPOLLOUT } else { reading() };
        let added = self.epoll.add(&stream, EpollEvent::new(interest, key.0.into()));
        slot.open = Some(Open { stream, connecting, interest });
        if let Err(e) = added {
            self.remove(key);
            return Err(NetError::Other(e as i32));
        }
        Ok(key)
    }
    fn remove(&mut self, key: LinkKey) -> Option<Open> {
        let i = key.0 as u16;
        self.open(key)?;
        let open = self.slots[usize::from(i)].open.take()?;
        // Closing the descriptor would do too, were the stream not to live on where it is taken.
        let _ = self.epoll.delete(&open.stream);
        self.free.push(i);
        self.resume();
        Some(open)
    }
    /// Accepts one link if there is one.
    fn accept(&mut self, which: usize) -> Option<Event> {
        let listener = self.listeners[which].as_ref()?;
        if self.free.is_empty() {
            self.rest(u64::MAX);
            return None;
        }
        match listener.accept() {
            Ok((stream, from)) => {
                stream.set_nonblocking(true).ok()?;
                let key = self.insert(stream, false).ok()?;
                Some(Event::Accepted(key, from.into()))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            // One that was gone before it was accepted; the next wait tells whether there are more.
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                None
            }
            Err(_) => {
                self.rest(now_us().saturating_add(REST_US));
                None
            }
        }
    }
    fn rest(&mut self, until_us: u64) {
        self.hear(EpollFlags::empty());
        self.resting = Some(until_us);
    }
    fn resume(&mut self) {
        if self.resting.take().is_some() {
            self.hear(EpollFlags::EPOLLIN);
        }
    }
    /// What the listeners' descriptors tell of from now on.
    fn hear(&mut self, what: EpollFlags) {
        for (i, listener) in (0..).zip(&self.listeners) {
            let Some(listener) = listener else { continue };
            let _ = self.epoll.modify(listener, &mut EpollEvent::new(what, LISTENER + i));
        }
    }
    /// The next thing to tell of a link's kernel event; takes what is told out of `flags`.
    fn tell(&mut self, key: LinkKey, flags: &mut EpollFlags) -> Option<Event> {
        let open = self.open(key)?;
        let broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if open.connecting {
            *flags = EpollFlags::empty();
            return Some(self.connected(key));
        }
        let reads = open.interest.contains(EpollFlags::EPOLLIN);
        if reads && (broken || flags.intersects(reading())) {
            flags.remove(reading() | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
            return Some(Event::Readable(key));
        }
        if broken {
            *flags = EpollFlags::empty();
            return Some(Event::Closed(key));
        }
        let writes = flags.contains(EpollFlags::EPOLLOUT) && open.interest.contains(EpollFlags::EPOLLOUT);
        *flags = EpollFlags::empty();
        writes.then_some(Event::Writable(key))
    }
    fn connected(&mut self, key: LinkKey) -> Event {
        let open = self.open(key).expect("tell has just seen it");
        match open.stream.take_error() {
            Ok(None) => {
                open.connecting = false;
                self.set_interest(key, true, false);
                Event::Connected(key)
            }
            Ok(Some(e)) | Err(e) => {
                self.remove(key);
                Event::Failed(key, net_error(&e))
            }
        }
    }
}

impl Net for NetStd {
    type Link<'a> = LinkStd<'a>;

    fn wait(&mut self, until_us: u64) -> Result<(), NetError> {
        if self.current.is_some() || !self.left.is_empty() {
            return Ok(());
        }
        let now = now_us();
        let until = until_us.min(self.resting.unwrap_or(u64::MAX));
        let timeout = match until {
            u64::MAX => EpollTimeout::NONE,
            t => EpollTimeout::try_from(t.saturating_sub(now).div_ceil(1000).min(3_600_000))
                .expect("an hour is a timeout"),
        };
        match self.epoll.wait(&mut self.batch, timeout) {
            Ok(n) => self.left = 0..n,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(NetError::Other(e as i32)),
        }
        if self.resting.is_some_and(|t| t != u64::MAX && t <= now_us()) {
            self.resume();
        }
        Ok(())
    }
    fn next_event(&mut self) -> Option<Event> {
        loop {
            let (whose, mut flags) = match self.current.take() {
                Some(c) => c,
                None => {
                    let e = self.batch[self.left.next()?];
                    (e.data(), e.events())
                }
            };
            let event = match whose {
                LISTENER => self.accept(0),
                u64::MAX => self.accept(1),
                WAKER => {
                    self.waker.hear();
                    flags = EpollFlags::empty();
                    Some(Event::Woken)
                }
                w if w & WATCHED != 0 => {
                    flags = EpollFlags::empty();
                    Some(Event::Ready(w as u32))
                }
                w => self.tell(LinkKey(w as u32), &mut flags),
            };
            if let Some(event) = event {
                // More may be told of it: further links of a listener, or that a link is writable too.
                self.current = (!flags.is_empty()).then_some((whose, flags));
                return Some(event);
            }
        }
    }
    fn link(&mut self, key: LinkKey) -> Option<LinkStd<'_>> {
        self.open(key).map(|open| LinkStd(&open.stream))
    }
    fn set_interest(&mut self, key: LinkKey, read: bool, write: bool) {
        let Some(open) = self.open(key) else { return };
        let mut want = if read { reading() } else { EpollFlags::empty() };
        want.set(EpollFlags::EPOLLOUT, write);
        if open.connecting || open.interest == want {
            return;
        }
        open.interest = want;
        let slot = &self.slots[usize::from(key.0 as u16)];
        let stream = &slot.open.as_ref().expect("it was there just now").stream;
        self.epoll
            .modify(stream, &mut EpollEvent::new(want, key.0.into()))
            .expect("a registered descriptor can be changed without new memory");
    }
    fn close(&mut self, key: LinkKey) {
        self.remove(key);
    }
    fn dial(&mut self, to: Addr) -> Result<LinkKey, NetError> {
        let family = match to {
            Addr::V4(..) => AddressFamily::Inet,
            Addr::V6(..) => AddressFamily::Inet6,
        };
        let failed = |e: Errno| net_error(&e.into());
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(family, SockType::Stream, flags, None).map_err(failed)?;
        match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from(to))) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => self.insert(fd.into(), true),
            Err(e) => Err(failed(e)),
        }
    }
    fn listening(&self) -> Option<Addr> {
        self.listeners[0].as_ref()?.local_addr().ok().map(Addr::from)
    }
    fn local(&self, key: LinkKey) -> Option<Addr> {
        let slot = self.slots.get(usize::from(key.0 as u16))?;
        let open = slot.open.as_ref().filter(|_| slot.generation == (key.0 >> 16) as u16)?;
        open.stream.local_addr().ok().map(Addr::from)
    }
}

/// A link of a [`NetStd`].
pub struct LinkStd<'a>(&'a TcpStream);

impl LinkStd<'_> {
    fn ready(&self, what: PollFlags) -> Result<bool, NetError> {
        let mut fds = [PollFd::new(self.0.as_fd(), what)];
        let n = poll(&mut fds, PollTimeout::ZERO).map_err(|e| net_error(&e.into()))?;
        Ok(n != 0)
    }
}

impl ErrorType for LinkStd<'_> {
    type Error = NetError;
}

impl Read for LinkStd<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, NetError> {
        io::Read::read(&mut self.0, buf).map_err(|e| net_error(&e))
    }
}

impl Write for LinkStd<'_> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, NetError> {
        io::Write::write(&mut self.0, buf).map_err(|e| net_error(&e))
    }
    fn flush(&mut self) -> Result<(), NetError> {
        Ok(())
    }
}

impl ReadReady for LinkStd<'_> {
    fn read_ready(&mut self) -> Result<bool, NetError> {
        self.ready(PollFlags::POLLIN)
    }
}

impl WriteReady for LinkStd<'_> {
    fn write_ready(&mut self) -> Result<bool, NetError> {
        self.ready(PollFlags::POLLOUT)
    }
}

fn reading() -> EpollFlags {
    EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP
}

fn now_us() -> u64 {
    crate::clock::Clock::now_us(&crate::std_impl::StdClock)
}

fn net_error(e: &io::Error) -> NetError {
    use io::ErrorKind as K;
    match e.kind() {
        K::WouldBlock | K::Interrupted => NetError::NotReady,
        K::ConnectionRefused => NetError::Refused,
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::NotConnected => NetError::Closed,
        K::HostUnreachable | K::NetworkUnreachable | K::TimedOut | K::AddrNotAvailable | K::NetworkDown => {
            NetError::Unreachable
        }
        _ => NetError::Other(e.raw_os_error().unwrap_or(0)),
    }
}
