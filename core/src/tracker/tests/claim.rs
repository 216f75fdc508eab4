//! Holder bits, lag, and what follows from them.

use super::*;
use std::format;

/// `n` files of device 0, seqs 1..=n.
fn fill(h: &mut Home, n: u64) {
    for k in 0..n {
        h.put(0, &format!("file{k}"), &file(1, edit(10, 100 + k), None));
    }
}
fn holders(h: &Home, seq: u64) -> SlotSet {
    h.t.files.get(Seq(seq)).map_or(SlotSet(0), |e| e.holders())
}

#[test]
fn have_and_lack_move_bits_and_lag_by_ranges() {
    let mut h = Home::with(3);
    fill(&mut h, 3000);
    assert_eq!((h.lag(0), h.lag(1), h.lag(2)), (0, 3000, 3000));
    h.have(1, 0, u64::MAX, true);
    assert_eq!(h.lag(1), 0, "beyond the tail there is nothing");
    h.have(1, 11, 20, false);
    assert_eq!(h.lag(1), 10);
    let many: List<_> = (0..60).map(|n| SeqRange { from: Seq(n * 50 + 1), to: Seq(n * 50 + 25) }).collect();
    h.say(2, ToTracker::Have { folder: F, ranges: Ranges::from_slice(&many).unwrap(), run: 0 }).unwrap();
    assert_eq!(h.lag(2), 1500);
    let bad = Ranges::from_slice(&[SeqRange { from: Seq(5), to: Seq(4) }]).unwrap();
    assert!(h.say(2, ToTracker::Have { folder: F, ranges: bad, run: 0 }).is_err());
}

#[test]
fn lag_is_told_within_moments_and_exactly() {
    let mut h = Home::with(2);
    fill(&mut h, 10);
    h.clear();
    h.pass(Duration::millis(250));
    assert!(h.clients[0].got.contains(&Got::Presence { device: DeviceId(2), online: true, lag: 10 }));
    h.clear();
    for n in 1..=10 {
        h.have(1, n, n, true);
    }
    h.pass(Duration::millis(250));
    let told: List<_> = h.clients[0].got.iter().filter(|g| matches!(g, Got::Presence { .. })).collect();
    assert_eq!(told, [&Got::Presence { device: DeviceId(2), online: true, lag: 0 }], "once, at rest");
}

#[test]
fn a_touched_file_is_lacked_until_it_is_applied_again() {
    let mut h = Home::with(2);
    fill(&mut h, 1);
    h.have(1, 1, 1, true);
    let old = file(1, edit(10, 100), None);
    let mut touched = old.clone();
    assert!(touched.version.raise(edit(10, 500)));
    touched.mode = 0o600;
    assert_eq!(h.put(0, "file0", &touched), Verdict::Accepted(Seq(2)));
    assert_eq!(h.lag(1), 1);
    h.have(1, 1, 1, true);
    assert_eq!(h.lag(1), 1, "the old seq says nothing of the new record");
    h.have(1, 2, 2, true);
    assert_eq!(h.lag(1), 0);
}

#[test]
fn content_that_nobody_has_for_a_while_is_withdrawn() {
    let mut h = Home::with(2);
    fill(&mut h, 2);
    h.put(0, "gone", &removal(edit(10, 900), &file(1, edit(10, 800), None)));
    h.have(0, 1, 3, false);
    h.pass_alive(Duration::secs(3));
    h.have(0, 2, 2, true);
    h.clear();
    h.pass_alive(Duration::secs(4));
    let table = h.t.files.table();
    assert!(table.find(F, Path::new(b"file0").unwrap()).is_none(), "it left its path");
    assert!(
        table.find(F, Path::new(b"file1").unwrap()).is_some()
            && table.find(F, Path::new(b"gone").unwrap()).is_some()
    );
    for i in 0..2 {
        let got = h.records(i);
        assert!(
            got.len() == 1 && got[0].0 == "file0" && got[0].2.flags.withdrawn() && got[0].1 == Seq(4),
            "{got:?}"
        );
    }
    assert_eq!(h.lag(1), 2, "a withdrawn record is nobody's lag");

    let old = file(1, edit(10, 100), None);
    assert_eq!(h.announce(1, &[("file0", &old, HEARD)]), [Verdict::Withdrawn(Seq(4))]);
    let other = file(7, edit(20, 100), None);
    assert_eq!(h.put(1, "file0", &other), Verdict::Accepted(Seq(5)), "the path is free");
    assert_eq!(h.put(0, "file0", &old), Verdict::Conflict(Seq(5)), "held, it is judged as any other");
    h.have(1, 4, 4, true);
    assert!(h.t.files.get(Seq(4)).is_some());
    h.have(0, 4, 4, true);
    assert!(h.t.files.get(Seq(4)).is_none(), "noted by every member: collected");
}

#[test]
fn a_withdrawn_edit_lives_again_with_its_content() {
    let mut h = Home::with(2);
    fill(&mut h, 1);
    h.have(0, 1, 1, false);
    h.pass_alive(Duration::secs(70));
    let old = file(1, edit(10, 100), None);
    assert_eq!(h.put(1, "file0", &old), Verdict::Accepted(Seq(3)));
    assert!(h.t.files.table().find_withdrawn(F, Path::new(b"file0").unwrap()).is_none());
    assert_eq!(holders(&h, 3), SlotSet::one(Slot(1)));
}

#[test]
fn withdrawn_records_are_told_anew_in_another_epoch() {
    let mut h = Home::with(2);
    let mut w = file(1, edit(5, 100), None);
    w.flags.0 |= crate::record::Flags::WITHDRAWN;
    assert_eq!(h.announce(1, &[("x", &w, HEARD)]), [Verdict::Accepted(Seq(1))]);
    assert_eq!((holders(&h, 1), h.lag(0)), (SlotSet::one(Slot(1)), 0));
    assert!(h.records(0)[0].2.flags.withdrawn());
    assert_eq!(h.announce(0, &[("x", &w, HEARD)]), [Verdict::Accepted(Seq(1))]);
    let mut live = w.clone();
    live.flags.0 = 0;
    assert_eq!(h.put(0, "x", &live), Verdict::Accepted(Seq(2)));
    assert_eq!(h.announce(1, &[("x", &w, HEARD)]), [Verdict::Superseded(Seq(2))]);
}

#[test]
fn what_stands_beside_a_withdrawn_record_is_told_after_it() {
    let mut h = Home::with(2);
    h.put(0, "x", &file(2, edit(6, 100), None));
    let mut w = file(1, edit(5, 100), None);
    w.flags.0 |= crate::record::Flags::WITHDRAWN;
    h.clear();
    assert_eq!(h.announce(1, &[("x", &w, HEARD)]), [Verdict::Accepted(Seq(2))]);
    let told: List<_> = h.records(0).iter().map(|r| (r.1, r.2.flags.withdrawn())).collect();
    assert_eq!(told, [(Seq(2), true), (Seq(3), false)], "who hears of the one forgets what it heard before");
    assert_eq!(holders(&h, 3), SlotSet::one(Slot(0)));
    h.t.files.check();
}

#[test]
fn removals_are_forgotten_when_all_have_applied_them_and_room_is_short() {
    let mut h = Home::of(config(Past::New), 32 * 1024);
    h.join(0);
    h.join(1);
    for i in 0..2 {
        h.link(i, "f");
        h.seen(i, Seq(0));
        h.told(i);
    }
    let mut tail = 0;
    for n in 0..60u64 {
        let r = file(1, edit(10, 100 + n), None);
        h.put(0, &format!("old/{n}"), &r);
        h.put(0, &format!("old/{n}"), &removal(edit(10, 100_000 + n), &r));
        tail = h.t.files.table().tail().0;
    }
    // What b has not applied is the oldest.
    h.have(1, tail / 2 + 1, tail, true);
    assert_eq!(h.t.files.table().tombstones(), 60, "as long as there is room");
    let mut n = 0;
    while h.t.usage().permille <= 800 {
        n += 1;
        h.put(0, &format!("new/{n}"), &file(1, edit(10, 200_000 + n), None));
    }
    h.clear();
    h.pass_alive(Duration::secs(1));
    let left = h.t.files.table().tombstones();
    assert!((30..60).contains(&left), "{left}: those that b lacks stay");
    for i in 0..2 {
        let forgot: u64 = h.clients[i]
            .got
            .iter()
            .map(|g| match g {
                Got::Forget(f, ranges) => {
                    assert!(*f == F && ranges[0].from.0 > tail / 2);
                    ranges.iter().map(|r| r.to.0 - r.from.0 + 1).sum()
                }
                _ => 0,
            })
            .sum();
        assert_eq!(forgot, 60 - left as u64, "both are told");
    }
}

#[test]
fn unlinking_clears_bits_and_linking_again_starts_from_nothing() {
    let mut h = Home::with(2);
    fill(&mut h, 5);
    h.have(1, 1, 5, true);
    let id = h.t.roster().folder(F).unwrap().id;
    assert_eq!(h.ask(1, Request::Unlink(id)), Reply::Done);
    assert_eq!(h.ask(1, Request::Link { label: "f", make: false }), Reply::Folder(id, F, false));
    assert_eq!((h.lag(1), holders(&h, 3)), (5, SlotSet::one(Slot(0))), "swept before it was linked");
    h.clear();
    h.put(0, "more", &file(1, edit(10, 900), None));
    assert!(h.records(1).is_empty(), "not before it says where it stands");
    h.seen(1, Seq(0));
    assert_eq!(h.records(1).len(), 6);
}

#[test]
fn a_forgotten_folder_is_gone_and_its_slot_is_clean_when_reused() {
    let mut h = Home::with(2);
    fill(&mut h, 5);
    let id = h.t.roster().folder(F).unwrap().id;
    assert_eq!(h.ask(1, Request::Forget(id)), Reply::Done);
    assert_eq!(h.put(0, "x", &file(1, edit(10, 500), None)), Verdict::Refused);
    match h.ask(0, Request::Link { label: "f", make: true }) {
        Reply::Folder(new, slot, true) => {
            assert!(new != id && slot == FolderSlot(1), "the old slot is being swept")
        }
        other => panic!("{other:?}"),
    }
    h.pass_alive(Duration::secs(1));
    assert!(h.t.files.table().is_empty());
    assert!(matches!(h.ask(1, Request::LinkFirst("new")), Reply::Folder(_, FolderSlot(1), false)));
    assert!(matches!(h.ask(0, Request::Link { label: "g", make: true }), Reply::Folder(_, F, true)));
    assert_eq!(h.put(0, "x", &file(1, edit(10, 600), None)), Verdict::Accepted(Seq(6)));
}

#[test]
fn the_same_label_asked_by_two_devices_is_one_folder() {
    let mut h = Home::with(2);
    let id = h.link(0, "g");
    assert_eq!(h.link(1, "g"), id);
    assert!(matches!(h.ask(0, Request::Link { label: "nope", make: false }), Reply::Refused(_)));
    assert!(matches!(h.ask(0, Request::Link { label: "", make: true }), Reply::Refused(_)));
    assert!(matches!(h.ask(0, Request::Link { label: "a\nb", make: true }), Reply::Refused(_)));
}

#[test]
fn seekers_hear_who_has_the_content_at_once_and_when_it_changes() {
    let mut h = Home::with(3);
    fill(&mut h, 1);
    h.say(1, ToTracker::Seek { folder: F, seq: Seq(1) }).unwrap();
    let a = SlotSet::one(Slot(0));
    assert!(h.clients[1].got.contains(&Got::Sources { seq: Seq(1), holders: a, seekers: SlotSet(0) }));
    h.say(2, ToTracker::Seek { folder: F, seq: Seq(1) }).unwrap();
    assert!(h.clients[1].got.contains(&Got::Sources {
        seq: Seq(1),
        holders: a,
        seekers: SlotSet::one(Slot(2))
    }));
    h.have(1, 1, 1, true);
    assert!(h.clients[2].got.contains(&Got::Sources {
        seq: Seq(1),
        holders: SlotSet(3),
        seekers: SlotSet(0)
    }));
    h.say(2, ToTracker::Seek { folder: F, seq: Seq(99) }).unwrap();
    h.say(1, ToTracker::Unreachable(DeviceId(1))).unwrap();
    assert!(h.clients[0].got.contains(&Got::ConnectBack(DeviceId(2))));
}
