//! The least world in which a seed still fails as it did: fewer kinds of faults, less time, fewer devices, fewer edits.

use super::faults::Kind;
use super::less::Less;
use super::seed::Verdict;

/// Worlds that are tried at most.
const TRIES: u32 = 200;
/// What is left out changes when everything else happens, so that a candidate is tried with so many kinds of luck. An
/// earlier end changes nothing of what was before: there the luck of the best is tried alone.
const LUCK: u64 = 12;
/// Small worlds to begin with: devices, seconds, edits.
const SMALL: [(usize, u64, u64); 5] = [(2, 4, 8), (2, 8, 20), (2, 16, 50), (3, 8, 20), (3, 20, 80)];

/// What kind of failure a reason tells of: its first plain words.
pub fn class(why: &str) -> String {
    let plain = |w: &&str| w.bytes().all(|b| b.is_ascii_lowercase());
    let said = why.strip_prefix("at ").and_then(|w| w.split_once(": ")).map_or(why, |w| w.1);
    said.split_whitespace()
        .map(|w| w.trim_end_matches(':'))
        .filter(plain)
        .take(4)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A way to run many worlds at once; verdicts come in their order.
pub type Run<'a> = &'a dyn Fn(&[Less]) -> Vec<Verdict>;

struct Shrink<'a> {
    run: Run<'a>,
    class: String,
    best: (Less, Verdict),
    tries: u32,
}

/// The smallest of what still fails like `first` did, its verdict, and how many worlds were tried.
pub fn shrink(first: Verdict, run: Run<'_>) -> (Less, Verdict, u32) {
    let class = class(first.broken.as_deref().unwrap_or_default());
    // One that never comes to its end shows nothing.
    let all = Less { events: first.events * 2 + 10_000, ..Less::default() };
    let mut s = Shrink { run, class, best: (all, first), tries: 0 };
    s.begin_small();
    while s.tries < TRIES && s.round() {}
    (s.best.0, s.best.1, s.tries)
}

impl Shrink<'_> {
    /// One candidate: kept if it still fails in the same way.
    fn try_one(&mut self, less: &Less, luck: u64) -> bool {
        if self.tries >= TRIES {
            return false;
        }
        let salts = (0..luck).map(|i| if i == 0 { less.salt } else { self.tries as u64 + i });
        let all: Vec<Less> = salts.map(|salt| Less { salt, ..less.clone() }).collect();
        self.tries += all.len() as u32;
        let same = |v: &Verdict| v.broken.as_deref().is_some_and(|b| class(b) == self.class);
        let verdicts = (self.run)(&all);
        let Some(found) = all.into_iter().zip(verdicts).find(|(_, v)| same(v)) else { return false };
        self.best = found;
        true
    }
    fn begin_small(&mut self) {
        let all = self.best.1.clone();
        for (devices, seconds, edits) in SMALL {
            let smaller = devices < all.devices || seconds * 1_000_000 < all.breaking || edits < all.edits;
            let less = Less { devices, seconds, edits, ..self.best.0.clone() };
            if smaller && devices <= all.devices && self.try_one(&less, LUCK) {
                return;
            }
        }
    }
    /// Goes through everything that can be made less, once; whether anything was.
    fn round(&mut self) -> bool {
        let mut any = self.sooner();
        for share in [1, 2, 4, 8] {
            let kinds = self.best.1.kinds.clone();
            for some in kinds.chunks(kinds.len().div_ceil(share).max(1)) {
                any |= self.without(some);
            }
        }
        any | self.sooner()
    }
    /// Ends the faults, then the edits, as early as shows it still.
    fn sooner(&mut self) -> bool {
        let mut any = false;
        for part in [2, 4, 8, 16] {
            let seconds = self.best.1.breaking.div_ceil(1_000_000);
            let less = Less { seconds: seconds - seconds / part, ..self.best.0.clone() };
            any |= less.seconds < seconds && self.try_one(&less, 1);
            let edits = self.best.1.edits;
            let less = Less { edits: edits - edits / part, ..self.best.0.clone() };
            any |= less.edits < edits && self.try_one(&less, 1);
        }
        any
    }
    fn without(&mut self, kinds: &[Kind]) -> bool {
        let mut less = self.best.0.clone();
        less.without.extend(kinds.iter().filter(|k| self.best.1.kinds.contains(k)));
        less.without != self.best.0.without && self.try_one(&less, LUCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_one_fault_and_the_few_edits_that_matter() {
        let fails = |l: &Less| {
            let kinds: Vec<Kind> = [Kind::Reset, Kind::Cut, Kind::Crash, Kind::Clock].into();
            let kinds: Vec<Kind> = kinds.into_iter().filter(|k| !l.without.contains(k)).collect();
            let (devices, edits, breaking) =
                (l.devices.min(5), l.edits.min(100), l.seconds.min(60) * 1_000_000);
            let bad = kinds.contains(&Kind::Crash) && edits >= 7 && breaking >= 3_000_000;
            let broken = Some(format!("at {edits}: an edit is lost: x{edits}")).filter(|_| bad);
            Verdict { broken, kinds, devices, edits, breaking, ..Verdict::panicked("") }
        };
        let run = |all: &[Less]| all.iter().map(fails).collect::<Vec<_>>();
        let (less, v, tries) = shrink(fails(&Less::default()), &run);
        assert!(tries <= TRIES + LUCK as u32, "{tries}");
        assert_eq!((v.kinds, v.devices), (vec![Kind::Crash], 2));
        assert!(v.edits <= 8 && less.seconds <= 4, "{less}");
        assert_eq!(fails(&less).broken.map(|b| class(&b)).as_deref(), Some("an edit is lost"));
    }
}
