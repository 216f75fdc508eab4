//! The simulator's command line: `sim --seed S` prints one seed's trace (with [`Less`]'s options: of a smaller world);
//! `sim --seeds FROM..TO` runs many on all cores and stops at the first that fails, with the smallest world in which it
//! still does; `sim --survey FROM..TO` goes on and prints every one that fails, and `--audit` judges more strictly.

use dartsync_tests::sim::{FAULTS, Less, Verdict, run_less, shrink};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

/// Machines are built on the stack before they are boxed.
const STACK: usize = 64 << 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut less = Less::default();
    #[cfg(feature = "mutants")]
    leave_out();
    match args[..] {
        ["--seed", s, ref rest @ ..] => {
            let good = rest.len() % 2 == 0 && rest.chunks(2).all(|o| less.set(o[0], o[1]));
            s.parse().ok().filter(|_| good).map_or_else(usage, |seed| one(seed, less))
        }
        ["--seeds", range] => ends(range).map_or_else(usage, |(from, to)| many(from, to, &less, false)),
        ["--audit", range] => {
            less.audit = true;
            ends(range).map_or_else(usage, |(from, to)| many(from, to, &less, true))
        }
        ["--survey", range] => ends(range).map_or_else(usage, |(from, to)| many(from, to, &less, true)),
        #[cfg(feature = "mutants")]
        ["--mutants", range, ref names @ ..] => {
            ends(range).map_or_else(usage, |(from, to)| mutants(from, to, names))
        }
        #[cfg(feature = "mutants")]
        ["--stories", ref names @ ..] => tales(names),
        _ => usage(),
    }
}

/// `SIM_MUTANT` names a rule that is left out.
#[cfg(feature = "mutants")]
fn leave_out() {
    use dartsync_core::mutant::{Mutant, set};
    let name = std::env::var("SIM_MUTANT").unwrap_or_default();
    set(Mutant::ALL.iter().find(|m| m.0 == name).map(|m| m.1));
}

/// Which stories each mutant breaks; first, which break by themselves.
#[cfg(feature = "mutants")]
fn tales(names: &[&str]) -> ExitCode {
    use dartsync_core::mutant::{Mutant, set};
    use dartsync_tests::sim::{Story, stories};
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("SIM_STORY").unwrap_or_default();
    let all: Vec<&'static Story> = stories().filter(|s| s.name.contains(&only)).collect();
    let tell = |name: &str, m: Option<Mutant>| {
        set(m);
        let (next, out) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        on_all_cores(|| {
            while let Some(story) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(why) = story.tell() {
                    let why: String = why.replace('\n', " ").chars().take(700).collect();
                    out.lock().expect("no panic while it is held").push(format!("{}: {why}", story.name));
                }
            }
        });
        println!("{name}: {} stories break", out.lock().expect("as above").len());
        out.into_inner().expect("as above").iter().for_each(|s| println!("    {s}"));
    };
    tell("nothing", None);
    for (name, m) in Mutant::ALL.iter().filter(|m| names.is_empty() || names.contains(&m.0)) {
        tell(name, Some(*m));
    }
    ExitCode::SUCCESS
}

/// How many seeds notice each mutant that the same program without it passes, and how.
#[cfg(feature = "mutants")]
fn mutants(from: u64, to: u64, names: &[&str]) -> ExitCode {
    use dartsync_core::mutant::{Mutant, set};
    std::panic::set_hook(Box::new(|_| {}));
    let broken = |seeds: &[u64]| -> Vec<(u64, String)> {
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        on_all_cores(|| {
            while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                let less = Less { events: 150_000, ..Less::default() };
                let v = verdict(*seed, &less, false);
                let endless = Some("never comes to rest".to_string()).filter(|_| v.events >= less.events);
                if let Some(why) = v.broken.or(endless) {
                    found.lock().expect("no panic while it is held").push((*seed, why));
                }
            }
        });
        let mut found = found.into_inner().expect("no panic while it was held");
        found.sort();
        found
    };
    let all: Vec<u64> = (from..to).collect();
    for (name, m) in Mutant::ALL.iter().filter(|m| names.is_empty() || names.contains(&m.0)) {
        set(Some(*m));
        let found = broken(&all);
        set(None);
        let seeds: Vec<u64> = found.iter().map(|f| f.0).collect();
        let anyway: Vec<u64> = broken(&seeds).iter().map(|f| f.0).collect();
        let caught: Vec<_> = found.iter().filter(|f| !anyway.contains(&f.0)).collect();
        println!("{name:<12} {:>4} of {}", caught.len(), all.len());
        for (seed, why) in caught.iter().take(3) {
            println!("    {seed} {}", why.chars().take(160).collect::<String>());
        }
    }
    ExitCode::SUCCESS
}

fn ends(range: &str) -> Option<(u64, u64)> {
    let (from, to) = range.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

fn usage() -> ExitCode {
    eprintln!("usage: sim --seed S [--seconds N] [--absent DEVICE,DEVICE] [--without KIND,KIND]");
    eprintln!(
        "                    [--strikes KIND:N,KIND:N] [--deeds DEVICE:N,DEVICE:N] [--salt N] [--audit true]"
    );
    eprintln!("       sim --seeds FROM..TO | sim --survey FROM..TO | sim --audit FROM..TO");
    ExitCode::from(2)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(2, |n| n.get())
}

/// A seed's verdict; a panic of a machine is one.
fn verdict(seed: u64, less: &Less, print: bool) -> Verdict {
    std::panic::catch_unwind(|| run_less(seed, less, print)).unwrap_or_else(|p| {
        let text = p.downcast_ref::<String>().map(String::as_str);
        Verdict::panicked(text.or(p.downcast_ref::<&str>().copied()).unwrap_or("?"))
    })
}

fn one(seed: u64, less: Less) -> ExitCode {
    let v = thread::Builder::new().stack_size(STACK).spawn(move || verdict(seed, &less, true));
    let v = v.expect("a thread").join().expect("panics are caught");
    let state = v.broken.as_deref().map_or("clean".into(), |b| format!("BROKEN: {b}"));
    println!(
        "seed {seed}: {} events, {} faults, {} virtual s, trace {:016x}, {state}",
        v.events,
        v.faults(),
        v.time / 1_000_000,
        v.trace
    );
    if v.broken.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs work on every core.
fn on_all_cores(work: impl Fn() + Sync) {
    thread::scope(|s| {
        for _ in 0..cores() {
            thread::Builder::new().stack_size(STACK).spawn_scoped(s, &work).expect("a thread");
        }
    });
}

/// The verdicts of one seed in several smaller worlds.
fn several(seed: u64, all: &[Less]) -> Vec<Verdict> {
    let (next, done) = (AtomicUsize::new(0), all.iter().map(|_| OnceLock::new()).collect::<Vec<_>>());
    on_all_cores(|| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(less) = all.get(at) else { return };
            assert!(done[at].set(verdict(seed, less, false)).is_ok(), "each is run once");
        }
    });
    done.into_iter().map(|v| v.into_inner().expect("all were run")).collect()
}

/// What all runs add up to.
#[derive(Default)]
struct Sums {
    seeds: AtomicU64,
    failed: AtomicU64,
    events: AtomicU64,
    time: AtomicU64,
    struck: [AtomicU64; FAULTS.len()],
    /// Seeds in which that kind struck.
    reached: [AtomicU64; FAULTS.len()],
    conflicts: AtomicU64,
}

impl Sums {
    fn add(&self, v: &Verdict) {
        let add = |to: &AtomicU64, n: u64| to.fetch_add(n, Ordering::Relaxed);
        add(&self.seeds, 1);
        add(&self.failed, v.broken.is_some().into());
        add(&self.events, v.events);
        add(&self.time, v.time);
        add(&self.conflicts, v.conflict.into());
        for (i, n) in v.struck.iter().enumerate() {
            add(&self.struck[i], (*n).into());
            add(&self.reached[i], (*n > 0).into());
        }
    }
    /// How often each fault struck, and the share of seeds that saw it.
    fn print(&self) {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let share = |n: &AtomicU64| 100.0 * get(n) as f64 / get(&self.seeds).max(1) as f64;
        for (i, kind) in FAULTS.iter().enumerate() {
            let name = format!("{kind:?}");
            println!("{name:<12} {:>9} in {:>5.1} % of seeds", get(&self.struck[i]), share(&self.reached[i]));
        }
        println!("{:<12} {:>9} in {:>5.1} % of seeds", "Conflict", "", share(&self.conflicts));
    }
}

fn many(from: u64, to: u64, less: &Less, all: bool) -> ExitCode {
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let sums = Sums::default();
    let first: Mutex<Option<(u64, Verdict)>> = Mutex::new(None);
    let start = Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    on_all_cores(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to || stop.load(Ordering::Relaxed) {
                return;
            }
            let v = verdict(seed, less, false);
            sums.add(&v);
            let Some(why) = &v.broken else { continue };
            if all {
                println!("seed {seed} fails: {why}");
            }
            stop.store(!all, Ordering::Relaxed);
            let mut f = first.lock().expect("no panic while it is held");
            if f.as_ref().is_none_or(|(s, _)| seed < *s) {
                *f = Some((seed, v));
            }
        }
    });
    let secs = start.elapsed().as_secs_f64();
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    if all {
        sums.print();
    }
    if let Some((seed, v)) = first.into_inner().expect("no panic while it was held") {
        match all {
            true => println!("{} of {} seeds fail", get(&sums.failed), get(&sums.seeds)),
            false => explain(seed, v),
        }
        return ExitCode::FAILURE;
    }
    let virt = get(&sums.time) / 1_000_000;
    println!(
        "{} seeds clean: {} events, {} faults, {virt} virtual s in {secs:.1} s ({:.0} times real time)",
        get(&sums.seeds),
        get(&sums.events),
        sums.struck.iter().map(get).sum::<u64>(),
        virt as f64 / secs.max(0.001)
    );
    ExitCode::SUCCESS
}

/// Says how a seed fails, and in how small a world.
fn explain(seed: u64, v: Verdict) {
    let words = |v: &Verdict| v.broken.clone().unwrap_or_default();
    println!("seed {seed} fails: {}", words(&v));
    let (less, v, tries) = shrink(v, &|all| several(seed, all));
    println!("seed {seed} fails, smallest of {tries} tries: sim --seed {seed}{less}: {}", words(&v));
}
