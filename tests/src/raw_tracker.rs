//! A tracker spoken by hand, under the key of a real one: for saying what no tracker would say.

use dartsync_core::ids::{DeviceId, Epoch, FolderSlot, PublicKey, Seq, Slot};
use dartsync_core::limits::FRAME;
use dartsync_core::link::{Progress, SEAL_HEAD, SEAL_OVERHEAD, StaticKey, TrackerChannel};
use dartsync_core::path::Path;
use dartsync_core::record::Record;
use dartsync_core::rng::Rng;
use dartsync_core::roster::{Roster, part_at};
use dartsync_core::wire::batch::{BatchWriter, Entry, EntryFlags};
use dartsync_core::wire::message::{self, Addr, ToPeer, ToTracker};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is done on a link after its handshake.
pub type Act = dyn Fn(&mut RawSession) + Send + Sync;

/// A listener under a tracker's key, until it is dropped.
pub struct RawTracker {
    ended: Arc<AtomicBool>,
    links: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl RawTracker {
    /// Listens where the tracker did, and does `act` on each link.
    pub fn start(at: &str, key: StaticKey, sealed: Vec<u8>, act: Arc<Act>) -> RawTracker {
        let listener = TcpListener::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
        listener.set_nonblocking(true).expect("it can be set");
        let (ended, links) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (end, count) = (ended.clone(), links.clone());
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while !end.load(SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                };
                let (key, sealed, act) = (key.clone(), sealed.clone(), act.clone());
                let (end, count) = (end.clone(), count.clone());
                threads.push(std::thread::spawn(move || {
                    if let Some(mut session) = RawSession::accept(stream, &key, sealed, end) {
                        count.fetch_add(1, SeqCst);
                        act(&mut session);
                    }
                }));
            }
            drop(listener);
            threads.into_iter().for_each(|l| l.join().expect("no act panics"));
        });
        RawTracker { ended, links, thread: Some(thread) }
    }
    /// How many links there have been.
    pub fn links(&self) -> usize {
        self.links.load(SeqCst)
    }
}

impl Drop for RawTracker {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A device's link.
pub struct RawSession {
    /// The connection, for what is no frame.
    pub stream: TcpStream,
    channel: TrackerChannel,
    input: Vec<u8>,
    ended: Arc<AtomicBool>,
    /// The device's key.
    pub peer: PublicKey,
    /// What it is told to be the home's roster.
    pub sealed: Vec<u8>,
}

impl RawSession {
    fn accept(
        stream: TcpStream,
        key: &StaticKey,
        sealed: Vec<u8>,
        ended: Arc<AtomicBool>,
    ) -> Option<RawSession> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        stream.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
        let (channel, input) = (TrackerChannel::listen(key.public()), Vec::new());
        let mut session = RawSession { stream, channel, input, ended, peer: PublicKey([0; 32]), sealed };
        while session.channel.progress() != Progress::Established {
            if let Progress::Asked(_) = session.channel.progress() {
                session.channel.accept(key, None, &mut Rng::from_seed([5; 32])).ok()?;
                session.stream.write_all(session.channel.output()).ok()?;
                session.channel.sent(session.channel.output().len());
            } else if !session.feed()? && !session.read() {
                return None;
            }
        }
        session.peer = session.channel.peer()?;
        Some(session)
    }
    /// The roster that it is told.
    pub fn roster(&self) -> Box<Roster> {
        Box::new(Roster::decode(&self.sealed).expect("a roster"))
    }
    /// Whether the tracker goes on.
    pub fn goes_on(&self) -> bool {
        !self.ended.load(SeqCst)
    }
    /// Sends one message.
    pub fn say(&mut self, m: &ToPeer<'_>) {
        let mut out = [0; FRAME];
        let n = message::encode(m, &mut out).expect("it fits a frame");
        self.say_encoded(&out[..n]);
    }
    /// Sends bytes as one message, whatever they say.
    pub fn say_encoded(&mut self, plain: &[u8]) {
        let frame = self.sealed_frame(plain);
        // The device may have hung up: what is heard next tells.
        let _ = self.stream.write_all(&frame);
    }
    /// A sealed frame, which must be sent next.
    pub fn sealed_frame(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; plain.len() + SEAL_OVERHEAD];
        buf[SEAL_HEAD..SEAL_HEAD + plain.len()].copy_from_slice(plain);
        let n = self.channel.seal(&mut buf, plain.len());
        buf.truncate(n);
        buf
    }
    /// Looks at what the device says until `pick` has found what it wants; none at the link's or the tracker's end.
    pub fn hear<T>(&mut self, mut pick: impl FnMut(ToTracker<'_>) -> Option<T>) -> Option<T> {
        loop {
            if let Some(frame) = self.channel.next_frame().expect("devices seal well") {
                if let Some(found) = pick(message::decode(frame).expect("devices speak well")) {
                    return Some(found);
                }
            } else if !self.feed()? && !self.read() {
                return None;
            }
        }
    }
    /// Hears on to the end.
    pub fn hear_out(&mut self) {
        let _ = self.hear(|_| None::<()>);
    }
    /// Welcomes the device, gives it the roster if it asks, and waits until it wants its folder's records.
    pub fn greet(&mut self, epoch: Epoch) -> Option<()> {
        self.hear(|m| matches!(m, ToTracker::Hello { .. }).then_some(()))?;
        let roster = self.roster();
        let (slot, me) = roster.device_by_key(&self.peer).map_or((Slot(0), DeviceId(1)), |(s, d)| (s, d.id));
        let (of, seen_at) = (roster.version(), Addr::V4([127, 0, 0, 1], 1));
        self.say(&ToPeer::Welcome { epoch, device: me, slot, roster: of, seen_at, version: "raw" });
        while self.hear(|m| match m {
            ToTracker::WantRoster => Some(true),
            ToTracker::Seen { .. } => Some(false),
            _ => None,
        })? {
            self.tell_roster();
        }
        Some(())
    }
    /// Sends the roster.
    pub fn tell_roster(&mut self) {
        let (sealed, mut at) = (self.sealed.clone(), 0);
        let of = self.roster().version();
        while let Some(part) = part_at(&sealed, of, at, FRAME - 64) {
            at += part.bytes.len();
            self.say(&ToPeer::Roster(part));
        }
    }
    /// Sends records of the folder, the first with that seq, and says that this is all.
    pub fn tell(&mut self, folder: FolderSlot, records: &[(String, Record)], seq: u64) {
        let mut seq = seq;
        for (path, record) in records {
            let frame = batch(folder, path, record, seq);
            self.say(&ToPeer::Records(&frame));
            seq += 1;
        }
        self.say(&ToPeer::CaughtUp { folder, seq: Seq(seq) });
    }
    fn feed(&mut self) -> Option<bool> {
        let n = self.channel.feed(&self.input).ok()?;
        self.input.drain(..n);
        Some(n > 0)
    }
    /// Reads what comes; false at the link's or the tracker's end.
    fn read(&mut self) -> bool {
        let mut block = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut block) {
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(_) | Ok(0) => return false,
                Ok(n) => {
                    self.input.extend_from_slice(&block[..n]);
                    return true;
                }
            }
            if !self.goes_on() {
                return false;
            }
        }
    }
}

/// A batch of one record.
pub fn batch(folder: FolderSlot, path: &str, record: &Record, seq: u64) -> Vec<u8> {
    let mut buf = [0; FRAME - 16];
    let mut batch = BatchWriter::new(&mut buf);
    let path = Path::new(path.as_bytes()).expect("a good path");
    assert!(batch.push(&Entry { folder, seq: Seq(seq), flags: EntryFlags::default(), path, record }));
    let n = batch.len();
    buf[..n].to_vec()
}
