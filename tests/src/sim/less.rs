//! What a run leaves out of what its seed asks for: so that a failure is seen in as small a world as shows it.

use super::faults::{ALL, Kind};
use super::world::SECOND;
use std::fmt;

/// See the module. [`Less::default`] leaves nothing out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Less {
    /// At most so many devices.
    pub devices: usize,
    /// At most so many things that users do.
    pub edits: u64,
    /// Things break for at most so many seconds.
    pub seconds: u64,
    /// These do not break.
    pub without: Vec<Kind>,
    /// Other luck in the same world; 0: the seed's own.
    pub salt: u64,
    /// The stricter promises are judged, too, that not every seed keeps yet.
    pub audit: bool,
    /// It is given up, clean, after so many events: no option of the command line.
    pub events: u64,
}

impl Default for Less {
    fn default() -> Less {
        Less {
            devices: usize::MAX,
            edits: u64::MAX,
            seconds: u64::MAX,
            without: Vec::new(),
            salt: 0,
            audit: false,
            events: u64::MAX,
        }
    }
}

impl Less {
    /// Takes an option of the command line; false if there is no such option or its value is none.
    #[must_use]
    pub fn set(&mut self, option: &str, value: &str) -> bool {
        fn to<T: std::str::FromStr>(place: &mut T, value: &str) -> bool {
            value.parse().map(|v| *place = v).is_ok()
        }
        match option {
            "--devices" => to(&mut self.devices, value) && self.devices >= 2,
            "--edits" => to(&mut self.edits, value),
            "--seconds" => to(&mut self.seconds, value),
            "--salt" => to(&mut self.salt, value),
            "--audit" => to(&mut self.audit, value),
            "--without" => value.split(',').all(|name| {
                let kind = ALL.into_iter().find(|k| format!("{k:?}") == name);
                kind.inspect(|k| self.without.push(*k)).is_some()
            }),
            _ => false,
        }
    }
    /// How long things break (µs), of what the seed asks for.
    pub(super) fn span(&self, drawn: u64) -> u64 {
        drawn.min(self.seconds.saturating_mul(SECOND))
    }
}

/// As the command line takes it, with a space before each option.
impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Less::default();
        if self.devices != all.devices {
            write!(f, " --devices {}", self.devices)?;
        }
        if self.edits != all.edits {
            write!(f, " --edits {}", self.edits)?;
        }
        if self.seconds != all.seconds {
            write!(f, " --seconds {}", self.seconds)?;
        }
        if !self.without.is_empty() {
            let names: Vec<String> = self.without.iter().map(|k| format!("{k:?}")).collect();
            write!(f, " --without {}", names.join(","))?;
        }
        if self.audit {
            write!(f, " --audit true")?;
        }
        if self.salt != all.salt {
            write!(f, " --salt {}", self.salt)?;
        }
        Ok(())
    }
}
