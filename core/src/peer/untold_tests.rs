//! R13: what a power cut has left where a change was seen that nobody was told of, over what others may have.

use super::reconcile::is_aside;
use super::rig::{Rig, content, record, stat};
use super::torn_tests::{announced_and_cut, home_is_behind, power_fails_unseen};
use super::trees::{Lane, Made, Remote, Stat};
use crate::ids::{Epoch, Seq};
use crate::record::{Kind, Record};
use crate::version::{Edit, Order, VersionVector};

/// What is at `x` is saved over, removed or replaced, and the power fails before anybody is told.
fn untold(mut rig: Rig, kind: Kind) -> Rig {
    // Since the last flush, which ended the mark of what stands there.
    rig.peer.folders[0].flushed = None;
    rig.sees("x", kind, if kind == Kind::File { "untold" } else { "" });
    let t = rig.trees("x");
    assert_eq!(t.local.map(|l| l.made), Some(Made::Unminted));
    let over = t.synced.is_some_and(|s| s.has_content());
    assert!(
        t.unsynced || !over || kind == Kind::Removed,
        "though the mark of what it was made over has ended"
    );
    power_fails_unseen(&mut rig);
    rig
}

/// `x` is the home's.
fn home() -> Rig {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    rig
}

#[test]
fn what_a_power_cut_left_where_an_untold_change_was_seen_does_not_replace_what_was_told() {
    for kind in [Kind::File, Kind::Removed, Kind::Directory] {
        let whole = home().trees("x").synced;
        let mut rig = untold(home(), kind);
        rig.sees("x", Kind::File, "old");
        let t = rig.trees("x");
        assert!(is_aside(&t) && t.synced == whole, "{kind:?}");
        let mut o = rig.open("x");
        assert_eq!(
            o.t.local.as_ref().map(|l| l.record.compare(whole.as_ref().expect("it was here"))),
            Some(Order::Concurrent)
        );
        o.t.disk_due = false;
        rig.peer.close(&mut rig.ix, rig.now, o);
        assert_eq!(rig.lane("x"), Some(Lane::Quick), "{kind:?}: it is fetched back");
        let o = rig.open("x");
        assert!(rig.peer.judgement(&o).is_some_and(|j| !j.ours && j.copy), "{kind:?}: beside it");
    }
}

#[test]
fn an_untold_change_that_outlived_a_power_cut_is_an_edit_and_so_is_what_comes_later() {
    for (kind, text) in [(Kind::File, "untold"), (Kind::Removed, ""), (Kind::Directory, "")] {
        let mut rig = untold(home(), kind);
        let whole = rig.trees("x").synced.expect("it was here");
        rig.sees("x", kind, text);
        let l = rig.trees("x").local.expect("a change");
        assert_eq!((l.record.kind, l.made), (kind, Made::Unminted));
        assert_eq!(rig.minted("x").compare(&whole), Order::Dominates, "{kind:?}");
        rig.sees("x", Kind::File, "later");
        let later = rig.minted("x");
        assert_eq!((later.content, later.compare(&whole)), (content("later"), Order::Dominates), "{kind:?}");
    }
    let mut rig = untold(home(), Kind::File);
    rig.sees("x", Kind::File, "whole");
    let t = rig.trees("x");
    assert_eq!(
        (t.local.map(|l| (l.record, l.made)), rig.lane("x")),
        (t.synced.map(|s| (s, Made::Synced)), None)
    );
    rig.sees("x", Kind::File, "later");
    assert_eq!(rig.minted("x").parent, rig.trees("x").synced.map(|s| s.edit));
}

#[test]
fn another_mode_says_nothing_of_what_is_on_the_platter_but_another_time_may() {
    let seen = |stat: Stat| {
        let mut rig = home();
        rig.peer.folders[0].flushed = None;
        let (o, at) = (rig.open("x"), rig.now.wall);
        rig.peer.looked(&mut rig.ix, rig.now, o, stat, Some(content("whole")), at);
        assert_eq!(rig.trees("x").local.map(|l| l.made), Some(Made::Unminted));
        rig.minted("x");
        rig
    };
    let mut rig = seen(Stat { mode: 0o755, ..stat(Kind::File) });
    assert!(!rig.trees("x").unsynced, "who removes it later has removed it, whatever power cut follows");
    rig.sees("x", Kind::File, "saved");
    assert!(rig.trees("x").unsynced);
    // It may have been written over with the same once more.
    let mut rig = seen(Stat { mtime: 5_000_000, ..stat(Kind::File) });
    assert!(rig.trees("x").unsynced);
    power_fails_unseen(&mut rig);
    rig.sees("x", Kind::File, "");
    assert!(is_aside(&rig.trees("x")), "what is torn replaces nothing");
}

#[test]
fn what_a_power_cut_left_where_nobody_was_told_of_anything_is_an_edit() {
    let mut rig = untold(Rig::ready(), Kind::File);
    rig.sees("x", Kind::File, "torn");
    let l = rig.trees("x").local.expect("it stands");
    assert_eq!((l.record.content, l.made), (content("torn"), Made::Unminted));
    let mut rig = Rig::ready();
    rig.has("x", Kind::Directory, "");
    let mut rig = untold(rig, Kind::File);
    rig.sees("x", Kind::File, "torn");
    assert_eq!(rig.minted("x").parent, rig.trees("x").synced.map(|s| s.edit), "no part of a directory");
}

#[test]
fn a_directory_that_a_power_cut_brought_back_below_an_untold_save_gives_way() {
    let mut rig = untold(home(), Kind::File);
    rig.sees("x", Kind::Directory, "");
    let t = rig.trees("x");
    assert!(t.synced.is_none() && t.local.is_some_and(|l| l.made == Made::Synced));
    assert_eq!(rig.lane("x"), Some(Lane::Quick), "the file is fetched back");
}

#[test]
fn what_a_power_cut_left_of_an_untold_save_over_what_was_withdrawn_replaces_nothing() {
    let mut rig = home_is_behind(false);
    let whole = rig.trees("x").synced.expect("it was here");
    rig = untold(rig, Kind::File);
    rig.sees("x", Kind::File, "torn");
    let torn = rig.minted("x");
    assert_eq!((torn.content, torn.parent), (content("torn"), None));
    assert_eq!(torn.compare(&whole), Order::Concurrent, "who has the whole of it meets it in a conflict");
}

/// `x` is the home's, which has it from this store, over an older one of another device's.
fn own_home() -> (Rig, Record, Record) {
    let mut rig = home();
    let older = record(Kind::File, content("older"), 3);
    let edit = Edit { tag: rig.peer.tag, counter: 5 };
    let mut o = rig.open("x");
    let mut whole = Record { edit, parent: Some(older.edit), ..o.t.synced.clone().expect("it is here") };
    whole.version = older.version.clone();
    assert!(whole.version.raise(edit));
    o.t.synced = Some(whole.clone());
    o.t.remote.as_mut().expect("it is the home's").record = whole.clone();
    o.t.local.as_mut().expect("it stands").record = whole.clone();
    rig.peer.close(&mut rig.ix, rig.now, o);
    (rig, whole, older)
}

/// The tracker forgot all, and who is there tells of something older, which is fetched and edited here.
fn edited_over(rig: &mut Rig, older: Record) -> Record {
    rig.peer.epoch = Epoch(rig.peer.epoch.0 + 1);
    rig.catch_up();
    let mut o = rig.open("x");
    o.t.remote = Some(Remote { record: older.clone(), epoch: rig.peer.epoch, seq: Seq(1) });
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert_eq!(rig.lane("x"), Some(Lane::Quick));
    let mut o = rig.open("x");
    o.t.target = Some(older);
    rig.peer.take_target(rig.now, &mut o, stat(Kind::File), 1);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.sees("x", Kind::File, "new");
    rig.minted("x")
}

#[test]
fn an_own_edit_below_an_untold_save_that_went_with_its_name_is_unknown_to_what_is_made_later() {
    for dir in [false, true] {
        let (rig, whole, older) = own_home();
        let mut rig = untold(rig, Kind::File);
        rig.sees("x", if dir { Kind::Directory } else { Kind::Removed }, "");
        assert_eq!(rig.lane("x"), Some(Lane::Quick), "it is fetched back");
        let new = edited_over(&mut rig, older.clone());
        assert_eq!(new.compare(&older), Order::Dominates);
        assert!(
            !new.version.covers(whole.edit),
            "{dir}: whoever edits that, too, leaves a copy to who has it"
        );
    }
}

#[test]
fn who_edits_what_came_back_for_an_own_edit_below_an_untold_save_knows_of_it() {
    let (rig, whole, _) = own_home();
    let mut rig = untold(rig, Kind::File);
    rig.misses("x");
    let mut o = rig.open("x");
    o.t.target = Some(whole.clone());
    rig.peer.take_target(rig.now, &mut o, stat(Kind::File), 1);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.sees("x", Kind::File, "new");
    let new = rig.minted("x");
    assert_eq!((new.edit.tag, new.compare(&whole)), (rig.peer.tag, Order::Dominates), "no tag is used up");
}

/// An edit is announced, of what was old or of nothing, and saved over before its verdict comes; then the power fails.
fn announced_below(old: bool) -> (Rig, Record) {
    let mut rig = Rig::ready();
    if old {
        rig.has("x", Kind::File, "old");
    }
    rig.sees("x", Kind::File, "new");
    let lost = announced_and_cut(&mut rig);
    let mut o = rig.open("x");
    o.t.local.as_mut().expect("it stands").at = rig.now.wall;
    rig.peer.close(&mut rig.ix, rig.now, o);
    (untold(rig, Kind::File), lost)
}

#[test]
fn an_announced_edit_below_an_untold_save_is_unknown_to_what_is_made_after_a_power_cut() {
    for (old, kind, left) in [
        (true, Kind::File, "old"),
        (true, Kind::File, "torn"),
        (true, Kind::Removed, ""),
        (true, Kind::Directory, ""),
        (false, Kind::File, "torn"),
        (false, Kind::Directory, ""),
        (false, Kind::Removed, ""),
    ] {
        let (mut rig, lost) = announced_below(old);
        rig.sees("x", kind, left);
        rig.sees("x", Kind::File, "newer");
        let new = rig.minted("x");
        assert_eq!(new.compare(&lost), Order::Concurrent, "{old} {kind:?} {left}");
        assert!(!new.version.covers(lost.edit), "{old} {kind:?} {left}: nor does who edits that know of it");
    }
}

#[test]
fn a_directory_that_came_back_below_a_save_over_what_was_announced_does_not_know_that() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::Directory, "");
    rig.sees("x", Kind::File, "new");
    let lost = announced_and_cut(&mut rig);
    let mut o = rig.open("x");
    o.t.local.as_mut().expect("it stands").at = rig.now.wall;
    rig.peer.close(&mut rig.ix, rig.now, o);
    let mut rig = untold(rig, Kind::File);
    rig.sees("x", Kind::Directory, "");
    let t = rig.trees("x");
    assert_eq!(t.local.map(|l| l.made), Some(Made::Synced), "it is what the home has");
    rig.sees("x", Kind::File, "newer");
    assert!(!rig.minted("x").version.covers(lost.edit));
}

#[test]
fn what_a_power_cut_left_of_a_save_over_a_conflict_copy_does_not_know_the_loser() {
    let mut rig = Rig::ready();
    let loser = Edit { tag: crate::ids::Tag(77), counter: 5 };
    rig.sees("x", Kind::File, "copy");
    let mut o = rig.open("x");
    let l = o.t.local.as_mut().expect("it stands");
    (l.record.edit, l.record.version, l.made) = (loser, VersionVector::of(loser), Made::Minted);
    rig.peer.close(&mut rig.ix, rig.now, o);
    let mut rig = untold(rig, Kind::File);
    assert_eq!(rig.trees("x").local.map(|l| l.record.edit), Some(loser));
    rig.sees("x", Kind::File, "torn");
    let torn = rig.minted("x");
    assert!(torn.content == content("torn") && !torn.version.covers(loser));
}

#[test]
fn what_comes_back_for_what_was_torn_does_not_know_what_was_announced_over_it() {
    let (mut rig, lost) = announced_below(true);
    rig.sees("x", Kind::File, "torn");
    let mut o = rig.open("x");
    assert!(is_aside(&o.t));
    o.t.target = o.t.synced.clone();
    rig.peer.take_target(rig.now, &mut o, stat(Kind::File), 1);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.sees("x", Kind::File, "newer");
    assert!(!rig.minted("x").version.covers(lost.edit));
}
