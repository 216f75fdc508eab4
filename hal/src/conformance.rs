//! What every [`Net`] must do, as one suite: [`run`] drives two networks in one thread and panics where one fails.

use crate::clock::Clock;
use crate::net::{Addr, Event, LinkKey, Net, NetError};
use embedded_io::{Read, ReadReady, Write, WriteReady};

/// Two networks to be tried out: the second can dial the first. Both live on one clock.
pub struct Rig<A, B, C> {
    /// Listens; has room for at least 24 links.
    pub server: A,
    /// Dials; has room for at least 24 links.
    pub client: B,
    /// The clock of both.
    pub clock: C,
    /// Where the server is, as the client sees it.
    pub address: Addr,
    /// An address where the client is refused.
    pub nowhere: Addr,
}

/// Runs the whole suite, a fresh rig for each part.
pub fn run<A: Net, B: Net, C: Clock>(mut rig: impl FnMut() -> Rig<A, B, C>) {
    let parts: [(&str, Part<A, B, C>); 10] = [
        ("waiting ends at its deadline", waiting_ends),
        ("echo of every size", echo_of_every_size),
        ("big transfers with back-pressure", big_transfers),
        ("the end of one direction is read", the_end_is_read),
        ("a link that breaks is told", a_break_is_told),
        ("readiness is by level, and can be paused", readiness),
        ("many links, and their numbers", many_links),
        ("a refused dial fails", refused),
        ("what is written before closing arrives", last_words),
        ("closed links are not heard of again", stale_keys),
    ];
    for (name, part) in parts {
        println!("conformance: {name}");
        part(&mut Pair { rig: rig() });
    }
}

/// One promise, tried out.
type Part<A, B, C> = fn(&mut Pair<A, B, C>);

/// How long anything may take before the suite fails.
const PATIENCE_US: u64 = 10_000_000;

struct Pair<A, B, C> {
    rig: Rig<A, B, C>,
}

/// What has happened on both sides since the last look.
type Seen = (Vec<Event>, Vec<Event>);

impl<A: Net, B: Net, C: Clock> Pair<A, B, C> {
    /// Lets both networks work for a moment.
    fn step(&mut self) -> Seen {
        let soon = self.rig.clock.now_us() + 500;
        self.rig.client.wait(soon).expect("waits");
        let client = std::iter::from_fn(|| self.rig.client.next_event()).collect();
        self.rig.server.wait(soon).expect("waits");
        let server = std::iter::from_fn(|| self.rig.server.next_event()).collect();
        (server, client)
    }
    /// Steps until `done` has seen enough.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self, &Seen) -> Option<T>) -> T {
        let end = self.rig.clock.now_us() + PATIENCE_US;
        loop {
            let seen = self.step();
            if let Some(t) = done(self, &seen) {
                return t;
            }
            assert!(self.rig.clock.now_us() < end, "never seen: {what}");
        }
    }
    /// A link that stands at both ends: the server's key and the client's.
    fn connect(&mut self) -> (LinkKey, LinkKey) {
        let dialled = self.rig.client.dial(self.rig.address).expect("dials");
        let (mut accepted, mut connected) = (None, false);
        self.until("accepted and connected", |pair, (server, client)| {
            for e in server {
                if let Event::Accepted(key, _) = e {
                    accepted = Some(*key);
                    assert_eq!(pair.rig.server.local(*key).map(|a| a.port()), Some(pair.rig.address.port()));
                }
            }
            connected |= client.contains(&Event::Connected(dialled));
            accepted.filter(|_| connected)
        });
        (accepted.expect("until has seen it"), dialled)
    }
}

fn pattern(n: usize, salt: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 + i / 251 + salt) as u8).collect()
}

/// Writes as much of `bytes` as is taken.
fn write<N: Net>(net: &mut N, key: LinkKey, bytes: &[u8]) -> usize {
    let mut done = 0;
    let mut link = net.link(key).expect("it is open");
    while done < bytes.len() {
        match link.write(&bytes[done..]) {
            Ok(0) => panic!("writing something to an open link takes something or is not ready"),
            Ok(n) => done += n,
            Err(NetError::NotReady) => break,
            Err(e) => panic!("{e}"),
        }
    }
    done
}

/// Reads all there is; true if that was the end.
fn read<N: Net>(net: &mut N, key: LinkKey, into: &mut Vec<u8>) -> bool {
    let mut buf = [0; 4096];
    let mut link = net.link(key).expect("it is open");
    loop {
        match link.read(&mut buf) {
            Ok(0) => return true,
            Ok(n) => into.extend_from_slice(&buf[..n]),
            Err(NetError::NotReady) => return false,
            Err(NetError::Closed) => return true,
            Err(e) => panic!("{e}"),
        }
    }
}

fn waiting_ends<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    p.step();
    let start = p.rig.clock.now_us();
    while p.rig.clock.now_us() < start + 20_000 {
        p.rig.server.wait(start + 20_000).expect("waits");
        assert_eq!(p.rig.server.next_event(), None);
    }
    let late = p.rig.clock.now_us() - start;
    assert!(late < 2_000_000, "waited {late} µs for 20,000");
    p.rig.server.wait(0).expect("a deadline in the past is none at all");
    assert_eq!(p.rig.server.listening().map(|a| a.port()), Some(p.rig.address.port()));
    assert_eq!(p.rig.client.link(LinkKey(77)).map(|_| ()), None);
}

fn echo_of_every_size<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    let (server, client) = p.connect();
    for size in 1..=3000 {
        let sent = pattern(size, size);
        let mut written = write(&mut p.rig.client, client, &sent);
        let (mut there, mut back, mut echoed) = (vec![], vec![], 0);
        while back.len() < size {
            p.until("an echo", |_, (s, c)| {
                let any = s.contains(&Event::Readable(server)) || c.contains(&Event::Readable(client));
                (any || written < size || echoed < there.len()).then_some(())
            });
            written += write(&mut p.rig.client, client, &sent[written..]);
            assert!(!read(&mut p.rig.server, server, &mut there));
            echoed += write(&mut p.rig.server, server, &there[echoed..]);
            assert!(!read(&mut p.rig.client, client, &mut back));
        }
        assert_eq!(back, sent);
    }
}

fn big_transfers<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    let (server, client) = p.connect();
    let sent = pattern(3_000_000, 5);
    // Nobody reads: writing stops somewhere, and says so.
    p.rig.server.set_interest(server, false, false);
    let mut written = write(&mut p.rig.client, client, &sent);
    for _ in 0..20 {
        p.step();
        written += write(&mut p.rig.client, client, &sent[written..]);
    }
    let endless = pattern(64 << 20, 0);
    let mut more = 0;
    while more < endless.len() {
        p.step();
        match write(&mut p.rig.client, client, &endless[more..]) {
            0 => break,
            n => more += n,
        }
    }
    assert!(more < endless.len(), "a slow reader stops the writer");
    assert_eq!(p.rig.client.link(client).map(|mut l| l.write_ready()), Some(Ok(false)));
    // It goes on when the other end reads, in small bites, and both directions at once.
    p.rig.client.set_interest(client, true, true);
    p.rig.server.set_interest(server, true, true);
    let wanted = written + more;
    let (mut got, mut back, mut returned) = (vec![], vec![], 0);
    let tail = &sent[written..];
    let mut tail_written = 0;
    while got.len() < wanted + tail.len() || back.len() < sent.len() {
        let (readable, writable, client_readable) = p.until("progress", |_, (s, c)| {
            let r = s.contains(&Event::Readable(server));
            let w = s.contains(&Event::Writable(server));
            let cr = c.contains(&Event::Readable(client));
            (r || w || cr || c.contains(&Event::Writable(client))).then_some((r, w, cr))
        });
        tail_written += write(&mut p.rig.client, client, &tail[tail_written..]);
        if readable {
            assert!(!read(&mut p.rig.server, server, &mut got));
        }
        if writable {
            returned += write(&mut p.rig.server, server, &sent[returned..]);
        }
        if client_readable {
            assert!(!read(&mut p.rig.client, client, &mut back));
        }
    }
    assert!(back == sent && got[..written] == sent[..written] && got[written..wanted] == endless[..more]);
    assert!(got[wanted..] == *tail);
}

fn the_end_is_read<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    let (server, client) = p.connect();
    assert_eq!(write(&mut p.rig.client, client, b"last"), 4);
    p.rig.client.close(client);
    let mut got = vec![];
    p.until("the end", |p, (s, _)| {
        (s.contains(&Event::Readable(server)) && read(&mut p.rig.server, server, &mut got)).then_some(())
    });
    assert_eq!(got, b"last");
    // The end stays, and is told until the link is closed.
    p.until("the end again", |_, (s, _)| s.contains(&Event::Readable(server)).then_some(()));
    assert!(read(&mut p.rig.server, server, &mut got));
    assert_eq!(p.rig.server.link(server).map(|mut l| l.read_ready()), Some(Ok(true)));
    p.rig.server.close(server);
}

fn a_break_is_told<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    // Closing with something unread resets the link, also for an end that does not read.
    for paused in [false, true] {
        let (server, client) = p.connect();
        assert_eq!(write(&mut p.rig.client, client, &[7; 100]), 100);
        p.until("bytes", |_, (s, _)| s.contains(&Event::Readable(server)).then_some(()));
        p.rig.client.set_interest(client, !paused, false);
        p.rig.server.close(server);
        let end = p.until("the break", |_, (_, c)| {
            c.iter().find(|e| matches!(e, Event::Readable(k) | Event::Closed(k) if *k == client)).copied()
        });
        match end {
            Event::Closed(_) => assert!(paused, "a reader reads its end"),
            _ => assert!(!paused && read(&mut p.rig.client, client, &mut vec![])),
        }
        // Writing to it fails, sooner or later.
        {
            let mut link = p.rig.client.link(client).expect("not closed at this end");
            let failed =
                (0..1000).any(|_| matches!(link.write(&[1; 1000]), Err(e) if e != NetError::NotReady));
            assert!(failed, "a broken link takes nothing");
        }
        p.rig.client.close(client);
    }
}

fn readiness<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    let (server, client) = p.connect();
    assert_eq!(p.rig.server.link(server).map(|mut l| l.read_ready()), Some(Ok(false)));
    assert_eq!(p.rig.server.link(server).map(|mut l| l.read(&mut [0; 9])), Some(Err(NetError::NotReady)));
    assert_eq!(p.rig.client.link(client).map(|mut l| l.write_ready()), Some(Ok(true)));
    let quiet = |seen: &[Event]| !seen.iter().any(|e| matches!(e, Event::Readable(_) | Event::Writable(_)));
    let (s, c) = p.step();
    assert!(quiet(&s) && quiet(&c), "nothing to read, and writing was not asked for");
    p.rig.client.set_interest(client, true, true);
    for _ in 0..3 {
        p.until("writable, each time", |_, (_, c)| c.contains(&Event::Writable(client)).then_some(()));
    }
    p.rig.client.set_interest(client, true, false);
    assert_eq!(write(&mut p.rig.client, client, b"abcd"), 4);
    for byte in b"abc" {
        p.until("readable, until it is read empty", |_, (s, _)| {
            s.contains(&Event::Readable(server)).then_some(())
        });
        let mut one = [0];
        assert_eq!(p.rig.server.link(server).map(|mut l| l.read(&mut one)), Some(Ok(1)));
        assert_eq!(one[0], *byte);
    }
    p.rig.server.set_interest(server, false, false);
    for _ in 0..5 {
        let (s, c) = p.step();
        assert!(quiet(&s) && quiet(&c), "paused");
    }
    p.rig.server.set_interest(server, true, false);
    p.until("the rest", |_, (s, _)| s.contains(&Event::Readable(server)).then_some(()));
}

fn many_links<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    let links: Vec<_> = (0..24).map(|_| p.connect()).collect();
    for (i, (_, client)) in links.iter().enumerate() {
        let name = pattern(50 + i, i);
        assert_eq!(write(&mut p.rig.client, *client, &name), name.len());
    }
    let mut got = vec![vec![]; links.len()];
    p.until("what each sent", |p, (s, _)| {
        for (i, (server, _)) in links.iter().enumerate() {
            if s.contains(&Event::Readable(*server)) {
                read(&mut p.rig.server, *server, &mut got[i]);
            }
        }
        got.iter().enumerate().all(|(i, g)| g.len() == 50 + i).then_some(())
    });
    assert!(got.iter().enumerate().all(|(i, g)| *g == pattern(50 + i, i)));
    let mut keys: Vec<_> = links.iter().map(|l| l.0).collect();
    links.iter().for_each(|(server, client)| {
        p.rig.server.close(*server);
        p.rig.client.close(*client);
    });
    for _ in 0..24 {
        let (server, client) = p.connect();
        assert!(!keys.contains(&server), "a number is not used again soon");
        keys.push(server);
        p.rig.server.close(server);
        p.rig.client.close(client);
    }
}

fn refused<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    match p.rig.client.dial(p.rig.nowhere) {
        Err(e) => assert_eq!(e, NetError::Refused),
        Ok(key) => {
            p.until("the refusal", |_, (_, c)| {
                c.contains(&Event::Failed(key, NetError::Refused)).then_some(())
            });
            assert!(p.rig.client.link(key).is_none(), "it is closed already");
        }
    }
    p.connect();
}

fn last_words<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    let (server, client) = p.connect();
    let said = pattern(2000, 9);
    assert_eq!(write(&mut p.rig.server, server, &said), said.len());
    p.rig.server.close(server);
    let mut got = vec![];
    p.until("the last words", |p, (_, c)| {
        (c.contains(&Event::Readable(client)) && read(&mut p.rig.client, client, &mut got)).then_some(())
    });
    assert_eq!(got, said);
}

fn stale_keys<A: Net, B: Net, C: Clock>(p: &mut Pair<A, B, C>) {
    let (server, client) = p.connect();
    assert_eq!(write(&mut p.rig.client, client, b"x"), 1);
    p.until("a byte", |_, (s, _)| s.contains(&Event::Readable(server)).then_some(()));
    p.rig.server.close(server);
    p.rig.server.close(server);
    assert!(p.rig.server.link(server).is_none() && p.rig.server.local(server).is_none());
    p.rig.server.set_interest(server, true, true);
    let (other, _) = p.connect();
    assert_ne!(other, server);
    for _ in 0..5 {
        let (s, _) = p.step();
        let heard = |e: &Event| matches!(e, Event::Readable(k) | Event::Writable(k) | Event::Closed(k) if *k == server);
        assert!(!s.iter().any(heard));
    }
    assert!(p.rig.server.link(server).is_none());
}
