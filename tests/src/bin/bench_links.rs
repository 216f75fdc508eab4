//! What a tracker's network carries: updates a second from one device to eight, and 64 links held while some of them
//! end and come again all the time; on a board under QEMU, or the program of Linux beside it.
//!
//! `cargo run --release -p dartsync-tests --bin bench_links linux|virt|rpi3 [SECONDS [UPDATES]]`

use dartsync_core::ids::{FolderSlot, InviteId};
use dartsync_core::link::code::InviteCode;
use dartsync_tests::bench::{line, ms, quantile};
use dartsync_tests::links::{FIRST, be_first, churn, feed, join, join_all, records};
use dartsync_tests::process::{BOARDS, Device, Dir, Home, Machine};
use dartsync_tests::raw::RawLink;
use std::time::{Duration, Instant};

const READERS: usize = 8;

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
    be_first(&founder.state);
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
    let readers = fan_out(&mut feeder, folder, readers, updates);
    let others = join_all(at, code.tracker, &mut feeder, readers);
    let time = Duration::from_secs(seconds);
    let held = churn(at, code.tracker, &mut feeder, (id, folder), others, time, updates);
    line(&format!("links held for {seconds} s"), held.links);
    line("  ended and dialled again meanwhile", held.redials);
    line("  records announced, and heard by each", held.announced);
    let (median, high) = (quantile(&held.delays, 0.5), quantile(&held.delays, 0.99));
    line("  from announced to heard", format!("median {}, p99 {}", ms(median), ms(high)));
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
