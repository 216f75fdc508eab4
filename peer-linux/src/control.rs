//! How commands talk to a running device: one JSON line each way over a socket in the state directory.
//!
//! Requests are at most [`REQUEST_MAX`] bytes, replies at most [`REPLY_MAX`]. Only this user can open the socket.

use crate::config::{Limits, Root, State};
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a request, at most.
pub const REQUEST_MAX: usize = 64 * 1024;
/// Bytes of a reply, at most.
pub const REPLY_MAX: usize = 8 * 1024 * 1024;
/// Entries of one list in a reply, at most.
pub const LIST_MAX: usize = 10_000;

/// What a command asks of the running device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// [`Status`].
    Status,
    /// Answered when this device is in sync (`all`: and no other online device lags), or at the timeout: [`Waited`].
    Wait {
        /// Seconds; none = without end.
        timeout: Option<f64>,
        /// Other online devices too.
        all: bool,
    },
    /// A fresh invite: [`Text`].
    Invite {
        /// Recovery words that override the tracker's wait for devices (R20).
        force: Option<String>,
    },
    /// [`Devices`].
    Devices,
    /// Ends a device for ever: [`Text`].
    Revoke {
        /// Which.
        name: String,
        /// See [`Request::Invite`].
        force: Option<String>,
    },
    /// Links a folder of the home (`make`: made if there is none): [`Text`].
    Link {
        /// Its label.
        label: String,
        /// Its root here, absolute.
        path: Root,
        /// `add`.
        make: bool,
        /// See [`Request::Invite`].
        force: Option<String>,
    },
    /// Ends a folder's syncing here; its files stay: [`Text`].
    Unlink {
        /// Which.
        label: String,
    },
    /// Takes a folder out of the home; files stay everywhere: [`Text`].
    Forget {
        /// Which.
        label: String,
    },
    /// Takes this device out of the home: [`Text`].
    Leave,
    /// [`Folders`].
    Folders,
    /// [`Paths`]: conflict copies.
    Conflicts,
    /// [`Paths`]: what was removed or replaced.
    TrashList,
    /// Brings a path back from the trash as a new edit: [`Text`].
    TrashRestore {
        /// As listed, or an absolute path.
        path: Root,
        /// Of this day (`YYYY-MM-DD`), else the latest.
        date: Option<String>,
    },
    /// Deletes what nothing here waits for: [`Text`].
    TrashEmpty,
    /// Stops, or goes on, syncing: [`Text`].
    Pause {
        /// Which folder; none = all.
        label: Option<String>,
        /// Pause or resume.
        on: bool,
    },
    /// Limits what goes to other devices and comes from them; says what the limits are then: [`Text`].
    Limit {
        /// Bytes a second; 0 = no limit; none = as it is.
        up: Option<u64>,
        /// See `up`.
        down: Option<u64>,
    },
    /// Lets a held burst of removals pass: [`Text`], or [`Paths`] with `list`.
    Approve {
        /// Which folder.
        label: String,
        /// Only list what it would remove.
        list: bool,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done; the value is what the request's docs name.
    Done(serde_json::Value),
    /// Not done, and why.
    Failed(String),
}

impl Reply {
    /// A reply that holds `value`.
    pub fn done(value: &impl Serialize) -> Reply {
        match serde_json::to_value(value) {
            Ok(v) => Reply::Done(v),
            Err(e) => Reply::Failed(format!("the answer could not be written: {e}")),
        }
    }
    /// A reply that is a line for the user.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::done(&Text { text: text.into() })
    }
    /// A reply of either kind.
    pub fn of(result: Result<impl Serialize>) -> Reply {
        match result {
            Ok(value) => Reply::done(&value),
            Err(e) => Reply::Failed(format!("{e:#}")),
        }
    }
    /// What it holds.
    pub fn read<T: for<'a> Deserialize<'a>>(self) -> Result<T> {
        match self {
            Reply::Done(v) => {
                serde_json::from_value(v).context("the running dartsync answers in words unknown here")
            }
            Reply::Failed(why) => bail!("{why}"),
        }
    }
}

/// A line for the user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Text {
    /// The line, or lines.
    pub text: String,
}

/// `status --json`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// This device's name.
    pub device: String,
    /// Its tracker.
    pub tracker: TrackerStatus,
    /// Folders linked here.
    pub folders: Vec<FolderStatus>,
    /// The other devices of the home.
    pub devices: Vec<DeviceStatus>,
    /// Bytes on TCP since `run` started.
    pub traffic: Traffic,
    /// What it may send and ask for.
    #[serde(default, skip_serializing_if = "Limits::are_none")]
    pub limits: Limits,
    /// What else the user should know, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The tracker, in [`Status`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TrackerStatus {
    /// Whether the link stands.
    pub connected: bool,
    /// Where it is, or was last.
    pub address: String,
    /// Its program; empty if never connected.
    pub version: String,
}

/// A folder, in [`Status`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FolderStatus {
    /// Its label.
    pub label: String,
    /// Its root.
    pub path: String,
    /// `in sync`, `syncing`, `scanning`, `paused`, `held`, `error` or `offline`.
    pub state: String,
    /// Files and symlinks that stand on disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths whose content is still to come.
    pub to_fetch: u64,
    /// Their bytes.
    pub to_fetch_bytes: u64,
    /// Paths still to be announced.
    pub to_announce: u64,
    /// Conflict copies that stand here.
    pub conflicts: u64,
    /// Paths that wait, and why.
    pub errors: Vec<PathError>,
}

/// A path that waits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathError {
    /// Below the folder's root.
    pub path: String,
    /// Why.
    pub cause: String,
}

/// Another device, in [`Status`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// Whether it is linked to the tracker now.
    pub online: bool,
    /// Records of its folders that it has not applied.
    pub lag: u64,
}

/// Bytes on TCP since `run` started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// To the tracker.
    pub tracker_sent: u64,
    /// From the tracker.
    pub tracker_received: u64,
    /// To other devices.
    pub peer_sent: u64,
    /// From other devices.
    pub peer_received: u64,
}

/// The end of a [`Request::Wait`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Waited {
    /// Whether it is in sync.
    pub in_sync: bool,
    /// What is not, a line each.
    pub causes: Vec<String>,
}

/// `devices --json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Devices {
    /// All of the home, this one too.
    pub devices: Vec<DeviceEntry>,
}

/// A device, in [`Devices`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceEntry {
    /// Its name.
    pub name: String,
    /// Its public key, in hex.
    pub key: String,
    /// Whether it is this one.
    pub here: bool,
    /// Whether it is linked now; none = not known.
    pub online: Option<bool>,
    /// Labels of folders it has linked.
    pub folders: Vec<String>,
}

/// `folders --json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Folders {
    /// All of the home, as far as known here.
    pub folders: Vec<FolderEntry>,
}

/// A folder, in [`Folders`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FolderEntry {
    /// Its label.
    pub label: String,
    /// Its id, in hex.
    pub id: String,
    /// Its root here; none = not linked here.
    pub path: Option<String>,
    /// Whether it is paused here.
    pub paused: bool,
    /// Names of devices that have linked it.
    pub devices: Vec<String>,
}

/// A list of paths.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Paths {
    /// The first [`LIST_MAX`] of them.
    pub paths: Vec<PathEntry>,
    /// How many more there are.
    pub more: u64,
}

/// A path, in [`Paths`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PathEntry {
    /// Its folder's label.
    pub folder: String,
    /// Below the folder's root.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// Trash: the day it came there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// When a [`Request::Wait`] that began at `now` (µs) is over, whatever number the line said: what is below nothing, or none,
/// is over at once, what is beyond the clock never.
pub fn until(now: u64, seconds: f64) -> u64 {
    // A cast of what does not fit gives the nearest that does; of what is no number, 0.
    now.saturating_add((seconds * 1e6) as u64)
}

/// Sends a request to the device that runs on `state`; `None` if none runs. `limit`: how long the answer may take.
pub fn call(state: &State, request: &Request, limit: Option<Duration>) -> Result<Option<Reply>> {
    let Some(socket) = connect(state)? else { return Ok(None) };
    socket.set_read_timeout(limit)?;
    socket.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    if line.len() > REQUEST_MAX {
        bail!("the request is too long");
    }
    (&socket).write_all(&line).context("the running dartsync does not listen")?;
    let mut reply = Vec::new();
    let read = BufReader::new(&socket).take(REPLY_MAX as u64 + 1).read_until(b'\n', &mut reply);
    match read {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("the running dartsync gave no answer in {} s", limit.map_or(0, |l| l.as_secs()))
        }
        Err(e) => return Err(e).context("the running dartsync broke off"),
        Ok(_) if reply.last() != Some(&b'\n') => bail!("the running dartsync ended before it answered"),
        Ok(_) => {}
    }
    Ok(Some(serde_json::from_slice(&reply).context("the running dartsync answers in words unknown here")?))
}

/// Connects to the device that runs on `state`; waits up to 10 s for one that is starting.
fn connect(state: &State) -> Result<Option<UnixStream>> {
    let path = state.socket();
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match short(&path).and_then(|s| UnixStream::connect(s.path())) {
            Ok(s) => return Ok(Some(s)),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                return Err(e).with_context(|| format!("{}: belongs to another user", path.display()));
            }
            Err(_) => {}
        }
        // Nobody listens. Whoever holds the lock is a device that starts or ends, or another command.
        if !state.dir().join("lock").exists() || state.lock()?.is_some() {
            return Ok(None);
        }
        if Instant::now() > until {
            return Err(anyhow!(
                "{}: another dartsync works on it and does not answer",
                state.dir().display()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A path by way of its directory's handle: the address of a socket holds 107 bytes alone.
pub struct Short(PathBuf, #[allow(dead_code, reason = "the path goes through this handle")] File);

impl Short {
    /// The short path, of meaning as long as this value lives.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A short path to a file of a directory that is there.
pub fn short(path: &Path) -> std::io::Result<Short> {
    let none = || std::io::Error::from(ErrorKind::InvalidInput);
    let dir = File::open(path.parent().ok_or_else(none)?)?;
    let name = path.file_name().ok_or_else(none)?;
    Ok(Short(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name), dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_are_lines_that_read_back() {
        for r in [
            Request::Status,
            Request::Wait { timeout: Some(2.5), all: true },
            Request::Link { label: "a".into(), path: Root("/x y".into()), make: true, force: None },
        ] {
            let line = serde_json::to_string(&r).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), r);
        }
        for (seconds, over) in
            [(2.5, 2_500_007), (0.0, 7), (-1e30, 7), (f64::NAN, 7), (1e30, u64::MAX), (f64::MAX, u64::MAX)]
        {
            assert_eq!(until(7, seconds), over, "{seconds}");
        }
        assert_eq!(Reply::text("hi").read::<Text>().unwrap().text, "hi");
        let failed = Reply::of(Err::<Text, _>(anyhow!("inner").context("outer")));
        assert_eq!(failed.read::<Text>().unwrap_err().to_string(), "outer: inner");
    }
}
