//! Seekers of one content, who get it from each other.

use super::*;
use dartsync_hal::os::{drop_lease, take_read_lease};
use std::os::fd::AsFd;

/// What these fetch, each knowing that the others do, too.
fn fetch_together(seekers: &[&Node], holder: &Node, content: ContentId, size: usize) {
    for (i, node) in seekers.iter().enumerate() {
        node.fetch(i as u32, content, size, &[holder]);
        let mut others = SlotSet(0);
        seekers.iter().filter(|n| n.known.slot != node.known.slot).for_each(|n| others.add(n.known.slot));
        node.fetcher.sources(Ticket(i as u32), SlotSet::one(holder.known.slot), others);
    }
}

#[test]
fn seekers_serve_each_other_and_those_who_come_later() {
    let [a, b, c, d, e] = Node::home(true);
    let data = bytes(11, 48 << 20);
    let content = a.holds("f", &data);
    let seekers = [&b, &c, &d];
    fetch_together(&seekers, &a, content, data.len());
    for (i, node) in seekers.iter().enumerate() {
        let (_, leaves) = node.ready();
        assert!(node.got(i as u32) == data);
        assert_eq!(leaves, leaves_of(&a.path("f")));
    }
    let copies = a.fetcher.traffic().0 as f64 / data.len() as f64;
    std::println!("the holder sent {copies:.2} copies to 3");
    assert!(copies < 2.0, "{copies} copies to 3");

    // Nobody has it open for writing any more: its next version may take its place.
    let arrived = std::fs::File::open(b.path("0.part")).unwrap();
    crate::disk::init().unwrap();
    take_read_lease(arrived.as_fd()).unwrap();
    drop_lease(arrived.as_fd()).unwrap();
    // What has arrived is served though the shelf does not know it yet; and not if somebody wrote to it since.
    assert!(b.shelf.open(&content).is_none());
    e.fetch(7, content, data.len(), &[&b]);
    e.ready();
    assert!(e.got(7) == data);
    b.part("0.part").write_all_at(b"a user's", 20 << 20).unwrap();
    let before = e.part("8.part");
    e.fetch(8, content, data.len(), &[&b, &c]);
    let mut others = Vec::new();
    assert_eq!(e.end(&mut others).1, Outcome::Ready);
    assert!(e.got(8) == data && before.metadata().unwrap().len() == data.len() as u64);
    assert!(others.is_empty(), "nobody sent what is wrong: {others:?}");
}

#[test]
fn an_upload_keeps_to_its_limit() {
    let [a, b, c] = Node::home(true);
    let data = bytes(13, 1 << 20);
    let content = a.holds("f", &data);
    a.fetcher.limit(Some(1 << 20), None);
    let start = Instant::now();
    b.fetch(0, content, data.len(), &[&a]);
    c.fetch(0, content, data.len(), &[&a]);
    b.ready();
    c.ready();
    assert!(start.elapsed() > Duration::from_millis(1500), "two copies of what goes in a second");
    assert!(b.got(0) == data && c.got(0) == data);
}

#[test]
fn a_seeker_that_goes_is_not_missed() {
    let [a, b, c] = Node::home(true);
    let data = bytes(12, 32 << 20);
    let content = a.holds("f", &data);
    fetch_together(&[&b, &c], &a, content, data.len());
    while c.fetcher.traffic().1 < 4 << 20 {
        std::thread::yield_now();
    }
    drop(c);
    b.ready();
    assert!(b.got(0) == data);
}
