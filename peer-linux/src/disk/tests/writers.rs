//! Programs that have a file open while it is displaced (R12).

use super::super::lease::BLIND;
use super::*;
use std::time::Duration;

/// Whether the temporary directory's file system tells writers.
fn can_tell(place: &Place) -> bool {
    place.root.probe().leases
}

#[test]
fn a_file_that_is_being_written_to_is_left_alone() {
    let place = Place::new("writer");
    let old = place.put("a", b"old");
    if !can_tell(&place) {
        return;
    }
    let mut writer = append(&place.at("a"));
    place.ready(b"a", 1, b"new");
    let plan = intent(file(b"old"), file(b"new"));
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, Some(&old), &plan, None)), Cause::OpenWriter);
    assert_eq!(failed(&place.root.remove(p(b"a"), 2, &old, None)), Cause::OpenWriter);
    assert_eq!(failed(&place.root.meta(p(b"a"), &old, 0o600, 1)), Cause::OpenWriter);
    assert_eq!(place.root.make_take(3, &place.root, p(b"a"), &old).unwrap_err(), Cause::OpenWriter);
    // Nor is it looked at again and again where a look saw the writer.
    let seen = old.of_writer();
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, Some(&seen), &plan, None)), Cause::OpenWriter);
    assert_eq!(failed(&place.root.remove(p(b"a"), 2, &seen, None)), Cause::OpenWriter);
    assert_eq!(failed(&place.root.meta(p(b"a"), &seen, 0o600, 1)), Cause::OpenWriter);
    writer.write_all(b" and more").unwrap();
    assert_eq!(place.read("a"), b"old and more");
    drop(writer);
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, Some(&old), &plan, None)), Cause::Raced);
    let now = place.stat("a");
    let plan = intent(file(b"old and more"), file(b"new"));
    swapped(&place.root.swap(p(b"a"), 1, Some(&now), &plan, None));
    place.trash_is(&[(b"a", b"old and more")]);
}

#[test]
fn what_is_written_to_a_displaced_file_is_told_when_it_is_closed() {
    let place = Place::new("late");
    let old = place.put("a", b"old");
    if !can_tell(&place) {
        return;
    }
    // Reading does not stand in the way, and a reader may open it for writing later.
    let reader = fs::File::open(place.at("a")).unwrap();
    let act = place.install(b"a", 1, Some(&old), b"old", b"new");
    swapped(&act);
    assert_eq!(place.root.displaced(), 1);
    let late = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let mut writer = append(StdPath::new(&late));
    writer.write_all(b" and lost?").unwrap();
    assert_eq!(place.root.poll_displaced(), []);
    assert_eq!(place.root.displaced(), 1, "watched while it has a writer");
    let purged = place.root.trash_empty(&|_| false).unwrap();
    assert_eq!((purged.gone.len(), purged.kept), (0, 1), "and kept in the trash");
    drop(writer);
    let told = place.root.poll_displaced();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].path[..], told[0].n, told[0].content), (&b"a"[..], 1, id(b"old and lost?")));
    assert_eq!(told[0].at, act.trashed[0].at);
    assert_eq!((place.root.displaced(), place.root.poll_displaced()), (0, vec![]));
}

#[test]
fn a_root_that_is_opened_again_goes_on_watching() {
    let mut place = Place::new("again");
    let old = place.put("a", b"old");
    BLIND.set(true);
    let mut writer = append(&place.at("a"));
    swapped(&place.install(b"a", 1, Some(&old), b"old", b"new"));
    BLIND.set(false);
    let mut again = Root::open(&place.dir).unwrap();
    again.take_over(&place.root);
    let before = std::mem::replace(&mut place.root, again);
    writer.write_all(b" and lost?").unwrap();
    drop(writer);
    assert_eq!(place.root.displaced(), 1);
    let told = place.root.poll_displaced();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].content, id(b"old and lost?"));
    assert_eq!(before.displaced(), 0, "one watch, whoever polls it");
    // What was changed through the one is made durable by the other.
    before.touch(b"a directory");
    assert!(place.root.is_touched(b"a directory"));
    let other = Place::new("another");
    let mut root = Root::open(&other.dir).unwrap();
    root.take_over(&place.root);
    assert!(!root.is_touched(b"a directory"), "another directory is none of its business");
}

#[test]
fn a_displaced_file_that_nobody_writes_to_is_soon_forgotten() {
    let place = Place::new("forgotten");
    for i in 0..80u8 {
        let name = format!("f{i}");
        let stat = place.put(&name, b"x");
        let removed = place.root.remove(p(name.as_bytes()), 1, &stat, Some(id(b"x")));
        assert_eq!(removed.outcome, Outcome::Removed);
    }
    assert!(place.root.displaced() <= 80);
    std::thread::sleep(Duration::from_millis(25));
    assert_eq!(place.root.poll_displaced(), []);
    if can_tell(&place) {
        assert_eq!(place.root.displaced(), 0);
    }
}

/// Programs that append all the time, opening anew for each line, against installs of the same path: every line ends
/// at the path, in the trash, or in a copy.
#[test]
fn no_appended_line_is_lost() {
    let place = Place::new("append");
    place.put("log", b"");
    if !can_tell(&place) {
        return;
    }
    let stop = AtomicBool::new(false);
    let lines = std::thread::scope(|s| {
        let writer = s.spawn(|| {
            let mut count = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let mut file = append(&place.at("log"));
                file.write_all(format!("line {count}\n").as_bytes()).unwrap();
                count += 1;
                std::thread::sleep(Duration::from_micros(50));
            }
            count
        });
        let _stop = Stop(&stop);
        let mut copies = 0;
        for i in 0..40 {
            let now = place.stat("log");
            let bytes = place.read("log");
            let act = place.install(b"log", 1, Some(&now), &bytes, format!("install {i}\n").as_bytes());
            match act.outcome {
                Outcome::Swapped { odd: Some(_), .. } => {
                    copies += 1;
                    swapped(&place.root.keep(p(format!("copy {copies}").as_bytes()), 1));
                }
                Outcome::Swapped { .. } => {}
                Outcome::Failed(Cause::Raced | Cause::OpenWriter) => {
                    assert_eq!(place.root.discard(p(b"log"), 1).outcome, Outcome::Done);
                }
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let mut all = String::from_utf8(place.read("log")).unwrap();
    for entry in fs::read_dir(&place.dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
        all.push_str(&fs::read_to_string(entry).unwrap());
    }
    for (_, bytes) in place.trash() {
        all.push_str(&String::from_utf8(bytes).unwrap());
    }
    let found: std::collections::HashSet<&str> = all.lines().collect();
    for i in 0..lines {
        assert!(found.contains(&*format!("line {i}")), "line {i} of {lines}");
    }
}

/// Someone else's file: no lease is to be had, so what is displaced is hashed and watched.
#[test]
fn a_file_whose_writers_cannot_be_known_is_hashed_and_watched() {
    let place = Place::new("unknown");
    super::super::lease::BLIND.set(true);
    let old = place.put("a", b"old");
    let mut writer = append(&place.at("a"));
    let act = place.install(b"a", 1, Some(&old), b"old", b"new");
    swapped(&act);
    assert_eq!(place.root.poll_displaced(), []);
    assert_eq!(place.root.displaced(), 1);
    writer.write_all(b" and late").unwrap();
    assert_eq!(place.root.poll_displaced(), [], "seen to change");
    let told = place.root.poll_displaced();
    assert_eq!((told.len(), told[0].content, &told[0].at), (1, id(b"old and late"), &act.trashed[0].at));
    assert_eq!(place.root.poll_displaced(), []);

    // Another content than the decision was made for, behind the same stat: told, left in the swap file, kept.
    let now = place.stat("a");
    place.ready(b"a", 1, b"newer");
    let act = place.root.swap(p(b"a"), 1, Some(&now), &intent(file(b"old"), file(b"newer")), None);
    match act.outcome {
        Outcome::Swapped { odd: Some((Kind::File, content, stat)), .. } => {
            assert_eq!((content, stat.ino), (id(b"new"), now.ino));
        }
        other => panic!("{other:?}"),
    }
    swapped(&place.root.keep(p(b"kept"), 1));
    assert_eq!((place.read("a"), place.read("kept")), (b"newer".to_vec(), b"new".to_vec()));
    let now = place.stat("kept");
    assert_eq!(failed(&place.root.remove(p(b"kept"), 2, &now, Some(id(b"old")))), Cause::Raced);
    assert_eq!(place.stat("kept").ino, now.ino, "it was put back");
    assert!(swapped(&place.root.meta(p(b"kept"), &place.stat("kept"), 0o600, 1)).is_of_writer());
    assert_eq!(
        place.root.remove(p(b"kept"), 2, &place.stat("kept"), Some(id(b"new"))).outcome,
        Outcome::Removed
    );
    super::super::lease::BLIND.set(false);
}
