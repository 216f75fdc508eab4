//! What a look says of all below the path, and which directories a scan has told of wholly.

use super::rig::{F, Rig, content, path, stat};
use super::trees::{Cause, Lane, Made, Stat};
use super::{Effect, Index, Outcome, Touch};
use crate::ids::Ticket;
use crate::record::Kind;
use crate::time::{Duration, Instant};
use std::string::String;
use std::vec::Vec;

const BELOW: [&str; 3] = ["d/e", "d/e/y", "d/x"];

/// `d`, what is in it, and a file whose name begins alike.
fn there() -> Rig {
    let mut rig = Rig::ready();
    for p in ["d", "d/e"] {
        rig.has(p, Kind::Directory, "");
    }
    for p in ["d/e/y", "d/x", "d.txt"] {
        rig.has(p, Kind::File, p);
    }
    rig
}

/// The looks and scans that are asked for now, by path.
fn asked(rig: &mut Rig) -> (Vec<(String, Ticket)>, Vec<String>) {
    let (mut looks, mut scans) = (Vec::new(), Vec::new());
    while let Some(e) = rig.effect() {
        match e {
            Effect::Look { ticket, row, .. } => looks.push((rig.path(row), ticket)),
            Effect::Scan { ticket, dir, .. } => {
                scans.push(dir.map_or(String::new(), |row| rig.path(row)));
                rig.done(ticket, Outcome::Done);
            }
            _ => {}
        }
    }
    (looks, scans)
}

/// The look at `p` that follows from an event which says that it is gone.
fn goes(rig: &mut Rig, p: &str) -> Ticket {
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path(p), Touch::Gone);
    rig.pass(Duration::secs(1));
    let (looks, _) = asked(rig);
    looks.iter().find(|l| l.0 == p).expect("it is looked at").1
}

/// That look found this.
fn found(rig: &mut Rig, ticket: Ticket, stat: Stat) {
    let (content, at) = ((stat.kind == Kind::File).then(|| content("new")), rig.now.wall);
    rig.done(ticket, Outcome::Looked { stat, content, at });
}

fn stands(rig: &mut Rig, p: &str) -> bool {
    rig.trees(p).local.is_some_and(|l| l.stat.kind != Kind::Removed)
}

#[test]
fn nothing_stands_below_what_is_no_directory() {
    for end in 0..3 {
        let mut rig = there();
        let ticket = goes(&mut rig, "d");
        match end {
            0 => found(&mut rig, ticket, Stat::default()),
            1 => found(&mut rig, ticket, stat(Kind::File)),
            _ => rig.done(ticket, Outcome::Failed(Cause::NoParent)),
        }
        for p in BELOW {
            let l = rig.trees(p).local.expect("a removal");
            assert_eq!((l.stat.kind, l.made), (Kind::Removed, Made::Unminted), "{p}");
            assert_eq!(rig.lane(p), Some(Lane::Vanished), "{p} is a removal to be judged");
        }
        assert!(stands(&mut rig, "d.txt"));
        assert!(asked(&mut rig).0.is_empty(), "no look is needed");
    }
}

#[test]
fn what_moved_with_its_directory_is_no_removal() {
    let mut rig = there();
    let ticket = goes(&mut rig, "d");
    for p in ["new", "new/e"] {
        rig.sees(p, Kind::Directory, "");
    }
    rig.sees("new/x", Kind::File, "d/x");
    found(&mut rig, ticket, Stat::default());
    assert_eq!(rig.lane("d/x"), Some(Lane::Announce));
    assert_eq!(rig.lane("d/e/y"), Some(Lane::Vanished), "it is not seen under another name");
    rig.sees("new/e/y", Kind::File, "d/e/y");
    assert!(rig.judgement());
    assert_eq!(rig.lane("d/e/y"), Some(Lane::Announce));
    assert_eq!(rig.peer.folders[0].passed, 0);
}

#[test]
fn a_look_that_fails_says_nothing_of_what_is_below() {
    // Not allowed, a mount, an error of the disk, a root that went, something that is no file.
    let errnos = [13, 18, 5, 116].map(Cause::Os);
    for cause in errnos.into_iter().chain([Cause::RootGone, Cause::Changing, Cause::Special]) {
        let mut rig = there();
        let ticket = goes(&mut rig, "d");
        rig.done(ticket, Outcome::Failed(cause));
        assert_eq!(rig.peer.folders[0].root_gone, cause == Cause::RootGone);
        for p in BELOW {
            assert!(stands(&mut rig, p), "{p}: {cause:?}");
            assert_eq!(rig.lane(p), None, "{p}: {cause:?}");
        }
    }
}

/// What says that nothing is at a path.
fn nothing(rig: &Rig, no_parent: bool) -> Outcome {
    match no_parent {
        true => Outcome::Failed(Cause::NoParent),
        false => Outcome::Looked { stat: Stat::default(), content: None, at: rig.now.wall },
    }
}

#[test]
fn a_look_that_may_have_come_too_early_says_nothing() {
    for (no_parent, scanned) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut rig = there();
        let ticket = goes(&mut rig, "d");
        let outcome = nothing(&rig, no_parent);
        match scanned {
            // A scan finds it as it is known.
            true => rig.begin_scan_of(None, &[("d", Kind::Directory, "")]),
            false => rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d"), Touch::Subtree),
        }
        rig.done(ticket, outcome);
        for p in ["d", "d/e", "d/e/y", "d/x"] {
            assert!(stands(&mut rig, p), "{p}");
        }
        assert_eq!(rig.lane("d"), Some(Lane::Look));
    }
}

#[test]
fn where_events_may_not_tell_that_it_is_back_all_is_looked_at() {
    type Doubt = (&'static str, fn(&mut Rig));
    let touched: fn(&mut Rig) = |rig| {
        rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("a"), Touch::Gone);
        rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("a"), Touch::Settled);
    };
    let doubts: [Doubt; 7] = [
        ("events were lost", |rig| rig.peer.handle_lost_events(&mut rig.ix, rig.now, F)),
        ("its watch ended", |rig| rig.peer.handle_unwatched(&mut rig.ix, rig.now, F)),
        ("a power cut", |rig| rig.peer.folders[0].unclean = true),
        ("all is scanned", |rig| rig.begin_scan_of(None, &[])),
        ("one above went and came", touched),
        ("one above is to be scanned", |rig| {
            rig.sees("a", Kind::Directory, "");
            let row = rig.ix.find(F, path("a")).expect("it is known");
            rig.peer.folders[0].note_subtree(row);
        }),
        ("one above is scanned", |rig| rig.begin_scan_of(Some("a"), &[])),
    ];
    for (why, doubt) in doubts {
        let mut rig = Rig::ready();
        for p in ["a", "a/d", "b"] {
            rig.has(p, Kind::Directory, "");
        }
        rig.has("a/d/x", Kind::File, "x");
        let ticket = goes(&mut rig, "a/d");
        doubt(&mut rig);
        found(&mut rig, ticket, Stat::default());
        assert!(!stands(&mut rig, "a/d") && stands(&mut rig, "a/d/x"), "{why}");
        assert_eq!(rig.lane("a/d/x"), Some(Lane::Look), "{why}");
    }
}

#[test]
fn what_nobody_was_told_of_is_forgotten_with_its_directory() {
    let mut rig = there();
    for p in ["d/f", "d/f/z"] {
        rig.sees(p, if p == "d/f" { Kind::Directory } else { Kind::File }, p);
    }
    let ticket = goes(&mut rig, "d");
    found(&mut rig, ticket, Stat::default());
    for p in ["d/f", "d/f/z"] {
        assert!(rig.ix.find(F, path(p)).is_none(), "{p}");
    }
    assert!(BELOW.iter().all(|p| !stands(&mut rig, p)));
}

#[test]
fn what_was_seen_later_than_the_directory_was_missed_is_looked_at() {
    for no_parent in [true, false] {
        let mut rig = there();
        let ticket = goes(&mut rig, "d");
        let outcome = nothing(&rig, no_parent);
        // Another one came there meanwhile, and the event that tells of it is still to be heard.
        rig.pass(Duration::millis(1));
        rig.sees("d/x", Kind::File, "d/x");
        rig.done(ticket, outcome);
        assert!(stands(&mut rig, "d/x") && !stands(&mut rig, "d/e/y"));
        assert_eq!(rig.lane("d/x"), Some(Lane::Look));
    }
}

#[test]
fn what_has_something_under_way_is_looked_at() {
    let mut rig = there();
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d/x"), Touch::Settled);
    let (looks, _) = asked(&mut rig);
    let [(p, early)] = &looks[..] else { panic!("{looks:?}") };
    assert_eq!(p, "d/x");
    let ticket = goes(&mut rig, "d");
    found(&mut rig, ticket, Stat::default());
    assert!(!stands(&mut rig, "d/e/y"));
    // What that look found was there before.
    let at = rig.now.wall;
    rig.done(*early, Outcome::Looked { stat: stat(Kind::File), content: Some(content("d/x")), at });
    let (looks, _) = asked(&mut rig);
    assert!(looks.iter().any(|l| l.0 == "d/x"), "{looks:?}");
}

/// Begins a scan that finds two new directories, and a file in the second.
fn scanned() -> Rig {
    let mut rig = Rig::ready();
    rig.peer.handle_lost_events(&mut rig.ix, rig.now, F);
    rig.begin_scan(&NEW);
    rig
}
const NEW: [(&str, Kind, &str); 3] =
    [("d", Kind::Directory, ""), ("d/e", Kind::Directory, ""), ("d/e/y", Kind::File, "y")];

/// The scan ends so, and all that it found is looked at: which scans follow.
fn scans_after(rig: &mut Rig, outcome: Outcome) -> Vec<String> {
    let ticket = rig.peer.scan.ticket;
    rig.done(ticket, outcome);
    let (looks, mut scans) = asked(rig);
    for (p, ticket) in looks {
        let kind = if p == "d/e/y" { Kind::File } else { Kind::Directory };
        found(rig, ticket, stat(kind));
    }
    scans.extend(asked(rig).1);
    scans
}

#[test]
fn a_new_directory_that_a_scan_found_is_scanned_by_it() {
    let mut rig = scanned();
    assert!(scans_after(&mut rig, Outcome::Done).is_empty());
    assert!(["d", "d/e", "d/e/y"].iter().all(|p| stands(&mut rig, p)));
    // One that comes in its place later is scanned.
    let ticket = goes(&mut rig, "d/e");
    found(&mut rig, ticket, Stat::default());
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d/e"), Touch::Subtree);
    let (looks, _) = asked(&mut rig);
    let (_, ticket) = *looks.iter().find(|l| l.0 == "d/e").expect("it is looked at");
    found(&mut rig, ticket, stat(Kind::Directory));
    assert_eq!(asked(&mut rig).1, ["d/e"]);
}

#[test]
fn a_new_directory_that_the_scan_may_not_have_told_wholly_is_scanned_again() {
    // It could not be read, or was touched since, or went.
    let mut rig = scanned();
    let ticket = rig.peer.scan.ticket;
    rig.peer.handle_blind(&mut rig.ix, rig.now, ticket, path("d/e"));
    assert_eq!(scans_after(&mut rig, Outcome::Done), ["d/e"]);
    for touch in [Touch::Settled, Touch::Subtree, Touch::Gone] {
        let mut rig = scanned();
        rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d/e"), touch);
        let scans = scans_after(&mut rig, Outcome::Done);
        assert!(scans.contains(&"d/e".into()), "{touch:?}: {scans:?}");
    }
    let mut rig = scanned();
    rig.peer.handle_lost_events(&mut rig.ix, rig.now, F);
    let scans = scans_after(&mut rig, Outcome::Done);
    assert!(scans.contains(&"".into()), "all of it: {scans:?}");
    // The first look misses it: what comes there later is another one.
    let mut rig = scanned();
    let ticket = rig.peer.scan.ticket;
    rig.done(ticket, Outcome::Done);
    let (looks, _) = asked(&mut rig);
    looks.into_iter().filter(|l| l.0 == "d/e").for_each(|l| found(&mut rig, l.1, Stat::default()));
    rig.sees("d/e", Kind::Directory, "");
    assert_eq!(rig.peer.listed.len(), 1, "d alone");
}

#[test]
fn after_a_scan_of_a_directory_that_failed_all_is_scanned() {
    let mut rig = Rig::ready();
    rig.has("d", Kind::Directory, "");
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d"), Touch::Subtree);
    rig.begin_scan(&NEW);
    assert!(scans_after(&mut rig, Outcome::Failed(Cause::Os(5))).is_empty(), "not at once");
    let due = rig.peer.folders[0].rescan_at;
    assert!(due != Instant(u64::MAX));
    rig.pass(due.since(rig.now.at));
    assert_eq!(asked(&mut rig).1, [""]);
}
