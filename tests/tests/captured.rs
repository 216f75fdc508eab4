//! A tracker whose key is in wrong hands: what it says to the devices may confuse them, and loses no file.

use dartsync_core::ids::{ContentId, DeviceId, Epoch, FolderSlot, PublicKey, Seq, Slot, SlotSet, Tag};
use dartsync_core::limits::{COUNTER, SEQ};
use dartsync_core::link::StaticKey;
use dartsync_core::record::{Kind, Record};
use dartsync_core::roster::Roster;
use dartsync_core::version::{Edit, VersionVector};
use dartsync_core::wire::message::{
    self, Answer, Ranges, RosterPart, RosterVersion, SeqRange, ToPeer, Verdict,
};
use dartsync_tests::process::{Device, Home, noise, wait_for};
use dartsync_tests::raw_data::hashed;
use dartsync_tests::raw_tracker::{Act, RawSession, RawTracker, batch};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

const FILES: [&str; 8] = ["a", "b", "d/c", "d/e/f", "d/g", "h", "i/j", "k"];

fn bytes_of(path: &str) -> Vec<u8> {
    noise(path.bytes().map(u64::from).sum(), 500 + 4000 * path.len())
}

/// A home with files, and what a tracker of it knows.
struct Stage {
    home: Home,
    key: StaticKey,
    sealed: Vec<u8>,
    /// The roster before the second device joined.
    old: Vec<u8>,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let mut home = Home::start(name, 1);
        let old = std::fs::read(home.tracker.roster()).unwrap();
        home.add();
        FILES.iter().for_each(|path| home[0].put(path, bytes_of(path)));
        home[0].link("l", "a");
        home.converge();
        let identity = std::fs::read(home.tracker.state.join("identity")).unwrap();
        let key = StaticKey::from_secret(&identity.try_into().unwrap());
        let sealed = std::fs::read(home.tracker.roster()).unwrap();
        home.tracker.kill();
        Stage { home, key, sealed, old }
    }
    /// Lets both devices meet that tracker.
    fn play(&mut self, name: &str, act: Arc<Act>) {
        let tracker =
            RawTracker::start(&self.home.tracker.listen, self.key.clone(), self.sealed.clone(), act);
        wait_for(&format!("both devices to come: {name}"), || (tracker.links() >= 2).then_some(()));
        std::thread::sleep(Duration::from_millis(1200));
        drop(tracker);
        for device in &mut self.home.devices {
            let log = device.running().text();
            assert!(!log.contains("panicked") && device.running().runs(), "{name}: {log}");
            nothing_is_lost(device, name);
            let peak = device.running().resident_peak();
            assert!(peak < 200 << 10, "{name}: {peak} KiB");
        }
    }
}

/// What the user made is at some path or in the trash.
fn nothing_is_lost(device: &Device, when: &str) {
    let mut all = device.trash();
    all.extend(device.tree().keys().filter_map(|p| device.get(p.to_str().unwrap())));
    for path in FILES {
        assert!(all.contains(&bytes_of(path)), "{}: lost by {when}: {path}", device.name);
    }
}

fn folder(s: &RawSession) -> FolderSlot {
    s.roster().folders().next().expect("the home has one").0
}

/// A record that knows of more than any device does; `age` orders such records.
fn over(s: &RawSession, age: u64, kind: Kind, content: ContentId, size: u64) -> Record {
    let edit = Edit { tag: Tag(4242), counter: COUNTER - 1000 + age };
    let mut version = VersionVector::of(edit);
    for (_, device) in s.roster().devices() {
        assert!(version.raise(Edit { tag: device.tag, counter: COUNTER - 1000 + age }));
    }
    let live = kind != Kind::Removed;
    let mtime = if kind == Kind::File { i64::MAX } else { 0 };
    let mode = if matches!(kind, Kind::File | Kind::Directory) && live { 0o600 } else { 0 };
    Record { kind, size, mode, mtime, content, edit, author: DeviceId(1), version, ..Record::default() }
}

fn file(s: &RawSession, age: u64, of: &str) -> Record {
    let bytes = bytes_of(of);
    over(s, age, Kind::File, hashed(&bytes).0, bytes.len() as u64)
}

fn is_first(s: &RawSession) -> bool {
    s.roster().device_by_key(&s.peer).is_some_and(|(slot, _)| slot == Slot(0))
}

/// Greets, says these records, listens.
fn saying(
    epoch: u64,
    records: impl Fn(&RawSession) -> Vec<(String, Record)> + Send + Sync + 'static,
) -> Arc<Act> {
    Arc::new(move |s| {
        if s.greet(Epoch(epoch)).is_some() {
            let records = records(s);
            s.tell(folder(s), &records, 1);
            s.hear_out();
        }
    })
}

/// What is no sense at all.
fn nonsense() -> Vec<(&'static str, Arc<Act>)> {
    let raw: Arc<Act> = Arc::new(|s| {
        let _ = s.stream.write_all(&noise(1, 100_000));
    });
    let frames: Arc<Act> = Arc::new(|s| {
        s.greet(Epoch(77));
        s.say_encoded(&noise(s.peer.0[0].into(), 1 + usize::from(s.peer.0[1])));
        s.hear_out();
    });
    let silent: Arc<Act> = Arc::new(RawSession::hear_out);
    let drip: Arc<Act> = Arc::new(|s| {
        let welcome = message_bytes(&ToPeer::Notice("slow"));
        for byte in s.sealed_frame(&welcome) {
            let _ = s.stream.write_all(&[byte]);
            std::thread::sleep(Duration::from_millis(100));
            if !s.goes_on() {
                return;
            }
        }
    });
    let outside: Arc<Act> = Arc::new(|s| {
        s.greet(Epoch(78));
        let mut frame = batch(folder(s), "pp/dartsync/xx", &file(s, 1, "a"), 1);
        let at = frame.windows(2).position(|w| w == b"pp").expect("the path is in it");
        let path: &[u8] = if is_first(s) { b"../../etc/xxxx" } else { b"a/.dartsync/xx" };
        frame[at..at + path.len()].copy_from_slice(path);
        s.say(&ToPeer::Records(&frame));
        s.hear_out();
    });
    let counts: Arc<Act> = Arc::new(|s| {
        s.greet(Epoch(79));
        // A presence with more addresses than there is memory.
        let mut long = message_bytes(&presence(7));
        long.truncate(long.len() - 1);
        long.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
        s.say_encoded(&long);
        s.hear_out();
    });
    vec![
        ("noise", raw),
        ("frames of noise", frames),
        ("silence", silent),
        ("a drip", drip),
        ("paths outside", outside),
        ("counts", counts),
    ]
}

fn message_bytes(m: &ToPeer<'_>) -> Vec<u8> {
    let mut out = [0; 8192];
    let n = message::encode(m, &mut out).unwrap();
    out[..n].to_vec()
}

fn presence(n: u32) -> ToPeer<'static> {
    ToPeer::Presence {
        device: DeviceId(n),
        online: true,
        lag: u64::MAX,
        caps: u32::MAX,
        addrs: Default::default(),
    }
}

/// Messages that are well made, and say what is not so.
fn out_of_place() -> Vec<(&'static str, Arc<Act>)> {
    let all: Ranges = Ranges::from_slice(&[SeqRange { from: Seq(0), to: Seq(u64::MAX) }]).unwrap();
    let crowd: Arc<Act> = Arc::new(move |s| {
        s.greet(Epoch(80));
        let slot = folder(s);
        s.say(&ToPeer::Records(&batch(FolderSlot(200), "x", &file(s, 1, "a"), 5)));
        (0..2000).for_each(|n| s.say(&presence(n)));
        (0..2000).for_each(|n| s.say(&ToPeer::ConnectBack(DeviceId(n % 5))));
        for n in 0..2000 {
            let (holders, seekers) = (SlotSet(u64::MAX), SlotSet(u64::MAX));
            s.say(&ToPeer::Sources { folder: slot, seq: Seq(n), holders, seekers });
            s.say(&ToPeer::Reply(n as u32, Answer::Refused("no")));
        }
        s.say(&ToPeer::Forget { folder: slot, ranges: all.clone() });
        s.say(&ToPeer::Room { used: u32::MAX, of: 0 });
        s.say(&ToPeer::CaughtUp { folder: FolderSlot(255), seq: Seq(SEQ - 1) });
        s.say(&ToPeer::CaughtUp { folder: slot, seq: Seq(SEQ - 1) });
        s.say(&ToPeer::Standing(Seq(SEQ - 1)));
        s.hear_out();
    });
    let verdicts: Arc<Act> = Arc::new(|s| {
        s.greet(Epoch(81));
        let verdicts = [Verdict::Accepted(Seq(SEQ - 1)), Verdict::Conflict(Seq(3)), Verdict::Pair];
        s.say(&ToPeer::Verdicts { first: u32::MAX, verdicts: verdicts.into_iter().collect() });
        s.hear_out();
    });
    let tags: Arc<Act> = Arc::new(|s| s.say(&ToPeer::NewTag { wait: 0 }));
    vec![("a crowd of messages", crowd), ("verdicts on nothing", verdicts), ("new tags", tags)]
}

/// Records that lie.
fn lies() -> Vec<(&'static str, Arc<Act>)> {
    let nobody = saying(90, |s| {
        let what = over(s, 90, Kind::File, ContentId([7; 32]), 1 << 40);
        FILES.iter().map(|path| (path.to_string(), what.clone())).collect()
    });
    let vectors = saying(95, |s| {
        let mut records = vec![];
        for path in FILES {
            let mut record = file(s, 95, path);
            (1..60).for_each(|n| assert!(record.version.raise(Edit { tag: Tag(n), counter: COUNTER - 1 })));
            records.push((path.to_owned(), record));
        }
        records
    });
    let two_tongues = saying(92, |s| {
        let (x, y) = if is_first(s) { ("b", "h") } else { ("h", "b") };
        vec![
            ("a".to_owned(), file(s, 92, x)),
            ("k".to_owned(), file(s, 92, y)),
            ("new".to_owned(), file(s, 92, x)),
        ]
    });
    let kinds = saying(93, |s| {
        let directory = over(s, 93, Kind::Directory, ContentId::NONE, 0);
        let mut link = over(s, 93, Kind::Symlink, ContentId([8; 32]), 20);
        link.mode = 0;
        vec![("b".to_owned(), directory), ("d".to_owned(), file(s, 93, "k")), ("i/j".to_owned(), link)]
    });
    let removals = saying(94, |s| {
        let gone = over(s, 94, Kind::Removed, ContentId::NONE, 0);
        let dirs = ["d/e", "d", "i", "l", "new"];
        FILES.iter().chain(&dirs).map(|path| (path.to_string(), gone.clone())).collect()
    });
    vec![
        ("contents of nobody", nobody),
        ("two tongues", two_tongues),
        ("other kinds", kinds),
        ("removal of everything", removals),
        ("full vectors", vectors),
    ]
}

#[test]
fn a_tracker_in_wrong_hands_loses_no_file() {
    let mut stage = Stage::new("captured");
    let old = stage.old.clone();
    let old_roster: Arc<Act> = Arc::new(move |s| {
        s.greet(Epoch(70));
        s.sealed = old.clone();
        s.tell_roster();
        s.hear_out();
    });
    let mut acts = nonsense();
    acts.extend(out_of_place());
    acts.push(("an old roster", old_roster));
    acts.extend(lies());
    for (name, act) in acts {
        stage.play(name, act);
        if name == "removal of everything" {
            // It was believed: what is gone is in the trash.
            let gone = |d: &Device| ["a", "d/c", "h", "k"].iter().all(|path| !d.has(path));
            assert!(stage.home.devices.iter().all(gone), "nothing was removed");
        }
    }
    // The real one is back.
    let mut home = stage.home;
    home.tracker.start();
    home.converge();
    home.devices.iter().for_each(|d| nothing_is_lost(d, "all of it"));
    for path in FILES.iter().filter(|path| !path.contains('/')) {
        // A directory may have come in its place.
        let _ = std::fs::remove_dir_all(home[0].path(path));
        home[0].put(path, "edited by dev0");
        home[1].gets(path, "edited by dev0");
        home[1].put(path, "edited by dev1");
        home[0].gets(path, "edited by dev1");
    }
    home.converge();
}

/// Who has the tracker's key can put devices out of the home; their files stay.
#[test]
fn a_roster_from_wrong_hands_takes_no_file() {
    for forged in [true, false] {
        let mut stage = Stage::new(if forged { "forged" } else { "put-out" });
        let mut roster = Box::new(Roster::decode(&stage.sealed).unwrap());
        let keys: Vec<PublicKey> = roster.devices().map(|(_, d)| d.key).collect();
        if forged {
            roster.remove_folder(FolderSlot(0));
        } else {
            keys.iter().for_each(|key| assert!(roster.revoke(key).is_ok()));
        }
        roster.outrun(RosterVersion { version: 1000, nonce: 0 });
        roster.next_version(9, DeviceId(1));
        let mut sealed = Default::default();
        roster.seal(&[9; 32], &mut sealed);
        let (sealed, of) = (sealed.to_vec(), roster.version());
        let act: Arc<Act> = Arc::new(move |s| {
            s.greet(Epoch(71));
            s.say(&ToPeer::Roster(RosterPart { of, total: sealed.len() as u32, offset: 0, bytes: &sealed }));
            s.hear_out();
        });
        stage.play("a roster", act);
        let mut home = stage.home;
        home.tracker.start();
        std::thread::sleep(Duration::from_secs(1));
        for device in &mut home.devices {
            FILES.iter().for_each(|path| assert_eq!(device.get(path).unwrap(), bytes_of(path), "{path}"));
            assert!(device.running().runs());
        }
    }
}
