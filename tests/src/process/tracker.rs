//! A tracker as a process.

use super::program::{Program, binary, command_in, free_port};
use dartsync_core::roster::Roster;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A tracker: `dartsync tracker run`, which is `dartsync-tracker run`.
#[derive(Debug)]
pub struct Tracker {
    /// Its state directory.
    pub state: PathBuf,
    /// Where it listens.
    pub listen: String,
    /// What it prints.
    pub log: PathBuf,
    /// The running program.
    pub program: Option<Program>,
    more: Vec<String>,
    namespace: Option<String>,
}

impl Tracker {
    /// A tracker with its state below `dir`, not started.
    pub fn new(dir: &Path) -> Tracker {
        Tracker::with(dir, &[])
    }
    /// A tracker with more arguments.
    pub fn with(dir: &Path, more: &[&str]) -> Tracker {
        let listen = format!("127.0.0.1:{}", free_port());
        let more = more.iter().map(|s| (*s).to_owned()).collect();
        let (state, log) = (dir.join("tracker"), dir.join("tracker.log"));
        Tracker { state, listen, log, program: None, more, namespace: None }
    }
    /// It runs in that network namespace, and is reached at that address.
    pub fn live_in(&mut self, namespace: &str, address: &str) {
        self.namespace = Some(namespace.to_owned());
        self.listen = format!("{address}:7420");
    }
    /// From its next start on it has this argument, in place of one of that name.
    pub fn give(&mut self, name: &str, value: &str) {
        if let Some(at) = self.more.iter().position(|a| a == name) {
            self.more.drain(at..at + 2);
        }
        self.more.extend([name, value].map(str::to_owned));
    }
    /// Starts it, and waits until it listens.
    pub fn start(&mut self) {
        let mut args = ["tracker", "run", "--listen", &self.listen, "--state"].map(OsStr::new).to_vec();
        args.push(self.state.as_os_str());
        args.extend(self.more.iter().map(OsStr::new));
        let mut program = Program::start(command_in(self.namespace.as_deref(), binary(), &args), &self.log);
        program.says("listening ");
        self.program = Some(program);
    }
    /// The founding invite.
    pub fn invite(&mut self) -> String {
        self.running().says("invite ")
    }
    /// kill -9.
    pub fn kill(&mut self) {
        self.program = None;
    }
    /// Removes the sealed roster, as with a lost card whose identity was restored. The tracker is down.
    pub fn lose_roster(&self) {
        assert!(self.program.is_none(), "it would write it again");
        std::fs::remove_file(self.roster()).expect("there is a roster");
    }
    /// Where the sealed roster is.
    pub fn roster(&self) -> PathBuf {
        self.state.join("roster")
    }
    /// The roster that it stored last.
    pub fn read_roster(&self) -> Box<Roster> {
        let sealed = std::fs::read(self.roster()).expect("there is a roster");
        Box::new(Roster::decode(&sealed).expect("the tracker sealed it"))
    }
    /// The running program.
    pub fn running(&mut self) -> &mut Program {
        self.program.as_mut().expect("the tracker runs")
    }
}
