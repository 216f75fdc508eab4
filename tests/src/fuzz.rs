//! Arbitrary bytes for everything that reads what others say: no panic, no hang. The same functions serve plain loops in
//! the tests below and, for long runs, cargo-fuzz (`tests/fuzz`).

use crate::sim::{Choices, torture};
use dartsync::config::Limits;
use dartsync::control::{Request, until};
use dartsync_core::content::{NodeView, Root, Step, Walker};
use dartsync_core::data::{self, DataLink, Limit};
use dartsync_core::ids::{ContentId, FolderSlot, PublicKey, Seq, SlotSet, Tag};
use dartsync_core::link::code::InviteCode;
use dartsync_core::link::{Opening, Progress, StaticKey, TrackerChannel};
use dartsync_core::path::Path;
use dartsync_core::record::{Flags, Kind, Record};
use dartsync_core::rng::Rng;
use dartsync_core::roster::{Roster, RosterAssembler};
use dartsync_core::time::Instant;
use dartsync_core::tracker::table::Table;
use dartsync_core::version::{Edit, VersionVector};
use dartsync_core::wire::batch::BatchReader;
use dartsync_core::wire::message::{RosterPart, RosterVersion, ToPeer, ToTracker, decode};

/// Both machines of a working home: frames in any state. Needs a large stack.
pub fn home(bytes: &[u8]) {
    torture(bytes);
}

/// Everything that only decodes.
pub fn decoders(bytes: &[u8]) {
    let _ = decode::<ToTracker<'_>>(bytes);
    let _ = decode::<ToPeer<'_>>(bytes);
    let good = BatchReader::check(bytes).is_ok();
    let mut r = BatchReader::new(bytes);
    let mut n = 0;
    while let Ok(Some(e)) = r.entry() {
        n += 1;
        assert!(!good || e.record.is_valid(), "a batch that was checked holds valid records");
        assert!(n <= bytes.len(), "no more records than bytes");
    }
    if let Ok(roster) = Roster::decode(bytes) {
        let mut again = Default::default();
        roster.seal(&[1; 32], &mut again);
        assert_eq!(Roster::decode(&again).as_ref(), Ok(&roster));
    }
    let mut c = Choices::new(bytes);
    let mut parts = RosterAssembler::new();
    for offset in 0..4 {
        let of = RosterVersion { version: u64::from(c.one().unwrap_or(0) & 1), nonce: 1 };
        let total = u32::from(c.one().unwrap_or(0)) * 200;
        let n = usize::from(c.one().unwrap_or(0));
        let offset = if c.one().unwrap_or(0) & 1 == 0 { parts.bytes().len() as u32 } else { offset };
        let _ = parts.take(&RosterPart { of, total, offset, bytes: c.take(n) });
    }
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(code) = InviteCode::decode(text)
    {
        assert_eq!(InviteCode::decode(&code.encode()).as_ref(), Ok(&code));
    }
    let _ = Path::new(bytes);
    let said = data::message::decode(bytes);
    if let Ok(data::message::Message::Have(have)) = said {
        let mut again = vec![0; data::message::HAVE];
        let length = have.encode(&mut again);
        let same = data::message::decode(&again[..length]);
        assert_eq!(same, Ok(data::message::Message::Have(have)));
    }
    let mut link = DataLink::new();
    let mut c = Choices::new(bytes);
    while let Some(n) = c.one() {
        let _ = link.handle_record(c.take(n.into()));
        if n & 1 == 0 {
            let _ = link.poll_work();
        }
    }
    tree(bytes);
}

/// A manifest's nodes, whose names are right whatever is in them.
fn tree(bytes: &[u8]) {
    let mut c = Choices::new(bytes);
    let level = 1 + c.one().unwrap_or(0) % 8;
    let size = u64::from(c.one().unwrap_or(0)) << (c.one().unwrap_or(0) % 40);
    let entries = c.take(4096);
    let hash = dartsync_core::content::node_id(level, entries);
    let of = dartsync_core::content::Entry { hash, len: size };
    let _ = NodeView::check(level, entries, &of, size & 1 == 0, size & 2 == 0);
    let root = Root { hash, level, size };
    if !root.is_valid() {
        return;
    }
    let Ok(mut walker) = Walker::new(root, vec![0; root.walk_memory()]) else { return };
    for _ in 0..64 {
        let needs = matches!(walker.step(), Step::Need(..));
        if !needs || walker.feed(entries).is_err() {
            return;
        }
    }
}

/// What a stranger sends before he is known.
pub fn handshake(bytes: &[u8]) {
    let me = StaticKey::from_secret(&[5; 32]);
    let mut rng = Rng::from_seed([6; 32]);
    let mut c = Choices::new(bytes);
    let mut channel = TrackerChannel::listen(me.public());
    while let Some(n) = c.one() {
        let mut rest = c.take(n.into());
        while !rest.is_empty() {
            let Ok(taken) = channel.feed(rest) else { return };
            rest = &rest[taken..];
            if matches!(channel.progress(), Progress::Asked(_)) {
                if channel.accept(&me, Some(&[1; 16]), &mut rng).is_err() {
                    return;
                }
            } else if taken == 0 && !matches!(channel.next_frame(), Ok(Some(_))) {
                return;
            }
        }
    }
}

/// The tracker's table in a buffer of a few KiB: puts, removals, holders, withdrawals.
pub fn table(bytes: &[u8]) {
    let mut c = Choices::new(bytes);
    let mut memory = vec![0; usize::from(c.one().unwrap_or(0)) * 64];
    let mut t = Table::new(&mut memory);
    while let Some(op) = c.one() {
        let (a, b) = (c.one().unwrap_or(0), c.one().unwrap_or(0));
        let seq = Seq(t.tail().0.saturating_sub(u64::from(a)));
        match op % 8 {
            0 => drop(t.set_holders(seq, SlotSet(u64::from(b)))),
            1 => drop(t.remove(seq)),
            2 => drop(t.withdraw(seq)),
            3 => drop(t.maintain(usize::from(b) * 16)),
            4 => drop(t.drop_folder(FolderSlot(b % 4), Seq(0), usize::from(a))),
            _ => {
                let edit = Edit { tag: Tag(1 + u32::from(b)), counter: 1 + u64::from(a) };
                let mut version = VersionVector::of(edit);
                for n in 0..op / 16 {
                    let _ = version.raise(Edit { tag: Tag(1 + u32::from(n)), counter: 5 });
                }
                let removed = a & 1 == 0;
                let record = Record {
                    kind: if removed { Kind::Removed } else { Kind::File },
                    flags: Flags(if !removed && b & 1 == 0 { Flags::WITHDRAWN } else { 0 }),
                    content: ContentId([b; 32]),
                    size: if removed { 0 } else { a.into() },
                    edit,
                    version,
                    ..Record::default()
                };
                let path = format!("{}{}", "p".repeat(1 + usize::from(b) % 250), a % 16);
                let path = Path::new(path.as_bytes()).expect("a good name");
                let _ = t.put(FolderSlot(op % 4), path, &record, SlotSet(a.into()));
            }
        }
        let mut at = Seq(0);
        let mut n = 0;
        while let Some(e) = t.next_after(at) {
            assert!(e.seq() > at, "seqs ascend");
            (at, n) = (e.seq(), n + 1);
        }
        assert_eq!(n, t.len(), "what is counted is there");
        assert!(at <= t.tail());
    }
}

/// A line on the control socket, as it is; and one that is sound, but for its numbers.
pub fn control(bytes: &[u8]) {
    for line in [bytes, extreme(bytes).as_bytes()] {
        match serde_json::from_slice(line) {
            Ok(Request::Wait { timeout: Some(seconds), .. }) => {
                let now = bytes.len() as u64;
                let over = until(now, seconds);
                assert!(over >= now, "no wait is over before it began");
                assert!(seconds > 0.0 || over == now);
            }
            Ok(Request::Limit { up, down }) => {
                let mut limits = Limits::default();
                if limits.change(up, down).is_ok() {
                    let _ = limits.to_string();
                    for rate in [limits.up, limits.down] {
                        let (mut limit, at) = (Limit::default(), Instant(u64::MAX - 1));
                        limit.set(rate);
                        assert!(limit.take(at, bytes.len() as u64) <= limit.take(at, u64::MAX));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Numbers that arithmetic may trip over.
pub const NUMBERS: [&str; 18] = [
    "0",
    "-0.0",
    "-1",
    "0.5",
    "1e-320",
    "1e30",
    "-1e30",
    "1.7976931348623157e308",
    "-1.7976931348623157e308",
    "1e999",
    "4294967296",
    "18446744073709",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "null",
];

/// A request with numbers at the extremes.
fn extreme(bytes: &[u8]) -> String {
    let mut c = Choices::new(bytes);
    let mut number = || NUMBERS[usize::from(c.one().unwrap_or(0)) % NUMBERS.len()];
    let (one, two, even) = (number(), number(), bytes.len().is_multiple_of(2));
    match even {
        true => format!(r#"{{"do":"wait","timeout":{one},"all":{}}}"#, two == "null"),
        false => format!(r#"{{"do":"limit","up":{one},"down":{two}}}"#),
    }
}

/// Good bytes of all kinds, to be spoilt.
pub fn samples() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = crate::sim::frames().into_iter().map(|f| f.1).collect();
    let mut roster = Roster::new();
    let slot = roster.enrol(PublicKey([1; 32]), "one", Tag(1), SlotSet::default()).expect("room");
    roster.next_version(3, roster.device(slot).expect("enrolled").id);
    let mut sealed = Default::default();
    roster.seal(&[2; 32], &mut sealed);
    all.push(sealed.to_vec());
    let mut rng = Rng::from_seed([7; 32]);
    let (me, you) = (StaticKey::generate(&mut rng), StaticKey::from_secret(&[5; 32]));
    let mut hello = vec![255];
    let dial = TrackerChannel::dial(&me, you.public(), Opening::TRACKER, None, &mut rng);
    hello.extend_from_slice(dial.output());
    all.push(hello);
    let have = data::Have { id: 1, content: ContentId([3; 32]), base: 9, here: &[0xa5; 40], coming: &[1; 3] };
    let mut told = vec![0; data::message::HAVE];
    let length = have.encode(&mut told);
    told.truncate(length);
    all.push(told);
    all.push(br#"{"do":"wait","timeout":1.5,"all":true}"#.to_vec());
    all.push(br#"{"do":"link","label":"x","path":"/x","make":true,"force":null}"#.to_vec());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Rand;
    use std::time::{Duration, Instant};

    /// Feeds a target for a while: arbitrary bytes, and good ones spoilt.
    fn feed(target: fn(&[u8]), seed: u64, most: usize, times: usize) {
        let fed = move || {
            let (samples, mut rand) = (samples(), Rand::new(seed));
            let end = Instant::now() + Duration::from_millis(1500);
            for n in 0..times {
                let len = rand.below(most as u64) as usize;
                let noise: Vec<u8> = (0..len).map(|_| rand.next() as u8).collect();
                if n % 2 == 0 {
                    target(&noise);
                } else {
                    target(&Choices::new(&noise).spoil(rand.pick::<Vec<u8>>(&samples)));
                }
                if Instant::now() > end {
                    return;
                }
            }
        };
        std::thread::Builder::new().stack_size(64 << 20).spawn(fed).unwrap().join().unwrap();
    }

    #[test]
    fn arbitrary_bytes_break_no_decoder() {
        feed(decoders, 1, 600, 200_000);
    }
    #[test]
    fn arbitrary_bytes_break_no_handshake() {
        feed(handshake, 2, 400, 100_000);
    }
    #[test]
    fn arbitrary_changes_break_no_table() {
        feed(table, 3, 2_000, 20_000);
    }
    #[test]
    fn arbitrary_lines_break_no_control_socket() {
        feed(control, 4, 200, 200_000);
    }
    #[test]
    fn arbitrary_frames_break_no_home() {
        feed(home, 5, 4_000, 2_000);
    }
}
