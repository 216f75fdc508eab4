//! Edits on both sides while devices are apart.

use dartsync_tests::process::{Home, Thing, noise};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Two running devices that hold `setup`, then the second one away.
fn parted(name: &str, setup: impl FnOnce(&Home)) -> Home {
    let mut home = Home::start(name, 3);
    setup(&home);
    home.converge();
    home[2].kill();
    home
}

/// The second side comes back.
fn reunite(home: &mut Home) -> dartsync_tests::process::Tree {
    let here: Vec<_> = home.devices[..2].iter().collect();
    home.converge_of(&here);
    home[2].start();
    home.converge()
}

#[test]
fn the_later_edit_wins_and_the_other_is_kept_once() {
    let mut home = parted("conflict", |home| {
        home[0].put("doc.txt", "base");
        home[0].put("late", "base");
        home[0].put(&*"x".repeat(250), "base");
    });
    let long = "x".repeat(250);
    home[0].put_aged("doc.txt", "of dev0", 50);
    home[2].put_aged("doc.txt", "later, of dev2", 10);
    home[0].put_aged("late", "later, of dev0", 10);
    home[2].put_aged("late", "of dev2", 50);
    home[0].put_aged(&long, "of dev0", 50);
    home[2].put_aged(&long, "later, of dev2", 10);
    let tree = reunite(&mut home);
    for device in &home.devices {
        assert_eq!(device.get("doc.txt").unwrap(), b"later, of dev2");
        assert_eq!(device.get("late").unwrap(), b"later, of dev0");
        assert_eq!(device.get(&long).unwrap(), b"later, of dev2");
    }
    let copies = home[1].conflict_copies();
    assert_eq!((copies.len(), tree.len()), (3, 6), "{copies:?}");
    let of =
        |begin: &str| copies.iter().find(|c| c.starts_with(begin)).unwrap_or_else(|| panic!("{copies:?}"));
    assert!(of("doc (conflict dev0 ").ends_with(").txt"));
    assert_eq!(home[2].get(of("doc (conflict dev0 ")).unwrap(), b"of dev0");
    assert_eq!(home[0].get(of("late (conflict dev2 ")).unwrap(), b"of dev2");
    assert!(of("xxx").len() <= 255);
    assert_eq!(home[1].folder("")["conflicts"], 3);
    let told: serde_json::Value = serde_json::from_str(&home[1].say(&["conflicts", "--json"])).unwrap();
    assert_eq!(told.as_array().unwrap().len(), 3, "{told}");
    // A removed copy stays removed, and the status counts right again.
    home[2].remove(of("doc (conflict dev0 "));
    home.converge();
    assert_eq!(home[0].folder("")["conflicts"], 2);
}

#[test]
fn an_edit_beats_a_removal() {
    let mut home = parted("edit-removal", |home| {
        for name in ["here", "there", "both"] {
            home[0].put(name, format!("base of {name}"));
        }
    });
    home[0].remove("here");
    home[2].put("here", "edited there");
    home[0].put("there", "edited here");
    home[2].remove("there");
    home[0].remove("both");
    home[2].remove("both");
    let tree = reunite(&mut home);
    assert_eq!(home[0].get("here").unwrap(), b"edited there");
    assert_eq!(home[2].get("there").unwrap(), b"edited here");
    assert_eq!(tree.len(), 2, "{tree:?}");
}

#[test]
fn the_same_on_both_sides_is_no_conflict() {
    let mut home = parted("same", |home| home[0].put("known", "base"));
    let when = SystemTime::now() - Duration::from_secs(5);
    for i in [0, 2] {
        home[i].put("known", "the same edit");
        home[i].put("new", noise(7, 300_000));
        home[i].put("dir/sub/file", "the same");
        home[i].put(format!("dir/of dev{i}"), "one each");
    }
    home[0].set_mtime("known", when);
    let tree = reunite(&mut home);
    assert!(home[0].conflict_copies().is_empty(), "{:?}", home[0].conflict_copies());
    assert_eq!(tree.len(), 7, "{tree:?}");
}

#[test]
fn a_directory_beats_a_file() {
    let mut home = parted("dir-file", |_| {});
    home[0].put("a", "a file");
    home[2].put("a/inside", "in a directory");
    home[0].put("b/inside", "in a directory");
    home[2].put("b", "a file");
    let tree = reunite(&mut home);
    for name in ["a", "b"] {
        assert!(matches!(tree.get(Path::new(name)), Some(Thing::Directory(_))), "{tree:?}");
        assert_eq!(home[1].get(format!("{name}/inside")).unwrap(), b"in a directory");
    }
    let copies = home[1].conflict_copies();
    assert_eq!(copies.len(), 2, "{copies:?}");
    for copy in copies {
        assert_eq!(home[1].get(&copy).unwrap(), b"a file");
    }
}

#[test]
fn a_file_added_in_a_removed_directory_keeps_it() {
    let mut home = parted("revive", |home| {
        home[0].put("d/old", "1");
        home[0].put("d/e/older", "2");
    });
    home[0].remove_all("d");
    home[2].put("d/e/new", "added meanwhile");
    let tree = reunite(&mut home);
    let names: Vec<_> = tree.keys().filter_map(|p| p.to_str()).collect();
    assert_eq!(names, ["d", "d/e", "d/e/new"]);
}

#[test]
fn a_chmod_and_an_edit_both_stay() {
    let mut home = parted("chmod-edit", |home| home[0].put("f", "base"));
    home[0].chmod("f", 0o600);
    home[2].put("f", "edited");
    let tree = reunite(&mut home);
    assert!(matches!(tree.get(Path::new("f")), Some(Thing::File(0o600, ..))), "{tree:?}");
    assert_eq!(home[0].get("f").unwrap(), b"edited");
    assert!(home[0].conflict_copies().is_empty());
}

#[test]
fn a_rename_here_and_an_edit_there() {
    let mut home = parted("rename-edit", |home| home[0].put("f", "base"));
    home[0].rename("f", "g");
    home[2].put("f", "edited");
    reunite(&mut home);
    assert_eq!(home[1].get("f").unwrap(), b"edited");
    assert_eq!(home[1].get("g").unwrap(), b"base");
}

#[test]
fn much_on_both_sides() {
    let mut home = parted("much", |home| {
        for n in 0..300 {
            home[0].put(format!("d{}/f{n}", n % 10), format!("{n}"));
        }
    });
    for n in 0..60 {
        home[0].remove(format!("d{}/f{n}", n % 10));
    }
    for n in 60..120 {
        home[1].put(format!("d{}/f{n}", n % 10), format!("{n} edited"));
    }
    for n in 120..180 {
        home[2].put(format!("d{}/f{n}", n % 10), format!("{n} edited while away"));
    }
    for n in 180..240 {
        home[2].remove(format!("d{}/f{n}", n % 10));
    }
    home[2].rename("d9", "d9 elsewhere");
    reunite(&mut home);
    assert!(home[0].conflict_copies().is_empty(), "{:?}", home[0].conflict_copies());
    let text = |name: String| home[0].get(name).map(|b| String::from_utf8(b).unwrap());
    for n in 0..300 {
        let want = match n {
            0..60 | 180..240 => None,
            60..120 => Some(format!("{n} edited")),
            120..180 => Some(format!("{n} edited while away")),
            _ => Some(format!("{n}")),
        };
        if n % 10 != 9 {
            assert_eq!(text(format!("d{}/f{n}", n % 10)), want, "f{n}");
            continue;
        }
        // The renamed directory took along what stood in it then; an edit of the old name stays there.
        let moved = match n {
            0..120 => Some(format!("{n}")),
            _ => want.clone(),
        };
        let stays = want.filter(|_| (60..120).contains(&n));
        assert_eq!(text(format!("d9 elsewhere/f{n}")), moved, "f{n}");
        assert_eq!(text(format!("d9/f{n}")), stays, "f{n}");
    }
    home.status_is_true();
}
