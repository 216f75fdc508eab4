//! What a run leaves out of what its seed asks for: so that a failure is seen in as small a world as shows it. Whatever is
//! left out, everything else is drawn as it was.

use super::faults::{ALL, Kind};
use super::world::SECOND;
use std::collections::BTreeSet;
use std::fmt;

/// See the module. [`Less::default`] leaves nothing out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Less {
    /// These devices never come.
    pub absent: BTreeSet<usize>,
    /// Of what users do, these alone: whose, and which of their deeds; none: all.
    pub deeds: Option<BTreeSet<(usize, u64)>>,
    /// Of what breaks, these times alone; none: all.
    pub strikes: Option<BTreeSet<(Kind, u64)>>,
    /// Things break for at most so many seconds.
    pub seconds: u64,
    /// These do not break.
    pub without: BTreeSet<Kind>,
    /// Other luck of nets and disks in the same world; 0: the seed's own.
    pub salt: u64,
    /// Judged more strictly, as a run is in which nothing breaks; not every seed is clean then yet (`docs/ARCHITECTURE.md`).
    pub audit: bool,
    /// It is given up, clean, after so many events: no option of the command line.
    pub events: u64,
}

impl Default for Less {
    fn default() -> Less {
        Less {
            absent: BTreeSet::new(),
            deeds: None,
            strikes: None,
            seconds: u64::MAX,
            without: BTreeSet::new(),
            salt: 0,
            audit: false,
            events: u64::MAX,
        }
    }
}

fn kind(name: &str) -> Option<Kind> {
    ALL.into_iter().find(|k| format!("{k:?}") == name)
}
/// No pairs at all.
const NONE: &str = "none";
/// `A:1,A:4,B:0`.
fn pairs<T: Ord>(text: &str, first: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<(T, u64)>> {
    let one = |p: &str| p.split_once(':').and_then(|(a, n)| Some((first(a)?, n.parse().ok()?)));
    if text == NONE { Some(BTreeSet::new()) } else { text.split(',').map(one).collect() }
}
fn list<T: fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|x| x.to_string()).collect();
    if all.is_empty() { NONE.into() } else { all.join(",") }
}

impl Less {
    /// Takes an option of the command line; false if there is no such option or its value is none.
    #[must_use]
    pub fn set(&mut self, option: &str, value: &str) -> bool {
        fn to<T: std::str::FromStr>(place: &mut T, value: &str) -> bool {
            value.parse().map(|v| *place = v).is_ok()
        }
        match option {
            "--absent" => value.split(',').all(|d| d.parse().map(|d| self.absent.insert(d)).is_ok()),
            "--deeds" => {
                self.deeds = pairs(value, |d| d.parse().ok());
                self.deeds.is_some()
            }
            "--strikes" => {
                self.strikes = pairs(value, kind);
                self.strikes.is_some()
            }
            "--seconds" => to(&mut self.seconds, value),
            "--salt" => to(&mut self.salt, value),
            "--audit" => to(&mut self.audit, value),
            "--without" => value.split(',').all(|name| kind(name).map(|k| self.without.insert(k)).is_some()),
            _ => false,
        }
    }
    /// How long things break (µs), of what the seed asks for.
    pub(super) fn span(&self, drawn: u64) -> u64 {
        drawn.min(self.seconds.saturating_mul(SECOND))
    }
    pub(super) fn deeds(&self, d: usize, deed: u64) -> bool {
        self.deeds.as_ref().is_none_or(|all| all.contains(&(d, deed)))
    }
    pub(super) fn strikes(&self, k: Kind, n: u64) -> bool {
        self.strikes.as_ref().is_none_or(|all| all.contains(&(k, n)))
    }
}

/// As the command line takes it, with a space before each option.
impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.absent.is_empty() {
            write!(f, " --absent {}", list(&self.absent))?;
        }
        if self.seconds != u64::MAX {
            write!(f, " --seconds {}", self.seconds)?;
        }
        if !self.without.is_empty() {
            write!(f, " --without {}", list(self.without.iter().map(|k| format!("{k:?}"))))?;
        }
        if let Some(all) = &self.strikes {
            write!(f, " --strikes {}", list(all.iter().map(|(k, n)| format!("{k:?}:{n}"))))?;
        }
        if let Some(all) = &self.deeds {
            write!(f, " --deeds {}", list(all.iter().map(|(d, n)| format!("{d}:{n}"))))?;
        }
        if self.audit {
            write!(f, " --audit true")?;
        }
        if self.salt != 0 {
            write!(f, " --salt {}", self.salt)?;
        }
        Ok(())
    }
}
