//! Who means harm to a board over TCP: floods, resets, drips. Devices go on meanwhile, and afterwards all is as before.

use crate::{device, machine, with_board};
use dartsync_tests::frames::{Ends, Head, Wire};
use dartsync_tests::process::{
    CABLE, Device, Dir, HERE, Home, Kind, Machine, Tracker, status_page, wait_for,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

const BOARD: [u8; 4] = [10, 0, 2, 77];
const LINK: &str = "10.0.2.77:7420";
const PAGE: &str = "10.0.2.77:80";
/// Each kind of abuse lasts so long.
const LASTS: Duration = Duration::from_secs(5);
const SYN: u8 = 2;
const RST: u8 = 4;

/// Goes on as long as the abuse lasts; not more frames than a board can take in: what is dropped tests nothing.
fn storm(mut one: impl FnMut()) -> u32 {
    let (until, mut count) = (Instant::now() + LASTS, 0);
    while Instant::now() < until {
        for _ in 0..20 {
            one();
            count += 1;
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    count
}

/// Callers from everywhere, of whom some even answer who asks for their hardware address.
fn syn_flood() -> u32 {
    let mut wire = Wire::beside(1, BOARD, CABLE);
    wire.answers("before the flood");
    let mut frame = [0; 2048];
    storm(|| {
        let port = if wire.rng.below(4) == 0 { 80 } else { 7420 };
        let near = [10, 0, 2, 90 + wire.rng.below(160) as u8];
        let from = if wire.rng.below(3) > 0 { near } else { wire.rng.bytes() };
        let call = wire.tcp(from, port, SYN, &[]);
        wire.send(&call);
        while let Some(n) = wire.waiting(&mut frame) {
            wire.answer_arp(&frame[..n], |ip| ip[3] >= 90 && ip[3] % 2 == 0);
        }
    })
}

/// The board's links with devices of this end, as they are seen on the cable.
fn links(wire: &Wire, count: usize) -> Vec<(Ends, Head)> {
    let mut frame = [0; 2048];
    let mut found: Vec<(Ends, Head)> = Vec::new();
    wait_for("segments of each link", || {
        let n = wire.receive(&mut frame)?;
        let (ends, head) =
            wire.segment_of(&frame[..n]).filter(|(e, _)| e.from.0 == HERE && e.port == 7420)?;
        found.retain(|(other, _)| *other != ends);
        found.push((ends, head));
        (found.len() >= count).then_some(())
    });
    found
}

/// Resets of links that are there, by somebody who knows all of them but their numbers.
fn blind_resets() -> u32 {
    let mut wire = Wire::beside(2, BOARD, CABLE);
    let links = links(&wire, 2);
    wire.answers("before the resets");
    storm(|| {
        for (ends, head) in &links {
            // Whoever guesses a number within the window is right: one guess in 500,000.
            let off = 1 << 20 | wire.rng.next_u64() as u32 >> 1;
            let seq = head.ack.wrapping_add(off);
            let reset = wire.segment(*ends, Head { seq, ack: 0, flags: RST }, &[]);
            wire.send(&reset);
        }
    })
}

/// Resets by somebody who sees the numbers, until `torn`: those links are over, and are dialled again.
fn sighted_resets(mut torn: impl FnMut() -> bool) {
    let mut wire = Wire::beside(3, BOARD, CABLE);
    wire.answers("before a reset");
    let (links, mut frame) = (links(&wire, 2), [0; 2048]);
    wait_for("the links are torn", || {
        // What waits in the queue is old by now: the newest of each link counts.
        let mut newest = [None; 2];
        let mut next = wire.receive(&mut frame);
        while let Some(n) = next {
            let seen = wire.segment_of(&frame[..n]);
            let at = seen.and_then(|(ends, _)| links.iter().position(|l| l.0 == ends));
            if let Some(at) = at {
                newest[at] = seen;
            }
            next = wire.waiting(&mut frame);
        }
        for (ends, head) in newest.into_iter().flatten() {
            let reset = wire.segment(ends, Head { seq: head.ack, ack: 0, flags: RST }, &[]);
            wire.send(&reset);
        }
        torn().then_some(())
    });
}

/// Callers that say what they have to say byte by byte, and such that say nothing at all.
fn drips() -> usize {
    let dial = |at: &str| TcpStream::connect_timeout(&at.parse().unwrap(), Duration::from_secs(1)).ok();
    let until = Instant::now() + LASTS;
    let words = [
        (LINK, &b"DART\x01\x01\x01\0\0\0\0\0and nothing that opens anything"[..]),
        (PAGE, b"GET / HTTP/1.1\r\nX: "),
    ];
    let mut all: Vec<(TcpStream, &[u8], usize)> = Vec::new();
    let mut came = 0;
    while Instant::now() < until {
        for (at, word) in words {
            if let Some(link) = dial(at).filter(|l| l.set_nonblocking(true).is_ok()) {
                came += 1;
                // Each third never says a word.
                all.push((link, if came % 3 == 0 { b"" } else { word }, 0));
            }
        }
        all.retain_mut(|(link, word, at)| {
            let byte = word.get(*at % word.len().max(1)).map(std::slice::from_ref);
            *at += 1;
            let mut heard = [0; 64];
            byte.is_none_or(|b| link.write(b).is_ok()) && !matches!(link.read(&mut heard), Ok(0))
        });
        std::thread::sleep(Duration::from_millis(20));
    }
    came
}

/// What the board says of the deepest its stack was, and of its memory for devices, KiB.
fn memory() -> (u64, u64, String) {
    let shown = status_page(PAGE);
    let number = |before: &str| -> u64 {
        let at = shown.split(before).nth(1).unwrap_or_else(|| panic!("{before}: {shown}"));
        at.split(' ').next().unwrap().parse().unwrap()
    };
    let all =
        shown.split("; stack ").nth(1).unwrap().split(" KiB").next().unwrap().split(' ').next_back().unwrap();
    let devices = shown.split("; devices ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    (number("; stack "), all.parse().unwrap(), devices)
}

fn begin(kind: &'static Kind) -> (Machine, Home) {
    let dir = Dir::new(&format!("abuse-{}", kind.name));
    let devices: Vec<Device> = (0..2).map(|n| device(&dir, &format!("dev{n}"))).collect();
    let mut board = machine(kind, &dir, &devices[0], &["--ip", "10.0.2.77/24"]);
    board.listen = LINK.to_owned();
    board.boot();
    let mut home = Home { tracker: Tracker::new(dir.path()), devices, dir };
    for n in 0..2 {
        let code = if n == 0 { board.code.clone() } else { home[0].invite() };
        board.joined_by(&home[n], &code).unwrap();
        home[n].start();
    }
    home[0].put("before", "all is well");
    home.converge();
    (board, home)
}

/// Saves at one device and waits for it at the other, again and again, until `ended`.
fn edits(home: &Home, name: &str, ended: &AtomicBool) {
    for n in 0.. {
        let data = format!("{name} {n}");
        home[n % 2].put(name, &data);
        home[(n + 1) % 2].gets(name, &data);
        if ended.load(SeqCst) {
            return;
        }
    }
}

fn goes_on(kind: &'static Kind) {
    let (board, mut home) = begin(kind);
    let before = memory();
    // The network is this thread's and that of those it starts.
    let during = |home: &Home, name: &str, abuse: &mut (dyn FnMut() -> String + Send)| {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let edits = scope.spawn(|| edits(home, name, &ended));
            println!("{}: {name}: {}", kind.name, abuse());
            ended.store(true, SeqCst);
            edits.join().expect("edits get through");
        });
    };
    during(&home, "flood", &mut || format!("{} callers", syn_flood()));
    during(&home, "resets", &mut || format!("{} times", blind_resets()));
    during(&home, "drips", &mut || format!("{} callers", drips()));
    for n in 0..2 {
        let log = home[n].running().text();
        assert!(!log.contains("disconnected"), "{}: a link was lost: {log}", kind.name);
    }
    let torn = |device: &Device| {
        let log = std::fs::read_to_string(&device.log).expect("a device writes its log");
        log.contains("disconnected")
    };
    during(&home, "torn", &mut || {
        sighted_resets(|| torn(&home[0]) && torn(&home[1]));
        "both links".to_owned()
    });
    Wire::beside(4, BOARD, CABLE).answers("after all of it");
    let late = device(&home.dir, "late");
    board.joined_by(&late, &home[0].invite()).unwrap();
    home.devices.push(late);
    home[2].start();
    home.converge();
    home.status_is_true();
    let after = memory();
    assert!(after.0 * 10 <= after.1 * 9, "{}: the stack is nearly used up: {after:?}", kind.name);
    assert_eq!((before.1, &before.2), (after.1, &after.2), "{}: memory grew", kind.name);
    let said = board.program.as_ref().unwrap().text();
    assert!(said.matches("listening on").count() == 1 && !said.contains("FATAL"), "{said}");
}

#[test]
fn virt_goes_on_whoever_means_it_harm() {
    with_board("virt", goes_on);
}

#[test]
fn rpi3_goes_on_whoever_means_it_harm() {
    with_board("rpi3", goes_on);
}
