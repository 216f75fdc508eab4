//! The download machine, the links and the fetches behind one lock. Whoever holds it only decides; what is to be done
//! is collected as [`Deeds`] and carried out after the lock is released.

use super::bank::{Bank, Teller};
use super::deeds::Deeds;
use super::errand::{Errand, Look};
use super::gone::Gone;
use super::link::Link;
use super::part::Prepared;
use super::partial::{self, Arrived};
use super::tree::Tree;
use super::uploads::Uploads;
use super::{Book, Job, Report, Setup, Source, dial};
use dartsync_core::data::swarm::{Body, Effect, LARGES, Lent, Swarm, WALK_MEMORY, WINDOW_MEMORY};
use dartsync_core::data::{Have, Ranges, message::HAVE};
use dartsync_core::ids::{ContentId, Slot, SlotSet, Ticket};
use dartsync_core::link::{StaticKey, admission::Admission};
use dartsync_core::peer::Outcome;
use dartsync_core::rng::Rng;
use dartsync_core::time::Instant;
use std::collections::{HashMap, VecDeque, hash_map::Entry};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, mpsc::Sender};
use std::time::Duration;

/// Dialled links that are kept though nothing is asked on them.
const WARM: usize = 16;
/// Links that a device may have dialled; one more, and the oldest is closed.
const OF_ONE: usize = 4;
/// A link used within this is not closed to make room for another.
const FRESH: u64 = 5_000;
/// Fetches that failed whose trees are kept for the next try.
const TREES: usize = LARGES;

/// A fetch that is under way.
struct Running {
    content: ContentId,
    part: Arc<File>,
    /// The same file, opened for reading, to serve others from.
    served: Option<Arc<File>>,
    bank: Arc<Bank>,
    /// Others fetch the content, too, and may ask for it.
    shared: bool,
}

/// A chunk that is put together but for some parts.
pub type Patch = (Vec<u8>, Ranges);
/// The machine with what it is lent.
pub type Machine = Swarm<Vec<u8>, Teller>;

/// What the lock holds.
pub struct Hub {
    pub swarm: Box<Machine>,
    running: HashMap<Ticket, Running>,
    /// By fetch and offset.
    patches: HashMap<(Ticket, u64), Patch>,
    /// Fetches that wait for room in the machine: small ones, large ones.
    waiting: [VecDeque<Prepared>; 2],
    /// Fetches that are over, but a thread still writes to their part file what it verified before.
    ending: Vec<(Running, Ticket, Outcome)>,
    /// Of fetches that failed: what they knew of their contents' trees, the latest last.
    trees: VecDeque<(ContentId, Tree)>,
    /// Contents that are here and that the shelf may not know yet.
    pub arrived: Vec<Arrived>,
    links: Vec<Arc<Link>>,
    chosen: HashMap<Slot, Arc<Link>>,
    stopped: bool,
    /// The thread that minds the time sleeps until something is fetched.
    minding: bool,
}

/// Everything that the threads of a [`Fetcher`] share.
pub struct Shared {
    hub: Mutex<Hub>,
    /// Wakes the thread that minds the time.
    tick: Condvar,
    pub key: StaticKey,
    pub book: Arc<RwLock<Book>>,
    pub source: Arc<dyn Source>,
    pub reports: Mutex<Sender<Report>>,
    pub wake: Arc<dyn Fn() + Send + Sync>,
    rng: Mutex<Rng>,
    pub admission: Mutex<Admission>,
    pub strangers: dial::Strangers,
    pub threads: AtomicUsize,
    pub dials: dial::Dials,
    pub errands: Mutex<Option<Sender<Errand>>>,
    pub sent: AtomicU64,
    pub received: AtomicU64,
    /// Who is served.
    pub uploads: Uploads,
    pub gone: Gone,
    pub stopping: AtomicBool,
    started: std::time::Instant,
}

impl Hub {
    /// Takes what the machine wants done.
    pub fn drain(&mut self, shared: &Shared, deeds: &mut Deeds) {
        let at = shared.now();
        loop {
            while let Some(effect) = self.swarm.poll_effect(at) {
                self.note(shared, effect, deeds);
            }
            if !self.start_waiting(at) {
                break;
            }
        }
        self.report_ends(deeds);
        if self.minding && self.swarm.poll_timeout().is_some() {
            self.minding = false;
            shared.tick.notify_one();
        }
    }

    fn note(&mut self, shared: &Shared, effect: Effect, deeds: &mut Deeds) {
        match effect {
            Effect::Ask(slot, ask) => {
                if let Some(link) = self.chosen.get(&slot) {
                    deeds.ask(link, ask);
                }
            }
            Effect::Dial(slot) => deeds.dials.push(slot),
            Effect::Hang(slot) => deeds.closes.extend(self.chosen.get(&slot).cloned()),
            Effect::Check(ticket, leaf, neighbours) => {
                let found = self.running.get(&ticket);
                deeds.errands.extend(found.map(|r| {
                    let what = Look::Check(leaf, neighbours, r.part.clone());
                    Errand { ticket, bank: r.bank.clone(), what }
                }));
            }
            Effect::Find(ticket, chunk) => {
                let bank = self.running.get(&ticket).map(|r| r.bank.clone());
                let what = Look::Find(chunk);
                deeds.errands.extend(bank.map(|bank| Errand { ticket, bank, what }));
            }
            Effect::Have(slot, content, all) => self.say(slot, content, all, deeds),
            Effect::Finished(ticket) => self.done(ticket, Outcome::Ready),
            Effect::Failed(ticket, cause) => self.done(ticket, Outcome::Failed(cause)),
            Effect::Bad(slot, content) => {
                let book = shared.book.read().expect("no thread panics with it");
                deeds.reports.extend(book.at(slot).map(|k| Report::Bad(k.device, content)));
            }
        }
    }

    /// Tells a device what is here of a content.
    fn say(&mut self, slot: Slot, content: ContentId, all: bool, deeds: &mut Deeds) {
        let mut message = vec![0; HAVE];
        let n = self.swarm.encode_have(slot, &content, all, &mut message);
        message.truncate(n);
        let link = self.chosen.get(&slot).cloned();
        deeds.sayings.extend(link.map(|link| (link, content, message)));
    }

    fn done(&mut self, ticket: Ticket, outcome: Outcome) {
        let running = self.running.remove(&ticket).expect("a fetch ends once");
        self.patches.retain(|(t, _), _| *t != ticket);
        if let (Outcome::Ready, Some(file), true) = (&outcome, &running.served, running.shared) {
            self.keep_arrived(running.content, file.clone(), running.bank.tree().leaves().to_vec());
        }
        self.ending.push((running, ticket, outcome));
    }

    /// Reports the ends of fetches whose part file nobody else holds any more: a late write must not meet the next
    /// fetch of that file, nor what becomes of it.
    fn report_ends(&mut self, deeds: &mut Deeds) {
        let free = |e: &mut (Running, Ticket, Outcome)| Arc::strong_count(&e.0.part) == 1;
        for (running, ticket, outcome) in self.ending.extract_if(.., free) {
            let mut tree = running.bank.tree();
            let leaves = if outcome == Outcome::Ready { tree.take_leaves() } else { Vec::new() };
            if tree.root().is_some() {
                self.trees.retain(|(content, _)| *content != running.content);
                if self.trees.len() == TREES {
                    self.trees.pop_front();
                }
                self.trees.push_back((running.content, std::mem::take(&mut *tree)));
            }
            drop(tree);
            deeds.reports.push(Report::Done { ticket, outcome, leaves });
        }
    }

    /// Begins fetches that waited for room; whether any began.
    fn start_waiting(&mut self, at: Instant) -> bool {
        let mut began = false;
        for kind in 0..self.waiting.len() {
            while let Some(job) = self.waiting[kind].front()
                && self.swarm.has_room(job.fetch.size)
            {
                let job = self.waiting[kind].pop_front().expect("it is at the front");
                self.begin(at, job);
                began = true;
            }
        }
        began
    }

    fn begin(&mut self, at: Instant, job: Prepared) {
        let Prepared { fetch, part, mut bank } = job;
        if let Some(i) = self.trees.iter().position(|(content, _)| *content == fetch.content) {
            self.trees.remove(i).into_iter().for_each(|(_, tree)| bank.go_on_from(tree));
        }
        let bank = Arc::new(bank);
        let large = Machine::needs_memory(fetch.size);
        let lend = || Lent {
            walk: vec![0; WALK_MEMORY],
            window: vec![0; WINDOW_MEMORY],
            bank: Teller(bank.clone()),
        };
        let lent = large.then(lend);
        let served = if large { partial::for_reading(&part).map(Arc::new) } else { None };
        let (content, part, shared) = (fetch.content, Arc::new(part), !fetch.seekers.is_empty());
        self.running.insert(fetch.ticket, Running { content, part, served, bank, shared });
        self.swarm.handle_fetch(at, &fetch, lent);
    }

    /// See [`super::Fetcher::sources`].
    pub fn sources(&mut self, at: Instant, ticket: Ticket, holders: SlotSet, seekers: SlotSet) {
        let stay = self.swarm.linked().0 & !seekers.0;
        for fetch in self.waiting.iter_mut().flatten().map(|j| &mut j.fetch).filter(|f| f.ticket == ticket) {
            (fetch.from, fetch.seekers) = (SlotSet(holders.0 | fetch.from.0 & stay), seekers);
        }
        if let Some(running) = self.running.get_mut(&ticket) {
            running.shared |= !seekers.is_empty();
        }
        self.swarm.handle_sources(at, ticket, holders, seekers);
    }
    /// See [`super::Fetcher::cancel`].
    pub fn cancel(&mut self, ticket: Ticket) {
        // One that waits is begun without sources, and fails at once.
        if let Some(job) = self.waiting.iter_mut().flatten().find(|j| j.fetch.ticket == ticket) {
            (job.fetch.from, job.fetch.seekers) = (SlotSet(0), SlotSet(0));
        }
        self.swarm.handle_cancel(ticket);
    }

    /// Where the bytes of a fetch go.
    pub fn part(&self, ticket: Ticket) -> Option<Arc<File>> {
        self.running.get(&ticket).map(|r| r.part.clone())
    }
    /// The same, for others to read what is verified.
    pub fn served(&self, ticket: Ticket) -> Option<Arc<File>> {
        self.running.get(&ticket)?.served.clone()
    }
    /// Whether a content is being fetched.
    pub fn is_fetched(&self, content: &ContentId) -> bool {
        self.running.values().any(|r| r.content == *content)
    }
    /// What is known of the tree of a content that is being fetched.
    pub fn tree(&self, content: &ContentId) -> Option<Arc<Bank>> {
        self.running.values().find(|r| r.content == *content).map(|r| r.bank.clone())
    }
    /// What is here of what a fetch gets.
    pub fn bank(&self, ticket: Ticket) -> Option<Arc<Bank>> {
        self.running.get(&ticket).map(|r| r.bank.clone())
    }
    /// Keeps a chunk until what is missing of it comes.
    pub fn keep_patch(&mut self, ticket: Ticket, offset: u64, patch: Patch) {
        if self.running.contains_key(&ticket) {
            self.patches.insert((ticket, offset), patch);
        }
    }
    /// Gives it out.
    pub fn take_patch(&mut self, ticket: Ticket, offset: u64) -> Option<Patch> {
        self.patches.remove(&(ticket, offset))
    }
    /// Tells the machine what became of a body.
    pub fn body(&mut self, at: Instant, slot: Slot, id: u32, body: Body) {
        self.swarm.handle_body(at, slot, id, body);
    }
    /// Whether a link to that device stands.
    pub fn is_linked(&self, slot: Slot) -> bool {
        self.chosen.contains_key(&slot)
    }

    fn opened(&mut self, shared: &Shared, link: &Arc<Link>, deeds: &mut Deeds) {
        // The book may have changed since the handshake.
        let book = shared.book.read().expect("no thread panics with it");
        if self.stopped || book.of(&link.key).is_none_or(|k| k.slot != link.slot) {
            deeds.closes.push(link.clone());
            if link.dialled {
                self.swarm.handle_unreachable(shared.now(), link.slot);
            }
            return;
        }
        drop(book);
        self.links.push(link.clone());
        match self.chosen.entry(link.slot) {
            Entry::Vacant(entry) => {
                entry.insert(link.clone());
                self.swarm.handle_open(shared.now(), link.slot);
            }
            // Where both ends have dialled, each asks on its own link, and bodies do not hold up asks.
            Entry::Occupied(mut entry) if link.dialled && !entry.get().dialled => {
                entry.insert(link.clone());
            }
            Entry::Occupied(_) => {}
        }
        let of_it = |l: &&Arc<Link>| l.slot == link.slot && !l.dialled;
        if self.links.iter().filter(of_it).count() > OF_ONE {
            deeds.closes.extend(self.links.iter().find(of_it).cloned());
        }
        if self.links.len() > WARM {
            let used = |l: &Arc<Link>| l.used.load(Ordering::Relaxed);
            let idle = |l: &&Arc<Link>| used(l) + FRESH < shared.millis();
            deeds.closes.extend(self.links.iter().filter(idle).min_by_key(|l| used(l)).cloned());
        }
    }

    fn closed(&mut self, shared: &Shared, link: &Arc<Link>) {
        self.links.retain(|l| !Arc::ptr_eq(l, link));
        let is_chosen = self.chosen.get(&link.slot).is_some_and(|l| Arc::ptr_eq(l, link));
        // What was asked on one that was chosen once is not answered any more, either.
        if is_chosen || link.asked.load(Ordering::Relaxed) && self.is_linked(link.slot) {
            // Both ends may have dialled: then another stands.
            if let Some(other) = self.links.iter().find(|l| l.slot == link.slot) {
                self.chosen.insert(link.slot, other.clone());
                self.swarm.handle_open(shared.now(), link.slot);
            } else {
                self.chosen.remove(&link.slot);
                self.swarm.handle_closed(shared.now(), link.slot);
            }
        }
    }
}

impl Shared {
    /// See [`super::Fetcher::start`].
    pub fn start(setup: Setup) -> Arc<Shared> {
        let Setup { key, book, source, reports, wake, seed } = setup;
        let hub = Hub {
            swarm: Box::default(),
            running: HashMap::new(),
            patches: HashMap::new(),
            waiting: Default::default(),
            minding: false,
            ending: Vec::new(),
            trees: VecDeque::new(),
            arrived: Vec::new(),
            links: Vec::new(),
            chosen: HashMap::new(),
            stopped: false,
        };
        let shared = Arc::new(Shared {
            hub: Mutex::new(hub),
            tick: Condvar::new(),
            key,
            book,
            source,
            reports: Mutex::new(reports),
            wake,
            rng: Mutex::new(Rng::from_seed(seed)),
            admission: Mutex::new(Admission::new()),
            strangers: dial::Strangers::default(),
            threads: AtomicUsize::new(0),
            dials: dial::Dials::default(),
            errands: Mutex::new(None),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            uploads: Uploads::default(),
            gone: Gone::default(),
            stopping: AtomicBool::new(false),
            started: std::time::Instant::now(),
        });
        let minding = shared.clone();
        let spawned = std::thread::Builder::new().name("data-time".into()).spawn(move || minding.mind_time());
        spawned.expect("the system has a thread left at the start");
        shared
    }

    /// The time by the shared clock.
    pub fn now(&self) -> Instant {
        Instant(self.started.elapsed().as_micros() as u64)
    }
    /// The same in milliseconds.
    pub fn millis(&self) -> u64 {
        self.now().0 / 1000
    }
    /// A generator of its own for one handshake.
    pub fn rng(&self) -> Rng {
        Rng::from_seed(self.rng.lock().expect("no thread panics with it").bytes())
    }
    /// The lock.
    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().expect("no thread panics with it")
    }
    /// Tells the hub a fact, and does what follows.
    pub fn with(self: &Arc<Self>, fact: impl FnOnce(&mut Hub, Instant)) {
        let mut deeds = Deeds::default();
        let mut hub = self.hub();
        fact(&mut hub, self.now());
        hub.drain(self, &mut deeds);
        drop(hub);
        deeds.carry_out(self);
    }

    /// See [`super::Fetcher::fetch`].
    pub fn fetch(self: &Arc<Self>, jobs: Vec<Job>) {
        let (larges, smalls) = jobs.into_iter().map(Prepared::of).partition::<Vec<_>, _>(Prepared::is_large);
        self.with(|hub, _| {
            hub.waiting[0].extend(smalls);
            hub.waiting[1].extend(larges);
        });
    }
    /// See [`super::Fetcher::connect_back`].
    pub fn connect_back(self: &Arc<Self>, slot: Slot) {
        if !self.hub().is_linked(slot) {
            dial::dial(self, slot);
        }
    }
    /// See [`super::Fetcher::limit`].
    pub fn limit(self: &Arc<Self>, up: Option<u64>, down: Option<u64>) {
        self.uploads.limit(up);
        self.with(|hub, _| hub.swarm.handle_limit(down));
    }
    /// See [`super::Fetcher::traffic`].
    pub fn traffic(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
    /// See [`super::Fetcher::book_changed`].
    pub fn book_changed(self: &Arc<Self>) {
        let book = self.book.read().expect("no thread panics with it").clone();
        let mut deeds = Deeds::default();
        let mut hub = self.hub();
        let known = |l: &&Arc<Link>| book.of(&l.key).is_none_or(|k| k.slot != l.slot);
        deeds.closes.extend(hub.links.iter().filter(known).cloned());
        hub.swarm.handle_me(book.me);
        book.devices.iter().for_each(|k| hub.swarm.handle_reachable(k.slot));
        hub.drain(self, &mut deeds);
        drop(hub);
        deeds.carry_out(self);
    }
    /// See [`super::Fetcher::stop`].
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let mut hub = self.hub();
        hub.stopped = true;
        hub.links.iter().for_each(|l| l.close());
        drop(hub);
        *self.errands.lock().expect("no thread panics with it") = None;
        self.tick.notify_all();
    }

    /// A link stands.
    pub fn link_opened(self: &Arc<Self>, link: &Arc<Link>) {
        let mut deeds = Deeds::default();
        let mut hub = self.hub();
        hub.opened(self, link, &mut deeds);
        hub.drain(self, &mut deeds);
        drop(hub);
        deeds.carry_out(self);
    }
    /// A device said what it has of a content; false if that is not fetched here.
    pub fn have(&self, slot: Slot, have: &Have<'_>, deeds: &mut Deeds) -> bool {
        let mut hub = self.hub();
        let fetched = hub.swarm.handle_have(self.now(), slot, have);
        hub.drain(self, deeds);
        fetched
    }
    /// It does not any more.
    pub fn link_closed(self: &Arc<Self>, link: &Arc<Link>) {
        self.with(|hub, _| hub.closed(self, link));
    }

    /// The thread that minds the time: wakes the machine at its deadlines.
    fn mind_time(self: Arc<Self>) {
        let mut hub = self.hub();
        while !self.stopping.load(Ordering::Relaxed) {
            let over = hub.let_go();
            let Some(due) = hub.swarm.poll_timeout() else {
                hub.minding = true;
                let most = over.unwrap_or(Duration::MAX);
                hub = self.tick.wait_timeout(hub, most).expect("no thread panics with it").0;
                continue;
            };
            let left = due.since(self.now());
            if left.0 > 0 {
                let left = Duration::from_micros(left.0);
                hub = self.tick.wait_timeout(hub, left).expect("no thread panics with it").0;
                continue;
            }
            let mut deeds = Deeds::default();
            hub.swarm.handle_timeout(self.now());
            hub.drain(&self, &mut deeds);
            drop(hub);
            deeds.carry_out(&self);
            hub = self.hub();
        }
    }
}
