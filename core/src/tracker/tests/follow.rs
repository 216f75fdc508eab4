//! Devices that do no more than write down what they are sent, over links that break at any frame, end with what the
//! table has: nothing is left out, whatever the cursors went through.

use super::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::format;

type Key = (u8, Text, bool);

/// What a device has written down.
#[derive(Default)]
struct Notes {
    rows: BTreeMap<Key, (Seq, Record)>,
    seen: BTreeMap<u8, Seq>,
    // Of the link that stands.
    caught: BTreeSet<u8>,
    said: VecDeque<(Key, Record)>,
    last: BTreeMap<u8, Seq>,
}

impl Notes {
    /// `stands`: whether a seq is still a current record's.
    fn hear(&mut self, got: Got, stands: impl Fn(Seq) -> bool) {
        match got {
            Got::Record { folder, seq, path, record } => {
                let again = self.seen.get(&folder.0).is_some_and(|s| *s >= seq);
                let last = self.last.entry(folder.0).or_default();
                assert!(again || seq > *last, "in order of seqs");
                *last = seq.max(*last);
                self.write((folder.0, path, record.flags.withdrawn()), seq, *record);
                self.raise(folder.0, seq);
            }
            Got::CaughtUp(f, seq) => {
                assert!(self.caught.insert(f.0), "once a link");
                self.raise(f.0, seq);
            }
            Got::Standing(seq) => self.caught.clone().into_iter().for_each(|f| self.raise(f, seq)),
            Got::Verdict(_, v) => {
                let (key, record) = self.said.pop_front().expect("a verdict for each announcement");
                match v {
                    Verdict::Accepted(seq) => self.write(key, seq, record),
                    Verdict::Superseded(seq) | Verdict::Conflict(seq) => {
                        let row = self.rows.get(&key).map_or(Seq(0), |r| r.0);
                        assert!(row >= seq || !stands(seq), "it came before the verdict");
                    }
                    other => panic!("{other:?}"),
                }
            }
            _ => {}
        }
    }
    fn write(&mut self, key: Key, seq: Seq, record: Record) {
        if self.rows.get(&key).is_none_or(|(s, _)| *s < seq) {
            self.rows.insert(key, (seq, record));
        }
    }
    fn raise(&mut self, f: u8, seq: Seq) {
        let s = self.seen.entry(f).or_default();
        *s = seq.max(*s);
    }
}

struct World {
    h: Home,
    notes: List<Notes>,
    rng: Rng,
}

impl World {
    fn begin(&mut self, i: usize) {
        self.notes[i].caught.clear();
        self.notes[i].said.clear();
        self.notes[i].last.clear();
        self.h.clients[i].run += 1;
        self.h.clients[i].counter = 1 << 40;
        if let Some(link) = self.h.clients[i].link.take() {
            self.h.t.handle_closed(self.h.now, link);
        }
        self.h.open(i).unwrap();
        let c = &self.h.clients[i];
        let hello = ToTracker::Hello {
            tag: c.tag,
            counter: c.counter,
            run: c.run,
            port: 1,
            addrs: Addrs::new(),
            caps: 0,
            roster: c.sealed_version,
            flags: 0,
            name: "",
        };
        self.say(i, &hello);
        for f in 0..3 {
            let Some(id) = self.h.t.roster().folder(FolderSlot(f)).map(|f| f.id) else { continue };
            if self.rng.below(4) > 0 {
                let seen = self.notes[i].seen.get(&f).copied().unwrap_or_default();
                let epoch = self.h.t.epoch();
                self.say(i, &ToTracker::Seen { folder: id, epoch, seen });
            }
        }
    }
    fn say(&mut self, i: usize, m: &ToTracker<'_>) {
        let mut buf = vec![0; limits::FRAME];
        let n = encode(m, &mut buf).unwrap();
        let link = self.h.clients[i].link.unwrap();
        self.h.t.handle_frame(self.h.now, link, &buf[..n]).unwrap();
    }
    fn announce(&mut self, i: usize) {
        let caught: List<u8> = self.notes[i].caught.iter().copied().collect();
        if caught.is_empty() || self.notes[i].said.len() > 400 {
            return;
        }
        let f = caught[self.rng.below(caught.len() as u64) as usize];
        let tag = self.h.clients[i].tag.0;
        let all: List<_> = (0..1 + self.rng.below(8))
            .map(|_| {
                let path = format!("dir/{}", self.rng.below(60));
                let old = self.notes[i].rows.get(&(f, path.clone(), false)).map(|(_, r)| r.clone());
                self.h.now.wall += 1;
                (path, file(self.rng.below(200) as u8, edit(tag, self.h.now.wall), old.as_ref()))
            })
            .collect();
        for (path, r) in &all {
            self.notes[i].said.push_back(((f, path.clone(), false), r.clone()));
        }
        let refs: List<_> = all.iter().map(|(p, r)| (p.as_str(), r, HELD)).collect();
        let link = self.h.clients[i].link.unwrap();
        self.h.t.handle_frame(self.h.now, link, &batch(FolderSlot(f), &refs)).unwrap();
    }
    fn listen(&mut self, i: usize, frames: u64) {
        let Some(link) = self.h.clients[i].link else { return };
        let mut out = vec![0; limits::FRAME];
        for _ in 0..frames {
            match self.h.t.poll_transmit(self.h.now, link, &mut out) {
                Sent::Frame(n) => self.h.clients[i].take(&out[..n]),
                Sent::Again => {}
                Sent::Idle => break,
            }
        }
        let got: List<Got> = self.h.clients[i].got.drain(..).collect();
        for g in got {
            self.notes[i].hear(g, |seq| self.h.t.files.get(seq).is_some());
            self.check(i);
        }
    }
    /// Whatever lies at or below `seen` is written down.
    fn check(&self, i: usize) {
        let (notes, mut at) = (&self.notes[i], Seq(0));
        while let Some(e) = self.h.t.files.table().next_after(at) {
            at = e.seq();
            let path = Text::from_utf8(e.path().bytes().to_vec()).unwrap();
            let seen = notes.seen.get(&e.folder().0).copied().unwrap_or_default();
            let known = notes.rows.get(&(e.folder().0, path, false)).is_some_and(|(s, _)| *s == at);
            assert!(known || at > seen, "{at:?} is not known");
        }
    }
}

fn run(seed: u8) {
    let mut h = Home::with(3);
    for i in 0..3 {
        h.link(i, "g");
        h.link(i, "k");
    }
    h.clear();
    let mut w = World {
        h,
        notes: List::from_iter((0..3).map(|_| Notes::default())),
        rng: Rng::from_seed([seed; 32]),
    };
    (0..3).for_each(|i| w.begin(i));
    for _ in 0..400 {
        let i = w.rng.below(3) as usize;
        match w.rng.below(12) {
            0 => w.begin(i),
            1 => w.h.now.at = w.h.now.at + Duration::secs(6),
            2..6 => w.announce(i),
            _ => {
                let frames = w.rng.below(4);
                w.listen(i, frames);
            }
        }
        w.h.t.turns.expire(w.h.now.at);
    }
    for i in 0..3 {
        w.begin(i);
        for f in 0..3 {
            let id = w.h.t.roster().folder(FolderSlot(f)).unwrap().id;
            let seen = w.notes[i].seen.get(&f).copied().unwrap_or_default();
            let epoch = w.h.t.epoch();
            w.say(i, &ToTracker::Seen { folder: id, epoch, seen });
        }
    }
    for _ in 0..4 {
        (0..3).for_each(|i| w.listen(i, 10_000));
        w.h.now.at = w.h.now.at + Duration::secs(6);
        w.h.t.turns.expire(w.h.now.at);
    }
    let mut want = BTreeMap::new();
    let mut at = Seq(0);
    while let Some(e) = w.h.t.files.table().next_after(at) {
        at = e.seq();
        let path = Text::from_utf8(e.path().bytes().to_vec()).unwrap();
        want.insert((e.folder().0, path, e.flags().withdrawn()), (e.seq(), e.record()));
    }
    assert!(want.len() > 50, "{}", want.len());
    for n in &w.notes {
        assert!(n.rows == want);
        assert!((0..3).all(|f| n.caught.contains(&f)));
    }
}

#[test]
fn devices_that_write_down_what_they_are_sent_end_with_the_table() {
    (0..30).for_each(run);
}
