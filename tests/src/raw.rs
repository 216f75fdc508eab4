//! A device that speaks the tracker link by hand: for measuring a tracker, and for saying what no device would say.

use dartsync_core::ids::{ContentId, DeviceId, Epoch, FolderId, FolderSlot, PublicKey, Seq, Slot, Tag};
use dartsync_core::limits::FRAME;
use dartsync_core::link::code::InviteCode;
use dartsync_core::link::{Opening, Progress, SEAL_HEAD, SEAL_OVERHEAD, StaticKey, TrackerChannel};
use dartsync_core::path::Path;
use dartsync_core::record::{Kind, Record};
use dartsync_core::rng::Rng;
use dartsync_core::version::{Edit, VersionVector};
use dartsync_core::wire::batch::{BatchReader, BatchWriter, Entry, EntryFlags};
use dartsync_core::wire::message::{
    self, Answer, Ranges, Request, RosterVersion, SeqRange, ToPeer, ToTracker, Verdict,
};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where a counter of today may begin: 2026-01-01, µs.
pub const COUNTER: u64 = 1_767_225_600_000_000;

/// An opened link of one device.
pub struct RawLink {
    stream: TcpStream,
    channel: TrackerChannel,
    input: Vec<u8>,
    requests: u32,
    run: u64,
    /// This device's tag.
    pub tag: Tag,
    /// The table's epoch, from the Welcome.
    pub epoch: Epoch,
    /// This device, from the Welcome.
    pub device: DeviceId,
    /// Its slot, from the Welcome.
    pub slot: Slot,
}

impl RawLink {
    /// Dials, shakes hands by the invite, says Hello, waits for the Welcome. Panics where that fails.
    pub fn join(at: &str, code: &InviteCode, seed: u8, name: &str) -> RawLink {
        RawLink::join_serving(at, code, seed, name, 0)
    }
    /// [`RawLink::join`] of a device that takes data links at a port of loopback.
    pub fn join_serving(at: &str, code: &InviteCode, seed: u8, name: &str, port: u16) -> RawLink {
        let me = RawLink::key(seed);
        let (opening, secret) = match code.is_founders() {
            true => (Opening::TRACKER, None),
            false => (Opening::enrol(code.invite), Some(&code.secret)),
        };
        let mut link = RawLink::open(at, &me, code.tracker, opening, secret);
        link.hello(Tag(u32::from(seed) + 1000), name, port);
        link
    }
    /// Dials as a device that has joined, in its next run.
    pub fn again(at: &str, tracker: PublicKey, seed: u8, name: &str, run: u64) -> RawLink {
        let mut link = RawLink::open(at, &RawLink::key(seed), tracker, Opening::TRACKER, None);
        link.run = run;
        link.hello(Tag(u32::from(seed) + 1000), name, 0);
        link
    }
    /// The key of the device of that seed.
    pub fn key(seed: u8) -> StaticKey {
        StaticKey::from_secret(&[seed; 32])
    }
    fn open(at: &str, me: &StaticKey, to: PublicKey, opening: Opening, secret: Option<&[u8; 16]>) -> RawLink {
        let mut rng = Rng::from_seed([9; 32]);
        let mut channel = TrackerChannel::dial(me, to, opening, secret, &mut rng);
        let mut stream = TcpStream::connect(at).expect("a tracker listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit can be set");
        stream.set_nodelay(true).expect("it can be set");
        stream.write_all(channel.output()).expect("it takes a handshake");
        channel.sent(channel.output().len());
        let (tag, epoch, device, slot) = Default::default();
        let mut link =
            RawLink { stream, channel, input: Vec::new(), requests: 0, run: 1, tag, epoch, device, slot };
        while link.channel.progress() != Progress::Open {
            assert!(link.read(), "the tracker hangs up at the handshake");
            link.feed();
        }
        link
    }
    fn hello(&mut self, tag: Tag, name: &str, port: u16) {
        self.tag = tag;
        self.send(&ToTracker::Hello {
            tag,
            counter: 0,
            run: self.run,
            port,
            addrs: Default::default(),
            caps: 0,
            roster: RosterVersion::default(),
            flags: 1,
            name,
        });
        let welcome = self.hear(|m| match m {
            ToPeer::Welcome { epoch, device, slot, .. } => Some((epoch, device, slot)),
            _ => None,
        });
        (self.epoch, self.device, self.slot) = welcome.expect("a welcome");
    }
    /// Sends one message.
    pub fn send(&mut self, m: &ToTracker<'_>) {
        let mut buf = [0; FRAME + SEAL_OVERHEAD];
        let n = message::encode(m, &mut buf[SEAL_HEAD..SEAL_HEAD + FRAME]).expect("it fits a frame");
        self.seal(buf, n);
    }
    /// Sends bytes as one message, whatever they say.
    pub fn send_encoded(&mut self, plain: &[u8]) {
        let mut buf = [0; FRAME + SEAL_OVERHEAD];
        buf[SEAL_HEAD..SEAL_HEAD + plain.len()].copy_from_slice(plain);
        self.seal(buf, plain.len());
    }
    fn seal(&mut self, mut buf: [u8; FRAME + SEAL_OVERHEAD], n: usize) {
        let n = self.channel.seal(&mut buf, n);
        // It may have hung up: what is heard next tells.
        let _ = self.stream.write_all(&buf[..n]);
    }
    /// Looks at the next messages until `pick` has found what it wants; none if the tracker hangs up first.
    pub fn hear<T>(&mut self, mut pick: impl FnMut(ToPeer<'_>) -> Option<T>) -> Option<T> {
        loop {
            if let Some(frame) = self.channel.next_frame().expect("the tracker seals well") {
                if let Some(found) = pick(message::decode(frame).expect("the tracker speaks well")) {
                    return Some(found);
                }
                continue;
            }
            if !self.feed() && !self.read() {
                return None;
            }
        }
    }
    /// Links a folder, made if need be, and asks for its records; waits until it is caught up.
    pub fn link_folder(&mut self, label: &str) -> (FolderId, FolderSlot) {
        self.requests += 1;
        self.send(&ToTracker::Request(self.requests, Request::Link { label, make: true }));
        let folder = self.hear(|m| match m {
            ToPeer::Reply(_, Answer::Folder { id, slot, .. }) => Some((id, slot)),
            ToPeer::Reply(_, other) => panic!("{other:?}"),
            _ => None,
        });
        let (folder, slot) = folder.expect("an answer");
        self.send(&ToTracker::Seen { folder, epoch: self.epoch, seen: Seq(0) });
        let caught_up = self.hear(|m| matches!(m, ToPeer::CaughtUp { .. }).then_some(()));
        caught_up.expect("a turn");
        self.send(&ToTracker::Told(slot));
        (folder, slot)
    }
    /// A fresh invite: id and secret.
    pub fn invite(&mut self) -> (u32, [u8; 16]) {
        self.requests += 1;
        self.send(&ToTracker::Request(self.requests, Request::Invite));
        let invite = self.hear(|m| match m {
            ToPeer::Reply(_, Answer::Invite { id, secret }) => Some((id, secret)),
            ToPeer::Reply(_, other) => panic!("{other:?}"),
            _ => None,
        });
        invite.expect("an answer")
    }
    /// How many verdicts come with the next message that holds some; all must be acceptances.
    pub fn accepted(&mut self) -> usize {
        let verdicts = self.hear(|m| match m {
            ToPeer::Verdicts { verdicts, .. } => Some(verdicts),
            _ => None,
        });
        let verdicts = verdicts.expect("the tracker goes on");
        assert!(verdicts.iter().all(|v| matches!(v, Verdict::Accepted(_))), "{verdicts:?}");
        verdicts.len()
    }
    /// Keeps the link from now on, on a thread of its own, until that is dropped: pings, and says that it holds these
    /// contents of a folder whenever it is told of one.
    pub fn attend(mut self, claims: Option<(FolderId, Vec<ContentId>)>) -> Attended {
        let holds = claims.map_or(Vec::new(), |(folder, contents)| {
            // What was heard before it hears again.
            self.send(&ToTracker::Seen { folder, epoch: self.epoch, seen: Seq(0) });
            contents
        });
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let thread = std::thread::spawn(move || {
            self.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit can be set");
            let mut rounds = 0u32;
            while !end.load(Relaxed) && self.attend_once(&holds) {
                rounds += 1;
                if rounds.is_multiple_of(20) {
                    self.send(&ToTracker::Ping);
                }
            }
        });
        Attended { ended, thread: Some(thread) }
    }
    /// Takes what is here; false at the link's end.
    fn attend_once(&mut self, holds: &[ContentId]) -> bool {
        let mut told = Vec::new();
        while let Ok(Some(frame)) = self.channel.next_frame() {
            let Some(ToPeer::Records(batch)) = message::decode(frame) else { continue };
            let mut batch = BatchReader::new(batch);
            while let Ok(Some(e)) = batch.entry() {
                told.extend(holds.contains(&e.record.content).then_some((e.folder, e.seq)));
            }
        }
        told.into_iter().for_each(|(folder, seq)| self.hold(folder, seq, seq));
        self.feed() || self.read_some()
    }
    /// Says that it holds what has these seqs.
    pub fn hold(&mut self, folder: FolderSlot, from: Seq, to: Seq) {
        let ranges = Ranges::from_slice(&[SeqRange { from, to }]).expect("one fits");
        self.send(&ToTracker::Have { folder, ranges, run: self.run });
    }
    /// Reads what comes before the limit; false at the link's end.
    fn read_some(&mut self) -> bool {
        let mut block = [0; 16 * 1024];
        match self.stream.read(&mut block) {
            Err(e) => matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock),
            Ok(n) => {
                self.input.extend_from_slice(&block[..n]);
                n > 0
            }
        }
    }
    /// Moves what was read to the channel; whether it took anything.
    fn feed(&mut self) -> bool {
        let n = self.channel.feed(&self.input).expect("the tracker seals well");
        self.input.drain(..n);
        n > 0
    }
    fn read(&mut self) -> bool {
        let mut block = [0; 16 * 1024];
        match self.stream.read(&mut block) {
            // A read with a limit ends so when the process was stopped meanwhile.
            Err(e) if e.kind() == ErrorKind::Interrupted => true,
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.input.extend_from_slice(&block[..n]);
                true
            }
        }
    }
}

/// A link that is kept by a thread.
pub struct Attended {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A path of 64 bytes, as photos have.
pub fn long_path(n: u64) -> String {
    let path = format!("documents/projects/group-{:04}/section-{:03}/holiday-pic-{n:010}", n / 1000, n % 997);
    format!("{path:.<64}")
}

/// A file's record, its content made of its number, edited `round` times by a device of that tag.
pub fn record(n: u64, round: u64, tag: Tag, author: DeviceId) -> Record {
    let counter = COUNTER + round * 86_400_000_000 + n * 10;
    let edit = Edit { tag, counter };
    let parent = round.checked_sub(1).map(|r| Edit { tag, counter: COUNTER + r * 86_400_000_000 + n * 10 });
    let mut content = [7; 32];
    content[..8].copy_from_slice(&n.to_le_bytes());
    content[8..16].copy_from_slice(&round.to_le_bytes());
    Record {
        kind: Kind::File,
        mode: 0o644,
        size: 4096 + n % 1_000_000,
        mtime: (counter * 1000) as i64,
        content: ContentId(content),
        author,
        edit,
        parent,
        version: VersionVector::of(edit),
        ..Record::default()
    }
}

/// An `Announce` of as many of the records as fit into `out`; its length and their number.
pub fn announce<'r>(
    folder: FolderSlot,
    records: impl IntoIterator<Item = (String, Record)> + 'r,
    most: usize,
    out: &mut [u8; FRAME],
) -> (usize, usize) {
    let mut buf = [0; FRAME - 16];
    let mut batch = BatchWriter::new(&mut buf);
    for (path, record) in records.into_iter().take(most) {
        let path = Path::new(path.as_bytes()).expect("a good path");
        let flags = EntryFlags { held: true, pair: false };
        if !batch.push(&Entry { folder, seq: Seq(0), flags, path, record: &record }) {
            break;
        }
    }
    let (length, count) = (batch.len(), batch.count());
    let n = message::encode(&ToTracker::Announce(&buf[..length]), out).expect("room was left for it");
    (n, count)
}
