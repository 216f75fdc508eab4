//! R9b: directories that are made for something in them, over files, and until that is gone.

use super::rig::{Rig, content, record, stat};
use super::trees::{Cause, Intent, Lane, Local, Made, Remote};
use super::{Effect, Outcome};
use crate::ids::{ContentId, Seq};
use crate::record::{Flags, Kind, Record};

fn local(rig: &mut Rig, p: &str) -> Local {
    rig.trees(p).local.expect("something is known there")
}

/// A device whose file `d` is to give way to a directory, for `d/y`: as far as the making of the swap file.
fn over_a_file() -> Rig {
    let mut rig = Rig::ready();
    rig.has("d", Kind::File, "x");
    rig.hears("d/y", Kind::File, "y");
    while let Some(e) = rig.effect() {
        if matches!(e, Effect::Prepare { kind: Kind::Directory, .. }) {
            return rig;
        }
    }
    panic!("no directory is made for d/y");
}

#[test]
fn a_file_that_is_still_to_be_displaced_is_no_edit_over_the_directory() {
    let mut rig = over_a_file();
    let before = local(&mut rig, "d");
    assert!(before.record.is_invented() && before.stat.kind == Kind::File);
    rig.sees("d", Kind::File, "x");
    assert_eq!(local(&mut rig, "d").record, before.record, "it is the file that was there");
    rig.sees("d", Kind::File, "z");
    let edited = local(&mut rig, "d");
    assert_eq!((edited.record.kind, edited.record.content), (Kind::File, content("z")), "a user's edit");
}

#[test]
fn a_crash_knows_the_file_that_a_directory_displaces() {
    let mut rig = over_a_file();
    let intent = rig.trees("d").intent.expect("a swap is under way");
    assert_eq!((intent.from, intent.to.0), ((Kind::File, content("x")), Kind::Directory));
}

#[test]
fn a_directory_that_is_settled_too_late_for_what_it_was_made_for_goes() {
    let mut rig = Rig::ready();
    let mut made = record(Kind::Directory, ContentId::NONE, 5);
    made.flags = Flags(Flags::REVIVAL);
    let said = made.clone();
    let mut o = rig.open("d");
    o.t.local = Some(Local { record: made, made: Made::Minted, stat: stat(Kind::Directory), at: 1 });
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert_eq!(rig.removals(), [""; 0], "nobody has taken it yet");
    let mut o = rig.open("d");
    o.t.remote = Some(Remote { record: said, epoch: rig.peer.epoch, seq: Seq(9) });
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert_eq!(rig.removals(), ["d"]);
}

#[test]
fn a_file_that_is_displaced_late_brings_no_removed_copy_back() {
    for removed in [false, true] {
        // Its copy is planned; before it is displaced, the home has the copy already, and then not any more.
        let mut rig = over_a_file();
        let copy = *rig.trees("d").copies.last().expect("it loses");
        let name = rig.path(copy);
        let (record, _) = rig.trees(&name).pending.expect("it must exist");
        let mut o = rig.open("d");
        (o.t.intent, o.t.target) = (None, None);
        rig.peer.jobs.clear();
        rig.peer.close(&mut rig.ix, rig.now, o);
        let mut seen = record.clone();
        if removed {
            seen = Record { kind: Kind::Removed, parent: Some(record.edit), ..record.clone() };
            seen.edit.counter += 1;
            assert!(seen.version.raise(seen.edit));
        }
        let mut o = rig.open(&name);
        o.t.remote = Some(Remote { record: seen, epoch: rig.peer.epoch, seq: Seq(8) });
        rig.peer.close(&mut rig.ix, rig.now, o);
        let o = rig.open("d");
        rig.peer.retry(&mut rig.ix, rig.now, o);
        let mut prepared = false;
        while let Some(e) = rig.effect() {
            prepared |= matches!(e, Effect::Prepare { kind: Kind::Directory, .. });
        }
        assert!(prepared);
        let intent = rig.trees("d").intent.expect("a swap is under way");
        assert_eq!((intent.from, intent.copy.is_some()), ((Kind::File, content("x")), !removed));
    }
}

#[test]
fn a_file_whose_copy_was_accepted_otherwise_gives_way_to_a_directory() {
    for pending in [true, false] {
        let mut rig = Rig::ready();
        rig.has("d", Kind::File, "x");
        let mut c = rig.open("copy");
        let mut o = rig.open("d");
        o.t.copies.push(c.row).expect("room");
        c.t.pending = Some((record(Kind::File, content("z"), 4), o.row)).filter(|_| pending);
        rig.peer.close(&mut rig.ix, rig.now, c);
        rig.peer.close(&mut rig.ix, rig.now, o);
        rig.hears("d/y", Kind::File, "y");
        let mut made = false;
        while let Some(e) = rig.effect() {
            made |= matches!(e, Effect::Prepare { kind: Kind::Directory, .. });
        }
        assert_eq!(made, !pending, "what is still to be announced goes first");
    }
}

#[test]
fn a_directory_that_the_disk_would_not_let_go_is_removed_later() {
    let mut rig = Rig::ready();
    let mut made = record(Kind::Directory, ContentId::NONE, 5);
    made.flags = Flags(Flags::REVIVAL);
    let mut o = rig.open("d");
    o.t.local = Some(Local { record: made.clone(), made: Made::Synced, stat: stat(Kind::Directory), at: 1 });
    o.t.remote = Some(Remote { record: made.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
    o.t.synced = Some(made);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.peer.folders[0].revivals_due = true;
    let mut refused = 0;
    while let Some(e) = rig.effect() {
        if let Effect::Remove { ticket, .. } = e {
            refused += 1;
            rig.done(ticket, Outcome::Failed(Cause::Os(28)));
        }
    }
    assert_eq!((refused, rig.lane("d")), (1, Some(Lane::Later)));
    assert_eq!(rig.removals(), ["d"]);
}

/// An install below it displaced what is to be kept beside that, and the directories went, which only looks found out: its
/// copy has no place until what the user put there is told, and the directories are made again over that.
#[test]
fn what_waits_for_a_place_below_what_a_user_put_over_its_directories_does_not_hold_that_up() {
    for cause in [Cause::NoParent, Cause::Os(5)] {
        let mut rig = Rig::ready();
        for (p, kind) in [("d", Kind::Directory), ("d/sub", Kind::Directory), ("d/sub/y", Kind::File)] {
            rig.has(p, kind, "y");
        }
        let mut o = rig.open("d/sub/y");
        let (from, to) = ((Kind::File, content("old")), (Kind::File, content("y")));
        o.t.intent = Some(Intent { from, to, copy: None });
        rig.peer.close(&mut rig.ix, rig.now, o);
        rig.sees("d", Kind::File, "z");
        let mut kept = 0;
        while let Some(e) = rig.effect() {
            match e {
                Effect::Recover { ticket, .. } => {
                    let swap = Some((stat(Kind::File), content("x")));
                    rig.done(ticket, Outcome::Recovered { disk: None, swap, part: false, at: 1 });
                }
                Effect::Keep { ticket, row, .. } => {
                    assert!(rig.path(row).starts_with("d/sub/y (conflict "));
                    kept += 1;
                    rig.done(ticket, Outcome::Failed(cause));
                }
                Effect::Look { ticket, .. } => rig.done(ticket, Outcome::Failed(Cause::NoParent)),
                _ => {}
            }
        }
        assert_eq!(kept, 1);
        let o = rig.open("d/sub");
        let waits = rig.peer.waits_for_children(&mut rig.ix, rig.now, &o);
        assert_eq!(waits, cause != Cause::NoParent, "{cause:?}: its removal");
        let mut o = rig.open("d/sub");
        rig.peer.mint_local(rig.now, &mut o);
        let removal = o.t.local.take().map(|l| l.record);
        o.t.remote = removal.clone().map(|record| Remote { record, epoch: rig.peer.epoch, seq: Seq(9) });
        o.t.synced = removal;
        rig.peer.close(&mut rig.ix, rig.now, o);
        let o = rig.open("d");
        let waits = rig.peer.waits_for_children(&mut rig.ix, rig.now, &o);
        assert_eq!(waits, cause != Cause::NoParent, "{cause:?}: what came in their place");
    }
}
