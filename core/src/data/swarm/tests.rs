//! The machine against a network of honest, lying, slow, silent and vanishing sources, in virtual time.

use super::*;
use crate::content::{ContentHasher, Manifest, Node, chunk_id, manifest_room};
use crate::rng::Rng;
use std::boxed::Box;
use std::collections::{BTreeMap, HashMap};
use std::vec;
use std::vec::Vec;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000_000;

/// How a source behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Manner {
    Honest,
    /// Every nth body or node is wrong.
    Lying(u32),
    /// Answers nothing.
    Silent,
    /// Has nothing.
    Empty,
    /// Too busy for every other ask.
    Busy,
    /// Cannot be reached.
    Away,
}

struct Peer {
    manner: Manner,
    /// Bytes a second, and µs one way.
    rate: u64,
    delay: u64,
    free_at: u64,
    asks: u32,
    link: u32,
}

#[derive(Debug)]
enum Fact {
    Open(Slot),
    Unreachable(Slot),
    Vanish(Slot, Manner),
    Answer(Slot, u32, Ask, bool),
    Refused(Slot, u32, u32, Refusal),
    Checked(Ticket, u64, bool),
    Progress(Slot, u32),
}

struct Content {
    bytes: Vec<u8>,
    manifest: Manifest<Vec<u8>, Vec<Node>>,
}

struct World {
    swarm: Box<Swarm<Vec<u8>>>,
    now: u64,
    facts: BTreeMap<(u64, u64), Fact>,
    seq: u64,
    peers: HashMap<Slot, Peer>,
    contents: HashMap<ContentId, Content>,
    ends: HashMap<Ticket, Result<(), Cause>>,
    written: HashMap<Ticket, BTreeMap<u64, u32>>,
    leaves: HashMap<Ticket, Vec<u8>>,
    named: Vec<Slot>,
    asked: u32,
    hung: u32,
    part: Vec<u8>,
}

fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

impl World {
    fn new() -> World {
        World {
            swarm: Box::default(),
            now: 1,
            facts: BTreeMap::new(),
            seq: 0,
            peers: HashMap::new(),
            contents: HashMap::new(),
            ends: HashMap::new(),
            written: HashMap::new(),
            leaves: HashMap::new(),
            named: Vec::new(),
            asked: 0,
            hung: 0,
            part: Vec::new(),
        }
    }
    fn at(&self) -> Instant {
        Instant(self.now)
    }
    fn peer(&mut self, slot: u8, manner: Manner, rate: u64) -> SlotSet {
        let peer = Peer { manner, rate, delay: 300, free_at: 0, asks: 0, link: 0 };
        self.peers.insert(Slot(slot), peer);
        SlotSet::one(Slot(slot))
    }
    fn content(&mut self, seed: u64, len: usize) -> ContentId {
        let bytes = random(seed, len);
        let (mut hasher, mut list) = (ContentHasher::new(), Vec::new());
        hasher.update(&bytes, |l| list.extend(l.encode()));
        let root = hasher.finish(|l| list.extend(l.encode()));
        let nodes = vec![Node::default(); manifest_room(&list)];
        let manifest = Manifest::new(list, nodes).unwrap();
        self.contents.insert(root.file_id(), Content { bytes, manifest });
        root.file_id()
    }
    fn fetch(&mut self, ticket: u32, content: ContentId, from: SlotSet, present: u64) {
        let size = self.contents[&content].bytes.len() as u64;
        let memory = Swarm::<Vec<u8>>::needs_memory(size).then(|| vec![0; WALK_MEMORY]);
        let fetch = Fetch { ticket: Ticket(ticket), kind: Kind::File, content, size, present, from };
        self.swarm.handle_fetch(self.at(), &fetch, memory);
        self.drain();
    }
    fn later(&mut self, after: u64, fact: Fact) {
        self.seq += 1;
        self.facts.insert((self.now + after, self.seq), fact);
    }

    fn drain(&mut self) {
        while let Some(effect) = self.swarm.poll_effect(Instant(self.now)) {
            self.act(effect);
        }
        let next = self.swarm.poll_timeout();
        assert!(next.is_none_or(|t| t.0 > self.now), "the next timeout is in the future");
        for s in &self.swarm.sources {
            assert!(s.bytes <= (8 << 20) + limits::CHUNK_MAX as u32 && s.count < 256);
        }
    }
    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Ask(slot, ask) => self.ask(slot, ask),
            Effect::Dial(slot) => {
                let away = self.peers[&slot].manner == Manner::Away;
                let fact = if away { Fact::Unreachable(slot) } else { Fact::Open(slot) };
                self.later(2 * MS, fact);
            }
            Effect::Hang(slot) => {
                self.hung += 1;
                self.peers.get_mut(&slot).unwrap().link += 1;
                self.swarm.handle_closed(Instant(self.now), slot);
            }
            Effect::Check(ticket, leaf) => {
                let range = leaf.offset as usize..(leaf.offset as usize + leaf.len as usize);
                let good = self.part.get(range).is_some_and(|b| chunk_id(b) == leaf.hash);
                if good {
                    self.written.entry(ticket).or_default().insert(leaf.offset, leaf.len);
                }
                self.later(50, Fact::Checked(ticket, leaf.offset, good));
            }
            Effect::Finished(ticket) => assert!(self.ends.insert(ticket, Ok(())).is_none()),
            Effect::Failed(ticket, cause) => assert!(self.ends.insert(ticket, Err(cause)).is_none()),
            Effect::Bad(slot, _) => self.named.push(slot),
        }
    }
    fn ask(&mut self, slot: Slot, ask: Ask) {
        let Some(id) = ask.id() else { return };
        let peer = self.peers.get_mut(&slot).unwrap();
        if matches!(ask, Ask::Cancel { .. }) {
            let this = |f: &Fact| matches!(f, Fact::Answer(s, _, a, _) if *s == slot && a.id() == Some(id));
            self.facts.retain(|_, f| !this(f));
            return;
        }
        self.asked += 1;
        peer.asks += 1;
        let len = if let Ask::Chunk { len, .. } = ask { len as u64 } else { 3000 };
        let link = peer.link;
        let refusal = match peer.manner {
            Manner::Silent | Manner::Away => return,
            Manner::Empty => Some(Refusal::Gone),
            Manner::Busy if peer.asks.is_multiple_of(2) => Some(Refusal::Busy),
            _ => None,
        };
        if let Some(why) = refusal {
            let delay = 2 * peer.delay;
            return self.later(delay, Fact::Refused(slot, link, id, why));
        }
        let good = !matches!(peer.manner, Manner::Lying(n) if peer.asks.is_multiple_of(n));
        let start = peer.free_at.max(self.now + peer.delay);
        peer.free_at = start + len * SECOND / peer.rate;
        let after = peer.free_at + peer.delay - self.now;
        for part in (start - self.now..after).step_by(SECOND as usize) {
            self.later(part, Fact::Progress(slot, link));
        }
        self.later(after, Fact::Answer(slot, link, ask, good));
    }

    /// Runs until nothing is fetched or so much time has passed.
    fn run(&mut self, most: u64) {
        let end = self.now + most;
        while !self.swarm.is_idle() && self.now < end {
            let fact = self.facts.keys().next().map(|(at, _)| *at);
            let timeout = self.swarm.poll_timeout().map(|t| t.0);
            self.now = fact.into_iter().chain(timeout).min().expect("something is to come").max(self.now);
            if fact == Some(self.now) {
                let (_, fact) = self.facts.pop_first().expect("it is there");
                self.tell(fact);
            } else {
                self.swarm.handle_timeout(self.at());
            }
            self.drain();
        }
    }
    fn tell(&mut self, fact: Fact) {
        let at = self.at();
        match fact {
            Fact::Open(slot) => self.swarm.handle_open(at, slot),
            Fact::Unreachable(slot) => self.swarm.handle_unreachable(at, slot),
            Fact::Checked(ticket, offset, good) => self.swarm.handle_checked(ticket, offset, good),
            Fact::Progress(slot, link) => {
                if self.peers[&slot].link == link {
                    self.swarm.handle_progress(at, slot);
                }
            }
            Fact::Vanish(slot, manner) => {
                let peer = self.peers.get_mut(&slot).unwrap();
                peer.manner = manner;
                peer.link += 1;
                peer.free_at = 0;
                self.swarm.handle_closed(at, slot);
            }
            Fact::Refused(slot, link, id, why) => {
                if self.peers[&slot].link == link {
                    self.swarm.handle_refused(at, slot, id, why);
                }
            }
            Fact::Answer(slot, link, ask, good) => {
                if self.peers[&slot].link == link {
                    self.answer(at, slot, ask, good);
                }
            }
        }
    }
    fn answer(&mut self, at: Instant, slot: Slot, ask: Ask, good: bool) {
        match ask {
            Ask::Node { id, content, level: 0, .. } => {
                let mut root = self.contents[&content].manifest.root();
                root.hash.0[0] ^= u8::from(!good);
                self.swarm.handle_root(at, slot, id, root);
            }
            Ask::Node { id, content, level, offset } => {
                let manifest = &self.contents[&content].manifest;
                let mut out = vec![0; NODE_BYTES];
                let n =
                    manifest.encode(manifest.node(level, offset).expect("asks for what there is"), &mut out);
                out[3] ^= u8::from(!good);
                if let Some(ticket) = self.swarm.handle_node(at, slot, id, &out[..n]) {
                    self.leaves.entry(ticket).or_default().extend(&out[..n]);
                }
            }
            Ask::Chunk { id, content, offset, len } => {
                let Some(expect) = self.swarm.expect(slot, id) else { return };
                assert_eq!((expect.offset, expect.len), (offset, len));
                let bytes = &self.contents[&content].bytes[offset as usize..][..len as usize];
                if let Check::Chunk(hash) = expect.check {
                    assert_eq!(chunk_id(bytes), hash);
                }
                if good {
                    let before = self.written.entry(expect.ticket).or_default().insert(offset, len);
                    assert!(before.is_none(), "nothing is taken twice");
                }
                let body = if good { Body::Good } else { Body::Bad };
                self.swarm.handle_body(at, slot, id, body);
            }
            Ask::Ping | Ask::Cancel { .. } => unreachable!("not answered"),
        }
    }
    /// Whether a fetch ended well, with every byte.
    fn is_whole(&self, ticket: u32, content: ContentId) -> bool {
        let content = &self.contents[&content];
        let mut next = 0;
        for (offset, len) in self.written.get(&Ticket(ticket)).into_iter().flatten() {
            assert_eq!(*offset, next);
            next += *len as u64;
        }
        let large = content.bytes.len() > limits::CHUNK_MAX;
        let list = self.leaves.get(&Ticket(ticket)).map_or(&[][..], |l| l);
        next == content.bytes.len() as u64
            && self.ends.get(&Ticket(ticket)) == Some(&Ok(()))
            && (!large || list == content.manifest.list())
    }
}

const FAST: u64 = 50 << 20;

#[test]
fn the_machine_fits_its_budget() {
    assert!(size_of::<Swarm<Vec<u8>>>() <= 384 * 1024, "{}", size_of::<Swarm<Vec<u8>>>());
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
