//! A directory went that very much was in: what happens before all of that was gone through.

use super::lose::LOSING;
use super::rig::{F, Rig, stat};
use super::trees::{Lane, Made};
use super::{Effect, Outcome, Stat, Touch};
use crate::ids::{Folder, FolderId, Ticket};
use crate::path::Path;
use crate::record::Kind;
use crate::time::Duration;
use std::format;
use std::string::String;
use std::vec::Vec;

const FILES: usize = 2_500;

fn path(p: &str) -> Path<'_> {
    Path::new(p.as_bytes()).expect("a path")
}

fn name(n: usize) -> String {
    format!("d/{n:04}")
}

/// `d` went with all that was in it, of which a part was gone through, and `other` stays.
fn going() -> Rig {
    let mut rig = Rig::ready();
    rig.has("d", Kind::Directory, "");
    rig.has("other", Kind::File, "other");
    (0..FILES).for_each(|n| rig.has(&name(n), Kind::File, &name(n)));
    looks(&mut rig, "d", Touch::Gone, Stat::default());
    let lost = (0..FILES).filter(|n| is_lost(&mut rig, *n)).count();
    assert!((1..FILES).contains(&lost), "{lost} were gone through at once");
    assert!((0..lost).all(|n| is_lost(&mut rig, n)));
    rig
}

/// An event, and the look at the path that follows, which finds that.
fn looks(rig: &mut Rig, p: &str, touch: Touch, stat: Stat) {
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path(p), touch);
    rig.now.at = rig.now.at + Duration::secs(1);
    rig.now.wall += 1_000_000;
    let now = rig.now;
    rig.peer.end_delays(&mut rig.ix, now);
    let ticket = asked(rig).into_iter().find(|l| l.0 == p).expect("it is looked at").1;
    rig.done(ticket, Outcome::Looked { stat, content: None, at: rig.now.wall });
}

/// The looks that are asked for now, by path.
fn asked(rig: &mut Rig) -> Vec<(String, Ticket)> {
    let mut looks = Vec::new();
    while let Some(e) = rig.effect() {
        if let Effect::Look { ticket, row, .. } = e {
            looks.push((rig.path(row), ticket));
        }
    }
    looks
}

fn is_lost(rig: &mut Rig, n: usize) -> bool {
    rig.trees(&name(n)).local.is_some_and(|l| (l.stat.kind, l.made) == (Kind::Removed, Made::Unminted))
}

/// Time passes until all of it was gone through.
fn ends(rig: &mut Rig) {
    for _ in 0..FILES {
        if !rig.peer.is_losing(0) {
            return;
        }
        rig.pass(Duration::millis(1));
        assert!(rig.peer.losing_at().is_none_or(|at| at > rig.now.at), "others have their turn");
    }
    panic!("it does not end");
}

#[test]
fn what_went_with_its_directory_is_gone_through_by_and_by_and_judged_as_one() {
    let mut rig = going();
    rig.peer.folders[0].slot = Some(Default::default());
    assert!(rig.peer.is_losing(0) && !rig.peer.is_idle(0));
    let now = rig.now;
    rig.peer.fill_outbox(&mut rig.ix, now);
    assert!(rig.peer.outbox.is_empty(), "nothing is announced by halves");
    ends(&mut rig);
    for n in 0..FILES {
        assert!(is_lost(&mut rig, n));
        assert_eq!(rig.lane(&name(n)), Some(Lane::Vanished), "{n} is a removal to be judged");
    }
    assert!(asked(&mut rig).is_empty() && rig.trees("other").local.is_some());
    while !rig.peer.folders[0].held {
        assert!(rig.judgement(), "over half of the folder is held");
    }
}

#[test]
fn what_was_not_reached_before_its_directory_is_back_is_looked_at() {
    type Event = (&'static str, fn(&mut Rig));
    let events: [Event; 6] = [
        ("found", |rig| looks(rig, "d", Touch::Subtree, stat(Kind::Directory))),
        ("touched", |rig| {
            rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d"), Touch::Subtree);
        }),
        ("missed", |rig| {
            rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d"), Touch::Gone);
        }),
        ("found, and gone again, as far as is known", |rig| {
            looks(rig, "d", Touch::Subtree, stat(Kind::Directory));
            let mut o = rig.peer.open_path(&mut rig.ix, 0, path("d"));
            o.t.local = None;
            rig.peer.close(&mut rig.ix, rig.now, o);
            rig.peer.folders[0].subtrees.clear();
        }),
        ("events were lost", |rig| rig.peer.handle_lost_events(&mut rig.ix, rig.now, F)),
        ("the root is gone", |rig| {
            let now = rig.now;
            rig.peer.root_is_gone(&mut rig.ix, now, 0);
        }),
    ];
    for (why, event) in events {
        let mut rig = going();
        let before: Vec<bool> = (0..FILES).map(|n| is_lost(&mut rig, n)).collect();
        event(&mut rig);
        ends(&mut rig);
        for (n, lost) in before.into_iter().enumerate() {
            assert!(is_lost(&mut rig, n) == lost, "{n}: {why}");
            assert!(lost || rig.trees(&name(n)).stale, "{n}: {why}");
        }
    }
}

#[test]
fn a_directory_that_came_back_and_went_again_is_gone_through_anew() {
    let mut rig = going();
    looks(&mut rig, "d", Touch::Subtree, stat(Kind::Directory));
    rig.peer.folders[0].subtrees.clear();
    looks(&mut rig, "d", Touch::Gone, Stat::default());
    ends(&mut rig);
    assert!((0..FILES).all(|n| is_lost(&mut rig, n)));
}

#[test]
fn some_directories_are_gone_through_beside_each_other_and_one_more_at_once() {
    let mut rig = going();
    let lost = |rig: &mut Rig, dir: usize| {
        let is_lost = |n| rig.trees(&format!("{dir}/{n}")).local.is_some_and(|l| !l.record.is_live());
        (0..FILES).map(is_lost).filter(|lost| *lost).count()
    };
    for dir in 0..LOSING {
        let name = format!("{dir}");
        rig.has(&name, Kind::Directory, "");
        (0..FILES).for_each(|n| rig.has(&format!("{dir}/{n}"), Kind::File, &format!("{dir}/{n}")));
        looks(&mut rig, &name, Touch::Gone, Stat::default());
        assert_eq!(lost(&mut rig, dir) == FILES, dir == LOSING - 1, "{dir}");
    }
    assert!(rig.peer.is_losing(0));
    ends(&mut rig);
    assert!((0..LOSING).all(|dir| lost(&mut rig, dir) == FILES) && (0..FILES).all(|n| is_lost(&mut rig, n)));
}

#[test]
fn with_its_folder_it_is_forgotten() {
    let mut rig = going();
    rig.peer.unlink_folder(&mut rig.ix, rig.now, F);
    rig.peer.link_folder(&mut rig.ix, rig.now, Folder(2), FolderId(2));
    assert!(!rig.peer.is_losing(0) && rig.peer.losing_at().is_none());
}
