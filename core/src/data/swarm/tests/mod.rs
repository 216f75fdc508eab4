//! The machine against a network of honest, lying, slow, silent and vanishing sources, in virtual time.

mod calm;
mod crowd;
mod delta;
mod happenings;
mod sources;
mod storm;
mod world;

use super::super::message::{Refusal, SHORT_BYTES};
use super::*;
use crate::content::{ContentHasher, Known, Manifest, Node, chunk_id, known_room, manifest_room};
use crate::ids::ContentId;
use crate::rng::Rng;
use std::boxed::Box;
use std::collections::{BTreeMap, HashMap};
use std::vec;
use std::vec::Vec;
use world::*;

const FAST: u64 = 50 << 20;

#[test]
fn the_machine_fits_its_budget() {
    assert!(size_of::<Swarm<Vec<u8>, Bankbook>>() <= 512 * 1024, "{}", size_of::<Swarm<Vec<u8>, Bankbook>>());
}

#[test]
fn a_small_content_takes_one_ask_on_an_open_link() {
    let mut w = World::new();
    let from = w.peer(1, Manner::Honest, FAST);
    w.swarm.handle_open(w.at(), Slot(1));
    for (i, len) in [1, 5000, limits::CHUNK_MAX].into_iter().enumerate() {
        let c = w.content(i as u64, len);
        w.fetch(i as u32, c, from, 0);
        assert_eq!(w.asked, i as u32 + 1, "asked at once");
        w.run(SECOND);
        assert!(w.is_whole(i as u32, c));
    }
    assert_eq!(w.asked, 3);
}

#[test]
fn the_empty_content_needs_nobody() {
    let mut w = World::new();
    let c = w.content(0, 0);
    w.fetch(1, c, SlotSet(0), 0);
    assert_eq!(w.ends[&Ticket(1)], Ok(()));
}

#[test]
fn all_places_can_be_taken() {
    let mut w = World::new();
    let from = SlotSet(w.peer(1, Manner::Honest, FAST).0 | w.peer(2, Manner::Honest, FAST).0);
    let (small, large) = (w.content(1, 2000), w.content(2, 700_000));
    (0..SMALLS as u32).for_each(|t| w.fetch(t, small, from, 0));
    (0..LARGES as u32).for_each(|t| w.fetch(1000 + t, large, from, 0));
    assert!(!w.swarm.has_room(0) && !w.swarm.has_room(1 << 30));
    w.run(20 * SECOND);
    assert!((0..SMALLS as u32).all(|t| w.is_whole(t, small)));
    assert!((0..LARGES as u32).all(|t| w.is_whole(1000 + t, large)));
    let shares = [1, 2].map(|s| w.peers[&Slot(s)].asks);
    assert!(shares.iter().all(|s| *s > 150), "both are used: {shares:?}");
}

#[test]
fn a_small_content_is_asked_for_however_many_large_ones_come() {
    let mut w = World::new();
    let from = w.peer(1, Manner::Honest, 1 << 20);
    w.swarm.handle_open(w.at(), Slot(1));
    let large = w.content(1, 6 << 20);
    let smalls: Vec<ContentId> = (0..3).map(|n| w.content(2 + n, limits::CHUNK_MAX >> n)).collect();
    for ticket in 0..LARGES as u32 {
        w.fetch(ticket, large, from, 0);
    }
    w.run(100 * MS);
    for (n, small) in smalls.iter().enumerate().rev() {
        assert!(!w.swarm.sources[1].has_room(), "as much is on its way as should be");
        let asked = w.asked;
        w.fetch(100 + n as u32, *small, from, 0);
        assert_eq!(w.asked, asked + 1, "the small one of {n} is asked for at once");
    }
    w.run(300 * SECOND);
    assert!((0..LARGES as u32).all(|t| w.is_whole(t, large)));
    assert!(smalls.iter().zip(100..).all(|(c, t)| w.is_whole(t, *c)));
}

#[test]
fn a_faster_source_takes_over_what_a_slow_one_owes() {
    let mut w = World::new();
    let from = SlotSet(w.peer(1, Manner::Honest, 100 << 10).0 | w.peer(2, Manner::Honest, FAST).0);
    let c = w.content(3, 8 << 20);
    w.fetch(1, c, from, 0);
    w.run(60 * SECOND);
    assert!(w.is_whole(1, c));
    assert!(w.now < 5 * SECOND, "{} ms", w.now / MS);
}

#[test]
fn a_silent_source_loses_its_asks_and_then_its_link() {
    let mut w = World::new();
    let silent = w.peer(1, Manner::Silent, FAST);
    let from = SlotSet(silent.0 | w.peer(2, Manner::Honest, FAST).0);
    let c = w.content(4, 8 << 20);
    w.fetch(1, c, from, 0);
    w.run(60 * SECOND);
    assert!(w.is_whole(1, c) && w.now < 6 * SECOND, "{} ms", w.now / MS);
    w.fetch(2, c, silent, 0);
    w.run(60 * SECOND);
    assert_eq!((w.ends[&Ticket(2)], w.hung), (Err(Cause::Unreachable), 1));
}

#[test]
fn a_source_that_is_always_too_busy_counts_as_silent() {
    let mut w = World::new();
    let overrun = w.peer(1, Manner::Overrun, FAST);
    let (small, large) = (w.content(4, 5000), w.content(5, 8 << 20));
    for (n, c) in [(1, small), (2, large)] {
        w.now += 20 * SECOND;
        w.fetch(n, c, overrun, 0);
        w.run(30 * SECOND);
        assert_eq!((w.ends[&Ticket(n)], w.hung), (Err(Cause::Unreachable), n));
    }
    // It has time again.
    w.peers.get_mut(&Slot(1)).unwrap().manner = Manner::Honest;
    w.now += 20 * SECOND;
    w.fetch(3, large, overrun, 0);
    w.run(10 * SECOND);
    assert!(w.is_whole(3, large));
}

#[test]
fn each_end_has_its_cause() {
    let mut w = World::new();
    let (away, empty) = (w.peer(1, Manner::Away, FAST), w.peer(2, Manner::Empty, FAST));
    let liar = w.peer(3, Manner::Lying(1), FAST);
    let (small, large) = (w.content(5, 100), w.content(6, 400_000));
    for (n, c) in [(0, small), (10, large)] {
        w.fetch(n, c, away, 0);
        w.fetch(n + 1, c, empty, 0);
        w.fetch(n + 2, c, liar, 0);
        w.fetch(n + 3, c, SlotSet(0), 0);
        w.fetch(n + 4, c, away, 0);
        w.swarm.handle_cancel(Ticket(n + 4));
        w.drain();
        w.run(30 * SECOND);
        let causes = [0, 1, 2, 3, 4].map(|i| w.ends[&Ticket(n + i)].unwrap_err());
        let expected = [Cause::Unreachable, Cause::NoSource, Cause::Corrupt, Cause::NoSource, Cause::Raced];
        assert_eq!(causes, expected);
    }
    assert_eq!(w.named, [Slot(3), Slot(3)]);
    assert!(w.swarm.flights.iter().next().is_none(), "nothing stays out");
}

#[test]
fn an_unreachable_device_that_dials_back_in_time_serves() {
    let mut w = World::new();
    let from = w.peer(1, Manner::Away, FAST);
    let c = w.content(7, 400_000);
    w.fetch(1, c, from, 0);
    w.run(SECOND);
    w.peers.get_mut(&Slot(1)).unwrap().manner = Manner::Honest;
    w.tell(Fact::Open(Slot(1)));
    w.drain();
    w.run(10 * SECOND);
    assert!(w.is_whole(1, c));
}

#[test]
fn what_the_part_file_holds_is_not_asked_for() {
    let mut w = World::new();
    let from = w.peer(1, Manner::Honest, FAST);
    let c = w.content(8, 6 << 20);
    w.part = w.contents[&c].bytes[..4 << 20].to_vec();
    w.part[1 << 20] ^= 1;
    w.fetch(1, c, from, 4 << 20);
    w.run(10 * SECOND);
    assert!(w.is_whole(1, c));
    let chunks = w.contents[&c].manifest.chunks() as u32;
    assert!(w.asked < chunks / 2, "{} of {chunks}", w.asked);
}

#[test]
fn other_sources_can_be_named_later() {
    let mut w = World::new();
    let from = w.peer(1, Manner::Silent, FAST);
    let other = w.peer(2, Manner::Honest, FAST);
    let c = w.content(9, 1 << 20);
    w.fetch(1, c, from, 0);
    w.run(SECOND);
    w.swarm.handle_sources(w.at(), Ticket(1), SlotSet(from.0 | other.0), SlotSet(0));
    w.drain();
    w.run(30 * SECOND);
    assert!(w.is_whole(1, c));
}

#[test]
fn no_more_is_asked_for_than_the_limit_lets() {
    let mut w = World::new();
    let from = SlotSet(w.peer(1, Manner::Honest, FAST).0 | w.peer(2, Manner::Honest, FAST).0);
    let c = w.content(11, 4 << 20);
    w.swarm.handle_limit(Some(1 << 20));
    w.fetch(1, c, from, 0);
    w.run(60 * SECOND);
    assert!(w.is_whole(1, c) && (3800 * MS..4400 * MS).contains(&w.now), "{} ms", w.now / MS);
    w.swarm.handle_limit(None);
    let begun = w.now;
    w.fetch(2, c, from, 0);
    w.run(60 * SECOND);
    assert!(w.is_whole(2, c) && w.now - begun < SECOND);
}

#[test]
fn what_comes_of_a_tree_counts_under_the_limit_too() {
    let mut w = World::new();
    let mut paid = |fact: &dyn Fn(&mut World)| {
        w.swarm.handle_limit(Some(100_000));
        fact(&mut w);
        w.swarm.limit.free(Instant(0)).0
    };
    assert_eq!(paid(&|w| w.swarm.handle_node(Instant(0), Slot(1), 7, &[0; 50_000])), 480 * MS);
    assert_eq!(paid(&|w| w.swarm.handle_short(Instant(0), Slot(1), 7, &[0; 8_000])), 60 * MS);
}

#[test]
fn a_device_that_comes_up_late_is_tried_again_soon() {
    let mut w = World::new();
    let from = w.peer(1, Manner::Away, FAST);
    let c = w.content(10, 5000);
    w.fetch(1, c, from, 0);
    w.run(SECOND / 2);
    w.peers.get_mut(&Slot(1)).unwrap().manner = Manner::Honest;
    w.run(10 * SECOND);
    assert!(w.is_whole(1, c) && w.now < 2 * SECOND, "{} ms", w.now / MS);
    w.tell(Fact::Vanish(Slot(1), Manner::Away));
    w.fetch(2, c, from, 0);
    w.run(10 * SECOND);
    assert_eq!(w.ends[&Ticket(2)], Err(Cause::Unreachable));
    w.now += 5 * SECOND;
    w.peers.get_mut(&Slot(1)).unwrap().manner = Manner::Honest;
    w.fetch(3, c, from, 0);
    w.run(SECOND);
    assert!(w.is_whole(3, c), "a new fetch tries at once");
}

/// Random sources, sizes, faults and moments. With an honest source that stays, everything comes whole; without one,
/// everything ends.
#[test]
fn any_weather() {
    let mut w = World::new();
    let sizes = [1, 3000, 200_000, 262_144, 262_145, 1 << 20, 3 << 20];
    let ids: Vec<ContentId> = sizes.iter().enumerate().map(|(i, n)| w.content(50 + i as u64, *n)).collect();
    let contents = std::mem::take(&mut w.contents);
    let mut contents = Some(contents);
    for seed in 0..150u64 {
        let mut rng = Rng::from_seed(*blake3::hash(&seed.to_le_bytes()).as_bytes());
        let mut below = |n: u64| rng.next_u64() % n;
        let mut w = World::new();
        w.contents = contents.take().expect("handed back each time");
        let (mut from, honest) = (SlotSet(0), below(3) > 0);
        for slot in 0..1 + below(5) as u8 {
            let manner = match below(7) {
                0 => Manner::Lying(1 + below(9) as u32),
                1 => Manner::Silent,
                2 => Manner::Empty,
                3 => Manner::Busy,
                4 => Manner::Away,
                _ => Manner::Honest,
            };
            from.0 |= w.peer(slot, manner, 1 << (14 + below(14))).0;
            if below(3) == 0 {
                let then = if below(2) == 0 { Manner::Away } else { Manner::Honest };
                w.later(below(2 * SECOND), Fact::Vanish(Slot(slot), then));
            }
        }
        if honest {
            from.0 |= w.peer(40, Manner::Honest, 1 << 20).0;
        }
        let jobs: Vec<usize> = (0..1 + below(30)).map(|_| below(sizes.len() as u64) as usize).collect();
        let jobs: Vec<usize> = jobs
            .into_iter()
            .scan(0, |large, j| {
                *large += usize::from(j > 3);
                Some(if j > 3 && *large > LARGES { j % 4 } else { j })
            })
            .collect();
        jobs.iter().enumerate().for_each(|(t, j)| w.fetch(t as u32, ids[*j], from, 0));
        w.run(3600 * SECOND);
        for (t, j) in jobs.iter().enumerate() {
            let end = w.ends.get(&Ticket(t as u32));
            assert!(end.is_some(), "seed {seed}: fetch {t} never ends");
            assert!(!honest || w.is_whole(t as u32, ids[*j]), "seed {seed}: fetch {t} is {end:?}");
        }
        contents = Some(std::mem::take(&mut w.contents));
    }
}
