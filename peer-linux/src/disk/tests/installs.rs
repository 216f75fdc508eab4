//! Parts, preparing, swapping, copies, metadata: the quiet case.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Arc, Mutex};

#[test]
fn a_new_file_appears_whole_with_its_metadata() {
    let place = Place::new("new");
    let act = place.install(b"a", 1, None, b"", b"hello");
    let stat = swapped(&act);
    assert!(act.trashed.is_empty());
    assert_eq!(stat, place.stat("a"));
    assert_eq!((stat.kind, stat.mode, stat.size, stat.mtime), (Kind::File, 0o640, 5, MTIME));
    assert_eq!(place.read("a"), b"hello");
    assert!(place.tmp().is_empty());
    place.root.sync_dirs().unwrap();
}

#[test]
fn the_old_version_goes_to_the_trash_with_its_content_known() {
    let place = Place::new("over");
    let old = place.put("a", b"old");
    let act = place.install(b"a", 1, Some(&old), b"old", b"new");
    assert_eq!(swapped(&act), place.stat("a"));
    assert_eq!(act.trashed.len(), 1);
    assert_eq!((act.trashed[0].content, act.trashed[0].n), (Some(id(b"old")), 1));
    assert_eq!(act.trashed[0].stat.ino, old.ino);
    assert_eq!(place.read("a"), b"new");
    place.trash_is(&[(b"a", b"old")]);
    assert_eq!(read_all(&place.root.trash_open(&act.trashed[0].at).unwrap()), b"old");
    // Again and again: the same name is taken in the trash.
    for i in 0..4u8 {
        let now = place.stat("a");
        let bytes = place.read("a");
        swapped(&place.install(b"a", 1, Some(&now), &bytes, &[b'0' + i]));
    }
    place.trash_is(&[(b"a", b"0"), (b"a", b"1"), (b"a", b"2"), (b"a", b"new"), (b"a", b"old")]);
    assert!(place.tmp().is_empty());
}

#[test]
fn what_the_disk_did_not_take_is_not_there_for_the_next_try() {
    let place = Place::new("eio");
    let part = || read_all(&place.root.part_read(1).unwrap().expect("a recovery asks for it"));
    let prepare = || place.root.prepare(p(b"a"), 1, Kind::File, 0o444, MTIME);
    let fail = || sync::FAULTS.set(1);
    place.part(1, b"new");
    fail();
    assert_eq!(failed(&prepare()), Cause::Os(5));
    assert_eq!((place.tmp(), part()), (vec!["1.part".into()], vec![]));
    // Fetched anew, it is prepared; should that be made durable once more and fail, it is not there either.
    place.part(1, b"new");
    assert_eq!(prepare().outcome, Outcome::Done);
    fail();
    assert_eq!(failed(&prepare()), Cause::Os(5));
    assert_eq!((place.tmp(), part()), (vec!["1.part".into()], vec![]));
    swapped(&place.install(b"a", 1, None, b"", b"new"));
    place.trash_is(&[]);
}

#[test]
fn what_is_made_ready_together_has_an_answer_each() {
    let mut place = Place::new("together");
    sync::WAITING.set(Some(0));
    let whole = || sync::Together::Whole(Mutex::new(fs::File::open(&place.dir).ok().map(Into::into)));
    // How, faults, the first file's answer.
    let cases = [
        (sync::Together::Memory, 0, Outcome::Done),
        (sync::Together::Memory, 1, Outcome::Failed(Cause::Os(5))),
        (sync::Together::Each, 0, Outcome::Done),
        (whole(), 0, Outcome::Done),
        // Whose file it was is not known then: each is asked, and all are on the disk.
        (whole(), 1, Outcome::Done),
    ];
    for (how, faults, first) in cases {
        place.root.together = Arc::new(how);
        for n in [1, 2, 6] {
            place.part(n, format!("file {n}").as_bytes());
        }
        place.root.part_write(4, b"text").unwrap();
        let kinds = [
            (1, Kind::File),
            (2, Kind::File),
            (3, Kind::File),
            (4, Kind::Symlink),
            (5, Kind::Directory),
            (6, Kind::File),
        ];
        let all = kinds.map(|(n, kind)| ToPrepare { path: p(b"a"), n, kind, mode: 0o750, mtime: MTIME });
        sync::FAULTS.set(faults);
        let acts = place.root.prepare_all(&all);
        let outcomes: Vec<_> = acts.into_iter().map(|act| act.outcome).collect();
        let missing = Outcome::Failed(Cause::Os(2));
        assert_eq!(outcomes, [first, Outcome::Done, missing, Outcome::Done, Outcome::Done, Outcome::Done]);
        let swap = place.at(".dartsync/tmp/2.swap");
        assert_eq!(
            (fs::read(&swap).unwrap(), swap.metadata().unwrap().mode() & 0o777),
            (b"file 2".to_vec(), 0o750)
        );
        let failed = first != Outcome::Done;
        assert_eq!(place.tmp().contains(&"1.part".to_string()), failed, "given up, to be fetched anew");
        assert_eq!(place.tmp().len(), 5, "{:?}", place.tmp());
        for n in 1..=6 {
            place.root.discard(p(b"a"), n);
            place.root.part_drop(n).unwrap();
        }
        assert_eq!(sync::FAULTS.get(), 0);
    }
    let spent = |t: &sync::Together| matches!(t, sync::Together::Whole(fd) if fd.lock().unwrap().is_none());
    assert!(spent(&place.root.together), "what the next flush of all says would prove nothing");
}

#[test]
fn a_part_of_an_earlier_process_is_made_durable_by_itself() {
    let mut place = Place::new("earlier");
    sync::WAITING.set(Some(0));
    let (handle, all) = (fs::File::open(&place.dir).unwrap(), [1, 2, 3]);
    place.root.together = Arc::new(sync::Together::Whole(Mutex::new(Some(handle.into()))));
    fs::write(place.at(".dartsync/tmp/2.part"), b"file 2").unwrap();
    for n in all {
        place.part(n, format!("file {n}").as_bytes());
    }
    // The first fsync is that of the one of before, which comes ahead of the others' flush.
    sync::FAULTS.set(1);
    let one = |n| ToPrepare { path: p(b"a"), n, kind: Kind::File, mode: 0o600, mtime: MTIME };
    let acts = place.root.prepare_all(&all.map(one));
    let outcomes: Vec<_> = acts.into_iter().map(|act| act.outcome).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Failed(Cause::Os(5)), Outcome::Done]);
}

#[test]
fn what_only_its_own_fsync_tells_of_is_made_durable_side_by_side() {
    let mut place = Place::new("beside");
    place.root.together = Arc::new(sync::Together::Each);
    for n in [1, 2] {
        fs::write(place.at(format!(".dartsync/tmp/{n}.part")), b"of an earlier process").unwrap();
    }
    place.ready(b"a", 3, b"ready before");
    for n in [4, 5] {
        let stat = place.put(format!("old {n}"), b"taken");
        place.root.make_take(n, &place.root, p(format!("old {n}").as_bytes()), &stat).unwrap();
    }
    let writer = append(&place.at(".dartsync/tmp/5.take"));
    // One by one, the first would meet it: by threads of their own none does.
    sync::FAULTS.set(1);
    let one = |n| ToPrepare { path: p(b"a"), n, kind: Kind::File, mode: 0o600, mtime: MTIME };
    let prepare = || -> Vec<_> {
        let acts = place.root.prepare_all(&[1, 2, 3, 4, 5].map(one)).into_iter();
        acts.map(|act| act.outcome).collect()
    };
    let seen = place.root.probe().leases;
    let written_to = if seen { Outcome::Failed(Cause::OpenWriter) } else { Outcome::Done };
    assert_eq!(prepare(), [Outcome::Done, Outcome::Done, Outcome::Done, Outcome::Done, written_to]);
    drop(writer);
    // A postponed swap file is prepared once more, beside what could not be before.
    assert_eq!(prepare(), [const { Outcome::Done }; 5]);
    assert_eq!(sync::FAULTS.get(), 1);
    assert_eq!(place.tmp(), ["1.swap", "2.swap", "3.swap", "4.swap", "5.swap"]);
}

#[test]
fn a_users_file_that_the_disk_did_not_take_goes_to_the_trash() {
    let place = Place::new("eio-take");
    let prepare = |n| place.root.prepare(p(b"b"), n, Kind::File, 0o644, MTIME);
    for (n, before) in [(1, false), (2, true)] {
        let old = place.put("a", b"old");
        place.root.make_take(n, &place.root, p(b"a"), &old).unwrap();
        if before {
            assert_eq!(prepare(n).outcome, Outcome::Done);
        }
        sync::FAULTS.set(1);
        let act = prepare(n);
        assert_eq!((failed(&act), act.trashed.len()), (Cause::Os(5), 1));
        assert_eq!(place.tmp(), [format!("{n}.part")], "what a recovery asks for");
        place.root.part_drop(n).unwrap();
    }
    assert_eq!(place.trash().iter().filter(|(_, bytes)| bytes == b"old").count(), 2);
}

#[test]
fn parts_are_sparse_and_keep_what_was_written() {
    let place = Place::new("part");
    let part = place.root.part_open(3, 10 << 20).unwrap();
    part.write_all_at(b"end", (10 << 20) - 3).unwrap();
    let meta = part.metadata().unwrap();
    assert!(meta.blocks() * 512 < 1 << 20);
    assert_eq!(meta.permissions().mode() & 0o777, 0o600, "private until it is installed");
    let again = place.root.part_open(3, 10 << 20).unwrap();
    let mut end = [0; 3];
    again.read_exact_at(&mut end, (10 << 20) - 3).unwrap();
    assert_eq!(&end, b"end");
    assert_eq!(place.root.part_open(3, 1 << 62).unwrap_err(), Cause::Os(28), "no room is told at once");
    let copy = place.root.make_copy(4, &again).unwrap();
    assert_eq!(copy.metadata().unwrap().len(), 10 << 20);
    assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20, "a copy keeps holes");
    assert_eq!(read_all(&copy), read_all(&again));
    place.root.part_drop(3).unwrap();
    place.root.part_drop(3).unwrap();
    assert_eq!(place.tmp(), ["4.part"]);
}

#[test]
fn a_taken_file_is_moved_and_a_linked_one_copied() {
    let place = Place::new("take");
    let stat = place.put("old name", b"content");
    let taken = place.root.make_take(1, &place.root, p(b"old name"), &stat).unwrap();
    assert_eq!(read_all(&taken), b"content");
    assert!(!place.at("old name").exists());
    assert_eq!(place.root.prepare(p(b"new"), 1, Kind::File, 0o600, MTIME).outcome, Outcome::Done);
    let got = swapped(&place.root.swap(p(b"new"), 1, None, &intent(NOTHING, file(b"content")), None));
    assert_eq!((got.ino, got.mtime, got.mode), (stat.ino, MTIME, 0o600));

    place.put("one", b"twice");
    fs::hard_link(place.at("one"), place.at("two")).unwrap();
    let stat = place.stat("one");
    let copied = place.root.make_take(2, &place.root, p(b"one"), &stat).unwrap();
    assert_eq!(read_all(&copied), b"twice");
    assert!(place.at("one").exists());
    assert_ne!(copied.metadata().unwrap().ino(), stat.ino);

    place.put("three", b"changed");
    let stale = Stat { mtime: 1, ..place.stat("three") };
    assert_eq!(place.root.make_take(3, &place.root, p(b"three"), &stale).unwrap_err(), Cause::Raced);
    assert_eq!(place.read("three"), b"changed");
}

#[test]
fn a_taken_file_that_is_no_longer_wanted_is_not_deleted() {
    let place = Place::new("taken");
    let stat = place.put("old", b"only here");
    drop(place.root.make_take(1, &place.root, p(b"old"), &stat).unwrap());
    place.part(1, b"other");
    let strays = place.root.take_strays();
    assert_eq!((strays.len(), strays[0].n), (1, 1));
    place.trash_is(&[(b"old", b"only here")]);
    // Nor one that came there without this process's knowing: what it is could not be asked once it was moved.
    assert!(place.root.cleanup_tmp(&|_| true).unwrap().is_empty());
    fs::write(place.at(".dartsync/tmp/2.take"), b"nor that").unwrap();
    place.part(2, b"other");
    assert_eq!(place.root.take_strays().len(), 1);
    place.trash_is(&[(b"old", b"only here"), (b"taken-2", b"nor that")]);
}

#[test]
fn a_taken_file_whose_swap_is_not_made_goes_to_the_trash() {
    let mut place = Place::new("taken-raced");
    let take = |place: &Place, n: u64, bytes: &[u8]| {
        let stat = place.put("old", bytes);
        drop(place.root.make_take(n, &place.root, p(b"old"), &stat).unwrap());
    };
    // Something else stands at its new path by now: the swap is given up.
    take(&place, 1, b"first");
    assert_eq!(place.root.prepare(p(b"new"), 1, Kind::File, 0o600, MTIME).outcome, Outcome::Done);
    place.put("new", b"another");
    let raced = place.root.swap(p(b"new"), 1, None, &intent(NOTHING, file(b"first")), None);
    assert_eq!(raced.outcome, Outcome::Failed(Cause::Raced));
    let act = place.root.discard_unused(p(b"new"), 1);
    assert_eq!((act.outcome, act.trashed.len()), (Outcome::Done, 1));
    // Nobody wants it any more before a swap file was made of it.
    take(&place, 2, b"second");
    assert_eq!(place.root.discard_unused(p(b"new"), 2).trashed.len(), 1);
    // A program that ended before that finds it, and knows by it that nothing was swapped.
    take(&place, 3, b"third");
    place.restart();
    assert!(place.root.cleanup_tmp(&|n| n == 3).unwrap().is_empty());
    let Outcome::Recovered { part: true, swap: None, .. } = place.root.recover(p(b"new"), 3).outcome else {
        panic!("it is there")
    };
    assert_eq!(place.root.discard_unused(p(b"new"), 3).trashed.len(), 1);
    // What was fetched is a part again: others have it.
    place.ready(b"new", 4, b"fetched");
    assert!(place.root.discard_unused(p(b"new"), 4).trashed.is_empty());
    assert!(place.root.part_read(4).unwrap().is_some_and(|part| read_all(&part) == b"fetched"));
    // The others have one as well, if only as a sign that nothing was swapped in.
    assert_eq!(place.tmp(), ["1.part", "2.part", "3.part", "4.part"]);
    place.trash_is(&[(b"new", b"first"), (b"old", b"second"), (b"taken-3", b"third")]);
}

#[test]
fn a_losing_version_gets_its_copys_name_before_it_is_displaced() {
    let place = Place::new("copy");
    let old = place.put("a.txt", b"mine");
    place.ready(b"a.txt", 1, b"theirs");
    let plan = intent(file(b"mine"), file(b"theirs"));
    let act = place.root.swap(p(b"a.txt"), 1, Some(&old), &plan, Some(p(b"a (conflict).txt")));
    let Outcome::Swapped { stat, copy: Some((copy, _)), odd: None, .. } = act.outcome else {
        panic!("{act:?}")
    };
    assert_eq!((stat, copy), (place.stat("a.txt"), place.stat("a (conflict).txt")));
    assert_eq!(copy.ino, old.ino);
    assert_eq!((place.read("a.txt"), place.read("a (conflict).txt")), (b"theirs".to_vec(), b"mine".to_vec()));
    assert!(act.trashed.is_empty(), "the copy is that inode: nothing is shared with the trash");
    assert_eq!(fs::metadata(place.at("a (conflict).txt")).unwrap().nlink(), 1);
    assert!(place.tmp().is_empty());
}

#[test]
fn a_copy_that_is_there_already_counts_if_its_content_is_the_same() {
    let place = Place::new("copy-there");
    let old = place.put("a", b"mine");
    place.put("c", b"mine");
    place.ready(b"a", 1, b"theirs");
    let plan = intent(file(b"mine"), file(b"theirs"));
    let act = place.root.swap(p(b"a"), 1, Some(&old), &plan, Some(p(b"c")));
    swapped(&act);
    place.trash_is(&[(b"a", b"mine")]);

    let old = place.stat("a");
    place.put("d", b"something else");
    place.ready(b"a", 1, b"third");
    let plan = intent(file(b"theirs"), file(b"third"));
    let act = place.root.swap(p(b"a"), 1, Some(&old), &plan, Some(p(b"d")));
    assert_eq!(failed(&act), Cause::Os(17));
    assert_eq!((place.read("a"), place.read("d")), (b"theirs".to_vec(), b"something else".to_vec()));
}

#[test]
fn metadata_is_set_in_place() {
    let place = Place::new("meta");
    let old = place.put("a", b"x");
    let got = swapped(&place.root.meta(p(b"a"), &old, 0o604, MTIME));
    assert_eq!((got.mode, got.mtime, got.ino), (0o604, MTIME, old.ino));
    assert_eq!(got, place.stat("a"));
    assert_eq!(failed(&place.root.meta(p(b"a"), &old, 0o600, MTIME)), Cause::Raced);
    fs::create_dir(place.at("d")).unwrap();
    let dir = place.stat("d");
    assert_eq!(swapped(&place.root.meta(p(b"d"), &dir, 0o711, 5)).mode, 0o711);
    fs::set_permissions(place.at("a"), fs::Permissions::from_mode(0o4755)).unwrap();
    let now = place.stat("a");
    swapped(&place.root.meta(p(b"a"), &now, 0o755, MTIME));
    assert_eq!(fs::metadata(place.at("a")).unwrap().mode() & 0o7777, 0o755, "no setuid is carried over");
    place.root.sync_dirs().unwrap();
}

#[test]
fn a_root_that_is_opened_again_flushes_by_the_handle_of_before_and_a_failure_is_told() {
    let mut place = Place::new("flush");
    let mut again = Root::open(&place.dir).unwrap();
    assert!(!Arc::ptr_eq(&again.witness, &place.root.witness));
    again.take_over(&place.root);
    let before = std::mem::replace(&mut place.root, again);
    assert!(
        Arc::ptr_eq(&before.witness, &place.root.witness),
        "what was told to the one is told to nobody else"
    );
    drop(before);
    sync::FAULTS.set(1);
    assert_eq!(place.root.flush(), Err(Cause::Os(5)));
    place.root.flush().unwrap();
}

#[test]
fn a_swap_prepared_before_is_used_again_after_a_delay_but_not_instead_of_a_newer_part() {
    let place = Place::new("again");
    place.ready(b"a", 1, b"first");
    let again = place.root.prepare(p(b"a"), 1, Kind::File, 0o600, 5);
    assert_eq!((again.outcome, again.trashed.len()), (Outcome::Done, 0));
    place.part(1, b"second");
    let act = place.root.prepare(p(b"a"), 1, Kind::File, 0o600, 5);
    assert_eq!((act.outcome, act.trashed.len()), (Outcome::Done, 1));
    let got = swapped(&place.root.swap(p(b"a"), 1, None, &intent(NOTHING, file(b"second")), None));
    assert_eq!((got.mtime, place.read("a")), (5, b"second".to_vec()));
    assert_eq!(failed(&place.root.prepare(p(b"b"), 2, Kind::File, 0o600, 5)), Cause::Os(2));
}

#[test]
fn a_taken_file_that_changed_meanwhile_goes_back_or_to_the_trash() {
    let (place, other) = (Place::new("take-changed"), Place::new("take-other"));
    for (source, n) in [(&place, 1), (&other, 2)] {
        let stat = source.put("src", b"content");
        drop(place.root.make_take(n, &source.root, p(b"src"), &stat).unwrap());
        let mut late = append(&place.at(format!(".dartsync/tmp/{n}.take")));
        late.write_all(b" and late").unwrap();
        if place.root.probe().leases {
            let act = place.root.prepare(p(b"new"), n, Kind::File, 0o600, 1);
            assert_eq!(failed(&act), Cause::OpenWriter);
        }
        drop(late);
        assert_eq!(failed(&place.root.prepare(p(b"new"), n, Kind::File, 0o600, 1)), Cause::Raced);
    }
    assert_eq!(place.read("src"), b"content and late");
    assert_eq!(place.root.take_strays().len(), 1);
    place.trash_is(&[(b"taken-2", b"content and late")]);
}
