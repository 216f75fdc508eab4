//! What a rename of a whole tree costs, and what waits for a directory: work in proportion to it, whatever the order in
//! which the disk answers.

use super::rig::{F, Rig, content, stat};
use super::trees::{Made, Remote, Trees};
use super::{Effect, Index, Lane, Outcome};
use crate::ids::{ContentId, Seq, Tag};
use crate::limits::BULK;
use crate::path::Path;
use crate::record::{Kind, Record};
use crate::time::Duration;
use crate::version::Edit;
use std::format;

const FILES: u64 = 300;

/// Another device's edit on top of what stands here.
fn hears(rig: &mut Rig, p: &str, kind: Kind, text: &str, seq: u64) {
    let mut o = rig.open(p);
    let edit = Edit { tag: Tag(78), counter: seq };
    let mut r = Record { kind, edit, ..Record::default() };
    if let Some(s) = &o.t.synced {
        (r.version, r.parent) = (s.version.clone(), Some(s.edit));
    }
    assert!(r.version.raise(edit));
    (r.content, r.size) = match kind {
        Kind::Directory => (ContentId::NONE, 0),
        Kind::Removed => (content(text), 0),
        _ => (content(text), 1),
    };
    o.t.remote = Some(Remote { record: r, epoch: rig.peer.epoch, seq: Seq(seq) });
    rig.peer.close(&mut rig.ix, rig.now, o);
}

/// All is done that the machine asks for, and then nothing waits in these lanes.
fn settles(rig: &mut Rig, rounds: u32, lanes: &[Lane]) {
    for _ in 0..rounds {
        while let Some(e) = rig.effect() {
            acts(rig, e);
        }
        rig.pass(Duration::millis(20));
    }
    for lane in lanes {
        assert_eq!(rig.ix.due(F, *lane, None), None, "{lane:?}");
    }
}

/// The disk does what it is asked to, at once.
fn acts(rig: &mut Rig, e: Effect) {
    match e {
        Effect::Make { ticket, take: Some(_), .. } => rig.done(ticket, Outcome::Taken),
        Effect::Make { ticket, .. } => rig.done(ticket, Outcome::Ready),
        Effect::Prepare { ticket, .. } | Effect::Sync { ticket, .. } => rig.done(ticket, Outcome::Done),
        Effect::Swap { ticket, intent, .. } => {
            let (stat, at) = (stat(intent.to.0), rig.now.wall);
            rig.done(ticket, Outcome::Swapped { stat, at, copy: None, odd: None });
        }
        // What was looked at was moved from there.
        Effect::Look { ticket, .. } => {
            let at = rig.now.wall;
            rig.done(ticket, Outcome::Looked { stat: Default::default(), content: None, at });
        }
        Effect::Remove { ticket, row, .. } => {
            let mut t = Trees::default();
            rig.ix.load(row, &mut t);
            if let Some(r) = t.local.map(|l| l.record).filter(|r| r.kind == Kind::File) {
                let name = format!("{}", row.0);
                let name = Path::new(name.as_bytes()).expect("a name");
                rig.ix.add_trash(F, name, r.kind, r.content, r.size);
            }
            rig.done(ticket, Outcome::Removed);
        }
        _ => {}
    }
}

#[test]
fn a_renamed_tree_is_work_in_proportion_to_its_size() {
    let mut rig = Rig::ready();
    rig.has("old", Kind::Directory, "");
    (0..FILES).for_each(|i| rig.has(&format!("old/{i}"), Kind::File, &format!("c{i}")));
    let mut seq = 1_000_000;
    let mut next = || {
        seq += 1;
        seq
    };
    hears(&mut rig, "new", Kind::Directory, "", next());
    for i in 0..FILES {
        hears(&mut rig, &format!("new/{i}"), Kind::File, &format!("c{i}"), next());
        hears(&mut rig, &format!("old/{i}"), Kind::Removed, &format!("c{i}"), next());
    }
    hears(&mut rig, "old", Kind::Removed, "", next());
    let before = rig.ix.loads;
    settles(&mut rig, 200, &[Lane::Quick, Lane::Remove, Lane::Look, Lane::Later]);
    let t = rig.trees(&format!("new/{}", FILES - 1));
    assert!(t.local.is_some_and(|l| l.stat.kind == Kind::File));
    let each = (rig.ix.loads - before) / FILES;
    assert!(each < 60, "{each} rows were loaded for each that was renamed");
}

#[test]
fn what_was_taken_and_is_wanted_no_more_is_put_away() {
    let mut rig = Rig::ready();
    rig.has("old", Kind::File, "c");
    hears(&mut rig, "new", Kind::File, "c", 1_000_001);
    hears(&mut rig, "old", Kind::Removed, "c", 1_000_002);
    let mut taken = None;
    while let Some(e) = rig.effect() {
        if let Effect::Make { ticket, row, take: Some(_), .. } = e {
            taken = Some((ticket, row));
        }
    }
    let (ticket, new) = taken.expect("the file itself is moved");
    assert_eq!(rig.path(new), "new");
    hears(&mut rig, "new", Kind::File, "d", 1_000_003);
    rig.done(ticket, Outcome::Taken);
    let mut all = std::iter::from_fn(|| rig.effect());
    assert!(all.any(|e| matches!(e, Effect::Discard { row, unused: true, .. } if row == new)));
}

#[test]
fn what_waits_for_its_directory_goes_as_soon_as_that_stands() {
    let mut rig = Rig::ready();
    rig.has("one", Kind::File, "c");
    let (dirs, files) = (10, 15);
    let mut seq = 1_000_000;
    for d in 0..dirs {
        hears(&mut rig, &format!("{d}"), Kind::Directory, "", seq);
        seq += 1;
        for i in 0..files {
            hears(&mut rig, &format!("{d}/{i}"), Kind::File, "c", seq);
            seq += 1;
        }
    }
    let (before, mut syncs) = (rig.ix.loads, 0);
    // No time passes, and nothing that was made is durable yet.
    while let Some(e) = rig.effect() {
        match e {
            Effect::Sync { .. } => syncs += 1,
            e => acts(&mut rig, e),
        }
    }
    assert_eq!(syncs, 1);
    for (d, i) in (0..dirs).flat_map(|d| (0..files).map(move |i| (d, i))) {
        let local = rig.trees(&format!("{d}/{i}")).local;
        assert!(local.is_some_and(|l| l.stat.kind == Kind::File), "{d}/{i}");
    }
    let each = (rig.ix.loads - before) / (dirs * (files + 1));
    assert!(each < 20, "{each} rows were loaded for each that was made");
}

#[test]
fn what_waits_for_its_directory_and_lends_its_file_goes_later() {
    let mut rig = Rig::ready();
    rig.has("one", Kind::File, "e");
    rig.has("d", Kind::Directory, "");
    rig.has("d/x", Kind::File, "c");
    let d = Path::new(b"d").expect("a path");
    let mut o = rig.peer.open_path(&mut rig.ix, 0, d);
    o.t.disk_due = true;
    rig.peer.close(&mut rig.ix, rig.now, o);
    hears(&mut rig, "d/x", Kind::File, "e", 1_000_001);
    hears(&mut rig, "y", Kind::File, "c", 1_000_002);
    let mut made = None;
    let mut meta = None;
    while let Some(e) = rig.effect() {
        match e {
            Effect::Meta { ticket, .. } => meta = Some(ticket),
            Effect::Make { ticket, from, .. } if rig.path(from) == "d/x" => made = Some(ticket),
            e => acts(&mut rig, e),
        }
    }
    // The directory's mode is set while the file in it is being copied.
    let (stat, at) = (stat(Kind::Directory), rig.now.wall);
    rig.done(meta.expect("it is due"), Outcome::Swapped { stat, at, copy: None, odd: None });
    while let Some(e) = rig.effect() {
        acts(&mut rig, e);
    }
    rig.done(made.expect("it is here"), Outcome::Ready);
    for _ in 0..4 {
        while let Some(e) = rig.effect() {
            acts(&mut rig, e);
        }
        rig.pass(Duration::millis(500));
    }
    for lane in [Lane::Quick, Lane::Later] {
        assert_eq!(rig.ix.due(F, lane, None), None, "{lane:?}");
    }
}

#[test]
fn a_large_file_is_moved_to_its_new_name_rather_than_to_the_trash() {
    // Also where another file is like it, whose row comes first.
    for twin in [false, true] {
        let mut rig = Rig::ready();
        if twin {
            rig.has("twin", Kind::File, "c");
            large(&mut rig, "twin");
        }
        large_is_renamed(&mut rig);
        let mut taken = None;
        while let Some(e) = rig.effect() {
            match e {
                Effect::Make { ticket, row, take: Some(_), .. } => taken = Some((ticket, row)),
                Effect::Make { .. } | Effect::Remove { .. } | Effect::Fetch { .. } => panic!("{e:?}"),
                _ => {}
            }
        }
        let (ticket, new) = taken.expect("the file itself is moved");
        assert_eq!(rig.path(new), "new");
        rig.done(ticket, Outcome::Taken);
        settles(&mut rig, 20, &[Lane::Bulk, Lane::Remove, Lane::Look, Lane::Later]);
    }
}

#[test]
fn a_large_file_whose_heir_is_made_of_another_goes_all_the_same() {
    let mut rig = Rig::ready();
    rig.has("twin", Kind::File, "c");
    large(&mut rig, "twin");
    large_is_renamed(&mut rig);
    // A touch of it lost: it cannot be moved itself.
    let mut o = rig.open("old");
    o.t.local.as_mut().expect("it is there").made = Made::Minted;
    rig.peer.close(&mut rig.ix, rig.now, o);
    settles(&mut rig, 20, &[Lane::Bulk, Lane::Remove, Lane::Look, Lane::Later]);
    assert!(rig.trees("old").local.is_none());
}

fn large(rig: &mut Rig, p: &str) {
    let mut o = rig.open(p);
    o.t.local.iter_mut().for_each(|l| l.stat.size = BULK + 1);
    o.t.remote.iter_mut().for_each(|r| r.record.size = BULK + 1);
    rig.peer.close(&mut rig.ix, rig.now, o);
}

/// The tracker told that `old` is `new` now.
fn large_is_renamed(rig: &mut Rig) {
    rig.has("old", Kind::File, "c");
    large(rig, "old");
    hears(rig, "new", Kind::File, "c", 1_000_001);
    large(rig, "new");
    hears(rig, "old", Kind::Removed, "c", 1_000_002);
    assert_eq!(rig.lane("new"), Some(Lane::Bulk));
}

#[test]
fn what_a_user_moves_back_while_it_is_moved_here_is_an_edit() {
    let mut rig = Rig::ready();
    rig.has("old", Kind::File, "c");
    hears(&mut rig, "new", Kind::File, "c", 1_000_001);
    hears(&mut rig, "old", Kind::Removed, "c", 1_000_002);
    let make = std::iter::from_fn(|| rig.effect())
        .find_map(|e| if let Effect::Make { ticket, take, .. } = e { Some((ticket, take)) } else { None });
    let (ticket, take) = make.expect("it is here");
    assert!(take.is_some());
    rig.done(ticket, Outcome::Taken);
    rig.sees("old", Kind::File, "c");
    let t = rig.trees("old");
    let (local, removal) = (t.local.expect("it stands there again"), t.synced.expect("it was removed"));
    assert_eq!((local.made, local.record.content), (Made::Unminted, content("c")));
    assert!(!removal.is_live() && t.remote.is_some_and(|r| r.record == removal));
    assert_eq!(rig.lane("old"), Some(Lane::Announce), "and stays");
}
