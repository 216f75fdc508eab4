//! The world around the machine: sources of every manner, and the driver's part done in memory.

use super::*;
use crate::content::{Entry, Hash, Leaf, Neighbours, Piece, entry_bytes, pieces};
use crate::data::{Ranges, assemble, complete};
use std::cell::RefCell;
use std::rc::Rc;

/// A [`Bank`] of one older version.
#[derive(Clone)]
pub(super) struct Bankbook(Rc<Book>);

/// The bytes of an old version, and its parts by name.
type Old = (Vec<u8>, Known<Vec<u8>, Vec<Node>, Vec<u32>>);

struct Book {
    old: Option<Old>,
    leaves: RefCell<Vec<u8>>,
    /// What an earlier try heard of the tree; what this one did.
    earlier: Heard,
    heard: RefCell<Heard>,
}

/// Root and nodes of a content, by level and offset.
#[derive(Clone, Default)]
pub(super) struct Heard {
    pub(super) root: Option<Root>,
    pub(super) nodes: BTreeMap<(u8, u64), Vec<u8>>,
}

impl Bankbook {
    /// Of a try after one that heard this.
    pub(super) fn new(earlier: Heard, old: Option<&Content>) -> Bankbook {
        let old = old.map(|old| {
            let index = vec![0; known_room(&old.manifest)];
            (old.bytes.clone(), Known::new(old.manifest.clone(), index))
        });
        Bankbook(Rc::new(Book { old, leaves: RefCell::default(), earlier, heard: RefCell::default() }))
    }
    pub(super) fn heard(&self) -> Heard {
        self.0.heard.borrow().clone()
    }
    fn find(&self, hash: &Hash) -> Option<&[u8]> {
        let (bytes, known) = self.0.old.as_ref()?;
        let leaf = known.leaf(known.position(hash)?);
        Some(&bytes[leaf.offset as usize..][..leaf.len as usize])
    }
    /// Whether it stands where its neighbours say.
    fn guess(&self, leaf: &Leaf, neighbours: &Neighbours) -> bool {
        let Some((bytes, known)) = self.0.old.as_ref() else { return false };
        let at = |at: u64| &bytes[at as usize..][..leaf.len as usize];
        known.guesses(leaf.len, neighbours).any(|o| chunk_id(at(o)) == leaf.hash)
    }
    /// The old chunks where the new one is.
    fn around(&self, piecemeal: &Piecemeal) -> Vec<&[u8]> {
        let Some((bytes, known)) = self.0.old.as_ref() else { return Vec::new() };
        let at = |leaf: Leaf| &bytes[leaf.offset as usize..][..leaf.len as usize];
        known
            .around(piecemeal.expect.offset, piecemeal.expect.len, &piecemeal.neighbours)
            .map(|p| at(known.leaf(p)))
            .collect()
    }
}

impl Bank for Bankbook {
    fn root(&self) -> Option<Root> {
        self.0.earlier.root
    }
    fn node(&self, level: u8, offset: u64, hash: &Hash, out: &mut [u8]) -> Option<usize> {
        if let Some(node) = self.0.earlier.nodes.get(&(level, offset)) {
            out[..node.len()].copy_from_slice(node);
            return Some(node.len());
        }
        let (_, known) = self.0.old.as_ref()?;
        known.node(level, hash).map(|node| known.manifest().encode(node, out))
    }
    fn entry(&self, level: u8, name: [u8; SHORT_BYTES]) -> Option<Entry> {
        self.0.old.as_ref()?.1.entry(level, name)
    }
    fn may_have(&self, chunk: &Hash) -> bool {
        self.find(chunk).is_some()
    }
    fn is_empty(&self) -> bool {
        self.0.old.is_none()
    }
    fn rooted(&self, root: &Root) {
        assert!(self.0.heard.borrow_mut().root.replace(*root).is_none(), "told once");
    }
    fn listed(&self, level: u8, offset: u64, node: &[u8]) {
        if level == 1 {
            self.0.leaves.borrow_mut().extend(node);
        }
        let before = self.0.heard.borrow_mut().nodes.insert((level, offset), node.to_vec());
        assert!(before.is_none(), "told once");
    }
}

pub(super) const MS: u64 = 1_000;
pub(super) const SECOND: u64 = 1_000_000;

/// How a source behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Manner {
    Honest,
    /// Every nth body or node is wrong.
    Lying(u32),
    /// Answers nothing.
    Silent,
    /// Has nothing.
    Empty,
    /// Too busy for every other ask.
    Busy,
    /// Too busy for any.
    Overrun,
    /// Cannot be reached.
    Away,
}

pub(super) struct Peer {
    pub(super) manner: Manner,
    /// Bytes a second, and µs one way.
    pub(super) rate: u64,
    pub(super) delay: u64,
    pub(super) free_at: u64,
    pub(super) asks: u32,
    pub(super) link: u32,
}

#[derive(Debug)]
pub(super) enum Fact {
    Open(Slot),
    Unreachable(Slot),
    Vanish(Slot, Manner),
    Answer(Slot, u32, Ask, bool),
    Refused(Slot, u32, u32, Refusal),
    Checked(Ticket, u64, bool),
    Found(Ticket),
    Progress(Slot, u32),
}

pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) manifest: Manifest<Vec<u8>, Vec<Node>>,
}

pub(super) struct World {
    pub(super) swarm: Box<Swarm<Vec<u8>, Bankbook>>,
    pub(super) now: u64,
    pub(super) facts: BTreeMap<(u64, u64), Fact>,
    pub(super) seq: u64,
    pub(super) peers: HashMap<Slot, Peer>,
    pub(super) contents: HashMap<ContentId, Content>,
    pub(super) ends: HashMap<Ticket, Result<(), Cause>>,
    pub(super) written: HashMap<Ticket, BTreeMap<u64, u32>>,
    pub(super) banks: HashMap<Ticket, Bankbook>,
    pub(super) drafts: HashMap<(Ticket, u64), (Vec<u8>, Ranges)>,
    /// Bytes that came.
    pub(super) traffic: usize,
    /// Pieces are known by wrong bytes.
    pub(super) muddled: bool,
    pub(super) named: Vec<Slot>,
    pub(super) asked: u32,
    pub(super) hung: u32,
    pub(super) part: Vec<u8>,
    /// Who seeks what is fetched, too.
    pub(super) seekers: SlotSet,
}

pub(super) fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

impl World {
    pub(super) fn new() -> World {
        World {
            swarm: Box::default(),
            now: 1,
            facts: BTreeMap::new(),
            seq: 0,
            peers: HashMap::new(),
            contents: HashMap::new(),
            ends: HashMap::new(),
            written: HashMap::new(),
            banks: HashMap::new(),
            drafts: HashMap::new(),
            traffic: 0,
            muddled: false,
            named: Vec::new(),
            asked: 0,
            hung: 0,
            part: Vec::new(),
            seekers: SlotSet(0),
        }
    }
    pub(super) fn at(&self) -> Instant {
        Instant(self.now)
    }
    pub(super) fn peer(&mut self, slot: u8, manner: Manner, rate: u64) -> SlotSet {
        let peer = Peer { manner, rate, delay: 300, free_at: 0, asks: 0, link: 0 };
        self.peers.insert(Slot(slot), peer);
        SlotSet::one(Slot(slot))
    }
    pub(super) fn content(&mut self, seed: u64, len: usize) -> ContentId {
        self.content_of(random(seed, len))
    }
    pub(super) fn content_of(&mut self, bytes: Vec<u8>) -> ContentId {
        let (mut hasher, mut list) = (ContentHasher::new(), Vec::new());
        hasher.update(&bytes, |l| list.extend(l.encode()));
        let root = hasher.finish(|l| list.extend(l.encode()));
        let nodes = vec![Node::default(); manifest_room(&list)];
        let manifest = Manifest::new(list, nodes).unwrap();
        self.contents.insert(root.file_id(), Content { bytes, manifest });
        root.file_id()
    }
    pub(super) fn fetch(&mut self, ticket: u32, content: ContentId, from: SlotSet, present: u64) {
        self.fetch_over(ticket, content, from, present, None);
    }
    /// Fetches while this older version is here.
    pub(super) fn fetch_over(
        &mut self,
        ticket: u32,
        content: ContentId,
        from: SlotSet,
        present: u64,
        old: Option<ContentId>,
    ) {
        let size = self.contents[&content].bytes.len() as u64;
        let bank = Bankbook::new(Heard::default(), old.map(|old| &self.contents[&old]));
        self.banks.insert(Ticket(ticket), bank.clone());
        let lend = || Lent { walk: vec![0; WALK_MEMORY], window: vec![0; WINDOW_MEMORY], bank };
        let lent = Swarm::<Vec<u8>, Bankbook>::needs_memory(size).then(lend);
        let (ticket, kind, based) = (Ticket(ticket), Kind::File, old.is_some());
        let seekers = self.seekers;
        let fetch = Fetch { ticket, kind, content, size, present, from, seekers, based };
        self.swarm.handle_fetch(self.at(), &fetch, lent);
        self.drain();
    }
    pub(super) fn later(&mut self, after: u64, fact: Fact) {
        self.seq += 1;
        self.facts.insert((self.now + after, self.seq), fact);
    }

    pub(super) fn drain(&mut self) {
        while let Some(effect) = self.swarm.poll_effect(Instant(self.now)) {
            self.act(effect);
        }
        let next = self.swarm.poll_timeout();
        assert!(next.is_none_or(|t| t.0 > self.now), "the next timeout is in the future");
        for s in &self.swarm.sources {
            assert!(s.bytes <= (8 << 20) + 2 * limits::CHUNK_MAX as u32 && s.count < 256);
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
            Effect::Check(ticket, leaf, neighbours) => {
                let range = leaf.offset as usize..(leaf.offset as usize + leaf.len as usize);
                let there = self.part.get(range).is_some_and(|b| chunk_id(b) == leaf.hash);
                let bank = &self.banks[&ticket];
                let good = there || bank.find(&leaf.hash).is_some() || bank.guess(&leaf, &neighbours);
                if good {
                    self.written.entry(ticket).or_default().insert(leaf.offset, leaf.len);
                }
                self.later(50, Fact::Checked(ticket, leaf.offset, good));
            }
            Effect::Finished(ticket) => assert!(self.ends.insert(ticket, Ok(())).is_none()),
            Effect::Failed(ticket, cause) => assert!(self.ends.insert(ticket, Err(cause)).is_none()),
            Effect::Bad(slot, _) => self.named.push(slot),
            Effect::Find(ticket, _) => self.later(50, Fact::Found(ticket)),
            Effect::Have(..) => {}
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
            Manner::Overrun => Some(Refusal::Busy),
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
    pub(super) fn run(&mut self, most: u64) {
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
    pub(super) fn tell(&mut self, fact: Fact) {
        let at = self.at();
        match fact {
            Fact::Open(slot) => self.swarm.handle_open(at, slot),
            Fact::Unreachable(slot) => self.swarm.handle_unreachable(at, slot),
            Fact::Checked(ticket, offset, good) => self.swarm.handle_checked(ticket, offset, good),
            Fact::Found(ticket) => self.swarm.handle_found(ticket),
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
                self.traffic += n;
                self.swarm.handle_node(at, slot, id, &out[..n]);
            }
            Ask::Short { id, content, level, offset } => {
                let mut names: Vec<u8> = Vec::new();
                for entry in self.entries(&content, level, offset) {
                    names.extend(&entry[..SHORT_BYTES]);
                }
                names[5] ^= u8::from(!good);
                self.traffic += names.len();
                self.swarm.handle_short(at, slot, id, &names);
            }
            Ask::Entries { id, content, level, offset, wants } => {
                let entries = self.entries(&content, level, offset).into_iter().enumerate();
                let some = entries.filter(|(i, _)| wants[i / 8] >> (i % 8) & 1 != 0).map(|(_, e)| e);
                let mut bytes: Vec<u8> = some.collect::<Vec<_>>().concat();
                bytes[3] ^= u8::from(!good);
                self.traffic += bytes.len();
                self.swarm.handle_node(at, slot, id, &bytes);
            }
            Ask::Pieces { id, content, offset, len } => {
                self.answer_pieces(at, slot, id, &content, offset, len, good)
            }
            Ask::Ranges { id, content, offset, ranges } => {
                let Some(expect) = self.swarm.expect(slot, id) else { return };
                let (mut out, missing) = self.drafts.remove(&(expect.ticket, offset)).expect("it was kept");
                assert_eq!((missing, expect.missing), (ranges, Some(ranges.total())));
                let chunk = &self.contents[&content].bytes[offset as usize..][..expect.len as usize];
                let mut bytes: Vec<u8> = Vec::new();
                for (at, len) in ranges.as_slice() {
                    bytes.extend(&chunk[*at as usize..][..*len as usize]);
                }
                bytes[0] ^= u8::from(!good);
                self.traffic += bytes.len();
                assert!(complete(&mut out, &ranges, &bytes));
                let body = self.take(&expect, &out);
                self.swarm.handle_body(at, slot, id, body);
            }
            Ask::Chunk { id, content, offset, len } => {
                let Some(expect) = self.swarm.expect(slot, id) else { return };
                assert_eq!((expect.offset, expect.len), (offset, len));
                let bytes = &self.contents[&content].bytes[offset as usize..][..len as usize];
                self.traffic += len as usize;
                let mut bytes = bytes.to_vec();
                bytes[0] ^= u8::from(!good);
                let body = self.take(&expect, &bytes);
                self.swarm.handle_body(at, slot, id, body);
            }
            Ask::Ping | Ask::Cancel { .. } => unreachable!("not answered"),
        }
    }
    fn entries(&self, content: &ContentId, level: u8, offset: u64) -> Vec<Vec<u8>> {
        let manifest = &self.contents[content].manifest;
        let mut out = vec![0; NODE_BYTES];
        let n = manifest.encode(manifest.node(level, offset).expect("asks for what there is"), &mut out);
        out[..n].chunks(entry_bytes(level)).map(|e| e.to_vec()).collect()
    }
    /// Checks a body and notes it as written.
    fn take(&mut self, expect: &Expect, bytes: &[u8]) -> Body {
        assert_eq!(bytes.len(), expect.len as usize);
        let good = match expect.check {
            Check::Chunk(hash) => chunk_id(bytes) == hash,
            Check::Whole(_, content) => self.contents[&content].bytes == bytes,
        };
        if good {
            let before = self.written.entry(expect.ticket).or_default().insert(expect.offset, expect.len);
            assert!(before.is_none(), "nothing is taken twice");
        }
        if good { Body::Good } else { Body::Bad }
    }
    #[allow(clippy::too_many_arguments)]
    fn answer_pieces(
        &mut self,
        at: Instant,
        slot: Slot,
        id: u32,
        content: &ContentId,
        offset: u64,
        len: u32,
        good: bool,
    ) {
        let Some(piecemeal) = self.swarm.expect_pieces(slot, id) else { return };
        let expect = piecemeal.expect;
        assert_eq!((expect.offset, expect.len), (offset, len));
        let chunk = &self.contents[content].bytes[offset as usize..][..len as usize];
        let mut list: Vec<u8> = pieces(chunk).flat_map(|(p, _)| p.encode()).collect();
        list[2] ^= u8::from(!good);
        self.traffic += list.len();
        let bank = self.banks[&expect.ticket].clone();
        let old = bank.around(&piecemeal);
        let known: HashMap<u64, &[u8]> =
            old.iter().flat_map(|chunk| pieces(chunk)).map(|(p, bytes)| (p.name, bytes)).collect();
        let wrong = random(99, 4096);
        let look = |p: &Piece| match self.muddled {
            true => known.get(&p.name).map(|b| &wrong[..b.len()]),
            false => known.get(&p.name).copied(),
        };
        let mut out = vec![0; len as usize];
        let draft = match assemble(&list, &mut out, look) {
            None => Draft::Useless,
            Some(missing) if missing.total() == 0 => Draft::Whole(self.take(&expect, &out)),
            Some(missing) => {
                self.drafts.insert((expect.ticket, offset), (out, missing));
                Draft::Missing(missing)
            }
        };
        self.swarm.handle_pieces(at, slot, id, draft);
    }
    /// Whether a fetch ended well, with every byte.
    pub(super) fn is_whole(&self, ticket: u32, content: ContentId) -> bool {
        let content = &self.contents[&content];
        let mut next = 0;
        for (offset, len) in self.written.get(&Ticket(ticket)).into_iter().flatten() {
            assert_eq!(*offset, next);
            next += *len as u64;
        }
        let large = content.bytes.len() > limits::CHUNK_MAX;
        let list = self.banks[&Ticket(ticket)].0.leaves.borrow();
        next == content.bytes.len() as u64
            && self.ends.get(&Ticket(ticket)) == Some(&Ok(()))
            && (!large || *list == content.manifest.list())
    }
}
