//! Uploads under a limit: bytes are counted, and held against the time that has passed at least.

use super::*;

const RATE: u64 = 100_000;
/// So much more may have gone: what one may be ahead, a turn, and handshakes.
const SLACK: u64 = 40_000;

fn received(node: &Node) -> u64 {
    node.fetcher.traffic().1
}
fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "it comes to this");
        std::thread::sleep(Duration::from_millis(1));
    }
}
/// A device under the limit has not sent more than that in the time since `start`.
fn keeps_to_it(node: &Node, start: Instant) {
    let sent = node.fetcher.traffic().0;
    let most = start.elapsed().as_micros() as u64 * RATE / 1_000_000 + SLACK;
    assert!(sent <= most, "{sent} of {most}");
}

#[test]
fn all_who_ask_under_a_low_limit_get_a_part_at_a_time() {
    let [a, others @ ..]: [Node; 8] = Node::home(true);
    let data = bytes(21, 250_000);
    let id = a.holds("f", &data);
    let start = Instant::now();
    a.fetcher.limit(Some(RATE), None);
    for (i, node) in others.iter().enumerate() {
        node.fetch(i as u32, id, data.len(), &[&a]);
    }
    wait_until(|| others.iter().all(|node| received(node) > 16_000));
    keeps_to_it(&a, start);
    let most = others.iter().map(received).max().unwrap();
    assert!(most < 200_000, "{most} before another had 16,000");
    // Without the limit the rest comes at once, from where each was.
    a.fetcher.limit(None, None);
    for (i, node) in others.iter().enumerate() {
        node.ready();
        assert!(node.got(i as u32) == data);
    }
}

#[test]
fn a_limit_is_kept_over_new_links() {
    let [a, b] = Node::home(true);
    let id = a.holds("f", &bytes(22, 250_000));
    let start = Instant::now();
    a.fetcher.limit(Some(RATE), None);
    let book = b.book.read().unwrap().clone();
    for n in 0..8 {
        let before = received(&b);
        b.fetch(n, id, 250_000, &[&a]);
        wait_until(|| received(&b) > before + 5_000);
        // Its link ends, and a new one comes.
        *b.book.write().unwrap() = Book { devices: Vec::new(), ..book.clone() };
        b.fetcher.book_changed();
        b.fetcher.cancel(Ticket(n));
        b.end(&mut Vec::new());
        *b.book.write().unwrap() = book.clone();
        b.fetcher.book_changed();
    }
    keeps_to_it(&a, start);
    assert!(received(&b) > 40_000);
}
