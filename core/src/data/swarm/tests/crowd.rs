//! Several machines that fetch one content at a time, from holders and from each other, over uplinks of limited speed.
//! Members crash, stop for a while, lie, fill their disks; links break; the content is replaced by its next version.

use super::*;
use crate::content::{Hash, LEAF_BYTES, Leaf, chunk_id};
use crate::data::message::HAVE;
use std::collections::{BTreeSet, VecDeque};

pub(super) const SIZE: usize = 64 << 20;
/// Bytes a second.
pub(super) const RATE: u64 = 25_000_000;
pub(super) const DELAY: u64 = 300;

/// One device.
pub(super) struct Member {
    /// None: it is a holder.
    pub(super) swarm: Option<Box<Swarm<Vec<u8>, Bankbook>>>,
    /// Which version it holds, or seeks.
    pub(super) version: usize,
    pub(super) rate: u64,
    /// What it sends is wrong.
    pub(super) lies: bool,
    pub(super) gone: bool,
    /// Its process stands still until then.
    pub(super) stopped: u64,
    /// Its disk is full until then.
    pub(super) full: u64,
    /// Asks to be served, by who asked: served in turn, one at a time.
    pub(super) queues: Vec<VecDeque<Ask>>,
    pub(super) turn: usize,
    pub(super) busy: bool,
    /// Raised by each crash: what was under way before is void.
    pub(super) life: u32,
    /// Fetches so far.
    pub(super) tries: u32,
    /// Bytes of chunks that it sent; roots and nodes.
    pub(super) sent: u64,
    pub(super) told: u32,
    /// Its links, each with a number that no other one has.
    pub(super) links: BTreeMap<usize, u64>,
    /// What it is told of the tree.
    pub(super) bank: Option<Bankbook>,
    /// What this fetch has taken or found in the part file.
    pub(super) got: BTreeSet<u64>,
    /// The part file: what is verified at which offset; a crash leaves it.
    pub(super) part: BTreeMap<u64, Hash>,
    /// Chunks of the part file that came over the network all the same.
    pub(super) again: usize,
    pub(super) end: Option<(Result<(), Cause>, u64)>,
    pub(super) named: Vec<Slot>,
    /// In which of its fetches whom it took what is wrong from, and who had not what it wanted of a holder.
    pub(super) fooled: BTreeSet<(u32, usize)>,
    pub(super) refused: BTreeSet<(u32, usize)>,
}

/// Some of a tree.
pub(super) enum Told {
    Root(Root),
    Node(Vec<u8>),
}

pub(super) enum Event {
    Start(usize),
    Named(usize, SlotSet, SlotSet),
    Open(usize, usize),
    /// The first does not reach the second.
    Unreachable(usize, usize),
    /// From, to, over which link.
    Ask(usize, usize, u64, Ask),
    Have(usize, usize, u64, Vec<u8>),
    Refused(usize, usize, u64, u32, Refusal),
    /// The uplink is free; then what it sent comes.
    Sent(usize, usize, u32, Ask),
    Come(usize, usize, u64, Ask, bool),
    /// A link of the first has ended.
    Closed(usize, usize, u64),
    /// The link of two breaks.
    Break(usize, usize),
    Leave(usize),
    /// It starts anew after it left, with its part file.
    Back(usize),
    /// It is stopped for so long.
    Stop(usize, u64),
    /// Holders of the first version have the second now.
    Change,
    /// It hears that there is a next version.
    Hear(usize),
}

/// A version of the content.
pub(super) struct Version {
    pub(super) manifest: Manifest<Vec<u8>, Vec<Node>>,
    pub(super) content: ContentId,
    pub(super) size: usize,
}

pub(super) struct Crowd {
    pub(super) members: Vec<Member>,
    pub(super) versions: Vec<Version>,
    /// Which of them holders have.
    pub(super) current: usize,
    pub(super) now: u64,
    seq: u64,
    pub(super) links: u64,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    /// A fetch that failed is begun again after so long, as the peer machine does; none: it stays ended.
    pub(super) retry: Option<u64>,
}

/// A version of made-up chunks; one of five is another in each version.
fn made_up(size: usize, version: u32) -> Version {
    let (mut list, mut offset, mut n) = (Vec::with_capacity(size / 1000), 0, 0u32);
    while offset < size {
        let len = (48 * 1024 + n as usize * 7919 % 32768).min(size - offset);
        let name = if n % 5 == 1 { n + version * 1_000_000 } else { n };
        list.extend(
            Leaf { offset: offset as u64, len: len as u32, hash: chunk_id(&name.to_le_bytes()) }.encode(),
        );
        offset += len;
        n += 1;
    }
    let nodes = vec![Node::default(); manifest_room(&list)];
    let manifest = Manifest::new(list, nodes).unwrap();
    let content = manifest.root().file_id();
    Version { manifest, content, size }
}

pub(super) fn set(members: impl IntoIterator<Item = usize>) -> SlotSet {
    members.into_iter().fold(SlotSet(0), |set, m| SlotSet(set.0 | 1 << m))
}

impl Crowd {
    /// The first has it; the others seek it, from 2 ms apart, and hear of each other.
    pub(super) fn new(seekers: usize) -> Crowd {
        let mut crowd = Crowd::of(1, seekers, SIZE);
        assert!(crowd.versions[0].manifest.list().len() / LEAF_BYTES > 900);
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
    /// Holders, then seekers, none of which has started.
    pub(super) fn of(holders: usize, seekers: usize, size: usize) -> Crowd {
        let all = holders + seekers;
        let member = |i: usize| Member {
            swarm: (i >= holders).then(Box::default),
            version: 0,
            rate: RATE,
            lies: false,
            gone: false,
            stopped: 0,
            full: 0,
            queues: (0..all).map(|_| VecDeque::new()).collect(),
            turn: 0,
            busy: false,
            life: 0,
            tries: 0,
            sent: 0,
            told: 0,
            links: BTreeMap::new(),
            bank: None,
            got: BTreeSet::new(),
            part: BTreeMap::new(),
            again: 0,
            end: None,
            named: Vec::new(),
            fooled: BTreeSet::new(),
            refused: BTreeSet::new(),
        };
        let members = (0..all).map(member).collect();
        let versions = vec![made_up(size, 0), made_up(size, 1)];
        let events = BTreeMap::new();
        Crowd { members, versions, current: 0, now: 1, seq: 0, links: 0, events, retry: None }
    }
    pub(super) fn later(&mut self, after: u64, event: Event) {
        self.seq += 1;
        self.events.insert((self.now + after, self.seq), event);
    }
    /// Sends over the link that stands, if one does.
    pub(super) fn send(&mut self, from: usize, to: usize, event: impl FnOnce(u64) -> Event) {
        if let Some(link) = self.members[from].links.get(&to).copied() {
            self.later(DELAY, event(link));
        }
    }
    pub(super) fn swarm(&mut self, m: usize) -> Option<&mut Swarm<Vec<u8>, Bankbook>> {
        let member = &mut self.members[m];
        member.swarm.as_deref_mut().filter(|_| !member.gone)
    }
    pub(super) fn ticket(&self, m: usize) -> Ticket {
        Ticket(m as u32 + 100 * self.members[m].tries)
    }
    /// Who else seeks what it seeks, and who has it, as a tracker knows.
    pub(super) fn sources(&self, m: usize) -> (SlotSet, SlotSet) {
        let version = self.members[m].version;
        let alike = |k: &usize| *k != m && !self.members[*k].gone && self.members[*k].version == version;
        let all = || (0..self.members.len()).filter(alike);
        let whole = |k: &usize| self.has_whole(*k, version);
        let seeks = |k: &usize| !whole(k) && self.members[*k].tries > 0;
        (set(all().filter(whole)), set(all().filter(seeks)))
    }
    pub(super) fn has_whole(&self, m: usize, version: usize) -> bool {
        let member = &self.members[m];
        let has = member.swarm.is_none() || matches!(member.end, Some((Ok(()), _)));
        has && member.version == version
    }
    pub(super) fn start(&mut self, m: usize) {
        if self.members[m].gone {
            return;
        }
        let at = Instant(self.now);
        let member = &mut self.members[m];
        member.tries += 1;
        member.end = None;
        member.got.clear();
        let version = &self.versions[member.version];
        let present = member.part.keys().next_back().map_or(0, |last| last + 1);
        let (content, size) = (version.content, version.size as u64);
        let (from, seekers) = self.sources(m);
        let (ticket, kind) = (self.ticket(m), Kind::File);
        let fetch = Fetch { ticket, kind, content, size, present, from, seekers, based: false };
        let (walk, window) = (vec![0; WALK_MEMORY], vec![0; WINDOW_MEMORY]);
        let before = self.members[m].bank.take().map(|b| b.heard());
        let alike = before.filter(|h| h.root.is_some_and(|r| r.file_id() == content));
        let bank = Bankbook::new(alike.unwrap_or_default(), None);
        self.members[m].bank = Some(bank.clone());
        let lent = Some(Lent { walk, window, bank });
        let Some(swarm) = self.swarm(m) else { return };
        swarm.handle_me(Some(Slot(m as u8)));
        swarm.handle_fetch(at, &fetch, lent);
    }
    /// Whether it has that chunk of that content, to serve it.
    pub(super) fn has(&self, m: usize, content: &ContentId, offset: u64, len: u32) -> bool {
        let member = &self.members[m];
        if self.has_whole(m, member.version) && self.versions[member.version].content == *content {
            return true;
        }
        let has = member.swarm.as_ref().is_some_and(|s| s.holds(content, offset, len).is_some());
        assert!(!has || member.got.contains(&offset), "holds what it got alone");
        has
    }

    /// What it knows of the tree of that content: of a node, at level 0 of the root. None: it has to do with it no more;
    /// none within: not so far.
    pub(super) fn knows(
        &self,
        m: usize,
        content: &ContentId,
        level: u8,
        offset: u64,
    ) -> Option<Option<Told>> {
        let member = &self.members[m];
        let version = &self.versions[member.version];
        if self.has_whole(m, member.version) && version.content == *content {
            let root = version.manifest.root();
            let mut out = vec![0; NODE_BYTES];
            let node = version.manifest.node(level, offset).map(|n| version.manifest.encode(n, &mut out));
            out.truncate(node.unwrap_or(0));
            return Some(Some(if level == 0 { Told::Root(root) } else { Told::Node(out) }));
        }
        if version.content != *content || member.end.is_some() || member.tries == 0 {
            return None;
        }
        let heard = member.bank.as_ref()?.heard();
        Some(match level {
            0 => heard.root.map(Told::Root),
            _ => heard.nodes.get(&(level, offset)).cloned().map(Told::Node),
        })
    }

    pub(super) fn act(&mut self, m: usize, effect: Effect) {
        match effect {
            Effect::Ask(to, ask) => self.send(m, to.0 as usize, |l| Event::Ask(m, to.0 as usize, l, ask)),
            Effect::Dial(to) => {
                let to = to.0 as usize;
                if self.members[to].gone {
                    let at = Instant(self.now);
                    return self.swarm(m).unwrap().handle_unreachable(at, Slot(to as u8));
                }
                match self.members[to].stopped > self.now {
                    true => self.later(5 * SECOND, Event::Unreachable(m, to)),
                    false => self.later(3 * DELAY, Event::Open(m, to)),
                }
            }
            Effect::Find(ticket, _) => self.swarm(m).unwrap().handle_found(ticket),
            Effect::Hang(slot) => {
                assert!(self.retry.is_some(), "no link is silent for so long");
                self.part(m, slot.0 as usize);
            }
            Effect::Check(ticket, leaf, _) => {
                let member = &mut self.members[m];
                let here = member.part.get(&leaf.offset) == Some(&leaf.hash);
                assert!(!here || member.got.insert(leaf.offset), "nothing is taken twice");
                self.swarm(m).unwrap().handle_checked(ticket, leaf.offset, here);
            }
            Effect::Finished(_) => {
                let member = &mut self.members[m];
                let mut leaves = self.versions[member.version].manifest.leaves();
                let whole = leaves.all(|leaf| member.part.get(&leaf.offset) == Some(&leaf.hash));
                assert!(whole, "finished, and not all of it is there");
                member.end = Some((Ok(()), self.now));
            }
            Effect::Failed(_, cause) => {
                self.members[m].end = Some((Err(cause), self.now));
                if let Some(retry) = self.retry {
                    self.later(retry, Event::Start(m));
                }
            }
            Effect::Bad(slot, _) => {
                assert!(self.members[slot.0 as usize].lies, "who sent what is right is not blamed");
                self.members[m].named.push(slot);
            }
            Effect::Have(to, content, all) => {
                let mut out = vec![0; HAVE];
                let n = self.swarm(m).unwrap().encode_have(to, &content, all, &mut out);
                out.truncate(n);
                self.send(m, to.0 as usize, |l| Event::Have(m, to.0 as usize, l, out));
            }
        }
    }
    fn drain(&mut self) {
        for m in 0..self.members.len() {
            let at = Instant(self.now);
            if self.members[m].stopped > self.now {
                continue;
            }
            while let Some(effect) = self.swarm(m).and_then(|s| s.poll_effect(at)) {
                self.act(m, effect);
            }
            let next = self.swarm(m).and_then(|s| s.poll_timeout());
            assert!(next.is_none_or(|t| t > at), "the next timeout is in the future");
        }
    }
    /// Sends the next chunk, if the uplink is free.
    pub(super) fn serve(&mut self, m: usize) {
        loop {
            let member = &mut self.members[m];
            if member.busy || member.gone {
                return;
            }
            let n = member.queues.len();
            let Some(to) = (1..=n).map(|i| (member.turn + i) % n).find(|to| !member.queues[*to].is_empty())
            else {
                return;
            };
            member.turn = to;
            let ask = member.queues[to].pop_front().unwrap();
            let Ask::Chunk { id, content, offset, len } = ask else { unreachable!("only chunks wait") };
            if !self.has(m, &content, offset, len) {
                self.send(m, to, |l| Event::Refused(m, to, l, id, Refusal::Gone));
                continue;
            }
            let member = &mut self.members[m];
            member.busy = true;
            member.sent += len as u64;
            let (took, life) = (len as u64 * SECOND / member.rate, member.life);
            self.later(took, Event::Sent(m, to, life, ask));
        }
    }
    /// The link of two ends: the first knows at once, the other soon.
    pub(super) fn part(&mut self, a: usize, b: usize) {
        let at = Instant(self.now);
        let Some(link) = self.members[a].links.remove(&b) else { return };
        self.members[a].queues[b].clear();
        if let Some(s) = self.swarm(a) {
            s.handle_closed(at, Slot(b as u8));
        }
        self.later(DELAY, Event::Closed(b, a, link));
    }
    pub(super) fn leave(&mut self, m: usize) {
        let member = &mut self.members[m];
        if member.stopped > self.now {
            // What came to it waits until it goes on.
            return;
        }
        (member.gone, member.busy) = (true, false);
        member.life += 1;
        member.queues.iter_mut().for_each(VecDeque::clear);
        for (other, link) in std::mem::take(&mut member.links) {
            self.later(0, Event::Closed(other, m, link));
        }
    }
    pub(super) fn back(&mut self, m: usize) {
        let current = self.current;
        let member = &mut self.members[m];
        if !std::mem::take(&mut member.gone) {
            return;
        }
        if member.swarm.is_none() {
            member.version = current;
            return;
        }
        member.swarm = Some(Box::default());
        member.bank = None;
        if !matches!(member.end, Some((Ok(()), _))) {
            self.start(m);
        }
    }
    /// Runs until all who are left have it, or cannot.
    pub(super) fn run(&mut self, most: u64) {
        let done = |m: &Member| m.gone || m.swarm.is_none() || m.end.is_some();
        self.run_until(most, |c| c.members.iter().all(done));
    }
    pub(super) fn run_until(&mut self, most: u64, done: impl Fn(&Crowd) -> bool) {
        while !done(self) && self.now < most {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let mut next = event;
            for m in 0..self.members.len() {
                let stopped = self.members[m].stopped;
                let timeout = self.swarm(m).and_then(|s| s.poll_timeout()).map(|t| t.0.max(stopped));
                next = next.into_iter().chain(timeout).min();
            }
            let Some(next) = next.filter(|next| *next < most) else {
                self.now = most;
                return;
            };
            self.now = next.max(self.now);
            if event == Some(self.now) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            }
            self.drain();
        }
    }
    /// When the last one had it.
    pub(super) fn all_have_it(&self) -> u64 {
        let of = |m: &Member| match m.end {
            _ if m.gone || m.swarm.is_none() => 0,
            Some((Ok(()), at)) => at,
            ref other => panic!("{other:?}"),
        };
        self.members.iter().map(of).max().unwrap()
    }
    pub(super) fn copies(&self, m: usize) -> f64 {
        self.members[m].sent as f64 / self.versions[0].size as f64
    }
}
