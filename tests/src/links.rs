//! A tracker's links all at once: devices that speak the tracker link by hand come, go and hear each record.

use crate::raw::{RawLink, announce, long_path, record};
use dartsync_core::ids::{FolderId, FolderSlot, InviteId, PublicKey, Seq};
use dartsync_core::limits::{ANNOUNCE_WINDOW, DEVICES, FRAME};
use dartsync_core::link::code::InviteCode;
use dartsync_core::wire::batch::BatchReader;
use dartsync_core::wire::message::{ToPeer, ToTracker};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Seeds of keys: the first device's, and from which on the others'.
pub const FIRST: u8 = 1;
/// A record is announced so often while links come and go.
const PACE: Duration = Duration::from_millis(50);
/// Each link ends once in so many records, and comes again.
const CHURN: u64 = 200;

/// Makes the device whose state is there the one of [`FIRST`].
pub fn be_first(state: &Path) {
    std::fs::create_dir_all(state).expect("a directory can be made");
    let secret: String = RawLink::key(FIRST).secret().iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(state.join("identity"), format!("dartsync-identity-1 {secret}\n"))
        .expect("it can be written");
}

/// All others of a full home, joined by the first; so many are there already.
pub fn join_all(
    at: &str,
    tracker: PublicKey,
    feeder: &mut RawLink,
    mut others: Vec<RawLink>,
) -> Vec<RawLink> {
    for n in others.len()..DEVICES - 1 {
        others.push(join(at, tracker, feeder, FIRST + 1 + n as u8));
        // Silent ones would be hung up.
        others.iter_mut().for_each(|link| link.send(&ToTracker::Ping));
    }
    others
}

/// One more device, invited by the first, caught up.
pub fn join(at: &str, tracker: PublicKey, feeder: &mut RawLink, seed: u8) -> RawLink {
    let (invite, secret) = feeder.invite();
    let code = InviteCode { tracker, invite: InviteId(invite), secret, addresses: Default::default() };
    let mut link = RawLink::join(at, &code, seed, &format!("dev{seed}"));
    link.link_folder("f");
    link
}

/// How many records come with the next message that holds some, and the last one's seq; none at the link's end.
pub fn records(link: &mut RawLink) -> Option<(u64, Seq)> {
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

/// Announces records and waits until all are taken.
pub fn feed(feeder: &mut RawLink, folder: FolderSlot, which: std::ops::Range<u64>, most: usize) {
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

/// What came of a churn.
#[derive(Debug)]
pub struct Held {
    /// Links that were held.
    pub links: usize,
    /// How often one of them was ended and dialled again.
    pub redials: u64,
    /// Records that were announced, and heard by each.
    pub announced: u64,
    /// From announced to heard, sorted.
    pub delays: Vec<Duration>,
}

/// Holds all links for that time, and lets them come and go, while records pass; `from`: how many the folder has had.
/// Panics if a link is lost that was not ended here, or hears less than all.
pub fn churn(
    at: &str,
    tracker: PublicKey,
    feeder: &mut RawLink,
    (id, folder): (FolderId, FolderSlot),
    links: Vec<RawLink>,
    time: Duration,
    from: u64,
) -> Held {
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
            feed(feeder, folder, announced..announced + 1, 1);
            announced += 1;
            std::thread::sleep(PACE);
        }
        shared.ended.store(true, SeqCst);
        // What wakes who waits still.
        feed(feeder, folder, announced..announced + 1, 1);
        threads.into_iter().map(|t| t.join().expect("no link is lost")).collect()
    });
    assert!(all.iter().all(|seq| *seq >= announced), "{all:?} of {announced}");
    let mut delays = shared.delays.into_inner().expect("no thread panics");
    delays.sort();
    Held { links: count, redials: shared.redials.into_inner(), announced: announced - from, delays }
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
    let mut next = last + 1 + n as u64 * CHURN / DEVICES as u64;
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
