//! The tracker: resident memory of the program, empty and with a million records of 64-byte paths; and how many
//! updates a second the machine takes and fans out to eight devices, with the encryption of their links.
//!
//! `cargo run --release -p dartsync-tests --bin bench_tracker [RECORDS]`

use dartsync_core::ids::{FolderSlot, InviteId, LinkId, PublicKey, Seq, Tag};
use dartsync_core::limits::FRAME;
use dartsync_core::link::code::InviteCode;
use dartsync_core::link::{Opening, SEAL_HEAD, SEAL_OVERHEAD, StaticKey, TrackerChannel};
use dartsync_core::rng::Rng;
use dartsync_core::sans_io::Sent;
use dartsync_core::time::{Instant as At, Now};
use dartsync_core::tracker::{Config, Identity, Past, Tracker};
use dartsync_core::wire::message::{self, Addr, Answer, Request, RosterVersion, ToPeer, ToTracker};
use dartsync_tests::bench::line;
use dartsync_tests::process::Home;
use dartsync_tests::raw::{RawLink, announce, long_path, record};
use std::time::{Duration, Instant};

const READERS: usize = 8;
const UPDATES: u64 = 100_000;

fn main() {
    let records: u64 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("a number of records"));
    memory(records);
    fan_out();
}

/// The program over TCP.
fn memory(records: u64) {
    let mut home = Home::found_with("tracker", &["--memory", "192M"]);
    let code = InviteCode::decode(&home.tracker.invite()).expect("the tracker prints good codes");
    let mib = |home: &mut Home| format!("{:.1} MiB", home.tracker.running().resident() as f64 / 1024.0);
    line("resident memory of the program, empty", mib(&mut home));
    let mut link = RawLink::join(&home.tracker.listen, &code, 5, "feeder");
    let (_, folder) = link.link_folder("f");
    let (mut sent, mut answered) = (0, 0);
    let (tag, device) = (link.tag, link.device);
    let since = Instant::now();
    let mut frame = [0; FRAME];
    while answered < records {
        while sent < records && sent - answered + 64 <= 512 {
            let of = (sent..records).map(|n| (long_path(n), record(n, 0, tag, device)));
            let (n, count) = announce(folder, of, 64, &mut frame);
            link.send_encoded(&frame[..n]);
            sent += count as u64;
        }
        answered += link.accepted() as u64;
    }
    let took = since.elapsed().as_secs_f64();
    line(&format!("with {records} records of 64-byte paths"), mib(&mut home));
    line("filled by one device over TCP", format!("{:.0} records/s", records as f64 / took));
}

/// One end of an encrypted link in memory, the tracker's, and the other.
struct Pair {
    link: LinkId,
    key: PublicKey,
    tracker: TrackerChannel,
    device: TrackerChannel,
}

fn pair(n: usize, server: &StaticKey) -> Pair {
    let me = StaticKey::from_secret(&[n as u8 + 1; 32]);
    let mut rng = Rng::from_seed([n as u8; 32]);
    let mut device = TrackerChannel::dial(&me, server.public(), Opening::TRACKER, None, &mut rng);
    let mut tracker = TrackerChannel::listen(server.public());
    tracker.feed(device.output()).expect("a good hello");
    device.sent(device.output().len());
    tracker.accept(server, None, &mut rng).expect("a good handshake");
    device.feed(tracker.output()).expect("a good answer");
    tracker.sent(tracker.output().len());
    Pair { link: LinkId(n as u32 + 1), key: me.public(), tracker, device }
}

/// The machine with its devices; the time that it and its ends of the links took.
struct World {
    tracker: Box<Tracker<'static>>,
    now: Now,
    born: Instant,
    pairs: Vec<Pair>,
    spent: Duration,
    bytes: usize,
    buf: Vec<u8>,
}

impl World {
    fn new() -> World {
        let memory = Box::leak(vec![1; 64 << 20].into_boxed_slice());
        let config = Config {
            roster_key: [9; 32],
            seed: [5; 32],
            past: Past::New,
            founder: None,
            recovery: None,
            home: "bench",
            version: "1",
        };
        let tracker = Box::new(Tracker::new(config, memory));
        let now = Now { at: At(1_000_000), wall: 0 };
        let buf = vec![0; FRAME + SEAL_OVERHEAD];
        World { tracker, now, born: Instant::now(), pairs: Vec::new(), spent: Duration::ZERO, bytes: 0, buf }
    }
    /// A frame of a device: sealed there, opened and judged here; then everything that follows is sealed.
    fn say(&mut self, i: usize, plain: &[u8], heard: &mut dyn FnMut(usize, ToPeer<'_>)) {
        let mut sealed = vec![0; FRAME + SEAL_OVERHEAD];
        sealed[SEAL_HEAD..SEAL_HEAD + plain.len()].copy_from_slice(plain);
        let n = self.pairs[i].device.seal(&mut sealed, plain.len());
        let since = Instant::now();
        let p = &mut self.pairs[i];
        assert_eq!(p.tracker.feed(&sealed[..n]), Ok(n));
        let frame = p.tracker.next_frame().expect("sealed well").expect("it is whole");
        self.tracker.handle_frame(self.now, p.link, frame).expect("a good frame");
        self.spent += since.elapsed();
        self.drain(heard);
    }
    fn drain(&mut self, heard: &mut dyn FnMut(usize, ToPeer<'_>)) {
        let since = Instant::now();
        self.now.at = At(1_000_000 + self.born.elapsed().as_micros() as u64);
        self.tracker.handle_timeout(self.now);
        while self.tracker.poll_event().is_some() {}
        self.spent += since.elapsed();
        for i in 0..self.pairs.len() {
            loop {
                let since = Instant::now();
                let p = &mut self.pairs[i];
                let sent =
                    self.tracker.poll_transmit(self.now, p.link, &mut self.buf[SEAL_HEAD..SEAL_HEAD + FRAME]);
                let sealed = match sent {
                    Sent::Frame(n) => Some(p.tracker.seal(&mut self.buf, n)),
                    Sent::Idle | Sent::Again => None,
                };
                self.spent += since.elapsed();
                match (sent, sealed) {
                    (Sent::Idle, _) => break,
                    (Sent::Again, _) => continue,
                    (Sent::Frame(_), n) => {
                        let n = n.expect("sealed above");
                        self.bytes += n;
                        assert_eq!(p.device.feed(&self.buf[..n]), Ok(n));
                        let frame = p.device.next_frame().expect("sealed well").expect("it is whole");
                        heard(i, message::decode(frame).expect("the tracker speaks well"));
                    }
                }
            }
        }
    }
    fn send(&mut self, i: usize, m: &ToTracker<'_>, heard: &mut dyn FnMut(usize, ToPeer<'_>)) {
        let mut plain = [0; FRAME];
        let n = message::encode(m, &mut plain).expect("it fits");
        self.say(i, &plain[..n], heard);
    }
    /// One more device, joined, its folder linked and caught up.
    fn join(&mut self, server: &StaticKey) {
        let i = self.pairs.len();
        let invite = match self.tracker.founding_invite() {
            Some((id, _)) => id,
            None => {
                let mut id = 0;
                self.send(0, &ToTracker::Request(1, Request::Invite), &mut |_, m| {
                    if let ToPeer::Reply(_, Answer::Invite { id: given, .. }) = m {
                        id = given;
                    }
                });
                InviteId(id)
            }
        };
        let p = pair(i, server);
        let who = Identity { key: p.key, invite: Some(invite) };
        let from = Addr::V4([127, 0, 0, 1], 5000);
        self.tracker.handle_open(self.now, p.link, who, from).expect("an invited device");
        self.pairs.push(p);
        let hello = ToTracker::Hello {
            tag: tag(i),
            counter: 0,
            run: 1,
            port: 0,
            addrs: Default::default(),
            caps: 0,
            roster: RosterVersion::default(),
            flags: 0,
            name: "bench",
        };
        self.send(i, &hello, &mut |_, _| {});
        self.send(i, &ToTracker::Request(2, Request::Link { label: "f", make: true }), &mut |_, _| {});
        let folder = self.tracker.roster().folder(FolderSlot(0)).expect("it was made").id;
        let seen = ToTracker::Seen { folder, epoch: self.tracker.epoch(), seen: Seq(0) };
        self.send(i, &seen, &mut |_, _| {});
        self.send(i, &ToTracker::Told(FolderSlot(0)), &mut |_, _| {});
    }
}

fn tag(i: usize) -> Tag {
    Tag(1000 + i as u32)
}

fn fan_out() {
    let server = StaticKey::from_secret(&[77; 32]);
    let mut world = World::new();
    for _ in 0..=READERS {
        world.join(&server);
    }
    let device = world.tracker.roster().devices().next().expect("the first").1.id;
    let mut rates: Vec<(f64, f64)> = Vec::new();
    for round in 0..4 {
        let began = Instant::now();
        (world.spent, world.bytes) = (Duration::ZERO, 0);
        let (mut sent, mut got) = (0, 0usize);
        let mut frame = [0; FRAME];
        while sent < UPDATES {
            let of = (sent..UPDATES).map(|n| (long_path(n), record(n, round, tag(0), device)));
            let (n, count) = announce(FolderSlot(0), of, 50, &mut frame);
            let plain = frame[..n].to_vec();
            world.say(0, &plain, &mut |i, m| {
                if let (ToPeer::Records(batch), true) = (m, i > 0) {
                    got += dartsync_core::wire::batch::BatchReader::check(batch).expect("a good batch");
                }
            });
            sent += count as u64;
        }
        assert_eq!(got, UPDATES as usize * READERS, "every reader got every record");
        // The first round makes new records; updates are the three after it.
        if round > 0 {
            let per = |took: Duration| UPDATES as f64 / took.as_secs_f64();
            rates.push((per(world.spent), per(began.elapsed())));
        }
    }
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (own, wall) = rates[rates.len() / 2];
    line(
        &format!("updates/s to {READERS} devices, encrypted, by the tracker's own time"),
        format!("{own:.0}"),
    );
    line("the same by the wall clock, one thread being all nine devices too", format!("{wall:.0}"));
}
