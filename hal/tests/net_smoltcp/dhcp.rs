//! Addresses lent by a server in memory: lent, renewed, refused, changed, lost.

use crate::frames::{EVERYBODY, arp_answer, datagram, udp};
use crate::wire::{Node, Plug, Wire, config, mac, node};
use dartsync_hal::clock::Clock;
use dartsync_hal::net::{Addr, Event, Net};
use dartsync_hal::net_smoltcp::{Address, Config, Notice, Place};
use smoltcp::wire::*;
use std::cell::RefCell;
use std::rc::Rc;

const SERVER: [u8; 4] = [10, 1, 1, 254];

/// A server that lends one address.
struct Server {
    plug: Plug,
    lends: [u8; 4],
    router: [u8; 4],
    seconds: u32,
    refuses: bool,
    silent: bool,
    renewals: u32,
}

impl Server {
    fn new(wire: &Wire) -> Server {
        let (lends, router) = ([10, 1, 1, 77], SERVER);
        Server { plug: wire.plug(), lends, router, seconds: 100, refuses: false, silent: false, renewals: 0 }
    }
    fn step(&mut self) {
        while let Some(frame) = self.plug.take() {
            if let Some(answer) = arp_answer(&frame, SERVER, mac(254)) {
                self.plug.send(&answer);
            }
            if let Some(d) = datagram(&frame).filter(|d| d.ports == (68, 67) && !self.silent) {
                self.answer(&d.payload);
            }
        }
    }
    fn answer(&mut self, payload: &[u8]) {
        let packet = DhcpPacket::new_checked(payload).unwrap();
        let asked = DhcpRepr::parse(&packet).unwrap();
        let renews = asked.client_ip != Ipv4Address::UNSPECIFIED;
        self.renewals += u32::from(renews);
        let right = !renews || asked.client_ip.octets() == self.lends;
        let message_type = match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            _ if self.refuses || !right => DhcpMessageType::Nak,
            _ => DhcpMessageType::Ack,
        };
        self.refuses &= message_type != DhcpMessageType::Nak;
        let answer = DhcpRepr {
            message_type,
            your_ip: self.lends.into(),
            server_identifier: Some(SERVER.into()),
            router: Some(self.router.into()),
            subnet_mask: Some([255, 255, 255, 0].into()),
            lease_duration: Some(self.seconds),
            client_identifier: None,
            parameter_request_list: None,
            requested_ip: None,
            max_size: None,
            ..asked
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).unwrap();
        self.plug.send(&udp(mac(254), EVERYBODY, (SERVER, [255; 4]), (67, 68), &bytes));
    }
}

struct World {
    wire: Wire,
    server: Server,
    net: Node,
    notices: Rc<RefCell<Vec<Notice>>>,
}

fn world() -> World {
    let wire = Wire::new(7);
    let server = Server::new(&wire);
    let mut net = node::<8>(&wire, Config { address: Address::Dhcp, ..config(1) });
    let notices = net.host().notices.clone();
    World { wire, server, net, notices }
}

impl World {
    /// Lets so many seconds pass; gives what was told meanwhile.
    fn pass(&mut self, seconds: f64) -> Vec<Notice> {
        let end = self.wire.now_us() + (seconds * 1e6) as u64;
        while self.wire.now_us() < end {
            let soon = (self.wire.now_us() + 20_000).min(end);
            self.net.wait(soon).unwrap();
            while self.net.next_event().is_some() {}
            self.server.step();
        }
        self.notices.take()
    }
}

fn place(ip: [u8; 4]) -> Place {
    Place { ip, prefix: 24, gateway: Some(SERVER) }
}

#[test]
fn an_address_is_lent_and_renewed() {
    let mut w = world();
    let lent = Notice::Address(place([10, 1, 1, 77]));
    assert_eq!(w.pass(1.0), [Notice::Up, lent]);
    assert_eq!(w.net.listening(), Some(Addr::V4([10, 1, 1, 77], 7420)));
    assert_eq!(w.pass(1000.0), []);
    assert!((15..40).contains(&w.server.renewals), "renewed {} times", w.server.renewals);
}

#[test]
fn links_live_through_renewals_and_not_through_a_change() {
    let mut w = world();
    w.pass(1.0);
    let mut peer = node::<4>(&w.wire, config(5));
    peer.poll(w.wire.now_us());
    let key = peer.dial(Addr::V4([10, 1, 1, 77], 7420)).unwrap();
    let mut seen = vec![];
    let mut both = |w: &mut World, seconds: u64| {
        for _ in 0..seconds * 20 {
            peer.wait(w.wire.now_us() + 10).unwrap();
            seen.extend(std::iter::from_fn(|| peer.next_event()));
            w.pass(0.05);
        }
        std::mem::take(&mut seen)
    };
    assert_eq!(both(&mut w, 2), [Event::Connected(key)]);
    assert_eq!(both(&mut w, 200), []);
    assert_eq!(w.net.count(), 1);
    w.server.lends = [10, 1, 1, 78];
    assert!(both(&mut w, 120).contains(&Event::Readable(key)), "the old address's links break");
    assert_eq!(w.net.place(), Some(place([10, 1, 1, 78])));
}

#[test]
fn a_refusal_ends_the_old_address() {
    let mut w = world();
    w.pass(1.0);
    w.server.lends = [10, 1, 1, 78];
    let told = w.pass(60.0);
    assert_eq!(told, [Notice::NoAddress, Notice::Address(place([10, 1, 1, 78]))]);
    w.server.refuses = true;
    assert_eq!(w.pass(60.0).last(), Some(&Notice::Address(place([10, 1, 1, 78]))));
}

#[test]
fn a_server_that_is_gone_is_waited_for() {
    let mut w = world();
    w.server.silent = true;
    assert_eq!(w.pass(30.0), [Notice::Up]);
    w.server.silent = false;
    assert_eq!(w.pass(4.0).len(), 1);
    w.server.silent = true;
    assert_eq!(w.pass(95.0), []);
    assert_eq!(w.pass(10.0), [Notice::NoAddress]);
    assert_eq!((w.net.place(), w.net.listening()), (None, Some(Addr::V4([0; 4], 7420))));
    w.server.silent = false;
    assert_eq!(w.pass(4.0), [Notice::Address(place([10, 1, 1, 77]))]);
}

#[test]
fn a_pulled_cable_asks_again() {
    let mut w = world();
    w.pass(1.0);
    let carrier = w.net.host().carrier.clone();
    let replug = |w: &mut World| {
        carrier.set(false);
        assert_eq!(w.pass(0.5), [Notice::Down]);
        carrier.set(true);
    };
    let same = Notice::Address(place([10, 1, 1, 77]));
    replug(&mut w);
    assert_eq!(w.pass(20.0), [Notice::Up, same], "the same network");
    replug(&mut w);
    w.server.lends = [10, 1, 1, 79];
    assert_eq!(w.pass(20.0), [Notice::Up, same, Notice::Address(place([10, 1, 1, 79]))], "another one");
    replug(&mut w);
    w.server.silent = true;
    assert_eq!(w.pass(20.0).last(), Some(&Notice::NoAddress), "none");
}

#[test]
fn nonsense_from_a_server_is_not_believed() {
    for router in [[0; 4], [255; 4], [224, 0, 0, 1], [10, 1, 1, 255], [10, 1, 1, 77], [10, 2, 2, 1]] {
        let mut w = world();
        w.server.router = router;
        w.pass(2.0);
        assert_eq!(w.net.place().map(|p| p.gateway), Some(None), "{router:?}");
        let _ = w.net.dial(Addr::V4([8, 8, 8, 8], 53));
        w.pass(5.0);
    }
    for ip in [[10, 1, 1, 255], [10, 1, 1, 0], [224, 0, 0, 9]] {
        let mut w = world();
        w.server.lends = ip;
        w.pass(2.0);
        assert_eq!(w.net.place(), None, "{ip:?}");
    }
}
