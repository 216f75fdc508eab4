//! Versions, conflicts, stores that were rolled back.

use super::*;

pub(super) const STORIES: &[Story] = &[
    story("a clock that steps back loses no edit", 2, a_clock_steps_back),
    story("metadata that is merged does not outlive a removal", 3, merged_metadata),
    story("a store of yesterday overwrites nothing", 2, yesterday),
    story("of two that go on from one store, none loses its edit", 2, two_lives),
    story("two clones do not take turns for ever", 3, clones),
    story("a tracker that forgot sees a fork", 2, fork),
    story("a file with many tags can still be edited", 2, many_tags),
    story("two edits of a file with many tags make one copy", 2, many_tags_twice),
    story("a file with many tags that both change alike is no conflict", 2, many_tags_alike),
    story("the same file on both sides is no conflict", 3, same_file),
    story("a directory wins over a file", 3, directory_wins),
    story("a change of mode outlives a concurrent edit", 3, mode_and_edit),
    story("a new store holds nothing yet", 2, new_store),
    story("two edits at once make one copy", 3, two_edits),
    story("an edit beats a removal", 3, edit_and_removal),
    story("two that settle one conflict make one copy", 3, two_resolvers),
    story("a copy that was removed stays removed", 3, removed_copy),
    story("a copy that is owed is not forgotten", 3, owed_copy),
];

fn a_clock_steps_back(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    w.devices[A].skew -= 3600 * SECOND as i64;
    w.write(A, "x", "two");
    w.same();
    assert_eq!((w.paths(B), w.shows(B, "two")), (vec!["x".into()], vec!["x".into()]));
}

fn merged_metadata(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.write(A, "y", "keep");
    w.same();
    (A..=C).for_each(|d| w.kill(d));
    for (d, mode, mtime) in [(A, Some(0o600), None), (B, None, Some(1_000_000_000))] {
        w.devices[d].tick(w.now);
        let fs = &mut w.devices[d].fs;
        let (dir, name) = fs.place(b"x").unwrap();
        let ino = fs.entry(dir, name).unwrap();
        fs.set_meta((dir, name), ino, mode, mtime);
    }
    w.remove(C, b"x").unwrap();
    w.start(A);
    w.run_for(5 * SECOND);
    w.start(B);
    w.run_for(10 * SECOND);
    w.start(C);
    w.same();
    assert_eq!(w.paths(A), ["y"]);
}

fn yesterday(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    let old = w.copy(A);
    w.write(A, "x", "two");
    w.same();
    w.kill(A);
    w.bring_back(A, old);
    // Yesterday's machine has yesterday's clock: its counters are below those that it has used since.
    w.devices[A].skew -= w.now as i64;
    w.write(A, "x", "other");
    w.start(A);
    w.same();
    let (two, other) = (w.shows(B, "two"), w.shows(B, "other"));
    assert!(!two.is_empty() && !other.is_empty(), "{two:?} {other:?}");
}

/// Two machines go on from copies of one store; only one of them runs at a time. The first has an edit that nobody took.
fn two_lives(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    let second = w.copy(A);
    w.stall(A, true, true);
    w.write(A, "x", "first");
    w.run_for(2 * SECOND);
    w.kill(A);
    w.links.retain(|_, l| l.d != A);
    let first = w.copy(A);
    w.bring_back(A, second);
    w.start(A);
    w.run_for(3 * SECOND);
    for text in ["second", "third"] {
        w.write(A, "x", text);
        w.run_for(5 * SECOND);
    }
    w.kill(A);
    w.bring_back(A, first);
    w.start(A);
    w.same();
    assert!(!w.shows(B, "first").is_empty(), "{:?}", w.paths(B));
}

fn clones(w: &mut World<'_>) {
    use dartsync_core::peer::{DEVICE, Index, Number};
    w.write(A, "x", "one");
    w.same();
    w.kill(C);
    let copy = w.copy(A);
    (w.devices[C].key, w.devices[C].roster) = (w.devices[A].key, w.devices[A].roster.clone());
    w.bring_back(C, copy);
    w.start(C);
    let mut tags = std::collections::BTreeSet::new();
    for _ in 0..500 {
        w.run_for(SECOND);
        for d in [A, C] {
            tags.insert(w.devices[d].ix.number(DEVICE, Number::Tag));
        }
    }
    assert!(tags.len() <= 3, "{} tags", tags.len());
    w.kill(C);
    w.devices[C].revoked = true;
}

/// A writes c3, B installs it, A is restored, the tracker forgets, A writes on from c1.
fn fork(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    let old = w.copy(A);
    w.write(A, "x", "three");
    w.same();
    w.kill(A);
    w.kill(B);
    w.stop_tracker();
    w.bring_back(A, old);
    w.run_for(SECOND);
    w.start_tracker(false);
    w.write(A, "x", "four");
    w.start(A);
    w.run_for(20 * SECOND);
    w.start(B);
    w.same();
    assert!(!w.shows(A, "three").is_empty() && !w.shows(A, "four").is_empty(), "{:?}", w.paths(A));
}

/// B makes it and sleeps; A edits it under more tags than a vector holds: B's own entry must stay.
fn many_tags(w: &mut World<'_>) {
    w.write(B, "x", "one");
    w.same();
    w.kill(B);
    fill(w, 70);
    w.start(B);
    w.same();
    assert_eq!(w.paths(A), ["x"]);
}
/// A edits it under so many tags.
fn fill(w: &mut World<'_>, tags: u32) {
    for n in 0..tags {
        w.kill(A);
        w.retag(A, 1000 + n);
        w.start(A);
        w.run_for(2 * SECOND);
        w.write(A, "x", &format!("edit {n}"));
        w.run_for(2 * SECOND);
        assert_eq!(w.verdict(), None);
    }
}
/// Both sides' vectors are full when they meet, so that none holds what both know. A's clock is behind, and its edit, which
/// has no version or has one, comes after B's.
fn apart(w: &mut World<'_>, a: &str, b: &str, minted: bool) {
    w.write(A, "x", "one");
    w.same();
    fill(w, 70);
    w.same();
    w.kill(B);
    w.kill(A);
    w.retag(A, 2000);
    w.devices[A].skew -= 60 * SECOND as i64;
    if minted {
        w.start(A);
        w.run_for(2 * SECOND);
        w.stall(A, true, true);
    }
    w.write(A, "x", a);
    w.write(B, "x", b);
    if minted {
        let time = visible(&w.devices[B])[&b"x"[..]].2;
        w.devices[A].tick(w.now);
        let fs = &mut w.devices[A].fs;
        let (dir, name) = fs.place(b"x").unwrap();
        let ino = fs.entry(dir, name).unwrap();
        fs.set_meta((dir, name), ino, None, Some(time));
        w.run_for(2 * SECOND);
        w.kill(A);
        w.links.retain(|_, l| l.d != A);
    }
    w.start(B);
    w.run_for(3 * SECOND);
}
fn many_tags_twice(w: &mut World<'_>) {
    apart(w, "a's", "b's", false);
    w.start(A);
    w.same();
    let n = ["a's", "b's"].map(|text| w.shows(A, text).len());
    assert_eq!((n, w.paths(A).len()), ([1, 1], 2), "{:?}", w.paths(A));
    w.rests();
}
fn many_tags_alike(w: &mut World<'_>) {
    apart(w, "both's", "both's", true);
    w.start(A);
    w.same();
    assert_eq!(w.paths(A), ["x"]);
    w.rests();
}

fn same_file(w: &mut World<'_>) {
    w.kill(A);
    w.kill(B);
    w.write(A, "x.txt", "one");
    w.run_for(2 * SECOND);
    w.write(B, "x.txt", "one");
    w.start(A);
    w.run_for(3 * SECOND);
    w.start(B);
    w.same();
    assert_eq!(w.paths(C), ["x.txt"]);
}

fn directory_wins(w: &mut World<'_>) {
    w.kill(A);
    w.kill(B);
    w.write(A, "d", "a file");
    w.make_dir(B, b"d").unwrap();
    w.start(A);
    w.run_for(3 * SECOND);
    w.start(B);
    w.same();
    let paths = w.paths(C);
    assert!(paths.len() == 2 && paths[1].starts_with("d (conflict "), "{paths:?}");
    assert_eq!(w.shows(C, "a file"), paths[1..]);
}

fn mode_and_edit(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    w.kill(A);
    w.kill(B);
    w.devices[A].tick(w.now);
    let fs = &mut w.devices[A].fs;
    let (dir, name) = fs.place(b"x").unwrap();
    let ino = fs.entry(dir, name).unwrap();
    fs.set_meta((dir, name), ino, Some(0o755), None);
    w.run_for(2 * SECOND);
    w.write(B, "x", "two");
    w.start(B);
    w.run_for(3 * SECOND);
    w.start(A);
    w.same();
    let seen = visible(&w.devices[C]);
    assert_eq!(seen[&b"x"[..]].1, 0o755, "{seen:?}");
    assert_eq!(w.shows(C, "two"), ["x"]);
}

/// A's machine is set up anew with its key: until it has fetched everything, it holds nothing.
fn new_store(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    w.kill(B);
    w.kill(A);
    let empty = Copied(MemIndex::new(), Device::with_grain(A, Rand::new(9), 1).fs);
    w.bring_back(A, empty);
    w.start(A);
    w.bits_go(A);
    w.start(B);
    w.same();
    assert_eq!(w.shows(A, "one"), ["x"]);
}

fn two_edits(w: &mut World<'_>) {
    w.write(A, "x.txt", "one");
    w.same();
    w.kill(A);
    w.write(A, "x.txt", "two");
    w.run_for(5 * SECOND);
    w.write(B, "x.txt", "three");
    w.run_for(5 * SECOND);
    w.start(A);
    w.same();
    assert_eq!((w.paths(C).len(), w.shows(C, "three")), (2, vec!["x.txt".into()]));
    assert_eq!(w.shows(C, "two").len(), 1);
}

fn edit_and_removal(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.write(A, "y", "keep");
    w.same();
    w.kill(B);
    w.remove(A, b"x").unwrap();
    w.write(B, "x", "two");
    w.run_for(3 * SECOND);
    w.start(B);
    w.same();
    assert_eq!((w.shows(C, "two"), w.paths(C).len()), (vec!["x".into()], 2));
}

/// B settles its conflict with A's edit; the tracker forgets that, and C settles one with the same edit.
fn settled_twice(w: &mut World<'_>) {
    w.write(A, "x", "base");
    w.same();
    w.kill(B);
    w.kill(C);
    w.write(A, "x", "a's");
    w.run_for(3 * SECOND);
    w.kill(A);
    w.write(B, "x", "b's");
    w.start(B);
    w.run_for(4 * SECOND);
    w.kill(B);
    w.stop_tracker();
    w.start_tracker(false);
    w.start(A);
    w.run_for(10 * SECOND);
    w.write(C, "x", "c's");
    w.start(C);
    w.run_for(20 * SECOND);
    assert_eq!((w.shows(A, "c's").len(), w.shows(A, "a's").len()), (1, 1), "{:?}", w.paths(A));
}
fn two_resolvers(w: &mut World<'_>) {
    settled_twice(w);
    w.start(B);
    w.same();
    let n = ["a's", "b's", "c's"].map(|text| w.shows(A, text).len());
    assert_eq!(n, [1, 1, 1], "{:?}", w.paths(A));
}
fn removed_copy(w: &mut World<'_>) {
    settled_twice(w);
    let copy = w.shows(A, "a's");
    w.remove(A, copy[0].as_bytes()).unwrap();
    w.run_for(10 * SECOND);
    w.start(B);
    w.same();
    assert_eq!((w.shows(A, "a's").len(), w.shows(A, "b's").len()), (0, 1), "{:?}", w.paths(A));
}

/// B has settled its conflict with A's edit, but told nobody when the tracker forgets, and A tells its edit again.
fn owed_copy(w: &mut World<'_>) {
    use super::super::device::F;
    use dartsync_core::peer::{Index, Mark};
    w.write(A, "x", "base");
    w.same();
    w.kill(B);
    w.write(A, "x", "a's");
    w.run_for(3 * SECOND);
    w.write(B, "x", "b's");
    w.start(B);
    let owed = (0..100_000).any(|_| {
        w.run_for(100);
        let row = w.devices[B].ix.marked(F, Mark::Pending, None);
        row.is_some_and(|row| w.devices[B].ix.durable(row).is_some_and(|t| t.pending.is_some()))
    });
    assert!(owed);
    w.kill(B);
    w.links.retain(|_, l| l.d != B);
    w.stop_tracker();
    w.start_tracker(false);
    w.run_for(20 * SECOND);
    w.start(B);
    w.same();
    assert_eq!((w.shows(A, "b's").len(), w.shows(A, "a's").len()), (1, 1), "{:?}", w.paths(A));
}
