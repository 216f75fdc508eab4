//! The tracker as a program of Linux: command line, files, sockets, signals.

use crate::serve::{Board, LINKS, SLOTS, Server, Slot, VISITORS, to_core};
use crate::start::{Stored, load_identity};
use crate::words;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use dartsync_core::rng::Rng;
use dartsync_core::roster::ROSTER_BYTES;
use dartsync_core::tracker::Tracker;
use dartsync_hal::console::Console;
use dartsync_hal::entropy::Entropy;
use dartsync_hal::net::{Addr, Net};
use dartsync_hal::net_std::NetStd;
use dartsync_hal::os;
use dartsync_hal::std_impl::{StdClock, StdConsole, StdEntropy, StdStorage};
use dartsync_hal::storage::{Item, Storage};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The smallest table that is of any use.
const MEMORY_MIN: usize = 1 << 20;

/// The tracker of a DartSync home: it tells every device what changed where, and keeps no files.
#[derive(Debug, Parser)]
#[command(name = "dartsync-tracker", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the tracker's program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves the home's devices, in the foreground. Prints `listening ADDR:PORT` and, until a device has ever
    /// joined, `invite CODE`.
    Run(RunArgs),
    /// Prints the tracker's identity as words to keep in a safe place: who has them can be this tracker.
    Recovery {
        /// The tracker's state directory.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Makes an empty state directory this tracker's again, from its words. Its devices bring back all else.
    Restore {
        /// The state directory to make.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// The words that `recovery` printed.
        #[arg(required = true, value_name = "WORDS")]
        words: Vec<String>,
    },
}

/// How to serve.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where identity and roster are kept; made if need be.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7420")]
    pub listen: SocketAddr,
    /// Where to show a status page to everybody who asks; nowhere if not given.
    #[arg(long, value_name = "ADDR:PORT")]
    pub status: Option<SocketAddr>,
    /// Memory for the table of files: bytes, or with K, M or G behind.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_memory)]
    pub memory: usize,
    /// The home's name, as devices show it.
    #[arg(long, value_name = "HOME", default_value = "home")]
    pub name: String,
}

/// The whole program: `args` begin with its name. Exit codes: 0 done, 1 failed, 2 wrong usage.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("dartsync-tracker: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the command says; `run` returns when SIGTERM or SIGINT has come.
pub fn execute(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => run(&args),
        Command::Recovery { state } => recovery(&state),
        Command::Restore { state, words } => restore(&state, &words.join(" ")),
    }
}

/// Serves until SIGTERM or SIGINT comes. Both are blocked in this thread from then on, and are to be in others.
pub fn run(args: &RunArgs) -> Result<()> {
    let signals = os::StopSignals::take()?;
    let mut storage = StdStorage::new(&args.state)?;
    let _lock = lock(&args.state)?;
    let mut roster = Box::new([0; ROSTER_BYTES]);
    let stored = Stored::load(&mut storage, &mut StdEntropy, &mut roster).context("cannot start")?;
    let mut net = NetStd::new(Some(args.listen), LINKS + VISITORS)
        .with_context(|| format!("cannot listen at {}", args.listen))?;
    net.watch(signals.as_fd(), 0)?;
    let page = args.status.map(|at| net.also_listen(at).with_context(|| format!("cannot listen at {at}")));
    let page = page.transpose()?;
    let listening = net.listening().context("the listener has no address")?;

    let mut rng = Rng::from_seed(seed());
    // Zeroed pages come from the kernel when they are first used: what is not needed is not resident.
    let mut memory = vec![0; args.memory];
    let config = stored.config(&roster, rng.bytes(), &args.name);
    let mut tracker = made_aside(|| Box::new(Tracker::new(config, &mut memory)))?;
    drop(roster);
    stored.keep(&mut storage, &tracker)?;

    let mut console = StdConsole;
    console.say(format_args!("listening {listening}"));
    if let Some(code) = stored.founding_code(&tracker, addresses(listening).into_iter().map(to_core)) {
        console.say(format_args!("invite {code}"));
    }
    if let Some(at) = page {
        console.say(format_args!("status http://{at}/"));
    }
    let board = Board { net, clock: StdClock, console, storage };
    let mut slots: Vec<Option<Slot>> = std::iter::repeat_with(|| None).take(SLOTS).collect();
    tell(os::Standing::Ready);
    let mut server = Box::new(Server::new(board, &mut *tracker, stored.key, rng, &mut slots));
    if let Some(at) = page {
        server.show_status(at.port(), |_| Ok(()));
    }
    server.run(|| signals.came()).context("the network failed")?;
    tell(os::Standing::Stopping);
    StdConsole.log(format_args!("stopped"));
    Ok(())
}

/// Tells a service manager, if one started this program.
fn tell(standing: os::Standing) {
    if let Err(e) = os::notify(standing) {
        StdConsole.log(format_args!("the service manager is not told: {e}"));
    }
}

/// What `make` makes, in a thread of its own: a tracker takes shape on the stack, some MiB deep (how many, depends on
/// what the compiler leaves of copies), and those pages go with the thread instead of staying resident for good.
fn made_aside<T: Send>(make: impl FnOnce() -> T + Send) -> io::Result<T> {
    const STACK: usize = 64 << 20;
    std::thread::scope(|s| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(s, make)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn recovery(state: &Path) -> Result<()> {
    if !state.is_dir() {
        bail!("{}: there is no tracker", state.display());
    }
    let key = load_identity(&mut StdStorage::new(state)?)?;
    let key = key.with_context(|| format!("{}: the tracker has never run", state.display()))?;
    StdConsole.say(format_args!("{}", words::encode(key.secret())));
    Ok(())
}

fn restore(state: &Path, words: &str) -> Result<()> {
    let identity = words::decode(words)?;
    let mut storage = StdStorage::new(state)?;
    let _lock = lock(state)?;
    match load_identity(&mut storage)? {
        Some(key) if *key.secret() == identity => {}
        Some(_) => bail!("{}: another tracker lives there already", state.display()),
        None => storage.save(Item::Identity, &identity)?,
    }
    Ok(())
}

/// Where the tracker can be dialled, best first.
fn addresses(listening: Addr) -> Vec<Addr> {
    let at = SocketAddr::from(listening);
    if !at.ip().is_unspecified() {
        return vec![listening];
    }
    let mut all = os::interface_addresses().unwrap_or_default();
    if at.is_ipv4() {
        all.retain(IpAddr::is_ipv4);
    }
    if all.is_empty() {
        all.push(Ipv4Addr::LOCALHOST.into());
    }
    all.into_iter().map(|ip| SocketAddr::new(ip, at.port()).into()).collect()
}

/// One tracker a state directory, for as long as the file is open.
fn lock(state: &Path) -> Result<File> {
    let path = state.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{}: a tracker runs there already", state.display()),
        Err(TryLockError::Error(e)) => Err(e).with_context(|| path.display().to_string()),
    }
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    StdEntropy.fill(&mut seed);
    seed
}

fn parse_memory(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: usize =
        match text[digits.len()..].to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
            "" => 1,
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            other => return Err(format!("{other:?} is no unit: K, M or G")),
        };
    let number: usize =
        digits.parse().map_err(|_| "a size is a number, with K, M or G behind".to_string())?;
    match number.checked_mul(unit) {
        Some(n) if n >= MEMORY_MIN => Ok(n),
        Some(_) => Err("a table needs 1M at least".into()),
        None => Err("more than this machine can address".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let ok =
            [("64M", 64 << 20), ("1g", 1 << 30), ("2048K", 2 << 20), ("1048576", 1 << 20), ("3MiB", 3 << 20)];
        ok.iter().for_each(|(text, n)| assert_eq!(parse_memory(text), Ok(*n), "{text}"));
        for text in ["", "M", "64X", "-1M", "1.5M", "12", "99999999999G", "99999999999999999999999"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bound_address_is_told_alone() {
        let one = Addr::V4([127, 0, 0, 1], 9);
        assert_eq!(addresses(one), [one]);
        let all = addresses(Addr::V4([0; 4], 7420));
        assert!(!all.is_empty() && all.iter().all(|a| a.port() == 7420 && *a != Addr::V4([0; 4], 7420)));
    }
}
