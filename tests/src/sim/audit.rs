//! Promises about what the tracker believes of the devices, what devices say and displace, and what nobody asked for.

use super::acts::Trashed;
use super::check::{Ledger, visible};
use super::device::{Device, F};
use dartsync_core::ids::{ContentId, Epoch, Row, Seq, Slot};
use dartsync_core::path::Path;
use dartsync_core::peer::{DEVICE, Index, Number, Remote, Trees};
use dartsync_core::record::{Kind, Record};
use dartsync_core::tracker::Tracker;
use dartsync_core::wire::message::{ToTracker, decode};
use std::collections::{BTreeMap, BTreeSet};

/// Every current record of the table, with its path and holders.
fn each(t: &Tracker<'_>, mut f: impl FnMut(Path<'_>, &Record, &dyn Fn(Slot) -> bool)) {
    let mut seq = Seq(0);
    while let Some(e) = t.table().next_after(seq) {
        seq = e.seq();
        let (r, holders) = (e.record(), e.holders());
        if !r.flags.withdrawn() {
            f(e.path(), &r, &|s| holders.has(s));
        }
    }
}

/// Promise: whoever the tracker counts as a holder has it, and in the end everyone is one (R4, R9a, R10, R16).
pub fn holders_are_true(t: &Tracker<'_>, devices: &[Device]) -> Result<(), String> {
    let mut wrong = None;
    each(t, |path, r, holds| {
        for (slot, known) in t.roster().devices() {
            let Some(d) = devices.iter().find(|d| d.key == known.key && d.is_member()) else { continue };
            let there = d.fs.find(path.bytes()).map(|i| (d.fs.node(i).kind, d.fs.node(i).data.id));
            let has = match r.kind {
                Kind::Removed => there.is_none(),
                kind => there == Some((kind, r.content)),
            };
            if has != holds(slot) {
                let what = if has { "is not counted as a holder" } else { "counts as a holder and is none" };
                wrong.get_or_insert(format!("{} {what} of {path:?} ({:?})", known.name, r.kind));
            }
        }
    });
    wrong.map_or(Ok(()), Err)
}

/// Promise: a directory that was made for something in it does not outlive it (R9b).
pub fn nothing_invented_is_empty(t: &Tracker<'_>) -> Result<(), String> {
    let (mut invented, mut live) = (Vec::new(), BTreeSet::new());
    each(t, |path, r, _| {
        if r.is_live() {
            let bytes = path.bytes();
            let ends = bytes.iter().enumerate().filter(|b| *b.1 == b'/').map(|b| b.0);
            live.extend(ends.map(|end| bytes[..end].to_vec()));
            if r.kind == Kind::Directory && r.flags.revival() {
                invented.push(bytes.to_vec());
            }
        }
    });
    match invented.into_iter().find(|p| !live.contains(p)) {
        Some(p) => Err(format!("{} was made for something in it and is empty", String::from_utf8_lossy(&p))),
        None => Ok(()),
    }
}

/// Promise: a content stands at no more paths than users put it: nothing wins and is kept as a loser, too, and no loser
/// is kept twice (R3, R7, R9).
pub fn no_needless_copies(ledger: &Ledger, d: &Device) -> Result<(), String> {
    let put = ledger.puts();
    let mut seen: BTreeMap<ContentId, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, e) in visible(d).into_iter().filter(|e| e.1.0 != Kind::Directory) {
        let at = seen.entry(e.3).or_default();
        at.push(path);
        let most = put.get(&e.3).copied().unwrap_or(1);
        if at.len() as u32 > most {
            let all: Vec<_> = at.iter().map(|p| String::from_utf8_lossy(p)).collect();
            let text = ledger.contents.get(&e.3).map_or("", |w| &w.text);
            return Err(format!("{text} stands at {}, but was put {most} times", all.join(", ")));
        }
    }
    Ok(())
}

/// Promise: what a swap displaces is an ancestor, has another name by then, or some device knows, durably, that it is to
/// be made under another: of who wins without having the loser's content, whoever has it makes its copy. Who settles the
/// conflict by displacing its own file gives it the copy's name first (R9).
pub fn displaced(ledger: &Ledger, devices: &[Device], by: usize, trash: &[Trashed]) -> Result<(), String> {
    for (_, _, id, _) in trash {
        let user = ledger.contents.get(id).filter(|c| c.closed && !c.replaced);
        let Some(c) = user.filter(|c| !c.may_be_lost() && !c.may_sink()) else { continue };
        let shown = |d: &Device| visible(d).values().any(|e| e.3 == *id);
        let owed = |(i, d): (usize, &Device)| {
            d.ix.all_durable().any(|t| {
                let heard = [&t.remote, &t.withdrawn].map(|r| r.as_ref().map(|r| &r.record));
                let made = [t.target.as_ref(), t.pending.as_ref().map(|p| &p.0).filter(|_| i != by)];
                let mut owing = heard.into_iter().chain(made).flatten();
                owing.any(|r| r.has_content() && r.content == *id) && t.disk_content() != Some(*id)
            })
        };
        if !devices.iter().any(shown) && !devices.iter().enumerate().any(owed) {
            return Err(format!("an edit is displaced without a copy: {} of device {}", c.text, c.by));
        }
    }
    Ok(())
}

/// Promise: what a device says it has would survive a power cut (R16).
pub fn had(d: &mut Device, frame: &[u8]) -> Result<(), String> {
    let Some(ToTracker::Have { ranges, .. }) = decode(frame) else { return Ok(()) };
    for r in &ranges {
        let mut after = (r.from, Row(0));
        let epoch = Epoch(d.ix.number(DEVICE, Number::Epoch));
        while let Some((seq, row)) = d.ix.by_seq(F, after).filter(|x| x.0 <= r.to) {
            after = (seq, row);
            let mut t = Trees::default();
            d.ix.load(row, &mut t);
            let named = |x: &Option<Remote>| x.as_ref().is_some_and(|x| x.seq == seq && x.epoch == epoch);
            if !named(&t.remote) && !named(&t.withdrawn) {
                // Of another epoch.
                continue;
            }
            let t = d.ix.durable(row);
            let kept = t.is_some_and(|t| (named(&t.remote) && t.intent.is_none()) || named(&t.withdrawn));
            if !kept {
                let (_, path) = d.path(row);
                return Err(format!(
                    "{} was told to be here before it was durable",
                    String::from_utf8_lossy(&path)
                ));
            }
        }
    }
    Ok(())
}
