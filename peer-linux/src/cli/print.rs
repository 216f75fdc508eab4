//! Replies as text for people.

use crate::control::{Devices, FolderStatus, Folders, Paths, Status};
use std::fmt::Write;

/// Writing into a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { writeln!($out, $($arg)*).expect("a string takes it") };
}

/// Bytes for people.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut x = n as f64;
    while x >= 1024.0 && unit + 1 < UNITS.len() {
        x /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{x:.1} {}", UNITS[unit]) }
}

/// `status`.
pub fn status(s: &Status) -> String {
    let mut out = String::new();
    let tracker = match (s.tracker.connected, s.tracker.version.as_str()) {
        (true, v) => format!("connected to {} ({v})", s.tracker.address),
        (false, _) => format!("not connected ({})", s.tracker.address),
    };
    line!(out, "{}: tracker {tracker}", s.device);
    for f in &s.folders {
        folder(&mut out, f);
    }
    if s.folders.is_empty() {
        line!(out, "no folder is linked here");
    }
    for d in &s.devices {
        let lag = if d.lag == 0 { String::new() } else { format!(", {} records behind", d.lag) };
        line!(out, "device {}: {}{lag}", d.name, if d.online { "online" } else { "offline" });
    }
    let t = &s.traffic;
    line!(
        out,
        "traffic: tracker {} sent, {} received; devices {} sent, {} received",
        bytes(t.tracker_sent),
        bytes(t.tracker_received),
        bytes(t.peer_sent),
        bytes(t.peer_received)
    );
    if !s.limits.are_none() {
        line!(out, "limits: {}", s.limits);
    }
    s.notes.iter().for_each(|n| line!(out, "note: {n}"));
    out
}

fn folder(out: &mut String, f: &FolderStatus) {
    line!(out, "folder {} ({}): {}, {} files, {}", f.label, f.path, f.state, f.files, bytes(f.bytes));
    if f.to_fetch + f.to_announce > 0 {
        let (n, size) = (f.to_fetch, bytes(f.to_fetch_bytes));
        line!(out, "  {n} to fetch ({size}), {} to announce", f.to_announce);
    }
    if f.conflicts > 0 {
        line!(out, "  {} conflict copies: see `dartsync conflicts`", f.conflicts);
    }
    f.errors.iter().for_each(|e| line!(out, "  {}: {}", e.path, e.cause));
}

/// `devices`.
pub fn devices(d: &Devices) -> String {
    let mut out = String::new();
    for d in &d.devices {
        let state = match (d.here, d.online) {
            (true, _) => "this device",
            (_, Some(true)) => "online",
            (_, Some(false)) => "offline",
            (_, None) => "not known whether online",
        };
        line!(out, "{}: {state}; folders: {}; key {}", d.name, listed(&d.folders), d.key);
    }
    out
}

/// `folders`.
pub fn folders(f: &Folders) -> String {
    let mut out = String::new();
    for f in &f.folders {
        let here = match (&f.path, f.paused) {
            (Some(p), true) => format!("{p} (paused)"),
            (Some(p), false) => p.clone(),
            (None, _) => "not linked here".into(),
        };
        line!(out, "{}: {here}; on {}", f.label, listed(&f.devices));
    }
    out
}

/// `conflicts`, `trash list`, `approve --list`.
pub fn paths(p: &Paths) -> String {
    let mut out = String::new();
    for p in &p.paths {
        let date = p.date.as_ref().map_or(String::new(), |d| format!("{d}  "));
        line!(out, "{date}{}/{}  {}", p.folder, p.path, bytes(p.bytes));
    }
    if p.more > 0 {
        line!(out, "and {} more", p.more);
    }
    out
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let all = [0, 1023, 1024, 1536, 1 << 30].map(bytes);
        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 GiB"]);
    }

    #[test]
    fn a_status_says_what_is_wrong() {
        let f = FolderStatus {
            label: "docs".into(),
            path: "/d".into(),
            state: "error".into(),
            errors: vec![crate::control::PathError { path: "a".into(), cause: "no space".into() }],
            ..Default::default()
        };
        let text = status(&Status { device: "box".into(), folders: vec![f], ..Default::default() });
        assert!(text.contains("box: tracker not connected") && text.contains("a: no space"), "{text}");
    }
}
