//! Which touched paths are looked at.

use super::index::Number;
use super::rig::{F, Rig, content, stat};
use super::trees::Stat;
use super::{Effect, Index, Lane, Outcome, ScanEntry, Touch};
use crate::ids::Folder;
use crate::path::Path;
use crate::record::Kind;
use crate::time::Duration;
use std::vec::Vec;

fn seen(rig: &mut Rig, stat: &Stat) -> bool {
    let path = Path::new(b"f").expect("a path");
    rig.peer.handle_seen(&mut rig.ix, rig.now, F, path, stat);
    rig.lane("f") == Some(Lane::Look)
}

#[test]
fn what_stands_as_it_is_known_to_needs_no_look() {
    let known = stat(Kind::File);
    let there = || {
        let mut rig = Rig::ready();
        rig.has("f", Kind::File, "x");
        rig
    };
    assert!(!seen(&mut there(), &known));
    for other in [
        Stat { size: 2, ..known },
        Stat { mtime: 1, ..known },
        Stat { ctime: 1, ..known },
        Stat { ino: 1, ..known },
        Stat { mode: 0o600, ..known },
        stat(Kind::Symlink),
    ] {
        assert!(seen(&mut there(), &other), "{other:?}");
    }
    assert!(seen(&mut Rig::ready(), &known), "nothing is known of it");
}

#[test]
fn what_may_have_been_written_since_it_was_read_is_looked_at() {
    let mut rig = Rig::ready();
    rig.has("f", Kind::File, "x");
    let at = rig.now.wall as i64 * 1000;
    let mut o = rig.open("f");
    let late = Stat { mtime: at - 1, ..stat(Kind::File) };
    o.t.local.as_mut().expect("it is there").stat = late;
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert!(seen(&mut rig, &late));
}

#[test]
fn what_is_named_after_the_clock_was_set_back_is_read_whatever_its_times_say() {
    for (back, read) in [(0, false), (3_600_000_000, true)] {
        let mut rig = Rig::ready();
        rig.has("f", Kind::File, "x");
        rig.now.wall -= back;
        assert_eq!(seen(&mut rig, &stat(Kind::File)), read);
        let looks: Vec<_> = core::iter::from_fn(|| rig.effect()).collect();
        // What stands there has not the stat that it is known by: it is read.
        let known = |e: &Effect| match e {
            Effect::Look { known, .. } => Some(*known != Some(stat(Kind::File))),
            _ => None,
        };
        let whole = looks.iter().find_map(known) == Some(true);
        assert_eq!(whole, read, "{looks:?}");
    }
}

#[test]
fn a_look_under_way_is_made_again() {
    let mut rig = Rig::ready();
    rig.has("f", Kind::File, "x");
    let path = Path::new(b"f").expect("a path");
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path, Touch::Settled);
    let mut looks = || {
        rig.pass(Duration::secs(1));
        let mut all = std::iter::from_fn(|| rig.effect());
        all.find_map(|e| if let Effect::Look { ticket, .. } = e { Some(ticket) } else { None })
    };
    let first = looks().expect("it was touched");
    seen(&mut rig, &stat(Kind::File));
    let at = rig.now.wall;
    rig.done(first, Outcome::Looked { stat: stat(Kind::File), content: None, at });
    let mut all = std::iter::from_fn(|| rig.effect());
    assert!(all.any(|e| matches!(e, Effect::Look { .. })), "what it read may be older than the touch");
}

#[test]
fn what_is_named_like_a_copy_counts_as_one_however_it_comes() {
    let name = "d (conflict x 2026-11-24-220506 000fece8).txt";
    let path = Path::new(name.as_bytes()).expect("a path");
    let (from, here) = (Path::new(b"f").expect("a path"), stat(Kind::File));
    for way in 0..4 {
        let mut rig = Rig::ready();
        rig.has("f", Kind::File, "x");
        match way {
            0 => rig.peer.handle_touched(&mut rig.ix, rig.now, F, path, Touch::Settled),
            1 => rig.peer.handle_touched(&mut rig.ix, rig.now, F, path, Touch::Written),
            2 => rig.peer.handle_moved(&mut rig.ix, rig.now, F, from, path, &here),
            // Nothing is known of what it was.
            _ => rig.peer.handle_moved(&mut rig.ix, rig.now, F, path, path, &here),
        }
        for _ in 0..4 {
            rig.pass(Duration::secs(1));
            rig.look(&[(name, Kind::File, "x")]);
        }
        assert_eq!(rig.peer.folders[0].counts.get(Number::Conflicts), 1, "way {way}");
    }
}

#[test]
fn of_what_is_not_linked_nothing_is_kept() {
    let mut rig = Rig::ready();
    let path = Path::new(b"f").expect("a path");
    let other = Folder(F.0 + 1);
    rig.peer.handle_moved(&mut rig.ix, rig.now, other, path, path, &stat(Kind::File));
    assert_eq!(rig.ix.find(other, path), None);
}

/// A scan of the whole finds this; whether the look that was under way meanwhile, and read what `read` says, counts.
fn counts(read: &Stat, found: Option<Stat>) -> bool {
    let mut rig = Rig::ready();
    let path = Path::new(b"f").expect("a path");
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path, Touch::Settled);
    let mut look = None;
    rig.pass(Duration::secs(1));
    rig.peer.handle_lost_events(&mut rig.ix, rig.now, F);
    while let Some(e) = rig.effect() {
        if let Effect::Look { ticket, .. } = e {
            look = Some(ticket);
        }
    }
    let scan = rig.peer.scan.ticket;
    let entries = found.map(|stat| ScanEntry { path, stat });
    rig.peer.handle_entries(&mut rig.ix, rig.now, scan, entries.as_slice());
    rig.done(scan, Outcome::Done);
    let (content, at) = (Some(content("x")), rig.now.wall);
    rig.done(look.expect("it was touched"), Outcome::Looked { stat: *read, content, at });
    rig.trees("f").local.is_some()
}

#[test]
fn what_a_scan_finds_as_a_look_did_is_not_hashed_again() {
    let read = stat(Kind::File);
    assert!(counts(&read, Some(read)));
    assert!(!counts(&read, Some(Stat { ctime: 1, ..read })), "it changed");
    let late = Stat { mtime: i64::MAX, ..read };
    assert!(!counts(&late, Some(late)), "a later write could have left this");
    assert!(!counts(&read, None), "it went");
}

/// A removal that nobody took yet is read again where the clock was set back; then a user puts the very file there anew.
#[test]
fn what_is_put_back_after_its_removal_and_a_clock_set_back_is_there() {
    let mut rig = Rig::ready();
    rig.has("f", Kind::File, "x");
    rig.misses("f");
    let mut o = rig.open("f");
    rig.peer.mint_local(rig.now, &mut o);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.now.wall -= 3_600_000_000;
    seen(&mut rig, &Stat::default());
    assert!(rig.trees("f").local.is_some_and(|l| l.stat.is_of_writer() && !l.record.is_live()));
    rig.sees("f", Kind::File, "x");
    let l = rig.trees("f").local.expect("it is there");
    assert!(l.record.is_live() && l.record.content == content("x"), "{l:?}");
}
