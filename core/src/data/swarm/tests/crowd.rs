//! Several machines that fetch one content at a time, from a holder and from each other, over uplinks of limited speed.

use super::*;
use crate::content::{Hash, LEAF_BYTES, Leaf, chunk_id};
use crate::data::message::{HAVE, Message, decode};
use std::collections::{BTreeSet, VecDeque};

const SIZE: usize = 64 << 20;
/// Bytes a second.
const RATE: u64 = 25_000_000;
const DELAY: u64 = 300;

/// One device.
struct Member {
    /// None: it has the content from the start.
    swarm: Option<Box<Swarm<Vec<u8>, Bankbook>>>,
    rate: u64,
    /// What it sends is wrong.
    lies: bool,
    gone: bool,
    /// Asks to be served, by who asked: served in turn, one at a time.
    queues: Vec<VecDeque<Ask>>,
    turn: usize,
    busy: bool,
    /// Bytes of chunks that it sent.
    sent: u64,
    links: BTreeSet<usize>,
    got: BTreeSet<u64>,
    end: Option<(Result<(), Cause>, u64)>,
    named: Vec<Slot>,
}

enum Event {
    Start(usize),
    Named(usize, SlotSet, SlotSet),
    Open(usize, usize),
    Ask(usize, usize, Ask),
    Have(usize, usize, Vec<u8>),
    Refused(usize, usize, u32, Refusal),
    /// The uplink is free; then what it sent comes.
    Sent(usize, usize, Ask),
    Come(usize, usize, Ask, bool),
    Leave(usize),
}

struct Crowd {
    members: Vec<Member>,
    manifest: Manifest<Vec<u8>, Vec<Node>>,
    content: ContentId,
    now: u64,
    seq: u64,
    events: BTreeMap<(u64, u64), Event>,
}

/// A content of made-up chunks.
fn made_up() -> Manifest<Vec<u8>, Vec<Node>> {
    let (mut list, mut offset, mut n) = (Vec::with_capacity(SIZE / 1000), 0, 0u32);
    while offset < SIZE {
        let len = (48 * 1024 + n as usize * 7919 % 32768).min(SIZE - offset);
        let hash: Hash = chunk_id(&n.to_le_bytes());
        list.extend(Leaf { offset: offset as u64, len: len as u32, hash }.encode());
        offset += len;
        n += 1;
    }
    assert!(list.len() / LEAF_BYTES > 900);
    let nodes = vec![Node::default(); manifest_room(&list)];
    Manifest::new(list, nodes).unwrap()
}

fn set(members: impl IntoIterator<Item = usize>) -> SlotSet {
    members.into_iter().fold(SlotSet(0), |set, m| SlotSet(set.0 | 1 << m))
}

impl Crowd {
    /// The first has it; the others seek it, from 2 ms apart, and hear of each other.
    fn new(seekers: usize) -> Crowd {
        let manifest = made_up();
        let content = manifest.root().file_id();
        let member = |i: usize| Member {
            swarm: (i > 0).then(Box::default),
            rate: RATE,
            lies: false,
            gone: false,
            queues: (0..=seekers).map(|_| VecDeque::new()).collect(),
            turn: 0,
            busy: false,
            sent: 0,
            links: BTreeSet::new(),
            got: BTreeSet::new(),
            end: None,
            named: Vec::new(),
        };
        let members = (0..=seekers).map(member).collect();
        let mut crowd = Crowd { members, manifest, content, now: 1, seq: 0, events: BTreeMap::new() };
        for i in 1..=seekers {
            let at = 2 * MS * i as u64;
            crowd.later(at, Event::Start(i));
            for j in 1..=i {
                let others = set((1..=i).filter(|k| *k != j));
                crowd.later(at + 2 * DELAY, Event::Named(j, set([0]), others));
            }
        }
        crowd
    }
    fn later(&mut self, after: u64, event: Event) {
        self.seq += 1;
        self.events.insert((self.now + after, self.seq), event);
    }
    fn swarm(&mut self, m: usize) -> Option<&mut Swarm<Vec<u8>, Bankbook>> {
        let member = &mut self.members[m];
        member.swarm.as_deref_mut().filter(|_| !member.gone)
    }
    fn start(&mut self, m: usize) {
        let (at, content) = (Instant(self.now), self.content);
        let (ticket, kind, size) = (Ticket(m as u32), Kind::File, SIZE as u64);
        let fetch = Fetch { ticket, kind, content, size, present: 0, from: set([0]), based: false };
        let (walk, window) = (vec![0; WALK_MEMORY], vec![0; WINDOW_MEMORY]);
        let lent = Some(Lent { walk, window, bank: Bankbook::new(None) });
        let Some(swarm) = self.swarm(m) else { return };
        swarm.handle_me(Some(Slot(m as u8)));
        swarm.handle_fetch(at, &fetch, lent);
    }
    fn has(&self, m: usize, offset: u64, len: u32) -> bool {
        let member = &self.members[m];
        let whole = member.swarm.is_none() || matches!(member.end, Some((Ok(()), _)));
        let part = || member.swarm.as_ref().is_some_and(|s| s.holds(&self.content, offset, len).is_some());
        let has = whole || part();
        assert!(!has || member.swarm.is_none() || member.got.contains(&offset), "holds what it got alone");
        has
    }

    fn act(&mut self, m: usize, effect: Effect) {
        match effect {
            Effect::Ask(to, ask) => {
                let to = to.0 as usize;
                self.later(DELAY, Event::Ask(m, to, ask));
            }
            Effect::Dial(to) => {
                let to = to.0 as usize;
                if self.members[to].gone {
                    let at = Instant(self.now);
                    return self.swarm(m).unwrap().handle_unreachable(at, Slot(to as u8));
                }
                self.later(3 * DELAY, Event::Open(m, to));
            }
            Effect::Find(ticket, _) => self.swarm(m).unwrap().handle_found(ticket),
            Effect::Hang(_) => panic!("no link is silent for so long"),
            Effect::Check(ticket, leaf) => {
                self.swarm(m).unwrap().handle_checked(ticket, leaf.offset, false);
            }
            Effect::Finished(_) => self.members[m].end = Some((Ok(()), self.now)),
            Effect::Failed(_, cause) => self.members[m].end = Some((Err(cause), self.now)),
            Effect::Bad(slot, _) => self.members[m].named.push(slot),
            Effect::Have(to, content, all) => {
                let mut out = vec![0; HAVE];
                let n = self.swarm(m).unwrap().encode_have(to, &content, all, &mut out);
                out.truncate(n);
                self.later(DELAY, Event::Have(m, to.0 as usize, out));
            }
        }
    }
    fn drain(&mut self) {
        for m in 0..self.members.len() {
            let at = Instant(self.now);
            while let Some(effect) = self.swarm(m).and_then(|s| s.poll_effect(at)) {
                self.act(m, effect);
            }
            let next = self.swarm(m).and_then(|s| s.poll_timeout());
            assert!(next.is_none_or(|t| t > at), "the next timeout is in the future");
        }
    }
    /// Sends the next chunk, if the uplink is free.
    fn serve(&mut self, m: usize) {
        let member = &mut self.members[m];
        if member.busy || member.gone {
            return;
        }
        let n = member.queues.len();
        let Some(to) = (1..=n).map(|i| (member.turn + i) % n).find(|to| !member.queues[*to].is_empty())
        else {
            return;
        };
        (member.turn, member.busy) = (to, true);
        let ask = member.queues[to].pop_front().unwrap();
        let Ask::Chunk { id, offset, len, .. } = ask else { unreachable!("only chunks wait") };
        if !self.has(m, offset, len) {
            self.members[m].busy = false;
            self.later(DELAY, Event::Refused(m, to, id, Refusal::Gone));
            return self.serve(m);
        }
        let took = len as u64 * SECOND / self.members[m].rate;
        self.members[m].sent += len as u64;
        self.later(took, Event::Sent(m, to, ask));
    }
    fn happen(&mut self, event: Event) {
        let at = Instant(self.now);
        match event {
            Event::Start(m) => self.start(m),
            Event::Named(m, holders, seekers) => {
                if let Some(s) = self.swarm(m) {
                    s.handle_sources(at, Ticket(m as u32), holders, seekers);
                }
            }
            Event::Open(a, b) => {
                if !self.members[a].gone && !self.members[b].gone && self.members[a].links.insert(b) {
                    self.members[b].links.insert(a);
                    for (x, y) in [(a, b), (b, a)] {
                        if let Some(s) = self.swarm(x) {
                            s.handle_open(at, Slot(y as u8));
                        }
                    }
                }
            }
            Event::Have(from, to, bytes) => {
                let Ok(Message::Have(have)) = decode(&bytes) else { panic!("what was encoded is decoded") };
                let heard = self.swarm(to).is_some_and(|s| s.handle_have(at, Slot(from as u8), &have));
                if !heard {
                    self.later(DELAY, Event::Refused(to, from, have.id, Refusal::Gone));
                }
            }
            Event::Refused(from, to, id, why) => {
                if let Some(s) = self.swarm(to) {
                    s.handle_refused(at, Slot(from as u8), id, why);
                }
            }
            Event::Ask(from, to, ask) => self.asked(from, to, ask),
            Event::Sent(from, to, ask) => {
                self.members[from].busy = false;
                let good = !self.members[from].lies;
                self.later(DELAY, Event::Come(from, to, ask, good));
                self.serve(from);
            }
            Event::Come(from, to, ask, good) => self.come(from, to, ask, good),
            Event::Leave(m) => {
                self.members[m].gone = true;
                for other in std::mem::take(&mut self.members[m].links) {
                    self.members[other].links.remove(&m);
                    self.members[other].queues[m].clear();
                    if let Some(s) = self.swarm(other) {
                        s.handle_closed(at, Slot(m as u8));
                    }
                }
            }
        }
    }
    fn asked(&mut self, from: usize, to: usize, ask: Ask) {
        let at = Instant(self.now);
        if self.members[to].gone {
            return;
        }
        let slot = Slot(to as u8);
        let whole = self.members[to].swarm.is_none() || matches!(self.members[to].end, Some((Ok(()), _)));
        match ask {
            Ask::Chunk { .. } => {
                self.members[to].queues[from].push_back(ask);
                self.serve(to);
            }
            Ask::Cancel { id } => self.members[to].queues[from].retain(|a| a.id() != Some(id)),
            Ask::Node { id, level, offset, .. } => {
                assert!(whole, "holders alone are asked for nodes");
                let root = self.manifest.root();
                let mut out = vec![0; NODE_BYTES];
                let n = self.manifest.node(level, offset).map(|n| self.manifest.encode(n, &mut out));
                let Some(s) = self.swarm(from) else { return };
                match n {
                    Some(n) if level > 0 => s.handle_node(at, slot, id, &out[..n]),
                    _ => s.handle_root(at, slot, id, root),
                }
            }
            other => panic!("{other:?}: nothing old is here"),
        }
    }
    fn come(&mut self, from: usize, to: usize, ask: Ask, good: bool) {
        let Ask::Chunk { id, offset, len, .. } = ask else { unreachable!("only chunks are sent") };
        let (at, slot) = (Instant(self.now), Slot(from as u8));
        if !self.members[to].links.contains(&from) {
            return;
        }
        let Some(expect) = self.swarm(to).and_then(|s| s.expect(slot, id)) else { return };
        assert_eq!((expect.offset, expect.len), (offset, len));
        if good {
            assert!(self.members[to].got.insert(offset), "nothing is taken twice");
        }
        let body = if good { Body::Good } else { Body::Bad };
        self.swarm(to).unwrap().handle_body(at, slot, id, body);
    }

    /// Runs until all who are left have it, or cannot.
    fn run(&mut self, most: u64) {
        let done = |m: &Member| m.gone || m.swarm.is_none() || m.end.is_some();
        while !self.members.iter().all(done) && self.now < most {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let timeouts = (0..self.members.len()).filter_map(|m| self.swarm(m)?.poll_timeout()).map(|t| t.0);
            let timeouts: Vec<u64> = timeouts.collect();
            self.now = event.into_iter().chain(timeouts).min().expect("something is to come").max(self.now);
            if event == Some(self.now) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            }
            self.drain();
        }
    }
    /// When the last one had it.
    fn all_have_it(&self) -> u64 {
        let of = |m: &Member| match m.end {
            _ if m.gone || m.swarm.is_none() => 0,
            Some((Ok(()), at)) => at,
            ref other => panic!("{other:?}"),
        };
        self.members.iter().map(of).max().unwrap()
    }
    fn copies(&self, m: usize) -> f64 {
        self.members[m].sent as f64 / SIZE as f64
    }
}

const ONE: u64 = SIZE as u64 * SECOND / RATE;

#[test]
fn a_holder_sends_one_copy_whatever_the_number_of_seekers() {
    for seekers in [1, 2, 3, 7] {
        let mut c = Crowd::new(seekers);
        c.run(60 * SECOND);
        let (copies, times) = (c.copies(0), c.all_have_it() as f64 / ONE as f64);
        std::println!("{seekers} seekers: {copies:.3} copies, {times:.3} x the time of one");
        assert!(copies <= 1.05, "{seekers} seekers: {copies} copies");
        assert!(times <= 1.12, "{seekers} seekers: {times} times as long as one copy");
    }
}

#[test]
fn a_seeker_that_vanishes_takes_nothing_with_it() {
    let mut c = Crowd::new(3);
    c.later(ONE / 2, Event::Leave(2));
    c.run(60 * SECOND);
    assert!(c.all_have_it() < 2 * ONE && c.copies(0) < 1.4, "{} {}", c.all_have_it(), c.copies(0));
}

#[test]
fn a_seeker_that_lies_is_dropped_and_named() {
    let mut c = Crowd::new(3);
    c.members[2].lies = true;
    c.run(60 * SECOND);
    assert!(c.all_have_it() < 3 * ONE, "{}", c.all_have_it());
    assert_eq!((&c.members[1].named[..], &c.members[3].named[..]), (&[Slot(2)][..], &[Slot(2)][..]));
}

#[test]
fn a_seeker_with_a_slow_uplink_does_not_hold_the_others_up() {
    let mut c = Crowd::new(3);
    c.members[2].rate = RATE / 50;
    c.run(100 * SECOND);
    std::println!("slow uplink: {:.3} copies, {:.3}", c.copies(0), c.all_have_it() as f64 / ONE as f64);
    assert!(c.all_have_it() < 5 * ONE, "{} of {ONE}", c.all_have_it());
}

#[test]
fn seekers_complete_each_other_when_the_holder_goes() {
    let mut c = Crowd::new(3);
    // Each chunk has left the holder by then, but not come to all.
    for m in 1..=3 {
        c.members[m].rate = RATE / 4;
    }
    let together = |c: &Crowd| c.members.iter().flat_map(|m| m.got.clone()).collect::<BTreeSet<u64>>().len();
    while together(&c) < c.manifest.chunks() {
        let until = c.now + 10 * MS;
        c.run(until);
    }
    assert!(c.members[1..].iter().all(|m| m.end.is_none()));
    c.later(1, Event::Leave(0));
    for m in 1..=3 {
        c.later(MS, Event::Named(m, SlotSet(0), set((1..=3).filter(|k| *k != m))));
    }
    c.run(100 * SECOND);
    c.all_have_it();
}
