//! R11 where the trees have the outcome of a swap already: what a user undid since is an edit, what a power cut undid is done
//! again. And where a copy's name is another content's.

use super::rig::{F, Rig, content, path, record, stat};
use super::state::{INSTALLS, JOBS};
use super::trees::{Cause, Intent, Lane, Local, Made, Remote, Trees};
use super::{Effect, Index, Outcome, Stat, copy_path};
use crate::ids::{ContentId, Seq, Tag};
use crate::path::PathBuf;
use crate::record::{Kind, Record};
use crate::time::Duration;
use crate::version::{Edit, Order};
use std::string::String;
use std::vec::Vec;

const NOTHING: (Kind, ContentId) = (Kind::Removed, ContentId::NONE);

/// Another device's removal of a record, so much later.
fn removal_of(r: &Record, later: u64) -> Record {
    let edit = Edit { tag: Tag(77), counter: r.edit.counter + later };
    let mut removal = Record { kind: Kind::Removed, edit, parent: Some(r.edit), ..r.clone() };
    assert!(removal.version.raise(edit));
    removal
}

/// `p` was swapped in over `from`, and that is noted; a recovery finds `disk`, and then a look does.
fn recover(rig: &mut Rig, p: &str, from: (Kind, ContentId), disk: Option<(Stat, ContentId)>) {
    let mut o = rig.open(p);
    let l = o.t.local.as_ref().expect("it stands");
    o.t.intent = Some(Intent { from, to: (l.record.kind, l.record.content), copy: None });
    rig.peer.close(&mut rig.ix, rig.now, o);
    while let Some(e) = rig.effect() {
        match e {
            Effect::Recover { ticket, .. } => {
                rig.done(ticket, Outcome::Recovered { disk, swap: None, part: false, at: rig.now.wall });
            }
            Effect::Discard { ticket, .. } => rig.done(ticket, Outcome::Done),
            Effect::Look { ticket, .. } => {
                let (stat, id) = disk.map_or((Stat::default(), None), |d| (d.0, Some(d.1)));
                rig.done(ticket, Outcome::Looked { stat, content: id, at: rig.now.wall });
            }
            _ => {}
        }
    }
}

#[test]
fn what_a_user_removed_before_the_swap_was_durable_is_removed() {
    for (kind, text) in [(Kind::Directory, ""), (Kind::File, "new")] {
        let mut rig = Rig::ready();
        rig.has("x", kind, text);
        recover(&mut rig, "x", NOTHING, None);
        let t = rig.trees("x");
        assert!(t.intent.is_none() && !t.stale);
        assert!(t.local.is_some_and(|l| !l.record.is_live() && l.made != Made::Synced), "{kind:?}");
    }
}

#[test]
fn a_change_that_came_before_a_swap_was_looked_into_is_seen() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::Directory, "");
    let (dir, link) = ((Kind::Directory, ContentId::NONE), record(Kind::Symlink, content("to"), 9));
    let mut o = rig.open("x");
    o.t.intent = Some(Intent { from: dir, to: (link.kind, link.content), copy: None });
    (o.t.target, o.t.stale) = (Some(link.clone()), true);
    rig.peer.close(&mut rig.ix, rig.now, o);
    let changed = Stat { mode: 0o700, ctime: 9, ..stat(Kind::Directory) };
    let swap = Some((stat(Kind::Symlink), link.content));
    while let Some(e) = rig.effect() {
        match e {
            Effect::Recover { ticket, .. } => {
                let disk = Some((changed, ContentId::NONE));
                rig.done(ticket, Outcome::Recovered { disk, swap, part: false, at: rig.now.wall });
            }
            Effect::Discard { ticket, .. } => rig.done(ticket, Outcome::Done),
            Effect::Look { ticket, .. } => {
                rig.done(ticket, Outcome::Looked { stat: changed, content: None, at: rig.now.wall });
            }
            _ => {}
        }
    }
    let t = rig.trees("x");
    assert!(t.intent.is_none() && t.local.is_some_and(|l| l.record.mode == 0o700), "a user's");
}

#[test]
fn what_a_power_cut_undid_is_installed_again() {
    let mut rig = Rig::ready();
    rig.peer.folders[0].unclean = true;
    rig.has("x", Kind::File, "new");
    let old = content("old");
    recover(&mut rig, "x", (Kind::File, old), Some((stat(Kind::File), old)));
    let t = rig.trees("x");
    assert!(t.synced.is_none() && t.local.is_some_and(|l| l.record.content == old && l.made == Made::Synced));
    assert_eq!(rig.lane("x"), Some(Lane::Quick), "it is no edit");
    rig.has("d", Kind::Directory, "");
    recover(&mut rig, "d", NOTHING, None);
    assert!(rig.trees("d").local.is_some_and(|l| l.made == Made::Synced) && rig.trees("d").disk_due);
}

#[test]
fn what_a_power_cut_undid_is_not_waited_for_once_it_is_removed() {
    let mut rig = Rig::ready();
    rig.peer.folders[0].unclean = true;
    rig.has("x", Kind::File, "new");
    recover(&mut rig, "x", NOTHING, None);
    assert!(rig.trees("x").disk_due, "it is to be made again");
    let synced = rig.trees("x").synced.expect("it was here");
    let mut removal = record(Kind::Removed, synced.content, 9);
    removal.parent = Some(synced.edit);
    let mut o = rig.open("x");
    let epoch = rig.peer.epoch;
    o.t.remote = Some(Remote { record: removal.clone(), epoch, seq: Seq(9) });
    rig.peer.close(&mut rig.ix, rig.now, o);
    let t = rig.trees("x");
    assert_eq!((t.local, t.synced, rig.lane("x")), (None, Some(removal), None), "nobody has it any more");
}

#[test]
fn what_a_power_cut_took_is_not_waited_for_once_it_is_removed_though_its_mode_was_changed() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "new");
    let mut o = rig.open("x");
    let known = o.t.synced.clone().expect("it was here");
    let own = Edit { tag: rig.peer.tag, counter: known.edit.counter + 5 };
    let l = o.t.local.as_mut().expect("it stands");
    assert!(l.record.version.raise(own));
    (l.record.mode, l.made, l.stat) = (0o600, Made::Minted, Stat::default());
    let removal = removal_of(&known, 9);
    let heard = Remote { record: removal.clone(), epoch: rig.peer.epoch, seq: Seq(9) };
    (o.t.disk_due, o.t.remote) = (true, Some(heard));
    rig.peer.close(&mut rig.ix, rig.now, o);
    let t = rig.trees("x");
    assert_eq!((t.local, t.synced, rig.lane("x")), (None, Some(removal), None), "nobody has it any more");
}

#[test]
fn a_copy_is_made_beside_what_stands_under_its_name() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "winner");
    let loser = record(Kind::File, content("loser"), 1_000_000);
    let mut name = PathBuf::new();
    copy_path(path("x"), &loser, rig.peer.roster().name_of(loser.author), &mut name);
    let first = String::from_utf8(name.get().expect("a name").bytes().to_vec()).expect("text");
    rig.has(&first, Kind::File, "another");
    let o = rig.open("x");
    let row = rig.peer.plan_copy(&mut rig.ix, rig.now, &o, &loser).expect("a copy");
    let second = rig.path(row);
    assert!(second != first && second.starts_with(&first[..first.len() - 1]), "{second}");
    let pending = rig.trees(&second).pending.expect("it must exist");
    assert_eq!(pending.0.content, loser.content);
    assert!(rig.trees(&first).pending.is_none());
}

#[test]
fn what_is_neither_a_part_nor_a_swap_file_any_more_was_swapped_in() {
    // Killed between a swap over nothing and its note: a user removed what it made, unless a power cut took it.
    for (part, unclean, removed) in [(false, false, true), (true, false, false), (false, true, false)] {
        let mut rig = Rig::ready();
        rig.peer.folders[0].unclean = unclean;
        rig.hears("x", Kind::File, "new");
        let mut o = rig.open("x");
        let target = o.t.remote.as_ref().expect("just heard").record.clone();
        o.t.intent = Some(Intent { from: NOTHING, to: (Kind::File, target.content), copy: None });
        o.t.target = Some(target);
        rig.peer.close(&mut rig.ix, rig.now, o);
        while let Some(e) = rig.effect() {
            match e {
                Effect::Recover { ticket, .. } => {
                    rig.done(ticket, Outcome::Recovered { disk: None, swap: None, part, at: rig.now.wall });
                }
                Effect::Discard { ticket, unused: true, .. } => rig.done(ticket, Outcome::Done),
                Effect::Look { ticket, .. } => {
                    let (stat, at) = (Stat::default(), rig.now.wall);
                    rig.done(ticket, Outcome::Looked { stat, content: None, at });
                }
                _ => {}
            }
        }
        let t = rig.trees("x");
        let gone = t.local.is_some_and(|l| !l.record.is_live() && l.made == Made::Unminted);
        assert!(t.intent.is_none());
        assert_eq!((gone, t.synced.is_some()), (removed, removed), "{part} {unclean}");
    }
}

#[test]
fn what_a_user_saves_or_removes_where_a_power_cut_hides_how_far_a_swap_came_replaces_nothing_unseen() {
    let saved = Some((stat(Kind::File), content("a user's")));
    let cases = [(false, "new"), (true, "old")];
    for ((unclean, kept), found) in cases.into_iter().flat_map(|c| [(c, saved), (c, None)]) {
        let mut rig = Rig::ready();
        rig.has("x", Kind::File, "old");
        rig.hears("x", Kind::File, "new");
        let mut o = rig.open("x");
        let target = o.t.remote.as_ref().expect("just heard").record.clone();
        let (from, to) = ((Kind::File, content("old")), (Kind::File, target.content));
        (o.t.intent, o.t.target) = (Some(Intent { from, to, copy: None }), Some(target));
        rig.peer.close(&mut rig.ix, rig.now, o);
        // As after a crash; the power failed, or not.
        rig.peer.folders[0].unclean = unclean;
        let at = rig.now.wall;
        while let Some(e) = rig.effect() {
            match e {
                Effect::Recover { ticket, .. } => {
                    rig.done(ticket, Outcome::Recovered { disk: found, swap: None, part: false, at });
                }
                Effect::Discard { ticket, unused: true, .. } => rig.done(ticket, Outcome::Done),
                Effect::Look { ticket, .. } => {
                    let (stat, content) = found.map_or((Stat::default(), None), |f| (f.0, Some(f.1)));
                    rig.done(ticket, Outcome::Looked { stat, content, at });
                }
                _ => {}
            }
        }
        let t = rig.trees("x");
        assert_eq!(t.disk_content(), found.map(|f| f.1));
        assert_eq!(t.synced.map(|s| s.content), Some(content(kept)), "the edit is one of that");
    }
}

/// A swap of a directory over the file `x` ended with the program; a recovery is due.
fn swap_undecided() -> Rig {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "old");
    let mut o = rig.open("x");
    let (from, to) = ((Kind::File, content("old")), (Kind::Directory, ContentId::NONE));
    (o.t.intent, o.t.stale) = (Some(Intent { from, to, copy: None }), true);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig
}

#[test]
fn what_cannot_be_kept_yet_is_no_other_edit_at_each_try() {
    let mut rig = swap_undecided();
    let (odd, at, mut kept) = ((stat(Kind::File), content("a user's")), rig.now.wall, Vec::new());
    for _ in 0..100 {
        while let Some(e) = rig.effect() {
            match e {
                Effect::Recover { ticket, .. } => {
                    rig.done(ticket, Outcome::Recovered { disk: None, swap: Some(odd), part: false, at });
                }
                Effect::Keep { ticket, row, .. } => {
                    kept.push(row);
                    rig.done(ticket, Outcome::Failed(Cause::NoParent));
                }
                _ => {}
            }
        }
        rig.pass(Duration::secs(1));
    }
    assert!(kept.len() > 5 && kept.iter().all(|row| *row == kept[0]), "{kept:?}");
}

/// What a swap displaced is kept late: the home has taken its copy's record meanwhile, and a user removed that elsewhere.
#[test]
fn what_is_kept_late_is_the_copy_that_was_told_and_goes_when_that_is_removed() {
    let mut rig = swap_undecided();
    let (odd, mut tries, mut copy) = ((stat(Kind::File), content("a user's")), 0, None);
    for _ in 0..8 {
        while let Some(e) = rig.effect() {
            let at = rig.now.wall;
            match e {
                Effect::Recover { ticket, .. } => {
                    rig.done(ticket, Outcome::Recovered { disk: None, swap: Some(odd), part: false, at });
                }
                Effect::Keep { ticket, .. } if tries == 0 => {
                    tries += 1;
                    rig.done(ticket, Outcome::Failed(Cause::Os(13)));
                }
                Effect::Keep { ticket, row, .. } if copy.is_none() => {
                    let name = rig.path(row);
                    let mut o = rig.open(&name);
                    let record = o.t.pending.take().expect("it is owed").0;
                    let epoch = rig.peer.epoch;
                    o.t.remote = Some(Remote { record: record.clone(), epoch, seq: Seq(5) });
                    rig.peer.close(&mut rig.ix, rig.now, o);
                    rig.done(ticket, Outcome::Swapped { stat: odd.0, at, copy: None, odd: None });
                    copy = Some((name, record));
                }
                Effect::Sync { ticket, .. } => rig.done(ticket, Outcome::Done),
                _ => {}
            }
        }
        rig.pass(Duration::secs(1));
    }
    let (name, record) = copy.expect("it was kept");
    assert_eq!(rig.trees(&name).local.map(|l| l.record), Some(record.clone()), "no user's anew");
    let removal = removal_of(&record, 1);
    let mut o = rig.open(&name);
    o.t.remote = Some(Remote { record: removal, epoch: rig.peer.epoch, seq: Seq(6) });
    rig.peer.close(&mut rig.ix, rig.now, o);
    // It is looked at for the first time.
    rig.sees(&name, Kind::File, "a user's");
    assert_eq!(rig.lane(&name), Some(Lane::Remove));
}

#[test]
fn a_copy_that_may_have_been_announced_stays_as_it_is() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "winner");
    let loser = record(Kind::File, content("loser"), 1_000_000);
    let touched = Record { mode: 0o755, ..loser.clone() };
    for loser in [&loser, &touched] {
        let o = rig.open("x");
        let row = rig.peer.plan_copy(&mut rig.ix, rig.now, &o, loser).expect("a copy");
        let name = rig.path(row);
        assert_eq!(rig.trees(&name).pending.expect("it must exist").0.mode, 0);
    }
}

#[test]
fn what_is_made_where_an_own_edit_was_removed_unseen_forks_nothing() {
    // An older edit of this tag, removed by another device; this one made the path anew, and knew of neither.
    let mut rig = Rig::ready();
    let (old, new) = (record(Kind::File, content("old"), 5), record(Kind::File, content("new"), 9));
    let mut removal = record(Kind::Removed, content("old"), 6);
    (removal.edit.tag, removal.parent) = (Tag(78), Some(old.edit));
    assert!(removal.version.raise(removal.edit));
    let merged = rig.peer.merge(rig.now, &mut Trees::default(), &new, &removal, false);
    assert_eq!((merged.parent, merged.content), (Some(new.edit), new.content));
    assert_eq!(merged.compare(&old), Order::Dominates, "who still has the old one follows");
    let unlike = Record { parent: Some(old.edit), ..new.clone() };
    assert_eq!(
        rig.peer.merge(rig.now, &mut Trees::default(), &unlike, &removal, false).edit,
        new.edit,
        "it knew what it replaced"
    );
}

#[test]
fn what_wins_over_an_edit_that_nobody_took_stays_the_edit_it_was() {
    for made in [Made::Minted, Made::Synced] {
        let mut rig = Rig::ready();
        let (old, new) = (record(Kind::File, content("old"), 5), record(Kind::File, content("new"), 9));
        assert!(new.forks(&old));
        let mut o = rig.open("x");
        o.t.local = Some(Local { record: new.clone(), made, stat: stat(Kind::File), at: 1 });
        o.t.synced = Some(new).filter(|_| made == Made::Synced);
        o.t.target = Some(old.clone());
        rig.peer.take_target(rig.now, &mut o, stat(Kind::File), 1);
        let l = o.t.local.expect("it stands");
        assert_eq!((l.record.content, l.record.edit == old.edit), (old.content, made == Made::Minted));
    }
}

#[test]
fn however_much_is_to_be_recovered_work_stays_bounded() {
    let mut rig = Rig::ready();
    for i in 0..700 {
        let name = std::format!("{i:03}");
        rig.hears(&name, Kind::File, "new");
        if i % 2 == 0 {
            let mut o = rig.open(&name);
            let target = o.t.remote.as_ref().expect("just heard").record.clone();
            o.t.intent = Some(Intent { from: NOTHING, to: (Kind::File, target.content), copy: None });
            o.t.target = Some(target);
            rig.peer.close(&mut rig.ix, rig.now, o);
        }
    }
    let (mut recovered, mut discarded, mut ended) = (0, 0, false);
    for _ in 0..200 {
        let mut out = std::vec::Vec::new();
        while let Some(e) = rig.effect() {
            out.push(e);
        }
        assert!(rig.peer.installs() <= INSTALLS && rig.peer.jobs.len() < JOBS);
        for e in out {
            match e {
                Effect::Recover { ticket, .. } => {
                    recovered += 1;
                    rig.done(ticket, Outcome::Recovered { disk: None, swap: None, part: true, at: 1 });
                }
                Effect::Discard { ticket, .. } => {
                    discarded += 1;
                    rig.done(ticket, Outcome::Done);
                }
                _ => {}
            }
        }
        ended |= (recovered, discarded) == (350, 350);
        rig.pass(Duration::secs(5));
    }
    assert!(ended, "{recovered} {discarded}");
}

#[test]
fn a_source_that_is_gone_is_not_looked_at() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "x");
    let row = rig.ix.find(F, path("x")).expect("just made");
    rig.ix.erase(row);
    rig.peer.look_again(&mut rig.ix, rig.now, row);
    rig.peer.disown_trashed(&mut rig.ix, rig.now, row);
}
