//! What commands read from store, roster and configuration; the same whether a device runs or not.

use crate::config::Config;
use crate::control::{
    DeviceEntry, Devices, FolderEntry, FolderStatus, Folders, LIST_MAX, PathEntry, PathError, Paths,
};
use anyhow::{Context, Result};
use dartsync_core::ids::{Folder, PublicKey};
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Cause, Due, Index, Lane, Number, Trees, is_copy_name};
use dartsync_core::record::Kind;
use dartsync_core::roster::Roster;

/// Errors of one folder in a status, at most.
const ERRORS: usize = 100;

/// The bit of [`Number::State`] of a folder whose removals are held.
const HELD: u64 = 2;

/// A path for people: what is not text is escaped.
pub fn show(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) => text
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect(),
        Err(_) => path.escape_ascii().to_string(),
    }
}

/// A cause for people, with what to do about it where that is known.
pub fn cause(cause: Cause) -> String {
    match cause {
        Cause::Os(e) => std::io::Error::from_raw_os_error(e).to_string(),
        Cause::OpenWriter => "another program has it open for writing: waits until it is closed".into(),
        Cause::Changing => "it keeps changing while it is read: waits until it is quiet".into(),
        Cause::NoSource => "waits: no device that has this content is online".into(),
        Cause::NoHolder => "waits: no device has this content any more".into(),
        Cause::Unreachable => "devices that have it cannot be reached".into(),
        Cause::Special => "something that is no file, directory or symbolic link stands there".into(),
        Cause::NotEmpty => "the directory still holds something".into(),
        Cause::NoParent => "the directory it belongs in is not there yet".into(),
        Cause::RootGone => "the folder's root is gone, is another one, or lost its marker".into(),
        Cause::TrackerFull => "the tracker has no room: run it with more --memory".into(),
        Cause::Refused => "the tracker refused it".into(),
        Cause::Raced => "it changed meanwhile: is looked at again".into(),
        Cause::Corrupt => "its content did not verify".into(),
    }
}

/// Paths of a folder that wait, and why.
pub fn errors(store: &mut impl Index, folder: Folder) -> Vec<PathError> {
    let (mut path, mut trees) = (PathBuf::new(), Box::<Trees>::default());
    let mut found = Vec::new();
    for lane in [Lane::Later, Lane::Vanished] {
        let mut after = None;
        while let Some(at) = store.due(folder, lane, after)
            && found.len() < ERRORS
        {
            after = Some(at);
            if store.load(at.1, &mut trees)
                && let Some((why, _)) = trees.trouble
            {
                store.path(at.1, &mut path);
                let path = show(path.get().map_or(b"", Path::bytes));
                found.push(PathError { path, cause: cause(why) });
            }
        }
    }
    found
}

/// What the store alone knows of a folder: without a running device nothing is in sync.
pub fn folder_numbers(store: &mut impl Index, folder: Folder) -> FolderStatus {
    let mut n = |key| store.number(folder, key);
    FolderStatus {
        files: n(Number::Files),
        bytes: n(Number::Bytes),
        to_fetch: n(Number::ToFetch),
        to_fetch_bytes: n(Number::ToFetchBytes),
        to_announce: n(Number::ToAnnounce),
        conflicts: n(Number::Conflicts),
        ..FolderStatus::default()
    }
}

/// Conflict copies that stand in folders linked here.
pub fn conflicts(store: &mut impl Index, config: &Config) -> Paths {
    let mut out = Paths::default();
    let (mut at, mut trees) = (PathBuf::new(), Box::<Trees>::default());
    for f in &config.folders {
        let mut left = store.number(f.folder(), Number::Conflicts);
        let mut before = PathBuf::new();
        while left > 0
            && let Some(row) = store.next(f.folder(), before.get(), &mut at)
        {
            before.clone_from(&at);
            let path = at.get().map_or(&b""[..], Path::bytes);
            if is_copy_name(path.rsplit(|b| *b == b'/').next().unwrap_or(path))
                && store.load(row, &mut trees)
                && trees.disk_kind() != Kind::Removed
            {
                left -= 1;
                let bytes = trees.local.as_ref().map_or(0, |l| l.record.size);
                push(&mut out, PathEntry { folder: f.label.clone(), path: show(path), bytes, date: None });
            }
        }
    }
    out
}

/// Paths that are gone from disk and wait to be judged, or for the user's approval.
pub fn vanished(store: &mut impl Index, folder: Folder, label: &str) -> Paths {
    let (mut path, mut trees) = (PathBuf::new(), Box::<Trees>::default());
    let (mut out, mut after) = (Paths::default(), None);
    while let Some(at) = store.due(folder, Lane::Vanished, after) {
        after = Some(at);
        if store.load(at.1, &mut trees) {
            store.path(at.1, &mut path);
            let path = show(path.get().map_or(b"", Path::bytes));
            let bytes = trees.synced.as_ref().map_or(0, |r| r.size);
            push(&mut out, PathEntry { folder: label.to_owned(), path, bytes, date: None });
        }
    }
    out
}

/// Lets removals that wait pass: they are announced by the next run. How many.
pub fn approve(store: &mut impl Index, folder: Folder) -> u64 {
    let (mut trees, mut n) = (Box::<Trees>::default(), 0);
    while let Some((key, row)) = store.due(folder, Lane::Vanished, None) {
        store.load(row, &mut trees);
        store.save(row, &trees, Some(Due { lane: Lane::Announce, key }));
        n += 1;
    }
    store.set_number(folder, Number::Vanished, 0);
    store.set_number(folder, Number::VanishedContent, 0);
    let state = store.number(folder, Number::State);
    store.set_number(folder, Number::State, state & !HELD);
    n
}

/// Adds an entry to a list that has a limit.
pub fn push(out: &mut Paths, entry: PathEntry) {
    if out.paths.len() < LIST_MAX { out.paths.push(entry) } else { out.more += 1 }
}

/// The home's devices as the roster names them.
pub fn devices(roster: &Roster, me: &PublicKey, online: impl Fn(&str) -> Option<bool>) -> Devices {
    let folders_of = |slot| {
        let mine = roster.folders().filter(|(_, f)| f.members.has(slot));
        mine.map(|(_, f)| f.label.to_string()).collect()
    };
    let devices = roster.devices().map(|(slot, d)| DeviceEntry {
        name: d.name.to_string(),
        key: crate::config::hex(&d.key.0),
        here: d.key == *me,
        online: online(&d.name),
        folders: folders_of(slot),
    });
    Devices { devices: devices.collect() }
}

/// The key of the home's device of that name.
///
/// # Errors
/// No such device is known here.
pub fn key_of(roster: &Roster, name: &str) -> Result<PublicKey> {
    let found = roster.device_by_name(name).map(|(_, d)| d.key);
    found.with_context(|| format!("no device \"{name}\" is known here: see `dartsync devices`"))
}

/// The home's folders, and those linked here that the roster does not name.
pub fn folders(roster: &Roster, config: &Config) -> Folders {
    let here = |id: &str| config.folders.iter().find(|f| f.id == id);
    let mut out: Vec<FolderEntry> = roster
        .folders()
        .map(|(_, f)| {
            let id = format!("{:016x}", f.id.0);
            let devices = roster.devices().filter(|(slot, _)| f.members.has(*slot));
            let devices = devices.map(|(_, d)| d.name.to_string()).collect();
            let linked = here(&id);
            FolderEntry {
                label: f.label.to_string(),
                path: linked.map(|l| l.path.0.display().to_string()),
                paused: linked.is_some_and(|l| l.paused),
                id,
                devices,
            }
        })
        .collect();
    let more = config.folders.iter().filter(|f| out.iter().all(|o| o.id != f.id)).map(|f| FolderEntry {
        label: f.label.clone(),
        id: f.id.clone(),
        path: Some(f.path.0.display().to_string()),
        paused: f.paused,
        devices: Vec::new(),
    });
    let more: Vec<FolderEntry> = more.collect();
    out.extend(more);
    Folders { folders: out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_no_text_are_escaped() {
        assert_eq!(show("ü b".as_bytes()), "ü b");
        assert_eq!(show(b"a\nb"), "a\\nb");
        assert_eq!(show(b"\xff"), "\\xff");
    }
}
