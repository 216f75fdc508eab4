//! Several folders, commands while the device runs, and whether it says the truth.

use dartsync::config::State;
use dartsync_tests::process::{Device, Home, difference, noise, tree, wait_for, wait_within};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn dir(home: &Home, name: &str) -> PathBuf {
    let dir = home.dir.path().join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn equal(a: &Path, b: &Path) {
    let mut why = String::new();
    wait_for(&format!("{} and {} to be equal", a.display(), b.display()), || {
        let (Ok(x), Ok(y)) = (tree(a), tree(b)) else { return None };
        why = difference(&x, &y).unwrap_or_default();
        why.is_empty().then_some(())
    });
}

#[test]
fn two_folders_with_different_devices() {
    let mut home = Home::start("two", 3);
    let (a, b) = (dir(&home, "photos of 0"), dir(&home, "photos of 2"));
    fs::write(a.join("cat"), "miau").unwrap();
    home[0].say(&["add", a.to_str().unwrap(), "--label", "photos"]);
    home[2].say(&["link", "photos", b.to_str().unwrap()]);
    wait_within(Duration::from_secs(20), "the cat", || b.join("cat").exists().then_some(()));
    fs::write(b.join("dog"), noise(4, 200_000)).unwrap();
    equal(&a, &b);
    home[1].put("first folder", "goes on");
    home.converge();
    assert!(!home[1].root.join("cat").exists() && !home[2].root.join("cat").exists());
    let folders: Value = serde_json::from_str(&home[1].say(&["folders", "--json"])).unwrap();
    let photos = folders
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["label"] == "photos")
        .expect("known, though not linked");
    assert!(photos["path"].is_null(), "{photos}");
    // It survives a restart of everybody.
    home.tracker.kill();
    for i in 0..3 {
        home[i].kill();
    }
    home.tracker.start();
    fs::write(a.join("bird"), "tweet").unwrap();
    for i in 0..3 {
        home[i].start();
    }
    equal(&a, &b);
    assert!(b.join("bird").exists());
    // Unlinked: files stay, nothing comes any more. Linked again: merged, nothing lost.
    home[2].say(&["unlink", "photos"]);
    fs::write(a.join("fish"), "blub").unwrap();
    home[0].wait();
    std::thread::sleep(Duration::from_millis(500));
    assert!(b.join("cat").exists() && !b.join("fish").exists());
    fs::write(b.join("horse"), "neigh").unwrap();
    home[2].say(&["link", "photos", b.to_str().unwrap()]);
    equal(&a, &b);
    assert!(a.join("horse").exists() && b.join("fish").exists());
    assert!(
        !fs::read_dir(&a).unwrap().any(|e| e.unwrap().file_name().to_string_lossy().contains("conflict"))
    );
}

#[test]
fn the_same_label_added_twice_is_one_folder() {
    let home = Home::start("labels", 2);
    let (a, b) = (dir(&home, "a"), dir(&home, "b"));
    fs::write(a.join("of 0"), "0").unwrap();
    fs::write(b.join("of 1"), "1").unwrap();
    home[0].say(&["add", a.to_str().unwrap(), "--label", "notes"]);
    home[1].say(&["add", b.to_str().unwrap(), "--label", "notes"]);
    equal(&a, &b);
    assert!(a.join("of 1").exists());
    home[0].say(&["forget", "notes"]);
    wait_for("the folder to be forgotten", || {
        let folders: Value = serde_json::from_str(&home[1].say(&["folders", "--json"])).unwrap();
        (!folders.to_string().contains("notes")).then_some(())
    });
    assert!(a.join("of 1").exists() && b.join("of 0").exists(), "files stay");
}

#[test]
fn commands_work_while_the_device_is_down() {
    let mut home = Home::start("down", 2);
    home[0].put("f", "1");
    home.converge();
    home[1].stop();
    let code = home[1].invite();
    let (b, a) = (dir(&home, "made while down"), dir(&home, "the other's"));
    fs::write(b.join("x"), "y").unwrap();
    home[1].say(&["add", b.to_str().unwrap(), "--label", "later"]);
    assert!(home[1].say(&["status"]).contains("dev1"));
    assert!(home[1].say(&["devices"]).contains("dev0"));
    assert!(!home[1].in_sync(Duration::from_secs(5)), "wait fails at once when the device is down");
    home[0].say(&["link", "later", a.to_str().unwrap()]);
    home[1].start();
    equal(&a, &b);
    let other = dartsync_tests::process::Device::new(home.dir.path(), "coded");
    other.join(&code);
    assert!(home[0].say(&["devices"]).contains("coded"));
}

#[test]
fn leaving_keeps_the_files() {
    let mut home = Home::start("leave", 2);
    home[0].put("f", "stays");
    home.converge();
    home[1].say(&["leave"]);
    wait_for("the device to be gone", || (!home[0].say(&["devices"]).contains("dev1")).then_some(()));
    home[0].put("g", "not for who left");
    home[0].wait();
    std::thread::sleep(Duration::from_millis(300));
    assert!(home[1].has("f") && !home[1].has("g"));
    home[1].kill();
}

#[test]
fn paused_is_paused_over_a_restart() {
    let mut home = Home::start("pause", 2);
    home[0].put("f", "1");
    home.converge();
    home[1].say(&["pause"]);
    home[0].put("f", "2");
    home[1].put("mine", "made while paused");
    home[0].wait();
    home[1].kill();
    home[1].start_unready();
    wait_for("the state", || (home[1].state_word() == "paused").then_some(()));
    assert_eq!(home[1].get("f").unwrap(), b"1");
    assert!(!home[0].has("mine") && !home[1].in_sync(Duration::ZERO));
    home[1].say(&["resume"]);
    home.converge();
    assert_eq!(
        (home[1].get("f").unwrap(), home[0].get("mine").unwrap()),
        (b"2".to_vec(), b"made while paused".to_vec())
    );
}

#[test]
fn what_a_command_changes_while_a_device_starts_is_known_to_it() {
    let mut home = Home::start("starting", 2);
    home[1].say(&["pause"]);
    home[1].kill();
    let state = State::locate(Some(home[1].state.clone())).unwrap();
    let lock = wait_for("the state", || state.lock().unwrap());
    home[1].start_unready();
    std::thread::sleep(Duration::from_millis(300));
    let mut config = state.config().unwrap();
    config.folders.iter_mut().for_each(|f| f.paused = false);
    state.set_config(&config).unwrap();
    drop(lock);
    home[0].put("f", "1");
    home.converge();
    assert_eq!(home[1].get("f").unwrap(), b"1");
}

#[test]
fn one_root_has_one_program() {
    let mut home = Home::start("one root", 2);
    home[1].put("f", "1");
    home.converge();
    // A second state on the same root, while the first one's program runs: told, and the code is still good.
    let mut second = Device::new(home.dir.path(), "second");
    second.root = home[1].root.clone();
    let code = home[0].invite();
    let out = second.try_join(&code);
    let why = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && why.contains("another DartSync"), "{why}");
    assert!(why.contains(second.root.to_str().unwrap()), "{why}");
    // One after the other: the one that comes second does nothing, and says why.
    home[1].stop();
    second.join(&code);
    second.start();
    home[1].start_unready();
    home[1].names_trouble(".", "another dartsync");
    home[0].put("f", noise(5, 3_000_000));
    second.gets("f", noise(5, 3_000_000));
    second.put("g", "2");
    home[0].gets("g", "2");
    second.wait();
    assert!(!home[1].in_sync(Duration::ZERO));
    assert!(home[0].conflict_copies().is_empty());
    // What the second one has linked is not the first one's any more, also when nobody works on it.
    second.stop();
    home[1].names_trouble(".", "linked anew by another dartsync");
    home[0].put("h", "3");
    home[0].wait();
    assert!(!home[1].has("h"));
    // Unless that links it again: then it is the second one that waits.
    let label = home[1].folder("")["label"].as_str().unwrap().to_owned();
    home[1].say(&["unlink", &label]);
    home[1].say(&["link", &label, second.root.to_str().unwrap()]);
    home.converge();
    second.start_unready();
    second.names_trouble(".", "another dartsync");
}

#[test]
fn another_root_at_the_same_place_is_not_taken_for_ours() {
    let mut home = Home::start("swapped", 3);
    home[0].put("x", "v1");
    home.converge();
    home[1].stop();
    // As an older version has left it: it takes up what its root is marked with.
    home[0].stop();
    let state = State::locate(Some(home[0].state.clone())).unwrap();
    let mut config = state.config().unwrap();
    let nonce = config.folders[0].nonce.take();
    assert!(nonce.is_some());
    state.set_config(&config).unwrap();
    home[0].start();
    assert_eq!(state.config().unwrap().folders[0].nonce, nonce);
    home[0].put("x", "v2");
    home[0].put("y", "new");
    home.converge();
    let (ours, other, away) =
        (home[0].root.clone(), home[1].root.clone(), home.dir.path().join("out of the way"));
    fs::rename(&ours, &away).unwrap();
    fs::rename(&other, &ours).unwrap();
    home[0].names_trouble(".", "another root");
    home[0].stop();
    home[0].start_unready();
    home[0].names_trouble(".", "another root");
    // Nor is it taken when it is named.
    let label = home[0].folder("")["label"].as_str().unwrap().to_owned();
    let out = home[0].try_say(&["link", &label, ours.to_str().unwrap()]);
    assert!(!out.status.success() && String::from_utf8_lossy(&out.stderr).contains("another root"));
    assert_eq!((home[2].get("x").unwrap(), home[2].get("y").unwrap()), (b"v2".to_vec(), b"new".to_vec()));
    assert!(home[0].get("x").unwrap() == b"v1" && !home[0].has("y"), "nothing was done to it");
    fs::rename(&ours, &other).unwrap();
    fs::rename(&away, &ours).unwrap();
    home[1].start();
    home.converge();
    assert_eq!((home[1].get("x").unwrap(), home[1].get("y").unwrap()), (b"v2".to_vec(), b"new".to_vec()));
}

#[test]
fn the_trash_gives_back() {
    let home = Home::start("trash", 2);
    home[0].put("dir/doc", "first");
    home.converge();
    home[0].put("dir/doc", "second");
    home.converge();
    home[0].remove_all("dir");
    home.converge();
    let list = home[1].say(&["trash", "list"]);
    assert!(list.contains("dir/doc"), "{list}");
    home[1].say(&["trash", "restore", "dir/doc"]);
    home.converge();
    assert_eq!(home[0].get("dir/doc").unwrap(), b"second");
    // Restored over what stands there: that goes to the trash in turn.
    home[0].put("dir/doc", "third");
    home.converge();
    home[1].say(&["trash", "restore", "dir/doc"]);
    home.converge();
    assert!([b"first".to_vec(), b"second".to_vec()].contains(&home[0].get("dir/doc").unwrap()));
    let everything = [home[0].all_contents(), home[1].all_contents()].concat();
    assert!(everything.iter().any(|b| b == b"third"), "what was displaced is lost");
    home[1].say(&["trash", "empty"]);
    assert_eq!(home[1].trash(), Vec::<Vec<u8>>::new());
}

#[test]
fn status_never_claims_too_much() {
    let mut home = Home::start("honest", 2);
    home[0].put("one", "1");
    home.converge();
    home[1].kill();
    home[0].put("two", noise(2, 100_000));
    assert!(home[0].in_sync(Duration::from_secs(20)), "its own edit is announced");
    let lag = |home: &Home| home[0].status()["devices"][0].clone();
    wait_for("the other to be seen offline and behind", || {
        let other = lag(&home);
        (other["online"] == false && other["lag"].as_u64() > Some(0)).then_some(())
    });
    home[0].kill();
    home[1].start();
    wait_for("a connection", || (home[1].status()["tracker"]["connected"] == true).then_some(()));
    wait_for("the lack to be known", || (home[1].folder("")["to_fetch"].as_u64() > Some(0)).then_some(()));
    assert_ne!(home[1].state_word(), "in sync");
    assert!(!home[1].in_sync(Duration::from_millis(200)));
    home[0].start();
    home.converge();
    home.tracker.kill();
    home[0].put("three", "3");
    wait_for("the edit to wait", || (home[0].folder("")["to_announce"].as_u64() > Some(0)).then_some(()));
    assert_eq!(home[0].state_word(), "offline");
    assert!(!home[0].in_sync(Duration::from_millis(200)));
    home.tracker.start();
    home.converge();
    // While much is under way: who says in sync after the author did has all of it.
    for round in 0..3u64 {
        for n in 0..150 {
            home[0].put(format!("r{round}/{n}"), noise(n, 2000));
        }
        home[0].put(format!("r{round}/large"), noise(round, 12 << 20));
        home[0].wait();
        let mut asked = 0;
        while home[1].state_word() != "in sync" {
            asked += 1;
        }
        let count = fs::read_dir(home[1].path(format!("r{round}"))).map_or(0, |all| all.count());
        assert_eq!(count, 151, "in sync after {asked} questions without everything");
    }
    home.status_is_true();
    let out = home[0].try_say(&["wait", "--all", "--timeout", "20"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(lag(&home)["lag"], 0);
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let home = Home::found("usage");
    let device = dartsync_tests::process::Device::new(home.dir.path(), "nobody");
    for wrong in [&["nonsense"][..], &["wait", "--timeout", "soon"], &["join"], &[]] {
        assert_eq!(device.try_say(wrong).status.code(), Some(2), "{wrong:?}");
    }
    for failing in [&["status"][..], &["invite"], &["wait"], &["unlink", "x"]] {
        let out = device.try_say(failing);
        assert_eq!(out.status.code(), Some(1), "{failing:?}: {out:?}");
        assert!(!out.stderr.is_empty() || !out.stdout.is_empty());
    }
    assert_eq!(device.try_say(&["--version"]).status.code(), Some(0));
}
