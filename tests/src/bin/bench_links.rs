//! What a tracker's network carries: updates a second from one device to eight, and 64 links held while some of them
//! end and come again all the time; on a board under QEMU, or the program of Linux beside it.
//!
//! `cargo run --release -p dartsync-tests --bin bench_links linux|virt|rpi3 [SECONDS [UPDATES]]`

use dartsync_core::ids::{FolderId, FolderSlot, InviteId, PublicKey, Seq};
use dartsync_core::limits::{ANNOUNCE_WINDOW, DEVICES, FRAME};
use dartsync_core::link::code::InviteCode;
use dartsync_core::wire::batch::BatchReader;
use dartsync_core::wire::message::{ToPeer, ToTracker};
use dartsync_tests::bench::{line, ms, quantile};
use dartsync_tests::process::{BOARDS, Device, Dir, Home, Machine};
use dartsync_tests::raw::{RawLink, announce, long_path, record};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const READERS: usize = 8;
/// Seeds of keys: the first device's, and from which on the others'.
const FIRST: u8 = 1;
/// A record is announced so often while links come and go.
const PACE: Duration = Duration::from_millis(50);
/// Each link ends once in so many records, and comes again.
const CHURN: u64 = 200;

fn main() {
    let mut args = std::env::args().skip(1);
    let board = args.next().expect("linux, virt or rpi3");
    let mut number = |or| args.next().map_or(or, |n| n.parse().expect("a number"));
    let (seconds, updates) = (number(60), number(50_000));
    let dir = Dir::new("bench-links");
    if board == "linux" {
        let mut home = Home::found_in(dir, &["--memory", "192M"]);
        let code = InviteCode::decode(&home.tracker.invite()).expect("the tracker prints good codes");
        measure(&home.tracker.listen, &code, seconds, updates);
        return;
    }
    let kind = BOARDS.iter().find(|b| b.name == board).expect("a board");
    let founder = Device::new(dir.path(), "founder");
    std::fs::create_dir_all(&founder.state).expect("a directory can be made");
    let secret: String = RawLink::key(FIRST).secret().iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(founder.state.join("identity"), format!("dartsync-identity-1 {secret}\n"))
        .expect("it can be written");
    let mut machine = Machine::new(kind, dir.path(), &founder, &[]);
    let since = Instant::now();
    let said = machine.boot();
    line("from power on to listening", ms(since.elapsed()));
    line("  by its own clock", said);
    let code = InviteCode::decode(&machine.code).expect("images print good codes");
    assert_eq!(code.invite, InviteId(0));
    measure(&machine.listen, &code, seconds, updates);
}

fn measure(at: &str, code: &InviteCode, seconds: u64, updates: u64) {
    let mut feeder = RawLink::join(at, code, FIRST, "feeder");
    let (id, folder) = feeder.link_folder("f");
    let readers = (0..READERS).map(|n| join(at, code.tracker, &mut feeder, FIRST + 1 + n as u8));
    let readers: Vec<RawLink> = readers.collect();
    let mut others = fan_out(&mut feeder, folder, readers, updates);
    for n in READERS..DEVICES - 1 {
        others.push(join(at, code.tracker, &mut feeder, FIRST + 1 + n as u8));
        // Silent ones would be hung up.
        others.iter_mut().for_each(|link| link.send(&ToTracker::Ping));
    }
    churn(at, code.tracker, feeder, (id, folder), others, Duration::from_secs(seconds), updates);
}

/// One more device, invited by the first, caught up.
fn join(at: &str, tracker: PublicKey, feeder: &mut RawLink, seed: u8) -> RawLink {
    let (invite, secret) = feeder.invite();
    let code = InviteCode { tracker, invite: InviteId(invite), secret, addresses: Default::default() };
    let mut link = RawLink::join(at, &code, seed, &format!("dev{seed}"));
    link.link_folder("f");
    link
}

/// How many records come with the next message that holds some, and the last one's seq; none at the link's end.
fn records(link: &mut RawLink) -> Option<(u64, Seq)> {
    link.hear(|m| match m {
        ToPeer::Records(batch) => {
            let (mut batch, mut heard) = (BatchReader::new(batch), (0, Seq(0)));
            while let Some(entry) = batch.entry().expect("the tracker batches well") {
                heard = (heard.0 + 1, entry.seq);
            }
            Some(heard)
        }
        _ => None,
    })
}

/// Updates a second from one device to the readers, who are given back.
fn fan_out(feeder: &mut RawLink, folder: FolderSlot, readers: Vec<RawLink>, updates: u64) -> Vec<RawLink> {
    let since = Instant::now();
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut link| {
            std::thread::spawn(move || {
                let mut got = 0;
                while got < updates {
                    got += records(&mut link).expect("the tracker goes on").0;
                }
                link
            })
        })
        .collect();
    feed(feeder, folder, 0..updates, 64);
    let taken = since.elapsed();
    let readers = threads.into_iter().map(|t| t.join().expect("no reader panics")).collect();
    let rate = |t: Duration| format!("{:.0}/s", updates as f64 / t.as_secs_f64());
    line(&format!("{updates} updates of 64-byte paths, taken from one device"), rate(taken));
    line(&format!("  and delivered to {READERS} others"), rate(since.elapsed()));
    readers
}

/// Announces records and waits until all are taken.
fn feed(feeder: &mut RawLink, folder: FolderSlot, which: std::ops::Range<u64>, most: usize) {
    let (mut sent, mut answered) = (which.start, which.start);
    let mut frame = [0; FRAME];
    while answered < which.end {
        while sent < which.end && sent - answered + most as u64 <= ANNOUNCE_WINDOW as u64 {
            let of = (sent..which.end).map(|n| (long_path(n), record(n, 0, feeder.tag, feeder.device)));
            let (n, count) = announce(folder, of, most, &mut frame);
            feeder.send_encoded(&frame[..n]);
            sent += count as u64;
        }
        answered += feeder.accepted() as u64;
    }
}

/// What all links of the churn know.
struct Shared {
    ended: AtomicBool,
    /// Seqs that were announced, in order, and when.
    said: Mutex<Vec<Instant>>,
    delays: Mutex<Vec<Duration>>,
    redials: AtomicU64,
}

/// Holds all links, and lets them come and go, while records pass.
fn churn(
    at: &str,
    tracker: PublicKey,
    mut feeder: RawLink,
    (id, folder): (FolderId, FolderSlot),
    links: Vec<RawLink>,
    time: Duration,
    from: u64,
) {
    let shared = Shared {
        ended: AtomicBool::new(false),
        said: Mutex::new(Vec::new()),
        delays: Mutex::new(Vec::new()),
        redials: AtomicU64::new(0),
    };
    let (count, last) = (links.len() + 1, from);
    let mut announced = from;
    let all: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = links
            .into_iter()
            .enumerate()
            .map(|(n, link)| {
                let shared = &shared;
                scope.spawn(move || hold(at, tracker, n, link, (id, last), shared))
            })
            .collect();
        let until = Instant::now() + time;
        while Instant::now() < until {
            shared.said.lock().expect("no thread panics").push(Instant::now());
            feed(&mut feeder, folder, announced..announced + 1, 1);
            announced += 1;
            std::thread::sleep(PACE);
        }
        shared.ended.store(true, SeqCst);
        // What wakes who waits still.
        feed(&mut feeder, folder, announced..announced + 1, 1);
        threads.into_iter().map(|t| t.join().expect("no link is lost")).collect()
    });
    assert!(all.iter().all(|seq| *seq >= announced), "{all:?} of {announced}");
    let mut delays = shared.delays.into_inner().expect("no thread panics");
    delays.sort();
    line(&format!("links held for {} s", time.as_secs()), count);
    line("  ended and dialled again meanwhile", shared.redials.into_inner());
    line("  records announced, and heard by each", announced - from);
    let (median, high) = (quantile(&delays, 0.5), quantile(&delays, 0.99));
    line("  from announced to heard", format!("median {}, p99 {}", ms(median), ms(high)));
}

/// Holds one link until the end; the last seq that it heard.
fn hold(
    at: &str,
    tracker: PublicKey,
    n: usize,
    mut link: RawLink,
    (id, last): (FolderId, u64),
    shared: &Shared,
) -> u64 {
    let (mut seen, mut run) = (last, 1);
    // Not all at once.
    let mut next = last + CHURN + n as u64 * CHURN / DEVICES as u64;
    let mut ping = Instant::now();
    while !shared.ended.load(SeqCst)
        || seen < last + shared.said.lock().expect("no thread panics").len() as u64
    {
        let (_, seq) = records(&mut link).unwrap_or_else(|| panic!("link {n} ended behind {seen}"));
        seen = seq.0;
        let said = shared.said.lock().expect("no thread panics").get((seen - last - 1) as usize).copied();
        if let Some(said) = said {
            shared.delays.lock().expect("no thread panics").push(said.elapsed());
        }
        if ping.elapsed() > Duration::from_secs(3) {
            link.send(&ToTracker::Ping);
            ping = Instant::now();
        }
        if seen >= next && !shared.ended.load(SeqCst) {
            (next, run) = (seen + CHURN, run + 1);
            drop(link);
            shared.redials.fetch_add(1, SeqCst);
            link =
                RawLink::again(at, tracker, FIRST + 1 + n as u8, &format!("dev{}", FIRST + 1 + n as u8), run);
            link.send(&ToTracker::Seen { folder: id, epoch: link.epoch, seen: Seq(seen) });
            link.send(&ToTracker::Told(FolderSlot(0)));
        }
    }
    seen
}
