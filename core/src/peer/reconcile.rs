//! What a path needs next, from its three trees alone: pure decisions, no store, no disk.
//!
//! [`absorb`] first does what needs no act (adopting an equal record, dropping what never was); [`step`] then names the
//! single next step; [`judge`] says who wins where two records are concurrent (R7, R9).

use super::trees::{Local, Made, Stat, Trees};
use crate::ids::{ContentId, Epoch};
use crate::mutant::{self, Mutant};
use crate::record::{Kind, Record};
use crate::version::{Order, VersionVector};

/// What the decision depends on beside the row.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The epoch in force; 0 before the first.
    pub epoch: Epoch,
    /// R8 is done in it: a row without a remote is missing at the tracker.
    pub told: bool,
}

/// The single next step of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing to do.
    Rest,
    /// A swap was cut short: see what it left.
    Recover,
    /// Look at the disk.
    Look,
    /// Make the disk follow the local record.
    Follow,
    /// The local tree changed: give it a version.
    Mint,
    /// Announce the local (or synced) record.
    Announce,
    /// Two records are concurrent: merge.
    Resolve,
    /// Make what the remote record says.
    Get,
    /// Apply a remote removal.
    Remove,
}

/// The record that stands for this device at the path: the local one if it has a version, else the synced one.
pub fn ours(t: &Trees) -> Option<&Record> {
    match &t.local {
        Some(l) if l.made == Made::Minted => Some(&l.record),
        _ => t.synced.as_ref().filter(|_| !is_lost(t)),
    }
}

/// Whether a power cut took what stood at the path (R13): it is fetched back, and stands for nothing until then.
pub fn is_lost(t: &Trees) -> bool {
    t.local.is_none() && t.synced.as_ref().is_some_and(Record::is_live)
}

/// Whether a power cut tore what stands at the path (R13): made to lose against whatever the home has. Like a copy's, its
/// record knows of nothing else; unlike it, it stands over the synced record of a file.
pub fn is_aside(t: &Trees) -> bool {
    t.local.as_ref().is_some_and(|l| l.made == Made::Minted) && was_aside(t)
}

/// [`is_aside`], though a user may have changed its mode or time since.
pub fn was_aside(t: &Trees) -> bool {
    let torn = |r: &Record, s: &Record| {
        let alone = r.parent.is_none() && !r.version.is_empty() && r.version == VersionVector::of(r.edit);
        alone && r.has_content() && s.has_content() && !s.same_content(r)
    };
    t.local.as_ref().zip(t.synced.as_ref()).is_some_and(|(l, s)| torn(&l.record, s))
}

/// Whether what a power cut tore here is newer, as the home had it, than what the tracker has now: that is told first (R8).
/// Settled with what it had replaced, the torn content would replace it where it is whole. Unless nobody has it (R9a).
pub fn is_forgotten(t: &Trees, r: &Record) -> bool {
    let withdrawn = |s: &Record| t.withdrawn.as_ref().is_some_and(|w| w.record.version.covers(s.edit));
    is_aside(t) && t.synced.as_ref().is_some_and(|s| s.compare(r) == Order::Dominates && !withdrawn(s))
}

/// The next step; [`absorb`] has been called.
pub fn step(t: &Trees, c: Context) -> Step {
    if t.intent.is_some() {
        return Step::Recover;
    }
    if t.stale {
        return Step::Look;
    }
    if t.disk_due {
        return Step::Follow;
    }
    let heard = t.remote.as_ref().filter(|r| r.epoch == c.epoch).map(|r| &r.record);
    if let Some(l) = t.local.as_ref().filter(|l| l.made == Made::Unminted) {
        let removed = heard.is_some_and(|r| was_removed(t, l, r));
        return if removed { Step::Remove } else { Step::Mint };
    }
    match (ours(t), heard) {
        (None, None) => Step::Rest,
        (None, Some(r)) => install(t, r),
        (Some(_), None) => {
            let minted = t.local.as_ref().is_some_and(|l| l.made == Made::Minted);
            if mutant::on(Mutant::R8Absent) && !minted && t.disk_kind() != Kind::Removed {
                return Step::Remove;
            }
            // One that was withdrawn in this epoch is told again, though it was told already with the others (R9a).
            let missed = c.told || t.withdrawn.as_ref().is_some_and(|w| w.epoch == c.epoch);
            if minted || (t.remote.is_none() && missed) { Step::Announce } else { Step::Rest }
        }
        (Some(_), Some(r)) if is_forgotten(t, r) => Step::Announce,
        (Some(x), Some(r)) => match x.compare(r) {
            Order::Equal => Step::Rest,
            Order::Dominates => Step::Announce,
            Order::Dominated => install(t, r),
            Order::Concurrent => Step::Resolve,
        },
    }
}

/// R10: what the first scan after a store was lost found is what this removal removed. Of a directory, a removal names no
/// content; whether it may go is R9b's to say.
fn was_removed(t: &Trees, l: &Local, removal: &Record) -> bool {
    t.orphan
        && !mutant::on(Mutant::R10Found)
        && t.synced.as_ref().is_none_or(|s| !s.is_live())
        && t.pending.is_none()
        && l.record.is_live()
        && !removal.is_live()
        && removal.content == l.record.content
}

fn install(t: &Trees, r: &Record) -> Step {
    match (r.is_live(), t.disk_kind()) {
        (true, _) => Step::Get,
        (false, Kind::Removed) => Step::Rest,
        (false, _) => Step::Remove,
    }
}

/// Does whatever follows from the trees without touching the disk. Whether something changed.
pub fn absorb(t: &mut Trees, c: Context) -> bool {
    let mut changed = false;
    while once(t, c) {
        changed = true;
    }
    changed
}

fn once(t: &mut Trees, c: Context) -> bool {
    if t.intent.is_some() || t.stale {
        return false;
    }
    let heard = t.remote.as_ref().filter(|r| r.epoch == c.epoch).map(|r| r.record.clone());
    if t.local.as_ref().is_some_and(|l| l.made == Made::Unminted) {
        return unminted(t, heard);
    }
    if let Some(l) = t.local.as_mut().filter(|_| t.remote.is_none() && t.synced.is_none())
        && l.made == Made::Synced
    {
        // It was to give way to what nobody has any more.
        l.made = Made::Unminted;
        return true;
    }
    let Some(r) = heard else { return false };
    if is_outlived(t, &r) {
        (t.local, t.disk_due) = (None, false);
        return true;
    }
    let disk = t.disk_kind();
    let order = ours(t).map_or(Order::Dominated, |x| x.compare(&r));
    match order {
        Order::Equal if !is_adopted(t, &r) => adopt(t, r),
        Order::Dominated if !r.is_live() && disk == Kind::Removed => adopt(t, r),
        Order::Dominated if t.local.as_ref().is_some_and(|l| l.record.same_content(&r)) => adopt(t, r),
        _ => return false,
    }
    true
}

/// Whether a file that is still to be made here again was removed or replaced by someone who knew it: nobody may have it any
/// more. Who changed but its mode or time here, which nobody took yet, has made nothing that could be kept (R7).
fn is_outlived(t: &Trees, r: &Record) -> bool {
    let missed = |l: &Local| {
        let gone = l.record.has_content() && l.stat.kind == Kind::Removed && !l.record.same_content(r);
        gone && match l.record.compare(r) {
            Order::Dominated => l.made == Made::Synced,
            Order::Concurrent => r.version.covers(l.record.edit),
            _ => false,
        }
    };
    t.disk_due && t.local.as_ref().is_some_and(missed)
}

fn is_adopted(t: &Trees, r: &Record) -> bool {
    t.synced.as_ref() == Some(r) && t.local.as_ref().is_none_or(|l| l.made == Made::Synced && l.record == *r)
}

/// A local change that turns out to be none, or to be what the remote says already.
fn unminted(t: &mut Trees, heard: Option<Record>) -> bool {
    let l = t.local.as_ref().expect("only called with a local tree");
    let rec = &l.record;
    let fresh = rec.edit.tag.0 == 0 || t.synced.as_ref().is_some_and(|s| s.version == rec.version);
    // An edit of ours that is on its way and that the remote does not know of is undone by another edit alone. Where
    // the remote does not know what the change replaced, that it did is told by an edit, too.
    let follows = |r: &Record, s: &Record| matches!(s.compare(r), Order::Equal | Order::Dominated);
    let replaced = t.synced.as_ref().filter(|s| !rec.same_content(s));
    let knows = |r: &Record| (fresh || r.version.covers(rec.edit)) && replaced.is_none_or(|s| follows(r, s));
    let same = |r: &Record| rec.same_content(r) && !mutant::on(Mutant::R7Same);
    if let Some(r) = heard.filter(|r| same(r) && knows(r))
        && (rec.same_meta(&r) || t.synced.is_none())
    {
        adopt(t, r);
        return true;
    }
    match &t.synced {
        Some(s) if fresh && (rec.same_thing(s) || is_back(rec, s)) => {
            let s = s.clone();
            t.disk_due |= !rec.same_meta(&s);
            let l = t.local.as_mut().expect("seen above");
            l.record = s;
            l.made = Made::Synced;
            true
        }
        Some(s) if fresh && !rec.is_live() && !s.is_live() => {
            t.local = None;
            true
        }
        None if fresh && !rec.is_live() => {
            t.local = None;
            true
        }
        _ => false,
    }
}

/// Whether what came to the path is what had been there, with its time as a disk keeps it that has whole seconds alone, or
/// every other one: what was read back then (R14) is forgotten once nothing stands there.
fn is_back(rec: &Record, s: &Record) -> bool {
    let coarse =
        rec.mtime % 1_000_000_000 == 0 && (0..2_000_000_000).contains(&s.mtime.saturating_sub(rec.mtime));
    rec.kind == Kind::File && rec.version.is_empty() && rec.same_content(s) && rec.mode == s.mode && coarse
}

/// Takes a record as ours whose kind and content the disk holds already; metadata that differs is then due on disk.
pub fn adopt(t: &mut Trees, r: Record) {
    if let Some(l) = &mut t.local {
        debug_assert!(l.record.same_content(&r), "adopting what is not here");
        if r.is_live() && !l.record.same_meta(&r) {
            t.disk_due = true;
        }
        l.record = r.clone();
        l.made = Made::Synced;
        if !r.is_live() {
            t.local = None;
        }
    }
    t.synced = Some(r);
}

/// Who wins at a path where two records are concurrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Whether ours stays.
    pub ours: bool,
    /// Whether the loser becomes a conflict copy.
    pub copy: bool,
    /// Whether this settles a fork: the merge takes a new edit (R5).
    pub fork: bool,
}

/// Whether the removal removed what the live record settles: both replaced the same edit, and the live one has the content
/// of that, which no user's edit has, but one that a fork's settlement made, or what was withdrawn and is here (R5, R9a). Who
/// removed that edit saw all that it holds.
fn was_settled(live: &Record, removal: &Record) -> bool {
    let of = |p| removal.parent == Some(p) && removal.version.covers(p) && removal.content == live.content;
    live.parent.is_some_and(of) && live.has_content() && !removal.is_live() && !mutant::on(Mutant::R7Settled)
}

/// Judges two concurrent records (R5, R7, R9).
pub fn judge(x: &Record, r: &Record) -> Judgement {
    debug_assert_eq!(x.compare(r), Order::Concurrent);
    let equal = x.version.compare(&r.version) == Order::Equal;
    let fork = x.forks(r) || r.forks(x) || equal;
    if x.same_content(r) && !mutant::on(Mutant::R7Same) {
        let key = |a: &Record| (!a.flags.revival(), a.edit.counter, a.edit.tag);
        return Judgement { ours: key(x) >= key(r), copy: false, fork };
    }
    let (older, newer) = (r.version.covers(x.edit), x.version.covers(r.edit));
    if !fork && (older || newer) && !mutant::on(Mutant::R7Yield) {
        let ours = match (older, newer) {
            (true, false) => false,
            (false, true) => true,
            _ => wins(x, r) == mutant::on(Mutant::R7Mutual),
        };
        return Judgement { ours, copy: false, fork };
    }
    if !fork && (was_settled(x, r) || was_settled(r, x)) {
        return Judgement { ours: !x.is_live(), copy: false, fork };
    }
    let ours = wins(x, r) || mutant::on(Mutant::BothWin);
    let loser = if ours { r } else { x };
    Judgement { ours, copy: loser.has_content(), fork }
}

/// Whether, of two edits alone, `x` wins. Where each side covers the other's edit, it is the other way round: whoever settled
/// these two edits and knew nothing else kept the one that wins, so who kept the other knows of more, of a removal or an edit
/// of what would win.
fn wins(x: &Record, r: &Record) -> bool {
    (rank(x), x.mtime, x.content) >= (rank(r), r.mtime, r.content)
}

/// A directory beats anything else; an edit beats a removal.
fn rank(r: &Record) -> u8 {
    match r.kind {
        Kind::Removed if mutant::on(Mutant::R9Edit) => 2,
        Kind::Removed => 0,
        Kind::File | Kind::Symlink => 1,
        Kind::Directory if mutant::on(Mutant::R9Directory) => 1,
        Kind::Directory => 2,
    }
}

/// The metadata of a merge, per field, three-way against `base`: the side that changed wins; both, or no base: the later
/// mtime, and the mode bits that both have. `winner`'s content stays, and with another content its mtime too (R9).
pub fn merge_meta(base: Option<&Record>, winner: &Record, loser: &Record) -> (u16, i64) {
    if winner.kind != loser.kind || mutant::on(Mutant::R9Fields) || winner.kind == Kind::Removed {
        return (winner.mode, winner.mtime);
    }
    if winner.flags.revival() != loser.flags.revival() {
        let users = if winner.flags.revival() { loser } else { winner };
        return (users.mode, users.mtime);
    }
    let base = base.filter(|b| b.kind == winner.kind);
    let mode = match base {
        _ if winner.mode == loser.mode => winner.mode,
        Some(b) if b.mode == winner.mode => loser.mode,
        Some(b) if b.mode == loser.mode => winner.mode,
        _ => winner.mode & loser.mode,
    };
    let mtime = match base {
        _ if !winner.same_content(loser) => winner.mtime,
        Some(b) if b.mtime == winner.mtime => loser.mtime,
        Some(b) if b.mtime == loser.mtime => winner.mtime,
        _ => winner.mtime.max(loser.mtime),
    };
    (mode, mtime)
}

/// The record of a conflict copy: a function of the loser alone, so that two resolvers make one (R9).
pub fn copy_record(loser: &Record) -> Record {
    Record {
        kind: loser.kind,
        mode: loser.mode,
        size: loser.size,
        mtime: loser.mtime,
        content: loser.content,
        author: loser.author,
        edit: loser.edit,
        version: VersionVector::of(loser.edit),
        ..Record::default()
    }
}

/// What a look at the disk makes of the local tree. `content` is `None` when the stat was the known one, or for directories.
/// Fields whose disk value equals the one read back after the last act keep the record's value (R14).
pub fn observed(t: &Trees, stat: &Stat, content: Option<ContentId>, at: u64) -> Option<Local> {
    let old = t.local.as_ref();
    if let Some(l) = old.filter(|l| stat.kind == Kind::Removed && l.stat.kind == stat.kind) {
        // What is still to be made there, nobody removed.
        return Some(Local { record: l.record.clone(), made: l.made, stat: *stat, at });
    }
    let before = old.map(|l| &l.record);
    let keep = |now: i64, was: i64, recorded: i64| if now == was { recorded } else { now };
    let (was_mode, was_mtime) = old.map_or((-1, i64::MIN), |l| (i64::from(l.stat.mode), l.stat.mtime));
    let like = before.filter(|b| b.kind == stat.kind);
    let mut rec = Record { kind: stat.kind, ..Record::default() };
    match stat.kind {
        Kind::Removed => {
            let gone = before.filter(|b| b.is_live()).or(t.synced.as_ref());
            rec.content = gone.map_or(ContentId::NONE, |b| b.content);
        }
        Kind::Directory => {
            rec.mode = like.map_or(stat.mode, |b| keep(stat.mode.into(), was_mode, b.mode.into()) as u16);
        }
        Kind::Symlink | Kind::File => {
            rec.content = content.or(like.map(|b| b.content))?;
            rec.size = stat.size;
            rec.mtime = like.map_or(stat.mtime, |b| keep(stat.mtime, was_mtime, b.mtime));
            if stat.kind == Kind::File {
                rec.mode = like.map_or(stat.mode, |b| keep(stat.mode.into(), was_mode, b.mode.into()) as u16);
            }
        }
    }
    let Some(l) = old else { return Some(Local { record: rec, made: Made::Unminted, stat: *stat, at }) };
    let again = mutant::on(Mutant::R1Again) && l.made == Made::Minted;
    if !again && rec.same_thing(&l.record) && rec.is_live() == l.record.is_live() {
        return Some(Local { record: l.record.clone(), made: l.made, stat: *stat, at });
    }
    if !again && rec.same_content(&l.record) {
        (rec.edit, rec.parent, rec.author) = (l.record.edit, l.record.parent, l.record.author);
        rec.version = l.record.version.clone();
        rec.flags = l.record.flags;
    } else if l.made != Made::Synced {
        (rec.edit, rec.parent) = (l.record.edit, l.record.parent);
    }
    Some(Local { record: rec, made: Made::Unminted, stat: *stat, at })
}
