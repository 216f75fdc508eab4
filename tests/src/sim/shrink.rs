//! The least world in which a seed still fails as it did: fewer kinds of faults, less time, fewer devices, fewer edits.

use super::less::Less;
use super::seed::Verdict;

/// Worlds that are tried at most.
const TRIES: u32 = 1500;
/// Where something large is left out, so many kinds of luck of nets and disks are tried.
const LUCK: u64 = 4;

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

/// The smallest of what still fails like `first` did, its verdict, and how many worlds were tried. `audit`: it was judged
/// so.
pub fn shrink(first: Verdict, audit: bool, run: Run<'_>) -> (Less, Verdict, u32) {
    let class = class(first.broken.as_deref().unwrap_or_default());
    // One that never comes to its end shows nothing.
    let all = Less { events: first.events * 2 + 10_000, audit, ..Less::default() };
    let mut s = Shrink { run, class, best: (all, first), tries: 0 };
    while s.tries < TRIES && s.round() {}
    (s.best.0, s.best.1, s.tries)
}

impl Shrink<'_> {
    /// Some candidates, each with that much luck: the first that still fails in the same way is kept; which.
    fn try_some(&mut self, all: &[Less], luck: u64) -> Option<usize> {
        let salts =
            |less: &Less| (0..luck).map(|i| Less { salt: less.salt + i, ..less.clone() }).collect::<Vec<_>>();
        let all: Vec<Less> = all.iter().flat_map(salts).collect();
        if self.tries >= TRIES || all.is_empty() {
            return None;
        }
        self.tries += all.len() as u32;
        let same = |v: &Verdict| v.broken.as_deref().is_some_and(|b| class(b) == self.class);
        let verdicts = (self.run)(&all);
        let at = verdicts.iter().position(same)?;
        self.best = all.into_iter().zip(verdicts).nth(at)?;
        Some(at / luck as usize)
    }
    /// Goes through everything that can be made less, once; whether anything was.
    fn round(&mut self) -> bool {
        let size = |v: &Verdict| v.kinds.len() + v.strikes.len() + v.devices.len() + v.deeds.len();
        let before = size(&self.best.1);
        self.sooner();
        let all = self.best.1.kinds.clone();
        self.fewer(all.clone(), LUCK, |less, kept| {
            less.without.extend(all.iter().filter(|k| !kept.contains(k)));
        });
        let all = self.best.1.devices.clone();
        self.fewer(all.clone(), LUCK, |less, kept| {
            less.absent.extend(all.iter().filter(|d| !kept.contains(d)));
        });
        self.fewer(self.best.1.strikes.clone(), 1, |less, kept| {
            less.strikes = Some(kept.iter().copied().collect());
        });
        self.fewer(self.best.1.deeds.clone(), 1, |less, kept| {
            less.deeds = Some(kept.iter().copied().collect());
        });
        size(&self.best.1) < before
    }
    /// Ends the faults and the deeds as early as shows it still.
    fn sooner(&mut self) {
        for part in [2, 4, 8] {
            loop {
                let seconds = self.best.1.breaking.div_ceil(1_000_000);
                let less = Less { seconds: seconds - seconds / part, ..self.best.0.clone() };
                if less.seconds == seconds || self.try_some(&[less], 1).is_none() {
                    break;
                }
            }
        }
    }
    /// Leaves out as many of them as shows it still: first many at once, then one by one.
    fn fewer<T: Copy>(&mut self, mut all: Vec<T>, luck: u64, keep: impl Fn(&mut Less, &[T])) {
        let mut size = all.len();
        while size > 0 {
            let mut from = 0;
            while from < all.len() {
                // Several at a time, for all cores.
                let starts: Vec<usize> = (from..all.len()).step_by(size).take(4).collect();
                let rest = |at: usize| [&all[..at], &all[(at + size).min(all.len())..]].concat();
                let one = |at: &usize| {
                    let mut less = self.best.0.clone();
                    keep(&mut less, &rest(*at));
                    less
                };
                let candidates: Vec<Less> = starts.iter().map(one).collect();
                match self.try_some(&candidates, luck) {
                    Some(i) => (all, from) = (rest(starts[i]), starts[i]),
                    None => from = starts.last().expect("one at least") + size,
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Kind;
    use super::*;

    #[test]
    fn finds_the_one_fault_and_the_few_deeds_that_matter() {
        let fails = |l: &Less| {
            let kinds: Vec<Kind> = [Kind::Reset, Kind::Cut, Kind::Crash, Kind::Clock].into();
            let kinds: Vec<Kind> = kinds.into_iter().filter(|k| !l.without.contains(k)).collect();
            let devices: Vec<usize> = (0..5).filter(|d| !l.absent.contains(d)).collect();
            let all = (0..100).map(|n| (n as usize % 5, n));
            let deeds: Vec<_> = all.filter(|(d, n)| l.deeds(*d, *n)).collect();
            let all = kinds.iter().flat_map(|k| (0..9).map(|n| (*k, n)));
            let strikes: Vec<_> = all.filter(|(k, n)| l.strikes(*k, *n)).collect();
            let breaking = l.seconds.min(60) * 1_000_000;
            let needed = [(1, 31), (3, 63)].iter().all(|x| deeds.contains(x) && devices.contains(&x.0));
            let bad = strikes.contains(&(Kind::Crash, 4)) && needed && breaking >= 3_000_000;
            let broken = Some(format!("at {}: an edit is lost: x{}", deeds.len(), deeds.len()));
            Verdict {
                broken: broken.filter(|_| bad),
                kinds,
                devices,
                deeds,
                strikes,
                breaking,
                ..Verdict::panicked("")
            }
        };
        let run = |all: &[Less]| all.iter().map(fails).collect::<Vec<_>>();
        let (less, v, tries) = shrink(fails(&Less::default()), false, &run);
        assert!(tries <= TRIES, "{tries}");
        assert_eq!((v.kinds, v.devices), (vec![Kind::Crash], vec![1, 3]));
        assert_eq!((v.strikes, v.deeds), (vec![(Kind::Crash, 4)], vec![(1, 31), (3, 63)]));
        assert!(less.seconds <= 5, "{less}");
        assert_eq!(fails(&less).broken.map(|b| class(&b)).as_deref(), Some("an edit is lost"));
        let mut read = Less::default();
        let words: Vec<String> = less.to_string().split_whitespace().map(str::to_owned).collect();
        assert!(words.chunks(2).all(|o| read.set(&o[0], &o[1])), "{less}");
        assert_eq!(read, Less { events: read.events, ..less });
    }
}
