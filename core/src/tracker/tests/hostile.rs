//! A device of the home that means harm: the others go on.

use super::*;
use std::format;

fn caught(h: &Home, i: usize) -> bool {
    h.clients[i].got.iter().any(|g| matches!(g, Got::CaughtUp(..)))
}

/// The same devices before a tracker that was started again, caught up by none of it yet.
fn restart(h: &mut Home) -> Home {
    let sealed = h.t.sealed_roster().to_vec();
    let mut n = Home::new(Past::Sealed(&sealed));
    n.clients = core::mem::take(&mut h.clients);
    n.clients.iter_mut().for_each(|c| c.link = None);
    for i in [1, 0, 2] {
        n.dial(i);
        n.seen(i, Seq(0));
    }
    assert!(caught(&n, 1) && !caught(&n, 0) && !caught(&n, 2));
    n
}

#[test]
fn an_old_record_again_and_again_keeps_no_turn() {
    let mut h = restart(&mut Home::with(3));
    let r = file(9, edit(20, 3), None);
    for _ in 0..3 {
        h.put(1, "same", &r);
        h.pass_alive(Duration::secs(4));
    }
    assert!(caught(&h, 0) || caught(&h, 2));
}

#[test]
fn new_edits_of_one_path_keep_a_turn_for_a_minute_and_new_paths_for_longer() {
    for paths in [1, 200] {
        let mut h = restart(&mut Home::with(3));
        let mut last: Option<Record> = None;
        for n in 0..20u64 {
            let next = file(9, edit(20, 3 + n), last.as_ref());
            for p in 0..paths {
                let path = if paths > 1 { format!("{n}-{p}") } else { "same".to_string() };
                assert!(matches!(h.put(1, &path, &next), Verdict::Accepted(_)));
            }
            last = Some(next);
            h.pass_alive(Duration::millis(3100));
        }
        assert_eq!(caught(&h, 0) || caught(&h, 2), paths == 1);
    }
}

#[test]
fn ranges_are_walked_once_a_frame() {
    let mut h = Home::with(2);
    for n in 0..5000u64 {
        h.t.files
            .put(
                F,
                Path::new(format!("{n}").as_bytes()).unwrap(),
                &file(1, edit(20, 1 + n), None),
                SlotSet::one(Slot(1)),
            )
            .unwrap();
    }
    let whole = SeqRange { from: Seq(1), to: Seq(1 << 40) };
    let ranges: Ranges = core::iter::repeat_n(whole, limits::RANGES).collect();
    let mut frame = vec![0; limits::FRAME];
    let n = encode(&ToTracker::Have { folder: F, ranges, run: 1 }, &mut frame).unwrap();
    let link = h.clients[0].link.unwrap();
    h.t.handle_frame(h.now, link, &frame[..n]).unwrap();
    let waiting = &h.t.sessions[h.t.find(link).unwrap()].claims;
    assert_eq!((waiting.len(), waiting[0].to), (1, Seq(5000)), "one walk, and not ended in one call");
    h.drain();
    assert_eq!(h.lag(0), 0);
    let range = |from: u64, to: u64| SeqRange { from: Seq(from), to: Seq(to) };
    let ranges =
        Ranges::from_slice(&[range(7, 9), range(1, 2), range(3, 3), range(8, 12), range(14, 14)]).unwrap();
    h.say(0, ToTracker::Lack { folder: F, ranges }).unwrap();
    assert_eq!(h.lag(0), 3 + 6 + 1, "in any order, each once");
}

#[test]
fn a_key_has_one_link_that_is_not_live() {
    let mut h = Home::with(2);
    let (key, from) = (h.clients[1].key, h.clients[1].from);
    for n in 0..100 {
        let link = LinkId(10_000 + n);
        h.t.handle_open(h.now, link, Identity { key, invite: None }, from).unwrap();
        let roster = RosterVersion { version: 1 << 50, nonce: 7 };
        let (tag, name, addrs) = (h.clients[1].tag, "b", Addrs::new());
        let m =
            ToTracker::Hello { tag, counter: 0, run: 1000, port: 1, addrs, caps: 0, roster, flags: 0, name };
        let mut frame = vec![0; limits::FRAME];
        let n = encode(&m, &mut frame).unwrap();
        h.t.handle_frame(h.now, link, &frame[..n]).unwrap();
        h.drain();
        assert!(h.t.sessions.iter().filter(|s| s.state == State::Presenting).count() == 1);
    }
    assert!(h.clients[0].link.is_some() && h.clients[1].link.is_some(), "live links stay");
    h.dial(0);
    assert!(h.is_live(0));
}

#[test]
fn a_store_of_before_is_known_by_each_tag_that_it_went_by() {
    for (counter, known) in [(500, false), (501, true)] {
        let mut h = Home::with(2);
        h.put(0, "x", &file(1, edit(Tag(10).after_loss().0, counter), None));
        h.clients[0].counter = 500;
        h.dial(0);
        assert_eq!(h.clients[0].got.contains(&Got::NewTag(0)), known, "{counter}");
    }
}

#[test]
fn nobody_makes_out_that_a_new_store_went_back_in_time() {
    let mut h = Home::with(2);
    let ahead = |tag: u32, counter: u64| {
        let mut r = file(9, edit(20, 3), None);
        assert!(r.version.raise(edit(tag, counter)));
        r
    };
    assert_eq!(h.put(1, "x", &ahead(10, limits::COUNTER - 1)), Verdict::Refused);
    let after = Tag(10).after_loss();
    assert_eq!(
        h.put(1, "x", &ahead(after.0, limits::COUNTER - 1)),
        Verdict::Refused,
        "anybody can make that"
    );
    h.put(0, "y", &file(1, edit(10, 500), None));
    assert_eq!(h.put(1, "x", &ahead(10, 501)), Verdict::Refused);
    assert!(matches!(h.put(1, "x", &ahead(10, 500)), Verdict::Accepted(_)), "what its owner said is known");
    h.dial(0);
    assert!(h.is_live(0), "{:?}", h.clients[0].got);
}

#[test]
fn of_a_tag_from_before_the_start_others_are_believed_once() {
    let mut h = restart(&mut Home::with(3));
    h.told(1);
    let mut r = file(9, edit(20, 3), None);
    assert!(r.version.raise(edit(10, 800)));
    assert!(matches!(h.put(1, "x", &r), Verdict::Accepted(_)), "its store may have gone back in time");
    h.dial(0);
    assert!(h.clients[0].got.contains(&Got::NewTag(0)));
    (h.clients[0].tag, h.clients[0].counter) = (Tag(11), 0);
    h.dial(0);
    assert!(h.is_live(0));
    let mut r = file(9, edit(20, 4), Some(&r));
    assert!(r.version.raise(edit(11, 800)));
    assert_eq!(h.put(1, "x", &r), Verdict::Refused, "but not of one that is new since");
    h.dial(0);
    assert!(h.is_live(0), "{:?}", h.clients[0].got);
}

#[test]
fn invented_tags_leave_room_for_those_of_the_others() {
    let mut h = Home::with(2);
    let (mut taken, mut full) = (0, 0);
    for n in 0..300u32 {
        let mut r = file(8, edit(20, 500), None);
        assert!(r.version.raise(edit(900_000 + n, 1)));
        match h.put(1, &format!("y{n}"), &r) {
            Verdict::Full(_) => full += 1,
            _ => taken += 1,
        }
    }
    assert_eq!((taken, full), (128, 172));
    // New stores one after the other are on its account, too.
    for n in 0..200 {
        (h.clients[1].tag, h.clients[1].counter) = (Tag(2000 + n), 0);
        h.dial(1);
        assert!(h.is_live(1));
        h.seen(1, Seq(0));
        h.put(1, &format!("z{n}"), &file(8, edit(2000 + n, 1), None));
    }
    for n in 0..60u32 {
        let mut r = file(7, edit(10, 1000), None);
        assert!(r.version.raise(edit(700_000 + n, 1)));
        assert!(matches!(h.put(0, &format!("x{n}"), &r), Verdict::Accepted(_)), "{n}");
    }
}

#[test]
fn two_that_invent_tags_leave_room_for_a_third() {
    let mut h = Home::with(4);
    let puts = |h: &mut Home, i: usize, count: u32| brings(h, i, 100_000 * (i as u32 + 1), count);
    let taken = puts(&mut h, 1, 300) + puts(&mut h, 2, 300);
    assert!((120..=140).contains(&taken), "{taken}");
    for i in [0, 3] {
        assert_eq!(puts(&mut h, i, 25), 25, "{i}");
    }
}

/// How many records, each with another tag that nobody knows, the tracker takes of a client.
fn brings(h: &mut Home, i: usize, first: u32, count: u32) -> usize {
    let own = h.clients[i].tag.0;
    let put = |n: u32| {
        let mut r = file(8, edit(own, 500), None);
        assert!(r.version.raise(edit(first + n, 1)));
        usize::from(matches!(h.put(i, &format!("{}", first + n), &r), Verdict::Accepted(_)))
    };
    (0..count).map(put).sum()
}

/// Takes a device in by client 1's invite; its place.
fn takes_in(h: &mut Home, n: u32) -> usize {
    let invite = h.invite(1);
    let i = h.client("z");
    let mut key = [77; 32];
    key[..4].copy_from_slice(&n.to_le_bytes());
    (h.clients[i].key, h.clients[i].tag, h.clients[i].invite) =
        (PublicKey(key), Tag(50_000 + n), Some(invite));
    h.dial(i);
    assert!(h.is_live(i));
    i
}

/// Takes a device in and has it see the folder; its place.
fn newcomer(h: &mut Home, n: u32) -> usize {
    let i = takes_in(h, n);
    h.link(i, "f");
    h.seen(i, Seq(0));
    i
}

#[test]
fn what_devices_that_are_put_out_have_brought_leaves_room_for_newcomers() {
    let mut h = Home::with(2);
    for n in 0..8 {
        let i = newcomer(&mut h, n);
        brings(&mut h, i, 100_000 * (n + 1), 60);
        assert_eq!(h.revoke(1, i), Reply::Done);
        h.clients.pop();
        h.pass(Duration::millis(20));
    }
    for n in 8..24 {
        let i = newcomer(&mut h, n);
        let r = file(8, edit(50_000 + n, 500), None);
        assert!(matches!(h.put(i, &format!("n{n}"), &r), Verdict::Accepted(_)), "{n}");
    }
}

#[test]
fn new_stores_one_after_the_other_leave_room_for_the_tags_of_others() {
    let mut h = Home::with(3);
    for i in [1, 2] {
        for n in 0..130 {
            let tag = 1000 * (i as u32 + 1) + n;
            (h.clients[i].tag, h.clients[i].counter) = (Tag(tag), 0);
            h.dial(i);
            assert!(h.is_live(i));
            h.seen(i, Seq(0));
            let verdict = h.put(i, &format!("{i}-{n}"), &file(8, edit(tag, 1), None));
            assert!(n > 1 || matches!(verdict, Verdict::Accepted(_)), "{i}-{n}: {verdict:?}");
        }
    }
    let i = newcomer(&mut h, 0);
    for i in [0, i] {
        let r = file(8, edit(h.clients[i].tag.0, 500), None);
        assert!(matches!(h.put(i, &format!("n{i}"), &r), Verdict::Accepted(_)), "{i}");
    }
}

/// Takes a device in and has it put out again; the answer.
fn churn(h: &mut Home, n: u32) -> Reply {
    let i = takes_in(h, n);
    let reply = h.revoke(1, i);
    if reply == Reply::Done {
        h.clients.pop();
    }
    h.pass(Duration::millis(20));
    reply
}

#[test]
fn taking_devices_in_to_put_them_out_fills_no_list() {
    let mut h = Home::with(3);
    (0..8).for_each(|n| assert_eq!(churn(&mut h, n), Reply::Done));
    assert!(matches!(churn(&mut h, 8), Reply::Refused(_)));
    assert!(matches!(h.ask(3, Request::Leave), Reply::Refused(_)), "nor may it leave by itself");
    h.clients.pop();
    h.pass_alive(Duration::secs(3700));
    assert_eq!(churn(&mut h, 9), Reply::Done);
    h.pass_alive(Duration::secs(25 * 3600));
    (10..17).for_each(|n| assert_eq!(churn(&mut h, n), Reply::Done));
    assert_eq!(churn(&mut h, 17), Reply::Done);
    assert_eq!(h.revoke(0, 1), Reply::Done, "a device of more than a day can be put out at any time");
}

#[test]
fn who_uses_up_what_may_be_put_out_keeps_no_other_from_it() {
    let mut h = Home::with(3);
    (0..8).for_each(|n| assert_eq!(churn(&mut h, n), Reply::Done));
    assert!(matches!(churn(&mut h, 8), Reply::Refused(_)));
    let new = h.clients.len() - 1;
    assert!(matches!(h.revoke(2, new), Reply::Refused(_)), "new devices are counted together");
    assert_eq!(h.revoke(0, new), Reply::Done, "the founder is none of them");
    h.clients.pop();
    h.pass_alive(Duration::secs(25 * 3600));
    (9..17).for_each(|n| assert_eq!(churn(&mut h, n), Reply::Done));
    assert!(matches!(churn(&mut h, 17), Reply::Refused(_)));
    assert_eq!(h.revoke(2, new), Reply::Done, "each that is in for long is counted alone");
}

/// So many places of the list of those put out are left.
fn leave_places(h: &mut Home, left: usize) {
    for n in h.t.roster.revoked().len()..limits::REVOKED - left {
        let mut key = [77; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        h.t.roster.revoke(&PublicKey(key)).unwrap();
    }
}

#[test]
fn the_last_that_can_be_put_out_are_not_new() {
    let mut h = Home::with(2);
    leave_places(&mut h, limits::DEVICES + 1);
    assert_eq!(churn(&mut h, 500), Reply::Done);
    assert!(matches!(churn(&mut h, 501), Reply::Refused(_)));
    h.clients.pop();
    assert!(matches!(h.revoke(0, 1), Reply::Refused(_)));
    h.pass_alive(Duration::secs(25 * 3600));
    assert_eq!(h.revoke(0, 1), Reply::Done);
}

#[test]
fn where_no_key_can_be_put_out_any_more_no_link_ends() {
    let mut h = Home::with(2);
    h.pass_alive(Duration::secs(25 * 3600));
    leave_places(&mut h, 0);
    assert!(matches!(h.revoke(0, 1), Reply::Refused(_)));
    assert!(h.clients[1].link.is_some());
    h.say(1, ToTracker::Ping).unwrap();
}
