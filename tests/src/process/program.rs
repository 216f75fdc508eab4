//! One running program and its log.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The program `dartsync`, built from this workspace as this test was; `DARTSYNC_BIN` names a directory with another.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(dir) = std::env::var_os("DARTSYNC_BIN") {
            return PathBuf::from(dir).join("dartsync");
        }
        let within = built_in();
        let profile = match within.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let mut build = sans_cargo();
        build.args(["build", "--quiet", "--workspace", "--bins", "--profile", profile]);
        let built = build.status();
        assert!(built.as_ref().is_ok_and(ExitStatus::success), "the programs do not build: {built:?}");
        within.join("dartsync")
    })
}

/// The directory of cargo's that this test was built in.
pub(super) fn built_in() -> PathBuf {
    let own = std::env::current_exe().expect("this test's own path");
    let within = own.ancestors().find(|d| d.join(".fingerprint").exists());
    within.expect("this test lies in cargo's target directory").to_path_buf()
}

/// Cargo, told nothing of what it told this test: that would make build scripts run anew.
pub(super) fn sans_cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let told =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|p| name.starts_with(p));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        cargo.env_remove(name);
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    cargo
}

/// A port of loopback that nobody listens at now, and that the system gives no connection before somebody does.
pub fn free_port() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    let ports = (0..).map(|n| 10_000 + (random.wrapping_add(n) % 20_000) as u16);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.take(20_000).find(is_free).expect("a free port")
}

/// A command of the program that ends with the thread that starts it.
pub(super) fn command(binary: &Path, args: &[&OsStr]) -> Command {
    let mut command = Command::new(binary);
    command.args(args).env(dartsync::demo::CHILD, "1").env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// [`command`] in a network namespace, if one is named.
pub(super) fn command_in(namespace: Option<&str>, binary: &Path, args: &[&OsStr]) -> Command {
    let plain = command(binary, args);
    let Some(name) = namespace else { return plain };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{name}")).arg(binary).args(args).stdin(Stdio::null());
    plain.get_envs().for_each(|(key, value)| {
        command.env(key, value.expect("none is taken away"));
    });
    command
}

/// A program that runs until it is killed or dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
    /// Where this run's lines begin in the log.
    from: usize,
}

impl Program {
    /// Starts it; what it prints goes to the end of `log`.
    pub fn start(mut command: Command, log: &Path) -> Program {
        let from = fs::metadata(log).map_or(0, |m| m.len() as usize);
        let file = File::options().create(true).append(true).open(log).expect("a log can be written");
        let other = file.try_clone().expect("a log can be written");
        let child = command.stdout(file).stderr(other).spawn();
        let child = child.unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
        Program { child, log: log.to_owned(), from }
    }
    /// The rest of the first whole line that begins with `word`, waited for.
    pub fn says(&mut self, word: &str) -> String {
        let until = Instant::now() + super::PATIENCE;
        loop {
            let log = self.text();
            let whole = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some(rest) = whole.lines().find_map(|l| l.strip_prefix(word)) {
                return rest.trim().to_owned();
            }
            if let Some(status) = self.child.try_wait().expect("a child can be asked for") {
                panic!("{}: ended with {status} before it said {word:?}:\n{log}", self.log.display());
            }
            assert!(Instant::now() < until, "{}: did not say {word:?}:\n{log}", self.log.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    /// What this run has printed.
    pub fn text(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.from..).unwrap_or_default()).into_owned()
    }
    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
    /// Asks it to end (SIGTERM) and sees that it ends well.
    pub fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{}: ended with {status}:\n{}", self.log.display(), self.text());
    }
    /// Waits until it ends by itself; none if it does not within that time.
    pub fn ends(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait().expect("a child can be asked for") {
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                ended => return ended,
            }
        }
    }
    /// Its number as a process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
    /// Resident memory, KiB.
    pub fn resident(&self) -> u64 {
        self.status_field("VmRSS:")
    }
    /// Its highest resident memory, KiB.
    pub fn resident_peak(&self) -> u64 {
        self.status_field("VmHWM:")
    }
    fn status_field(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|l| l.strip_prefix(field)).expect("the kernel tells it");
        line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number of KiB")
    }
    /// Time on a processor so far, all threads.
    pub fn busy(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> =
            stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|t| t.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
