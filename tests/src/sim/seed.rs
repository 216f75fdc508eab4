//! One seed, from its start to its verdict: safety under faults, then all is mended and must converge within a bound.

use super::rand::Rand;
use super::world::{Event, Pool, SECOND, World};

/// How a seed ended.
pub struct Verdict {
    /// What was broken; none: every promise held.
    pub broken: Option<String>,
    /// The hash of the trace.
    pub trace: u64,
    /// Events in all.
    pub events: u64,
    /// Virtual time that passed (µs).
    pub time: u64,
    /// Faults that struck.
    pub faults: u32,
    /// Lines printed.
    pub lines: u64,
}

/// Within so long after the last fault all must be in sync: a store that was brought back twice waits 10 minutes (R4).
const BOUND: u64 = 1500 * SECOND;

/// Runs a seed; with `print`, a line an event.
pub fn run(seed: u64, print: bool) -> Verdict {
    let mut draw = Rand::new(seed ^ 0x6d61_7374_6572);
    let memory = *draw.pick(&[1 << 20, 1 << 20, 256 << 10]);
    let mut pool = Pool::new(memory);
    let n = 2 + draw.weighted(&[160, 160, 100, 30, 12, 4, 1, 1, 0, 0, 1]);
    let mut w = World::new(draw.next(), n, &mut pool);
    w.print = print;
    // Many devices that edit fast do nothing but make copies.
    w.pace = draw.within(SECOND / 10, 3 * SECOND) * (1 + n as u64 / 4);
    w.start_tracker(false);
    w.gather();
    w.faults.draw();
    if draw.chance(1, 4) {
        // Some quiet first: faults then find a home at rest.
        w.converge(60 * SECOND);
    }
    w.editing = true;
    for d in 0..n {
        w.after(1 + d as u64, Event::User { d });
    }
    w.unleash();
    let long = draw.within(5, 60) * SECOND / (1 + n as u64 / 6);
    w.run_for(long);
    w.heal();
    w.converge(BOUND);
    w.rests();
    w.judge();
    let faults = w.faults.struck.iter().sum();
    Verdict {
        broken: w.verdict().map(str::to_owned),
        trace: w.trace(),
        events: w.events,
        time: w.now,
        faults,
        lines: w.lines,
    }
}
