//! How links come to be: trying a device's addresses until one proves to be its own, accepting, shaking hands within a
//! deadline.

use super::hub::Shared;
use super::link::{self, Shaken};
use super::{Known, Report};
use dartsync_core::ids::{Slot, SlotSet};
use dartsync_core::link::{Channel, Kind, Opening, Progress, Suite};
use dartsync_core::wire::message::Addr;
use dartsync_hal::os::has_aes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket, sockopt,
};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A handshake must be done within this.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The next address is tried when those before have not answered within this.
const STAGGER: Duration = Duration::from_millis(250);
/// Connecting to all that are left has so long.
const CONNECT: Duration = Duration::from_secs(5);
/// Whoever took the connection must show within this that it is the device, while other addresses are left to try.
const DOUBT: Duration = Duration::from_secs(2);
/// A dial is over after this, whatever its addresses do.
const DIAL: Duration = Duration::from_secs(10);
/// Devices that are being dialled at once, a thread each: a count of their own, so that those who do not answer keep
/// nobody else out.
const DIALS: u32 = 32;
/// Links and accepted handshakes at once, a thread each.
const THREADS: usize = 64;
/// Accepted connections that have not shown who they are.
const HALF_OPEN: usize = 16;
/// Between two log lines about strangers.
const QUIET: Duration = Duration::from_secs(10);

type Handshake = Channel<256>;

/// Connections of which nothing is known yet.
#[derive(Default)]
pub struct Strangers(Mutex<Crowd>);

#[derive(Default)]
struct Crowd {
    next: u64,
    /// Oldest first.
    half_open: Vec<(u64, TcpStream)>,
    said: Option<Instant>,
    unsaid: u32,
}

impl Strangers {
    fn enter(&self, stream: &TcpStream) -> io::Result<u64> {
        let mut crowd = self.0.lock().expect("no thread panics with it");
        if crowd.half_open.len() == HALF_OPEN {
            let (_, oldest) = crowd.half_open.remove(0);
            let _ = oldest.shutdown(Shutdown::Both);
        }
        let id = crowd.next;
        crowd.next += 1;
        crowd.half_open.push((id, stream.try_clone()?));
        Ok(id)
    }
    fn leave(&self, id: u64) {
        self.0.lock().expect("no thread panics with it").half_open.retain(|(i, _)| *i != id);
    }
    /// A line in the log, unless there was one just now.
    fn complain(&self, from: SocketAddr, why: &dyn std::fmt::Display) {
        let mut crowd = self.0.lock().expect("no thread panics with it");
        if crowd.said.is_some_and(|t| t.elapsed() < QUIET) {
            crowd.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut crowd.unsaid);
        crowd.said = Some(Instant::now());
        let more = if unsaid > 0 { format!(" (and {unsaid} more before)") } else { String::new() };
        eprintln!("data link from {from} refused: {why}{more}");
    }
}

/// Who is being dialled.
#[derive(Default)]
pub struct Dials(Mutex<SlotSet>);

enum Begun {
    Now,
    /// Another thread dials it.
    Already,
    Full,
}

impl Dials {
    fn begin(&self, slot: Slot) -> Begun {
        let mut dials = self.0.lock().expect("no thread panics with it");
        if dials.has(slot) {
            return Begun::Already;
        }
        if dials.len() >= DIALS {
            return Begun::Full;
        }
        dials.add(slot);
        Begun::Now
    }
    fn end(&self, slot: Slot) {
        self.0.lock().expect("no thread panics with it").remove(slot);
    }
}

/// Takes a place among the threads of links, if there is one left; [`give_place`] gives it back.
fn take_place(shared: &Shared) -> bool {
    let taken = shared.threads.fetch_add(1, Ordering::Relaxed) < THREADS;
    if !taken {
        give_place(shared);
    }
    taken
}
fn give_place(shared: &Shared) {
    shared.threads.fetch_sub(1, Ordering::Relaxed);
}

/// Runs `work` on a thread of its own; whether the system had one.
fn spawn(shared: &Arc<Shared>, work: impl FnOnce(&Arc<Shared>) + Send + 'static) -> bool {
    let own = shared.clone();
    std::thread::Builder::new().name("data-link".into()).spawn(move || work(&own)).is_ok()
}

/// Reaches a device; the hub hears how it went. Nothing while it is being dialled already: the hub hears of that.
pub fn dial(shared: &Arc<Shared>, slot: Slot) {
    let begun = match shared.dials.begin(slot) {
        Begun::Already => return,
        Begun::Full => false,
        Begun::Now => {
            let spawned = spawn(shared, move |shared| run_dial(shared, slot));
            if !spawned {
                shared.dials.end(slot);
            }
            spawned
        }
    };
    if !begun {
        unreachable(shared, slot, None);
    }
}

fn run_dial(shared: &Arc<Shared>, slot: Slot) {
    let known = shared.book.read().expect("no thread panics with it").at(slot).cloned();
    let shaken = known.as_ref().and_then(|known| reach(shared, known).ok());
    // Before the hub hears of it: whoever wants another dial from then on gets one.
    shared.dials.end(slot);
    let Some(shaken) = shaken else { return unreachable(shared, slot, known.as_ref()) };
    let mut opened = false;
    if take_place(shared) {
        end(slot, link::run(shared, shaken, || opened = true));
        give_place(shared);
    }
    if !opened {
        unreachable(shared, slot, None);
    }
}

fn unreachable(shared: &Arc<Shared>, slot: Slot, known: Option<&Known>) {
    let mut deeds = super::deeds::Deeds::default();
    let mut hub = shared.hub();
    if !hub.is_linked(slot) {
        deeds.reports.extend(known.map(|k| Report::Unreachable(k.device)));
    }
    hub.swarm.handle_unreachable(shared.now(), slot);
    hub.drain(shared, &mut deeds);
    drop(hub);
    deeds.carry_out(shared);
}

/// A link that ended by a fault of the other end is worth a line; one that was closed is not.
fn end(slot: Slot, how: io::Result<()>) {
    if let Err(e) = how
        && e.kind() == ErrorKind::InvalidData
    {
        eprintln!("data link with device in slot {} ended: {e}", slot.0);
    }
}

/// Tries the addresses until the device itself answers at one: whoever else takes the connection (behind address
/// translation that may be this very machine) fails the handshake, and the others have their turn.
fn reach(shared: &Shared, known: &Known) -> io::Result<Shaken> {
    let deadline = Instant::now() + DIAL;
    let mut rest: VecDeque<SocketAddr> = known.addrs.iter().copied().collect();
    loop {
        let stream = connect_any(&mut rest, deadline)?;
        let most = if rest.is_empty() { HANDSHAKE } else { DOUBT };
        let shaken = shake(shared, known, stream, deadline.min(Instant::now() + most));
        if shaken.is_ok() || rest.is_empty() || shared.stopping.load(Ordering::Relaxed) {
            return shaken;
        }
    }
}

/// The dialler's half of a handshake.
fn shake(shared: &Shared, known: &Known, mut stream: TcpStream, deadline: Instant) -> io::Result<Shaken> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(HANDSHAKE))?;
    let suite = if known.aes && has_aes() { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 };
    let mut channel = Handshake::dial(&shared.key, known.key, Opening::data(suite), None, &mut shared.rng());
    stream.write_all(channel.output())?;
    shared.sent.fetch_add(channel.output().len() as u64, Ordering::Relaxed);
    channel.sent(channel.output().len());
    converse(shared, &mut channel, &mut stream, deadline, |p| p == Progress::Open)?;
    let (keys, suite, key) = channel.into_keys().ok_or(ErrorKind::InvalidData)?;
    Ok(Shaken { stream, keys, suite, slot: known.slot, key, dialled: true })
}

/// Feeds the channel until it has come so far. What belongs behind the handshake is not taken from the socket: the
/// other end sends nothing before it has heard from this one.
fn converse(
    shared: &Shared,
    channel: &mut Handshake,
    stream: &mut TcpStream,
    deadline: Instant,
    done: impl Fn(Progress) -> bool,
) -> io::Result<()> {
    let mut byte = [0; 256];
    while !done(channel.progress()) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let n = match stream.read(&mut byte) {
            // So ends a read with a limit when the machine slept, or the process was stopped.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        shared.received.fetch_add(n as u64, Ordering::Relaxed);
        let took =
            channel.feed(&byte[..n]).map_err(|e| io::Error::new(ErrorKind::InvalidData, e.to_string()));
        match took {
            Ok(took) if took == n => {}
            Ok(_) => return Err(io::Error::new(ErrorKind::InvalidData, "speaks out of turn")),
            Err(e) => {
                // A listener that speaks another version says so with a last byte.
                let _ = stream.write_all(channel.output());
                return Err(e);
            }
        }
    }
    Ok(())
}

/// The first of these addresses that takes a connection; each has a head start on the next. That one and those that
/// refuse are taken off; those that have not answered yet come last.
fn connect_any(rest: &mut VecDeque<SocketAddr>, deadline: Instant) -> io::Result<TcpStream> {
    let deadline = deadline.min(Instant::now() + CONNECT);
    let mut pending: Vec<(SocketAddr, OwnedFd)> = Vec::new();
    loop {
        if let Some(addr) = rest.pop_front() {
            pending.extend(begin_connect(&addr).ok().map(|fd| (addr, fd)));
        }
        let more = !rest.is_empty();
        if pending.is_empty() && !more {
            return Err(ErrorKind::NotConnected.into());
        }
        let until = if more { (Instant::now() + STAGGER).min(deadline) } else { deadline };
        if let Some(stream) = wait_for_any(&mut pending, until)? {
            rest.extend(pending.iter().map(|(addr, _)| *addr));
            return Ok(stream);
        }
        if Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

fn begin_connect(addr: &SocketAddr) -> nix::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(*addr)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(e) => Err(e),
    }
}

/// Waits until one is connected, all have failed, or time is up. Those that failed are dropped.
fn wait_for_any(pending: &mut Vec<(SocketAddr, OwnedFd)>, until: Instant) -> io::Result<Option<TcpStream>> {
    while !pending.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let left = left.as_millis().min(i32::MAX as u128) as i32;
        let mut fds: Vec<_> =
            pending.iter().map(|(_, f)| PollFd::new(f.as_fd(), PollFlags::POLLOUT)).collect();
        let ready = match poll(&mut fds, PollTimeout::try_from(left).expect("it is not negative")) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let Some(i) = fds.iter().position(|f| f.any().unwrap_or(false)) else {
            assert_eq!(ready, 0, "a ready one is found");
            return Ok(None);
        };
        drop(fds);
        let (_, fd) = pending.remove(i);
        if getsockopt(&fd, sockopt::SocketError)? == 0 {
            let stream = TcpStream::from(fd);
            stream.set_nonblocking(false)?;
            return Ok(Some(stream));
        }
    }
    Ok(None)
}

/// See [`super::Fetcher::accept`].
pub fn accept(shared: &Arc<Shared>, stream: TcpStream, from: SocketAddr) {
    if shared.stopping.load(Ordering::Relaxed) {
        return;
    }
    let Ok(entry) = shared.strangers.enter(&stream) else { return };
    let place = take_place(shared);
    let taken = move |shared: &Arc<Shared>| {
        run_accepted(shared, stream, from, entry);
        give_place(shared);
    };
    if !place || !spawn(shared, taken) {
        if place {
            give_place(shared);
        }
        shared.strangers.leave(entry);
        shared.strangers.complain(from, &"too many links");
    }
}

fn run_accepted(shared: &Arc<Shared>, stream: TcpStream, from: SocketAddr, entry: u64) {
    let shaken = match greet(shared, stream, from) {
        Ok(shaken) => shaken,
        Err(e) => {
            shared.strangers.leave(entry);
            return shared.strangers.complain(from, &e);
        }
    };
    let slot = shaken.slot;
    let mut opened = false;
    let how = link::run(shared, shaken, || {
        opened = true;
        shared.strangers.leave(entry);
        shared.admission.lock().expect("no thread panics with it").give_back(&address(from));
    });
    if opened {
        return end(slot, how);
    }
    shared.strangers.leave(entry);
    if let Err(e) = how {
        shared.strangers.complain(from, &e);
    }
}

/// The listener's half of a handshake.
fn greet(shared: &Shared, mut stream: TcpStream, from: SocketAddr) -> io::Result<Shaken> {
    let deadline = Instant::now() + HANDSHAKE;
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(HANDSHAKE))?;
    let mut channel = Handshake::listen(shared.key.public());
    let asked = |p| matches!(p, Progress::Asked(_));
    converse(shared, &mut channel, &mut stream, deadline, asked)?;
    if channel.opening().kind != Kind::Data {
        return Err(io::Error::new(ErrorKind::InvalidData, "wants a link of another kind"));
    }
    let taken = shared.admission.lock().expect("no thread panics with it").take(shared.now(), &address(from));
    taken.map_err(|_| io::Error::new(ErrorKind::ConnectionRefused, "too many failed handshakes"))?;
    let accepted = channel.accept(&shared.key, None, &mut shared.rng());
    accepted.map_err(|e| io::Error::new(ErrorKind::InvalidData, e.to_string()))?;
    let key = channel.peer().ok_or(ErrorKind::InvalidData)?;
    let known = shared.book.read().expect("no thread panics with it").of(&key).cloned();
    let stranger = || io::Error::new(ErrorKind::PermissionDenied, "no active device of this home");
    let known = known.ok_or_else(stranger)?;
    stream.write_all(channel.output())?;
    shared.sent.fetch_add(channel.output().len() as u64, Ordering::Relaxed);
    let (keys, suite, key) = channel.into_keys().ok_or(ErrorKind::InvalidData)?;
    Ok(Shaken { stream, keys, suite, slot: known.slot, key, dialled: false })
}

fn address(from: SocketAddr) -> Addr {
    match from {
        SocketAddr::V4(a) => Addr::V4(a.ip().octets(), a.port()),
        SocketAddr::V6(a) => Addr::V6(a.ip().octets(), a.port()),
    }
}
