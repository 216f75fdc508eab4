//! The simulator's command line: `sim --seed S` prints one seed's trace; `sim --seeds FROM..TO` runs many on all cores
//! and stops at the first that fails; `sim --survey FROM..TO` goes on and prints every one that fails.

use dartsync_tests::sim::{Verdict, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Machines are built on the stack before they are boxed.
const STACK: usize = 64 << 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["--seed", s] => s.parse().map_or_else(|_| usage(), one),
        ["--seeds", range] => ends(range).map_or_else(usage, |(from, to)| many(from, to, false)),
        ["--survey", range] => ends(range).map_or_else(usage, |(from, to)| many(from, to, true)),
        _ => usage(),
    }
}

fn ends(range: &str) -> Option<(u64, u64)> {
    let (from, to) = range.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

fn usage() -> ExitCode {
    eprintln!("usage: sim --seed S | sim --seeds FROM..TO | sim --survey FROM..TO");
    ExitCode::from(2)
}

/// A seed's verdict; a panic of a machine is one.
fn verdict(seed: u64, print: bool) -> Verdict {
    let broken =
        |why: String| Verdict { broken: Some(why), trace: 0, events: 0, time: 0, faults: 0, lines: 0 };
    std::panic::catch_unwind(|| run(seed, print)).unwrap_or_else(|p| {
        let text = p.downcast_ref::<String>().map(String::as_str);
        broken(format!("panic: {}", text.or(p.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

fn one(seed: u64) -> ExitCode {
    let v = thread::Builder::new().stack_size(STACK).spawn(move || verdict(seed, true)).expect("a thread");
    let v = v.join().expect("panics are caught");
    let state = v.broken.as_deref().map_or("clean".into(), |b| format!("BROKEN: {b}"));
    println!(
        "seed {seed}: {} events, {} faults, {} virtual s, trace {:016x}, {state}",
        v.events,
        v.faults,
        v.time / 1_000_000,
        v.trace
    );
    if v.broken.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn many(from: u64, to: u64, all: bool) -> ExitCode {
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let (events, time, faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let count = AtomicU64::new(0);
    let first: std::sync::Mutex<Option<(u64, String)>> = std::sync::Mutex::new(None);
    let start = Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    thread::scope(|s| {
        for _ in 0..thread::available_parallelism().map_or(2, |n| n.get()) {
            let work = || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let v = verdict(seed, false);
                    events.fetch_add(v.events, Ordering::Relaxed);
                    time.fetch_add(v.time, Ordering::Relaxed);
                    faults.fetch_add(v.faults.into(), Ordering::Relaxed);
                    if let Some(why) = v.broken {
                        if all {
                            println!("seed {seed} fails: {why}");
                        }
                        failed.store(!all, Ordering::Relaxed);
                        count.fetch_add(1, Ordering::Relaxed);
                        let mut f = first.lock().expect("no panic while it is held");
                        if f.as_ref().is_none_or(|(s, _)| seed < *s) {
                            *f = Some((seed, why));
                        }
                    }
                }
            };
            thread::Builder::new().stack_size(STACK).spawn_scoped(s, work).expect("a thread");
        }
    });
    let secs = start.elapsed().as_secs_f64();
    let virt = time.into_inner() / 1_000_000;
    if let Some((seed, why)) = first.into_inner().expect("no panic while it was held") {
        match all {
            true => println!("{} of {} seeds fail", count.into_inner(), to - from),
            false => println!("seed {seed} fails: {why}"),
        }
        return ExitCode::FAILURE;
    }
    println!(
        "{} seeds clean: {} events, {} faults, {virt} virtual s in {secs:.1} s ({:.0} times real time)",
        to.saturating_sub(from),
        events.into_inner(),
        faults.into_inner(),
        virt as f64 / secs.max(0.001)
    );
    ExitCode::SUCCESS
}
