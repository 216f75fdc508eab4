//! From the state directory to a running node.

use super::clients::Clients;
use super::folders::Folders;
use super::network::Changes;
use super::requests::Requests;
use super::tracker_link::{TrackerLink, own_addresses};
use super::{CONTROL, Done, NETWORK, News, Node, SIGNALS, WATCHES, log, now};
use crate::client::{entropy, seed};
use crate::config::{Config, Lock, Secret, State};
use crate::data::{Book, Fetcher, Roots, Setup, Shelf};
use crate::workers::Workers;
use crate::{disk, offline};
use anyhow::{Context, Result, anyhow};
use dartsync_core::ids::SlotSet;
use dartsync_core::limits;
use dartsync_core::limits::BULK;
use dartsync_core::link::StaticKey;
use dartsync_core::peer::{Config as PeerConfig, Peer};
use dartsync_core::wire::message::caps;
use dartsync_hal::net::Net;
use dartsync_hal::net_std::NetStd;
use dartsync_hal::os::{StopSignals, boot_id, has_aes};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::sync::{Arc, RwLock};

/// Links at once: the tracker's, and data links between their accepting and their own thread.
const LINKS: usize = 64;
/// The first port tried when the user named none, and how many after it.
const PORT: u16 = 7421;
const PORTS: u16 = 100;

/// Starts everything; nothing is dialled or scanned yet.
pub fn start(state: &State) -> Result<Node> {
    let (lock, config) = claim(state)?;
    let secret = secret(state)?;
    let signals = StopSignals::take().context("signals")?;
    disk::init().context("signals")?;
    let mut net = listen(&config)?;
    let listen: SocketAddr = net.listening().context("the listener has no address")?.into();
    net.watch(signals.as_fd(), SIGNALS).context("signals")?;
    let network = network(&mut net)?;
    let clients = Clients::listen(state, &mut net, CONTROL)?;
    let mut store = offline::open(state)?;
    let key = StaticKey::from_secret(&secret.0);
    let mut peer = machine(&key, listen);
    peer.start(&mut store, now(), boot(), state.read("roster")?.as_deref());

    let roots = Roots::default();
    let folders = Folders::new(roots.clone())?;
    net.watch(folders.as_fd(), WATCHES).context("inotify")?;
    let book = Arc::new(RwLock::new(Book::default()));
    let (sender, reports) = channel();
    let wake = net.waker();
    let fetcher = Fetcher::start(Setup {
        key: StaticKey::from_secret(&secret.0),
        book: book.clone(),
        source: Arc::new(Shelf::new(store.reader(), roots)),
        reports: sender,
        wake: Arc::new(move || wake.wake()),
        seed: seed(),
    });
    fetcher.limit(config.limits.up, config.limits.down);
    let workers = workers(&net)?;
    log(&format!("{}: data links at {listen}", config.name));
    let mut node = Node {
        state: state.clone(),
        me: key.public(),
        tracker: TrackerLink::new(key, config.tracker.public_key()?, entropy()),
        config,
        net,
        signals,
        network,
        store,
        peer,
        folders,
        workers,
        waiting: Default::default(),
        cancels: HashMap::new(),
        opening: HashMap::new(),
        fetches: Vec::new(),
        fetcher,
        reports,
        book,
        listen,
        clients,
        requests: Requests::default(),
        welcomed: false,
        online: SlotSet::default(),
        news: News::default(),
        stopping: false,
        commit_due: None,
        pulling: false,
        asked: Vec::new(),
        gone: Vec::new(),
        _lock: lock,
    };
    for folder in node.config.folders.clone() {
        node.take_up(&folder)?;
    }
    node.say_ready();
    Ok(node)
}

fn secret(state: &State) -> Result<Secret> {
    state.identity()?.with_context(|| format!("{}: the identity is gone", state.dir().display()))
}

/// Claims the state, and reads it under the lock: a command that had it until now may have written it.
fn claim(state: &State) -> Result<(Lock, Config)> {
    // A state that no device ever joined with is told before anything is made in it.
    state.config()?;
    let taken =
        || format!("{}: `dartsync run`, or another command, works on it already", state.dir().display());
    let lock = offline::lock(state)?.with_context(taken)?;
    Ok((lock, state.config()?))
}

/// Word from the kernel of changes in the network, where it gives it.
fn network(net: &mut NetStd) -> Result<Option<Changes>> {
    let changes = Changes::watch().ok();
    if let Some(c) = &changes {
        net.watch(c.as_fd(), NETWORK).context("netlink")?;
    }
    Ok(changes)
}

fn workers(net: &NetStd) -> Result<Workers<Done>> {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get() + 1);
    let wake = net.waker();
    Workers::new(threads, move || wake.wake()).context("no threads")
}

/// Tells this boot of the machine from others.
fn boot() -> u64 {
    boot_id().map_or(0, |b| u64::from_le_bytes(*b.first_chunk().expect("16 bytes have 8")))
}

/// The peer machine, whose own state is large: made in its place on the heap.
fn machine(key: &StaticKey, listen: SocketAddr) -> Box<Peer> {
    let addrs = own_addresses(listen, false).into_iter().take(limits::ADDRESSES).collect();
    let caps = if has_aes() { caps::AES } else { 0 };
    let (key, port) = (key.public(), listen.port());
    Box::new(Peer::new(PeerConfig { key, seed: seed(), port, addrs, caps, await_both: BULK }))
}

/// Listens for data links where the configuration says; else at the first free port from 7421 on.
fn listen(config: &Config) -> Result<NetStd> {
    if let Some(at) = &config.listen {
        let addr: SocketAddr =
            at.parse().map_err(|_| anyhow!("config.json: \"listen\": {at} is no ADDR:PORT"))?;
        return NetStd::new(Some(addr), LINKS).with_context(|| format!("cannot listen at {at}"));
    }
    let mut why = None;
    for port in PORT..PORT + PORTS {
        match NetStd::new(Some(SocketAddr::from(([0, 0, 0, 0], port))), LINKS) {
            Ok(net) => return Ok(net),
            Err(e) => why = Some(e),
        }
    }
    Err(why.expect("some port was tried")).context("cannot listen at any port from 7421 to 7520")
}
