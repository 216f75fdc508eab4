//! R13: marks of what stands in the page cache alone, over flushes, starts and power cuts.

use super::effect::{Effect, Outcome};
use super::mem_index::MemIndex;
use super::rig::{F, Rig, content, stat};
use super::trees::{Cause, Lane, Made, Remote, Stat};
use crate::ids::{Seq, Ticket};
use crate::record::Kind;
use crate::time::Duration;
use std::vec::Vec;

/// The program starts anew with that store, in that boot; its folder is linked.
fn starts(ix: MemIndex, boot: u64) -> Rig {
    let mut rig = Rig::booted(ix, boot);
    rig.link();
    rig
}

/// A store in which `x` was announced and not flushed yet; the boot was 1.
fn marked() -> Rig {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    let mut o = rig.open("x");
    o.t.unsynced = true;
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig
}

fn ends(mut rig: Rig) -> MemIndex {
    rig.ix.commit();
    rig.ix
}

/// Time in which flushes are made that are due.
fn flushes(rig: &mut Rig) -> u32 {
    flushes_with(rig, Outcome::Done)
}

fn flushes_with(rig: &mut Rig, outcome: Outcome) -> u32 {
    let mut n = 0;
    for _ in 0..10 {
        while let Some(e) = rig.effect() {
            if let Effect::Flush { ticket, .. } = e {
                n += 1;
                rig.done(ticket, outcome);
            }
        }
        rig.pass(Duration::secs(1));
    }
    n
}

/// Whether a scan is begun now.
fn scans(rig: &mut Rig) -> bool {
    core::iter::from_fn(|| rig.effect()).any(|e| matches!(e, Effect::Scan { .. }))
}

/// The next flush begins.
fn begins(rig: &mut Rig) -> Ticket {
    rig.pass(Duration::secs(6));
    loop {
        match rig.effect().expect("it is due") {
            Effect::Flush { ticket, .. } => return ticket,
            _ => continue,
        }
    }
}

/// From here on, times tell nothing of what came before a flush.
fn set_clock(rig: &mut Rig) {
    rig.now.wall += 3_600_000_000;
}

/// A user wrote a file, which gets its edit.
fn writes(rig: &mut Rig, p: &str) {
    rig.sees(p, Kind::File, p);
    let mut o = rig.open(p);
    rig.peer.mint_local(rig.now, &mut o);
    rig.peer.close(&mut rig.ix, rig.now, o);
}

#[test]
fn what_was_changed_before_a_flush_needs_no_mark_unless_the_clock_was_set_since() {
    for step in [0, 3_600_000_000, -3_600_000_000] {
        let mut rig = Rig::ready();
        rig.pass(Duration::secs(3_600));
        rig.now.wall = rig.now.wall.strict_add_signed(step);
        writes(&mut rig, "x");
        let t = rig.trees("x");
        assert!(t.local.is_some_and(|l| l.made == Made::Minted && l.stat.ctime == 0));
        assert_eq!((t.unsynced, flushes(&mut rig)), (step != 0, u32::from(step != 0)), "by {step}");
        assert!(!rig.trees("x").unsynced);
        // That flush tells of it by the clock as it is now.
        writes(&mut rig, "y");
        assert!(!rig.trees("y").unsynced);
    }
}

#[test]
fn a_clock_that_is_set_during_a_flush_hides_what_was_written_meanwhile_from_none() {
    for step in [0, 3_600_000_000, -3_600_000_000] {
        let mut rig = Rig::ready();
        set_clock(&mut rig);
        writes(&mut rig, "before");
        let ticket = begins(&mut rig);
        rig.pass(Duration::secs(1));
        writes(&mut rig, "meanwhile");
        rig.now.wall = rig.now.wall.strict_add_signed(step);
        rig.pass(Duration::secs(1));
        rig.done(ticket, Outcome::Done);
        assert!(rig.trees("meanwhile").unsynced, "by {step}");
        assert_eq!(rig.trees("before").unsynced, step != 0, "by {step}");
        assert_eq!(flushes(&mut rig), 1, "by {step}");
        assert!(!rig.trees("before").unsynced && !rig.trees("meanwhile").unsynced, "by {step}");
    }
}

#[test]
fn that_the_power_failed_outlives_a_run_that_ends_before_its_first_look() {
    for (boots, torn) in [(&[2][..], true), (&[2, 2], true), (&[2, 2, 2], true), (&[1, 1], false)] {
        let mut ix = ends(marked());
        let (last, before) = boots.split_last().expect("some");
        for boot in before {
            ix = ends(starts(ix, *boot));
        }
        let mut rig = starts(ix, *last);
        rig.scan(&[("x", Kind::File, "half")]);
        let l = rig.trees("x").local.expect("it stands");
        assert_eq!(l.made == Made::Minted && l.record.parent.is_none(), torn, "{boots:?}");
    }
}

#[test]
fn once_all_was_looked_at_the_power_cut_is_over() {
    let mut rig = starts(ends(marked()), 2);
    rig.begin_scan(&[("x", Kind::File, "whole")]);
    assert!(rig.peer.folders[0].unclean);
    let mut rig = starts(ends(rig), 2);
    rig.scan(&[("x", Kind::File, "whole")]);
    rig.catch_up();
    flushes(&mut rig);
    assert!(!rig.peer.folders[0].unclean && !rig.trees("x").unsynced);
    assert!(!starts(ends(rig), 2).peer.folders[0].unclean, "nor does the next run know of it");
}

#[test]
fn a_flush_before_the_look_says_nothing_of_what_was_announced() {
    let mut rig = starts(ends(marked()), 2);
    rig.opens();
    assert!(scans(&mut rig) && rig.first_flush.is_none());
    assert!(rig.trees("x").unsynced);
    rig.peer.handle_done(&mut rig.ix, rig.now, rig.peer.scan.ticket, Outcome::Failed(Cause::Os(5)));
    rig.peer.handle_lost_events(&mut rig.ix, rig.now, F);
    set_clock(&mut rig);
    rig.scan(&[("x", Kind::File, "whole")]);
    assert!(rig.trees("x").unsynced, "whole, but in the page cache");
    rig.catch_up();
    assert!(flushes(&mut rig) > 0 && !rig.trees("x").unsynced);
}

#[test]
fn what_an_earlier_run_left_marked_is_flushed() {
    let mut rig = starts(ends(marked()), 1);
    rig.scan(&[("x", Kind::File, "whole")]);
    assert!(flushes(&mut rig) > 0 && !rig.trees("x").unsynced);
}

#[test]
fn after_a_failed_flush_none_speaks_for_what_was_marked() {
    let mut rig = starts(ends(marked()), 1);
    rig.first_flush = Some(Outcome::Failed(Cause::Os(5)));
    rig.scan(&[("x", Kind::File, "whole")]);
    rig.catch_up();
    assert!(flushes_with(&mut rig, Outcome::Failed(Cause::Os(5))) > 0, "it is tried again");
    assert!(flushes(&mut rig) > 0 && rig.trees("x").unsynced, "the system told of it once");
    assert_eq!(flushes(&mut rig), 0, "nothing is left that a flush could tell of");
    let mut rig = starts(ends(rig), 1);
    rig.scan(&[("x", Kind::File, "whole")]);
    assert!(rig.first_flush.is_none() && rig.trees("x").unsynced, "nor does the program's next run know");
    let mut rig = starts(ends(rig), 2);
    rig.scan(&[("x", Kind::File, "whole")]);
    rig.catch_up();
    assert!(flushes(&mut rig) > 0 && !rig.trees("x").unsynced, "it was read from the platter, and flushed");
}

#[test]
fn a_failed_sync_may_have_been_told_of_what_users_wrote() {
    let mut rig = starts(ends(marked()), 1);
    rig.scan(&[("x", Kind::File, "whole")]);
    rig.peer.synced(&mut rig.ix, rig.now, 0, Some(Cause::Os(5)));
    assert!(flushes(&mut rig) > 0 && rig.trees("x").unsynced);
    let mut rig = starts(ends(marked()), 1);
    rig.peer.synced(&mut rig.ix, rig.now, 0, Some(Cause::RootGone));
    rig.scan(&[("x", Kind::File, "whole")]);
    assert!(flushes(&mut rig) > 0 && !rig.trees("x").unsynced, "without a root the system was not asked");
}

#[test]
fn a_doubt_ends_with_its_mark() {
    let mut rig = starts(ends(marked()), 1);
    rig.scan(&[("x", Kind::File, "whole")]);
    flushes_with(&mut rig, Outcome::Failed(Cause::Os(5)));
    let mut o = rig.open("x");
    o.t.unsynced = false;
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert!(!rig.trees("x").unsure);
}

#[test]
fn what_is_to_be_flushed_at_the_link_is_flushed_once_the_root_is_there_and_before_it_is_scanned() {
    for outcome in [Outcome::Done, Outcome::Failed(Cause::Os(5))] {
        let mut rig = starts(ends(marked()), 1);
        rig.first_flush = None;
        let ticket = rig.seeks_root();
        rig.pass(Duration::secs(60));
        while rig.effect().is_some() {}
        assert!(!rig.peer.folders[0].flushing, "there is nothing to be flushed yet");
        assert!(rig.peer.poll_timeout().is_none_or(|at| at > rig.now.at));
        rig.found_root(ticket);
        let all: Vec<Effect> = core::iter::from_fn(|| rig.effect()).collect();
        let [.., Effect::Flush { ticket, .. }] = all[..] else { panic!("{all:?}") };
        assert!(rig.peer.poll_timeout().is_some_and(|at| at > rig.now.at));
        rig.done(ticket, outcome);
        assert!(scans(&mut rig), "be it that it failed");
        let t = rig.trees("x");
        assert_eq!((t.unsynced, t.unsure), (outcome != Outcome::Done, outcome != Outcome::Done));
    }
}

#[test]
fn a_flush_that_takes_very_long_holds_no_scan_up_for_ever() {
    let mut rig = starts(ends(marked()), 1);
    rig.first_flush = None;
    rig.opens();
    while rig.effect().is_some() {}
    assert!(rig.peer.folders[0].flushing && rig.peer.scan.ticket.0 == 0);
    rig.pass(Duration::secs(5));
    assert!(scans(&mut rig));
}

#[test]
fn a_flush_that_finds_no_root_leaves_no_doubt_and_is_made_once_it_is_there() {
    let mut rig = starts(ends(marked()), 1);
    rig.first_flush = Some(Outcome::Failed(Cause::RootGone));
    rig.opens();
    while rig.effect().is_some() {}
    assert!(rig.peer.folders[0].root_gone && rig.first_flush.is_none());
    let t = rig.trees("x");
    assert!(t.unsynced && !t.unsure, "the system was asked for nothing");
    assert!(rig.peer.poll_timeout().is_some_and(|at| at > rig.now.at));
    rig.first_flush = Some(Outcome::Done);
    rig.pass(Duration::secs(2));
    rig.scan(&[("x", Kind::File, "whole")]);
    assert!(!rig.trees("x").unsynced);
}

/// A look finds that, with times of old; a directory that was moved here has one of now.
fn comes(rig: &mut Rig, p: &str, kind: Kind, moved: bool) {
    let at = rig.now.wall;
    let ctime = if moved { at as i64 * 1000 } else { 0 };
    let text = (kind == Kind::File).then(|| content(p));
    let o = rig.open(p);
    rig.peer.looked(&mut rig.ix, rig.now, o, Stat { ctime, ..stat(kind) }, text, at);
    rig.peer.folders[0].subtrees.clear();
}

/// What is here is announced, and accepted.
fn tells(rig: &mut Rig, p: &str) {
    let mut o = rig.open(p);
    rig.peer.mint_local(rig.now, &mut o);
    let record = o.t.local.as_ref().expect("it is here").record.clone();
    let seq = Seq(record.edit.counter);
    o.t.remote = Some(Remote { record, epoch: rig.peer.epoch, seq });
    rig.peer.close(&mut rig.ix, rig.now, o);
}

const MOVED: [(&str, Kind); 4] =
    [("d", Kind::Directory), ("d/e", Kind::Directory), ("d/e/y", Kind::File), ("d/x", Kind::File)];

#[test]
fn of_a_directory_that_was_moved_here_a_power_cut_takes_no_file_as_removed() {
    let mut rig = Rig::ready();
    rig.pass(Duration::secs(3_600));
    for (p, kind) in MOVED {
        comes(&mut rig, p, kind, p == "d");
    }
    for (p, _) in MOVED {
        tells(&mut rig, p);
        assert!(rig.trees(p).unsynced, "{p}");
    }
    let mut rig = starts(ends(rig), 2);
    rig.scan(&[]);
    rig.catch_up();
    rig.pass(Duration::secs(60));
    for (p, _) in MOVED {
        let t = rig.trees(p);
        assert!(t.local.is_none() && t.synced.is_some_and(|s| s.is_live()), "{p} is no removal");
        assert_eq!(rig.lane(p), Some(Lane::Quick), "{p} is to come back");
    }
}

#[test]
fn a_flush_after_the_look_at_a_moved_directory_tells_of_all_that_is_in_it() {
    for wait in [1, 10] {
        let mut rig = Rig::ready();
        rig.pass(Duration::secs(3_600));
        comes(&mut rig, "d", Kind::Directory, true);
        assert!(rig.trees("d").unsynced);
        rig.pass(Duration::secs(1));
        if wait == 10 {
            assert_eq!(flushes(&mut rig), 1);
        }
        // Its look comes before or after that flush, and it is announced later still.
        comes(&mut rig, "d/x", Kind::File, false);
        assert_eq!(rig.trees("d/x").unsynced, wait == 1);
        flushes(&mut rig);
        tells(&mut rig, "d");
        tells(&mut rig, "d/x");
        assert!(!rig.trees("d").unsynced && !rig.trees("d/x").unsynced);
    }
}

#[test]
fn a_directory_in_another_ones_place_is_marked_and_so_is_what_is_new_in_it() {
    let mut rig = Rig::ready();
    rig.has("d", Kind::Directory, "");
    rig.has("d/x", Kind::File, "d/x");
    rig.pass(Duration::secs(3_600));
    comes(&mut rig, "d", Kind::Directory, true);
    assert!(!rig.trees("d").unsynced, "it is the same");
    let at = rig.now.wall;
    for (p, kind, ctime) in [("d", Kind::Directory, at as i64 * 1000), ("d/x", Kind::File, 0)] {
        let o = rig.open(p);
        let (stat, text) = (Stat { ctime, ino: 5, ..stat(kind) }, content("d/x"));
        rig.peer.looked(&mut rig.ix, rig.now, o, stat, (kind == Kind::File).then_some(text), at);
        assert!(rig.trees(p).unsynced, "{p}");
    }
    assert!(flushes(&mut rig) > 0 && !rig.trees("d").unsynced && !rig.trees("d/x").unsynced);
}

/// A scan after events were lost finds a moved directory and what is in it at once: the looks may be answered in any order.
#[test]
fn what_is_in_a_moved_directory_is_marked_though_its_look_ends_before_the_directorys() {
    for order in [["d", "d/e", "d/e/y", "d/x"], ["d/x", "d/e/y", "d/e", "d"], ["d/e", "d/e/y", "d/x", "d"]] {
        let mut rig = Rig::ready();
        rig.pass(Duration::secs(3_600));
        for (p, _) in MOVED {
            let mut o = rig.open(p);
            o.t.stale = true;
            rig.peer.close(&mut rig.ix, rig.now, o);
        }
        for p in order {
            let kind = MOVED.iter().find(|m| m.0 == p).expect("one of them").1;
            comes(&mut rig, p, kind, p == "d");
        }
        for (p, _) in MOVED {
            assert!(rig.trees(p).unsynced, "{p} of {order:?}");
        }
        assert!(flushes(&mut rig) > 0 && MOVED.iter().all(|m| !rig.trees(m.0).unsynced));
    }
}
