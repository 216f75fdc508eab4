//! How devices are reached that have several addresses, of which some are somebody else's.

use super::*;

/// A listener that does this with each connection; and how many there were.
fn listener(mut with: impl FnMut(TcpStream) + Send + 'static) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, count) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::Relaxed);
            with(stream.unwrap());
        }
    });
    (addr, count)
}
/// One that takes connections and says nothing.
fn silent() -> (SocketAddr, Arc<AtomicU32>) {
    let mut held = Vec::new();
    listener(move |stream| held.push(stream))
}
/// How many connections came, once there is one.
fn heard(count: &AtomicU32) -> u32 {
    let start = Instant::now();
    while count.load(Ordering::Relaxed) == 0 {
        assert!(start.elapsed() < LONG, "it is tried");
        std::thread::yield_now();
    }
    count.load(Ordering::Relaxed)
}
/// One that is known under these addresses.
fn known_at(node: &Node, of: &Node, addrs: Vec<SocketAddr>) {
    let mut book = node.book.write().unwrap();
    book.devices.iter_mut().find(|k| k.slot == of.known.slot).unwrap().addrs = addrs;
    drop(book);
    node.fetcher.book_changed();
}

#[test]
fn a_device_is_reached_though_others_answer_at_the_addresses_before() {
    let [a, b, c] = Node::home(true);
    let (deaf, deaf_heard) = silent();
    let (closer, closer_heard) = listener(drop);
    let (own, other) = (a.known.addrs[0], c.known.addrs[0]);
    // The dialler itself, as behind address translation; another device; one that hangs up; one that says nothing.
    known_at(&b, &a, vec![b.known.addrs[0], other, closer, deaf, own]);
    let id = a.holds("f", b"behind them all");
    b.fetch(1, id, 15, &[&a]);
    let mut others = Vec::new();
    assert_eq!(b.end(&mut others).1, Outcome::Ready);
    assert_eq!(b.got(1), b"behind them all");
    heard(&closer_heard);
    heard(&deaf_heard);
    others.clear();
    // Where it is at none, the dial ends.
    let [d, e] = Node::home(true);
    known_at(&e, &d, vec![e.known.addrs[0], closer, closer]);
    e.fetch(1, d.holds("f", b"not there"), 9, &[&d]);
    assert_eq!(e.end(&mut others).1, Outcome::Failed(Cause::Unreachable));
    assert!(matches!(others[0], Report::Unreachable(DeviceId(100))));
}

#[test]
fn a_device_that_asks_to_be_dialled_again_and_again_is_dialled_once_at_a_time() {
    let [a, b, hostile] = Node::home(true);
    let (deaf, count) = silent();
    known_at(&b, &hostile, vec![deaf]);
    for _ in 0..500 {
        b.fetcher.connect_back(hostile.known.slot);
    }
    // Others come through meanwhile, in both directions.
    let id = a.holds("f", b"through");
    b.fetch(1, id, 7, &[&a]);
    b.ready();
    assert!(heard(&count) < 10, "{count:?}");
}
