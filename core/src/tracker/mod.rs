//! The tracker: knows every record, tells every device, and keeps nothing that its peers could not tell it again.
//!
//! A [`Tracker`] is driven as [`crate::sans_io`] machines are: facts go in (`handle_…`), one a call; after each, the
//! driver drains what comes out:
//! ```text
//! loop { wait until a link is readable, writable again, or poll_timeout has passed
//!        feed what happened: handle_open, handle_frame, handle_closed, handle_timeout
//!        drain poll_event: store (before anything is sent), hang up, log
//!        for each open link that can take bytes: poll_transmit until Idle (Again: the other links first)
//!        drain poll_event again: what was sent last may end a link }
//! ```
//!
//! # Invariants
//! - A link is a few cursors and marks ([`session`]); frames are made when asked for, so a slow reader costs nothing.
//! - Within a folder a link is sent records in seq order ([`session::Stream`]).
//! - The member bit of a device stands in the roster before a record of the folder is sent to it.
//! - A device's holder bits are of its current store alone; lag and bare counts are exact at any moment ([`files`]).
//! - The roster changes only in [`home`], each change sealed under a higher version before it is told.

mod accept;
mod churn;
mod claims;
mod config;
mod enrol;
mod files;
mod home;
mod invites;
mod news;
mod recovery;
mod requests;
mod session;
mod streams;
pub mod swarm_book;
pub mod table;
#[cfg(test)]
mod tests;
mod tidy;
mod transmit;
mod turns;
mod witness;

pub use config::{Config, Event, Identity, Past, recovery_digest};

use crate::ids::{Epoch, InviteId, LinkId, PublicKey, Slot, SlotSet};
use crate::limits;
use crate::rng::Rng;
use crate::roster::{ROSTER_BYTES, Roster, RosterAssembler};
use crate::sans_io::{Reject, Sent};
use crate::time::{Duration, Instant, Now};
use crate::wire::message::{self, Addr, Addrs, RosterVersion, ToTracker};
use churn::Churn;
use core::fmt::Write;
use files::Files;
use heapless::{Deque, String, Vec};
use invites::Invites;
use news::{Forgotten, Line, News, Ring};
use recovery::Recovery;
use session::{Session, State};
use swarm_book::SwarmBook;
use tidy::Tidy;
use turns::Turns;
use witness::Brought;

/// Links at a time: one for each device, and some for those that come anew before the old link is known to be dead.
pub const SESSIONS: usize = 72;
/// A link that is silent for so long is dead.
const SILENCE: Duration = Duration::secs(15);
/// A link that is no device's after so long is hung up.
const GREETING: Duration = Duration::secs(10);
/// How often lag is told at most.
const LAG_PAUSE: Duration = Duration::millis(200);

/// What is known of an active device beyond the roster.
#[derive(Clone)]
struct Peer {
    /// Its place among the sessions, when it is online.
    session: Option<usize>,
    /// The highest run heard with its current tag since this tracker's start.
    run: Option<u64>,
    /// Where it can be dialled, or could be when it was last here.
    addrs: Addrs,
    caps: u32,
    /// It was told to take a new tag: until then that is not said again; a tag it takes unasked waits, too, once it was
    /// told to wait (R4).
    told_new_tag: Option<Instant>,
    waits: bool,
    /// Whether it announced something in this epoch.
    announced: bool,
    /// The highest counter of its tag that it named itself, if the tag is known here from its first Hello on.
    witnessed: Option<u64>,
    /// Tags that came into the table on its account in this epoch.
    brought: Brought,
    /// When it was taken in, if that was since this tracker's start and not as the home's first.
    joined: Option<Instant>,
}

impl Peer {
    const NEW: Peer = Peer {
        session: None,
        run: None,
        addrs: Vec::new(),
        caps: 0,
        told_new_tag: None,
        waits: false,
        announced: false,
        witnessed: None,
        brought: Brought::NONE,
        joined: None,
    };
}

/// See the module.
pub struct Tracker<'m> {
    files: Files<'m>,
    epoch: Epoch,
    book: SwarmBook,
    turns: Turns,

    roster: Roster,
    /// What stands sealed; its version is that of `roster` but while changes wait for a quorum (R20).
    sealed: Vec<u8, ROSTER_BYTES>,
    sealed_version: RosterVersion,
    roster_key: [u8; 32],
    nonce: u64,
    recovery: Recovery,
    assembler: RosterAssembler,
    founder: Option<PublicKey>,
    recovery_words: Option<[u8; 32]>,
    invites: Invites,

    /// All of them, always; no array, since one is made on the stack before it is put in its place.
    sessions: Vec<Session, SESSIONS>,
    peers: [Peer; limits::DEVICES],
    news: News,
    forgotten: Forgotten,
    churn: Churn,

    rng: Rng,
    about: String<112>,
    save_due: bool,
    log: Deque<String<128>, 16>,
    lag_at: Option<Instant>,
    tidy: Tidy,
}

const _: () =
    assert!(core::mem::size_of::<Tracker<'_>>() <= 1024 * 1024, "what a tracker needs beside its table");

impl<'m> Tracker<'m> {
    /// A tracker whose file table fills `memory`. Large (about 0.8 MiB): box it or give it a static place.
    ///
    /// A stored roster whose seal is not this identity's counts as lost.
    pub fn new(config: Config<'_>, memory: &'m mut [u8]) -> Self {
        let mut rng = Rng::from_seed(config.seed);
        let nonce = rng.next_u64();
        let mut about = String::new();
        let cut =
            |s: &str, n: usize| (0..=n.min(s.len())).rev().find(|i| s.is_char_boundary(*i)).unwrap_or(0);
        let home = &config.home[..cut(config.home, 64)];
        let version = &config.version[..cut(config.version, 32)];
        write!(about, "{home} {version}").expect("cut to fit");
        let mut t = Tracker {
            files: Files::new(memory, rng.next_u64()),
            epoch: draw_epoch(&mut rng),
            book: SwarmBook::new(),
            turns: Turns::new(),
            roster: Roster::new(),
            sealed: Vec::new(),
            sealed_version: RosterVersion::default(),
            roster_key: config.roster_key,
            nonce,
            recovery: Recovery::new(),
            assembler: RosterAssembler::new(),
            founder: config.founder,
            recovery_words: config.recovery,
            invites: Invites::new(),
            sessions: Vec::new(),
            peers: [const { Peer::NEW }; limits::DEVICES],
            news: Ring::new(),
            forgotten: Ring::new(),
            churn: Churn::new(),
            rng,
            about,
            save_due: false,
            log: Deque::new(),
            lag_at: None,
            tidy: Tidy::new(),
        };
        while t.sessions.push(Session::FREE).is_ok() {}
        t.begin(config.past);
        t
    }

    // What it can be asked.

    /// The sealed roster as it is to be stored; empty while there is none.
    pub fn sealed_roster(&self) -> &[u8] {
        &self.sealed
    }
    /// The secret of an invite that is good now, or was used within its hour: a device that it took in may come by it
    /// again, nobody else.
    pub fn invite_secret(&self, now: Now, id: InviteId) -> Option<[u8; 16]> {
        self.invites.secret(now.at, id)
    }
    /// The invite of a home that no device has ever joined.
    pub fn founding_invite(&self) -> Option<(InviteId, [u8; 16])> {
        self.invites.founding()
    }
    /// Whether a stranger with this key may come in without an invite: it is a device of the home, or this tracker
    /// waits for devices that bring its roster back.
    pub fn knows(&self, key: &PublicKey) -> bool {
        let founds = self.founder == Some(*key) && self.roster.is_unused();
        !self.roster.is_revoked(key) && (self.roster.is_active(key) || self.recovery.is_open() || founds)
    }
    /// The epoch of its table.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    /// What it tells of itself: the home's name, a space, its version.
    pub fn about(&self) -> &str {
        &self.about
    }
    /// Devices that have a link.
    pub fn online(&self) -> SlotSet {
        let mut all = SlotSet::default();
        self.sessions.iter().filter_map(|s| s.slot()).for_each(|slot| all.add(slot));
        all
    }
    /// Records of its folders that a device has not applied.
    pub fn lag(&self, of: Slot) -> u64 {
        self.files.lag(of)
    }
    /// How full its table is.
    pub fn usage(&self) -> table::Usage {
        self.files.table().usage()
    }
    /// Its file table.
    pub fn table(&self) -> &table::Table<'m> {
        self.files.table()
    }
    /// The roster it works on.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    // Facts.

    /// A link was opened by `who`, from that address. An error: it is to be closed at once.
    pub fn handle_open(&mut self, now: Now, link: LinkId, who: Identity, from: Addr) -> Result<(), Reject> {
        assert!(self.find(link).is_none(), "a link is opened once");
        if self.roster.is_revoked(&who.key) {
            return Err(Reject::new("a revoked device"));
        }
        let invited = who.invite.is_some_and(|id| self.invites.is_good(now.at, id));
        if !self.knows(&who.key) && !invited {
            let why = match who.invite {
                Some(_) => "an invite that was used already",
                None => "not a device of this home",
            };
            return Err(Reject::new(why));
        }
        self.end_greetings(&who.key);
        let Some(i) = self.sessions.iter().position(|s| s.state == State::Free) else {
            return Err(Reject::new("too many links"));
        };
        self.sessions[i] = Session {
            state: State::Opened,
            link,
            key: who.key,
            invite: who.invite,
            from,
            opened: now.at,
            heard: now.at,
            news: self.news.end(),
            forgot: self.forgotten.end(),
            ..Session::FREE
        };
        Ok(())
    }

    /// A whole frame came in. An error: close the link; nothing of the frame took effect.
    pub fn handle_frame(&mut self, now: Now, link: LinkId, frame: &[u8]) -> Result<(), Reject> {
        let i = self.find(link).ok_or(Reject::new("no such link"))?;
        let result = self.read(now, i, frame);
        match result {
            Ok(()) => self.sessions[i].heard = now.at,
            Err(_) => self.sessions[i].state = State::Dead,
        }
        if result.is_err() {
            self.gone(i);
        }
        result
    }

    /// A link is closed, by whomever.
    pub fn handle_closed(&mut self, _now: Now, link: LinkId) {
        let Some(i) = self.find(link) else { return };
        self.gone(i);
        self.sessions[i].state = State::Free;
        self.sessions[i].hang = false;
    }

    /// Time has passed. A call before [`Tracker::poll_timeout`] does nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        let at = now.at;
        for i in 0..SESSIONS {
            if self.deadline(i).is_some_and(|d| d <= at) {
                self.end(i);
            }
        }
        self.turns.expire(at);
        self.book.expire(at);
        if self.lag_at.is_some_and(|d| d <= at) {
            self.lag_at = None;
            self.tell_lag();
        }
        self.recovery.expire(at);
        self.tidy_up(at);
    }

    // What comes out.

    /// Something the driver is to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.save_due) {
            return Some(Event::SaveRoster);
        }
        if let Some(line) = self.log.pop_front() {
            return Some(Event::Log(line));
        }
        let s = self.sessions.iter_mut().find(|s| s.hang)?;
        s.hang = false;
        Some(Event::Hang(s.link))
    }

    /// What is to be sent on a link now. `out` holds at least [`limits::FRAME`] bytes.
    pub fn poll_transmit(&mut self, now: Now, link: LinkId, out: &mut [u8]) -> Sent {
        let Some(i) = self.find(link) else { return Sent::Idle };
        self.transmit(now, i, &mut out[..limits::FRAME])
    }

    /// When to call [`Tracker::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = (0..SESSIONS).filter_map(|i| self.deadline(i)).min();
        let rest = [
            sessions,
            self.turns.next(),
            self.book.next_expiry(),
            self.lag_at,
            self.recovery.next(),
            self.tidy.next(),
        ];
        rest.into_iter().flatten().min()
    }

    // Inside.

    fn find(&self, link: LinkId) -> Option<usize> {
        self.sessions.iter().position(|s| s.state != State::Free && s.link == link)
    }
    /// When this link ends by itself.
    fn deadline(&self, i: usize) -> Option<Instant> {
        let s = &self.sessions[i];
        match s.state {
            State::Free | State::Dead => None,
            State::Live(_) => Some(s.heard + SILENCE),
            State::Opened | State::Presenting | State::Closing => Some(s.opened + GREETING),
        }
    }

    fn read(&mut self, now: Now, i: usize, frame: &[u8]) -> Result<(), Reject> {
        if frame.len() > limits::FRAME {
            return Err(Reject::new("a frame that is too long"));
        }
        let message =
            message::decode::<ToTracker<'_>>(frame).ok_or(Reject::new("a frame that is no message"))?;
        match (self.sessions[i].state, message) {
            (State::Closing | State::Dead | State::Free, _) => Ok(()),
            (
                State::Opened,
                ToTracker::Hello { tag, counter, run, port, addrs, caps, roster, flags: _, name },
            ) => self.hello(now, i, enrol::Hello { tag, counter, run, port, addrs, caps, roster, name }),
            (State::Opened, ToTracker::Request(n, message::Request::Force(words))) => self.force(i, n, words),
            (State::Opened, _) => Err(Reject::new("no Hello")),
            (State::Presenting, ToTracker::Roster(part)) => self.handed_in(now, i, &part),
            (State::Presenting, ToTracker::Ping) => {
                self.sessions[i].owed.pong = true;
                Ok(())
            }
            // What it sent behind its Hello is said again on its next link.
            (State::Presenting, _) => Ok(()),
            (State::Live(slot), message) => self.heard(now, i, slot, message),
        }
    }

    fn heard(&mut self, now: Now, i: usize, slot: Slot, message: ToTracker<'_>) -> Result<(), Reject> {
        match message {
            ToTracker::Hello { .. } => return Err(Reject::new("a second Hello")),
            ToTracker::Seen { folder, epoch, seen } => self.seen(i, slot, folder, epoch, seen),
            ToTracker::Announce(batch) => self.announced(now, i, slot, batch)?,
            ToTracker::Told(f) => self.turns.pass(f, slot),
            ToTracker::Have { folder, ranges, run } => {
                self.claimed(now, i, slot, folder, &ranges, true)?;
                let peer = &mut self.peers[slot.0 as usize];
                peer.run = peer.run.max(Some(run));
            }
            ToTracker::Lack { folder, ranges } => self.claimed(now, i, slot, folder, &ranges, false)?,
            ToTracker::Seek { folder, seq } => {
                if self.files.members(folder).has(slot)
                    && self.files.get(seq).is_some_and(|e| e.folder() == folder)
                {
                    self.book.seek(now.at, folder, seq, slot);
                }
            }
            ToTracker::Unreachable(device) => {
                let target =
                    self.roster.device_by_id(device).and_then(|(s, _)| self.peers[s.0 as usize].session);
                if let Some(j) = target.filter(|j| *j != i) {
                    self.sessions[j].connect_back.add(slot);
                }
            }
            ToTracker::Roster(part) => self.handed_in(now, i, &part)?,
            ToTracker::WantRoster => self.sessions[i].owed.roster = Some((self.sealed_version, 0)),
            ToTracker::Request(n, request) => self.request(now, i, slot, n, request)?,
            ToTracker::Ping => self.sessions[i].owed.pong = true,
        }
        Ok(())
    }

    /// A key has one link that is not live (yet): more would take the places of others.
    fn end_greetings(&mut self, key: &PublicKey) {
        for i in 0..SESSIONS {
            let s = &self.sessions[i];
            if s.key == *key && matches!(s.state, State::Opened | State::Presenting | State::Closing) {
                self.end(i);
            }
        }
    }
    /// The tracker ends a link.
    fn end(&mut self, i: usize) {
        self.gone(i);
        self.sessions[i].kill();
    }
    /// A link is no device's any more.
    fn gone(&mut self, i: usize) {
        self.recovery.release(i);
        let key = self.sessions[i].key;
        let Some((slot, _)) = self.roster.device_by_key(&key) else { return };
        let peer = &mut self.peers[slot.0 as usize];
        if peer.session == Some(i) {
            peer.session = None;
            self.turns.leave(slot);
            self.book.forget(slot);
            self.mark_presence(SlotSet::one(slot));
        }
    }
    /// Every device is to be told of these.
    fn mark_presence(&mut self, of: SlotSet) {
        self.sessions.iter_mut().filter(|s| s.slot().is_some()).for_each(|s| s.presence.0 |= of.0);
    }
    /// Lag that changed is to be told, soon.
    fn lag_changed(&mut self, now: Instant) {
        if self.files.has_changed() && self.lag_at.is_none() {
            self.lag_at = Some(now + LAG_PAUSE);
        }
    }
    fn tell_lag(&mut self) {
        let changed = self.files.take_changed();
        self.mark_presence(changed);
        let table = self.files.table();
        let (used, of) = (table.len(), table.estimate_capacity());
        if self.tidy.room_changed(used, of) {
            self.sessions.iter_mut().for_each(|s| s.owed.room = true);
        }
    }
    /// A line for every device, and for the log.
    fn say(&mut self, line: core::fmt::Arguments<'_>) {
        let mut news = Line::new();
        if news.write_fmt(line).is_ok() {
            self.news.say(news);
        }
        self.note(line);
    }
    /// A line for the log; when nobody reads the log, the oldest goes.
    fn note(&mut self, line: core::fmt::Arguments<'_>) {
        let mut text = String::new();
        if text.write_fmt(line).is_err() {
            return;
        }
        if self.log.is_full() {
            self.log.pop_front();
        }
        self.log.push_back(text).expect("room was made");
    }
}

/// Never 0, which means "never heard".
fn draw_epoch(rng: &mut Rng) -> Epoch {
    Epoch(rng.next_u64() | 1)
}
