//! `dartsync demo`: a tracker and devices on this machine, what they do, and how long it took.
//!
//! Every step is judged by the files themselves, never by what the programs say.

mod home;
mod steps;
pub mod tree;

pub use home::CHILD;

use anyhow::{Context, Result, bail};
use dartsync_hal::os::StopSignals;
use home::Home;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// How the demo is shown.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many devices, at least 2.
    pub devices: usize,
    /// Where; none = a new temporary directory, removed at the end.
    pub dir: Option<PathBuf>,
    /// End after the show.
    pub once: bool,
}

/// Interrupts, read where it suits: children are ended in order, and directories removed.
pub(crate) struct Interrupts(StopSignals);

impl Interrupts {
    /// An error once the user wants the end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.came() {
            bail!("interrupted");
        }
        Ok(())
    }
    fn wait(&self) {
        while self.check().is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Shows it. Exit 0 only if every step held.
pub fn run(options: &Options) -> Result<ExitCode> {
    let interrupts = Interrupts(StopSignals::take().context("signals")?);
    let place = Place::make(options)?;
    let shown = show(options, &place.dir, &interrupts);
    let code = match &shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("FAILED: {e:#}");
            ExitCode::from(1)
        }
    };
    if shown.is_err() && !options.once && options.dir.is_some() {
        println!("logs are in {}", place.dir.join(".state").display());
    }
    place.clear(options.dir.is_some() && !options.once)?;
    if shown.is_ok() && options.once {
        println!("all held");
    }
    Ok(code)
}

fn show(options: &Options, dir: &Path, interrupts: &Interrupts) -> Result<()> {
    let begun = Instant::now();
    let mut home = Home::start(dir, options.devices)?;
    let names: Vec<&str> = home.devices.iter().map(|d| d.name.as_str()).collect();
    let took = begun.elapsed().as_millis();
    println!("a tracker and {} devices ({}) run after {took} ms", names.len(), names.join(", "));
    steps::all(&mut home, interrupts)?;
    if !options.once {
        println!("\nall held. They go on running; edit files in any of these and look at the others:");
        home.devices.iter().for_each(|d| println!("  {}", d.root.display()));
        println!("Ctrl-C ends it.");
        interrupts.wait();
        println!("ending");
    }
    // After Ctrl-C in a terminal the programs have had the signal too and may be gone: that is no failure.
    home.stop()
}

/// The directory of the show: made here, so that it may be removed.
struct Place {
    dir: PathBuf,
    made: bool,
}

impl Place {
    fn make(options: &Options) -> Result<Place> {
        let temporary = || std::env::temp_dir().join(format!("dartsync-demo-{}", std::process::id()));
        let dir = options.dir.clone().unwrap_or_else(temporary);
        let dir = std::path::absolute(&dir)?;
        let made = !dir.exists();
        fs::create_dir_all(&dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
        if fs::read_dir(&dir)?.next().is_some() {
            bail!("{}: is not empty; name another directory with --dir", dir.display());
        }
        Ok(Place { dir, made })
    }
    /// Removes all that the show made.
    fn clear(&self, keep: bool) -> Result<()> {
        if keep {
            return Ok(());
        }
        let gone = if self.made {
            fs::remove_dir_all(&self.dir)
        } else {
            fs::read_dir(&self.dir)?.try_for_each(|e| fs::remove_dir_all(e?.path()))
        };
        gone.with_context(|| format!("{}: cannot be removed", self.dir.display()))
    }
}
