//! What breaks, and when it is mended: drawn per seed, some kinds switched off altogether.

use super::check::{Table, table, visible};
use super::device::F;
use super::excuse::{Contents, cached_since, gone, recoverable};
use super::rand::{For, Luck, Rand};
use super::reached::State;
use super::world::{Event, MS, SECOND, World};
use crate::mem_index::MemIndex;
use dartsync_core::wire::message::Request;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A link breaks.
    Reset,
    /// A device's links stall, one way or both; dials fail.
    Cut,
    /// They are slow.
    Clog,
    /// Dials fail now and then.
    Dials,
    /// A program is killed and starts again.
    Crash,
    /// The power fails.
    PowerCut,
    /// A program is stopped for long.
    Pause,
    /// A wall clock steps, by years perhaps.
    Clock,
    /// The disk says no.
    DiskErrors,
    /// The disk is slow.
    SlowDisk,
    /// Users save at the last instant.
    Races,
    /// inotify overflows.
    Overflow,
    /// The folder's root is gone for a while.
    RootGone,
    /// The tracker starts again, without its table.
    Tracker,
    /// The same without its roster.
    TrackerLost,
    /// The tracker is away for long.
    TrackerAway,
    /// A device loses its store.
    StoreLost,
    /// A device's store is one of earlier.
    Rollback,
    /// A device is put out.
    Revoke,
}

/// Every kind, in order.
pub const ALL: [Kind; 19] = [
    Kind::Reset,
    Kind::Cut,
    Kind::Clog,
    Kind::Dials,
    Kind::Crash,
    Kind::PowerCut,
    Kind::Pause,
    Kind::Clock,
    Kind::DiskErrors,
    Kind::SlowDisk,
    Kind::Races,
    Kind::Overflow,
    Kind::RootGone,
    Kind::Tracker,
    Kind::TrackerLost,
    Kind::TrackerAway,
    Kind::StoreLost,
    Kind::Rollback,
    Kind::Revoke,
];

/// Something breaks, or is mended.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// This kind strikes, for the so-manieth time, and will again.
    Strike(Kind, u64),
    /// A device starts (again).
    Start(usize),
    /// A device's links are whole again.
    Mend(usize),
    /// A device's links are quick again.
    Unclog(usize),
    /// A device's disk is quick and sound again.
    Sound(usize),
    /// A device's root is back.
    Root(usize),
    /// The tracker starts; without its roster?
    Tracker(bool),
}

/// See the module.
pub struct Faults {
    /// Of the fault that strikes now.
    rand: Rand,
    /// Kinds that may strike, each with its mean pause (µs).
    pub on: Vec<(Kind, u64)>,
    cut: u64,
    clogged: u64,
    slow: u64,
    failing: u64,
    /// How many struck, by kind.
    pub struck: [u32; ALL.len()],
    /// Which.
    pub strikes: Vec<(Kind, u64)>,
    /// A device that serves something else than it is asked for.
    pub liar: Option<usize>,
    /// Whether the tracker may refuse a frame: of devices that were put out.
    pub may_reject: bool,
}

impl Faults {
    /// Nothing breaks.
    pub fn none(rand: Rand) -> Faults {
        Faults {
            rand,
            on: Vec::new(),
            cut: 0,
            clogged: 0,
            slow: 0,
            failing: 0,
            struck: [0; ALL.len()],
            strikes: Vec::new(),
            liar: None,
            may_reject: false,
        }
    }
    /// What this seed breaks.
    pub fn draw(&mut self, luck: &Luck) {
        let share = *luck.of(For::Kind, u64::MAX, 0).pick(&[0, 1, 2, 4]);
        for k in ALL {
            let mut rand = luck.of(For::Kind, k as u64, 0);
            let rare = matches!(k, Kind::StoreLost | Kind::Rollback | Kind::Revoke | Kind::TrackerLost);
            let drawn = rand.chance(if rare { share.min(2) } else { share }, if rare { 20 } else { 10 });
            if drawn {
                let mean = rand.within(2, 20) * SECOND;
                self.on.push((k, if rare { mean * 2 } else { mean }));
            }
        }
    }
    /// From now on a device's links are slow.
    pub(super) fn clog(&mut self, d: usize) {
        self.clogged |= 1 << d;
    }
    /// The kinds that this run breaks.
    pub fn kinds(&self) -> Vec<Kind> {
        self.on.iter().map(|o| o.0).collect()
    }
    fn has(&self, k: Kind) -> bool {
        self.on.iter().any(|o| o.0 == k)
    }
    pub(super) fn is_cut(&self, d: usize) -> bool {
        self.cut >> d & 1 != 0
    }
    pub(super) fn is_clogged(&self, d: usize) -> bool {
        self.clogged >> d & 1 != 0
    }
    pub(super) fn is_slow(&self, d: usize) -> bool {
        self.slow >> d & 1 != 0
    }
    pub(super) fn dial_fails(&self, rand: &mut Rand) -> bool {
        self.has(Kind::Dials) && rand.chance(1, 4)
    }
    /// ENOSPC, EACCES, EIO or none.
    pub(super) fn disk_error(&self, d: usize, mut rand: Rand) -> Option<i32> {
        let now = self.failing >> d & 1 != 0 && rand.chance(1, 2);
        now.then(|| *rand.pick(&[28, 13, 5]))
    }
    /// With many devices they are rarer: a race makes a conflict copy, which all the others swap in, each perhaps in a race.
    pub(super) fn races(&self, devices: usize, mut rand: Rand) -> bool {
        let odds = if devices > 3 { 4 * devices as u64 } else { 10 };
        self.has(Kind::Races) && rand.chance(1, odds)
    }
    pub(super) fn overflows(&self, mut rand: Rand) -> bool {
        self.has(Kind::Overflow) && rand.chance(1, 6)
    }
}

impl World<'_> {
    /// From now on things break.
    pub(super) fn unleash(&mut self) {
        for (k, mean) in self.faults.on.clone() {
            let delay = self.luck.of(For::Pause, k as u64, 0).around(mean);
            self.after(delay, Event::Fault(Fault::Strike(k, 0)));
        }
    }

    pub(super) fn fault(&mut self, f: Fault) {
        match f {
            Fault::Strike(k, n) => {
                let Some(mean) = self.faults.on.iter().find(|o| o.0 == k).map(|o| o.1) else { return };
                let delay = self.luck.of(For::Pause, k as u64, n + 1).around(mean);
                self.after(delay, Event::Fault(Fault::Strike(k, n + 1)));
                self.faults.rand = self.luck.of(For::Strike, k as u64, n);
                let d = self.faults.rand.below(self.devices.len() as u64) as usize;
                if self.devices[d].absent || !self.less.strikes(k, n) {
                    return;
                }
                self.faults.strikes.push((k, n));
                self.faults.struck[k as usize] += 1;
                self.note(d + 1, "fault", k as u64, n);
                self.explain(|| format!("{k:?}:{n}"));
                self.strike(k, d);
            }
            Fault::Start(d) => {
                if self.devices[d].joined {
                    self.start(d);
                } else {
                    self.join(d);
                }
            }
            Fault::Mend(d) => self.mend(d),
            Fault::Unclog(d) => self.faults.clogged &= !(1 << d),
            Fault::Sound(d) => {
                self.faults.slow &= !(1 << d);
                self.faults.failing &= !(1 << d);
            }
            Fault::Root(d) => self.root_back(d),
            Fault::Tracker(lost) => {
                if self.station.tracker.is_none() {
                    self.start_tracker(lost);
                }
            }
        }
    }
    fn mend(&mut self, d: usize) {
        self.faults.cut &= !(1 << d);
        self.stall(d, false, false);
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        if let Some(p) = &mut dev.peer {
            p.handle_network_up(now);
            self.pump(d);
        }
    }
    fn root_back(&mut self, d: usize) {
        self.devices[d].root_gone = false;
        self.note(d + 1, "root back", 0, 0);
    }
    fn later(&mut self, low: u64, high: u64, f: Fault) {
        let delay = self.faults.rand.within(low, high);
        self.after(delay, Event::Fault(f));
    }

    fn strike(&mut self, k: Kind, d: usize) {
        match k {
            Kind::Reset => self.reset(d),
            Kind::Cut => self.cut(d),
            Kind::Clog => {
                self.faults.clogged |= 1 << d;
                self.later(SECOND, 20 * SECOND, Fault::Unclog(d));
            }
            Kind::Crash => self.crash(d),
            Kind::PowerCut => self.power_cut(d),
            Kind::Pause => {
                let long = self.faults.rand.within(MS, 40 * SECOND);
                self.devices[d].asleep = self.now + long;
            }
            Kind::Clock => self.step_clock(d),
            Kind::DiskErrors => {
                self.faults.failing |= 1 << d;
                self.later(SECOND, 10 * SECOND, Fault::Sound(d));
            }
            Kind::SlowDisk => {
                self.faults.slow |= 1 << d;
                self.later(SECOND, 10 * SECOND, Fault::Sound(d));
            }
            Kind::RootGone => self.root_goes(d),
            Kind::Tracker | Kind::TrackerLost | Kind::TrackerAway => self.tracker_goes(k),
            Kind::StoreLost => self.store_lost(d),
            Kind::Rollback => self.roll_back(d),
            Kind::Revoke => self.revoke(d),
            // Switched on, these happen by themselves.
            Kind::Dials | Kind::Races | Kind::Overflow => {}
        }
    }
    pub(super) fn cut(&mut self, d: usize) {
        self.faults.cut |= 1 << d;
        let ways = *self.faults.rand.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        self.stall(d, ways.0, ways.1);
        self.later(MS, 40 * SECOND, Fault::Mend(d));
    }
    pub(super) fn crash(&mut self, d: usize) {
        if self.devices[d].is_up() {
            self.kill(d);
            self.later(MS, 10 * SECOND, Fault::Start(d));
        }
    }
    fn root_goes(&mut self, d: usize) {
        if self.devices[d].root_gone || !self.devices[d].joined {
            return;
        }
        self.devices[d].root_gone = true;
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        dev.fs.reset();
        if let Some(p) = &mut dev.peer {
            p.handle_unwatched(&mut dev.ix, now, F);
            self.pump(d);
        }
        self.later(100 * MS, 20 * SECOND, Fault::Root(d));
    }
    fn tracker_goes(&mut self, k: Kind) {
        if self.station.tracker.is_none() || !self.station.can_restart() {
            return;
        }
        self.stop_tracker();
        let lost = k == Kind::TrackerLost;
        // Who had just joined is a stranger to a tracker that forgot it.
        self.faults.may_reject |= lost;
        self.leave.forgot = true;
        self.reach(State::TrackerLost);
        if lost {
            self.reach(State::RosterLost);
        }
        let long = if k == Kind::TrackerAway { 120 * SECOND } else { 5 * SECOND };
        self.later(MS, long, Fault::Tracker(lost));
    }
    /// The machine of a device loses its power.
    pub(super) fn power_cut(&mut self, d: usize) {
        let was_up = self.devices[d].is_up();
        if !self.devices[d].joined {
            return;
        }
        self.kill(d);
        let fs = &self.devices[d].fs;
        let before = (recoverable(fs), fs.kept());
        let seen = visible(&self.devices[d]);
        self.devices[d].tick(self.now);
        let dev = &mut self.devices[d];
        let torn = dev.fs.power_cut(&mut self.faults.rand);
        dev.boot = self.faults.rand.next() | 1;
        self.reach(State::PowerCut);
        if !torn.is_empty() {
            self.reach(State::Torn);
        }
        for t in torn {
            let text = String::from_utf8_lossy(&t.bytes).into_owned();
            let w = self.ledger.contents.entry(t.id).or_default();
            if w.text.is_empty() {
                (w.by, w.text) = (d, format!("torn {text}"));
            }
        }
        self.ledger.brought_back(&seen, &visible(&self.devices[d]));
        self.note(d + 1, "power cut", 0, 0);
        self.excuse(d, &before);
        if was_up {
            self.later(100 * MS, 10 * SECOND, Fault::Start(d));
        }
    }
    /// What a user wrote in the last half minute, the page cache had; and users' removals may be undone.
    fn excuse(&mut self, d: usize, before: &(Contents, Contents)) {
        let after = (recoverable(&self.devices[d].fs), self.devices[d].fs.kept());
        let others = self.devices.iter().enumerate().filter(|x| x.0 != d).map(|(n, x)| (n, &x.fs));
        self.ledger.excuse(d, self.now, &gone(before, &after), after.0, others);
        // An edit over an announced one that may be torn counts as torn: what was announced is fetched back (R13).
        self.ledger.forgive(d, cached_since(self.now));
        self.ledger.forgive_unseen(d, &mut self.devices[d]);
        self.leave.cut = true;
        self.devices[d].torn_until = u64::MAX;
    }
    fn step_clock(&mut self, d: usize) {
        let years = self.faults.rand.within(0, 5) as i64 * 31_557_600_000_000;
        let secs = self.faults.rand.within(0, 100) as i64 * 1_000_000;
        let by = if self.faults.rand.chance(1, 4) { years + secs } else { secs };
        let dev = &mut self.devices[d];
        dev.skew = if self.faults.rand.chance(1, 2) { dev.skew + by } else { dev.skew - by };
        dev.skew = dev.skew.clamp(-300_000_000_000_000, 300_000_000_000_000);
    }
    fn store_lost(&mut self, d: usize) {
        if !self.devices[d].is_up() || self.devices[d].folder.is_none() {
            return;
        }
        self.kill(d);
        // Whom no roster has that anyone keeps has to be enrolled anew: the tracker may lose its own.
        let key = &self.devices[d].key.0;
        let knows = |x: &super::device::Device| x.roster.windows(key.len()).any(|w| w == key);
        let elsewhere = self.devices.iter().enumerate().any(|(i, x)| i != d && knows(x));
        let dev = &mut self.devices[d];
        dev.ix = MemIndex::new();
        dev.backup = None;
        if self.faults.rand.chance(1, 2) && elsewhere {
            dev.roster.clear();
        }
        self.forgets(d);
        self.reach(State::StoreLost);
        self.note(d + 1, "store lost", 0, 0);
        self.later(MS, 5 * SECOND, Fault::Start(d));
    }
    /// What a device's store knew is not what the home knows: in what stands there, and in what its user removed.
    pub(super) fn forgets(&mut self, d: usize) {
        self.leave.forgets = true;
        let table = self.station.tracker.as_ref().map_or(Table::new(), |t| table(t));
        self.ledger.forgets(d, &mut self.devices, &table);
    }
    /// First a backup is made; the next time it is brought back.
    fn roll_back(&mut self, d: usize) {
        if self.devices[d].folder.is_none() {
            return;
        }
        let Some(mut old) = self.devices[d].backup.take() else {
            let mut copy = self.devices[d].ix.clone();
            copy.crash();
            self.devices[d].backup = Some(copy);
            return;
        };
        if !self.devices[d].is_up() {
            return;
        }
        self.kill(d);
        self.ledger.goes_back(&mut old);
        self.devices[d].ix = old;
        self.forgets(d);
        self.reach(State::RolledBack);
        self.note(d + 1, "store rolled back", 0, 0);
        self.later(MS, 5 * SECOND, Fault::Start(d));
    }
    fn revoke(&mut self, d: usize) {
        let n = self.devices.len();
        let by = (1..n).map(|i| (d + i) % n).find(|i| !self.devices[*i].absent).unwrap_or(d);
        let members = self.devices.iter().filter(|x| x.is_member()).count();
        if members < 3 || by == d || self.devices[d].revoked || d == self.founder() {
            return;
        }
        let key = self.devices[d].key;
        if !self.devices[by].is_member() {
            return;
        }
        let Some(p) = self.devices[by].peer.as_mut() else { return };
        if !p.roster().is_active(&key) || p.request(Request::Revoke(key)).is_none() {
            return;
        }
        // From here on it counts as gone, though it may take a while.
        self.devices[d].revoked = true;
        self.faults.may_reject = true;
        self.forgets(d);
        self.reach(State::Revoked);
        self.note(by + 1, "revoke", d as u64, 0);
        let have: Vec<_> = self.devices.iter().map(|x| x.fs.contents()).collect();
        for (id, w) in &mut self.ledger.contents {
            w.excused |= !have.iter().enumerate().any(|(i, c)| i != d && c.contains(id));
        }
        self.pump(by);
    }

    /// Devices that users want put out, and that the home still has: a request goes with the program that was to make it.
    pub(super) fn unwanted(&self) -> Vec<usize> {
        let Some(t) = &self.station.tracker else { return Vec::new() };
        let there = |d: &usize| self.devices[*d].revoked && t.roster().is_active(&self.devices[*d].key);
        (0..self.devices.len()).filter(there).collect()
    }
    /// Their users ask again.
    pub(super) fn put_out(&mut self) {
        if self.asked_at + 5 * SECOND > self.now {
            return;
        }
        let by = self.devices.iter().position(|d| d.is_member() && d.is_up() && d.folder.is_some());
        for d in self.unwanted() {
            let (Some(by), key) = (by, self.devices[d].key) else { return };
            let p = self.devices[by].peer.as_mut().expect("it is up");
            if p.roster().is_active(&key) && p.request(Request::Revoke(key)).is_some() {
                self.asked_at = self.now;
                self.note(by + 1, "revoke", d as u64, 1);
                self.pump(by);
            }
        }
    }

    /// Everything is mended; nobody edits any more.
    pub(super) fn heal(&mut self) {
        self.editing = false;
        self.faults.on.clear();
        (self.faults.clogged, self.faults.slow, self.faults.failing) = (0, 0, 0);
        self.note(0, "heal", 0, 0);
        if self.station.tracker.is_none() {
            self.start_tracker(false);
        }
        for d in 0..self.devices.len() {
            self.devices[d].asleep = self.devices[d].asleep.min(self.now);
            if self.devices[d].root_gone {
                self.root_back(d);
            }
            if self.devices[d].joined {
                self.start(d);
            } else if !self.devices[d].late {
                self.join(d);
            }
            self.mend(d);
        }
        self.settle_down();
    }
}
