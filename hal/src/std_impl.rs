//! Clock, entropy, console and storage of an operating system.

use crate::clock::Clock;
use crate::console::Console;
use crate::entropy::Entropy;
use crate::storage::{Item, Storage};
use nix::time::{ClockId, clock_gettime};
use std::fmt::Arguments;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The system's clocks; [`NetStd`](crate::net_std::NetStd) waits by the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdClock;

impl Clock for StdClock {
    fn now_us(&self) -> u64 {
        microseconds(ClockId::CLOCK_MONOTONIC)
    }
    fn wall_us(&self) -> u64 {
        microseconds(ClockId::CLOCK_REALTIME)
    }
}

fn microseconds(clock: ClockId) -> u64 {
    let t = clock_gettime(clock).expect("these two clocks are always there");
    let seconds = u64::try_from(t.tv_sec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(t.tv_nsec() as u64 / 1_000)
}

/// The system's entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdEntropy;

impl Entropy for StdEntropy {
    fn fill(&mut self, out: &mut [u8; 32]) {
        getrandom::fill(out).expect("nothing is safe without entropy");
    }
}

/// Answers on stdout, the log on stderr.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdConsole;

impl Console for StdConsole {
    fn say(&mut self, line: Arguments<'_>) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
    fn log(&mut self, line: Arguments<'_>) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// Items as files of a directory, of mode 0600.
#[derive(Clone, Debug)]
pub struct StdStorage(PathBuf);

impl StdStorage {
    /// Keeps items in `dir`, which is made (mode 0700) if need be.
    pub fn new(dir: &Path) -> io::Result<StdStorage> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| at(dir, e))?;
        Ok(StdStorage(dir.to_owned()))
    }
    fn path(&self, item: Item) -> PathBuf {
        self.0.join(match item {
            Item::Identity => "identity",
            Item::Roster => "roster",
        })
    }
}

impl Storage for StdStorage {
    type Error = io::Error;

    fn load(&mut self, item: Item, into: &mut [u8]) -> io::Result<Option<usize>> {
        let path = self.path(item);
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| at(&path, e))?,
        };
        let mut n = 0;
        loop {
            match file.read(&mut into[n..]).map_err(|e| at(&path, e))? {
                0 if n < into.len() || file.read(&mut [0]).map_err(|e| at(&path, e))? == 0 => {
                    return Ok(Some(n));
                }
                0 => return Err(at(&path, io::ErrorKind::FileTooLarge.into())),
                more => n += more,
            }
        }
    }
    fn save(&mut self, item: Item, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(item);
        write_durably(&path, bytes).map_err(|e| at(&path, e))
    }
}

/// Replaces a file: wholly old or wholly new after a power cut at any instant, and durable when this returns; its
/// mode is 0600.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp)?;
    // One that a crash left behind keeps its mode when opened again.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

fn at(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}
