//! Whatever devices send, in whatever order: no panic, exact counts, and a timeout that lies in the future.

use super::*;
use std::format;

fn ranges(rng: &mut Rng) -> Ranges {
    let mut out = Ranges::new();
    for _ in 0..rng.below(4) {
        let from = rng.below(300);
        out.push(SeqRange { from: Seq(from), to: Seq(from + rng.below(400)) }).unwrap();
    }
    out
}

fn record(rng: &mut Rng, tag: u32) -> Record {
    let e = edit([tag, 10, 20][rng.below(3) as usize], 1 + rng.below(60));
    let mut r = file(rng.below(3) as u8, e, None);
    for _ in 0..rng.below(3) {
        assert!(r.version.raise(edit(10 * (1 + rng.below(4) as u32), 1 + rng.below(60))));
    }
    match rng.below(6) {
        0 => (r.kind, r.size, r.mtime, r.mode) = (Kind::Removed, 0, 0, 0),
        1 => (r.kind, r.size, r.mtime, r.content) = (Kind::Directory, 0, 0, ContentId::NONE),
        2 => r.flags.0 |= crate::record::Flags::WITHDRAWN,
        _ => {}
    }
    r
}

fn frame(h: &mut Home, rng: &mut Rng, i: usize) -> List<u8> {
    let folder = FolderSlot(rng.below(3) as u8);
    let id = h.t.roster().folder(folder).map_or(FolderId(3), |f| f.id);
    let label = ["f", "g", "k"][rng.below(3) as usize];
    let request = match rng.below(12) {
        0 => Request::Invite,
        1 => Request::Revoke(h.clients[2].key),
        2 => Request::Unlink(id),
        3 => Request::Forget(id),
        4 => Request::Leave,
        5 => Request::Force("seven wise words"),
        6 => Request::LinkFirst(label),
        _ => Request::Link { label, make: true },
    };
    let c = &h.clients[i];
    let m = match rng.below(14) {
        0 => ToTracker::Seen { folder: id, epoch: h.t.epoch(), seen: Seq(rng.below(100)) },
        1 => ToTracker::Told(folder),
        2 | 3 => ToTracker::Have { folder, ranges: ranges(rng), run: rng.next_u64() },
        4 => ToTracker::Lack { folder, ranges: ranges(rng) },
        5 => ToTracker::Seek { folder, seq: Seq(rng.below(100)) },
        6 => ToTracker::Unreachable(DeviceId(rng.below(5) as u32)),
        7 => ToTracker::Roster(message::RosterPart {
            of: c.sealed_version,
            total: c.sealed.len() as u32,
            offset: 0,
            bytes: &c.sealed[..],
        }),
        8 if rng.below(4) == 0 => ToTracker::Request(1, request),
        9 => ToTracker::WantRoster,
        _ => {
            let all: List<_> =
                (0..1 + rng.below(6)).map(|_| (format!("{}", rng.below(30)), record(rng, c.tag.0))).collect();
            let pair = EntryFlags { held: rng.below(2) == 0, pair: all.len() > 1 && rng.below(3) == 0 };
            let flags = |n: usize| if n == 0 { pair } else { HELD };
            let all: List<_> = all.iter().enumerate().map(|(n, (p, r))| (p.as_str(), r, flags(n))).collect();
            return batch(folder, &all);
        }
    };
    let mut out = vec![0; limits::FRAME];
    let n = encode(&m, &mut out).unwrap();
    out.truncate(n);
    out
}

fn run(seed: u8) {
    let mut rng = Rng::from_seed([seed; 32]);
    let mut h = Home::with(3);
    for _ in 0..600 {
        let i = rng.below(h.clients.len() as u64) as usize;
        if h.clients[i].link.is_none() {
            h.clients[i].tag = Tag(h.clients[i].tag.0 + rng.below(2) as u32 * 1000);
            h.clients[i].counter = 1000;
            h.dial(i);
            continue;
        }
        match rng.below(30) {
            0 => h.close(i),
            1 => h.pass(Duration(rng.below(20_000_000))),
            2 => h.pass(Duration::secs(61)),
            3 => {
                let n = rng.below(40) as usize;
                let bytes: List<u8> = (0..n).map(|_| rng.next_u32() as u8).collect();
                let _ = h.raw(i, &bytes);
            }
            _ => {
                let mut f = frame(&mut h, &mut rng, i);
                if rng.below(10) == 0 {
                    let at = rng.below(f.len() as u64) as usize;
                    f[at] ^= 1 << rng.below(8);
                }
                let _ = h.raw(i, &f);
            }
        }
        if h.clients.iter().all(|c| h.t.roster().is_revoked(&c.key)) {
            break;
        }
    }
}

#[test]
fn arbitrary_frames_in_any_state_never_break_it() {
    (0..24).for_each(run);
}

#[test]
fn arbitrary_frames_never_break_a_tracker_that_lost_its_roster() {
    for seed in 100..110 {
        let mut rng = Rng::from_seed([seed; 32]);
        let mut h = Home::with(3);
        let mut n = Home::new(Past::Lost);
        n.clients = core::mem::take(&mut h.clients);
        n.clients.iter_mut().for_each(|c| c.link = None);
        for _ in 0..200 {
            let i = rng.below(3) as usize;
            if n.clients[i].link.is_none() {
                n.dial(i);
            } else {
                let f = frame(&mut n, &mut rng, i);
                let _ = n.raw(i, &f);
            }
            n.pass(Duration(rng.below(1_000_000)));
        }
    }
}
