//! What users do between the decision and the act.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn a_change_between_expect_and_swap_is_seen_and_nothing_is_touched() {
    let place = Place::new("raced");
    let old = place.put("a", b"old");
    place.ready(b"a", 1, b"new");
    let plan = intent(file(b"old"), file(b"new"));
    place.put("a", b"edit");
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, Some(&old), &plan, Some(p(b"c")))), Cause::Raced);
    fs::remove_file(place.at("a")).unwrap();
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, Some(&old), &plan, None)), Cause::Raced);
    place.put("b", b"appeared");
    place.ready(b"b", 2, b"new");
    let plan = intent(NOTHING, file(b"new"));
    assert_eq!(failed(&place.root.swap(p(b"b"), 2, None, &plan, None)), Cause::Raced);
    assert_eq!(place.read("b"), b"appeared");
    assert_eq!(place.tmp(), ["1.swap", "2.swap"]);
    assert!(!place.at("c").exists());
    place.trash_is(&[]);
}

#[test]
fn a_special_file_is_never_replaced() {
    let place = Place::new("special");
    let fifo = place.at("f");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(place.root.stat(p(b"f")), Err(Cause::Special));
    place.ready(b"f", 1, b"new");
    let plan = intent(NOTHING, file(b"new"));
    assert_eq!(failed(&place.root.swap(p(b"f"), 1, None, &plan, None)), Cause::Special);
    assert_eq!(place.root.open_read(p(b"f")).unwrap_err(), Cause::Special);
    assert_eq!(failed(&place.root.recover(p(b"f"), 1)), Cause::Special);
}

/// An editor that saves by rename and in place as fast as it can, against installs of the same path. Whatever lies in
/// the trash is what was said of it, or its late change was told; what is odd was kept.
#[test]
fn no_save_is_lost_however_it_falls() {
    let place = Place::new("editor");
    place.put("a", b"0");
    let stop = AtomicBool::new(false);
    let (mut trashed, mut told) = (Vec::new(), Vec::new());
    std::thread::scope(|s| {
        s.spawn(|| edit(&place, &stop));
        let _stop = Stop(&stop);
        let mut copies = 0;
        for i in 0..40u64 {
            let Ok(Some(now)) = place.root.stat(p(b"a")) else { continue };
            let bytes = place.read("a");
            if place.root.stat(p(b"a")) != Ok(Some(now)) {
                continue;
            }
            let act = place.install(b"a", 1, Some(&now), &bytes, format!("install {i}").as_bytes());
            match act.outcome {
                Outcome::Swapped { odd: Some((kind, ..)), .. } => {
                    assert_eq!(kind, Kind::File);
                    copies += 1;
                    swapped(&place.root.keep(p(format!("copy {copies}").as_bytes()), 1));
                }
                Outcome::Swapped { .. } => trashed.extend(act.trashed),
                Outcome::Failed(Cause::Raced | Cause::OpenWriter) => {
                    assert_eq!(place.root.discard(p(b"a"), 1).outcome, Outcome::Done);
                }
                other => panic!("{other:?}"),
            }
            told.extend(place.root.poll_displaced());
        }
    });
    while place.root.probe().leases && place.root.displaced() > 0 {
        told.extend(place.root.poll_displaced());
    }
    for item in trashed {
        let there = id(&read_all(&place.root.trash_open(&item.at).unwrap()));
        let is_told = told.iter().any(|r| r.at == item.at && r.content == there);
        assert!(item.content == Some(there) || is_told, "{item:?} holds {there:?}");
    }
}

fn edit(place: &Place, stop: &AtomicBool) {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        fs::write(place.at("a~"), format!("edit {count}")).unwrap();
        fs::rename(place.at("a~"), place.at("a")).unwrap();
        if count % 7 == 0 {
            fs::write(place.at("a"), format!("edit in place {count}")).unwrap();
        }
    }
}

#[test]
fn what_is_odd_can_be_kept_under_a_name_of_its_own() {
    let place = Place::new("keep");
    // As a swap leaves it whose displaced file was not the expected one.
    fs::write(place.at(".dartsync/tmp/5.swap"), b"last words").unwrap();
    place.put("taken", b"by someone");
    assert_eq!(failed(&place.root.keep(p(b"taken"), 5)), Cause::Os(17));
    let stat = swapped(&place.root.keep(p(b"copy"), 5));
    assert_eq!((stat, place.read("copy")), (place.stat("copy"), b"last words".to_vec()));
    assert_eq!(failed(&place.root.keep(p(b"copy 2"), 5)), Cause::Os(2));
    fs::write(place.at(".dartsync/tmp/5.swap"), b"last words").unwrap();
    let again = place.root.keep(p(b"copy"), 5);
    assert_eq!((swapped(&again), again.trashed.len()), (place.stat("copy"), 1));
}

/// As a swap at `a` stands right after its exchange.
fn exchanged(place: &Place, expect: Stat) -> swap::Job<'_> {
    let (root, path) = (&place.root, p(b"a"));
    let at = root.place(path).unwrap();
    let new = (stat::handle_at(&at.dir, at.name).unwrap(), place.stat("a"));
    let intent = intent(file(b"old"), file(b"new"));
    let (tmp, name) = (root.tmp().unwrap(), "1.swap".into());
    swap::Job { root, place: at, path, tmp: tmp.into(), n: 1, name, expect: Some(expect), intent, new }
}

#[test]
fn what_goes_wrong_after_the_exchange_makes_no_swap_unmade() {
    let place = Place::new("settle");
    place.put("other", b"old");
    let swap = place.at(".dartsync/tmp/1.swap");
    place.put("a", b"new");
    fs::write(&swap, b"last words").unwrap();
    fs::set_permissions(&swap, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let settle = |meanwhile: &dyn Fn()| {
        // No longer what was expected.
        let old = place.stat("other");
        let job = exchanged(&place, old);
        meanwhile();
        let held = lease::Held::take(&job.place.dir, b"other", &old).unwrap();
        let mut trashed = Vec::new();
        let odd = job.settle(&old, held, None, &mut trashed);
        assert!(trashed.is_empty());
        odd.expect("it is made").expect("what it displaced is not in the trash")
    };
    permissions::as_user(&place, || {
        // Neither to be read nor to be moved to the trash.
        displaced::NO_TRASH.set(true);
        assert_eq!(settle(&|| {}).2.size, 10);
    });
    fs::set_permissions(&swap, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    swapped(&place.root.keep(p(b"copy"), 1));
    assert_eq!(place.read("copy"), b"last words");
    // Something special, that cannot go back because a user has replaced what was installed.
    nix::unistd::mkfifo(&swap, nix::sys::stat::Mode::S_IRWXU).unwrap();
    settle(&|| {
        fs::write(place.at("a~"), b"newer").unwrap();
        fs::rename(place.at("a~"), place.at("a")).unwrap();
    });
    assert_eq!(place.read("a"), b"newer");
}

#[test]
fn a_root_that_is_gone_says_so_and_never_that_files_are() {
    let place = Place::new("gone");
    let stat = place.put("a", b"x");
    place.ready(b"a", 1, b"new");
    let plan = intent(file(b"x"), file(b"new"));
    let marker = fs::read(place.at(".dartsync/folder")).unwrap();
    fs::remove_file(place.at(".dartsync/folder")).unwrap();
    assert_eq!(place.root.stat(p(b"nothing")), Err(Cause::RootGone));
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, Some(&stat), &plan, None)), Cause::RootGone);
    assert_eq!(failed(&place.root.remove(p(b"a"), 1, &stat, None)), Cause::RootGone);
    fs::write(place.at(".dartsync/folder"), &marker).unwrap();
    place.root.verify().unwrap();
    let aside = place.dir.with_extension("aside");
    fs::rename(&place.dir, &aside).unwrap();
    assert_eq!(place.root.stat(p(b"nothing")), Err(Cause::RootGone));
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, Some(&stat), &plan, None)), Cause::RootGone);
    // Another directory in its place, even with a copy of the marker, is not the root.
    fs::create_dir_all(place.at(".dartsync")).unwrap();
    fs::write(place.at(".dartsync/folder"), &marker).unwrap();
    assert_eq!(place.root.verify(), Err(Cause::RootGone));
    fs::remove_dir_all(&place.dir).unwrap();
    fs::rename(&aside, &place.dir).unwrap();
    swapped(&place.root.swap(p(b"a"), 1, Some(&stat), &plan, None));
    fs::remove_dir_all(&place.dir).unwrap();
    assert_eq!(place.root.stat(p(b"a")), Err(Cause::RootGone));
}

#[test]
fn a_directory_that_became_a_symlink_is_not_followed() {
    let place = Place::new("parents");
    let outside = temp("outside");
    fs::write(outside.join("a"), b"not ours").unwrap();
    symlink(&outside, place.at("d")).unwrap();
    symlink(outside.join("a"), place.at("l")).unwrap();
    assert_eq!(place.root.stat(p(b"d/a")), Ok(None));
    fs::create_dir_all(place.at("e/f")).unwrap();
    fs::write(place.at("e/f/a"), b"elsewhere").unwrap();
    symlink("e", place.at("s")).unwrap();
    assert_eq!(place.root.stat(p(b"s/f/a")), Ok(None), "nor within the folder");
    let stat = stat_of(&rustix::fs::lstat(outside.join("a")).unwrap()).unwrap();
    place.ready(b"d/a", 1, b"new");
    let plan = intent(file(b"not ours"), file(b"new"));
    assert_eq!(failed(&place.root.swap(p(b"d/a"), 1, Some(&stat), &plan, None)), Cause::NoParent);
    assert_eq!(failed(&place.root.swap(p(b"d/b"), 1, None, &plan, None)), Cause::NoParent);
    assert_eq!(failed(&place.root.remove(p(b"d/a"), 1, &stat, None)), Cause::NoParent);
    assert_eq!(failed(&place.root.meta(p(b"d/a"), &stat, 0o777, 1)), Cause::NoParent);
    assert_eq!(failed(&place.root.meta(p(b"l"), &stat, 0o777, 1)), Cause::Raced);
    assert_eq!(failed(&place.root.keep(p(b"d/k"), 1)), Cause::NoParent);
    assert_eq!(place.root.make_take(2, &place.root, p(b"d/a"), &stat).unwrap_err(), Cause::NoParent);
    assert_eq!(place.root.open_read(p(b"d/a")).unwrap_err(), Cause::NoParent);
    assert_eq!(place.root.open_read(p(b"l")).unwrap_err(), Cause::Raced);
    assert_eq!(fs::read(outside.join("a")).unwrap(), b"not ours");
    assert_eq!(stat, stat_of(&rustix::fs::lstat(outside.join("a")).unwrap()).unwrap());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    fs::remove_dir_all(&outside).unwrap();
}

#[test]
fn our_own_directories_are_made_again_and_never_followed() {
    let place = Place::new("own");
    fs::remove_dir_all(place.at(".dartsync/tmp")).unwrap();
    fs::remove_dir_all(place.at(".dartsync/trash")).unwrap();
    let old = place.put("a", b"old");
    swapped(&place.install(b"a", 1, Some(&old), b"old", b"new"));
    place.trash_is(&[(b"a", b"old")]);
    let outside = temp("outside-own");
    fs::remove_dir_all(place.at(".dartsync/trash")).unwrap();
    symlink(&outside, place.at(".dartsync/trash")).unwrap();
    let old = place.stat("a");
    assert!(matches!(failed(&place.root.remove(p(b"a"), 1, &old, None)), Cause::Os(_)));
    assert_eq!(place.read("a"), b"new");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    fs::remove_dir_all(&outside).unwrap();
}
