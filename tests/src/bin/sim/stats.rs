//! What many seeds add up to.

use super::{on_all_cores, verdict};
use dartsync_tests::sim::{FAULTS, Less, STATES, Verdict};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Sums over verdicts, whatever their order.
#[derive(Default)]
pub struct Sums {
    pub seeds: AtomicU64,
    pub failed: AtomicU64,
    pub events: AtomicU64,
    /// Virtual time (µs).
    pub time: AtomicU64,
    struck: [AtomicU64; FAULTS.len()],
    /// Seeds in which that kind struck.
    hit: [AtomicU64; FAULTS.len()],
    /// Seeds that reached that state.
    reached: [AtomicU64; STATES.len()],
}

fn get(n: &AtomicU64) -> u64 {
    n.load(Ordering::Relaxed)
}

impl Sums {
    pub fn add(&self, v: &Verdict) {
        let add = |to: &AtomicU64, n: u64| to.fetch_add(n, Ordering::Relaxed);
        add(&self.seeds, 1);
        add(&self.failed, v.broken.is_some().into());
        add(&self.events, v.events);
        add(&self.time, v.time);
        for (i, n) in v.struck.iter().enumerate() {
            add(&self.struck[i], (*n).into());
            add(&self.hit[i], (*n > 0).into());
        }
        for (i, r) in v.reached.iter().enumerate() {
            add(&self.reached[i], (*r).into());
        }
    }
    /// Faults that struck.
    pub fn faults(&self) -> u64 {
        self.struck.iter().map(get).sum()
    }
    /// How often each fault struck, and the share of seeds that saw it; the share of seeds that reached each state.
    pub fn print(&self) {
        let share = |n: &AtomicU64| 100.0 * get(n) as f64 / get(&self.seeds).max(1) as f64;
        for (i, kind) in FAULTS.iter().enumerate() {
            let name = format!("{kind:?}");
            println!(
                "fault {name:<14} {:>9} in {:>5.1} % of seeds",
                get(&self.struck[i]),
                share(&self.hit[i])
            );
        }
        for (i, state) in STATES.iter().enumerate() {
            let name = format!("{state:?}");
            println!("state {name:<14} {:>9} in {:>5.1} % of seeds", "", share(&self.reached[i]));
        }
    }
}

/// `sim --stats`.
pub fn show(from: u64, to: u64) -> ExitCode {
    let (sums, next, start) = (Sums::default(), AtomicU64::new(from), Instant::now());
    std::panic::set_hook(Box::new(|_| {}));
    on_all_cores(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to {
                return;
            }
            sums.add(&verdict(seed, &Less::default(), false));
        }
    });
    sums.print();
    let (seeds, time) = (get(&sums.seeds), get(&sums.time) / 1_000_000);
    println!(
        "{seeds} seeds, {} of them fail: {} events, {time} virtual s",
        get(&sums.failed),
        get(&sums.events)
    );
    let secs = start.elapsed().as_secs_f64().max(0.001);
    println!("{secs:.1} s: {:.0} virtual s, {:.1} seeds a second", time as f64 / secs, seeds as f64 / secs);
    ExitCode::SUCCESS
}
