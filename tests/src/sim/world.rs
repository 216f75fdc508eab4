//! What happens when: a heap of events in virtual time, and the means of looking at what came of it.

use super::audit;
use super::check::{self, Ledger};
use super::device::Device;
use super::drive::Work;
use super::excuse::Leave;
use super::faults::Faults;
use super::fs::{Bytes, Ino};
use super::less::Less;
use super::net::{Link, Station};
use super::rand::{For, Luck, Rand};
use dartsync_core::ids::Ticket;
use dartsync_core::peer::Outcome;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// µs in a second.
pub const SECOND: u64 = 1_000_000;
/// µs in a millisecond.
pub const MS: u64 = 1_000;

/// More events than any seed has that comes to rest (most have 10,000, twelve restless users a hundred times that).
const ENDLESS: u64 = 2_000_000;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A device's timer.
    Timer { d: usize, timer: u64 },
    /// The tracker's timer.
    Tick { timer: u64 },
    /// A dial ends.
    Dialled { d: usize, life: u32, ok: bool },
    /// The oldest item of a link's direction arrives.
    Arrive { link: u32, up: bool },
    /// The driver acts on the disk.
    Act { d: usize, life: u32, ticket: Ticket, work: Box<Work> },
    /// The machine is told.
    Done { d: usize, life: u32, ticket: Ticket, outcome: Box<Outcome>, trash: Vec<super::acts::Trashed> },
    /// The next batch of a scan.
    Scan { d: usize, life: u32, ticket: Ticket, dir: Vec<u8>, after: Vec<u8> },
    /// A fetch is tried.
    Fetch { d: usize, life: u32, ticket: Ticket, tries: u32 },
    /// What lies in the trash, and is not in the store, is filed there.
    File { d: usize, life: u32 },
    /// The inotify reader reads.
    Read { d: usize, life: u32 },
    /// A user does something.
    User { d: usize },
    /// A user writes on into an open file, or closes it.
    Write { d: usize, ino: Ino, place: (Ino, Vec<u8>), deed: u64, left: u32 },
    /// A user decides something.
    Life(super::life::Life),
    /// Something breaks, or is mended.
    Fault(super::faults::Fault),
}

struct At {
    at: u64,
    n: u64,
    what: Event,
}

impl PartialEq for At {
    fn eq(&self, o: &At) -> bool {
        (self.at, self.n) == (o.at, o.n)
    }
}
impl Eq for At {}
impl PartialOrd for At {
    fn partial_cmp(&self, o: &At) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for At {
    fn cmp(&self, o: &At) -> std::cmp::Ordering {
        (self.at, self.n).cmp(&(o.at, o.n))
    }
}

/// Memory for the trackers of a run: each start takes a piece.
pub struct Pool(Vec<Vec<u8>>);

impl Pool {
    /// Pieces of so many bytes.
    pub fn new(bytes: usize) -> Pool {
        Pool((0..12).map(|_| vec![0; bytes]).collect())
    }
}

/// See the module.
pub struct World<'m> {
    pub(super) now: u64,
    heap: BinaryHeap<Reverse<At>>,
    count: u64,
    pub(super) devices: Vec<Device>,
    pub(super) station: Station<'m>,
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) last_link: u32,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    pub(super) leave: Leave,
    pub(super) luck: Luck,
    /// Of what a user does now.
    pub(super) user: Rand,
    /// Number of the last content that a user made.
    pub(super) made: u64,
    /// When a device was last asked to be put out once more.
    pub(super) asked_at: u64,
    /// When it was last looked whether a device's folder is to be linked anew.
    pub(super) linked_at: u64,
    /// Whether users still edit.
    pub(super) editing: bool,
    /// What is left out.
    pub(super) less: Less,
    /// What users did: whose, and which of their deeds.
    pub(super) deeds: Vec<(usize, u64)>,
    /// Mean pause between a user's edits (µs).
    pub(super) pace: u64,
    /// What was broken first.
    pub(super) broken: Option<String>,
    /// Two stricter promises are judged, too, that not every seed keeps yet: no needless copies, no edits but users'.
    pub(super) audits: bool,
    /// Frames that were sent, and whether to the tracker, when they are wanted.
    pub(super) recorded: Option<Vec<(bool, Vec<u8>)>>,
    /// What it has come to see.
    pub(super) reached: super::reached::Reached,
    /// Lines are printed.
    pub(super) print: bool,
    pub(super) lines: u64,
    hash: u64,
    watched: String,
    /// Every event so far, and how many more there may be.
    pub(super) events: u64,
    pub(super) events_left: u64,
}

impl<'m> World<'m> {
    /// A home of `n` devices that have not joined yet.
    pub fn new(seed: u64, n: usize, pool: &'m mut Pool) -> World<'m> {
        let luck = Luck::new(seed);
        let mut devices: Vec<Device> =
            (0..n).map(|i| Device::new(i, luck.of(For::Device, i as u64, 0))).collect();
        for (i, d) in devices.iter_mut().enumerate() {
            let mut rand = luck.of(For::Device, i as u64, 1);
            if rand.chance(1, 10) {
                // As where a mount has a mask, or a file system has no modes.
                d.fs.modes = *rand.pick(&[(0o700, 0), (0o755, 0), (0, 0o755)]);
            }
        }
        let station = Station::new(pool.0.iter_mut().map(|b| &mut b[..]).collect());
        let (user, faults) = (luck.of(For::Deed, 0, 0), Faults::none(luck.of(For::Strike, 0, 0)));
        World {
            now: 0,
            heap: BinaryHeap::new(),
            count: 0,
            devices,
            station,
            links: BTreeMap::new(),
            last_link: 0,
            faults,
            ledger: Ledger::default(),
            leave: Leave::default(),
            luck,
            user,
            made: 0,
            asked_at: 0,
            linked_at: 0,
            editing: false,
            less: Less::default(),
            deeds: Vec::new(),
            pace: SECOND,
            broken: None,
            audits: false,
            recorded: None,
            reached: Default::default(),
            print: false,
            lines: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            watched: String::new(),
            events: 0,
            events_left: u64::MAX,
        }
    }

    /// What is drawn at this moment for a device, about `which`.
    pub(super) fn draw(&mut self, what: For, d: usize, which: u64) -> Rand {
        self.luck.at(self.now, what, d, which)
    }

    pub(super) fn after(&mut self, delay: u64, what: Event) {
        self.count += 1;
        self.heap.push(Reverse(At { at: self.now + delay.max(1), n: self.count, what }));
    }

    /// One line of the trace: who (0: the tracker, then devices), what, two numbers.
    pub(super) fn note(&mut self, who: usize, what: &str, a: u64, b: u64) {
        for n in [self.now, who as u64, a, b] {
            self.hash = (self.hash ^ n).wrapping_mul(0x100_0000_01b3).rotate_left(23);
        }
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.print {
            self.lines += 1;
            let name = if who == 0 { "T".into() } else { format!("D{}", who - 1) };
            println!("{:>12} {name:<4} {what:<22} {a:>20} {b:>12}", self.now);
        }
    }
    /// More about the last line, only when lines are printed.
    pub(super) fn explain(&self, f: impl FnOnce() -> String) {
        if self.print && std::env::var_os("SIM_EXPLAIN").is_some() {
            println!("{:>17} {}", "", f());
        }
    }
    /// The trace so far, as a number.
    pub fn trace(&self) -> u64 {
        self.hash
    }
    pub(super) fn broke(&mut self, why: impl Into<String>) {
        if self.broken.is_none() {
            let why = why.into();
            self.note(0, "broken", 0, 0);
            self.broken = Some(format!("at {}: {why}", self.now));
        }
    }
    pub(super) fn must(&mut self, r: Result<(), String>) {
        if let Err(why) = r {
            self.broke(why);
        }
    }

    /// Lets time pass, unless something breaks.
    pub fn run_for(&mut self, span: u64) {
        let until = self.now + span;
        while self.broken.is_none() && self.heap.peek().is_some_and(|Reverse(a)| a.at <= until) {
            let Reverse(At { at, what, .. }) = self.heap.pop().expect("peeked");
            self.now = at;
            (self.events, self.events_left) = (self.events + 1, self.events_left - 1);
            if self.events_left == 0 {
                return self.broke("given up");
            }
            if self.events > ENDLESS {
                return self.broke(format!("it goes on and on: {ENDLESS} events"));
            }
            self.happen(what);
        }
        if self.broken.is_none() {
            self.now = until;
        }
    }

    fn happen(&mut self, what: Event) {
        // What would reach a stopped program waits for it.
        if let Some(d) = reaches(&what) {
            let asleep = self.devices[d].asleep;
            if asleep > self.now {
                let delay = asleep - self.now;
                return self.after(delay, what);
            }
        }
        match what {
            Event::Timer { d, timer } => self.timer(d, timer),
            Event::Tick { timer } => self.tick(timer),
            Event::Dialled { d, life, ok } => self.dialled(d, life, ok),
            Event::Arrive { link, up } => self.arrive(link, up),
            Event::Act { d, life, ticket, work } => self.act(d, life, ticket, *work),
            Event::Done { d, life, ticket, outcome, trash } => self.done(d, life, ticket, *outcome, trash),
            Event::Scan { d, life, ticket, dir, after } => self.scan(d, life, ticket, dir, after),
            Event::Fetch { d, life, ticket, tries } => self.fetch(d, life, ticket, tries),
            Event::File { d, life } => self.file_unknown(d, life),
            Event::Read { d, life } => self.read(d, life),
            Event::User { d } => self.user_turn(d),
            Event::Write { d, ino, place, deed, left } => self.write_on(d, ino, place, (deed, left)),
            Event::Life(l) => self.decide(l),
            Event::Fault(f) => self.fault(f),
        }
    }

    /// Lets every device join, one by one, and link the one folder.
    pub fn gather(&mut self) {
        for d in (0..self.devices.len()).filter(|d| !self.devices[*d].late).collect::<Vec<_>>() {
            self.join(d);
        }
        for _ in 0..600 {
            if self.broken.is_some() || self.devices.iter().all(|d| d.absent || d.late || d.folder.is_some())
            {
                return;
            }
            self.run_for(SECOND / 10);
        }
        self.broke("the devices did not join");
    }

    /// Whether every member is in sync, by its own word.
    pub fn all_in_sync(&mut self) -> bool {
        if !self.unwanted().is_empty() {
            return false;
        }
        let (now, links) = (self.now, &self.links);
        self.devices.iter_mut().filter(|d| d.is_member()).all(|d| {
            let at = d.now(now);
            // A link whose other end is gone counts for a quarter of a minute at most.
            let met = d.link.is_some_and(|l| links.get(&l).is_some_and(Link::is_whole));
            let quiet = met && !d.reading && !d.filing && d.fs.told.is_empty() && d.folder.is_some();
            quiet && d.peer.as_mut().is_some_and(|p| p.in_sync(&mut d.ix, at))
        })
    }

    /// Waits until all are in sync; then trees and table must be the same. Breaks at the bound.
    pub fn converge(&mut self, bound: u64) {
        let until = self.now + bound;
        while self.broken.is_none() && self.now < until {
            self.approve_held();
            self.put_out();
            self.link_anew();
            self.run_for(SECOND / 4);
            if self.all_in_sync() {
                self.run_for(SECOND);
                // Each speaks for itself alone: what is still under way, nobody knows.
                if self.all_in_sync() && self.links.values().all(Link::is_idle) {
                    break;
                }
            }
        }
        if self.broken.is_some() {
            return;
        }
        if !self.all_in_sync() {
            let why: String = self.unsynced().chars().take(600).collect();
            return self.broke(format!("not in sync after {} s: {why}", bound / SECOND));
        }
        let same = self.compare();
        self.must(same);
    }

    fn compare(&mut self) -> Result<(), String> {
        let members: Vec<usize> = (0..self.devices.len()).filter(|d| self.devices[*d].is_member()).collect();
        for pair in members.windows(2) {
            check::same_trees(&self.devices[pair[0]], &self.devices[pair[1]])
                .map_err(|e| format!("D{} and D{}: {e}", pair[0], pair[1]))?;
        }
        if let (Some(t), Some(d)) = (&self.station.tracker, members.first()) {
            check::same_table(t, &self.devices[*d])?;
            audit::holders_are_true(t, &self.devices)?;
            audit::nothing_invented_is_empty(t)?;
            if self.audits && !self.leave.anew() {
                audit::no_needless_copies(&self.ledger, &self.devices[*d])?;
            }
        }
        Ok(())
    }

    fn approve_held(&mut self) {
        for d in 0..self.devices.len() {
            let now = self.devices[d].now(self.now);
            let dev = &mut self.devices[d];
            let Some(p) = dev.peer.as_mut() else { continue };
            let held = p.folder_view(&mut dev.ix, now, super::device::F);
            if held.is_some_and(|v| v.state == dartsync_core::peer::State::Held) {
                p.approve(&mut dev.ix, now, super::device::F);
                self.reach(super::reached::State::Held);
                self.note(d + 1, "approve", 0, 0);
                self.pump(d);
            }
        }
    }

    /// Prints a row at each change, when lines are printed and `SIM_WATCH` is `DEVICE:PATH`.
    pub(super) fn watch_row(&mut self, d: usize) {
        if !self.print {
            return;
        }
        let Ok(want) = std::env::var("SIM_WATCH") else { return };
        let Some((_, path)) = want.split_once(':').filter(|w| w.0 == d.to_string()) else { return };
        use dartsync_core::peer::Index;
        let dev = &mut self.devices[d];
        let row = dartsync_core::path::Path::new(path.as_bytes())
            .ok()
            .and_then(|p| dev.ix.find(super::device::F, p));
        let mut t = Default::default();
        let text = match row {
            Some(row) => {
                dev.ix.load(row, &mut t);
                format!("  ROW {} {:?} {t:?}", row.0, dev.ix.due_of(row))
            }
            None => "  ROW none".into(),
        };
        if text != self.watched {
            println!("{text}");
            self.watched = text;
        }
    }

    /// Who is not in sync and why, for messages.
    pub(super) fn unsynced(&mut self) -> String {
        let mut out = String::new();
        let explain = self.print && std::env::var_os("SIM_EXPLAIN").is_some();
        for i in 0..self.devices.len() {
            let now = self.devices[i].now(self.now);
            let d = &mut self.devices[i];
            if !d.is_member() {
                continue;
            }
            let view = d.peer.as_mut().and_then(|p| p.folder_view(&mut d.ix, now, super::device::F));
            let state = view.map_or("not running", |v| v.state.word());
            if state == "in sync" {
                continue;
            }
            out += &format!("D{i} {state}");
            use dartsync_core::peer::{Index, Lane};
            for lane in Lane::ALL {
                let mut after = None;
                while let Some((key, row)) = d.ix.due(super::device::F, lane, after) {
                    after = Some((key, row));
                    let (_, path) = d.path(row);
                    let mut t = Default::default();
                    d.ix.load(row, &mut t);
                    if explain {
                        println!("D{i} {t:?}");
                        let what = t.withdrawn.as_ref().or(t.remote.as_ref()).map(|r| r.record.content);
                        let mut after = None;
                        while let Some(x) = what.and_then(|w| d.ix.with_content(&w, after)) {
                            after = Some(x);
                            let (f, p) = d.path(x);
                            d.ix.load(x, &mut t);
                            println!("   has {f:?} {} {t:?}", String::from_utf8_lossy(&p));
                        }
                    }
                    let path = String::from_utf8_lossy(&path).into_owned();
                    out += &format!(" [{lane:?} {path} {:?}]", t.trouble);
                }
            }
            out += "; ";
        }
        out
    }

    /// The promises that are judged at the end.
    pub fn judge(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if self.audits {
            let r = self.ledger.edits_are_users(self.leave);
            self.must(r);
        }
        let leave = Leave { sinks: self.leave.may_sink() && !self.audits, ..self.leave };
        let r = self.ledger.nothing_lost(&self.devices, leave);
        self.must(r);
        let member = self.devices.iter().position(|d| d.is_member());
        if let Some(d) = member.filter(|_| self.audits || !self.leave.forgets) {
            let r = self.ledger.nothing_returned(&self.devices[d]);
            self.must(r);
        }
    }
    /// What was broken, if anything.
    pub fn verdict(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(super) fn fresh(&mut self, d: usize, what: &str) -> Bytes {
        self.made += 1;
        Bytes::file(format!("{what}{}-{d}", self.made).as_bytes())
    }
}

fn reaches(e: &Event) -> Option<usize> {
    match e {
        Event::Timer { d, .. }
        | Event::Dialled { d, .. }
        | Event::Act { d, .. }
        | Event::Done { d, .. }
        | Event::Scan { d, .. }
        | Event::Fetch { d, .. }
        | Event::File { d, .. }
        | Event::Read { d, .. } => Some(*d),
        _ => None,
    }
}
