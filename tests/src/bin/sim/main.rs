//! The simulator's command line: one seed's trace, many seeds on all cores, what they reach; see [`HELP`].

#[cfg(feature = "mutants")]
mod mutants;
mod stats;

use dartsync_tests::sim::{Less, Verdict, run_less, shrink};
use stats::Sums;
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
    mutants::leave_out();
    match args[..] {
        ["--seed", s, ref rest @ ..] => {
            s.parse().ok().filter(|_| is_less(&mut less, rest)).map_or_else(usage, |seed| one(seed, less))
        }
        ["--seeds", range, ref rest @ ..] => {
            let range = ends(range).filter(|_| is_less(&mut less, rest));
            range.map_or_else(usage, |(from, to)| many(from, to, &less, false))
        }
        ["--audit", range] => {
            less.audit = true;
            ends(range).map_or_else(usage, |(from, to)| many(from, to, &less, true))
        }
        ["--survey", range] => ends(range).map_or_else(usage, |(from, to)| many(from, to, &less, true)),
        ["--stats", range] => ends(range).map_or_else(usage, |(from, to)| stats::show(from, to)),
        ["--help"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        #[cfg(feature = "mutants")]
        ["--mutants", range, ref names @ ..] => {
            ends(range).map_or_else(usage, |(from, to)| mutants::table(from, to, names))
        }
        #[cfg(feature = "mutants")]
        ["--stories", ref names @ ..] => mutants::tales(names),
        _ => usage(),
    }
}

/// Takes options; whether they are all right.
fn is_less(less: &mut Less, options: &[&str]) -> bool {
    options.len().is_multiple_of(2) && options.chunks(2).all(|o| less.set(o[0], o[1]))
}

fn ends(range: &str) -> Option<(u64, u64)> {
    let (from, to) = range.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

const HELP: &str = "\
usage: sim --seed S [--seconds N] [--absent DEVICE,DEVICE] [--without KIND,KIND] [--strikes KIND:N,KIND:N]
                    [--deeds DEVICE:N,DEVICE:N] [--salt N] [--audit true]
           one seed's trace, line by line, and how it ends; with options, in a smaller world. SIM_EXPLAIN=1 says more;
           SIM_WATCH=DEVICE:PATH shows a row at each change
       sim --seeds FROM..TO [--audit true]
           runs them on all cores, to the first that fails; then says in how small a world it still does
       sim --survey FROM..TO
           runs all of them, says which fail, and prints what --stats does
       sim --audit FROM..TO
           the same, judged as a run without faults is, whatever struck: not every seed passes yet
       sim --stats FROM..TO
           what these seeds reach: faults by kind (how often they struck, in what share of the seeds), states (in what
           share of the seeds), events, virtual time; the same on every machine but for the last line, the speed. A
           content is fetched whole or not at all in this world: resumed fetches are not among its states
  with `--features mutants`:
       sim --mutants FROM..TO [MUTANT...]
           for each rule that is left out, how many seeds pass until one fails that does not with all rules: from five
           starts a million apart, up to TO - FROM seeds each, and the median
       sim --stories [MUTANT...]
           which stories each of them breaks; SIM_STORY=TEXT: those alone that have it in their name
           SIM_MUTANT=MUTANT leaves that rule out in whatever else is asked for
";

fn usage() -> ExitCode {
    eprint!("{HELP}");
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
            false => explain(seed, v, less.audit),
        }
        return ExitCode::FAILURE;
    }
    let virt = get(&sums.time) / 1_000_000;
    println!(
        "{} seeds clean: {} events, {} faults, {virt} virtual s in {secs:.1} s ({:.0} times real time)",
        get(&sums.seeds),
        get(&sums.events),
        sums.faults(),
        virt as f64 / secs.max(0.001)
    );
    ExitCode::SUCCESS
}

/// Says how a seed fails, and in how small a world.
fn explain(seed: u64, v: Verdict, audit: bool) {
    let words = |v: &Verdict| v.broken.clone().unwrap_or_default();
    println!("seed {seed} fails: {}", words(&v));
    let (less, v, tries) = shrink(v, audit, &|all| several(seed, all));
    println!("seed {seed} fails, smallest of {tries} tries: sim --seed {seed}{less}: {}", words(&v));
}
