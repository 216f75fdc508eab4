//! Rules left out: which stories notice, and how soon random seeds do.

use super::{on_all_cores, verdict};
use dartsync_core::mutant::{Mutant, set};
use dartsync_tests::sim::{Less, Story, stories};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Starts of a table's line, and how far they are apart.
const STARTS: usize = 5;
const APART: u64 = 1_000_000;
/// What has not come to rest after so many events, when nearly all seeds have, does not.
const EVENTS: u64 = 150_000;

fn all<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'static (&'static str, Mutant)> + 'a {
    Mutant::ALL.iter().filter(|m| names.is_empty() || names.contains(&m.0))
}

/// `SIM_MUTANT` names a rule that is left out.
pub fn leave_out() {
    let name = std::env::var("SIM_MUTANT").unwrap_or_default();
    set(Mutant::ALL.iter().find(|m| m.0 == name).map(|m| m.1));
}

/// Which stories each mutant breaks; first, which break by themselves.
pub fn tales(names: &[&str]) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("SIM_STORY").unwrap_or_default();
    let told: Vec<&'static Story> = stories().filter(|s| s.name.contains(&only)).collect();
    let tell = |name: &str, m: Option<Mutant>| {
        set(m);
        let (next, out) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        on_all_cores(|| {
            while let Some(story) = told.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(why) = story.tell() {
                    let why: String = why.replace('\n', " ").chars().take(700).collect();
                    out.lock().expect("no panic while it is held").push(format!("{}: {why}", story.name));
                }
            }
        });
        let out = out.into_inner().expect("as above");
        println!("{name}: {} stories break", out.len());
        out.iter().for_each(|s| println!("    {s}"));
    };
    tell("nothing", None);
    all(names).for_each(|(name, m)| tell(name, Some(*m)));
    ExitCode::SUCCESS
}

/// Whether a seed ends wrongly.
fn fails(seed: u64) -> bool {
    let less = Less { events: EVENTS, ..Less::default() };
    let v = verdict(seed, &less, false);
    v.broken.is_some() || v.events >= less.events
}

/// The first seed of `from..to` that fails without the rule.
fn first(m: Mutant, from: u64, to: u64) -> Option<u64> {
    set(Some(m));
    let (next, best) = (AtomicU64::new(from), AtomicU64::new(to));
    on_all_cores(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= best.load(Ordering::Relaxed) {
                return;
            }
            if fails(seed) {
                best.fetch_min(seed, Ordering::Relaxed);
            }
        }
    });
    set(None);
    Some(best.into_inner()).filter(|b| *b < to)
}

/// Seeds from there until one fails that does not with all rules.
fn needed(m: Mutant, from: u64, cap: u64) -> Option<u64> {
    let mut at = from;
    while let Some(seed) = first(m, at, from + cap) {
        if !fails(seed) {
            return Some(seed - from + 1);
        }
        at = seed + 1;
    }
    None
}

/// For each mutant, how many seeds are needed from each start, and the median. Once the median cannot be below the
/// cap, the other starts are left out.
pub fn table(from: u64, to: u64, names: &[&str]) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let cap = to.saturating_sub(from);
    let text = |n: Option<u64>| n.map_or(format!("> {cap}"), |n| n.to_string());
    for (name, m) in all(names) {
        let mut got: Vec<Option<u64>> = Vec::new();
        for i in 0..STARTS as u64 {
            if got.iter().filter(|n| n.is_none()).count() <= STARTS / 2 {
                got.push(needed(*m, from + i * APART, cap));
            }
        }
        let each: Vec<String> = got.iter().map(|n| text(*n)).collect();
        got.sort_by_key(|n| n.unwrap_or(u64::MAX));
        let median = if got.len() == STARTS { got[STARTS / 2] } else { None };
        println!("| {name} | {} | {} |", text(median), each.join(", "));
    }
    ExitCode::SUCCESS
}
