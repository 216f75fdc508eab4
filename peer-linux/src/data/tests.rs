//! Fetchers that talk over loopback, with files in directories of their own.

use super::*;
use crate::content::{hash_file, hash_symlink};
use dartsync_core::content::Leaves;
use dartsync_core::peer::Cause;
use dartsync_core::rng::Rng;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

mod dial;
mod limit;
mod swarm;

const LONG: Duration = Duration::from_secs(20);
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory that goes when it is dropped.
struct Dir(PathBuf);
impl Dir {
    fn new() -> Dir {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dartsync-data-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file and its length, or a link's text; and the list of chunks.
type Kept = (Result<(PathBuf, u64), Vec<u8>>, Vec<u8>);

#[derive(Default)]
struct Shelf(Mutex<HashMap<ContentId, Kept>>);
impl Source for Shelf {
    fn open(&self, content: &ContentId) -> Option<Bytes> {
        Some(match &self.0.lock().unwrap().get(content)?.0 {
            Ok((path, len)) => {
                let file = File::open(path).ok()?;
                Bytes::File((file.metadata().unwrap().len() == *len).then_some(file)?)
            }
            Err(text) => Bytes::Text(text.clone()),
        })
    }
    fn leaves(&self, content: &ContentId) -> Option<Vec<u8>> {
        Some(self.0.lock().unwrap().get(content)?.1.clone())
    }
    fn with_chunk(&self, chunk: &Hash) -> Option<ContentId> {
        let has = |kept: &Kept| Leaves::new(&kept.1).any(|l| l.hash == *chunk);
        self.0.lock().unwrap().iter().find(|(_, kept)| has(kept)).map(|(content, _)| *content)
    }
}

/// A device.
struct Node {
    fetcher: Fetcher,
    shelf: Arc<Shelf>,
    book: Arc<RwLock<Book>>,
    reports: Receiver<Report>,
    known: Known,
    dir: Dir,
    ended: Arc<AtomicBool>,
}

fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new_derive_key("test bytes")
        .update(&[seed])
        .update(&len.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

impl Node {
    fn new(slot: u8, aes: bool) -> Node {
        let key = StaticKey::generate(&mut Rng::from_seed([slot + 1; 32]));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let known = Known {
            slot: Slot(slot),
            device: DeviceId(slot as u32 + 100),
            key: key.public(),
            addrs: vec![listener.local_addr().unwrap()],
            aes,
        };
        let (book, shelf) = (Arc::new(RwLock::new(Book::default())), Arc::new(Shelf::default()));
        let (sender, reports) = channel();
        let setup = Setup {
            key,
            book: book.clone(),
            source: shelf.clone(),
            reports: sender,
            wake: Arc::new(|| ()),
            seed: [slot; 32],
        };
        let fetcher = Fetcher::start(setup);
        let ended = Arc::new(AtomicBool::new(false));
        let (taker, end) = (fetcher.clone(), ended.clone());
        std::thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                taker.accept(stream, from);
            }
        });
        Node { fetcher, shelf, book, reports, known, dir: Dir::new(), ended }
    }
    fn home<const N: usize>(aes: bool) -> [Node; N] {
        let nodes: [Node; N] = std::array::from_fn(|i| Node::new(i as u8, aes));
        let all: Vec<Known> = nodes.iter().map(|n| n.known.clone()).collect();
        for n in &nodes {
            let others = all.iter().filter(|k| k.slot != n.known.slot).cloned().collect();
            *n.book.write().unwrap() = Book { devices: others, me: Some(n.known.slot) };
            n.fetcher.book_changed();
        }
        nodes
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }
    /// Has a file of these bytes.
    fn holds(&self, name: &str, bytes: &[u8]) -> ContentId {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        let hashed = hash_file(&file, &mut Vec::new(), &AtomicBool::new(false)).unwrap();
        self.shelf.0.lock().unwrap().insert(hashed.content, (Ok((path, bytes.len() as u64)), hashed.leaves));
        hashed.content
    }
    fn part(&self, name: &str) -> File {
        File::options().read(true).write(true).create(true).truncate(false).open(self.path(name)).unwrap()
    }
    fn fetch(&self, ticket: u32, content: ContentId, size: usize, from: &[&Node]) {
        self.fetch_over(ticket, content, size, from, Bank::default());
    }
    fn fetch_over(&self, ticket: u32, content: ContentId, size: usize, from: &[&Node], bank: Bank) {
        let mut set = SlotSet(0);
        from.iter().for_each(|n| set.add(n.known.slot));
        let size = size as u64;
        let part = self.part(&format!("{ticket}.part"));
        part.set_len(size).unwrap();
        let kind = Kind::File;
        let seekers = SlotSet(0);
        let ticket = Ticket(ticket);
        self.fetcher.fetch(vec![Job { ticket, kind, content, size, from: set, seekers, part, bank }]);
    }
    fn got(&self, ticket: u32) -> Vec<u8> {
        std::fs::read(self.path(&format!("{ticket}.part"))).unwrap()
    }
    /// The next end of a fetch; other reports are collected.
    fn end(&self, others: &mut Vec<Report>) -> (u32, Outcome, Vec<u8>) {
        loop {
            match self.reports.recv_timeout(LONG).expect("every fetch ends") {
                Report::Done { ticket, outcome, leaves } => return (ticket.0, outcome, leaves),
                other => others.push(other),
            }
        }
    }
    fn ready(&self) -> (u32, Vec<u8>) {
        let (ticket, outcome, leaves) = self.end(&mut Vec::new());
        assert_eq!(outcome, Outcome::Ready);
        (ticket, leaves)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.fetcher.stop();
        let _ = TcpStream::connect(self.known.addrs[0]);
    }
}

fn leaves_of(path: &Path) -> Vec<u8> {
    hash_file(&File::open(path).unwrap(), &mut Vec::new(), &AtomicBool::new(false)).unwrap().leaves
}

#[test]
fn files_of_all_sizes_come_whole_with_their_lists() {
    for aes in [false, true] {
        let [a, b] = Node::home(aes);
        for (i, len) in
            [0, 1, 48 << 10, (48 << 10) + 1, 256 << 10, (256 << 10) + 1, 1 << 20].into_iter().enumerate()
        {
            let data = bytes(1, len);
            let id = a.holds("f", &data);
            b.fetch(i as u32, id, len, &[&a]);
            let (ticket, leaves) = b.ready();
            assert_eq!(ticket, i as u32);
            assert!(b.got(ticket) == data, "{len} bytes");
            let list = leaves_of(&a.path("f"));
            assert!(leaves == list || list.len() == 36 && leaves.is_empty(), "the list of {len} bytes");
        }
    }
}

#[test]
fn forty_mebibytes_come_whole() {
    let [a, b] = Node::home(true);
    let data = bytes(2, 40 << 20);
    let id = a.holds("f", &data);
    let start = Instant::now();
    b.fetch(1, id, data.len(), &[&a]);
    let (_, leaves) = b.ready();
    std::println!("40 MiB in {:?}", start.elapsed());
    assert!(b.got(1) == data);
    assert_eq!(leaves, leaves_of(&a.path("f")));
    let (sent, received) = (a.fetcher.traffic().0, b.fetcher.traffic().1);
    assert!(received as usize > data.len() && received < data.len() as u64 * 101 / 100, "{received}");
    assert!(sent >= received);
}

#[test]
fn many_small_files_and_a_link_text_come_at_once() {
    let [a, b] = Node::home(true);
    let files: Vec<_> = (0..300)
        .map(|i| {
            let data = bytes(i as u8, 100 + i * 13);
            (a.holds(&format!("f{i}"), &data), data)
        })
        .collect();
    for (i, (id, data)) in files.iter().enumerate() {
        b.fetch(i as u32, *id, data.len(), &[&a]);
    }
    let link = hash_symlink(b"../over/there");
    a.shelf.0.lock().unwrap().insert(link.content, (Err(b"../over/there".to_vec()), Vec::new()));
    let (from, part, ticket) = (SlotSet::one(Slot(0)), b.part("900.part"), Ticket(900));
    part.set_len(13).unwrap();
    b.fetcher.fetch(vec![Job {
        ticket,
        kind: Kind::Symlink,
        content: link.content,
        size: 13,
        from,
        seekers: SlotSet(0),
        part,
        bank: Bank::default(),
    }]);
    for _ in 0..301 {
        b.ready();
    }
    assert_eq!(b.got(900), b"../over/there");
    for (i, (_, data)) in files.iter().enumerate() {
        assert!(b.got(i as u32) == *data);
    }
}

#[test]
fn a_warm_link_is_quick() {
    let [a, b] = Node::home(true);
    let ids: Vec<_> = (0..40u8).map(|i| a.holds(&format!("f{i}"), &bytes(i, 1024))).collect();
    let mut times = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        let start = Instant::now();
        b.fetch(i as u32, *id, 1024, &[&a]);
        b.ready();
        times.push(start.elapsed());
    }
    times[1..].sort();
    std::println!("first {:?}, median {:?}", times[0], times[20]);
    assert!(times[20] < Duration::from_millis(20));
}

#[test]
fn a_device_that_is_not_in_the_book_gets_nothing() {
    let [a, b] = Node::home(true);
    let id = a.holds("f", b"secret");
    a.book.write().unwrap().devices.clear();
    a.fetcher.book_changed();
    b.fetch(1, id, 6, &[&a]);
    let mut others = Vec::new();
    assert_eq!(b.end(&mut others), (1, Outcome::Failed(Cause::Unreachable), Vec::new()));
    assert!(matches!(others[0], Report::Unreachable(DeviceId(100))));
    assert_eq!(b.got(1), [0; 6], "a hole");
}

#[test]
fn a_link_to_a_device_that_leaves_the_book_is_closed() {
    let [a, b] = Node::home(true);
    let id = a.holds("f", b"first");
    b.fetch(1, id, 5, &[&a]);
    b.ready();
    let id = a.holds("g", b"second");
    a.book.write().unwrap().devices.clear();
    a.fetcher.book_changed();
    b.fetch(2, id, 6, &[&a]);
    assert_eq!(b.end(&mut Vec::new()).1, Outcome::Failed(Cause::Unreachable));
}

#[test]
fn junk_and_silence_do_not_keep_devices_out() {
    let [a, b] = Node::home(true);
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(a.known.addrs[0]).unwrap()).collect();
    for i in 0..20u8 {
        let mut junk = TcpStream::connect(a.known.addrs[0]).unwrap();
        let _ = junk.write_all(&bytes(i, 300));
    }
    let id = a.holds("f", b"through");
    b.fetch(1, id, 7, &[&a]);
    b.ready();
    let mut first = &silent[0];
    first.set_read_timeout(Some(LONG)).unwrap();
    assert!(!matches!(first.read(&mut [0]), Ok(1..)), "the oldest was hung up on");
}

#[test]
fn another_source_takes_over_when_one_goes() {
    let [a, b, c] = Node::home(true);
    let data = bytes(3, 24 << 20);
    let id = a.holds("f", &data);
    assert_eq!(c.holds("f", &data), id);
    b.fetch(1, id, data.len(), &[&a, &c]);
    while b.fetcher.traffic().1 < 4 << 20 {
        std::thread::yield_now();
    }
    drop(a);
    b.ready();
    assert!(b.got(1) == data);
}

#[test]
fn a_changed_source_says_gone_and_tells() {
    let [a, b] = Node::home(true);
    for len in [1000, 1 << 20] {
        let id = a.holds("f", &bytes(4, len));
        std::fs::write(a.path("f"), b"other").unwrap();
        b.fetch(1, id, len, &[&a]);
        let end = b.end(&mut Vec::new()).1;
        assert_eq!(end, Outcome::Failed(Cause::NoSource));
        assert!(matches!(a.reports.recv_timeout(LONG), Ok(Report::Gone)));
        assert!(a.fetcher.take_gone().iter().any(|(_, content)| *content == id));
    }
}

#[test]
fn wrong_bytes_are_dropped_and_named() {
    let [a, b, c] = Node::home(true);
    let data = bytes(5, 3 << 20);
    let id = a.holds("f", &data);
    c.holds("f", &data);
    let file = File::options().write(true).open(a.path("f")).unwrap();
    file.write_all_at(&[0; 100], 2 << 20).unwrap();
    b.fetch(1, id, data.len(), &[&a]);
    let mut others = Vec::new();
    assert_eq!(b.end(&mut others).1, Outcome::Failed(Cause::Corrupt));
    assert!(matches!(others[..], [Report::Bad(DeviceId(100), bad)] if bad == id));
    b.fetch(1, id, data.len(), &[&a, &c]);
    b.ready();
    assert!(b.got(1) == data);
}

#[test]
fn half_a_part_file_is_kept() {
    let [a, b] = Node::home(true);
    let data = bytes(6, 20 << 20);
    let id = a.holds("f", &data);
    b.part("1.part").write_all_at(&data[..12 << 20], 0).unwrap();
    b.part("1.part").write_all_at(b"damaged", 5 << 20).unwrap();
    b.fetch(1, id, data.len(), &[&a]);
    b.ready();
    assert!(b.got(1) == data);
    let received = b.fetcher.traffic().1;
    assert!((8 << 20..9 << 20).contains(&received), "{received}");
}

#[test]
fn a_cancelled_fetch_ends_once() {
    let [a, b] = Node::home(true);
    let id = a.holds("f", &bytes(7, 30 << 20));
    b.fetch(1, id, 30 << 20, &[&a]);
    b.fetcher.cancel(Ticket(1));
    assert_eq!(b.end(&mut Vec::new()).1, Outcome::Failed(Cause::Raced));
    b.fetch(2, id, 30 << 20, &[&a]);
    assert_eq!(b.ready().0, 2);
}

#[test]
fn more_fetches_than_fit_wait_and_all_end() {
    let [a, b] = Node::home(true);
    let small = a.holds("s", b"small");
    let large = bytes(8, 300 << 10);
    let id = a.holds("l", &large);
    for i in 0..600 {
        b.fetch(i, small, 5, &[&a]);
    }
    for i in 600..620 {
        b.fetch(i, id, large.len(), &[&a]);
    }
    for _ in 0..620 {
        b.ready();
    }
    assert!(b.got(619) == large && b.got(599) == b"small");
}

#[test]
fn zeros_do_not_travel_and_stay_holes() {
    let [a, b] = Node::home(true);
    let mut data = vec![0; 40 << 20];
    data[20 << 20..][..300_000].copy_from_slice(&bytes(9, 300_000));
    let id = a.holds("f", &data);
    b.fetch(1, id, data.len(), &[&a]);
    b.ready();
    assert!(b.got(1) == data);
    assert!(b.fetcher.traffic().1 < 1 << 20);
    assert!(std::os::unix::fs::MetadataExt::blocks(&b.part("1.part").metadata().unwrap()) < 4096);
}

#[test]
fn over_an_older_version_only_what_differs_travels() {
    let [a, b, c]: [Node; 3] = Node::home(false);
    let mut new = bytes(1, 9 << 20);
    let old = b.holds("old", &new);
    new.insert(0, 1);
    new[5 << 20..][..4096].copy_from_slice(&bytes(2, 4096));
    new.truncate(8 << 20);
    let content = a.holds("new", &new);
    c.holds("new", &new);
    b.fetch_over(1, content, new.len(), &[&a, &c], b.fetcher.bank(&old));
    let (_, leaves) = b.ready();
    assert_eq!(b.got(1), new);
    assert_eq!(leaves, a.shelf.leaves(&content).unwrap());
    let travelled = b.fetcher.traffic().1;
    assert!(travelled < 24 << 10, "{travelled}");

    // Of a file that is no older version but much alike, too.
    let mut other = new.clone();
    other.drain(3 << 20..4 << 20);
    other[..5].copy_from_slice(b"alike");
    let content = a.holds("other", &other);
    let before = b.fetcher.traffic().1;
    b.fetch(5, content, other.len(), &[&a]);
    let (_, leaves) = b.ready();
    assert!(b.got(5) == other && leaves == a.shelf.leaves(&content).unwrap());
    assert!(b.fetcher.traffic().1 - before < 1 << 20, "{}", b.fetcher.traffic().1 - before);
    let travelled = b.fetcher.traffic().1;

    // A short file, too; and a base that was changed behind the shelf's back costs bytes, nothing else.
    let mut note = bytes(3, 60_000);
    let old_note = b.holds("note", &note);
    note[30_000] ^= 1;
    let content = a.holds("note", &note);
    b.fetch_over(2, content, note.len(), &[&a], b.fetcher.bank(&old_note));
    b.ready();
    assert!(b.got(2) == note && b.fetcher.traffic().1 < travelled + (8 << 10));
    let bank = b.fetcher.bank(&old);
    std::fs::write(b.path("old"), bytes(4, 9 << 20)).unwrap();
    let content = c.holds("newer", &new[..7 << 20]);
    b.fetch_over(3, content, 7 << 20, &[&c], bank);
    b.ready();
    assert!(b.got(3) == new[..7 << 20]);
}
