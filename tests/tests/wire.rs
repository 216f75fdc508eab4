//! Boards under QEMU on a wire where anybody sends anything: no frame ends them, they answer afterwards, and say where
//! they are.

use dartsync_core::link::code::InviteCode;
use dartsync_tests::frames::{GROUP, OURS, Wire};
use dartsync_tests::process::{BOARDS, Device, Dir, Kind, Machine, has_qemu};
use dartsync_tracker::signpost::mark;
use std::time::Duration;

const FRAMES: u32 = 30_000;
const BOARD: [u8; 4] = [10, 0, 2, 77];

fn storm(kind: &'static Kind) {
    let dir = Dir::new(&format!("wire-{}", kind.name));
    let founder = Device::new(dir.path(), "founder");
    let mut machine = Machine::new(kind, dir.path(), &founder, &["--ip", "10.0.2.77/24"]);
    let (mut wire, told) = Wire::new(7, BOARD);
    machine.net = Some(told);
    machine.boot();
    wire.answers("at first");
    for n in 0..FRAMES {
        let frame = wire.any();
        wire.send(&frame);
        if n % 50 == 49 {
            // Not more than it can take in: what is dropped tests nothing.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    wire.answers("after the storm");
    let program = machine.program.as_mut().unwrap();
    assert!(program.runs() && !program.text().contains("FATAL"), "{}", program.text());
}

#[test]
fn no_frame_ends_a_board() {
    BOARDS.iter().filter(|_| has_qemu()).for_each(storm);
}

/// A record of an answer: its name, kind, class, and data.
type Found = (Vec<String>, u16, u16, Vec<u8>);

/// A name as it stands at `at`, and where it ends. Boards do not shorten names.
fn name(packet: &[u8], mut at: usize) -> (Vec<String>, usize) {
    let mut labels = Vec::new();
    loop {
        let len = usize::from(packet[at]);
        assert!(len < 64, "no label has {len} bytes: {packet:?}");
        at += 1 + len;
        if len == 0 {
            return (labels, at);
        }
        labels.push(String::from_utf8(packet[at - len..at].to_vec()).unwrap());
    }
}

/// All records of an answer to `query`, and what stands before them.
fn records(answer: &[u8], query: &[u8]) -> ([u8; 4], Vec<Found>) {
    let half = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    let mut at = 12;
    if half(4) == 1 {
        assert_eq!(answer[12..query.len()], query[12..], "the question is repeated");
        at = query.len();
    }
    let mut all = Vec::new();
    for _ in 0..half(6) + half(8) + half(10) {
        let (whose, end) = name(answer, at);
        at = end + 10 + usize::from(half(end + 8));
        all.push((whose, half(end), half(end + 2), answer[end + 10..at].to_vec()));
    }
    assert_eq!(at, answer.len(), "nothing stands behind the records");
    (*answer.first_chunk().unwrap(), all)
}

/// What the records say: the service is at the board's port 7420, and is this tracker's.
fn tells_where(all: &[Found], mark: &str, shared: u16) {
    let [ptr, srv, txt, a] = [12, 33, 16, 1].map(|kind| {
        let mut of_kind = all.iter().filter(|r| r.1 == kind);
        let found = of_kind.next().unwrap_or_else(|| panic!("no record of kind {kind}: {all:?}"));
        assert!(of_kind.next().is_none(), "two of kind {kind}: {all:?}");
        found
    });
    assert_eq!((ptr.0.join("."), ptr.2), ("_dartsync._tcp.local".into(), 1));
    let (instance, _) = name(&ptr.3, 0);
    assert!(instance[0].starts_with("our home ") && instance[1..] == ptr.0[..], "{instance:?}");
    assert_eq!((&srv.0, &txt.0, [srv.2, txt.2, a.2]), (&instance, &instance, [shared; 3]));
    assert_eq!(srv.3[..6], [0, 0, 0, 0, 28, 252], "port 7420");
    assert_eq!(name(&srv.3, 6).0, a.0);
    assert_eq!((&txt.3[1..], usize::from(txt.3[0])), (mark.as_bytes(), mark.len()));
    assert_eq!(a.3, BOARD);
}

fn is_found(kind: &'static Kind) {
    let dir = Dir::new(&format!("mdns-{}", kind.name));
    let founder = Device::new(dir.path(), "founder");
    let given = ["--ip", "10.0.2.77/24", "--name", "our home"];
    let mut machine = Machine::new(kind, dir.path(), &founder, &given);
    let mark = mark(&InviteCode::decode(&machine.code).unwrap().tracker);
    let (mut wire, told) = Wire::new(8, BOARD);
    machine.net = Some(told);
    machine.boot();
    wire.answers("at first");
    let query =
        [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9][..], b"_dartsync\x04_tcp\x05local\0\0\x0c\0\x01"];
    let query = query.concat();
    // Who speaks mDNS is answered before everybody; whoever else asks, alone.
    let asked = [(5353, GROUP, [0, 0, 0x84, 0], 0x8001), (40_000, OURS, [0x12, 0x34, 0x84, 0], 1)];
    for (port, to, begins, class) in asked {
        let ask = |w: &mut Wire| w.udp(GROUP, [port, 5353], &query);
        let ports = [5353u16.to_be_bytes(), u16::to_be_bytes(port)].concat();
        // With one answer, and the rest behind it: what it tells unasked has four.
        let is = |f: &[u8]| {
            f.len() > 42
                && f[12..14] == [8, 0]
                && f[23] == 17
                && f[26..34] == [BOARD, to].concat()
                && f[34..38] == ports
                && f[48..50] == [0, 1]
        };
        let frame = wire.expect(&format!("mDNS from port {port}"), ask, is);
        assert_eq!(frame[22], 255, "it crossed no router");
        let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
        let (head, all) = records(&frame[42..34 + length], &query);
        assert_eq!(head, begins);
        tells_where(&all, &mark, class);
    }
}

#[test]
fn a_board_says_where_it_is() {
    BOARDS.iter().filter(|_| has_qemu()).for_each(is_found);
}
