//! Who looks for the service finds it.

use crate::frames::{datagram, packet, udp};
use crate::wire::{Node, Plug, Wire, config, mac, node};
use dartsync_hal::clock::Clock;
use dartsync_hal::net::Net;
use dartsync_hal::net_smoltcp::{Config, Service};
use smoltcp::wire::IpProtocol;

const GROUP: [u8; 4] = [224, 0, 0, 251];
const GROUP_MAC: [u8; 6] = [1, 0, 0x5e, 0, 0, 251];
const ASKER: [u8; 4] = [10, 1, 1, 9];
const SERVICE: Service<'static> = Service { kind: "_dartsync", instance: "höme", txt: &["v=1"] };

fn name(labels: &[&str]) -> Vec<u8> {
    let labels = labels.iter().flat_map(|l| std::iter::once(l.len() as u8).chain(l.bytes()));
    labels.chain([0]).collect()
}

fn query(labels: &[&str], kind: u16, class: u16) -> Vec<u8> {
    let head = [0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], &name(labels), &kind.to_be_bytes(), &class.to_be_bytes()].concat()
}

struct World {
    wire: Wire,
    net: Node,
    plug: Plug,
}

fn world() -> World {
    let wire = Wire::new(3);
    let plug = wire.plug();
    let net = node::<6>(&wire, Config { service: Some(SERVICE), ..config(1) });
    World { wire, net, plug }
}

impl World {
    /// Lets so many milliseconds pass; gives the frames that came.
    fn pass(&mut self, ms: u64) -> Vec<Vec<u8>> {
        self.net.wait(self.wire.now_us() + ms * 1000).unwrap();
        self.wire.advance(100);
        std::iter::from_fn(|| self.plug.take()).collect()
    }
    /// Asks from there; gives the answers.
    fn ask(&mut self, from: ([u8; 4], u16), query: &[u8]) -> Vec<Vec<u8>> {
        self.plug.send(&udp(mac(9), GROUP_MAC, (from.0, GROUP), (from.1, 5353), query));
        let answers = self.pass(5).into_iter().filter_map(|f| datagram(&f));
        answers.filter(|d| d.ports.0 == 5353 && d.hops == 255 && d.to == GROUP).map(|d| d.payload).collect()
    }
}

fn contains(packet: &[u8], part: &[u8]) -> bool {
    packet.windows(part.len()).any(|w| w == part)
}

#[test]
fn it_is_announced_and_its_group_joined() {
    let mut w = world();
    let frames = w.pass(5000);
    let joined = |f: &Vec<u8>| packet(f).is_some_and(|p| (p.0, p.1) == (IpProtocol::Igmp, GROUP));
    assert_eq!(frames.iter().filter(|f| joined(f)).count(), 1);
    let told: Vec<_> = frames.iter().filter_map(|f| datagram(f)).filter(|d| d.to == GROUP).collect();
    assert_eq!(told.len(), 3);
    for d in &told {
        assert!((d.ports, d.hops) == ((5353, 5353), 255) && d.payload[2] == 0x84);
        assert!(contains(&d.payload, &name(&["höme aabb01", "_dartsync", "_tcp", "local"])));
        assert!(contains(&d.payload, &[10, 1, 1, 1]) && contains(&d.payload, b"\x03v=1"));
        assert!(contains(&d.payload, &7420u16.to_be_bytes()));
    }
    // The cable was out: whoever hears it now has perhaps never heard it.
    w.net.host().carrier.set(false);
    w.pass(1000);
    w.net.host().carrier.set(true);
    let again = w.pass(5000);
    assert!(again.iter().any(joined) && again.iter().filter_map(|f| datagram(f)).count() == 3);
}

#[test]
fn questions_are_answered() {
    let mut w = world();
    w.pass(5000);
    let instance = ["HÖME AABB01".replace('Ö', "ö"), "_dartsync".into(), "_tcp".into(), "local".into()];
    let instance: Vec<&str> = instance.iter().map(|s| &**s).collect();
    let host = ["dartsync-aabb01", "local"];
    for (labels, kind) in [
        (&["_dartsync", "_tcp", "local"][..], 12),
        (&["_services", "_dns-sd", "_udp", "local"][..], 12),
        (&instance[..], 33),
        (&instance[..], 16),
        (&host[..], 1),
    ] {
        let answers = w.ask((ASKER, 5353), &query(labels, kind, 1));
        assert_eq!(answers.len(), 1, "{labels:?} {kind}");
        assert_eq!(answers[0][6..8], [0, 1], "one answer to {labels:?}, and what else may be wanted");
        assert!(w.ask((ASKER, 5353), &query(labels, kind, 1)).is_empty(), "once a second");
        w.pass(1100);
    }
    let silent: [(&[&str], u16); 4] = [
        (&["_http", "_tcp", "local"], 12),
        (&["_dartsync", "_tcp", "local"], 1),
        (&["other", "local"], 1),
        (&["dartsync-aabb01", "local"], 28),
    ];
    silent.iter().for_each(|(l, k)| assert!(w.ask((ASKER, 5353), &query(l, *k, 1)).is_empty(), "{l:?}"));
    let ours = query(&["_dartsync", "_tcp", "local"], 12, 1);
    assert!(w.ask(([10, 9, 9, 9], 5353), &ours).is_empty(), "no neighbour");
    // Who knows it already is not told again: the answer stands behind the question, its name as a pointer.
    let mut known = ours.clone();
    known[7] = 1;
    let target = name(&["höme aabb01", "_dartsync", "_tcp", "local"]);
    known.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 17, 148, 0, target.len() as u8]);
    known.extend(&target);
    assert!(w.ask((ASKER, 5353), &known).is_empty());
    assert_eq!(w.ask((ASKER, 5353), &ours).len(), 1);
}

#[test]
fn damaged_questions_end_nothing() {
    let mut w = world();
    w.pass(5000);
    let whole = query(&["_dartsync", "_tcp", "local"], 12, 1);
    for _ in 0..3000 {
        let mut bad = whole.clone();
        for _ in 0..1 + w.wire.random(4) {
            let i = w.wire.random(bad.len() as u64) as usize;
            bad[i] = [0, 0xc0, 0xff, w.wire.random(256) as u8][w.wire.random(4) as usize];
        }
        bad.truncate(w.wire.random(bad.len() as u64 + 1) as usize);
        w.ask((ASKER, 5353), &bad);
    }
    w.pass(2000);
    assert_eq!(w.ask((ASKER, 5353), &whole).len(), 1);
}
