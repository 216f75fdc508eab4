//! Disks: what is torn, raced for, coarse, open, gone.

use super::*;
use crate::sim::faults::Kind as Fault;
use crate::sim::net::Item;

pub(super) const STORIES: &[Story] = &[
    story("what a power cut tore is no edit", 2, torn),
    story("what a power cut tore is no edit for a later start either", 2, torn_later),
    story("what a power cut tore before its verdict came is no edit", 2, torn_unanswered),
    story("what a power cut tore is no edit below an untold save either", 2, torn_untold),
    story("who edits what a power cut tore has not replaced what is whole elsewhere", 3, torn_edited),
    story("after a power cut a removal counts from the first scan on", 2, unseen),
    story("what was torn before anyone had it is waited for by nobody", 2, torn_alone),
    story("what was copied by another way and went with the power is no removal", 2, copied),
    Story { grain: 2_000_000_000, ..story("coarse times are no edits", 2, coarse) },
    story("what is removed elsewhere lies in the trash", 2, trash),
    story("a save at the last instant outlives a crash", 2, last_instant),
    story("a file that is written to is not displaced", 2, writer),
    story("a directory that was revived goes with what it was for", 3, revived),
    story("a file becomes a directory and back", 2, to_and_fro),
    story("what a source made up is not installed", 2, planted),
    story("a root that is gone is no empty one", 2, no_root),
];

/// B has what A wrote; A's disk has only half of it after the power failed.
fn torn(w: &mut World<'_>) {
    w.write(A, "x", "the whole of it");
    w.same();
    tear(w);
    w.start(A);
    w.same();
    assert_eq!(w.shows(B, "the whole of it"), ["x"], "{:?}", w.paths(B));
}
/// As before, but the first program after the power cut ends before it sees the root, and the power is soon forgotten.
fn torn_later(w: &mut World<'_>) {
    w.write(A, "x", "the whole of it");
    w.same();
    tear(w);
    w.devices[A].root_gone = true;
    w.start(A);
    w.run_for(5 * SECOND);
    w.kill(A);
    w.devices[A].root_gone = false;
    w.start(A);
    w.same();
    assert_eq!(w.shows(B, "the whole of it"), ["x"], "{:?}", w.paths(B));
    w.run_for(10 * SECOND);
    // From here on a torn file is one that a user tore.
    w.write(A, "x", "torn");
    w.run_for(2 * SECOND);
    w.kill(A);
    w.remove(A, b"x").expect("it stands");
    w.start(A);
    w.same();
    assert!(w.paths(B).iter().all(|p| p != "x"), "{:?}", w.paths(B));
}
/// B has it by then, and A was not told so.
fn torn_unanswered(w: &mut World<'_>) {
    w.stall(A, false, true);
    w.write(A, "x", "the whole of it");
    w.run_for(SECOND);
    assert_eq!(w.shows(B, "the whole of it"), ["x"]);
    tear(w);
    w.start(A);
    w.same();
    assert_eq!(w.shows(A, "the whole of it"), ["x"], "{:?}", w.paths(A));
    w.judge();
    assert_eq!(w.verdict(), None);
}
/// B has it by then; A's user saves once more, of which nobody is told, for the tracker is away.
fn torn_untold(w: &mut World<'_>) {
    w.write(A, "x", "the whole of it");
    w.run_for(SECOND);
    assert_eq!(w.shows(B, "the whole of it"), ["x"]);
    w.stop_tracker();
    let link = w.devices[A].link.expect("it was told");
    w.send(link, false, Item::Close);
    w.run_for(SECOND / 10);
    w.write(A, "x", "untold");
    // It is in the store by then, and nothing is flushed yet.
    w.run_for(3 * SECOND / 2);
    tear(w);
    w.ledger.contents.entry(Bytes::file(b"untold").id).or_default().cut.lost = true;
    // The save that took it from the path went with the power.
    w.ledger.forgive(A, 0);
    w.start_tracker(false);
    w.start(A);
    w.same();
    assert_eq!(w.shows(B, "the whole of it"), ["x"], "{:?}", w.paths(B));
}
/// B has it by then, and goes away; the tracker forgets. So what was torn is all that the home has, and C's user edits it.
fn torn_edited(w: &mut World<'_>) {
    w.kill(C);
    w.write(A, "x", "the whole of it");
    w.run_for(3 * SECOND);
    w.kill(B);
    tear(w);
    w.stop_tracker();
    w.start_tracker(false);
    w.start(A);
    w.start(C);
    w.run_for(40 * SECOND);
    assert_eq!(w.shows(C, "the who"), ["x"]);
    w.write(C, "x", "c's");
    w.run_for(3 * SECOND);
    w.start(B);
    w.same();
    let all = ["the whole of it", "c's"].map(|text| w.shows(A, text).len());
    assert_eq!(all, [1, 1], "{:?}", w.paths(A));
}
/// The power fails at A, whose program starts and then stands still: a removal before its first scan may as well be the
/// power cut's doing, and is undone; the next one is a user's.
fn unseen(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    w.kill(A);
    w.devices[A].boot += 1;
    w.devices[A].torn_until = u64::MAX;
    w.start(A);
    w.devices[A].asleep = w.now + 40 * SECOND;
    w.run_for(10 * SECOND);
    w.remove(A, b"x").expect("it stands");
    w.run_for(40 * SECOND);
    w.same();
    assert_eq!((w.shows(A, "one"), w.shows(B, "one")), (vec!["x".into()], vec!["x".into()]));
    w.judge();
    assert_eq!(w.verdict(), None);
    w.remove(A, b"x").expect("it is back");
    w.same();
    assert!(w.paths(A).is_empty() && w.paths(B).is_empty(), "{:?}", w.paths(B));
    let id = Bytes::file(b"one").id;
    assert!(w.ledger.is_taken(id, b"x"), "the second removal is judged");
}
fn tear(w: &mut World<'_>) {
    w.kill(A);
    let half = Bytes::file(b"the who");
    let (dev, now) = (&mut w.devices[A], w.now);
    dev.tick(now);
    let ino = dev.fs.find(b"x").unwrap();
    dev.fs.node_mut(ino).data = half.clone();
    dev.boot += 1;
    w.ledger.contents.entry(half.id).or_default().text = "torn".into();
}

fn torn_alone(w: &mut World<'_>) {
    w.kill(B);
    w.write(A, "x", "the whole of it");
    w.run_for(SECOND);
    tear(w);
    w.ledger.contents.values_mut().for_each(|c| c.cut.lost = true);
    w.start(A);
    w.run_for(SECOND);
    w.start(B);
    w.same();
}

/// B's user puts there what A wrote, and the power takes it from B before it is on the platter.
fn copied(w: &mut World<'_>) {
    w.kill(B);
    w.write(A, "x", "the whole of it");
    w.write(B, "x", "the whole of it");
    w.run_for(SECOND);
    w.start(B);
    w.run_for(2 * SECOND);
    w.kill(B);
    let (dev, now) = (&mut w.devices[B], w.now);
    dev.tick(now);
    dev.fs.unlink(super::super::fs::ROOT, b"x").unwrap();
    dev.boot += 1;
    w.start(B);
    w.same();
    assert_eq!(w.shows(A, "the whole of it"), ["x"], "{:?}", w.paths(A));
}

/// The tracker's time of a file is its author's, though B's disk keeps even seconds only.
fn coarse(w: &mut World<'_>) {
    w.devices[A].fs.grain = 1;
    w.write(A, "x", "one");
    let time = visible(&w.devices[A])[&b"x"[..]].2;
    w.same();
    w.run_for(10 * SECOND);
    w.kill(B);
    w.start(B);
    w.same();
    w.kill(A);
    w.start(A);
    w.same();
    assert_eq!(visible(&w.devices[A])[&b"x"[..]].2, time);
    w.rests();
}

fn trash(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.write(A, "y", "keep");
    w.same();
    w.remove(B, b"x").unwrap();
    w.same();
    assert_eq!(w.paths(A), ["y"]);
    assert!(w.devices[A].fs.contents().contains(&Bytes::file(b"one").id));
}

/// While an edit is swapped in at B its user saves; the program is killed before it has seen that.
fn last_instant(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    w.faults.on = vec![(Fault::Races, SECOND)];
    let mut raced = 0;
    for n in 0..60 {
        w.write(A, "x", &format!("edit {n}"));
        let made = w.made;
        for _ in 0..2_000 {
            w.run_for(100);
            let fs = &w.devices[B].fs;
            let texts = fs.walk(super::super::fs::TMP, b"");
            let odd = |i: u64| fs.node(i).data.bytes.starts_with(b"race");
            if w.made > made && texts.iter().any(|t| odd(t.1)) {
                raced += 1;
                w.kill(B);
                w.start(B);
                break;
            }
        }
        w.same();
    }
    w.faults.on.clear();
    w.same();
    assert!(raced > 0, "no save came in time");
}

/// B's user has the file open while A's edit comes, and closes it later.
fn writer(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    let ino = w.devices[B].fs.find(b"x").unwrap();
    w.devices[B].fs.node_mut(ino).writers = 1;
    w.write(A, "x", "two");
    w.run_for(3 * SECOND);
    let fs = &mut w.devices[B].fs;
    let open = Bytes::file(b"written while it was open");
    let place = (super::super::fs::ROOT, b"x".to_vec());
    let here = fs.find(b"x") == Some(ino);
    w.devices[B].tick(w.now);
    let fs = &mut w.devices[B].fs;
    fs.write((place.0, &place.1), ino, open.clone(), dartsync_core::peer::Touch::Written);
    fs.node_mut(ino).writers = 0;
    if here {
        fs.closed((place.0, &place.1));
    }
    w.wrote(B, b"x", &open, None, true);
    w.will_read(B);
    w.same();
    assert!(!w.shows(A, "written while it was open").is_empty(), "{:?}", w.paths(A));
}

fn revived(w: &mut World<'_>) {
    w.write(A, "d/x", "one");
    w.write(A, "y", "keep");
    w.same();
    w.kill(B);
    w.remove_tree(A, b"d").unwrap();
    w.write(B, "d/new", "new");
    w.run_for(3 * SECOND);
    w.start(B);
    w.same();
    assert_eq!(w.paths(A), ["d", "d/new", "y"]);
    w.remove(C, b"d/new").unwrap();
    w.same();
    w.run_for(5 * SECOND);
    w.same();
    assert_eq!(w.paths(A), ["y"]);
}

fn to_and_fro(w: &mut World<'_>) {
    ["x/1", "x/2", "x/e/3", "y"].iter().for_each(|p| w.write(A, p, p));
    w.same();
    w.remove_tree(B, b"x").unwrap();
    w.write(B, "x", "file");
    w.same();
    assert_eq!(w.paths(A), ["x", "y"]);
    w.remove(A, b"x").unwrap();
    w.write(A, "x/in", "in");
    w.same();
    assert_eq!(w.paths(B), ["x", "x/in", "y"]);
}

fn planted(w: &mut World<'_>) {
    w.faults.liar = Some(A);
    w.write(A, "x", "one");
    w.run_for(20 * SECOND);
    assert_eq!((w.verdict(), w.paths(B).len()), (None, 0));
    w.faults.liar = None;
    w.same();
    assert_eq!(w.shows(B, "one"), ["x"]);
}

/// B's disk is unplugged for a while, with the program running, and with it starting.
fn no_root(w: &mut World<'_>) {
    ["x", "d/y"].iter().for_each(|p| w.write(A, p, p));
    w.same();
    for restarts in [false, true] {
        w.devices[B].root_gone = true;
        if restarts {
            w.kill(B);
            w.start(B);
        }
        let now = w.devices[B].now(w.now);
        let dev = &mut w.devices[B];
        dev.fs.reset();
        dev.peer.as_mut().expect("it runs").handle_lost_events(&mut dev.ix, now, super::super::device::F);
        w.pump(B);
        w.run_for(20 * SECOND);
        w.devices[B].root_gone = false;
        w.same();
        assert_eq!(w.paths(A), ["d", "d/y", "x"]);
    }
}
