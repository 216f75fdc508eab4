//! Linking, opening, unlinking.

use super::*;

#[test]
fn a_link_is_found_again_and_belongs_to_one_folder() {
    let mut place = Place::new("link");
    let marker = place.root.marker();
    assert_eq!(marker.folder, 7);
    place.restart();
    assert_eq!(place.root.marker(), marker);
    let (root, linked) = Root::link(&place.dir, 7).unwrap();
    assert_eq!((linked, root.marker().folder), (Linked::Again, 7));
    assert_ne!(root.marker().nonce, marker.nonce);
    assert_eq!((root.verify(), place.root.verify()), (Ok(()), Err(Cause::RootGone)));
    assert_eq!(Root::open(&place.dir).unwrap().marker(), root.marker());
    assert!(matches!(Root::link(&place.dir, 8), Err(DiskError::OtherFolder(7))));
    let probe = root.probe();
    assert!(probe.modes && probe.hard_links && !probe.folds_case && probe.mtime_grain <= 1_000_000_000);
    assert!(place.tmp().is_empty());
    assert_eq!(fs::metadata(place.at(".dartsync")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn one_program_at_a_time_works_on_a_root() {
    let (mut place, elsewhere) = (Place::new("claim"), Place::new("elsewhere"));
    // Another program's handle: locks are of handles, not of processes.
    let other = fs::File::open(place.at(".dartsync")).unwrap();
    let lock = || rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    assert!(lock().is_err());
    // This process has it as long as any of its roots lives.
    let second = Root::open(&place.dir).unwrap();
    let (third, _) = Root::link(&place.dir, 7).unwrap();
    let first = std::mem::replace(&mut place.root, Root::open(&elsewhere.dir).unwrap());
    drop((first, third));
    assert!(lock().is_err());
    drop(second);
    lock().unwrap();
    assert!(matches!(Root::open(&place.dir), Err(DiskError::InUse)));
    assert!(matches!(Root::link(&place.dir, 7), Err(DiskError::InUse)));
    rustix::fs::flock(&other, rustix::fs::FlockOperation::Unlock).unwrap();
    Root::open(&place.dir).unwrap();
}

use std::os::unix::fs::PermissionsExt;

#[test]
fn roots_do_not_nest_and_must_be_directories() {
    let place = Place::new("nest");
    fs::create_dir_all(place.at("a/b")).unwrap();
    match Root::link(&place.at("a/b"), 8) {
        Err(DiskError::Nested(outer)) => assert_eq!(outer, fs::canonicalize(&place.dir).unwrap()),
        other => panic!("{:?}", other.map(|_| ())),
    }
    place.put("f", b"");
    assert!(matches!(Root::link(&place.at("f"), 8), Err(DiskError::Open(_))));
    assert!(matches!(Root::link(&place.at("none"), 8), Err(DiskError::Open(_))));
    let bare = temp("bare");
    assert!(matches!(Root::open(&bare), Err(DiskError::NoMarker)));
    assert_eq!(fs::read_dir(&bare).unwrap().count(), 0, "nothing is left behind");
    fs::create_dir_all(bare.join("own")).unwrap();
    std::os::unix::fs::symlink(bare.join("own"), bare.join(".dartsync")).unwrap();
    assert!(matches!(Root::link(&bare, 8), Err(DiskError::Failed(_))));
    assert_eq!(fs::read_dir(bare.join("own")).unwrap().count(), 0, "no symlink is followed");
    fs::remove_dir_all(&bare).unwrap();
}

#[test]
fn no_root_is_linked_around_another() {
    let place = Place::new("around");
    let outer = temp("outer");
    fs::create_dir_all(outer.join("a/b")).unwrap();
    let inner = outer.join("a/b/inner");
    let (root, _) = {
        fs::create_dir(&inner).unwrap();
        Root::link(&inner, 8).unwrap()
    };
    // A root that is reached by a symlink is not within.
    std::os::unix::fs::symlink(&place.dir, outer.join("link")).unwrap();
    for around in [&outer, &outer.join("a")] {
        match check_within(around, &AtomicBool::new(false)) {
            Err(DiskError::Holds(found)) => assert_eq!(found, fs::canonicalize(&inner).unwrap()),
            other => panic!("{other:?}"),
        }
        assert!(check_within(around, &AtomicBool::new(true)).is_ok(), "who stops does not care");
        assert!(!around.join(".dartsync").exists(), "nothing is left behind");
    }
    // What was linked once does no harm.
    root.unlink().unwrap();
    check_within(&outer, &AtomicBool::new(false)).unwrap();
    Root::link(&outer, 9).unwrap();
    fs::remove_dir_all(&outer).unwrap();
}

#[test]
fn a_marker_that_is_reached_through_a_link_is_none() {
    let (place, aside) = (Place::new("led-away"), temp("led-to"));
    // Its stat is known once a reading of it is no more racy.
    while place.root.verify().is_ok() && place.root.read.lock().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let own = place.dir.join(".dartsync");
    fs::rename(&own, aside.join("own")).unwrap();
    std::os::unix::fs::symlink(aside.join("own"), &own).unwrap();
    assert_eq!(place.root.verify(), Err(Cause::RootGone));
    fs::remove_file(&own).unwrap();
    fs::rename(aside.join("own"), &own).unwrap();
    assert_eq!(place.root.verify(), Ok(()));
    fs::remove_dir_all(aside).unwrap();
}

/// The number of open files is the whole process's: this test runs itself once more, alone.
#[test]
fn a_root_is_not_gone_where_nothing_more_can_be_opened() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const ALONE: &str = "DARTSYNC_TEST_FEW_FILES";
    if std::env::var_os(ALONE).is_none() {
        let name = std::thread::current().name().expect("a test's thread is named by it").to_owned();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", &name]).env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let place = Place::new("few-files");
    let gone = Place::new("few-files-gone");
    fs::remove_file(gone.at(".dartsync/folder")).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) }).unwrap();
    for _ in 0..2 {
        let all: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        assert!(!all.is_empty());
        let few = Err(Cause::Os(nix::errno::Errno::EMFILE as i32));
        assert_eq!((place.root.verify(), gone.root.verify()), (few, few));
        drop(all);
        assert_eq!((place.root.verify(), gone.root.verify()), (Ok(()), Err(Cause::RootGone)));
        // Its stat is known once a reading of it is no more racy.
        while place.root.verify().is_ok() && place.root.read.lock().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn unlinking_takes_the_marker_and_leaves_what_is_a_users() {
    let place = Place::new("unlink");
    let old = place.put("a", b"old");
    swapped(&place.install(b"a", 1, Some(&old), b"old", b"new"));
    place.part(5, b"half");
    place.ready(b"b", 2, b"ready");
    let trashed = place.root.unlink().unwrap();
    assert_eq!(trashed.len(), 1);
    assert!(!place.at(".dartsync/folder").exists() && !place.at(".dartsync/tmp").exists());
    assert_eq!(place.root.verify(), Err(Cause::RootGone));
    assert!(matches!(Root::open(&place.dir), Err(DiskError::NoMarker)));
    let (root, linked) = Root::link(&place.dir, 9).unwrap();
    assert_eq!(linked, Linked::New);
    let mut items = 0;
    root.trash_list(&mut |_| items += 1).unwrap();
    assert_eq!((items, place.read("a")), (2, b"new".to_vec()));
}
