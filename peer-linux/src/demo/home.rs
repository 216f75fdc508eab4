//! A tracker and devices as real processes of this program.

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a program may take to start, or a command to answer.
const START: Duration = Duration::from_secs(20);
/// Set for programs that are to end with the demo that started them.
pub const CHILD: &str = "DARTSYNC_ENDS_WITH_PARENT";

const NAMES: [&str; 8] = ["anna", "ben", "carol", "dave", "eve", "frank", "grace", "henry"];

/// A running program, its lines on stdout, and its log.
struct Program {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Program {
    fn start(args: &[&std::ffi::OsStr], log: &Path) -> Result<Program> {
        let exe = std::env::current_exe().context("this program's own path")?;
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| log.display().to_string())?;
        let mut command = Command::new(&exe);
        command.args(args).env(CHILD, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().with_context(|| format!("{}: cannot be started", exe.display()))?;
        let out = child.stdout.take().expect("was asked for");
        Ok(Program { child, lines: reader(out), log: log.to_owned() })
    }
    /// The rest of the first line that begins with `word`.
    fn says(&mut self, word: &str) -> Result<String> {
        let until = Instant::now() + START;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(_) => bail!("did not say \"{word}\"; its log ends: {}", self.last_words()),
            }
        }
    }
    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let tail: Vec<&str> = match text.lines().position(|l| l.contains("panicked")) {
            Some(at) => text.lines().skip(at).take(2).collect(),
            None => text.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect(),
        };
        tail.join(" | ")
    }
    /// Asks it to end, and sees to it.
    fn stop(mut self) -> Result<()> {
        // It may have ended already; then there is nothing to signal.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(anyhow!("ended with {status}; its log ends: {}", self.last_words())),
                };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("does not end; its log ends: {}", self.last_words())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a program's stdout on a thread of its own, which ends with it.
fn reader(out: ChildStdout) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A device of the demo.
pub struct Device {
    /// Its name.
    pub name: String,
    /// The root of the home's first folder.
    pub root: PathBuf,
    state: PathBuf,
    log: PathBuf,
    program: Option<Program>,
}

impl Device {
    /// Runs a command of this device; its output.
    pub fn command(&self, args: &[&std::ffi::OsStr]) -> Result<String> {
        let exe = std::env::current_exe().context("this program's own path")?;
        let mut command = Command::new(exe);
        command.arg("--state").arg(&self.state).args(args).env(CHILD, "1").stdin(Stdio::null());
        let out = command.output().context("this program cannot be started")?;
        let what = args.first().map_or_else(String::new, |a| a.to_string_lossy().into_owned());
        if !out.status.success() {
            let why = if out.stderr.is_empty() { &out.stdout } else { &out.stderr };
            bail!("{}: `{what}` failed: {}", self.name, String::from_utf8_lossy(why).trim());
        }
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }
    /// Runs a command given as text.
    pub fn say(&self, args: &[&str]) -> Result<String> {
        self.command(&args.iter().map(|a| std::ffi::OsStr::new(*a)).collect::<Vec<_>>())
    }
    /// Bytes on its links since its start, by their name in `status --json`.
    pub fn traffic(&self, which: &str) -> Result<u64> {
        let status: serde_json::Value = serde_json::from_str(&self.say(&["status", "--json"])?)?;
        status["traffic"][which].as_u64().with_context(|| format!("{}: no {which} in its status", self.name))
    }
    /// Starts syncing, and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        let args = [std::ffi::OsStr::new("--state"), self.state.as_os_str(), std::ffi::OsStr::new("run")];
        let mut program = Program::start(&args, &self.log)?;
        program.says("ready").with_context(|| self.name.clone())?;
        self.program = Some(program);
        Ok(())
    }
    /// Stops syncing.
    pub fn stop(&mut self) -> Result<()> {
        match self.program.take() {
            Some(p) => p.stop().with_context(|| self.name.clone()),
            None => Ok(()),
        }
    }
    /// What its log says last.
    pub fn last_words(&self) -> String {
        self.program.as_ref().map_or("not running".into(), Program::last_words)
    }
    /// A place beside its first folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.with_file_name(name)
    }
}

/// The tracker and its devices. Dropped: all of them end.
pub struct Home {
    /// In the order they joined.
    pub devices: Vec<Device>,
    tracker: Option<Program>,
}

impl Home {
    /// Starts a tracker and `count` devices with their folders below `dir`.
    pub fn start(dir: &Path, count: usize) -> Result<Home> {
        let state = dir.join(".state");
        fs::create_dir_all(&state).with_context(|| state.display().to_string())?;
        let tracker_state = state.join("tracker");
        let listen = format!("127.0.0.1:{}", free_port()?);
        let args = ["tracker", "run", "--listen", &listen, "--state"].map(std::ffi::OsStr::new);
        let args = [&args[..], &[tracker_state.as_os_str()]].concat();
        let mut tracker = Program::start(&args, &state.join("tracker.log"))?;
        tracker.says("listening").context("the tracker")?;
        let mut code = tracker.says("invite").context("the tracker")?;
        let mut home = Home { devices: Vec::new(), tracker: Some(tracker) };
        for i in 0..count {
            let name = NAMES.get(i).map_or_else(|| format!("device{}", i + 1), |n| (*n).to_owned());
            let root = dir.join(&name).join("shared");
            fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
            let log = state.join(format!("{name}.log"));
            let mut d = Device { state: state.join(&name), root, log, name, program: None };
            let listen = format!("127.0.0.1:{}", free_port()?);
            let root = d.root.clone();
            let args = ["join", &code, "--name", &d.name, "--listen", &listen].map(std::ffi::OsStr::new);
            d.command(&[&args[..], &[root.as_os_str()]].concat())?;
            d.start()?;
            home.devices.push(d);
            if i + 1 < count {
                code = home.devices[0].say(&["invite"])?;
                code = code.split_whitespace().find(|w| w.starts_with("dart1")).unwrap_or("").to_owned();
            }
        }
        Ok(home)
    }
    /// Ends all, devices first.
    pub fn stop(mut self) -> Result<()> {
        for d in &mut self.devices {
            d.stop()?;
        }
        self.tracker.take().map_or(Ok(()), |t| t.stop().context("the tracker"))
    }
}

/// A port nobody listens at now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on this machine")?;
    Ok(listener.local_addr()?.port())
}
