//! R10 where a store was lost: what the first scan finds of a removed content is that removal, and nothing else is.

use super::mem_index::MemIndex;
use super::rig::Rig;
use super::trees::{Lane, Made};
use super::{Effect, Index, Number, Outcome, Peer};
use crate::ids::Epoch;
use crate::record::Kind;
use crate::time::Duration;

const FOUND: [(&str, Kind, &str); 8] = [
    ("d", Kind::Directory, ""),
    ("d/x", Kind::File, "x"),
    ("e", Kind::Directory, ""),
    ("e/new", Kind::File, "new"),
    ("edited", Kind::File, "edited"),
    ("kept", Kind::File, "kept"),
    ("l", Kind::Symlink, "l"),
    ("x", Kind::File, "x"),
];

/// Removals of all but `kept` and `new`, which nobody removed.
fn hear(rig: &mut Rig) {
    for (p, text) in [("d", ""), ("d/x", "x"), ("e", ""), ("e/old", "old"), ("l", "l"), ("x", "x")] {
        rig.hears_removal(p, text);
    }
    rig.hears_removal("edited", "as it was");
}

fn is_kept(rig: &mut Rig, p: &str) -> bool {
    let t = rig.trees(p);
    rig.lane(p) == Some(Lane::Announce) || t.local.is_some_and(|l| l.made == Made::Minted)
}

#[test]
fn what_the_first_scan_found_of_a_removed_content_goes() {
    // Heard before the scan, and after it.
    for early in [true, false] {
        let mut rig = Rig::over(MemIndex::new());
        rig.link();
        assert!(rig.peer.folders[0].lost);
        if early {
            hear(&mut rig);
        }
        rig.scan(&FOUND);
        if !early {
            hear(&mut rig);
        }
        assert!(!rig.peer.folders[0].lost);
        assert!(rig.removals().is_empty(), "not before all was heard");
        rig.catch_up();
        let removed = rig.removals();
        assert_eq!(removed.len(), 4, "{removed:?}");
        for p in ["d", "d/x", "l", "x"] {
            assert!(removed.iter().any(|r| r == p), "{p}");
            let t = rig.trees(p);
            assert!(t.local.is_none() && t.synced.is_some_and(|s| !s.is_live()), "{p} is removed");
            assert!(!t.orphan);
        }
        let at = |p: &str| removed.iter().position(|r| r == p);
        assert!(at("d/x") < at("d"), "children first: {removed:?}");
        for p in ["edited", "kept", "e/new", "e"] {
            assert!(is_kept(&mut rig, p), "{p} is kept and spread");
        }
        assert!(rig.trees("e").local.is_some_and(|l| l.record.flags.revival()), "as what carries e/new");
    }
}

#[test]
fn in_a_newly_linked_root_all_is_kept() {
    let mut ix = MemIndex::new();
    Peer::note_new_root(&mut ix, super::rig::F);
    let mut rig = Rig::over(ix);
    rig.link();
    hear(&mut rig);
    rig.scan(&FOUND);
    rig.catch_up();
    assert!(rig.removals().is_empty());
    for p in ["d/x", "x", "l", "edited", "kept"] {
        assert!(is_kept(&mut rig, p), "{p}");
    }
}

#[test]
fn what_comes_later_is_kept() {
    let mut rig = Rig::over(MemIndex::new());
    rig.link();
    rig.scan(&FOUND);
    // Made anew, restored, or changed there and back, after the first scan.
    rig.sees("y", Kind::File, "y");
    rig.misses("x");
    rig.sees("x", Kind::File, "x");
    rig.sees("l", Kind::File, "other");
    rig.sees("l", Kind::Symlink, "l");
    rig.hears_removal("y", "y");
    hear(&mut rig);
    rig.catch_up();
    let removed = rig.removals();
    assert!(removed.iter().all(|p| p.starts_with('d')), "{removed:?}");
    for p in ["x", "y", "l"] {
        assert!(is_kept(&mut rig, p), "{p}");
    }
}

#[test]
fn another_scan_is_not_the_first() {
    let mut rig = Rig::over(MemIndex::new());
    rig.link();
    rig.scan(&[]);
    assert_eq!(rig.ix.number(super::rig::F, Number::Known), 1);
    rig.peer.folders[0].rescan = true;
    rig.hears_removal("x", "x");
    rig.scan(&[("x", Kind::File, "x")]);
    rig.catch_up();
    assert!(rig.removals().is_empty() && is_kept(&mut rig, "x"));
}

#[test]
fn a_crash_between_scan_and_hearing_changes_nothing() {
    // At the scan's middle, whose rows may be durable or not, and after its end.
    for (ended, durable) in [(false, true), (false, false), (true, true)] {
        let mut rig = Rig::over(MemIndex::new());
        rig.link();
        rig.begin_scan(&FOUND);
        if ended {
            let ticket = rig.peer.scan.ticket;
            rig.done(ticket, Outcome::Done);
            rig.look(&FOUND);
        }
        if durable {
            rig.ix.commit();
        }
        rig.ix.crash();
        let mut rig = Rig::over(rig.ix);
        rig.link();
        assert_eq!(rig.peer.folders[0].lost, !ended);
        let found = [&FOUND[..], &[("y", Kind::File, "y")]].concat();
        rig.scan(&found);
        hear(&mut rig);
        if ended {
            rig.hears_removal("y", "y");
        }
        rig.catch_up();
        assert_eq!(rig.removals().len(), 4);
        assert!(is_kept(&mut rig, "kept") && is_kept(&mut rig, "y"));
    }
}

#[test]
fn a_removal_of_another_epoch_is_unknown() {
    let mut rig = Rig::over(MemIndex::new());
    rig.link();
    rig.scan(&FOUND);
    hear(&mut rig);
    rig.peer.epoch = Epoch(8);
    rig.catch_up();
    rig.pass(Duration::secs(1));
    assert_eq!(rig.removals(), [""; 0]);
}

#[test]
fn a_removal_that_is_replaced_while_it_is_made_leaves_nothing_of_its_own() {
    for epoch in [7, 8] {
        let mut rig = Rig::over(MemIndex::new());
        rig.link();
        rig.scan(&[("x", Kind::File, "x")]);
        rig.hears_removal("x", "x");
        rig.catch_up();
        let Some(Effect::Remove { ticket, .. }) = rig.effect() else { panic!("x is not removed") };
        if epoch == 7 {
            rig.hears("x", Kind::File, "newer");
        } else {
            rig.peer.epoch = Epoch(epoch);
        }
        rig.done(ticket, Outcome::Removed);
        let t = rig.trees("x");
        assert!(t.local.is_none() && t.synced.is_none() && !t.orphan && t.remote.is_some());
    }
}

#[test]
fn a_path_that_is_live_again_is_no_removal() {
    let mut rig = Rig::over(MemIndex::new());
    rig.link();
    rig.scan(&FOUND);
    hear(&mut rig);
    rig.hears("x", Kind::File, "newer");
    rig.catch_up();
    assert!(!rig.removals().iter().any(|p| p == "x"));
}
