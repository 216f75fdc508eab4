//! The device that runs: one thread owns all state and carries the peer machine's effects out.
//!
//! | file | idea |
//! |---|---|
//! | `mod` | the loop: facts in, effects out, frames out, sleep |
//! | `start` | from the state directory to a running node |
//! | `effects` `acts` `gathered` `fetches` `jobs` `folders` | effects carried out: on workers, by the scan, by the watches |
//! | `tracker_link`, `network` | the link to the tracker; when to dial it at once |
//! | `clients` `requests` `status` | commands of this user |
//!
//! The loop: wait; gather what happened, the watches first, so that an answer to a command knows what the user did before
//! he asked; hand it to the machine, touches of paths last, so that what was installed here is known as such; drain its
//! effects; send its frames; commit as late as possible, so that a worker's disk sync runs beside it; drain and send
//! again; answer commands; sleep until the machine's next timeout.

mod acts;
mod clients;
mod effects;
mod fetches;
mod folders;
mod gathered;
mod jobs;
mod network;
mod requests;
mod start;
mod status;
mod tracker_link;

use crate::config::{Config, Lock, State};
use crate::control::Request;
use crate::data::{Book, Fetcher, Job, Report};
use crate::store::Store;
use crate::workers::Workers;
use anyhow::{Context, Result};
use clients::{ClientId, Clients};
use dartsync_core::ids::{PublicKey, Row, SlotSet, Ticket};
use dartsync_core::peer::{Cause, Effect, Outcome, Peer};
use dartsync_core::sans_io::Reject;
use dartsync_core::time::{Instant, Now};
use dartsync_hal::clock::Clock;
use dartsync_hal::net::{Event, Net};
use dartsync_hal::net_std::NetStd;
use dartsync_hal::os::{self, Standing, StopSignals};
use dartsync_hal::std_impl::StdClock;
use effects::Done;
use folders::Folders;
use gathered::Waiting;
use network::Changes;
use requests::Requests;
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, RwLock};
use tracker_link::{Fact, TrackerLink};

/// Tokens of watched descriptors. The control socket has the rest.
const SIGNALS: u32 = 0;
const WATCHES: u32 = 1;
const NETWORK: u32 = 2;
const CONTROL: u32 = 3;
/// Drains of one turn, at most, before the world outside is looked at again.
const DRAINS: usize = 4;

/// Everything of a running device.
pub(crate) struct Node {
    state: State,
    config: Config,
    me: PublicKey,
    net: NetStd,
    signals: StopSignals,
    network: Option<Changes>,
    store: Store,
    peer: Box<Peer>,
    tracker: TrackerLink,
    folders: Folders,
    workers: Workers<Done>,
    waiting: Waiting,
    /// Looks and fetches that may be given up.
    cancels: HashMap<Ticket, Arc<AtomicBool>>,
    /// Fetches whose part file is being opened, and what was said of their sources meanwhile.
    opening: HashMap<Ticket, Option<(SlotSet, SlotSet)>>,
    /// Fetches whose part files were opened in this turn.
    fetches: Vec<Job>,
    fetcher: Fetcher,
    reports: Receiver<Report>,
    book: Arc<RwLock<Book>>,
    listen: SocketAddr,
    clients: Clients,
    requests: Requests,
    /// The tracker has greeted this run: its roster is one to trust data links by.
    welcomed: bool,
    /// Devices that are linked to the tracker, as far as known.
    online: SlotSet,
    news: News,
    stopping: bool,
    /// A commit that the machine waits for.
    commit_due: Option<Ticket>,
    pulling: bool,
    /// Commands that came in, answered at the end of the turn.
    asked: Vec<(ClientId, Request)>,
    gone: Vec<ClientId>,
    _lock: Lock,
}

/// What the user should know, and what he was told.
#[derive(Default)]
struct News {
    /// This device's key was revoked.
    revoked: bool,
    /// The tracker sees this device run twice.
    twice: bool,
    /// The disk of the store is full.
    store_full: bool,
    /// `ready` was said.
    ready_said: bool,
    /// Why the tracker was not reached, as last logged.
    outage: String,
    /// Troubles of rows, as last logged.
    troubles: HashMap<Row, Cause>,
}

/// Runs the device of `state` until SIGTERM or SIGINT comes, or it has left its home.
pub fn run(state: &State) -> Result<()> {
    let mut node = start::start(state)?;
    // Commands work from here on. That folders are scanned (`ready`) may take longer than a service manager waits.
    tell(Standing::Ready);
    while !node.stopping {
        node.turn()?;
    }
    tell(Standing::Stopping);
    node.end()
}

/// Tells a service manager, if one started this program.
fn tell(standing: Standing) {
    if let Err(e) = os::notify(standing) {
        log(&format!("the service manager is not told: {e}"));
    }
}

/// Logs an event, one line on stderr.
pub(crate) fn log(line: &str) {
    // Who has closed stderr does not want to read it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn now() -> Now {
    Now { at: Instant(StdClock.now_us()), wall: StdClock.wall_us() }
}

impl Node {
    /// One turn of the loop.
    fn turn(&mut self) -> Result<()> {
        let until = self.deadline(now().at.0);
        self.net.wait(until).context("the network failed")?;
        self.gather();
        self.drain();
        if self.answer() {
            self.drain();
        }
        Ok(())
    }

    /// When the loop is to wake at the latest.
    fn deadline(&self, at: u64) -> u64 {
        let machine = self.peer.poll_timeout().map(|t| t.0);
        let all = [
            machine,
            self.tracker.deadline(),
            self.clients.deadline(at),
            self.requests.deadline(at),
            self.folders.deadline(),
        ];
        let again = if self.folders.has_more() || !self.asked.is_empty() { 0 } else { u64::MAX };
        all.into_iter().flatten().min().unwrap_or(u64::MAX).min(again)
    }

    /// Hands what happened to the machine.
    fn gather(&mut self) {
        let mut ready = Vec::new();
        while let Some(event) = self.net.next_event() {
            match event {
                Event::Ready(SIGNALS) => self.stopping |= self.signals.came(),
                Event::Ready(WATCHES) => self.folders.has_events(),
                Event::Ready(NETWORK) => {
                    if self.network.as_ref().is_some_and(Changes::came) {
                        self.peer.handle_network_up(now());
                    }
                }
                Event::Woken => {}
                Event::Ready(token) => ready.push(token),
                Event::Accepted(key, from) => {
                    if let Some(stream) = self.net.take(key) {
                        self.fetcher.accept(stream, from.into());
                    }
                }
                event => self.link_event(event),
            }
        }
        for token in ready {
            let at = now().at.0;
            self.clients.ready(&mut self.net, at, token, &mut self.asked, &mut self.gone);
        }
        if self.folders.has_more() || !self.asked.is_empty() || self.requests.waits() {
            self.read_watches();
        }
        self.take_completions();
        self.take_reports();
        // After what was done here: else each install would look like a change by somebody else.
        self.tell_touches();
        self.step_folders();
        let t = now();
        let link = &mut self.tracker;
        let (peer, store, outage) = (&mut self.peer, &mut self.store, &mut self.news.outage);
        link.timeout(&mut self.net, t.at.0, &mut |fact| tell_machine(peer, store, outage, fact));
    }

    fn link_event(&mut self, event: Event) {
        let (peer, store, outage, listen) =
            (&mut self.peer, &mut self.store, &mut self.news.outage, self.listen);
        self.tracker.event(&mut self.net, now().at.0, event, &mut |fact| {
            if let Fact::Opened(_, here) = &fact {
                let by_loopback = here.is_some_and(|a| a.ip().is_loopback());
                let addrs = tracker_link::own_addresses(listen, by_loopback);
                peer.set_addrs(
                    listen.port(),
                    addrs.into_iter().take(dartsync_core::limits::ADDRESSES).collect(),
                );
            }
            tell_machine(peer, store, outage, fact)
        });
        self.update_book();
    }

    /// Carries effects out, sends frames, commits; until nothing is due or others should have their turn.
    fn drain(&mut self) {
        self.peer.handle_timeout(&mut self.store, now());
        for _ in 0..DRAINS {
            self.pull();
            let again = self.transmit();
            let Some(ticket) = self.commit_due.take() else {
                if again {
                    continue;
                }
                return;
            };
            self.commit(ticket);
            // What workers and links have done meanwhile goes into the next commit.
            self.take_completions();
            self.take_reports();
        }
        self.come_again();
    }

    /// Carries out what the machine wants, but commits: those come last. To be called after each fact.
    fn pull(&mut self) {
        if std::mem::replace(&mut self.pulling, true) {
            // An effect was answered while it was begun; the pull under way goes on.
            return;
        }
        while let Some(effect) = self.peer.poll_effect(&mut self.store, now()) {
            match effect {
                Effect::Commit { ticket } => self.commit_due = Some(ticket),
                other => self.begin(other),
            }
        }
        self.pulling = false;
        self.begin_gathered();
    }

    /// There is more to do than one turn should take: the loop comes back at once.
    fn come_again(&self) {
        self.net.waker().wake();
    }

    fn commit(&mut self, ticket: Ticket) {
        let outcome = match self.store.commit(true) {
            Ok(()) => Outcome::Done,
            Err(full) => {
                if !self.news.store_full {
                    log(&format!("{}: {full}", self.state.dir().display()));
                }
                Outcome::Failed(Cause::Os(rustix::io::Errno::NOSPC.raw_os_error()))
            }
        };
        self.news.store_full = outcome != Outcome::Done;
        self.peer.handle_done(&mut self.store, now(), ticket, outcome);
    }

    /// Sends what is due on the tracker link. True if there is more.
    fn transmit(&mut self) -> bool {
        let mut facts = Vec::new();
        let (peer, store) = (&mut self.peer, &mut self.store);
        let mut poll = |link, out: &mut [u8]| peer.poll_transmit(store, now(), link, out);
        let again = self.tracker.transmit(&mut self.net, now().at.0, &mut poll, &mut |fact| {
            if let Fact::Closed(link, why) = fact {
                facts.push((link, why));
            }
            Ok(())
        });
        for (link, why) in facts {
            let _ =
                tell_machine(&mut self.peer, &mut self.store, &mut self.news.outage, Fact::Closed(link, why));
        }
        again
    }

    /// Commits and ends everything in order.
    fn end(mut self) -> Result<()> {
        log("ending");
        self.cancels.values().for_each(|c| c.store(true, Ordering::Relaxed));
        self.fetcher.stop();
        let left = self.requests.left_home();
        let kept = self.store.commit(true);
        if !left {
            kept.context("the last commit")?;
        }
        let state = self.state.clone();
        let _ = self.net.unwatch(self.signals.as_fd());
        drop(self);
        if left { crate::offline::forget_home(&state) } else { Ok(()) }
    }
}

/// Hands a fact of the tracker link to the machine. `outage` is why it was not reached, told once.
fn tell_machine(
    peer: &mut Peer,
    store: &mut Store,
    outage: &mut String,
    fact: Fact<'_>,
) -> Result<(), Reject> {
    match fact {
        Fact::Opened(link, _) => {
            outage.clear();
            peer.handle_open(store, now(), link);
        }
        Fact::DialFailed(why) => {
            if *outage != why {
                log(&format!("tracker: not reached, and tried again and again: {why}"));
                *outage = why;
            }
            peer.handle_dial_failed(now());
        }
        Fact::Frame(link, frame) => return peer.handle_frame(store, now(), link, frame),
        Fact::Closed(link, why) => {
            log(&format!("tracker: the link ended: {why}"));
            peer.handle_closed(store, now(), link);
        }
    }
    Ok(())
}
