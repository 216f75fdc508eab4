//! Trackers and devices that are killed, come back, and have lost something.

use dartsync::store::Store;
use dartsync_core::ids::Folder;
use dartsync_core::peer::{Index, Mark, Trees};
use dartsync_tests::process::{Device, Home, noise, wait_for, wait_within};
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

fn fill(home: &Home, count: usize) {
    for n in 0..count {
        home[0].put(format!("d{}/f{n}", n % 10), format!("{n}"));
    }
    home.converge();
}

fn connected(home: &Home, i: usize) -> bool {
    home[i].status()["tracker"]["connected"] == true
}

#[test]
fn a_killed_tracker_costs_nothing() {
    let mut home = Home::start("tracker-killed", 3);
    fill(&home, 100);
    for round in 0..3 {
        for n in round * 10..round * 10 + 10 {
            home[0].remove(format!("d{}/f{n}", n % 10));
        }
        // In the middle of it, or when all is said.
        if round != 1 {
            home.converge();
        }
        home.tracker.kill();
        home[1].put(format!("d0/meanwhile{round}"), "made without a tracker");
        home[2].put("d1/f91", format!("edited in round {round}"));
        home[1].remove(format!("d5/f{}", 35 + 10 * round));
        home.tracker.start();
        let back = Instant::now();
        wait_within(Duration::from_secs(4), "connections to the new tracker", || {
            (0..3).all(|i| connected(&home, i)).then_some(())
        });
        assert!(back.elapsed() < Duration::from_secs(4));
        home.converge();
    }
    let files = home[2].tree().len() - 10;
    assert_eq!(files, 100 - 30 - 3 + 3, "{:?}", home[2].tree().keys());
    assert!(home[0].conflict_copies().is_empty(), "{:?}", home[0].conflict_copies());
    home.status_is_true();
}

#[test]
fn a_device_that_slept_through_a_tracker_s_loss() {
    let mut home = Home::start("late", 3);
    fill(&home, 60);
    home[2].kill();
    for n in 0..20 {
        home[0].remove(format!("d{}/f{n}", n % 10));
    }
    home.converge();
    home.tracker.kill();
    home[0].put("d3/f33", "edited without a tracker");
    home.tracker.start();
    home.converge();
    home[2].start();
    let tree = home.converge();
    assert_eq!(tree.len(), 40 + 10, "{:?}", tree.keys());
    assert!(home[0].conflict_copies().is_empty());
    assert_eq!(home[2].get("d3/f33").unwrap(), b"edited without a tracker");
}

#[test]
fn a_tracker_without_its_roster_waits_for_half_of_the_devices() {
    let mut home = Home::start("roster", 3);
    fill(&home, 20);
    home.tracker.kill();
    home[1].kill();
    home[2].kill();
    home.tracker.lose_roster();
    home.tracker.start();
    // One of three is no majority: files may wait, invites must.
    std::thread::sleep(Duration::from_secs(2));
    let refused = home[0].try_say(&["invite"]);
    assert!(!refused.status.success(), "an invite of a tracker that waits: {refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("of 3"), "{refused:?}");
    assert!(
        !home.tracker.running().text().contains("invite dart1"),
        "a founding invite for a home that exists"
    );
    home[1].start();
    home[2].start();
    home[1].put("d0/after", "the home is whole again");
    let tree = home.converge();
    assert_eq!(tree.len(), 20 + 10 + 1);
    assert!(home[0].conflict_copies().is_empty());
    // Who joined later than the roster that was handed in would not be heard by a tracker that had stored it.
    assert!(!home.tracker.roster().exists(), "it is as it was handed in");
    let three = home.add();
    wait_for("the roster on the tracker's disk", || home.tracker.roster().exists().then_some(()));
    home.converge();
    assert_eq!(home[three].get("d0/after").unwrap(), b"the home is whole again");
}

#[test]
fn a_device_killed_while_it_fetches_goes_on() {
    let mut home = Home::start("killed", 2);
    let large = noise(5, 96 << 20);
    home[1].kill();
    home[0].put("large", &large);
    for n in 0..300 {
        home[0].put(format!("small/{n}"), noise(n, 3000));
    }
    home[0].wait();
    for round in 0..4u64 {
        home[1].start_unready();
        std::thread::sleep(Duration::from_millis(150 + 130 * round));
        home[1].kill();
        let seen = home[1].get("large");
        assert!(seen.is_none_or(|bytes| bytes == large), "a part of a file was visible");
    }
    home[1].start();
    home.converge();
    wait_for("part files to be used or removed", || home[1].part_files().is_empty().then_some(()));
    home.status_is_true();
}

#[test]
fn part_files_stay_as_long_as_they_are_of_use() {
    let mut home = Home::start("parts", 2);
    let has_part =
        |device: &Device| device.part_files().iter().any(|name| name.as_encoded_bytes().ends_with(b".part"));
    let begins = |device: &Device| wait_for("a fetch to begin", || has_part(device).then_some(()));
    let parts_go = |device: &Device| {
        wait_within(Duration::from_secs(120), "what nobody wants to be removed from tmp", || {
            (device.part_files() == ["notes"]).then_some(())
        });
    };
    fs::write(home[1].root.join(".dartsync/tmp/notes"), "a user's").unwrap();
    // Its fetch goes on after a restart, and waits for a source meanwhile.
    home[0].put("wanted", noise(6, 64 << 20));
    begins(&home[1]);
    home[1].stop();
    home[0].stop();
    home[1].start();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        assert!(has_part(&home[1]) || home[1].has("wanted"), "it is still to come");
        std::thread::sleep(Duration::from_millis(100));
    }
    home[0].start();
    home.converge();
    parts_go(&home[1]);
    // What is fetched is removed meanwhile.
    home[0].put("running", noise(7, 64 << 20));
    begins(&home[1]);
    home[0].remove("running");
    home.converge();
    parts_go(&home[1]);
    // So it is while the device is down.
    home[0].put("killed", noise(8, 64 << 20));
    begins(&home[1]);
    home[1].kill();
    home[0].remove("killed");
    home[0].wait();
    home[1].start();
    home.converge();
    parts_go(&home[1]);
    assert_eq!(fs::read(home[1].root.join(".dartsync/tmp/notes")).unwrap(), b"a user's");
    home.status_is_true();
}

#[test]
fn both_killed_again_and_again() {
    let mut home = Home::start("killed-both", 2);
    let mut written = Vec::new();
    for round in 0..6u64 {
        for n in 0..40 {
            let bytes = noise(round * 100 + n, 1000 + 997 * n as usize);
            home[(n % 2) as usize].put(format!("{}-{}", n % 2, n % 25), &bytes);
            written.push(bytes);
        }
        std::thread::sleep(Duration::from_millis(30 * round));
        let i = (round % 2) as usize;
        home[i].kill();
        home[i].start();
    }
    home.converge();
    for device in &home.devices {
        for (name, _) in device.tree() {
            let bytes = device.get(name.to_str().unwrap()).unwrap();
            assert!(written.contains(&bytes), "{}: what no user wrote", name.display());
        }
    }
}

/// How many paths of a device that does not run bear the mark of what may stand in the page cache alone, and of how many no
/// flush tells any more.
fn unflushed(device: &Device) -> (usize, usize) {
    let mut store = Store::open(&device.state).expect("it is there").0;
    let (mut marked, mut unsure) = (0, 0);
    for folder in (0..8).map(Folder) {
        let mut after = None;
        while let Some(row) = store.marked(folder, Mark::Unsynced, after) {
            let mut t = Trees::default();
            assert!(store.load(row, &mut t));
            after = Some(row);
            marked += 1;
            unsure += usize::from(t.unsure);
        }
    }
    (marked, unsure)
}

#[test]
fn what_a_run_left_to_be_flushed_the_next_one_flushes() {
    let mut home = Home::start("marks", 1);
    let mut n = 0;
    wait_for("a file that was announced and not flushed yet", || {
        n += 1;
        home[0].put(format!("f{n}"), "in the page cache");
        home[0].wait();
        home[0].kill();
        let marked = unflushed(&home[0]).0 > 0;
        if !marked {
            home[0].start();
        }
        marked.then_some(())
    });
    wait_for("a flush by a later run", || {
        home[0].start();
        home[0].stop();
        let (marked, unsure) = unflushed(&home[0]);
        assert_eq!(unsure, 0, "no write failed");
        (marked == 0).then_some(())
    });
}

#[test]
fn a_lost_store_loses_no_file() {
    let mut home = Home::start("store-lost", 3);
    fill(&home, 50);
    home[1].kill();
    fs::remove_file(home[1].state.join("store.redb")).unwrap();
    home[0].put("d0/f0", "edited meanwhile");
    home[1].put("d2/f2", "edited before its store was lost");
    home[1].put("new", "made while it was down");
    home[0].wait();
    home[1].start();
    let tree = home.converge();
    // Equal files are no conflicts; the two that differ may leave a copy.
    let copies = home[0].conflict_copies();
    assert!(copies.iter().all(|c| c.starts_with("d0/f0 (") || c.starts_with("d2/f2 (")), "{copies:?}");
    assert_eq!(tree.len(), 50 + 10 + 1 + copies.len());
    let everything: Vec<Vec<u8>> = home[2].all_contents();
    for text in ["edited meanwhile", "edited before its store was lost", "made while it was down"] {
        assert!(everything.iter().any(|b| b == text.as_bytes()), "lost: {text}");
    }
}

#[test]
fn what_lies_in_a_trash_is_found_there_though_the_store_was_lost() {
    let mut home = Home::start("store-lost-trash", 2);
    home[0].put("f", "of old");
    home.converge();
    home[0].put("f", "new");
    home.converge();
    home[1].kill();
    fs::remove_file(home[1].state.join("store.redb")).unwrap();
    home[0].put("g", "of old");
    home[0].wait();
    home[0].kill();
    // Nobody is there to give it.
    home[1].start();
    wait_for("the content from the trash", || home[1].get("g").filter(|b| b == b"of old"));
    home[0].start();
    assert_eq!(home.converge().len(), 2);
}

#[test]
fn a_lost_store_brings_no_removed_file_back() {
    let mut home = Home::start("store-lost-removed", 2);
    for path in ["gone", "tree/sub/gone", "half/gone", "edited", "stays"] {
        home[0].put(path, path);
    }
    home[0].link("link", "nowhere");
    home[0].put("again", "removed and made anew");
    home.converge();
    home[1].kill();
    fs::remove_file(home[1].state.join("store.redb")).unwrap();
    home[0].remove_all("tree");
    home[0].remove_all("half");
    ["gone", "edited", "link", "again"].iter().for_each(|path| home[0].remove(path));
    home[0].wait();
    home[1].put("edited", "edited while it was down");
    home[1].put("half/new", "made while it was down");
    home[1].put("new", "made while it was down, too");
    home[1].start();
    let tree = home.converge();
    let paths: Vec<String> = tree.keys().map(|p| p.to_string_lossy().into_owned()).collect();
    assert_eq!(paths, ["edited", "half", "half/new", "new", "stays"]);
    assert_eq!(home[0].get("edited").unwrap(), b"edited while it was down");
    let trash = home[1].trash();
    for text in ["gone", "tree/sub/gone", "half/gone", "removed and made anew"] {
        assert!(trash.iter().any(|b| b == text.as_bytes()), "not in the trash: {text}");
    }
    // What is made now, equal to what was removed, is a new file; so after one more restart.
    home[1].put("again", "removed and made anew");
    home.converge();
    home[1].kill();
    home[1].put("gone", "gone");
    home[1].start();
    let tree = home.converge();
    assert_eq!(tree.len(), 7, "{:?}", tree.keys());
    // In a root that is linked anew, everything is kept and spread.
    home[0].remove("gone");
    home.converge();
    home[1].say(&["unlink", "dev0"]);
    home[1].put("gone", "gone");
    let root = home[1].root.to_str().unwrap().to_owned();
    home[1].say(&["link", "dev0", &root]);
    assert_eq!(home.converge().len(), 7);
    assert!(home[0].conflict_copies().is_empty(), "{:?}", home[0].conflict_copies());
    home.status_is_true();
}

#[test]
fn what_an_open_writer_appends_is_not_lost() {
    let home = Home::start("writer", 2);
    home[0].put("log", "begin\n");
    home.converge();
    let path = home[1].path("log");
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(b"held open, ").unwrap();
    home[0].put("log", "a newer version from elsewhere\n");
    for n in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        file.write_all(format!("line {n}, ").as_bytes()).unwrap();
    }
    file.write_all(b"last words").unwrap();
    drop(file);
    home.converge();
    let all = home[0].all_contents();
    let last = all.iter().filter_map(|b| std::str::from_utf8(b).ok()).any(|s| s.contains("last words"));
    assert!(last, "what was appended is in no file: {:?}", home[0].tree().keys());
    let newer = all.iter().any(|b| b == b"a newer version from elsewhere\n");
    assert!(newer, "the newer version is in no file: {:?}", home[0].tree().keys());
}

#[test]
fn an_author_that_leaves_before_anyone_fetched() {
    let mut home = Home::start("author", 3);
    home[0].put("shared", "known to all");
    home.converge();
    // Announced while nobody can fetch: the others are away.
    home[1].kill();
    home[2].kill();
    home[0].put("only here", noise(3, 200_000));
    home[0].put("shared", "newer, and only here");
    home[0].wait();
    home[0].kill();
    home[1].start();
    home[2].start();
    home[1].put("other", "life goes on");
    home[2].gets("other", "life goes on");
    assert!(!home[1].in_sync(Duration::from_millis(500)), "in sync without a content that is known of");
    assert_ne!(home[1].state_word(), "in sync");
    // An edit of the same path never waits for the content that nobody has.
    home[1].put("shared", "edited by another meanwhile");
    home[2].gets("shared", "edited by another meanwhile");
    home[0].start();
    home.converge();
    assert_eq!(home[2].get("only here").unwrap(), noise(3, 200_000));
    let all = home[2].all_contents();
    for text in ["newer, and only here", "edited by another meanwhile"] {
        assert!(all.iter().any(|b| b == text.as_bytes()), "lost: {text}");
    }
}
