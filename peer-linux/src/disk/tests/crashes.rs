//! What a crash may leave at each step of an install, made by doing the steps in part.

use super::*;

fn recovered(place: &Place, path: &[u8], n: u64) -> (Option<ContentId>, Option<(Kind, ContentId)>) {
    match place.root.recover(p(path), n).outcome {
        Outcome::Recovered { disk, swap, .. } => (disk.map(|(_, c)| c), swap.map(|(s, c)| (s.kind, c))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn before_and_after_the_rename_is_told_apart() {
    let mut place = Place::new("crash");
    let old = place.put("a", b"from");
    place.ready(b"a", 1, b"to");
    place.restart();
    assert_eq!(recovered(&place, b"a", 1), (Some(id(b"from")), Some(file(b"to"))), "not swapped");
    // Swapped, the displaced not yet judged.
    let (a, swap) = (place.at("a"), place.at(".dartsync/tmp/1.swap"));
    rustix::fs::renameat_with(rustix::fs::CWD, &swap, rustix::fs::CWD, &a, rustix::fs::RenameFlags::EXCHANGE)
        .unwrap();
    place.restart();
    assert_eq!(recovered(&place, b"a", 1), (Some(id(b"to")), Some(file(b"from"))));
    let act = place.root.discard(p(b"a"), 1);
    assert_eq!((act.outcome, act.trashed[0].stat.ino), (Outcome::Done, old.ino));
    assert_eq!(recovered(&place, b"a", 1), (Some(id(b"to")), None));
    place.trash_is(&[(b"a", b"from")]);
}

#[test]
fn a_swap_found_after_a_crash_is_made_if_it_is_what_the_intent_says() {
    let mut place = Place::new("resume");
    let old = place.put("a", b"from");
    place.ready(b"a", 1, b"to");
    place.restart();
    recovered(&place, b"a", 1);
    let plan = intent(file(b"from"), file(b"to"));
    swapped(&place.root.swap(p(b"a"), 1, Some(&old), &plan, None));
    assert_eq!(place.read("a"), b"to");
}

#[test]
fn a_name_given_to_a_losing_version_before_the_crash_counts() {
    let mut place = Place::new("second");
    place.put("a", b"mine");
    place.ready(b"a", 1, b"theirs");
    fs::hard_link(place.at("a"), place.at("copy")).unwrap();
    place.restart();
    let old = place.stat("a");
    let plan = intent(file(b"mine"), file(b"theirs"));
    let act = place.root.swap(p(b"a"), 1, Some(&old), &plan, Some(p(b"copy")));
    swapped(&act);
    assert_eq!((place.read("copy"), place.read("a")), (b"mine".to_vec(), b"theirs".to_vec()));
    assert!(act.trashed.is_empty());
}

#[test]
fn nothing_unknown_in_tmp_is_deleted() {
    let mut place = Place::new("cleanup");
    let taken = place.put("t", b"taken");
    drop(place.root.make_take(3, &place.root, p(b"t"), &taken).unwrap());
    for (name, bytes) in [
        ("1.part", "half"),
        ("2.part", "known"),
        ("1.swap", "unknown"),
        ("2.swap", "known"),
        ("restore-5.swap", "being restored"),
        ("4.copy", "aside"),
        ("notes.txt", "a user's"),
    ] {
        fs::write(place.at(format!(".dartsync/tmp/{name}")), bytes).unwrap();
    }
    fs::create_dir(place.at(".dartsync/tmp/9.swap")).unwrap();
    place.restart();
    let trashed = place.root.cleanup_tmp(&|n| n == 2).unwrap();
    assert_eq!(trashed.len(), 4);
    assert_eq!(place.tmp(), ["1.part", "2.part", "2.swap", "notes.txt"]);
    place.trash_is(&[
        (b"recovered-1.swap", b"unknown"),
        (b"recovered-3.take", b"taken"),
        (b"recovered-4.copy", b"aside"),
        (b"recovered-restore-5.swap", b"being restored"),
    ]);
}

#[test]
fn of_what_nothing_waits_for_parts_alone_are_deleted() {
    let place = Place::new("clear");
    let taken = place.put("t", b"taken");
    drop(place.root.make_take(3, &place.root, p(b"t"), &taken).unwrap());
    for (name, bytes) in [
        ("1.part", "half"),
        ("2.part", "newer"),
        ("2.swap", "displaced"),
        ("7.part", "kept"),
        ("notes.txt", ""),
    ] {
        fs::write(place.at(format!(".dartsync/tmp/{name}")), bytes).unwrap();
    }
    fs::create_dir(place.at(".dartsync/tmp/9.swap")).unwrap();
    assert_eq!(place.root.tmp_rows().unwrap(), [1, 2, 3, 7, 9]);
    for n in [1, 2, 3, 9, 11] {
        assert_eq!(place.root.tmp_clear(n).outcome, Outcome::Done, "{n}");
    }
    assert_eq!(place.tmp(), ["7.part", "notes.txt"]);
    place.trash_is(&[(b"recovered-2.swap", b"displaced"), (b"recovered-3.take", b"taken")]);
    place.root.unlink().unwrap();
    assert_eq!(place.tmp(), ["notes.txt"]);
}

#[test]
fn a_removal_cut_short_is_found_in_the_swap_file() {
    let mut place = Place::new("cut");
    place.put("a", b"from");
    fs::rename(place.at("a"), place.at(".dartsync/tmp/1.swap")).unwrap();
    place.restart();
    assert_eq!(recovered(&place, b"a", 1), (None, Some(file(b"from"))));
    assert_eq!(recovered(&place, b"none/a", 2), (None, None));
    fs::create_dir(place.at("d")).unwrap();
    assert_eq!(recovered(&place, b"d", 3), (Some(ContentId::NONE), None));
}
