//! Data links spoken by hand, and devices that serve wrongly on them.

use dartsync::content::{OwnedManifest, manifest};
use dartsync::data::record::{LENGTH, OVERHEAD, Seal};
use dartsync_core::content::{ContentHasher, Hash, NODE_BYTES, Root};
use dartsync_core::data::Ask;
use dartsync_core::data::message::{self, ASK, BODY, HEAD, Message, Refusal};
use dartsync_core::ids::{ContentId, PublicKey};
use dartsync_core::limits::DATA_RECORD;
use dartsync_core::link::{Opening, Progress, StaticKey, Suite, TrackerChannel};
use dartsync_core::rng::Rng;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One end of a data link.
pub struct RawData {
    /// The connection, for what is no record.
    pub stream: TcpStream,
    seal: Seal,
    open: Seal,
    input: Vec<u8>,
}

impl RawData {
    /// Dials a device as one of its home.
    pub fn dial(at: &str, me: &StaticKey, to: PublicKey) -> io::Result<RawData> {
        let opening = Opening::data(Suite::ChaCha20Poly1305);
        let channel = TrackerChannel::dial(me, to, opening, None, &mut Rng::from_seed([3; 32]));
        let mut link = RawData::shake(TcpStream::connect(at)?, channel, me)?;
        let mut ping = [0; ASK];
        let n = Ask::Ping.encode(&mut ping);
        link.send(&ping[..n])?;
        Ok(link)
    }
    /// Takes a dialler in.
    pub fn accept(stream: TcpStream, me: &StaticKey) -> io::Result<RawData> {
        RawData::shake(stream, TrackerChannel::listen(me.public()), me)
    }
    fn shake(mut stream: TcpStream, mut channel: TrackerChannel, me: &StaticKey) -> io::Result<RawData> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        let bad = |_| io::Error::from(ErrorKind::InvalidData);
        loop {
            stream.write_all(channel.output())?;
            channel.sent(channel.output().len());
            match channel.progress() {
                Progress::Asked(_) => channel.accept(me, None, &mut Rng::from_seed([4; 32])).map_err(bad)?,
                Progress::Established | Progress::Open => break,
                _ => {
                    let mut byte = [0];
                    stream.read_exact(&mut byte)?;
                    channel.feed(&byte).map_err(bad)?;
                }
            }
        }
        let (keys, suite, _) = channel.into_keys().ok_or(ErrorKind::InvalidData)?;
        let (seal, open) = (Seal::new(suite, keys.send()), Seal::new(suite, keys.receive()));
        Ok(RawData { stream, seal, open, input: Vec::new() })
    }
    /// A record with this payload, as it goes on the wire. It must be sent next.
    pub fn sealed(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut record = vec![0; OVERHEAD + payload.len()];
        record[LENGTH..LENGTH + payload.len()].copy_from_slice(payload);
        self.seal.seal(&mut record);
        record
    }
    /// Sends a record.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let record = self.sealed(payload);
        self.stream.write_all(&record)
    }
    /// Sends an ask.
    pub fn ask(&mut self, ask: &Ask) -> io::Result<()> {
        let mut out = [0; ASK];
        let n = ask.encode(&mut out);
        self.send(&out[..n])
    }
    /// The next record's payload.
    pub fn hear(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.input.first_chunk::<LENGTH>() {
                let end = LENGTH + usize::from(u16::from_le_bytes(*length));
                if self.input.len() >= end {
                    let mut record: Vec<u8> = self.input.drain(..end).collect();
                    let opened = self.open.open(&mut record[LENGTH..]);
                    return opened.map(<[u8]>::to_vec).map_err(|_| ErrorKind::InvalidData.into());
                }
            }
            let mut block = [0; 16 * 1024];
            match self.stream.read(&mut block) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// How a device answers what it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Names and sizes are right, the bytes are not.
    WrongBytes,
    /// A root of no possible level and size.
    AbsurdRoot,
    /// The right root, and nodes that contradict it.
    WrongNodes,
    /// More bytes than were asked for, without end.
    Endless,
    /// One byte of the right answer a second.
    Drip,
    /// The right answer in records of one byte, ten a second.
    Crumbs,
    /// Nothing.
    Silent,
    /// That it has too much to do.
    Busy,
    /// Bytes that are no record.
    Noise,
    /// Rightly; not among [`MANNERS`].
    Honest,
    /// Answers to what nobody asked, as fast as they are taken.
    Unasked,
}

/// All that are not as they should be.
pub const MANNERS: [Manner; 10] = [
    Manner::WrongBytes,
    Manner::AbsurdRoot,
    Manner::WrongNodes,
    Manner::Endless,
    Manner::Drip,
    Manner::Crumbs,
    Manner::Silent,
    Manner::Busy,
    Manner::Noise,
    Manner::Unasked,
];

/// Contents, by their ids.
pub type Contents = Arc<Mutex<HashMap<ContentId, Vec<u8>>>>;

/// A listener of data links that serves in its manner, until it is dropped.
pub struct Server {
    at: SocketAddr,
    ended: Arc<AtomicBool>,
    asked: Arc<Mutex<HashMap<ContentId, usize>>>,
}

impl Server {
    /// Listens on loopback.
    pub fn start(key: StaticKey, manner: Manner, contents: Contents) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("a bound socket has an address");
        let ended = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let (end, count) = (ended.clone(), asked.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept()
                && !end.load(SeqCst)
            {
                let (key, contents, count, end) = (key.clone(), contents.clone(), count.clone(), end.clone());
                std::thread::spawn(move || {
                    let Ok(link) = RawData::accept(stream, &key) else { return };
                    // It ends when the other end hangs up.
                    let _ = Answerer { link, manner, contents, asked: count, ended: end }.serve();
                });
            }
        });
        Server { at, ended, asked }
    }
    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.at.port()
    }
    /// How often it was asked for some of that content.
    pub fn was_asked(&self, content: &ContentId) -> usize {
        self.asked.lock().expect("no thread panics with it").get(content).copied().unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        let _ = TcpStream::connect(self.at);
    }
}

struct Answerer {
    link: RawData,
    manner: Manner,
    contents: Contents,
    asked: Arc<Mutex<HashMap<ContentId, usize>>>,
    ended: Arc<AtomicBool>,
}

impl Answerer {
    fn serve(&mut self) -> io::Result<()> {
        while !self.ended.load(SeqCst) {
            let record = match self.link.hear() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                record => record?,
            };
            let Ok(Message::Ask(ask)) = message::decode(&record) else { continue };
            let Some((id, content)) = subject(&ask) else { continue };
            *self.asked.lock().expect("no thread panics with it").entry(content).or_default() += 1;
            let bytes = self.contents.lock().expect("no thread panics with it").get(&content).cloned();
            self.answer(&ask, id, &bytes.unwrap_or_default())?;
        }
        Ok(())
    }
    fn answer(&mut self, ask: &Ask, id: u32, bytes: &[u8]) -> io::Result<()> {
        let mut out = vec![0; DATA_RECORD];
        match self.manner {
            Manner::Silent => Ok(()),
            Manner::Busy => self.refuse(id, Refusal::Busy),
            Manner::Noise => self.link.stream.write_all(&crate::process::noise(id.into(), 1 << 20)),
            Manner::Unasked => loop {
                let n = message::encode_body_head(id ^ 0x5555, 0, &mut out);
                self.link.send(&out[..n + BODY])?;
                self.refuse(id ^ 0x3333, Refusal::Gone)?;
            },
            Manner::Endless => (0..).try_for_each(|n: u32| {
                let n = message::encode_body_head(id, n * BODY as u32, &mut out);
                self.link.send(&out[..n + BODY])
            }),
            Manner::AbsurdRoot => {
                let root = Root { hash: Hash([9; 32]), level: 255, size: u64::MAX };
                let n = message::encode_root(id, &root, &mut out);
                self.link.send(&out[..n])
            }
            Manner::WrongBytes | Manner::WrongNodes | Manner::Drip | Manner::Crumbs | Manner::Honest => {
                let answer = right_answer(ask, id, bytes).unwrap_or_default();
                answer.into_iter().try_for_each(|payload| self.twist(ask, id, payload))
            }
        }
    }
    fn refuse(&mut self, id: u32, why: Refusal) -> io::Result<()> {
        let mut out = [0; HEAD];
        let n = message::encode_refusal(id, why, &mut out);
        self.link.send(&out[..n])
    }
    /// Sends a right answer wrongly.
    fn twist(&mut self, ask: &Ask, id: u32, mut payload: Vec<u8>) -> io::Result<()> {
        let is_body = matches!(ask, Ask::Chunk { .. } | Ask::Ranges { .. });
        let is_node = matches!(ask, Ask::Node { level: 1.., .. } | Ask::Short { .. } | Ask::Entries { .. });
        match self.manner {
            Manner::Drip => {
                let record = self.link.sealed(&payload);
                for byte in record {
                    self.link.stream.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_secs(1));
                    if self.ended.load(SeqCst) {
                        break;
                    }
                }
                Ok(())
            }
            Manner::Crumbs if is_body => {
                let mut out = vec![0; HEAD + 1];
                for at in 0..payload.len() as u32 {
                    let n = message::encode_body_head(id, at, &mut out);
                    self.link.send(&out[..n + 1])?;
                    std::thread::sleep(Duration::from_millis(100));
                    if self.ended.load(SeqCst) {
                        break;
                    }
                }
                Ok(())
            }
            Manner::WrongBytes if is_body => {
                let last = payload.len() - 1;
                payload[last] ^= 1;
                self.link.send(&payload)
            }
            Manner::WrongNodes if is_node || is_body => {
                let n = message::encode_node_head(id, &mut payload);
                payload.resize(n + NODE_BYTES, 0xa5);
                self.link.send(&payload)
            }
            _ => self.link.send(&payload),
        }
    }
}

/// The ask's number and what it is about.
fn subject(ask: &Ask) -> Option<(u32, ContentId)> {
    match *ask {
        Ask::Ping | Ask::Cancel { .. } => None,
        Ask::Node { id, content, .. }
        | Ask::Chunk { id, content, .. }
        | Ask::Short { id, content, .. }
        | Ask::Entries { id, content, .. }
        | Ask::Pieces { id, content, .. }
        | Ask::Ranges { id, content, .. } => Some((id, content)),
    }
}

/// The manifest and the content id of a file of these bytes.
pub fn hashed(bytes: &[u8]) -> (ContentId, OwnedManifest) {
    let (mut hasher, mut leaves) = (ContentHasher::new(), Vec::new());
    hasher.update(bytes, |leaf| leaves.extend(leaf.encode()));
    let root = hasher.finish(|leaf| leaves.extend(leaf.encode()));
    (root.file_id(), manifest(leaves).expect("a list that was just made"))
}

/// What an honest device would send, record by record; none where it would refuse.
fn right_answer(ask: &Ask, id: u32, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut out = vec![0; DATA_RECORD];
    let tree = || hashed(bytes).1;
    let n = match *ask {
        Ask::Node { level: 0, .. } => message::encode_root(id, &tree().root(), &mut out),
        Ask::Node { level, offset, .. } => {
            let (tree, n) = (tree(), message::encode_node_head(id, &mut out));
            n + tree.encode(tree.node(level, offset)?, &mut out[n..])
        }
        Ask::Chunk { offset, len, .. } => {
            let bytes = bytes.get(offset as usize..offset as usize + len as usize)?;
            let bodies = bytes.chunks(BODY).enumerate().map(|(i, block)| {
                let n = message::encode_body_head(id, (i * BODY) as u32, &mut out);
                [&out[..n], block].concat()
            });
            return Some(bodies.collect());
        }
        _ => message::encode_refusal(id, Refusal::Unknown, &mut out),
    };
    out.truncate(n);
    Some(vec![out])
}
