//! R9: what a power cut left of a merge still takes the copy along.

use super::rig::{Rig, content, path, record};
use super::state::{Telling, What};
use super::trees::Lane;
use crate::ids::{FolderSlot, Row, Seq};
use crate::limits;
use crate::record::{Kind, Record};
use crate::version::{Edit, VersionVector};
use crate::wire::batch::{Entry, EntryFlags};
use crate::wire::message::Verdict;
use std::vec::Vec;

/// At `x` an own edit won over another device's; nobody was told yet. The merge, its row, the pending copy's.
fn merged() -> (Rig, Record, Row, Row) {
    let mut rig = Rig::ready();
    rig.hears("x", Kind::File, "theirs");
    rig.sees("x", Kind::File, "ours");
    // Ours is the later one.
    let mut o = rig.open("x");
    o.t.local.as_mut().expect("it stands").record.mtime = 2_000_000_000_000_000;
    rig.peer.close(&mut rig.ix, rig.now, o);
    let o = rig.open("x");
    let row = o.row;
    rig.peer.announce_row(&mut rig.ix, rig.now, o);
    let t = rig.trees("x");
    let copy = *t.copies.last().expect("a copy");
    (rig, t.local.expect("it stands").record, row, copy)
}

/// The power fails; what was merged is known to have been here, and something later is there.
fn cut(rig: &mut Rig, merge: &Record) {
    let mut o = rig.open("x");
    o.t.synced = Some(merge.clone());
    let l = o.t.local.as_mut().expect("it stands");
    let edit =
        Edit { tag: rig.peer.tag.line().nth(1).expect("one follows"), counter: merge.edit.counter + 1 };
    l.record = Record {
        edit,
        parent: None,
        version: VersionVector::of(edit),
        ..record(Kind::File, content("torn"), 1)
    };
    rig.peer.close(&mut rig.ix, rig.now, o);
}

fn take(rig: &mut Rig, at: &str, seq: u64, record: &Record) {
    let (folder, flags) = (FolderSlot(0), EntryFlags::default());
    let e = Entry { folder, seq: Seq(seq), flags, path: path(at), record };
    rig.peer.take_record(&mut rig.ix, rig.now, 0, &e);
}

fn told(rig: &Rig) -> Vec<(Row, What, bool)> {
    rig.peer.outbox.iter().map(|a| (a.row, a.what, a.pair)).collect()
}

#[test]
fn a_merge_is_told_with_its_copy() {
    let (mut rig, merge, row, copy) = merged();
    assert!(merge.version.covers(rig.trees("x").remote.expect("theirs").record.edit));
    assert_eq!(told(&rig), [(row, What::Local, true), (copy, What::Pending, false)]);
}

#[test]
fn a_merge_that_went_with_a_power_cut_is_told_with_its_copy() {
    let (mut rig, merge, row, copy) = merged();
    cut(&mut rig, &merge);
    rig.peer.outbox.clear();
    rig.peer.epoch.0 += 1;
    rig.peer.folders[0].telling = Telling::Waiting;
    rig.peer.sweep_unknown(&mut rig.ix, rig.now);
    assert_eq!(told(&rig), [(row, What::Synced, true), (copy, What::Pending, false)]);
}

/// At the path of the copy the tracker has something else. The merge is told again once that is settled.
#[test]
fn a_merge_that_was_not_taken_for_its_copys_sake_is_told_again() {
    let (mut rig, merge, row, copy) = merged();
    cut(&mut rig, &merge);
    rig.peer.outbox.clear();
    rig.peer.epoch.0 += 1;
    rig.peer.folders[0].telling = Telling::Waiting;
    rig.peer.sweep_unknown(&mut rig.ix, rig.now);
    assert_eq!(told(&rig), [(row, What::Synced, true), (copy, What::Pending, false)]);
    let name = rig.path(copy);
    let mut other = rig.trees(&name).pending.expect("it must exist").0;
    (other.edit, other.version) = (Edit { tag: crate::ids::Tag(9), counter: 5 }, VersionVector::new());
    assert!(other.version.raise(other.edit));
    take(&mut rig, &name, 4, &other);
    rig.peer.outbox_sent = 2;
    for v in [Verdict::Pair, Verdict::Conflict(Seq(4))] {
        rig.peer.judged(&mut rig.ix, rig.now, v).expect("a verdict");
    }
    assert!(rig.trees(&name).pending.is_none(), "the same content stands there");
    rig.peer.sweep_unknown(&mut rig.ix, rig.now);
    rig.peer.folders[0].slot = Some(FolderSlot(0));
    assert!(rig.peer.transmit_told(&mut rig.ix, rig.now, &mut [0; limits::FRAME]).is_some());
    rig.peer.sweep_unknown(&mut rig.ix, rig.now);
    assert_eq!(told(&rig), [(row, What::Synced, false)]);
    assert!(rig.peer.folders[0].telling != Telling::Done);
    // Not for ever.
    rig.peer.outbox_sent = 1;
    rig.peer.judged(&mut rig.ix, rig.now, Verdict::Pair).expect("a verdict");
    assert!(rig.peer.transmit_told(&mut rig.ix, rig.now, &mut [0; limits::FRAME]).is_some());
    assert!(rig.peer.folders[0].telling == Telling::Done);
    assert!(rig.peer.folders[0].told_until.is_none(), "but on the next link");
}

/// At the path of a copy of an edit {77: 9} the tracker has that; where the copy goes then, and what its record covers there.
fn settled(kind: Kind, text: &str, edit: Edit) -> (bool, bool) {
    let (mut rig, _, _, copy) = merged();
    let name = rig.path(copy);
    let mut c = rig.open(&name);
    let (loser, _) = c.t.pending.as_mut().expect("it must exist");
    loser.edit.counter = 9;
    loser.version = VersionVector::of(loser.edit);
    rig.peer.close(&mut rig.ix, rig.now, c);
    let id = if text.is_empty() { crate::ids::ContentId::NONE } else { content(text) };
    let stands = Record { edit, version: VersionVector::of(edit), ..record(kind, id, 1) };
    take(&mut rig, &name, 4, &stands);
    let mut c = rig.open(&name);
    rig.peer.settle_copy_path(&mut rig.ix, rig.now, &mut c);
    rig.peer.close(&mut rig.ix, rig.now, c);
    let here = rig.trees(&name).pending.is_some_and(|(r, _)| r.version.covers(edit));
    let beside = rig.trees("x").copies.iter().any(|row| {
        let other = rig.path(*row);
        let (_, winner) = rig.trees(&other).pending.expect("it must exist");
        *row != copy && rig.path(winner) == "x"
    });
    (here, beside)
}

#[test]
fn a_winner_takes_along_the_copy_that_finds_a_place_beside_another_content() {
    let of = |tag: u32, counter| Edit { tag: crate::ids::Tag(tag), counter };
    assert_eq!(settled(Kind::Removed, "", of(9, 5)), (true, false), "an edit beats a removal");
    assert_eq!(settled(Kind::File, "theirs", of(9, 5)), (false, false), "it is the copy");
    assert_eq!(settled(Kind::File, "other", of(9, 5)), (false, true));
    assert_eq!(
        settled(Kind::Removed, "", of(77, 7)),
        (false, true),
        "of the same tag: nothing says that it is known"
    );
}

#[test]
fn a_copy_outlives_an_edit_on_top_of_a_merge_that_went_with_a_power_cut() {
    for (knows, kept) in [(true, true), (false, false)] {
        let (mut rig, merge, _, copy) = merged();
        let name = rig.path(copy);
        let loser = rig.trees(&name).pending.expect("it must exist").0.edit;
        cut(&mut rig, &merge);
        rig.peer.outbox.clear();
        let mut later = record(Kind::Directory, crate::ids::ContentId::NONE, 9_000_000);
        if knows {
            later.version = merge.version.clone();
        }
        assert!(later.version.raise(loser) | later.version.covers(loser) && later.version.raise(later.edit));
        take(&mut rig, "x", 9, &later);
        assert_eq!(rig.trees(&name).pending.is_some(), kept, "it knows of the merge: {knows}");
    }
}

#[test]
fn a_winner_waits_for_what_is_under_way_for_its_copy() {
    let (mut rig, _, _, copy) = merged();
    rig.peer.outbox.clear();
    let name = rig.path(copy);
    let mut c = rig.open(&name);
    c.t.stale = true;
    rig.peer.close(&mut rig.ix, rig.now, c);
    while let Some(e) = rig.effect() {
        assert!(!matches!(e, super::Effect::Look { row, .. } if row != copy));
    }
    rig.peer.outbox.clear();
    let o = rig.open("x");
    rig.peer.announce_row(&mut rig.ix, rig.now, o);
    assert_eq!(told(&rig), []);
    assert_eq!(rig.lane("x"), Some(Lane::Announce));
}
