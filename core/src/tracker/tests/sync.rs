//! Records from one device to the others: judging, streams, turns.

use super::*;
use std::format;

#[test]
fn a_record_reaches_the_other_member_and_its_author_learns_the_seq() {
    let mut h = Home::with(2);
    let r = file(1, edit(10, 100), None);
    assert_eq!(h.put(0, "x", &r), Verdict::Accepted(Seq(1)));
    assert_eq!(h.records(1), [("x".into(), Seq(1), r.clone())]);
    assert!(h.records(0).is_empty(), "it is not sent back");
    assert!(h.clients[0].got.contains(&Got::Standing(Seq(1))));
    assert_eq!((h.lag(0), h.lag(1)), (0, 1));
    h.have(1, 1, 1, true);
    assert_eq!(h.lag(1), 0);
    h.clear();
    h.dial(1);
    h.seen(1, Seq(1));
    assert!(
        h.records(1).is_empty() && h.clients[1].got.contains(&Got::CaughtUp(F, Seq(1))),
        "nothing is sent twice"
    );
    h.dial(1);
    h.seen(1, Seq(9));
    assert_eq!(h.records(1).len(), 1, "past the tail counts as nothing");
}

#[test]
fn verdicts_follow_the_vectors() {
    let mut h = Home::with(2);
    let old = file(1, edit(10, 100), None);
    let new = file(2, edit(20, 50), Some(&old));
    assert_eq!(h.put(0, "x", &old), Verdict::Accepted(Seq(1)));
    assert_eq!(h.put(1, "x", &old), Verdict::Accepted(Seq(1)), "the same from another: a holder more");
    assert_eq!(h.t.files.get(Seq(1)).unwrap().holders().len(), 2);
    assert_eq!(h.put(1, "x", &new), Verdict::Accepted(Seq(2)));
    assert_eq!(h.put(0, "x", &old), Verdict::Superseded(Seq(2)));
    assert_eq!(h.put(0, "x", &file(3, edit(10, 200), Some(&old))), Verdict::Conflict(Seq(2)));
    let fork = file(4, edit(20, 60), Some(&old));
    assert_eq!(h.put(1, "x", &fork), Verdict::Conflict(Seq(2)), "the older edit replaced the same");
    let next = file(4, edit(20, 60), Some(&new));
    assert_eq!(h.put(1, "x", &next), Verdict::Accepted(Seq(3)));
    let mut fork = file(5, edit(20, 70), Some(&next));
    fork.parent = None;
    assert_eq!(h.put(1, "x", &fork), Verdict::Conflict(Seq(3)), "it forgot its parent");
    let mut touched = h.t.files.get(Seq(3)).unwrap().record();
    touched.mtime += 1;
    assert_eq!(h.put(0, "x", &touched), Verdict::Superseded(Seq(3)), "equal but for the metadata");
    touched.content = ContentId([77; 32]);
    assert_eq!(h.put(0, "x", &touched), Verdict::Conflict(Seq(3)), "equal vectors, other content");
    assert!(!h.t.files.get(Seq(3)).unwrap().holders().has(Slot(0)), "which makes no holder");
}

#[test]
fn the_record_a_verdict_speaks_of_is_there_before_it() {
    let mut h = Home::with(2);
    h.put(1, "x", &file(1, edit(20, 100), None));
    h.clear();
    assert_eq!(h.put(0, "x", &file(2, edit(10, 100), None)), Verdict::Conflict(Seq(1)));
    let at = |f: fn(&Got) -> bool| h.clients[0].got.iter().position(f).unwrap();
    assert!(at(|g| matches!(g, Got::Record { .. })) < at(|g| matches!(g, Got::Verdict(..))), "sent again");
    // Of many, each is there, whatever the frames.
    let files: List<_> =
        (0..60u8).map(|n| (format!("dir/{n}"), file(n, edit(20, 200 + u64::from(n)), None))).collect();
    let all: List<_> = files.iter().map(|(p, r)| (p.as_str(), r, HELD)).collect();
    h.announce(1, &all);
    h.clear();
    let rivals: List<_> = (0..60u8).map(|n| file(n + 100, edit(10, 200 + u64::from(n)), None)).collect();
    let all: List<_> = files.iter().zip(&rivals).map(|((p, _), r)| (p.as_str(), r, HELD)).collect();
    let verdicts = h.announce(0, &all);
    assert_eq!(verdicts, (2..62).map(|n| Verdict::Conflict(Seq(n))).collect::<List<_>>());
    assert_eq!(h.records(0).len(), 60);
}

#[test]
fn only_members_announce_and_are_told() {
    let mut h = Home::with(2);
    h.join(2);
    let r = file(1, edit(10, 100), None);
    assert_eq!(h.put(2, "x", &r), Verdict::Refused);
    assert_eq!(h.put(0, "x", &r), Verdict::Accepted(Seq(1)));
    h.seen(2, Seq(0));
    assert!(h.records(2).is_empty() && !h.clients[2].got.iter().any(|g| matches!(g, Got::CaughtUp(..))));
    let unknown = batch(FolderSlot(9), &[("x", &r, HELD)]);
    h.raw(0, &unknown).unwrap();
    assert!(matches!(h.clients[0].got.last(), Some(Got::Verdict(_, Verdict::Refused))));
}

#[test]
fn a_pair_is_taken_wholly_or_not_at_all() {
    let mut h = Home::with(2);
    let pair = EntryFlags { held: true, pair: true };
    let (a, b) = (file(1, edit(10, 100), None), file(2, edit(20, 100), None));
    h.put(0, "x", &a);
    let mut merged = b.clone();
    assert!(merged.version.join(&a.version) && merged.version.raise(edit(20, 200)));
    let copy = file(1, edit(10, 100), None);
    let got = h.announce(1, &[("x", &merged, pair), ("x copy", &copy, HEARD)]);
    assert_eq!(got, [Verdict::Accepted(Seq(3)), Verdict::Accepted(Seq(2))]);
    let got = h.announce(0, &[("x", &merged, pair), ("x copy", &copy, HEARD)]);
    assert_eq!(got, [Verdict::Accepted(Seq(3)), Verdict::Accepted(Seq(2))], "the same by another resolver");
    let edited = file(9, edit(10, 300), Some(&copy));
    h.put(0, "x copy", &edited);
    let mut later = merged.clone();
    assert!(later.version.raise(edit(20, 300)));
    let got = h.announce(1, &[("x", &later, pair), ("x copy", &copy, HEARD)]);
    assert_eq!(
        got,
        [Verdict::Accepted(Seq(5)), Verdict::Superseded(Seq(4))],
        "the table knows the copy's edit"
    );
    let rival = file(8, edit(20, 250), None);
    assert!(merged.version.raise(edit(20, 400)));
    let got = h.announce(1, &[("x", &merged, pair), ("x copy", &rival, HEARD)]);
    assert_eq!(got, [Verdict::Pair, Verdict::Conflict(Seq(4))]);
    let got = h.announce(1, &[("x", &a, pair), ("other", &rival, HEARD)]);
    assert_eq!(got, [Verdict::Superseded(Seq(5)), Verdict::Pair]);
    assert!(h.t.files.table().find(F, Path::new(b"other").unwrap()).is_none());
}

#[test]
fn in_a_fresh_epoch_devices_are_caught_up_one_after_the_other() {
    let mut h = Home::with(3);
    let stored = h.t.sealed_roster().to_vec();
    let mut n = Home::new(Past::Sealed(&stored));
    n.clients = core::mem::take(&mut h.clients);
    let caught = |n: &Home, i: usize| n.clients[i].got.iter().any(|g| matches!(g, Got::CaughtUp(..)));
    for i in 0..3 {
        n.dial(i);
        n.seen(i, Seq(0));
    }
    assert!(caught(&n, 0) && !caught(&n, 1) && !caught(&n, 2));
    n.put(0, "x", &file(1, edit(10, 100), None));
    assert!(n.records(1).len() == 1 && !caught(&n, 1), "records flow, the turn does not");
    n.told(0);
    assert!(caught(&n, 1) && !caught(&n, 2));
    assert!(n.clients[1].got.contains(&Got::CaughtUp(F, Seq(1))));
    let mut y = None;
    for k in 0..5 {
        n.pass_alive(Duration::secs(4));
        let next = file(k, edit(20, 100 + u64::from(k)), y.as_ref());
        assert!(matches!(n.put(1, "y", &next), Verdict::Accepted(_)));
        y = Some(next);
    }
    assert!(!caught(&n, 2), "who goes on announcing keeps the turn");
    n.pass_alive(Duration::secs(6));
    assert!(caught(&n, 2), "who is silent does not");
    n.dial(1);
    n.seen(1, Seq(0));
    assert!(caught(&n, 1), "a turn is needed once in an epoch");
}

#[test]
fn a_folder_linked_later_does_not_hold_up_the_others() {
    let mut h = Home::with(2);
    h.link(0, "big");
    let g = FolderSlot(1);
    h.seen_of(0, g, Seq(0));
    h.say(0, ToTracker::Told(g)).unwrap();
    for n in 0..40u64 {
        let files: List<_> =
            (0..25).map(|k| (format!("{n}/{k}"), file(1, edit(10, 1000 + n * 25 + k), None))).collect();
        let all: List<_> = files.iter().map(|(p, r)| (p.as_str(), r, HELD)).collect();
        h.raw(0, &batch(g, &all)).unwrap();
    }
    h.put(0, "x", &file(1, edit(10, 100), None));
    h.clear();
    h.link(1, "big");
    let (folder, epoch) = (h.t.roster().folder(g).unwrap().id, h.t.epoch());
    // The link takes one frame only; then something new happens in the other folder.
    let mut buf = vec![0; limits::FRAME];
    let n = encode(&ToTracker::Seen { folder, epoch, seen: Seq(0) }, &mut buf).unwrap();
    let link = h.clients[1].link.unwrap();
    h.t.handle_frame(h.now, link, &buf[..n]).unwrap();
    let mut out = vec![0; limits::FRAME];
    let Sent::Frame(n) = h.t.poll_transmit(h.now, link, &mut out) else { panic!("a frame") };
    h.clients[1].take(&out[..n]);
    h.put(0, "urgent", &file(1, edit(10, 200), None));
    let place = |g: &Got| match g {
        Got::Record { folder, seq, .. } => Some((*folder, *seq)),
        _ => None,
    };
    let order: List<_> = h.clients[1].got.iter().filter_map(place).collect();
    let urgent = order.iter().position(|(f, _)| *f == F).unwrap();
    assert!(urgent < 200, "before the rest of the big folder: {urgent}");
    let big: List<_> = order.iter().filter(|(f, _)| *f == g).map(|(_, s)| *s).collect();
    assert!(big.len() == 1000 && big.is_sorted(), "all of it, in order");
    assert!(h.clients[1].got.contains(&Got::CaughtUp(g, Seq(1002))));
}

#[test]
fn folders_seen_to_different_points_are_each_sent_from_there_in_order() {
    let mut h = Home::with(2);
    h.link(0, "g");
    h.seen_of(0, FolderSlot(1), Seq(0));
    h.say(0, ToTracker::Told(FolderSlot(1))).unwrap();
    h.link(1, "g");
    h.seen_of(1, FolderSlot(1), Seq(0));
    for n in 0..200u64 {
        let r = file(1, edit(10, 1000 + n), None);
        h.raw(0, &batch(FolderSlot((n % 2) as u8), &[(&format!("{n}"), &r, HELD)])).unwrap();
    }
    for (f, g) in [(150, 20), (20, 150), (0, 199), (200, 200)] {
        h.dial(1);
        h.seen(1, Seq(f));
        h.seen_of(1, FolderSlot(1), Seq(g));
        for (folder, seen) in [(F, f), (FolderSlot(1), g)] {
            let seqs: List<_> = h.clients[1]
                .got
                .iter()
                .filter_map(|g| match g {
                    Got::Record { folder: x, seq, .. } if *x == folder => Some(seq.0),
                    _ => None,
                })
                .collect();
            let want: List<_> = (seen + 1..=200).filter(|s| (s + 1) % 2 == u64::from(folder.0)).collect();
            assert_eq!(seqs, want);
            assert!(h.clients[1].got.contains(&Got::CaughtUp(folder, Seq(200))));
        }
    }
}

#[test]
fn what_was_sent_is_not_sent_again_when_another_folder_joins_further_back() {
    let (f, g) = (FolderSlot(1), FolderSlot(2));
    let mut s = session::Stream { live: Seq(100), ..session::Stream::NEW };
    s.join(f, Seq(10));
    s.back = Seq(50);
    s.join(g, Seq(20));
    assert_eq!((s.back, s.seen[1], s.seen[2], s.sent(f)), (Seq(20), Seq(50), Seq(20), Seq(50)));
    s.back = Seq(100);
    s.meet();
    assert!(s.behind.is_empty() && s.sent(f) == Seq(100));
    s.join(g, Seq(100));
    assert!(s.behind.is_empty(), "it stands there already");
}

#[test]
fn a_full_table_answers_so_and_still_takes_removals() {
    let mut h = Home::of(config(Past::New), 24 * 1024);
    h.join(0);
    h.link(0, "f");
    h.seen(0, Seq(0));
    let mut full = None;
    for n in 0..400u64 {
        match h.put(0, &format!("some/path/{n}"), &file(1, edit(10, 100 + n), None)) {
            Verdict::Accepted(_) => assert!(full.is_none()),
            Verdict::Full(fit) => full = Some((n, fit)),
            other => panic!("{other:?}"),
        }
    }
    let (n, fit) = full.unwrap();
    assert!(fit > 10 && n > 10, "{n} {fit}");
    assert!(h.clients[0].got.iter().any(|g| matches!(g, Got::Room(..))));
    let old = file(1, edit(10, 100), None);
    assert!(matches!(h.put(0, "some/path/0", &removal(edit(10, 9000), &old)), Verdict::Accepted(_)));
}

#[test]
fn more_announcements_than_the_window_are_refused() {
    let mut h = Home::with(1);
    let r = file(1, edit(10, 100), None);
    let all: List<_> = (0..80).map(|_| ("x", &r, HELD)).collect();
    let frame = batch(F, &all);
    let link = h.clients[0].link.unwrap();
    let sent = (0..10).take_while(|_| h.t.handle_frame(h.now, link, &frame).is_ok()).count();
    assert_eq!(sent, 6, "480 of 512");
}
