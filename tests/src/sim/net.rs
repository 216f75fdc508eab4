//! Links between devices and the tracker, and the tracker: frames come in order or not at all, when the net likes.

use super::rand::{For, Rand};
use super::world::{Event, MS, SECOND, World};
use dartsync_core::ids::LinkId;
use dartsync_core::limits;
use dartsync_core::sans_io::Sent;
use dartsync_core::time::{Instant, Now};
use dartsync_core::tracker::{self, Identity, Past, Tracker};
use dartsync_core::wire::message::Addr;
use std::collections::VecDeque;

/// Frames under way in one direction, at most.
const WINDOW: usize = 6;

/// What travels.
#[derive(Debug)]
pub(super) enum Item {
    Frame(Vec<u8>),
    Close,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(super) struct Way {
    items: VecDeque<Item>,
    /// When its last item arrives.
    last: u64,
    /// Nothing gets through: what is under way waits.
    stalled: bool,
}

/// A link between a device and the tracker.
#[derive(Debug)]
pub(super) struct Link {
    pub d: usize,
    up: Way,
    down: Way,
    /// The device's end is open.
    pub here: bool,
    /// The tracker's end: of which start of it; none: not (or no longer) open.
    there: Option<u32>,
    /// Which start of the tracker it leads to.
    to: u32,
    met: bool,
}

impl Link {
    /// Both ends are open.
    pub fn is_whole(&self) -> bool {
        self.here && self.there.is_some()
    }
    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.up.items.is_empty() && self.down.items.is_empty()
    }
}

/// The tracker's machine and what it keeps.
pub struct Station<'m> {
    pub(super) tracker: Option<Box<Tracker<'m>>>,
    memory: Vec<&'m mut [u8]>,
    pub(super) roster: Option<Vec<u8>>,
    pub(super) life: u32,
    timer: u64,
    mono: u64,
}

impl<'m> Station<'m> {
    pub(super) fn new(memory: Vec<&'m mut [u8]>) -> Station<'m> {
        Station { tracker: None, memory, roster: None, life: 0, timer: 0, mono: 77 }
    }
    pub(super) fn now(&self, now: u64) -> Now {
        Now { at: Instant(now + self.mono), wall: super::device::EPOCH + now }
    }
    /// Whether another start has memory.
    pub(super) fn can_restart(&self) -> bool {
        !self.memory.is_empty()
    }
    fn start(&mut self, lost: bool, mut rand: Rand) {
        let Some(memory) = self.memory.pop() else { return };
        self.life += 1;
        self.mono = rand.below(1 << 40);
        if lost {
            self.roster = None;
        }
        let past = match &self.roster {
            None if self.life == 1 => Past::New,
            None => Past::Lost,
            Some(r) => Past::Sealed(r),
        };
        let config = tracker::Config {
            roster_key: [9; 32],
            seed: rand.seed(),
            past,
            founder: None,
            recovery: None,
            home: "home",
            version: "1",
        };
        self.tracker = Some(Box::new(Tracker::new(config, memory)));
    }
}

impl World<'_> {
    /// The tracker starts: with its stored roster, or without.
    pub(super) fn start_tracker(&mut self, lost: bool) {
        assert!(self.station.tracker.is_none());
        let rand = self.draw(For::Tracker, 0, 0);
        self.station.start(lost, rand);
        self.note(0, if lost { "start without roster" } else { "start" }, self.station.life.into(), 0);
        self.pump_tracker();
    }
    /// It stops; links die, some at once, some unnoticed.
    pub(super) fn stop_tracker(&mut self) {
        self.station.tracker = None;
        self.ledger.reconsider(None, &mut self.devices, &super::check::Table::new());
        self.note(0, "stop", 0, 0);
        let links: Vec<u32> = self.links.keys().copied().collect();
        for id in links {
            let d = self.links[&id].d;
            let told = self.draw(For::Break, d, 3).chance(1, 2);
            let link = self.links.get_mut(&id).expect("listed");
            link.there = None;
            link.down.items.clear();
            if told {
                self.send(id, false, Item::Close);
            }
        }
    }

    /// A device dials.
    pub(super) fn dial(&mut self, d: usize) {
        let life = self.devices[d].life;
        let mut rand = self.draw(For::Dial, d, 0);
        let never = self.faults.is_cut(d) && rand.chance(1, 2);
        let fails =
            self.station.tracker.is_none() || self.faults.is_cut(d) || self.faults.dial_fails(&mut rand);
        let delay = match (never, fails) {
            (true, _) => 20 * SECOND,
            (_, true) => rand.within(MS, 2 * SECOND),
            _ => self.latency(d, 0),
        };
        self.after(delay, Event::Dialled { d, life, ok: !never && !fails });
    }
    pub(super) fn dialled(&mut self, d: usize, life: u32, ok: bool) {
        let dev = &mut self.devices[d];
        if dev.life != life || dev.peer.is_none() {
            return;
        }
        let now = dev.now(self.now);
        let peer = dev.peer.as_mut().expect("seen");
        if !ok || self.station.tracker.is_none() {
            peer.handle_dial_failed(now);
            self.note(d + 1, "dial failed", 0, 0);
            return self.pump(d);
        }
        self.last_link += 1;
        let id = self.last_link;
        peer.handle_open(&mut dev.ix, now, LinkId(id));
        dev.link = Some(id);
        let stalled = self.faults.is_cut(d);
        let mut link = Link {
            d,
            up: Way::default(),
            down: Way::default(),
            here: true,
            there: None,
            to: self.station.life,
            met: false,
        };
        (link.up.stalled, link.down.stalled) = (stalled, stalled);
        self.links.insert(id, link);
        self.note(d + 1, "link", id.into(), 0);
        self.pump(d);
    }

    fn latency(&mut self, d: usize, which: u64) -> u64 {
        let mut rand = self.draw(For::Net, d, which);
        match self.faults.is_clogged(d) {
            true => rand.within(50 * MS, 3 * SECOND),
            false => rand.within(100, 3 * MS),
        }
    }
    /// Puts an item on its way.
    pub(super) fn send(&mut self, id: u32, up: bool, item: Item) {
        let Some(d) = self.links.get(&id).map(|l| l.d) else { return };
        if let (Some(all), Item::Frame(f)) = (&mut self.recorded, &item) {
            all.push((up, f.clone()));
        }
        // The first byte of a frame says what it is.
        let first = if let Item::Frame(f) = &item { u64::from(f[0]) } else { 99 };
        let at = self.now + self.latency(d, 2 + 2 * first + u64::from(up));
        let link = self.links.get_mut(&id).expect("seen");
        let way = if up { &mut link.up } else { &mut link.down };
        way.items.push_back(item);
        way.last = (way.last + 1).max(at);
        let delay = way.last - self.now;
        self.after(delay, Event::Arrive { link: id, up });
    }
    /// Nothing gets through on the links of a device, or all does again. `up`, `down`: which ways.
    pub(super) fn stall(&mut self, d: usize, up: bool, down: bool) {
        let mine: Vec<u32> = self.links.iter().filter(|(_, l)| l.d == d).map(|(i, _)| *i).collect();
        for id in mine {
            for (is_up, stalled) in [(true, up), (false, down)] {
                let link = self.links.get_mut(&id).expect("listed");
                let way = if is_up { &mut link.up } else { &mut link.down };
                let freed = way.stalled && !stalled;
                way.stalled = stalled;
                if freed {
                    let n = way.items.len() as u64;
                    way.last = way.last.max(self.now + n);
                    (0..n).for_each(|i| self.after(1 + i, Event::Arrive { link: id, up: is_up }));
                }
            }
        }
    }
    /// A link breaks: some of what is under way still arrives, perhaps.
    pub(super) fn reset(&mut self, d: usize) {
        let mine: Vec<u32> = self.links.iter().filter(|(_, l)| l.d == d).map(|(i, _)| *i).collect();
        for id in mine {
            for up in [true, false] {
                let keep = self.draw(For::Break, d, up.into()).below(WINDOW as u64) as usize;
                let link = self.links.get_mut(&id).expect("listed");
                let way = if up { &mut link.up } else { &mut link.down };
                way.items.truncate(keep);
                way.stalled = false;
                self.send(id, up, Item::Close);
            }
            self.note(d + 1, "reset", id.into(), 0);
        }
    }

    /// The oldest item of a direction arrives.
    pub(super) fn arrive(&mut self, id: u32, up: bool) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        let d = link.d;
        let way = if up { &mut link.up } else { &mut link.down };
        if way.stalled {
            return;
        }
        if !up && self.devices[d].asleep > now {
            let delay = self.devices[d].asleep - now;
            return self.after(delay, Event::Arrive { link: id, up });
        }
        let Some(item) = way.items.pop_front() else { return };
        let live = self.station.tracker.is_some() && link.to == self.station.life;
        match (up, item) {
            (true, Item::Frame(f)) if live => self.hand_to_tracker(id, &f),
            (true, Item::Frame(_)) => {}
            (true, Item::Close) => self.closed_there(id),
            (false, Item::Frame(f)) if link.here => self.hand_to_peer(id, d, &f),
            (false, Item::Close) if link.here => self.closed_here(id, d),
            (false, _) => {}
        }
        // There is room on the way again.
        if up { self.pump(d) } else { self.pump_tracker() }
    }
    fn hand_to_tracker(&mut self, id: u32, frame: &[u8]) {
        let now = self.station.now(self.now);
        let link = self.links.get_mut(&id).expect("seen");
        let d = link.d;
        let t = self.station.tracker.as_mut().expect("seen");
        if !link.met {
            link.met = true;
            let dev = &self.devices[d];
            let who = Identity { key: dev.key, invite: dev.invite };
            if let Err(e) = t.handle_open(now, LinkId(id), who, Addr::V4([10, 0, 0, d as u8], 9)) {
                self.note(0, e.why, d as u64, 0);
                self.send(id, false, Item::Close);
                return;
            }
            link.there = Some(self.station.life);
        }
        if link.there.is_none() {
            return;
        }
        let taken = t.handle_frame(now, LinkId(id), frame);
        self.note(0, "frame", id.into(), frame.len() as u64);
        if let Err(e) = taken {
            self.note(0, e.why, id.into(), d as u64);
            self.explain(|| format!("rejected: {}", e.why));
            if !self.faults.may_reject {
                self.broke(format!("the tracker rejects a frame of D{d}: {}", e.why));
            }
            self.hang_there(id);
        }
        self.pump_tracker();
    }
    fn hang_there(&mut self, id: u32) {
        let now = self.station.now(self.now);
        if let Some(link) = self.links.get_mut(&id).filter(|l| l.there.is_some()) {
            link.there = None;
            if let Some(t) = &mut self.station.tracker {
                t.handle_closed(now, LinkId(id));
            }
            self.send(id, false, Item::Close);
        }
    }
    fn closed_there(&mut self, id: u32) {
        let now = self.station.now(self.now);
        let Some(link) = self.links.get_mut(&id).filter(|l| l.there.is_some()) else { return };
        link.there = None;
        if let Some(t) = &mut self.station.tracker {
            t.handle_closed(now, LinkId(id));
            self.pump_tracker();
        }
    }
    /// The device's end closes, because the program ends or hangs up.
    pub(super) fn hang_here(&mut self, id: u32, told: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.here = false;
        if told {
            self.send(id, true, Item::Close);
        }
    }

    /// The tracker's timer.
    pub(super) fn tick(&mut self, timer: u64) {
        if timer != self.station.timer {
            return;
        }
        let now = self.station.now(self.now);
        if let Some(t) = &mut self.station.tracker {
            t.handle_timeout(now);
            self.pump_tracker();
        }
    }

    /// Drains the tracker.
    pub(super) fn pump_tracker(&mut self) {
        self.drain_tracker(false);
    }
    fn drain_tracker(&mut self, late: bool) {
        let now = self.station.now(self.now);
        let mut out = [0; limits::FRAME];
        loop {
            let mut quiet = true;
            while let Some(e) = self.station.tracker.as_mut().and_then(|t| t.poll_event()) {
                quiet = false;
                match e {
                    tracker::Event::SaveRoster => {
                        let t = self.station.tracker.as_ref().expect("it spoke");
                        self.station.roster = Some(t.sealed_roster().to_vec());
                    }
                    tracker::Event::Hang(link) => self.hang_there(link.0),
                    tracker::Event::Log(line) => self.explain(|| format!("log: {line}")),
                }
            }
            let Some(t) = &mut self.station.tracker else { return };
            let epoch = t.epoch();
            let mut sent = Vec::new();
            for (id, link) in self.links.iter().filter(|(_, l)| l.there.is_some()) {
                let mut room = WINDOW.saturating_sub(link.down.items.len());
                while room > 0 {
                    match t.poll_transmit(now, LinkId(*id), &mut out) {
                        Sent::Frame(n) => sent.push((*id, out[..n].to_vec())),
                        Sent::Again => {}
                        Sent::Idle => break,
                    }
                    room -= 1;
                    quiet = false;
                }
            }
            for (id, frame) in sent {
                let r = self.ledger.pushed(epoch, &frame, &self.devices);
                self.must(r);
                self.send(id, false, Item::Frame(frame));
            }
            if quiet {
                break;
            }
        }
        let t = self.station.tracker.as_ref().expect("it was drained");
        if let Some(at) = t.poll_timeout() {
            if at <= now.at && !late {
                self.station.tracker.as_mut().expect("as above").handle_timeout(now);
                return self.drain_tracker(true);
            }
            if at <= now.at {
                return self.broke("the tracker was drained and its next timeout is not later than now");
            }
            self.station.timer += 1;
            let timer = self.station.timer;
            self.after(at.since(now.at).0, Event::Tick { timer });
        }
        self.forget_links();
    }
    fn forget_links(&mut self) {
        self.links
            .retain(|_, l| l.here || l.there.is_some() || !l.up.items.is_empty() || !l.down.items.is_empty());
    }

    /// Frames of a device that are due and have room.
    pub(super) fn transmit(&mut self, d: usize) -> bool {
        let mut any = false;
        let mut out = [0; limits::FRAME];
        for _ in 0..64 {
            let dev = &mut self.devices[d];
            let Some(id) = dev.link else { return any };
            let room = self.links.get(&id).is_some_and(|l| l.here && l.up.items.len() < WINDOW);
            let now = dev.now(self.now);
            let Some(peer) = dev.peer.as_mut().filter(|_| room) else { return any };
            match peer.poll_transmit(&mut dev.ix, now, LinkId(id), &mut out) {
                Sent::Frame(n) => {
                    any = true;
                    let r = self.ledger.announced(dev, &out[..n], self.leave.forgot);
                    let r = r.and_then(|()| super::audit::had(dev, &out[..n]));
                    // Postcard numbers messages by their first byte: the last one is the ping.
                    if out[0] != PING {
                        dev.busy += 1;
                    }
                    self.note(d + 1, "send", out[0].into(), n as u64);
                    self.explain(|| explain_up(&out[..n]));
                    self.must(r);
                    self.send(id, true, Item::Frame(out[..n].to_vec()));
                }
                Sent::Again => any = true,
                Sent::Idle => return any,
            }
        }
        any
    }
}

/// The number of `ToTracker::Ping`.
const PING: u8 = 11;

/// A frame in words.
fn explain_up(frame: &[u8]) -> String {
    use dartsync_core::wire::message::{ToTracker, decode};
    match decode::<ToTracker<'_>>(frame) {
        Some(ToTracker::Announce(b)) => explain_batch(b),
        m => format!("{m:?}").chars().take(300).collect(),
    }
}
/// A batch of records in words.
pub(super) fn explain_batch(b: &[u8]) -> String {
    let mut r = dartsync_core::wire::batch::BatchReader::new(b);
    let mut s = String::from("records:");
    while let Ok(Some(e)) = r.entry() {
        let v: Vec<_> = e.record.version.entries().iter().map(|e| (e.tag.0, e.counter)).collect();
        s += &format!(
            " {:?} #{} {:?} {:?} fl{} ed{:?} par{:?} {v:?} held{}",
            e.path,
            e.seq.0,
            e.record.kind,
            e.record.content,
            e.record.flags.0,
            (e.record.edit.tag.0, e.record.edit.counter),
            e.record.parent.map(|p| (p.tag.0, p.counter)),
            e.flags.held
        );
    }
    s
}
