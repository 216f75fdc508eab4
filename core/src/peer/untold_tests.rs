//! R13: what a power cut has left where a change was seen that nobody was told of, over what others may have.

use super::reconcile::is_aside;
use super::rig::{Rig, content};
use super::torn_tests::{home_is_behind, power_fails_unseen};
use super::trees::{Lane, Made};
use crate::record::Kind;
use crate::version::Order;

/// What is at `x` is saved over, removed or replaced, and the power fails before anybody is told.
fn untold(mut rig: Rig, kind: Kind) -> Rig {
    rig.sees("x", kind, if kind == Kind::File { "untold" } else { "" });
    assert_eq!(rig.trees("x").local.map(|l| l.made), Some(Made::Unminted));
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
