//! One seed, from its start to its verdict: safety under faults, then all is mended and must converge within a bound.

use super::faults::{ALL, Kind};
use super::less::Less;
use super::rand::{For, Luck};
use super::reached::{Reached, State};
use super::world::{Event, Pool, SECOND, World};

/// How a seed ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was broken; none: every promise held.
    pub broken: Option<String>,
    /// The hash of the trace.
    pub trace: u64,
    /// Events in all.
    pub events: u64,
    /// Virtual time that passed (µs).
    pub time: u64,
    /// Faults that struck, by kind.
    pub struck: [u32; ALL.len()],
    /// Kinds that could strike.
    pub kinds: Vec<Kind>,
    /// Devices of the home.
    pub devices: Vec<usize>,
    /// What users did: whose, and which of their deeds.
    pub deeds: Vec<(usize, u64)>,
    /// What broke: which time of that kind.
    pub strikes: Vec<(Kind, u64)>,
    /// How long things broke (µs).
    pub breaking: u64,
    /// What it came to see.
    pub reached: Reached,
    /// Lines printed.
    pub lines: u64,
}

/// Within so long after the last fault all must be in sync: a store that was brought back twice waits 10 minutes (R4).
const BOUND: u64 = 1500 * SECOND;

impl Verdict {
    /// Of a run that ended by a panic.
    pub fn panicked(why: &str) -> Verdict {
        Verdict {
            broken: Some(format!("panic: {why}")),
            trace: 0,
            events: 0,
            time: 0,
            struck: [0; ALL.len()],
            kinds: Vec::new(),
            devices: Vec::new(),
            deeds: Vec::new(),
            strikes: Vec::new(),
            breaking: 0,
            reached: Reached::default(),
            lines: 0,
        }
    }
    /// Faults that struck.
    pub fn faults(&self) -> u32 {
        self.struck.iter().sum()
    }
}

/// Runs a seed; with `print`, a line an event.
pub fn run(seed: u64, print: bool) -> Verdict {
    run_less(seed, &Less::default(), print)
}

/// [`run`] with less than the seed asks for.
pub fn run_less(seed: u64, less: &Less, print: bool) -> Verdict {
    let luck = Luck::new(seed);
    let draw = |n| luck.of(For::World, n, 0);
    let memory = *draw(0).pick(&[1 << 20, 1 << 20, 256 << 10]);
    let n = 2 + draw(1).weighted(&[160, 160, 100, 30, 12, 4, 1, 1, 0, 0, 1]);
    // A table with room for what so many devices edit at once: a home whose tracker is full is not in sync.
    let mut pool = Pool::new(if n > 5 { memory << 2 } else { memory });
    let mut w = World::new(seed, n, &mut pool);
    (w.print, w.audits) = (print, less.audit);
    (w.less, w.luck.salt, w.events_left) = (less.clone(), less.salt, less.events);
    less.absent.iter().filter(|d| **d < n).for_each(|d| w.devices[*d].absent = true);
    // Many devices that edit fast do nothing but make copies.
    w.pace = draw(2).within(SECOND / 10, 3 * SECOND) * (1 + n as u64 / 4);
    w.draw_late();
    if w.devices.iter().any(|d| d.fs.modes != (0o777, 0)) {
        w.reach(State::MaskedModes);
    }
    w.start_tracker(false);
    w.gather();
    w.faults.draw(&luck);
    w.faults.on.retain(|o| !less.without.contains(&o.0));
    let kinds = w.faults.kinds();
    if draw(3).chance(1, 4) {
        // Some quiet first: faults then find a home at rest.
        w.converge(60 * SECOND);
    }
    w.editing = true;
    for d in 0..n {
        w.after(1 + d as u64, Event::User { d });
    }
    w.unleash();
    let long = less.span(draw(4).within(5, 60) * SECOND / (1 + n as u64 / 6));
    w.live(long);
    w.run_for(long);
    w.heal();
    w.converge(BOUND);
    w.rests();
    w.judge();
    if w.ledger.withdrew {
        w.reach(State::Withdrawn);
    }
    Verdict {
        broken: w.verdict().filter(|_| w.events_left > 0).map(str::to_owned),
        trace: w.trace(),
        events: w.events,
        time: w.now,
        struck: w.faults.struck,
        kinds,
        devices: (0..n).filter(|d| !less.absent.contains(d)).collect(),
        deeds: std::mem::take(&mut w.deeds),
        strikes: std::mem::take(&mut w.faults.strikes),
        breaking: long,
        reached: w.reached,
        lines: w.lines,
    }
}
