//! One link and its thread. Any thread may send an ask; the link's own thread reads, serves, and writes what did not
//! go out at once.

use super::hub::Shared;
use super::receive::Receiver;
use super::record::{Buffer, LENGTH, OVERHEAD, RECORD, Seal};
use super::serve::Server;
use dartsync_core::data::message::{ASK, Refusal};
use dartsync_core::data::{Ask, DataLink, Incoming};
use dartsync_core::ids::{PublicKey, Slot};
use dartsync_core::limits::AEAD_TAG;
use dartsync_core::link::{DataKeys, Suite};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A link on which nothing was asked for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// When nothing happened for so long, a link gives back memory and files that it may not need for long.
const LULL: Duration = Duration::from_secs(2);
/// The dialler must have shown itself by a first record within this.
pub const FIRST_RECORD: Duration = Duration::from_secs(5);
/// Room for what is sealed and not yet written: some chunks, and asks behind them.
const OUT: usize = 576 * 1024;
/// Room that is kept for asks.
const SPARE: usize = 32 * 1024;
/// Room for what is read at once.
const IN: usize = 4 * RECORD;

/// The sending half.
pub struct Outlet {
    stream: TcpStream,
    seal: Seal,
    out: Buffer,
    broken: bool,
}

impl Outlet {
    fn push(&mut self, ask: &Ask) {
        let room = self.out.room(OVERHEAD + ASK);
        if self.broken || room.len() < OVERHEAD + ASK {
            self.broken = true;
            return;
        }
        let n = ask.encode(&mut room[LENGTH..LENGTH + ASK]);
        self.seal.seal(&mut room[..OVERHEAD + n]);
        self.out.grow(OVERHEAD + n);
    }
    /// Seals and queues a message that can as well go later; whether there was room for it, and for asks beside it.
    fn offer(&mut self, message: &[u8]) -> bool {
        let len = OVERHEAD + message.len();
        let room = self.out.room(SPARE);
        if room.len() < SPARE.max(len) {
            return false;
        }
        room[LENGTH..LENGTH + message.len()].copy_from_slice(message);
        self.seal.seal(&mut room[..len]);
        self.out.grow(len);
        true
    }
    /// Seals the records that `staged` lays out at the front of `stage` and queues them; if these are all, `stage` may
    /// be exchanged for an empty buffer.
    pub fn push_staged(&mut self, stage: &mut Buffer, staged: &[(usize, usize)]) {
        for (from, len) in staged {
            self.seal.seal(&mut stage.filled_mut()[*from..from + len]);
        }
        let n = staged.last().map_or(0, |(from, len)| from + len);
        if self.out.is_empty() && n == stage.filled().len() {
            std::mem::swap(&mut self.out, stage);
            return;
        }
        match self.out.room(n).get_mut(..n) {
            Some(room) => {
                room.copy_from_slice(&stage.filled()[..n]);
                self.out.grow(n);
            }
            None => self.broken = true,
        }
        stage.take(n);
    }
    /// Writes what the socket takes. Whether all is out.
    pub fn flush(&mut self, sent: &AtomicU64) -> io::Result<bool> {
        if self.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        while !self.out.is_empty() {
            match self.stream.write(self.out.filled()) {
                Ok(n) => {
                    sent.fetch_add(n as u64, Ordering::Relaxed);
                    self.out.take(n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    self.broken = true;
                    return Err(e);
                }
            }
        }
        Ok(true)
    }
    /// Whether little waits to be written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

/// A link, as others see it.
pub struct Link {
    /// Whose other end it is.
    pub slot: Slot,
    /// See `slot`.
    pub key: PublicKey,
    /// The sending half.
    pub outlet: Mutex<Outlet>,
    stream: TcpStream,
    wake: EventFd,
    closing: AtomicBool,
    /// Milliseconds of the shared clock when something was last asked here or from here.
    pub used: AtomicU64,
    /// Whether this end dialled.
    pub dialled: bool,
    /// Whether this end has asked something on it.
    pub asked: AtomicBool,
}

impl Link {
    /// Sends asks, at once if the socket takes them.
    pub fn send(&self, shared: &Shared, asks: &[Ask]) {
        self.used.store(shared.millis(), Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        let mut outlet = self.outlet.lock().expect("no thread panics with it");
        asks.iter().for_each(|a| outlet.push(a));
        self.flush(shared, outlet);
    }
    /// Sends a message that can as well go later; false if there is no room for it.
    pub fn offer(&self, shared: &Shared, message: &[u8]) -> bool {
        let mut outlet = self.outlet.lock().expect("no thread panics with it");
        let taken = outlet.offer(message);
        self.flush(shared, outlet);
        taken
    }
    fn flush(&self, shared: &Shared, mut outlet: MutexGuard<'_, Outlet>) {
        let done = outlet.flush(&shared.sent);
        drop(outlet);
        if !matches!(done, Ok(true)) {
            self.rouse();
        }
    }
    /// Makes the link's thread look.
    pub fn rouse(&self) {
        // A full counter means that it is awake already.
        let _ = self.wake.write(1);
    }
    /// Ends the link; its thread tells the hub.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Both);
        self.rouse();
    }
}

/// What a handshake leaves.
pub struct Shaken {
    /// The connection.
    pub stream: TcpStream,
    /// Its keys.
    pub keys: DataKeys,
    /// Its cipher.
    pub suite: Suite,
    /// The other end.
    pub slot: Slot,
    /// See `slot`.
    pub key: PublicKey,
    /// Whether this end dialled: then the link is open already.
    pub dialled: bool,
}

/// Runs a link to its end on this thread. `opened` is called once it is open.
pub fn run(shared: &Arc<Shared>, shaken: Shaken, opened: impl FnOnce()) -> io::Result<()> {
    let Shaken { stream, keys, suite, slot, key, dialled } = shaken;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let outlet = Outlet {
        stream: stream.try_clone()?,
        seal: Seal::new(suite, keys.send()),
        out: Buffer::new(OUT)?,
        broken: false,
    };
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let link = Arc::new(Link {
        slot,
        key,
        outlet: Mutex::new(outlet),
        stream: stream.try_clone()?,
        wake: EventFd::from_value_and_flags(0, flags)?,
        closing: AtomicBool::new(false),
        used: AtomicU64::new(shared.millis()),
        dialled,
        asked: AtomicBool::new(false),
    });
    let mut thread = Thread {
        shared,
        link: &link,
        stream,
        open: Seal::new(suite, keys.receive()),
        inbox: Buffer::new(IN)?,
        machine: DataLink::new(),
        server: Server::new(Buffer::new(OUT)?),
        receiver: Receiver::new(),
        since: Instant::now(),
        tidy: false,
        waits: None,
    };
    drop(keys);
    if dialled {
        link.send(shared, &[Ask::Ping]);
    } else {
        thread.wait_for_first_record()?;
    }
    opened();
    shared.link_opened(&link);
    let end = thread.live();
    shared.uploads.leave(&link);
    shared.link_closed(&link);
    let _ = link.stream.shutdown(Shutdown::Both);
    end
}

struct Thread<'a> {
    shared: &'a Arc<Shared>,
    link: &'a Arc<Link>,
    stream: TcpStream,
    open: Seal,
    inbox: Buffer,
    machine: DataLink,
    server: Server,
    receiver: Receiver,
    since: Instant,
    /// Nothing happened since it was tidied.
    tidy: bool,
    /// How long it waits for its turn to serve.
    waits: Option<Duration>,
}

impl Thread<'_> {
    /// A listener's link is open only once the dialler has sealed something: message 1 may be a replay.
    fn wait_for_first_record(&mut self) -> io::Result<()> {
        loop {
            let left = FIRST_RECORD.saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.wait(false, left)?;
            if self.read()? > 0 {
                return Ok(());
            }
        }
    }

    fn live(&mut self) -> io::Result<()> {
        loop {
            if self.link.closing.load(Ordering::Relaxed) {
                return Ok(());
            }
            let pending = self.write()?;
            let waits = self.waits.is_some();
            let more = self.has_work() && !pending && !waits;
            let used = Duration::from_millis(self.link.used.load(Ordering::Relaxed));
            let idle = Duration::from_millis(self.shared.millis()).saturating_sub(used);
            let busy = pending || more || waits || self.receiver.is_busy();
            if idle >= IDLE && !busy {
                return Ok(());
            }
            let rest = match self.tidy {
                _ if more => Duration::ZERO,
                false => LULL,
                true => IDLE.saturating_sub(idle).max(IDLE / 100),
            };
            // Rounded up: poll counts whole milliseconds.
            let rest = self.waits.map_or(rest, |turn| rest.min(turn + Duration::from_millis(1)));
            let happened = self.wait(pending, rest)?;
            if happened || more {
                self.tidy = false;
                self.read()?;
            } else if !self.tidy && !waits {
                self.tidy = true;
                self.inbox.renew();
                self.server.tidy();
                self.receiver.tidy();
                self.link.outlet.lock().expect("no thread panics with it").out.renew();
            }
        }
    }

    /// Serves while there is work and little waits to be written. Whether something waits.
    fn write(&mut self) -> io::Result<bool> {
        let idle = || self.link.outlet.lock().expect("no thread panics with it").is_empty();
        let waited = self.waits.take().is_some();
        if self.has_work() && idle() {
            match self.shared.uploads.begin(self.shared.now(), self.link) {
                Err(wait) => self.waits = Some(wait),
                Ok(part) => self.serve(part),
            }
        } else if waited {
            self.shared.uploads.leave(self.link);
        }
        let mut outlet = self.link.outlet.lock().expect("no thread panics with it");
        outlet.flush(&self.shared.sent).map(|all| !all)
    }

    /// Takes its turn: a part of so many bytes under a limit.
    fn serve(&mut self, part: Option<usize>) {
        self.link.used.store(self.shared.millis(), Ordering::Relaxed);
        if !self.server.has_staged() {
            self.server.stage(self.shared, self.link.slot, &mut self.machine, part);
        }
        let mut outlet = self.link.outlet.lock().expect("no thread panics with it");
        let bytes = self.server.hand_over(&mut outlet, part.unwrap_or(usize::MAX));
        drop(outlet);
        self.shared.uploads.end(self.shared.now(), self.link, bytes);
    }

    /// Whether there is something to serve.
    fn has_work(&self) -> bool {
        self.server.has_staged() || self.machine.has_work()
    }

    /// Waits for the socket or a call; whether anything came.
    fn wait(&mut self, pending: bool, most: Duration) -> io::Result<bool> {
        let mut want = PollFlags::POLLIN;
        want.set(PollFlags::POLLOUT, pending);
        let wake = PollFd::new(self.link.wake.as_fd(), PollFlags::POLLIN);
        let mut fds = [PollFd::new(self.stream.as_fd(), want), wake];
        let most = most.as_millis().min(i32::MAX as u128) as i32;
        let ready = match poll(&mut fds, PollTimeout::try_from(most).expect("it is not negative")) {
            Err(nix::errno::Errno::EINTR) => 1,
            other => other?,
        };
        if fds[1].any().unwrap_or(false) {
            // Read only to be reset; it may have been reset by now.
            let _ = self.link.wake.read();
        }
        Ok(ready > 0)
    }

    /// Reads what is there and acts on it; how many records came.
    fn read(&mut self) -> io::Result<usize> {
        let room = self.inbox.room(RECORD);
        match self.stream.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.shared.received.fetch_add(n as u64, Ordering::Relaxed);
                self.inbox.grow(n);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(0),
            Err(e) => return Err(e),
        }
        let mut records = 0;
        let mut did = super::deeds::Deeds::default();
        let parsed = self.records(&mut records, &mut did);
        did.carry_out(self.shared);
        parsed.map(|()| records)
    }

    fn records(&mut self, records: &mut usize, did: &mut super::deeds::Deeds) -> io::Result<()> {
        loop {
            let Some(length) = self.inbox.filled().first_chunk::<LENGTH>() else { return Ok(()) };
            let sealed = u16::from_le_bytes(*length) as usize;
            if !(AEAD_TAG..=RECORD - LENGTH).contains(&sealed) {
                return Err(bad("a record of no allowed length"));
            }
            let Some(record) = self.inbox.filled_mut().get_mut(LENGTH..LENGTH + sealed) else {
                self.receiver.progress(self.shared, self.link.slot, self.inbox.filled().len());
                return Ok(());
            };
            let record = self.open.open(record).map_err(|_| bad("a forged or damaged record"))?;
            let incoming = self.machine.handle_record(record).map_err(|r| bad(r.why))?;
            match incoming {
                Incoming::Have(have) => {
                    if !self.shared.have(self.link.slot, &have, did) {
                        self.machine.refuse(have.id, Refusal::Gone).map_err(|r| bad(r.why))?;
                    }
                }
                other => self.receiver.take(self.shared, self.link.slot, other, did).map_err(bad)?,
            }
            self.inbox.take(LENGTH + sealed);
            *records += 1;
        }
    }
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}
