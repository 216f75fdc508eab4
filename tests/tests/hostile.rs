//! A device of the home that means ill: it announces what no device would, and serves the contents of it.

use dartsync::content::{hash_file, hash_symlink};
use dartsync::data::{Book, Bytes, Fetcher, Known, Setup, Source};
use dartsync_core::content::Hash;
use dartsync_core::ids::{ContentId, DeviceId, FolderSlot, PublicKey, Seq, Slot};
use dartsync_core::limits::FRAME;
use dartsync_core::link::code::InviteCode;
use dartsync_core::record::{Kind, Record};
use dartsync_core::wire::message::{Ranges, SeqRange, ToTracker};
use dartsync_tests::process::{Home, wait_for};
use dartsync_tests::raw::{RawLink, announce, record};
use std::collections::HashMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::time::Duration;

/// What the hostile device serves, and whether it was asked for.
#[derive(Default)]
struct Plants(Mutex<HashMap<ContentId, (PathBuf, Kind, bool)>>);

impl Source for Plants {
    fn open(&self, content: &ContentId) -> Option<Bytes> {
        let mut plants = self.0.lock().unwrap();
        let (path, kind, asked) = plants.get_mut(content)?;
        *asked = true;
        Some(match kind {
            Kind::Symlink => Bytes::Text(fs::read(path).ok()?),
            _ => Bytes::File(fs::File::open(path).ok()?),
        })
    }
    fn leaves(&self, _: &ContentId) -> Option<Vec<u8>> {
        None
    }
    fn with_chunk(&self, _: &Hash) -> Option<ContentId> {
        None
    }
}

/// An enrolled device under this test's control.
struct Hostile {
    link: RawLink,
    folder: FolderSlot,
    plants: Arc<Plants>,
    fetcher: Fetcher,
    dir: PathBuf,
    at: std::net::SocketAddr,
    ended: Arc<AtomicBool>,
    made: u64,
}

impl Hostile {
    fn join(home: &mut Home, seed: u8) -> Hostile {
        let code = InviteCode::decode(&home.invite()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let plants = Arc::new(Plants::default());
        let fetcher = Fetcher::start(Setup {
            key: RawLink::key(seed),
            book: Arc::new(RwLock::new(book(home))),
            source: plants.clone(),
            reports: mpsc::channel().0,
            wake: Arc::new(|| ()),
            seed: [seed; 32],
        });
        let (taker, ended) = (fetcher.clone(), Arc::new(AtomicBool::new(false)));
        let end = ended.clone();
        std::thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept()
                && !end.load(SeqCst)
            {
                taker.accept(stream, from);
            }
        });
        let mut link = RawLink::join_serving(&home.tracker.listen, &code, seed, "hostile", at.port());
        let (_, folder) = link.link_folder("dev0");
        let dir = home.dir.path().join("plants");
        fs::create_dir_all(&dir).unwrap();
        Hostile { link, folder, plants, fetcher, dir, at, ended, made: 0 }
    }
    /// A record of these bytes, which are served from now on.
    fn plant(&mut self, kind: Kind, bytes: &[u8]) -> Record {
        self.made += 1;
        let path = self.dir.join(self.made.to_string());
        fs::write(&path, bytes).unwrap();
        let content = match kind {
            Kind::Symlink => hash_symlink(bytes).content,
            _ => {
                let file = fs::File::open(&path).unwrap();
                hash_file(&file, &mut Vec::new(), &AtomicBool::new(false)).unwrap().content
            }
        };
        self.plants.0.lock().unwrap().insert(content, (path, kind, false));
        let mode = if kind == Kind::Symlink { 0 } else { 0o644 };
        let size = bytes.len() as u64;
        Record { kind, mode, size, content, ..record(self.made, 0, self.link.tag, self.link.device) }
    }
    /// Announces records, which the tracker takes.
    fn announces(&mut self, records: Vec<(&str, &Record)>) {
        let count = records.len();
        let records = records.into_iter().map(|(path, r)| (path.to_owned(), r.clone()));
        let mut frame = [0; FRAME];
        let (length, fit) = announce(self.folder, records, count, &mut frame);
        self.link.send_encoded(&frame[..length]);
        assert_eq!((fit, self.link.accepted()), (count, count));
    }
    fn was_asked_for(&self, record: &Record) -> bool {
        self.plants.0.lock().unwrap()[&record.content].2
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        self.fetcher.stop();
        let _ = TcpStream::connect(self.at);
    }
}

/// The devices of a home, whose data links the hostile one takes.
fn book(home: &Home) -> Book {
    let said = home[0].say(&["devices", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let devices = said.as_array().unwrap().iter().enumerate().map(|(n, d)| {
        let hex = d["key"].as_str().unwrap();
        let key = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap());
        let key = PublicKey(key.collect::<Vec<u8>>().try_into().unwrap());
        Known { slot: Slot(n as u8), device: DeviceId(n as u32 + 1), key, addrs: vec![], aes: false }
    });
    Book { devices: devices.collect(), me: None }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_is_planted_outside_a_root() {
    let mut home = Home::start("planted", 2);
    home[0].put("before", "x");
    home.converge();
    let outside = home.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), "what is mine").unwrap();
    let mut hostile = Hostile::join(&mut home, 60);
    let around = |home: &Home| {
        let own = |i: usize| names(&home[i].root.join(".dartsync"));
        (names(home.dir.path()), names(&outside), own(0), own(1))
    };
    // It is a source like any other.
    let plain = hostile.plant(Kind::File, b"fetched from it");
    hostile.announces(vec![("plain", &plain)]);
    (0..2).for_each(|i| home[i].gets("plain", "fetched from it"));
    let before = around(&home);
    // Links that lead out, each followed by a file beneath it: in one breath, or when the link is there already.
    let leads = [("a", outside.to_str().unwrap()), ("b", ".."), ("c", ".dartsync"), ("d", "/")];
    for (name, to) in leads {
        let lead = hostile.plant(Kind::Symlink, to.as_bytes());
        hostile.announces(vec![(name, &lead)]);
        for device in &home.devices {
            let led = || fs::read_link(device.path(name)).is_ok_and(|t| t == Path::new(to)).then_some(());
            wait_for("the link", led);
        }
        let beneath = hostile.plant(Kind::File, format!("planted beneath {name}").as_bytes());
        let deeper = hostile.plant(Kind::File, format!("planted deep beneath {name}").as_bytes());
        hostile.announces(vec![(&format!("{name}/x"), &beneath), (&format!("{name}/tmp/y"), &deeper)]);
        let together = format!("{name}{name}");
        let lead = hostile.plant(Kind::Symlink, to.as_bytes());
        hostile.announces(vec![(&format!("{together}/x"), &beneath), (&together, &lead)]);
        wait_for("it to be asked for", || hostile.was_asked_for(&beneath).then_some(()));
        hostile.link.send(&ToTracker::Ping);
    }
    home[1].put("after", "all goes on");
    let tree = home.converge();
    for (name, _) in leads {
        // The file is there, so what it is in is a directory, and the link is beside it.
        for i in 0..2 {
            assert!(fs::symlink_metadata(home[i].path(name)).unwrap().is_dir(), "{:?}", tree.keys());
            assert_eq!(
                home[i].get(format!("{name}/x")).unwrap(),
                format!("planted beneath {name}").as_bytes()
            );
        }
    }
    assert_eq!(around(&home), before);
    assert_eq!(fs::read(outside.join("x")).unwrap(), b"what is mine");
    assert!(home.tracker.running().runs() && home[0].running().runs() && home[1].running().runs());
}

#[test]
fn a_content_that_nobody_has_is_told_as_that_until_it_is_withdrawn() {
    let mut home = Home::start("nobody", 1);
    home[0].put("before", "x");
    home.converge();
    let mut hostile = Hostile::join(&mut home, 62);
    let empty = record(9, 0, hostile.link.tag, hostile.link.device);
    hostile.announces(vec![("empty", &empty)]);
    let all = SeqRange { from: Seq(1), to: Seq(1 << 40) };
    hostile
        .link
        .send(&ToTracker::Lack { folder: hostile.folder, ranges: Ranges::from_slice(&[all]).unwrap() });
    home[0].names_trouble("empty", "no device has this content any more");
    home[0].wait();
    assert!(!home[0].has("empty") && home[0].has("before"));
}

#[test]
fn what_is_too_long_for_a_file_system_holds_up_itself_alone() {
    let mut home = Home::start("too-long", 2);
    home[0].put("before", "x");
    home.converge();
    let mut hostile = Hostile::join(&mut home, 61);
    // A link may be as long as a path, 4096 bytes; Linux takes 4095.
    let long = hostile.plant(Kind::Symlink, &[b'x'; 4096]);
    let plain = hostile.plant(Kind::File, b"behind it");
    hostile.announces(vec![("long", &long), ("plain", &plain)]);
    (0..2).for_each(|i| home[i].gets("plain", "behind it"));
    (0..2).for_each(|i| home[i].names_trouble("long", "name too long"));
    home[0].put("after", "all goes on");
    home[1].gets("after", "all goes on");
    assert!(!home[1].has("long") && !home[1].in_sync(Duration::ZERO));
    let before = home[1].running().busy();
    std::thread::sleep(Duration::from_secs(2));
    let busy = home[1].running().busy() - before;
    assert!(busy < Duration::from_millis(400), "{busy:?} on a processor in 2 s of waiting");
    // A user's file of that name is one more edit, and settles it.
    home[1].put("long", "short");
    home[0].gets("long", "short");
}
