//! The suite for [`NetStd`], and what it offers beyond the trait.

use dartsync_hal::clock::Clock;
use dartsync_hal::conformance::{self, Rig};
use dartsync_hal::net::{Addr, Event, LinkKey, Net, NetError};
use dartsync_hal::net_std::NetStd;
use dartsync_hal::std_impl::{StdClock, StdStorage, write_durably};
use dartsync_hal::storage::{Item, Storage};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn server(links: usize) -> (NetStd, SocketAddr) {
    let net = NetStd::new(Some(loopback()), links).unwrap();
    let at = net.listening().unwrap().into();
    (net, at)
}

/// Waits for the next event.
fn next(net: &mut NetStd) -> Event {
    let end = StdClock.now_us() + 5_000_000;
    loop {
        if let Some(e) = net.next_event() {
            return e;
        }
        net.wait(end).unwrap();
        assert!(StdClock.now_us() < end, "nothing happens");
    }
}

fn accepted(net: &mut NetStd) -> LinkKey {
    match next(net) {
        Event::Accepted(key, _) => key,
        e => panic!("{e:?}"),
    }
}

#[test]
fn passes_the_suite() {
    conformance::run(|| {
        let (server, at) = server(30);
        let nowhere = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
        Rig {
            server,
            client: NetStd::new(None, 30).unwrap(),
            clock: StdClock,
            address: at.into(),
            nowhere: nowhere.into(),
        }
    });
}

#[test]
fn other_threads_wake_it_once_for_many_wakes() {
    let mut net = NetStd::new(None, 1).unwrap();
    let waker = net.waker();
    let other = std::thread::spawn(move || (0..100).for_each(|_| waker.wake()));
    assert_eq!(next(&mut net), Event::Woken);
    other.join().unwrap();
    net.wait(0).unwrap();
    while let Some(e) = net.next_event() {
        assert_eq!(e, Event::Woken);
    }
    net.wait(0).unwrap();
    assert_eq!(net.next_event(), None);
}

#[test]
fn links_beyond_the_cap_wait_until_one_is_closed() {
    let (mut net, at) = server(2);
    let mut streams: Vec<_> = (0..4).map(|_| TcpStream::connect(at).unwrap()).collect();
    let (a, b) = (accepted(&mut net), accepted(&mut net));
    for _ in 0..3 {
        net.wait(StdClock.now_us() + 2000).unwrap();
        assert_eq!(net.next_event(), None);
    }
    assert_eq!((net.dial(at.into()), net.count()), (Err(NetError::Full), 2));
    net.close(a);
    let c = accepted(&mut net);
    assert!(c != a && c != b);
    streams[2].write_all(b"x").unwrap();
    assert_eq!(next(&mut net), Event::Readable(c));
}

#[test]
fn a_link_is_taken_out_and_descriptors_are_watched() {
    let (mut net, at) = server(2);
    let mut there = TcpStream::connect(at).unwrap();
    let key = accepted(&mut net);
    let mut here = net.take(key).unwrap();
    assert!(net.link(key).is_none() && net.take(key).is_none() && net.count() == 0);
    let reader = std::thread::spawn(move || {
        let mut buf = [0; 5];
        here.read_exact(&mut buf).map(|()| buf)
    });
    there.write_all(b"hello").unwrap();
    assert_eq!(&reader.join().unwrap().unwrap(), b"hello");
    let (mut tx, mut rx) = std::os::unix::net::UnixStream::pair().unwrap();
    net.watch(rx.as_fd(), 9).unwrap();
    tx.write_all(b"y").unwrap();
    assert_eq!((next(&mut net), next(&mut net)), (Event::Ready(9), Event::Ready(9)));
    rx.read_exact(&mut [0]).unwrap();
    net.wait(0).unwrap();
    assert_eq!(net.next_event(), None);
    net.unwatch(rx.as_fd()).unwrap();
}

#[test]
fn addresses_read_well() {
    let mapped: SocketAddr = "[::ffff:10.0.0.7]:5".parse().unwrap();
    assert_eq!(Addr::from(mapped), Addr::V4([10, 0, 0, 7], 5));
    let v6: SocketAddr = "[fd00::1]:7420".parse().unwrap();
    assert_eq!(Addr::from(v6).to_string(), "[fd00::1]:7420");
}

#[test]
fn storage_is_private_and_whole() {
    let dir = std::env::temp_dir().join(format!("dartsync-storage-{}", std::process::id()));
    let mut s = StdStorage::new(&dir.join("state")).unwrap();
    let mut buf = [0; 40];
    assert_eq!(s.load(Item::Identity, &mut buf).unwrap(), None);
    s.save(Item::Identity, &[5; 32]).unwrap();
    s.save(Item::Roster, &[6; 40]).unwrap();
    s.save(Item::Identity, &[7; 32]).unwrap();
    assert_eq!(s.load(Item::Identity, &mut buf).unwrap(), Some(32));
    assert_eq!(&buf[..33], [&[7; 32][..], &[0]].concat());
    assert_eq!(s.load(Item::Roster, &mut buf).unwrap(), Some(40));
    let e = s.load(Item::Roster, &mut buf[..39]).unwrap_err().to_string();
    assert!(e.contains("roster"), "{e}");
    let mode = |p: &str| std::fs::metadata(dir.join(p)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/identity"), mode("state/roster")), (0o700, 0o600, 0o600));
    assert_eq!(std::fs::read_dir(dir.join("state")).unwrap().count(), 2);
    assert!(write_durably(&dir.join("absent/file"), b"x").is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}
