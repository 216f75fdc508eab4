//! Which files that moved are not read again.

use super::moved::MOVED;
use super::rig::{F, Rig, content, path, stat};
use super::trees::Stat;
use super::{Effect, Index, Lane, Outcome, Touch};
use crate::ids::{ContentId, Slot, Ticket};
use crate::record::Kind;
use crate::time::Duration;
use std::format;
use std::vec::Vec;

fn file() -> Stat {
    Stat { ino: 5, ctime: 9, ..stat(Kind::File) }
}
/// What a rename leaves of it.
fn renamed() -> Stat {
    Stat { ctime: 10, ..file() }
}
/// A file that was hashed here.
fn knows(rig: &mut Rig, p: &str, stat: Stat) {
    rig.has(p, Kind::File, "x");
    let mut o = rig.open(p);
    o.t.local.as_mut().expect("it is there").stat = stat;
    rig.peer.close(&mut rig.ix, rig.now, o);
}
fn there() -> Rig {
    let mut rig = Rig::ready();
    knows(&mut rig, "f", file());
    rig
}
fn moves(rig: &mut Rig, from: &str, to: &str, stat: &Stat) {
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path(from), Touch::Gone);
    rig.peer.handle_moved(&mut rig.ix, rig.now, F, path(from), path(to), stat);
}
type Known = Option<(Stat, ContentId)>;
/// The looks that are asked for now, and what each need not hash.
fn looks(rig: &mut Rig) -> Vec<(Ticket, std::string::String, Known)> {
    let mut out = Vec::new();
    while let Some(e) = rig.effect() {
        if let Effect::Look { ticket, row, moved, .. } = e {
            out.push((ticket, rig.path(row), moved));
        }
    }
    out
}
/// The look at a path: nothing stands at any other.
fn look(rig: &mut Rig, to: &str) -> (Ticket, Known) {
    for _ in 0..400 {
        for (ticket, p, moved) in looks(rig) {
            if p == to {
                return (ticket, moved);
            }
            let at = rig.now.wall;
            rig.done(ticket, Outcome::Looked { stat: Stat::default(), content: None, at });
        }
        rig.pass(Duration::millis(1));
    }
    panic!("{to} is not looked at");
}
fn known(rig: &mut Rig, to: &str) -> Known {
    look(rig, to).1
}

#[test]
fn what_its_former_name_held_is_known() {
    let mut rig = there();
    moves(&mut rig, "f", "g", &renamed());
    assert_eq!(known(&mut rig, "g"), Some((file(), content("x"))));
}

#[test]
fn what_differs_in_more_than_its_ctime_is_hashed() {
    let now = renamed();
    for other in [
        Stat { size: 2, ..now },
        Stat { mtime: 1, ..now },
        Stat { ino: 6, ..now },
        Stat { mode: 0o600, ..now },
        stat(Kind::Symlink),
    ] {
        let mut rig = there();
        moves(&mut rig, "f", "g", &other);
        assert_eq!(known(&mut rig, "g"), None, "{other:?}");
    }
}

#[test]
fn what_a_writer_had_open_when_it_was_hashed_is_hashed() {
    let mut rig = Rig::ready();
    knows(&mut rig, "f", file().of_writer());
    moves(&mut rig, "f", "g", &renamed());
    assert_eq!(known(&mut rig, "g"), None);
}

#[test]
fn what_was_touched_is_hashed() {
    // Before it moved …
    for touch in [Touch::Settled, Touch::Written] {
        let mut rig = there();
        rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("f"), touch);
        moves(&mut rig, "f", "g", &renamed());
        assert_eq!(known(&mut rig, "g"), None, "{touch:?}");
    }
    // … and since.
    let mut rig = there();
    moves(&mut rig, "f", "g", &renamed());
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("g"), Touch::Settled);
    assert_eq!(known(&mut rig, "g"), None);
}

/// What may come while a look is under way.
#[derive(Clone, Copy, Debug)]
enum Overtakes {
    Touch(Touch),
    Lost,
    Gone,
}
impl Overtakes {
    fn happens(self, rig: &mut Rig, p: &str) {
        match self {
            Overtakes::Touch(touch) => rig.peer.handle_touched(&mut rig.ix, rig.now, F, path(p), touch),
            Overtakes::Lost => rig.peer.handle_lost_events(&mut rig.ix, rig.now, F),
            Overtakes::Gone => rig.peer.handle_gone(&mut rig.ix, rig.now, Slot(1), &content("x")),
        }
    }
}

#[test]
fn a_look_that_was_overtaken_is_made_again_and_hashes() {
    for overtakes in [
        Overtakes::Touch(Touch::Settled),
        Overtakes::Touch(Touch::Written),
        Overtakes::Touch(Touch::Gone),
        Overtakes::Lost,
        Overtakes::Gone,
    ] {
        let mut rig = there();
        moves(&mut rig, "f", "g", &renamed());
        let (ticket, moved) = look(&mut rig, "g");
        assert!(moved.is_some());
        overtakes.happens(&mut rig, "g");
        let at = rig.now.wall;
        rig.done(ticket, Outcome::Looked { stat: renamed(), content: Some(content("x")), at });
        assert_eq!(rig.trees("g").local, None, "{overtakes:?}");
        assert_eq!(known(&mut rig, "g"), None, "{overtakes:?}");
    }
}

#[test]
fn what_was_forgotten_for_want_of_room_is_hashed() {
    let mut rig = there();
    moves(&mut rig, "f", "g", &renamed());
    let (ticket, _) = look(&mut rig, "g");
    for i in 0..MOVED {
        let (from, to) = (format!("f{i}"), format!("g{i}"));
        knows(&mut rig, &from, file());
        moves(&mut rig, &from, &to, &renamed());
    }
    let at = rig.now.wall;
    rig.done(ticket, Outcome::Looked { stat: renamed(), content: Some(content("x")), at });
    assert_eq!(known(&mut rig, "g"), None, "no event would have told of it any more");
}

#[test]
fn what_is_being_hashed_when_events_are_lost_is_not_hashed_anew_for_that() {
    let mut rig = Rig::ready();
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("g"), Touch::Settled);
    let (ticket, moved) = look(&mut rig, "g");
    assert_eq!(moved, None);
    rig.peer.handle_lost_events(&mut rig.ix, rig.now, F);
    let at = rig.now.wall;
    rig.done(ticket, Outcome::Looked { stat: file(), content: Some(content("x")), at });
    assert!(rig.trees("g").local.is_some());
}

#[test]
fn what_was_not_watched_is_hashed() {
    let mut rig = there();
    rig.peer.handle_lost_events(&mut rig.ix, rig.now, F);
    moves(&mut rig, "f", "g", &renamed());
    assert_eq!(known(&mut rig, "g"), None, "a scan is to come");
    // A directory above it went, and may be another by now.
    let mut rig = Rig::ready();
    rig.has("d", Kind::Directory, "");
    knows(&mut rig, "d/f", file());
    rig.peer.handle_touched(&mut rig.ix, rig.now, F, path("d"), Touch::Gone);
    moves(&mut rig, "d/f", "g", &renamed());
    assert_eq!(known(&mut rig, "g"), None);
    // Nothing happened to it.
    let mut rig = Rig::ready();
    rig.has("d", Kind::Directory, "");
    knows(&mut rig, "d/f", file());
    moves(&mut rig, "d/f", "g", &renamed());
    assert!(known(&mut rig, "g").is_some());
}

#[test]
fn what_no_file_has_any_more_is_hashed() {
    let mut rig = there();
    moves(&mut rig, "f", "g", &renamed());
    rig.peer.handle_gone(&mut rig.ix, rig.now, Slot(1), &content("x"));
    assert_eq!(known(&mut rig, "g"), None);
}

#[test]
fn both_names_of_a_large_file_are_told_at_once() {
    let mut rig = there();
    rig.peer.config.await_both = 2;
    moves(&mut rig, "f", "g", &renamed());
    assert_eq!(looks(&mut rig).pop().map(|l| (l.1, l.2)), Some(("g".into(), None)), "it is a small one");

    let mut rig = there();
    moves(&mut rig, "f", "g", &renamed());
    assert!(looks(&mut rig).is_empty(), "its former name may come back");
    let (ticket, moved) = look(&mut rig, "g");
    assert_eq!(rig.trees("f").local.map(|l| l.stat.kind), Some(Kind::Removed), "that is known by then");
    let (content, at) = (moved.map(|m| m.1), rig.now.wall);
    rig.done(ticket, Outcome::Looked { stat: renamed(), content, at });
    let due = ["g", "f"].map(|p| {
        let row = rig.ix.find(F, path(p)).expect("it is known");
        rig.ix.due_of(row).expect("it is to be announced")
    });
    assert_eq!(due.map(|d| d.lane), [Lane::Announce; 2]);
    assert!(due[0].key < due[1].key, "the new name goes first");
}

#[test]
fn a_ctime_that_a_later_write_can_have_is_fresh() {
    let at = 1_000_000_000_000;
    let ns = at as i64 * 1000;
    for (ctime, fresh) in [
        (ns - 1, true),
        (ns - 25_000_000, false),
        (ns + 1, true),
        (ns - 1_000_000_000, true),
        (ns - 3_000_000_000, false),
    ] {
        assert_eq!(Stat { ctime, ..file() }.is_fresh(at), fresh, "{ctime}");
    }
}
