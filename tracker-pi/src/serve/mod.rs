//! The loop: waits, reads what came, lets the machine judge, writes what is due. Each link gets its turn: a bounded
//! read and a bounded write a round.

mod machine;
mod page;
mod quiet;
mod report;
mod slot;
#[cfg(test)]
mod tests;

pub use machine::Machine;
pub use page::VISITORS;
pub use slot::Slot;

use core::fmt::{self, Arguments};
use dartsync_core::ids::LinkId;
use dartsync_core::link::admission::{Admission, Wait, oldest};
use dartsync_core::link::{Channel, Kind, LinkError, Progress, StaticKey};
use dartsync_core::rng::Rng;
use dartsync_core::sans_io::Reject;
use dartsync_core::time::{Duration, Instant, Now};
use dartsync_core::tracker::{Event as Effect, Identity, SESSIONS};
use dartsync_core::wire::message;
use dartsync_hal::clock::Clock;
use dartsync_hal::console::Console;
use dartsync_hal::net::{Addr, Event, LinkKey, Net, NetError};
use dartsync_hal::storage::{Item, Storage};
use embedded_io::Read;
use page::Pages;
use quiet::Quiet;

/// Links that have not shown yet who they are.
pub const HALF_OPEN: usize = 16;
/// Slots that a [`Server`] is lent: every link the machine takes, and the half-open ones.
pub const SLOTS: usize = SESSIONS + HALF_OPEN;
/// Links that its network must have room for: one more, so that a new one can push out an old half-open one.
pub const LINKS: usize = SLOTS + 1;

/// A link that is not open by then is hung up.
const HANDSHAKE: Duration = Duration::secs(5);
/// Read of a link in one turn.
const READ: usize = 16 * 1024;
/// After a failure to store the roster it is tried again.
const STORE_AGAIN: Duration = Duration::secs(5);

/// What a board offers the loop.
pub struct Board<N, C, O, S> {
    /// Links; room for [`LINKS`].
    pub net: N,
    /// The clocks.
    pub clock: C,
    /// Where it speaks.
    pub console: O,
    /// Where the sealed roster is kept.
    pub storage: S,
}

/// What the status page says behind what the machine does.
pub type Postscript = fn(&mut dyn fmt::Write) -> fmt::Result;

/// Carries a machine over a board.
pub struct Server<'s, N, C, O, S, M> {
    board: Board<N, C, O, S>,
    machine: M,
    key: StaticKey,
    rng: Rng,
    admission: Admission,
    quiet: Quiet,
    slots: &'s mut [Option<Slot>],
    first: usize,
    store_at: Option<Instant>,
    pages: Option<(Pages, Postscript)>,
    began: Instant,
    scratch: [u8; READ],
}

/// Why a link ends.
enum End {
    /// The other end closed it, or it broke.
    Gone,
    Link(LinkError),
    Reject(Reject),
    Late,
    /// Evicted by newer ones.
    Crowded,
    /// The machine's wish; it has said why.
    Hung,
}

impl<'s, N: Net, C: Clock, O: Console, S: Storage, M: Machine> Server<'s, N, C, O, S, M> {
    /// Serves `machine` as `key`; `slots` are [`SLOTS`] or more.
    pub fn new(
        board: Board<N, C, O, S>,
        machine: M,
        key: StaticKey,
        rng: Rng,
        slots: &'s mut [Option<Slot>],
    ) -> Self {
        assert!(slots.len() >= SLOTS, "a slot for each link");
        let began = Instant(board.clock.now_us());
        Server {
            board,
            machine,
            key,
            rng,
            admission: Admission::new(),
            quiet: Quiet::default(),
            slots,
            first: 0,
            store_at: None,
            pages: None,
            began,
            scratch: [0; READ],
        }
    }
    /// Shows a status page to those who come in at `port`; the network has room for [`VISITORS`] more. What `more`
    /// writes stands at its end.
    pub fn show_status(&mut self, port: u16, more: Postscript) {
        self.pages = Some((Pages::new(port), more));
    }
    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }
    /// The board.
    pub fn board(&mut self) -> &mut Board<N, C, O, S> {
        &mut self.board
    }
    /// Goes round until `stop` says so; it is asked whenever the network was woken or a watched descriptor is ready.
    pub fn run(&mut self, mut stop: impl FnMut() -> bool) -> Result<(), NetError> {
        while !(self.step()? && stop()) {}
        Ok(())
    }
    /// One round. True if the network was woken or a watched descriptor is ready.
    pub fn step(&mut self) -> Result<bool, NetError> {
        let until = self.until();
        self.board.net.wait(until)?;
        let mut attention = false;
        while let Some(event) = self.board.net.next_event() {
            let now = self.now();
            if self.visited(now, &event) {
                continue;
            }
            match event {
                Event::Accepted(key, from) => self.accepted(now, key, from),
                Event::Readable(key) => self.with(now, key, Self::readable),
                // What can be written is, below.
                Event::Writable(_) => {}
                Event::Closed(key) => self.with(now, key, |_, _, _| Err(End::Gone)),
                Event::Woken | Event::Ready(_) => attention = true,
                Event::Connected(_) | Event::Failed(..) => unreachable!("a tracker does not dial"),
            }
        }
        let now = self.now();
        self.machine.handle_timeout(now);
        self.tend_half_open(now);
        self.effects(now);
        self.transmit(now);
        self.effects(now);
        self.tend_pages(now);
        self.quiet.tick(&mut self.board.console, now.at);
        Ok(attention)
    }

    fn now(&self) -> Now {
        Now { at: Instant(self.board.clock.now_us()), wall: self.board.clock.wall_us() }
    }
    /// When the next round is due, whatever happens.
    fn until(&self) -> u64 {
        if self.slots.iter().flatten().any(|s| s.again && s.is_flushed()) {
            return 0;
        }
        let half = self.slots.iter().flatten().filter(|s| !s.open);
        let half = half.map(|s| s.waits.unwrap_or(Instant(u64::MAX)).min(s.since + HANDSHAKE)).min();
        let pages = self.pages.as_ref().and_then(|p| p.0.due());
        let dates = [self.machine.poll_timeout(), half, self.store_at, self.quiet.due(), pages];
        dates.into_iter().flatten().min().map_or(u64::MAX, |t| t.0)
    }
    fn place(&self, key: LinkKey) -> Option<usize> {
        self.slots.iter().position(|s| s.as_ref().is_some_and(|s| s.key == key))
    }
    /// Does something with a link, and ends it if that fails.
    fn with(&mut self, now: Now, key: LinkKey, act: impl FnOnce(&mut Self, Now, usize) -> Result<(), End>) {
        let Some(i) = self.place(key) else { return };
        if let Err(end) = act(self, now, i) {
            self.end(now, i, end);
        }
    }
    fn slot(&mut self, i: usize) -> &mut Slot {
        self.slots[i].as_mut().expect("places are of slots in use")
    }

    /// Whether an event is of a visitor of the status page; it is dealt with then.
    fn visited(&mut self, now: Now, event: &Event) -> bool {
        let (Some((pages, _)), net) = (&mut self.pages, &mut self.board.net) else { return false };
        match *event {
            Event::Accepted(key, _) if net.local(key).is_some_and(|here| pages.are_at(here.port())) => {
                pages.open(net, now.at, key);
            }
            Event::Readable(key) if pages.have(key) => pages.readable(net, key),
            Event::Closed(key) if pages.have(key) => pages.close(net, key),
            Event::Writable(key) => return pages.have(key),
            _ => return false,
        }
        true
    }
    fn tend_pages(&mut self, now: Now) {
        let Some((pages, more)) = &mut self.pages else { return };
        let up = now.at.since(self.began);
        pages.tend(&mut self.board.net, now.at, |out| self.machine.report(up, out).and_then(|()| more(out)));
    }

    fn accepted(&mut self, now: Now, key: LinkKey, from: Addr) {
        let half = || self.slots.iter().flatten().filter(|s| !s.open);
        if half().count() >= HALF_OPEN {
            let evicted = oldest(half().map(|s| (s.key, s.since))).expect("there are some");
            self.with(now, evicted, |_, _, _| Err(End::Crowded));
        }
        match self.slots.iter_mut().find(|s| s.is_none()) {
            Some(free) => *free = Some(Slot::new(key, from, now.at, Channel::listen(self.key.public()))),
            // The machine refuses links beyond its own, so this is all but impossible; but a stranger's wish is
            // no reason to stop.
            None => self.board.net.close(key),
        }
    }
    /// One turn of reading.
    fn readable(&mut self, now: Now, i: usize) -> Result<(), End> {
        let key = self.slot(i).key;
        let mut link = self.board.net.link(key).ok_or(End::Gone)?;
        let n = match link.read(&mut self.scratch) {
            Ok(0) => return Err(End::Gone),
            Ok(n) => n,
            Err(NetError::NotReady) => return Ok(()),
            Err(_) => return Err(End::Gone),
        };
        drop(link);
        let mut at = 0;
        while at < n {
            let slot = self.slots[i].as_mut().expect("places are of slots in use");
            let taken = slot.channel.feed(&self.scratch[at..n]).map_err(End::Link)?;
            at += taken;
            if let Progress::Asked(opening) = slot.channel.progress() {
                // A dialler waits for the answer before it says more; and data links go to devices.
                return if at < n || opening.kind != Kind::Tracker {
                    Err(End::Link(LinkError::Foreign))
                } else {
                    self.answer(now, i)
                };
            }
            while self.frame(now, i)? {}
            assert!(taken > 0 || at == n, "a channel without a whole frame takes bytes");
        }
        Ok(())
    }
    /// Answers a dialler, if the limits allow it now.
    fn answer(&mut self, now: Now, i: usize) -> Result<(), End> {
        let slot = self.slots[i].as_mut().expect("places are of slots in use");
        match self.admission.take(now.at, &to_core(slot.from)) {
            Err(Wait(until)) => slot.waits = Some(until),
            Ok(()) => {
                (slot.waits, slot.charged) = (None, true);
                let invite = slot.channel.opening().invite;
                let secret = self.machine.invite_secret(now, invite);
                slot.channel.accept(&self.key, secret.as_ref(), &mut self.rng).map_err(End::Link)?;
            }
        }
        self.board.net.set_interest(slot.key, slot.waits.is_none(), false);
        Ok(())
    }
    /// Hands one frame to the machine; false if there is none.
    fn frame(&mut self, now: Now, i: usize) -> Result<bool, End> {
        let slot = self.slots[i].as_mut().expect("places are of slots in use");
        let (id, from, invite) = (slot.id(), to_core(slot.from), slot.channel.opening().invite);
        let peer = slot.channel.peer();
        let Some(frame) = slot.channel.next_frame().map_err(End::Link)? else { return Ok(false) };
        if !slot.open {
            if core::mem::take(&mut slot.charged) {
                self.admission.give_back(&from);
            }
            let key = peer.expect("a channel that yields a frame knows of whom");
            let who = Identity { key, invite: (invite.0 != 0).then_some(invite) };
            self.machine.handle_open(now, id, who, from).map_err(End::Reject)?;
            slot.open = true;
        }
        self.machine.handle_frame(now, id, frame).map_err(End::Reject)?;
        Ok(true)
    }

    /// Ends half-open links that took too long, and goes on with those that waited for the limits.
    fn tend_half_open(&mut self, now: Now) {
        for i in 0..self.slots.len() {
            let Some(slot) = self.slots[i].as_ref().filter(|s| !s.open) else { continue };
            let key = slot.key;
            if now.at >= slot.since + HANDSHAKE {
                self.with(now, key, |_, _, _| Err(End::Late));
            } else if slot.waits.is_some_and(|t| t <= now.at) {
                self.with(now, key, Self::answer);
            }
        }
    }
    /// Does what the machine asks for.
    fn effects(&mut self, now: Now) {
        while let Some(effect) = self.machine.poll_event() {
            match effect {
                Effect::SaveRoster => self.store(now),
                Effect::Log(line) => self.board.console.log(format_args!("{line}")),
                Effect::Hang(LinkId(n)) => self.with(now, LinkKey(n), |_, _, _| Err(End::Hung)),
            }
        }
        if self.store_at.is_some_and(|t| t <= now.at) {
            self.store(now);
        }
    }
    fn store(&mut self, now: Now) {
        let saved = self.board.storage.save(Item::Roster, self.machine.sealed_roster());
        self.store_at = saved.as_ref().err().map(|_| now.at + STORE_AGAIN);
        if let Err(e) = saved {
            self.board.console.log(format_args!("the roster is not stored, it is tried again: {e}"));
        }
    }
    /// A turn of writing for each link; the first one changes from round to round.
    fn transmit(&mut self, now: Now) {
        self.first = (self.first + 1) % self.slots.len();
        for k in 0..self.slots.len() {
            let i = (self.first + k) % self.slots.len();
            let Some(slot) = self.slots[i].as_mut() else { continue };
            let (net, machine) = (&mut self.board.net, &mut self.machine);
            let mut flushed = slot.flush(net);
            if slot.open && flushed == Ok(true) {
                let id = slot.id();
                slot.fill(|out| machine.poll_transmit(now, id, out));
                flushed = slot.flush(net);
            }
            match flushed {
                Ok(flushed) => net.set_interest(slot.key, slot.waits.is_none(), !flushed),
                Err(_) => self.end(now, i, End::Gone),
            }
        }
    }
    fn end(&mut self, now: Now, i: usize, why: End) {
        let Some(mut slot) = self.slots[i].take() else { return };
        // Last words: the version or the refusal that a channel ends with, or what the machine said before.
        let _ = slot.flush(&mut self.board.net);
        self.board.net.close(slot.key);
        if slot.open {
            self.machine.handle_closed(now, slot.id());
        }
        let from = slot.from;
        let mut log = |line: Arguments<'_>| self.quiet.log(&mut self.board.console, now.at, line);
        match why {
            End::Hung => {}
            End::Gone if slot.open => {}
            End::Gone => log(format_args!("{from}: closed before the handshake was done")),
            End::Link(e) => log(format_args!("{from}: {e}")),
            End::Reject(r) => log(format_args!("{from}: {}", r.why)),
            End::Late => log(format_args!("{from}: no handshake within {} s", HANDSHAKE.0 / 1_000_000)),
            End::Crowded => {
                log(format_args!("{from}: pushed out before its handshake was done, there are too many"))
            }
        }
    }
}

/// An address as the core knows them.
pub fn to_core(a: Addr) -> message::Addr {
    match a {
        Addr::V4(ip, port) => message::Addr::V4(ip, port),
        Addr::V6(ip, port) => message::Addr::V6(ip, port),
    }
}
