//! A home in a test: one tracker and a few clients that speak frames and do nothing by themselves.

mod claim;
mod follow;
mod fuzz;
mod hostile;
mod join;
mod recover;
mod sync;

use super::*;
use crate::ids::{ContentId, DeviceId, FolderId, FolderSlot, Seq, Tag};
use crate::path::Path;
use crate::record::{Kind, Record};
use crate::version::{Edit, VersionVector};
use crate::wire::batch::{BatchReader, BatchWriter, Entry, EntryFlags};
use crate::wire::message::{Addrs, Answer, Ranges, Request, SeqRange, ToPeer, Verdict, decode, encode};
use std::boxed::Box;
use std::string::{String as Text, ToString};
use std::vec;
use std::vec::Vec as List;

pub(super) const F: FolderSlot = FolderSlot(0);

/// What a client was sent, owned.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Got {
    Welcome { epoch: Epoch, device: DeviceId, slot: Slot, roster: RosterVersion },
    NewTag(u32),
    Presence { device: DeviceId, online: bool, lag: u64 },
    Roster(RosterVersion),
    WantRoster,
    Record { folder: FolderSlot, seq: Seq, path: Text, record: Box<Record> },
    CaughtUp(FolderSlot, Seq),
    Verdict(u32, Verdict),
    Forget(FolderSlot, Box<Ranges>),
    Sources { seq: Seq, holders: SlotSet, seekers: SlotSet },
    ConnectBack(DeviceId),
    Reply(u32, Reply),
    Room(u32, u32),
    Notice(Text),
    Pong,
    Standing(Seq),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Reply {
    Done,
    Invite(InviteId, [u8; 16]),
    Folder(FolderId, FolderSlot, bool),
    Refused(Text),
    Waiting(u8, u8),
}

/// One device as far as the tracker can tell.
pub(super) struct Client {
    pub(super) key: PublicKey,
    pub(super) name: &'static str,
    pub(super) tag: Tag,
    pub(super) counter: u64,
    pub(super) run: u64,
    pub(super) invite: Option<InviteId>,
    pub(super) link: Option<LinkId>,
    pub(super) sealed: List<u8>,
    pub(super) sealed_version: RosterVersion,
    parts: List<u8>,
    pub(super) got: List<Got>,
    /// Where its links come from, where it says that it listens, and where it was told that others do.
    pub(super) from: Addr,
    pub(super) says: Addrs,
    pub(super) told_of: List<(DeviceId, Addrs)>,
}

pub(super) struct Home {
    pub(super) t: Box<Tracker<'static>>,
    pub(super) now: Now,
    links: u32,
    pub(super) clients: List<Client>,
    pub(super) saves: u32,
    /// What was stored last.
    pub(super) saved: List<u8>,
}

pub(super) fn config(past: Past<'_>) -> Config<'_> {
    Config {
        roster_key: [9; 32],
        seed: [5; 32],
        past,
        founder: None,
        recovery: Some(recovery_digest("Seven wise  words")),
        home: "home",
        version: "1",
    }
}

pub(super) fn tracker(c: Config<'_>, memory: usize) -> Box<Tracker<'static>> {
    Box::new(Tracker::new(c, Box::leak(vec![0; memory].into_boxed_slice())))
}

impl Home {
    pub(super) fn new(past: Past<'_>) -> Home {
        Home::of(config(past), 1024 * 1024)
    }
    pub(super) fn of(c: Config<'_>, memory: usize) -> Home {
        let now = Now { at: Instant(1_000_000), wall: 0 };
        let mut h = Home { t: tracker(c, memory), now, links: 0, clients: vec![], saves: 0, saved: vec![] };
        h.drain();
        h
    }
    /// A home with `n` devices, all members of one folder, caught up.
    pub(super) fn with(n: usize) -> Home {
        let mut h = Home::new(Past::New);
        for i in 0..n {
            h.join(i);
            h.link(i, "f");
            h.seen(i, Seq(0));
            h.told(i);
        }
        h.clear();
        h
    }
    pub(super) fn client(&mut self, name: &'static str) -> usize {
        let n = self.clients.len() as u8 + 1;
        self.clients.push(Client {
            key: PublicKey([n; 32]),
            name,
            tag: Tag(u32::from(n) * 10),
            counter: 0,
            run: 0,
            invite: None,
            link: None,
            sealed: vec![],
            sealed_version: RosterVersion::default(),
            parts: vec![],
            got: vec![],
            from: Addr::V4([127, 0, 0, 1], 5000),
            says: Addrs::new(),
            told_of: vec![],
        });
        self.clients.len() - 1
    }
    /// Takes a new device in: the first by the founding invite, others by one of client 0.
    pub(super) fn join(&mut self, i: usize) {
        assert_eq!(self.client(["a", "b", "c", "d", "e", "g", "h"][i % 7]), i);
        let invite = match self.t.founding_invite() {
            Some((id, _)) => id,
            None => self.invite(0),
        };
        self.clients[i].invite = Some(invite);
        self.dial(i);
        assert!(self.is_live(i), "{:?}", self.clients[i].got);
        self.clients[i].invite = None;
    }
    pub(super) fn invite(&mut self, by: usize) -> InviteId {
        match self.ask(by, Request::Invite) {
            Reply::Invite(id, secret) => {
                assert_eq!(self.t.invite_secret(self.now, id), Some(secret));
                id
            }
            other => panic!("{other:?}"),
        }
    }
    pub(super) fn is_live(&self, i: usize) -> bool {
        self.clients[i].link.is_some() && self.clients[i].got.iter().any(|g| matches!(g, Got::Welcome { .. }))
    }

    /// Opens a link and says Hello; what came of it is in `got`.
    pub(super) fn dial(&mut self, i: usize) {
        self.clients[i].got.clear();
        self.clients[i].run += 1;
        if self.open(i).is_ok() {
            let _ = self.hello(i);
        }
    }
    pub(super) fn open(&mut self, i: usize) -> Result<(), Reject> {
        self.links += 1;
        let link = LinkId(self.links);
        let c = &mut self.clients[i];
        let who = Identity { key: c.key, invite: c.invite };
        self.t.handle_open(self.now, link, who, c.from)?;
        c.link = Some(link);
        Ok(())
    }
    pub(super) fn hello(&mut self, i: usize) -> Result<(), Reject> {
        let c = &self.clients[i];
        let (tag, counter, run, name, roster) = (c.tag, c.counter, c.run, c.name, c.sealed_version);
        let addrs = c.says.clone();
        self.say(
            i,
            ToTracker::Hello { tag, counter, run, port: 7421, addrs, caps: 0, roster, flags: 0, name },
        )
    }
    pub(super) fn close(&mut self, i: usize) {
        if let Some(link) = self.clients[i].link.take() {
            self.t.handle_closed(self.now, link);
        }
        self.drain();
    }
    pub(super) fn say(&mut self, i: usize, m: ToTracker<'_>) -> Result<(), Reject> {
        let mut buf = vec![0; limits::FRAME];
        let n = encode(&m, &mut buf).unwrap();
        self.raw(i, &buf[..n])
    }
    pub(super) fn raw(&mut self, i: usize, frame: &[u8]) -> Result<(), Reject> {
        let link = self.clients[i].link.expect("a link");
        let r = self.t.handle_frame(self.now, link, frame);
        if r.is_err() {
            self.t.handle_closed(self.now, link);
            self.clients[i].link = None;
        }
        self.drain();
        r
    }
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now.at + time;
        while let Some(at) = self.t.poll_timeout().filter(|at| *at <= until) {
            self.now.at = at;
            self.t.handle_timeout(self.now);
            self.drain();
        }
        self.now.at = until;
        self.t.handle_timeout(self.now);
        self.drain();
    }
    /// Pings of every client, so that time may pass without losing links.
    pub(super) fn pass_alive(&mut self, time: Duration) {
        let mut left = time.0;
        while left > 0 {
            let step = left.min(5_000_000);
            self.pass(Duration(step));
            left -= step;
            for i in 0..self.clients.len() {
                if self.clients[i].link.is_some() {
                    self.say(i, ToTracker::Ping).unwrap();
                }
            }
        }
    }

    pub(super) fn drain(&mut self) {
        let mut out = vec![0; limits::FRAME];
        loop {
            let mut quiet = true;
            self.drain_events();
            for c in &mut self.clients {
                let Some(link) = c.link else { continue };
                match self.t.poll_transmit(self.now, link, &mut out) {
                    Sent::Frame(n) => {
                        quiet = false;
                        c.take(&out[..n]);
                    }
                    Sent::Again => quiet = false,
                    Sent::Idle => {}
                }
            }
            if quiet {
                break;
            }
        }
        self.drain_events();
        assert!(
            self.t.poll_timeout().is_none_or(|at| at > self.now.at),
            "drained, so the next timeout is later"
        );
        self.t.files.check();
    }
    fn drain_events(&mut self) {
        while let Some(e) = self.t.poll_event() {
            match e {
                Event::SaveRoster => {
                    self.saves += 1;
                    self.saved = self.t.sealed_roster().to_vec();
                }
                Event::Hang(link) => {
                    self.t.handle_closed(self.now, link);
                    self.clients.iter_mut().filter(|c| c.link == Some(link)).for_each(|c| c.link = None);
                }
                Event::Log(_) => {}
            }
        }
    }
    pub(super) fn clear(&mut self) {
        self.clients.iter_mut().for_each(|c| c.got.clear());
    }

    // What clients say.

    pub(super) fn ask(&mut self, i: usize, r: Request<'_>) -> Reply {
        self.say(i, ToTracker::Request(77, r)).unwrap();
        let at = self.clients[i].got.iter().rposition(|g| matches!(g, Got::Reply(77, _))).expect("a reply");
        match self.clients[i].got.remove(at) {
            Got::Reply(_, r) => r,
            _ => unreachable!(),
        }
    }
    pub(super) fn revoke(&mut self, i: usize, whom: usize) -> Reply {
        self.ask(i, Request::Revoke(self.clients[whom].key))
    }
    pub(super) fn link(&mut self, i: usize, label: &str) -> FolderId {
        match self.ask(i, Request::Link { label, make: true }) {
            Reply::Folder(id, _, _) => id,
            other => panic!("{other:?}"),
        }
    }
    pub(super) fn seen(&mut self, i: usize, seen: Seq) {
        self.seen_of(i, F, seen);
    }
    pub(super) fn seen_of(&mut self, i: usize, f: FolderSlot, seen: Seq) {
        let folder = self.t.roster().folder(f).unwrap().id;
        let epoch = self.t.epoch();
        self.say(i, ToTracker::Seen { folder, epoch, seen }).unwrap();
    }
    pub(super) fn told(&mut self, i: usize) {
        self.say(i, ToTracker::Told(F)).unwrap();
    }
    pub(super) fn have(&mut self, i: usize, from: u64, to: u64, held: bool) {
        let ranges = Ranges::from_slice(&[SeqRange { from: Seq(from), to: Seq(to) }]).unwrap();
        let m = match held {
            true => ToTracker::Have { folder: F, ranges, run: 0 },
            false => ToTracker::Lack { folder: F, ranges },
        };
        self.say(i, m).unwrap();
    }
    /// Announces records of folder 0 in one frame; the verdicts.
    pub(super) fn announce(&mut self, i: usize, records: &[(&str, &Record, EntryFlags)]) -> List<Verdict> {
        self.clients[i].got.retain(|g| !matches!(g, Got::Verdict(..)));
        let c = &mut self.clients[i];
        records.iter().for_each(|(_, r, _)| c.counter = c.counter.max(r.version.get(c.tag)));
        let frame = batch(F, records);
        self.raw(i, &frame).unwrap();
        let verdicts = self.clients[i].got.iter().filter_map(|g| match g {
            Got::Verdict(_, v) => Some(*v),
            _ => None,
        });
        verdicts.collect()
    }
    pub(super) fn put(&mut self, i: usize, path: &str, r: &Record) -> Verdict {
        let v = self.announce(i, &[(path, r, HELD)]);
        assert_eq!(v.len(), 1);
        v[0]
    }
    /// What a client knows of a folder: the last record of each path, in the order of seqs.
    pub(super) fn records(&self, i: usize) -> List<(Text, Seq, Record)> {
        let mut out: List<(Text, Seq, Record)> = vec![];
        for g in &self.clients[i].got {
            if let Got::Record { path, seq, record, .. } = g {
                out.retain(|(p, _, r)| p != path || r.flags != record.flags);
                out.push((path.clone(), *seq, (**record).clone()));
            }
        }
        out
    }
    pub(super) fn lag(&self, i: usize) -> u64 {
        let (slot, _) = self.t.roster.device_by_key(&self.clients[i].key).unwrap();
        self.t.files.lag(slot)
    }
}

pub(super) const HELD: EntryFlags = EntryFlags { held: true, pair: false };
pub(super) const HEARD: EntryFlags = EntryFlags { held: false, pair: false };

pub(super) fn batch(folder: FolderSlot, records: &[(&str, &Record, EntryFlags)]) -> List<u8> {
    let mut bytes = vec![0; limits::FRAME - 8];
    let mut w = BatchWriter::new(&mut bytes);
    for (path, record, flags) in records {
        let path = Path::new(path.as_bytes()).unwrap();
        assert!(w.push(&Entry { folder, seq: Seq(0), flags: *flags, path, record }));
    }
    let n = w.len();
    let mut frame = vec![0; limits::FRAME];
    let n = encode(&ToTracker::Announce(&bytes[..n]), &mut frame).unwrap();
    frame.truncate(n);
    frame
}

impl Client {
    fn take(&mut self, frame: &[u8]) {
        let m: ToPeer<'_> = decode(frame).expect("a message");
        match m {
            ToPeer::Welcome { epoch, device, slot, roster, .. } => {
                self.got.push(Got::Welcome { epoch, device, slot, roster })
            }
            ToPeer::NewTag { wait } => self.got.push(Got::NewTag(wait)),
            ToPeer::Presence { device, online, lag, addrs, .. } => {
                self.told_of.push((device, addrs));
                self.got.push(Got::Presence { device, online, lag })
            }
            ToPeer::Roster(p) => {
                if p.offset == 0 {
                    self.parts.clear();
                }
                self.parts.extend_from_slice(p.bytes);
                if self.parts.len() == p.total as usize {
                    self.sealed = self.parts.clone();
                    self.sealed_version = p.of;
                    self.got.push(Got::Roster(p.of));
                }
            }
            ToPeer::WantRoster => self.got.push(Got::WantRoster),
            ToPeer::Records(bytes) => self.take_records(bytes),
            ToPeer::CaughtUp { folder, seq } => self.got.push(Got::CaughtUp(folder, seq)),
            ToPeer::Verdicts { first, verdicts } => {
                self.got.extend(verdicts.iter().zip(first..).map(|(v, n)| Got::Verdict(n, *v)))
            }
            ToPeer::Forget { folder, ranges } => self.got.push(Got::Forget(folder, Box::new(ranges))),
            ToPeer::Sources { seq, holders, seekers, .. } => {
                self.got.push(Got::Sources { seq, holders, seekers })
            }
            ToPeer::ConnectBack(d) => self.got.push(Got::ConnectBack(d)),
            ToPeer::Reply(n, a) => self.got.push(Got::Reply(n, own(a))),
            ToPeer::Room { used, of } => self.got.push(Got::Room(used, of)),
            ToPeer::Notice(s) => self.got.push(Got::Notice(s.to_string())),
            ToPeer::Pong => self.got.push(Got::Pong),
            ToPeer::Standing(seq) => self.got.push(Got::Standing(seq)),
        }
    }
    fn take_records(&mut self, bytes: &[u8]) {
        let mut r = BatchReader::new(bytes);
        while let Some(e) = r.entry().expect("a batch") {
            self.got.push(Got::Record {
                folder: e.folder,
                seq: e.seq,
                path: Text::from_utf8(e.path.bytes().to_vec()).unwrap(),
                record: Box::new(e.record.clone()),
            });
        }
    }
}

fn own(a: Answer<'_>) -> Reply {
    match a {
        Answer::Done(_) => Reply::Done,
        Answer::Invite { id, secret } => Reply::Invite(InviteId(id), secret),
        Answer::Folder { id, slot, made, .. } => Reply::Folder(id, slot, made),
        Answer::Refused(s) => Reply::Refused(s.to_string()),
        Answer::Waiting { have, of } => Reply::Waiting(have, of),
    }
}

pub(super) fn edit(tag: u32, counter: u64) -> Edit {
    Edit { tag: Tag(tag), counter }
}

/// A file of content `c`, made by `edit` on top of `parent`.
pub(super) fn file(c: u8, e: Edit, parent: Option<&Record>) -> Record {
    let mut version = parent.map_or(VersionVector::new(), |p| p.version.clone());
    assert!(version.raise(e));
    Record {
        kind: Kind::File,
        size: 10,
        mtime: i64::from(c),
        mode: 0o644,
        content: ContentId([c; 32]),
        author: DeviceId(1),
        edit: e,
        parent: parent.map(|p| p.edit),
        version,
        ..Record::default()
    }
}
/// The removal of `old`.
pub(super) fn removal(e: Edit, old: &Record) -> Record {
    let mut r = file(0, e, Some(old));
    (r.kind, r.size, r.mtime, r.mode, r.content) = (Kind::Removed, 0, 0, 0, old.content);
    r
}
