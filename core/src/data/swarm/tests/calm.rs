//! A crowd in which at most one thing goes wrong: what leaves the holder, how long it takes.

use super::crowd::*;
use super::*;
use crate::data::message::Have;
use std::collections::BTreeSet;

const ONE: u64 = SIZE as u64 * SECOND / RATE;

#[test]
fn a_holder_sends_one_copy_whatever_the_number_of_seekers() {
    for seekers in [1, 2, 3, 7] {
        let mut c = Crowd::new(seekers);
        c.run(60 * SECOND);
        let (copies, times) = (c.copies(0), c.all_have_it() as f64 / ONE as f64);
        std::println!("{seekers} seekers: {copies:.3} copies, {times:.3} x the time of one");
        assert!(copies <= 1.05, "{seekers} seekers: {copies} copies");
        assert!(times <= 1.12, "{seekers} seekers: {times} times as long as one copy");
    }
}

#[test]
fn a_seeker_that_vanishes_takes_nothing_with_it() {
    let mut c = Crowd::new(3);
    c.later(ONE / 2, Event::Leave(2));
    c.run(60 * SECOND);
    assert!(c.all_have_it() < 2 * ONE && c.copies(0) < 1.4, "{} {}", c.all_have_it(), c.copies(0));
}

#[test]
fn a_seeker_that_lies_is_dropped_and_named() {
    let mut c = Crowd::new(3);
    c.members[2].lies = true;
    c.run(60 * SECOND);
    assert!(c.all_have_it() < 3 * ONE, "{}", c.all_have_it());
    assert_eq!((&c.members[1].named[..], &c.members[3].named[..]), (&[Slot(2)][..], &[Slot(2)][..]));
}

#[test]
fn a_seeker_with_a_slow_uplink_does_not_hold_the_others_up() {
    let mut c = Crowd::new(3);
    c.members[2].rate = RATE / 50;
    c.run(100 * SECOND);
    std::println!("slow uplink: {:.3} copies, {:.3}", c.copies(0), c.all_have_it() as f64 / ONE as f64);
    assert!(c.all_have_it() < 5 * ONE, "{} of {ONE}", c.all_have_it());
}

#[test]
fn seekers_complete_each_other_when_the_holder_goes() {
    let mut c = Crowd::new(3);
    // Each chunk has left the holder by then, but not come to all.
    for m in 1..=3 {
        c.members[m].rate = RATE / 4;
    }
    let together = |c: &Crowd| c.members.iter().flat_map(|m| m.got.clone()).collect::<BTreeSet<u64>>().len();
    while together(&c) < c.versions[0].manifest.chunks() {
        let until = c.now + 10 * MS;
        c.run(until);
    }
    assert!(c.members[1..].iter().all(|m| m.end.is_none()));
    c.later(1, Event::Leave(0));
    for m in 1..=3 {
        c.later(MS, Event::Named(m, SlotSet(0), set((1..=3).filter(|k| *k != m))));
    }
    c.run(100 * SECOND);
    c.all_have_it();
}

#[test]
fn a_fellow_that_stands_still_holds_the_others_up_for_a_moment() {
    let mut c = Crowd::new(3);
    c.retry = Some(SECOND);
    c.later(ONE / 4, Event::Stop(2, 1 << 40));
    let left = |c: &Crowd| [1, 3].iter().all(|m| c.members[*m].end.is_some());
    c.run_until(100 * SECOND, left);
    let last = [1, 3].map(|m| c.members[m].end.expect("it ended").1).into_iter().max().unwrap();
    std::println!("one stands still: {:.3}", last as f64 / ONE as f64);
    assert!(last < 4 * ONE, "{last} of {ONE}");
}

#[test]
fn seekers_do_not_wait_for_each_other_for_what_nobody_has() {
    let mut c = Crowd::new(2);
    c.events.clear();
    c.later(1, Event::Leave(0));
    for m in 1..=2 {
        c.later(2, Event::Start(m));
        c.later(MS, Event::Named(m, SlotSet(0), set([3 - m])));
    }
    c.run(60 * SECOND);
    for m in 1..=2 {
        let end = c.members[m].end;
        assert!(matches!(end, Some((Err(Cause::NoSource), at)) if at < 10 * SECOND), "{m}: {end:?}");
    }
}

/// A large content that three seek; the holder sends them each chunk once, more or less, and goes. The third has started
/// anew: it has its part file, but not heard of the tree.
fn left_alone() -> Crowd {
    let mut c = Crowd::of(1, 3, LONG);
    c.retry = Some(SECOND);
    for m in 1..=3 {
        c.members[m].rate = RATE / 20;
        c.later(1, Event::Start(m));
        c.later(MS, Event::Named(m, set([0]), set((1..=3).filter(|k| *k != m))));
    }
    let together = |c: &Crowd| c.members.iter().flat_map(|m| m.got.clone()).collect::<BTreeSet<u64>>().len();
    while together(&c) < c.versions[0].manifest.chunks() {
        let until = c.now + 10 * MS;
        c.run_until(until, |_| false);
    }
    let alone = |m: &Member| c.members.iter().filter(|o| o.got.is_superset(&m.got)).count() == 1;
    assert!(c.members[1..].iter().all(|m| m.end.is_none() && alone(m)), "each has what no other one has");
    c.members[0].told = 0;
    c.later(1, Event::Leave(0));
    c.later(2, Event::Leave(3));
    c.later(3, Event::Back(3));
    for _ in 0..30 * LONG as u64 / RATE {
        for m in 1..=3 {
            let (holders, seekers) = c.sources(m);
            if c.members[m].end.is_none() {
                c.later(MS, Event::Named(m, holders, seekers));
            }
        }
        let until = c.now + SECOND;
        c.run_until(until, |_| false);
    }
    c
}
/// Longer than what a seeker knows at once of its tree.
const LONG: usize = 300 << 20;

#[test]
fn what_seekers_have_together_they_all_get_when_one_starts_anew() {
    let c = left_alone();
    c.all_have_it();
    assert!(c.members[0].told == 0 && c.members[1].told + c.members[2].told > 30);
    assert!(c.members.iter().all(|m| m.again == 0));
}

#[test]
fn what_fellows_alone_know_of_the_tree_comes_from_the_one_who_tells_it() {
    for first in
        [Manner::Honest, Manner::Silent, Manner::Lying(1), Manner::Empty, Manner::Busy, Manner::Overrun]
    {
        let mut w = World::new();
        w.seekers = SlotSet(w.peer(1, first, FAST).0 | w.peer(2, Manner::Honest, FAST).0);
        let c = w.content(12, 3 << 20);
        let at = w.at();
        w.seekers.iter().for_each(|s| w.swarm.handle_open(at, s));
        w.fetch(1, c, SlotSet(0), 0);
        assert_eq!(w.asked, 0, "nobody has said anything");
        let base = w.contents[&c].manifest.chunks() as u32;
        for slot in w.seekers.iter() {
            let have = Have { id: 7, content: c, base, here: &[], coming: &[] };
            assert!(w.swarm.handle_have(at, slot, &have));
        }
        w.drain();
        assert_eq!((w.peers[&Slot(1)].asks, w.peers[&Slot(2)].asks), (1, 0), "{first:?} is asked first");
        w.run(60 * SECOND);
        assert!(w.is_whole(1, c), "{first:?}: {:?}", w.ends);
        assert_eq!(w.named.as_slice(), if first == Manner::Lying(1) { &[Slot(1)][..] } else { &[] });
    }
}
