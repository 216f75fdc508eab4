//! The command line: says to the running device what the user wants, or does it itself when none runs.

mod args;
mod join;
mod print;
mod qr;

pub use print::bytes as size;

use crate::config::{Root, State};
use crate::control::{self, Devices, Folders, Paths, Reply, Request, Status, Text, Waited};
use crate::{demo, image, node, offline};
use anyhow::{Context, Result, bail};
use args::{Args, Command, Trash};
use clap::Parser;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a command waits for its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program: reads its arguments, does what they say, says why if it cannot.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(a) => a,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(e.exit_code() as u8);
        }
    };
    if std::env::var_os(demo::CHILD).is_some() {
        // Where it is not to be had, the demo still ends what it started when it ends itself.
        let _ = dartsync_hal::os::die_with_parent();
    }
    match run(args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("dartsync: {e:#}");
            ExitCode::from(1)
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Demo(d) => return demo::run(&d.into()),
        Command::Tracker { args } => return tracker(args),
        _ => {}
    }
    let state = State::locate(args.state)?;
    match args.command {
        Command::Demo(_) | Command::Tracker { .. } => unreachable!("done above"),
        Command::Join { code, root, name, listen, tracker } => {
            say(&join::join(&state, &join::Join { code, root, name, listen, tracker })?)
        }
        Command::Image(given) => say(&image::make(&state, &given.into())?),
        Command::Run => node::run(&state)?,
        Command::Invite { force, qr } => invite(&state, force, qr)?,
        Command::Devices { json } => {
            show::<Devices>(&state, Request::Devices, json, print::devices, |d| to_json(&d.devices))?
        }
        Command::Revoke { name, force } => text(&state, Request::Revoke { name, force })?,
        Command::Add { path, label, force } => {
            text(&state, Request::Link { label, path: directory(&path)?, make: true, force })?
        }
        Command::Link { label, path, force } => {
            text(&state, Request::Link { label, path: directory(&path)?, make: false, force })?
        }
        Command::Unlink { label } => text(&state, Request::Unlink { label })?,
        Command::Forget { label } => text(&state, Request::Forget { label })?,
        Command::Leave => text(&state, Request::Leave)?,
        Command::Folders { json } => {
            show::<Folders>(&state, Request::Folders, json, print::folders, |f| to_json(&f.folders))?
        }
        Command::Status { json, watch } => status(&state, json, watch)?,
        Command::Wait { timeout, all } => return wait(&state, timeout, all),
        Command::Conflicts { json } => {
            show::<Paths>(&state, Request::Conflicts, json, print::paths, |p| to_json(&p.paths))?
        }
        Command::Trash { what: Trash::List { json } } => {
            show::<Paths>(&state, Request::TrashList, json, print::paths, |p| to_json(&p.paths))?
        }
        Command::Trash { what: Trash::Restore { path, date } } => {
            text(&state, Request::TrashRestore { path: Root(path), date })?
        }
        Command::Trash { what: Trash::Empty } => text(&state, Request::TrashEmpty)?,
        Command::Pause { label } => text(&state, Request::Pause { label, on: true })?,
        Command::Resume { label } => text(&state, Request::Pause { label, on: false })?,
        Command::Limit { up, down } => text(&state, Request::Limit { up, down })?,
        Command::Approve { label, list: true } => {
            let request = Request::Approve { label, list: true };
            show::<Paths>(&state, request, false, print::paths, |p| to_json(&p.paths))?
        }
        Command::Approve { label, list: false } => text(&state, Request::Approve { label, list: false })?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `dartsync tracker …` is `dartsync-tracker …`.
fn tracker(args: Vec<std::ffi::OsString>) -> Result<ExitCode> {
    let name = std::ffi::OsString::from("dartsync tracker");
    Ok(dartsync_tracker::linux::main_with(std::iter::once(name).chain(args)))
}

/// Times that a command looks whether a device runs.
const TRIES: usize = 50;

/// Asks the running device, or does it here when none runs.
fn ask(state: &State, request: &Request, patience: Option<Duration>) -> Result<Reply> {
    if !state.dir().exists() {
        state.config()?;
    }
    // A device may start, or end, between the two.
    for _ in 0..TRIES {
        if let Some(reply) = control::call(state, request, patience)? {
            return Ok(reply);
        }
        if let Some(reply) = offline::answer(state, request)? {
            return Ok(reply);
        }
    }
    bail!("{}: other commands work on it all the time; try again", state.dir().display())
}

/// Asks for a line and prints it.
fn text(state: &State, request: Request) -> Result<()> {
    say(&ask(state, &request, Some(PATIENCE))?.read::<Text>()?.text);
    Ok(())
}

/// Prints an invite; below it, for a camera, its picture, if that is asked for or stdout is a terminal.
fn invite(state: &State, force: Option<String>, qr: bool) -> Result<()> {
    let code = ask(state, &Request::Invite { force }, Some(PATIENCE))?.read::<Text>()?.text;
    say(&code);
    if (qr || std::io::stdout().is_terminal())
        && let Some(picture) = qr::picture(code.trim())
    {
        say(&picture);
    }
    Ok(())
}

/// Asks for a list and prints it, for people or as JSON.
fn show<T: for<'a> serde::Deserialize<'a>>(
    state: &State,
    request: Request,
    json: bool,
    people: fn(&T) -> String,
    machine: fn(&T) -> Result<String>,
) -> Result<()> {
    let value: T = ask(state, &request, Some(PATIENCE))?.read()?;
    say(&if json { machine(&value)? } else { people(&value) });
    Ok(())
}

fn status(state: &State, json: bool, watch: bool) -> Result<()> {
    let mut last = String::new();
    loop {
        let s: Status = ask(state, &Request::Status, Some(PATIENCE))?.read()?;
        let now = if json { to_json(&s)? } else { print::status(&s) };
        if now != last {
            say(&now);
        }
        if !watch {
            return Ok(());
        }
        last = now;
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn wait(state: &State, timeout: Option<f64>, all: bool) -> Result<ExitCode> {
    state.config()?;
    let patience = timeout.map(|t| Duration::from_secs_f64(t) + Duration::from_secs(20));
    let Some(reply) = control::call(state, &Request::Wait { timeout, all }, patience)? else {
        say("not in sync: `dartsync run` is not running on this state");
        return Ok(ExitCode::from(1));
    };
    let waited: Waited = reply.read()?;
    if !waited.in_sync {
        say(&waited.causes.join("\n"));
    }
    Ok(ExitCode::from(!waited.in_sync as u8))
}

/// A directory as the device keeps it: absolute, without links.
fn directory(path: &Path) -> Result<Root> {
    std::fs::create_dir_all(path).with_context(|| format!("{}: cannot be made", path.display()))?;
    let whole = std::fs::canonicalize(path).with_context(|| path.display().to_string())?;
    if !whole.is_dir() {
        bail!("{}: is no directory", path.display());
    }
    Ok(Root(whole))
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).context("the answer")
}

/// Prints to stdout; who has closed it does not want to read.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
}

/// The user's home directory.
fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from)
}
