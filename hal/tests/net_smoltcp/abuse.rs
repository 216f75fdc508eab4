//! Many links, and strangers who mean harm.

use crate::frames::{self, packet, tcp};
use crate::wire::{Node, Wire, config, mac, node};
use dartsync_hal::clock::Clock;
use dartsync_hal::net::{Addr, Event, LinkKey, Net};
use dartsync_hal::net_smoltcp::{Config, OTHERS};
use embedded_io::{Read, Write};
use smoltcp::wire::{IpProtocol, TcpControl};

const SERVER: Addr = Addr::V4([10, 1, 1, 1], 7420);

/// Lets time pass for all; gives the events of each.
fn pass(wire: &Wire, nodes: &mut [&mut Node], ms: u64) -> Vec<Vec<Event>> {
    let mut seen = vec![vec![]; nodes.len()];
    let end = wire.now_us() + ms * 1000;
    while wire.now_us() < end {
        for (net, seen) in nodes.iter_mut().zip(&mut seen) {
            net.wait(wire.now_us() + 100).unwrap();
            while let Some(event) = net.next_event() {
                if !seen.contains(&event) {
                    seen.push(event);
                }
            }
        }
    }
    seen
}

fn accepted(events: &[Event]) -> Vec<LinkKey> {
    events.iter().filter_map(|e| if let Event::Accepted(key, _) = e { Some(*key) } else { None }).collect()
}

fn connected(events: &[Event]) -> usize {
    events.iter().filter(|e| matches!(e, Event::Connected(_))).count()
}

/// Whether bytes still pass from one end to the other.
fn alive(wire: &Wire, server: &mut Node, client: &mut Node, link: (LinkKey, LinkKey)) -> bool {
    let sent = client.link(link.1).is_some_and(|mut l| l.write(b"ping") == Ok(4));
    pass(wire, &mut [server, client], 5);
    let mut buf = [0; 8];
    sent && server.link(link.0).is_some_and(|mut l| l.read(&mut buf) == Ok(4))
}

/// A thread with room for memory of that many sockets while it is made.
fn with_room(test: fn()) {
    std::thread::Builder::new().stack_size(32 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn a_burst_of_callers_is_answered_at_once_and_64_links_are_held_with_churn() {
    with_room(|| {
        let wire = Wire::new(5);
        let mut server = node::<{ 84 + OTHERS }>(&wire, Config { second: Some((80, 4)), ..config(1) });
        let mut client = node::<{ 80 + OTHERS }>(&wire, config(2));
        pass(&wire, &mut [&mut server, &mut client], 1);
        let dialled: Vec<_> = (0..79).map(|_| client.dial(SERVER).unwrap()).collect();
        let seen = pass(&wire, &mut [&mut server, &mut client], 10);
        assert_eq!((accepted(&seen[0]).len(), connected(&seen[1])), (79, 79));
        dialled[64..].iter().for_each(|key| client.close(*key));
        pass(&wire, &mut [&mut server, &mut client], 10);
        // The second port has sockets of its own.
        let keys = accepted(&seen[0]);
        assert!(keys.iter().all(|k| server.local(*k).is_none_or(|a| a.port() == 7420)));
        let mut held: Vec<_> = dialled[..64].to_vec();
        for round in 0..200 {
            let i = wire.random(64) as usize;
            client.close(held[i]);
            let seen = pass(&wire, &mut [&mut server, &mut client], 2);
            for event in &seen[0] {
                if let Event::Readable(key) = event
                    && server.link(*key).is_some_and(|mut l| l.read(&mut [0; 9]) == Ok(0))
                {
                    server.close(*key);
                }
            }
            held[i] = client.dial(SERVER).expect("a free socket");
            let seen = pass(&wire, &mut [&mut server, &mut client], 3);
            assert_eq!((accepted(&seen[0]).len(), connected(&seen[1])), (1, 1), "round {round}");
        }
        // Ten minutes in which nobody says anything break none of them.
        pass(&wire, &mut [&mut server], 1);
        let end = wire.now_us() + 600_000_000;
        while wire.now_us() < end {
            server.wait(wire.now_us() + 50_000).unwrap();
            while server.next_event().is_some() {}
            client.wait(wire.now_us() + 10).unwrap();
            while client.next_event().is_some() {}
        }
        assert_eq!(client.count(), 64);
    });
}

#[test]
fn each_port_has_its_own_sockets() {
    let wire = Wire::new(5);
    let mut server = node::<{ 6 + OTHERS }>(&wire, Config { second: Some((80, 2)), ..config(1) });
    let mut client = node::<16>(&wire, config(2));
    pass(&wire, &mut [&mut server, &mut client], 1);
    for (port, taken) in [(80, 2), (7420, 4)] {
        let mut keys = vec![];
        for _ in 0..6 {
            client.dial(Addr::V4([10, 1, 1, 1], port)).unwrap();
            keys.extend(accepted(&pass(&wire, &mut [&mut server, &mut client], 50)[0]));
        }
        assert_eq!(keys.len(), taken, "at {port}");
        assert!(keys.iter().all(|k| server.local(*k).unwrap().port() == port));
    }
}

#[test]
fn a_flood_of_first_segments_starves_neither_links_nor_callers() {
    let wire = Wire::new(9);
    let mut server = node::<{ 12 + OTHERS }>(&wire, config(1));
    let mut client = node::<8>(&wire, config(2));
    let stranger = wire.plug();
    pass(&wire, &mut [&mut server, &mut client], 1);
    let old = client.dial(SERVER).unwrap();
    let link = (accepted(&pass(&wire, &mut [&mut server, &mut client], 10)[0])[0], old);
    let mut made = 0;
    for round in 0..200u32 {
        // 4,000 a second, from everywhere.
        for _ in 0..20 {
            let from = [10, 1, 1, 10 + wire.random(200) as u8];
            let port = 1024 + wire.random(60_000) as u16;
            stranger.send(&tcp(
                (from, [10, 1, 1, 1]),
                port,
                TcpControl::Syn,
                (wire.random(1 << 30) as i32, None),
            ));
        }
        let fresh = (round % 20 == 0).then(|| client.dial(SERVER).unwrap());
        let seen = pass(&wire, &mut [&mut server, &mut client], 5);
        made += connected(&seen[1]);
        accepted(&seen[0]).iter().for_each(|k| server.close(*k));
        if let Some(key) = fresh {
            client.close(key);
        }
        while stranger.take().is_some() {}
    }
    assert!(made >= 8, "{made} of 10 callers came through");
    assert!(alive(&wire, &mut server, &mut client, link));
    // When it is over, nothing of it is left.
    pass(&wire, &mut [&mut server, &mut client], 6500);
    assert_eq!(server.count(), 1);
    (0..4).for_each(|_| assert!(client.dial(SERVER).is_ok()));
    assert_eq!(accepted(&pass(&wire, &mut [&mut server, &mut client], 50)[0]).len(), 4);
}

#[test]
fn blind_resets_and_repeated_first_segments_break_no_link() {
    let wire = Wire::new(11);
    let mut server = node::<{ 6 + OTHERS }>(&wire, config(1));
    let mut client = node::<4>(&wire, config(2));
    let stranger = wire.plug();
    pass(&wire, &mut [&mut server, &mut client], 1);
    let key = client.dial(SERVER).unwrap();
    let link = (accepted(&pass(&wire, &mut [&mut server, &mut client], 10)[0])[0], key);
    let Some(Addr::V4(ip, port)) = client.local(key) else { panic!("it stands") };
    for i in 0..500 {
        let n = wire.random(1 << 31) as i32;
        let control = if i % 2 == 0 { TcpControl::Rst } else { TcpControl::Syn };
        stranger.send(&tcp((ip, [10, 1, 1, 1]), port, control, (n, (i % 4 == 0).then_some(n))));
        pass(&wire, &mut [&mut server, &mut client], 1);
    }
    assert!(alive(&wire, &mut server, &mut client, link));
}

#[test]
fn who_has_gone_is_noticed() {
    let wire = Wire::new(13);
    let mut server = node::<{ 6 + OTHERS }>(&wire, config(1));
    let mut client = node::<4>(&wire, config(2));
    pass(&wire, &mut [&mut server, &mut client], 1);
    client.dial(SERVER).unwrap();
    let key = accepted(&pass(&wire, &mut [&mut server, &mut client], 10)[0])[0];
    let began = wire.now_us();
    while server.count() == 1 && wire.now_us() < began + 60_000_000 {
        server.wait(wire.now_us() + 1_000_000).unwrap();
        while let Some(event) = server.next_event() {
            assert_eq!(event, Event::Readable(key));
            server.close(key);
        }
    }
    let took = (wire.now_us() - began) / 1_000_000;
    assert!((35..=45).contains(&took), "after {took} s");
}

#[test]
fn it_sleeps_when_there_is_nothing_to_do() {
    let wire = Wire::new(15);
    let mut server = node::<{ 6 + OTHERS }>(&wire, config(1));
    let mut client = node::<4>(&wire, config(2));
    pass(&wire, &mut [&mut server, &mut client], 1);
    client.dial(SERVER).unwrap();
    pass(&wire, &mut [&mut server, &mut client], 10);
    let naps = server.host().naps.clone();
    let before = naps.get();
    server.wait(wire.now_us() + 9_000_000).unwrap();
    assert!(naps.get() - before < 20, "{} naps in 9 s", naps.get() - before);
    // A device that takes nothing is not asked without pause.
    server.device().stuck.set(true);
    let key = LinkKey(1 << 16);
    assert!(server.link(key).is_some_and(|mut l| l.write(b"x") == Ok(1)));
    let before = naps.get();
    server.wait(wire.now_us() + 100_000).unwrap();
    assert!(naps.get() - before < 400, "{} naps in 0.1 s", naps.get() - before);
}

#[test]
fn ping_is_answered() {
    let wire = Wire::new(17);
    let mut server = node::<4>(&wire, config(1));
    let plug = wire.plug();
    let echo = [8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1];
    plug.send(&frames::ip(mac(9), mac(1), ([10, 1, 1, 9], [10, 1, 1, 1]), IpProtocol::Icmp, &echo));
    let mut answers = 0;
    for _ in 0..20 {
        server.wait(wire.now_us() + 100).unwrap();
        while let Some(frame) = plug.take() {
            if let Some(arp) = frames::arp_answer(&frame, [10, 1, 1, 9], mac(9)) {
                plug.send(&arp);
                plug.send(&frames::ip(
                    mac(9),
                    mac(1),
                    ([10, 1, 1, 9], [10, 1, 1, 1]),
                    IpProtocol::Icmp,
                    &echo,
                ));
            }
            answers += usize::from(packet(&frame).is_some_and(|p| p.0 == IpProtocol::Icmp && p.3[0] == 0));
        }
    }
    assert_eq!(answers, 1);
}

/// Frames that a PRNG made of good ones, at a network with links.
#[test]
fn no_frame_ends_it() {
    let wire = Wire::new(21);
    let config = Config {
        service: Some(dartsync_hal::net_smoltcp::Service { kind: "_x", instance: "y", txt: &[] }),
        ..config(1)
    };
    let mut server = node::<{ 8 + OTHERS }>(&wire, config);
    let mut client = node::<4>(&wire, crate::wire::config(2));
    let (ears, stranger) = (wire.plug(), wire.plug());
    pass(&wire, &mut [&mut server, &mut client], 1);
    let mut good: Vec<Vec<u8>> = vec![];
    let mut link = client.dial(SERVER).unwrap();
    for _ in 0..6000 {
        while let Some(frame) = ears.take() {
            if good.len() < 200 && frame.len() >= 42 {
                good.push(frame);
            }
        }
        while stranger.take().is_some() {}
        for _ in 0..3.min(good.len()) {
            let mut frame = good[wire.random(good.len() as u64) as usize].clone();
            frame[..6].copy_from_slice(&mac(1));
            for _ in 0..wire.random(4) {
                let i = wire.random(frame.len() as u64) as usize;
                frame[i] = wire.random(256) as u8;
            }
            if wire.random(8) == 0 {
                frame.truncate(wire.random(frame.len() as u64) as usize);
            }
            stranger.send(&frame);
        }
        let seen = pass(&wire, &mut [&mut server, &mut client], 1);
        for event in &seen[0] {
            if let Event::Readable(key) = event
                && server.link(*key).is_some_and(|mut l| !matches!(l.read(&mut [0; 99]), Ok(1..)))
            {
                server.close(*key);
            }
        }
        if client.link(link).is_none_or(|mut l| l.write(b"hello").is_err()) {
            client.close(link);
            link = client.dial(SERVER).unwrap_or(link);
        }
    }
    assert!(good.len() > 100);
}
