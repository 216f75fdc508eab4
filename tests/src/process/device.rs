//! A device as a process, its folder, and its user.

use super::program::{Program, binary, command_in, free_port};
use super::{PATIENCE, Tree, tree, wait_for};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant, SystemTime};

/// A device: `dartsync --state … run`.
#[derive(Debug)]
pub struct Device {
    /// Its name in the home.
    pub name: String,
    /// Its state directory.
    pub state: PathBuf,
    /// The root of the home's first folder.
    pub root: PathBuf,
    /// Where others reach it.
    pub listen: String,
    /// What it prints.
    pub log: PathBuf,
    /// The running program.
    pub program: Option<Program>,
    /// The socket of a service manager that its programs are started by.
    pub tells: Option<PathBuf>,
    binary: PathBuf,
    user: Option<u32>,
    namespace: Option<String>,
}

/// What the device's programs are asked.
impl Device {
    /// A device with everything below `dir`, not joined.
    pub fn new(dir: &Path, name: &str) -> Device {
        let root = dir.join(name);
        fs::create_dir_all(&root).expect("a directory can be made");
        let (state, log) = (dir.join(format!("{name}.state")), dir.join(format!("{name}.log")));
        let listen = format!("127.0.0.1:{}", free_port());
        let binary = binary().to_path_buf();
        Device {
            name: name.to_owned(),
            state,
            root,
            listen,
            log,
            program: None,
            tells: None,
            binary,
            user: None,
            namespace: None,
        }
    }
    /// From now on its programs run as that user, from a copy that the user may read. As root only.
    pub fn run_as(&mut self, user: u32) {
        let copy = self.log.with_extension("program");
        // By another program: a handle open for writing here could be inherited by a child, and what is open for
        // writing cannot be run.
        let copied = std::process::Command::new("cp").args([&self.binary, &copy]).status();
        assert!(copied.is_ok_and(|status| status.success()), "the program can be copied");
        self.binary = copy;
        self.user = Some(user);
        let mut todo = vec![self.state.clone(), self.root.clone()];
        while let Some(path) = todo.pop() {
            std::os::unix::fs::lchown(&path, Some(user), Some(user)).expect("root may");
            if path.is_dir() && !path.is_symlink() {
                todo.extend(fs::read_dir(&path).expect("root may").map(|e| e.expect("root may").path()));
            }
        }
    }
    /// From now on its programs run in that network namespace, and are reached at that address.
    pub fn live_in(&mut self, namespace: &str, address: &str) {
        self.namespace = Some(namespace.to_owned());
        self.listen = format!("{address}:7421");
    }
    /// Runs a command to its end, whatever it says.
    pub fn try_say(&self, args: &[impl AsRef<OsStr>]) -> Output {
        let mut all = vec![OsStr::new("--state"), self.state.as_os_str()];
        all.extend(args.iter().map(AsRef::as_ref));
        let mut command = self.command(&all);
        command.output().unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
    /// Runs a command that must succeed; what it printed.
    pub fn say(&self, args: &[impl AsRef<OsStr>]) -> String {
        let out = self.try_say(args);
        let said: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{}: {}: {}{text}", self.name, said.join(" "), errors);
        text.trim().to_owned()
    }
    /// Joins with a code, its root linked to the home's first folder.
    pub fn join(&self, code: &str) {
        let out = self.try_join(code);
        assert!(out.status.success(), "{}: join: {}", self.name, String::from_utf8_lossy(&out.stderr));
    }
    /// Tries to join.
    pub fn try_join(&self, code: &str) -> Output {
        let root = self.root.to_str().expect("plain names");
        self.try_say(&["join", code, root, "--name", &self.name, "--listen", &self.listen])
    }
    /// Starts it, and waits until it watches its folders.
    pub fn start(&mut self) {
        self.start_unready();
        self.running().says("ready");
    }
    /// Starts it.
    pub fn start_unready(&mut self) {
        let args = [OsStr::new("--state"), self.state.as_os_str(), OsStr::new("run")];
        self.program = Some(Program::start(self.command(&args), &self.log));
    }
    /// kill -9.
    pub fn kill(&mut self) {
        self.program = None;
    }
    /// Asks it to end.
    pub fn stop(&mut self) {
        self.running().stop();
        self.program = None;
    }
    /// The running program.
    pub fn running(&mut self) -> &mut Program {
        self.program.as_mut().unwrap_or_else(|| panic!("{} runs", self.name))
    }
    /// A fresh invite.
    pub fn invite(&self) -> String {
        let said = self.say(&["invite"]);
        let code = said.split_whitespace().find(|word| word.starts_with("dart1"));
        code.unwrap_or_else(|| panic!("no code: {said}")).to_owned()
    }
    /// `status --json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.say(&["status", "--json"])).expect("JSON")
    }
    /// The status of a folder by its label; of the only one for "".
    pub fn folder(&self, label: &str) -> Value {
        let status = self.status();
        let folders = status["folders"].as_array().expect("a list of folders");
        let found = folders.iter().find(|f| label.is_empty() || f["label"] == label);
        found.unwrap_or_else(|| panic!("{}: no folder {label:?}: {status}", self.name)).clone()
    }
    /// The state of its first folder.
    pub fn state_word(&self) -> String {
        self.folder("")["state"].as_str().expect("a word").to_owned()
    }
    /// Waits until status names `path` with a cause that contains `cause`.
    pub fn names_trouble(&self, path: &str, cause: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let errors = self.folder("")["errors"].clone();
            let named = |e: &Value| {
                e["path"] == path && e["cause"].as_str().is_some_and(|c| c.to_lowercase().contains(cause))
            };
            if errors.as_array().expect("a list").iter().any(named) {
                return;
            }
            let late = Instant::now() > until;
            assert!(!late, "{}: {path}: {cause:?} is not among {errors}{}", self.name, self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    /// `wait`: whether it was in sync within the time.
    pub fn in_sync(&self, within: Duration) -> bool {
        let seconds = format!("{}", within.as_secs_f64());
        self.try_say(&["wait", "--timeout", &seconds]).status.success()
    }
    /// `wait`, which must succeed.
    pub fn wait(&self) {
        let seconds = format!("{}", PATIENCE.as_secs());
        let out = self.try_say(&["wait", "--timeout", &seconds]);
        assert!(out.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&out.stdout));
    }
    /// What it says of itself, and the end of its log.
    pub fn last_words(&self) -> String {
        let wait = self.program.as_ref().map(|_| self.try_say(&["wait", "--timeout", "0"]).stdout);
        let wait = String::from_utf8_lossy(&wait.unwrap_or_default()).replace('\n', "; ");
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        let lines: String = lines.into_iter().rev().map(|l| format!("\n    {l}")).collect();
        format!("\n    [{wait}]{lines}")
    }
    fn command(&self, args: &[&OsStr]) -> std::process::Command {
        let mut command = command_in(self.namespace.as_deref(), &self.binary, args);
        command.env("HOME", self.log.with_extension("home"));
        if let Some(socket) = &self.tells {
            command.env("NOTIFY_SOCKET", socket);
        }
        if let Some(user) = self.user {
            use std::os::unix::process::CommandExt;
            command.uid(user).gid(user);
        }
        command
    }
}

/// What its user does in the root. Names may be any bytes.
impl Device {
    /// A path below the root.
    pub fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.root.join(OsStr::from_bytes(name.as_ref()))
    }
    /// One save: opened, written, closed; directories made as needed.
    pub fn put(&self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory can be made");
        fs::write(&path, data).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    /// A save with an mtime that many seconds ago.
    pub fn put_aged(&self, name: &str, data: impl AsRef<[u8]>, seconds: u64) {
        self.put(name, data);
        self.set_mtime(name, SystemTime::now() - Duration::from_secs(seconds));
    }
    /// Sets a file's mtime.
    pub fn set_mtime(&self, name: &str, to: SystemTime) {
        let file = fs::File::open(self.path(name)).expect("it is there");
        file.set_modified(to).expect("an mtime can be set");
    }
    /// A save by rename, as editors do it.
    pub fn replace(&self, name: &str, data: impl AsRef<[u8]>) {
        let other = format!("{name}.new~");
        self.put(&other, data);
        self.rename(&other, name);
    }
    /// Appends.
    pub fn append(&self, name: &str, data: &[u8]) {
        let mut file = fs::File::options().append(true).open(self.path(name)).expect("it is there");
        std::io::Write::write_all(&mut file, data).expect("it can be written");
    }
    /// Cuts a file.
    pub fn truncate(&self, name: &str, length: u64) {
        let file = fs::File::options().write(true).open(self.path(name)).expect("it is there");
        file.set_len(length).expect("it can be cut");
    }
    /// Renames; the target's directory is made as needed.
    pub fn rename(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("below the root")).expect("a directory can be made");
        fs::rename(self.path(from), to).expect("it can be renamed");
    }
    /// Removes a file or link.
    pub fn remove(&self, name: impl AsRef<[u8]>) {
        fs::remove_file(self.path(name)).expect("it can be removed");
    }
    /// Removes a directory and all in it.
    pub fn remove_all(&self, name: &str) {
        fs::remove_dir_all(self.path(name)).expect("it can be removed");
    }
    /// Makes a directory and those above it.
    pub fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).expect("it can be made");
    }
    /// Makes a symbolic link.
    pub fn link(&self, name: &str, text: &str) {
        symlink(text, self.path(name)).expect("it can be made");
    }
    /// Sets mode bits.
    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("they can be set");
    }
    /// Whether anything stands there.
    pub fn has(&self, name: impl AsRef<[u8]>) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }
    /// A file's bytes, if there is one.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }
    /// Waits until a file holds these bytes.
    pub fn gets(&self, name: &str, data: impl AsRef<[u8]>) {
        let until = Instant::now() + PATIENCE;
        while self.get(name).is_none_or(|found| found != data.as_ref()) {
            let late = Instant::now() > until;
            assert!(!late, "{}: {name} does not come to hold what it should{}", self.name, self.last_words());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    /// Waits until nothing stands there.
    pub fn loses(&self, name: &str) {
        wait_for(&format!("{}: {name} is still there", self.name), || (!self.has(name)).then_some(()));
    }
    /// Its first folder's tree, as it is now.
    pub fn tree(&self) -> Tree {
        wait_for("a tree at rest", || tree(&self.root).ok())
    }
    /// The names of conflict copies in its first folder.
    pub fn conflict_copies(&self) -> Vec<String> {
        let tree = self.tree();
        let names = tree.keys().map(|path| path.to_string_lossy().into_owned());
        names.filter(|name| name.contains(" (conflict ")).collect()
    }
    /// What lies in the trash of its first folder: file contents.
    pub fn trash(&self) -> Vec<Vec<u8>> {
        files_below(&self.root.join(".dartsync/trash"))
    }
    /// Everything in its first folder, trash and part files too: file contents.
    pub fn all_contents(&self) -> Vec<Vec<u8>> {
        files_below(&self.root)
    }
    /// Files under `.dartsync/tmp`.
    pub fn part_files(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.root.join(".dartsync/tmp"));
        entries.map_or(Vec::new(), |all| all.flatten().map(|e| e.file_name()).collect())
    }
}

fn files_below(dir: &Path) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(kind) if kind.is_file() => out.extend(fs::read(entry.path())),
                _ => {}
            }
        }
    }
    out
}
