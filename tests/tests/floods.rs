//! A device of the home that wants all of it for itself: links, records, numbers.

use dartsync_core::data::message::{self, Message};
use dartsync_core::data::{Answer, Ask};
use dartsync_core::ids::{ContentId, FolderSlot, Tag};
use dartsync_core::limits::{CHUNK_MAX, COUNTER, FRAME};
use dartsync_core::link::code::InviteCode;
use dartsync_core::record::{Kind, Record};
use dartsync_core::version::{Edit, VersionVector};
use dartsync_core::wire::message::{ToPeer, Verdict};
use dartsync_tests::process::{Home, noise, wait_for};
use dartsync_tests::raw::{RawLink, announce, long_path, record};
use dartsync_tests::raw_data::{Contents, Manner, RawData, Server, hashed};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

fn code(home: &mut Home) -> InviteCode {
    InviteCode::decode(&home.invite()).unwrap()
}

/// How a link without manners goes on after its handshake.
fn ask_on_and_on(mut link: RawData, n: u32, content: ContentId, ended: &AtomicBool) {
    let asks = |n: u32| Ask::Chunk { id: n, content, offset: 0, len: CHUNK_MAX as u32 };
    link.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    link.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut id = 0;
    while !ended.load(SeqCst) {
        // Some ask without end, the others so much as is answered, and read a byte now and then.
        let most = if n.is_multiple_of(3) { 100_000 } else { 240 };
        while id < most && !ended.load(SeqCst) {
            id += 1;
            if link.ask(&asks(id)).is_err() {
                return;
            }
        }
        let _ = link.stream.read(&mut [0]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_device_that_asks_without_end_leaves_room_for_others() {
    let mut home = Home::start("asks", 2);
    let data = noise(1, 3 << 20);
    home[0].put("before", &data);
    home.converge();
    let key = home.tracker.read_roster().device_by_name("dev0").unwrap().1.key;
    let code = code(&mut home);
    let link = RawLink::join(&home.tracker.listen, &code, 70, "greedy");
    let _link = link.attend(None);
    let before = home[0].running().resident();
    let ended = Arc::new(AtomicBool::new(false));
    let (at, content) = (home[0].listen.clone(), hashed(&data).0);
    // More links than a device has in all, and each is replaced when it ends.
    let links: Vec<_> = (0..80)
        .map(|n| {
            let (ended, at) = (ended.clone(), at.clone());
            std::thread::spawn(move || {
                while !ended.load(SeqCst) {
                    if let Ok(link) = RawData::dial(&at, &RawLink::key(70), key) {
                        ask_on_and_on(link, n, content, &ended);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    // Meanwhile others get on, also by new links; and one more can join.
    home[1].kill();
    home[0].put("during", noise(2, 2 << 20));
    home[1].start();
    home[1].gets("during", noise(2, 2 << 20));
    home.add();
    home[2].gets("before", &data);
    let peak = home[0].running().resident_peak();
    assert!(peak < before + (32 << 10), "from {before} to {peak} KiB");
    ended.store(true, SeqCst);
    links.into_iter().for_each(|l| l.join().unwrap());
    home.converge();
}

/// Asks that a greedy link keeps out.
const WINDOW: u32 = 200;
/// So many long chunks of others may go out, on the average, before a device that asks for little is answered. Of the
/// program's making are one or two a device; the others wait in sockets already, or are a matter of who runs when.
const CHUNKS: u64 = 64;

/// Bytes of file in a record, and the ask that it answers.
fn body(record: &[u8]) -> (u32, u64) {
    match message::decode(record) {
        Ok(Message::Answer(Answer::Body { id, bytes, .. })) => (id, bytes.len() as u64),
        other => panic!("{other:?} is no body"),
    }
}

/// Keeps many asks out and takes what comes as fast as it can.
fn take_greedily(mut link: RawData, content: ContentId, taken: &AtomicU64, ended: &AtomicBool) {
    let ask = |id| Ask::Chunk { id, content, offset: 0, len: CHUNK_MAX as u32 };
    (0..WINDOW).for_each(|id| link.ask(&ask(id)).unwrap());
    let (mut id, mut come) = (WINDOW, 0);
    while !ended.load(SeqCst) {
        let bytes = body(&link.hear().expect("it is served")).1;
        taken.fetch_add(bytes, SeqCst);
        come += bytes;
        while come >= CHUNK_MAX as u64 {
            come -= CHUNK_MAX as u64;
            link.ask(&ask(id)).unwrap();
            id += 1;
        }
    }
}

#[test]
fn who_asks_for_little_waits_for_few_chunks_of_who_asks_for_much() {
    let mut home = Home::start("turns", 1);
    let data = noise(3, 3 << 20);
    home[0].put("big", &data);
    home[0].wait();
    let key = home.tracker.read_roster().device_by_name("dev0").unwrap().1.key;
    let mut joins = |seed, name: &str| {
        let code = code(&mut home);
        RawLink::join(&home.tracker.listen, &code, seed, name).attend(None)
    };
    let _attended = [joins(73, "greedy"), joins(74, "modest")];
    let (at, content) = (home[0].listen.clone(), hashed(&data).0);
    let dial = |seed| wait_for("a link", || RawData::dial(&at, &RawLink::key(seed), key).ok());
    let (taken, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    // As many links as a device may have.
    let greedy: Vec<_> = (0..4)
        .map(|_| {
            let (link, taken, ended) = (dial(73), taken.clone(), ended.clone());
            std::thread::spawn(move || take_greedily(link, content, &taken, &ended))
        })
        .collect();
    let mut modest = dial(74);
    wait_for("the greedy one to be served", || (taken.load(SeqCst) > 8 << 20).then_some(()));
    let (mut others, rounds) = (0, 100);
    for id in 0..rounds {
        let before = taken.load(SeqCst);
        modest.ask(&Ask::Chunk { id, content, offset: 0, len: 1000 }).unwrap();
        assert_eq!(body(&modest.hear().unwrap()), (id, 1000));
        others += taken.load(SeqCst) - before;
    }
    let chunks = others / CHUNK_MAX as u64 / u64::from(rounds);
    println!("{chunks} chunks went out before each small answer");
    assert!(chunks < CHUNKS, "{chunks} chunks before each small answer");
    // On a link of its own, too: what is small overtakes what was asked for long before.
    for id in rounds..rounds + WINDOW {
        modest.ask(&Ask::Chunk { id, content, offset: 0, len: CHUNK_MAX as u32 }).unwrap();
    }
    assert!(body(&modest.hear().unwrap()).0 < rounds + WINDOW, "the first is on its way");
    modest.ask(&Ask::Chunk { id: 9999, content, offset: 0, len: 1000 }).unwrap();
    let bulk = std::iter::from_fn(|| Some(body(&modest.hear().unwrap()))).take_while(|(id, _)| *id != 9999);
    let chunks = bulk.map(|(_, bytes)| bytes).sum::<u64>() / CHUNK_MAX as u64;
    println!("{chunks} of {WINDOW} chunks went before");
    assert!(chunks < CHUNKS, "{chunks} of {WINDOW} chunks went before");
    ended.store(true, SeqCst);
    greedy.into_iter().for_each(|g| g.join().unwrap());
}

/// Announces records with new paths, on and on; how many were taken, and whether some were refused for want of room.
fn flood(mut link: RawLink, folder: FolderSlot, ended: &AtomicBool) -> (usize, bool) {
    let (mut taken, mut full, mut n) = (0, false, 0);
    while !ended.load(SeqCst) {
        let mut sent = 0;
        while sent < 400 {
            let records =
                (n..).map(|i| (long_path(i).replace('/', "-"), record(i, 0, link.tag, link.device)));
            let mut frame = [0; FRAME];
            let (length, count) = announce(folder, records, 400 - sent, &mut frame);
            link.send_encoded(&frame[..length]);
            (sent, n) = (sent + count, n + count as u64);
        }
        while sent > 0 {
            let verdicts = link.hear(|m| match m {
                ToPeer::Verdicts { verdicts, .. } => Some(verdicts),
                _ => None,
            });
            let Some(verdicts) = verdicts else { return (taken, full) };
            sent -= verdicts.len();
            taken += verdicts.iter().filter(|v| matches!(v, Verdict::Accepted(_))).count();
            full |= verdicts.iter().any(|v| matches!(v, Verdict::Full(_)));
        }
    }
    (taken, full)
}

#[test]
fn a_flood_of_records_fills_the_table_and_holds_nobody_up() {
    let mut home = Home::found_with("flood", &["--memory", "1M"]);
    home.add();
    home.add();
    home[0].put("before", "0");
    home.converge();
    let before = home.tracker.running().resident();
    // One that does not wait for verdicts is hung up on.
    let invite = code(&mut home);
    let mut link = RawLink::join(&home.tracker.listen, &invite, 71, "hasty");
    let (_, folder) = link.link_folder("dev0");
    let own = (link.tag, link.device);
    for round in 0..20 {
        let records = (0..).map(|i| (format!("hasty {round} {i}"), record(i, 0, own.0, own.1)));
        let mut frame = [0; FRAME];
        let (length, _) = announce(folder, records, 400, &mut frame);
        link.send_encoded(&frame[..length]);
    }
    assert_eq!(link.hear(|_| None::<()>), None, "it is hung up on");
    home[0].say(&["revoke", "hasty"]);
    let invite = code(&mut home);
    let mut link = RawLink::join(&home.tracker.listen, &invite, 72, "flood");
    let (_, folder) = link.link_folder("dev0");
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    let flood = std::thread::spawn(move || flood(link, folder, &end));
    for n in 1..6 {
        home[n % 2].put("before", n.to_string());
        home[1 - n % 2].gets("before", n.to_string());
    }
    wait_for("the want of room to be told", || {
        let notes = home[0].status()["notes"].to_string();
        notes.contains("run it with more --memory").then_some(())
    });
    home[1].put("before", "in a full table");
    home[0].gets("before", "in a full table");
    ended.store(true, SeqCst);
    let (taken, full) = flood.join().unwrap();
    assert!(full && taken > 1000, "{taken} records");
    let after = home.tracker.running().resident();
    assert!(after < before + 6144, "from {before} to {after} KiB");
    // Without the one that has them, they go; there is room again.
    home[0].say(&["revoke", "flood"]);
    home[0].put("after", "there is room");
    home[1].gets("after", "there is room");
    let trees = [home[0].tree(), home[1].tree()];
    assert!(trees[0] == trees[1] && trees[0].len() == 2, "{:?}", trees[0].keys().take(9).collect::<Vec<_>>());
}

#[test]
fn absurd_numbers_in_records_lose_no_edit() {
    let mut home = Home::start("absurd", 2);
    let paths = ["far", "mine", "old", "vector", "fork"];
    paths.iter().for_each(|path| home[0].put(path, "before"));
    home.converge();
    let contents = Contents::default();
    let server = Server::start(RawLink::key(73), Manner::Honest, contents.clone());
    let code = code(&mut home);
    let mut link = RawLink::join_serving(&home.tracker.listen, &code, 73, "absurd", server.port());
    let (_, folder) = link.link_folder("dev0");
    let other = home.tracker.read_roster().device_by_name("dev0").unwrap().1.tag;
    let last = COUNTER - 1;
    let absurd = |path: &str, tag: Tag, counter: u64, mtime: i64| {
        let bytes = format!("absurd {path}").into_bytes();
        let (content, size) = (hashed(&bytes).0, bytes.len() as u64);
        contents.lock().unwrap().insert(content, bytes);
        let edit = Edit { tag, counter };
        let plain = record(1, 0, link.tag, link.device);
        Record { kind: Kind::File, size, content, edit, mtime, version: VersionVector::of(edit), ..plain }
    };
    let mut records = vec![
        ("far".to_owned(), absurd("far", link.tag, last, i64::MAX)),
        ("mine".to_owned(), absurd("mine", other, last, 0)),
        ("old".to_owned(), absurd("old", link.tag, 1, i64::MIN)),
        ("vector".to_owned(), absurd("vector", link.tag, last, i64::MAX)),
        ("fork".to_owned(), absurd("fork", other, 1, 1)),
        ("new".to_owned(), absurd("new", Tag(u32::MAX), last, i64::MAX)),
    ];
    let vector = &mut records[3].1.version;
    (1..64).for_each(|n| assert!(vector.raise(Edit { tag: Tag(9_000_000 + n), counter: last })));
    for (path, record) in records {
        let mut frame = [0; FRAME];
        let (length, count) = announce(folder, [(path.clone(), record)], 1, &mut frame);
        link.send_encoded(&frame[..length]);
        let verdict = link.hear(|m| matches!(m, ToPeer::Verdicts { .. }).then_some(()));
        assert!(verdict.is_some() && count == 1, "{path} is judged");
    }
    let _link = link.attend(None);
    let tree = home.converge();
    // Each path goes on being edited, on both sides.
    for path in paths.iter().chain(&["new"]) {
        home[0].put(path, "edited by dev0");
        home[1].gets(path, "edited by dev0");
        home[1].put(path, "edited by dev1");
        home[0].gets(path, "edited by dev1");
    }
    let after = home.converge();
    assert!(tree.keys().all(|path| after.contains_key(path)), "{:?}", after.keys());
    assert!(home.tracker.running().runs() && home[0].running().runs() && home[1].running().runs());
}
