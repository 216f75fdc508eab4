//! Directories without write permission. Run as root, the tests' threads take another user's rights.

use super::*;
use nix::unistd::{Uid, setfsuid};
use std::os::unix::fs::PermissionsExt;

/// An unprivileged user, when the tests run as root.
const NOBODY: u32 = 65534;

fn mode(path: &StdPath) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &StdPath, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs on a thread whose rights on files are those of a user who is not root.
pub(super) fn as_user(place: &Place, run: impl FnOnce() + Send) {
    if Uid::effective().is_root() {
        give(&place.dir);
    }
    std::thread::scope(|s| {
        s.spawn(|| {
            if Uid::effective().is_root() {
                setfsuid(Uid::from_raw(NOBODY));
                assert_eq!(setfsuid(Uid::from_raw(NOBODY)).as_raw(), NOBODY);
            }
            run();
        });
    });
}

fn give(path: &StdPath) {
    std::os::unix::fs::lchown(path, Some(NOBODY), None).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|e| give(&e.unwrap().path()));
    }
}

#[test]
fn a_directory_without_write_permission_is_written_to_and_keeps_its_mode() {
    let place = Place::new("readonly");
    fs::create_dir_all(place.at("d/e")).unwrap();
    place.put("d/old", b"old");
    place.put("d/e/deep", b"deep");
    chmod(&place.at("d/e"), 0o444);
    chmod(&place.at("d"), 0o555);
    as_user(&place, || {
        assert!(fs::write(place.at("d/probe"), b"").is_err(), "it is read-only for us");
        let old = place.stat("d/old");
        let act = place.install(b"d/old", 1, Some(&old), b"old", b"new");
        swapped(&act);
        swapped(&place.install(b"d/fresh", 2, None, b"", b"fresh"));
        let now = place.stat("d/old");
        assert_eq!(place.root.remove(p(b"d/old"), 1, &now, None).outcome, Outcome::Removed);
        let deep = place.stat("d/e/deep");
        assert_eq!(place.root.remove(p(b"d/e/deep"), 3, &deep, None).outcome, Outcome::Removed);
        let e = place.stat("d/e");
        assert_eq!(e.mode, 0o444);
        assert_eq!(place.root.remove(p(b"d/e"), 3, &e, None).outcome, Outcome::Removed);
        place.root.sync_dirs().unwrap();
    });
    assert_eq!(mode(&place.at("d")), 0o555);
    assert_eq!(place.read("d/fresh"), b"fresh");
    chmod(&place.at("d"), 0o755);
}

/// The program is killed while permission is lent; what a user did before it starts again; the modes then.
fn killed_while_lent(user: impl Fn(&Place) + Sync, modes: &[(&str, u32)]) {
    let mut place = Place::new("lent");
    fs::create_dir_all(place.at("d/e")).unwrap();
    chmod(&place.at("d/e"), 0o055);
    chmod(&place.at("d"), 0o555);
    as_user(&place, || {
        for path in [&b"d"[..], b"d/e"] {
            let dir = beneath::open_dir(place.root.open_dir(None).unwrap(), path).unwrap();
            std::mem::forget(place.root.lend(std::os::fd::AsFd::as_fd(&dir)).unwrap().expect("it lacks it"));
        }
        assert_eq!((place.stat("d").mode, place.stat("d/e").mode), (0o555, 0o055), "true to who looks");
        assert_eq!((mode(&place.at("d")), mode(&place.at("d/e"))), (0o755, 0o355));
        user(&place);
    });
    place.restart();
    as_user(&place, || {
        assert_eq!(place.root.cleanup_tmp(&|_| false), Ok(vec![]));
    });
    for (path, want) in modes {
        assert_eq!(mode(&place.at(path)), *want, "{path}");
        chmod(&place.at(path), 0o755);
    }
    assert_eq!(place.tmp(), Vec::<String>::new());
}

#[test]
fn what_was_lent_when_the_program_was_killed_is_given_back() {
    killed_while_lent(|_| {}, &[("d", 0o555), ("d/e", 0o055)]);
    killed_while_lent(|p| chmod(&p.at("d"), 0o700), &[("d", 0o700), ("d/e", 0o055)]);
    let moves = |p: &Place| fs::rename(p.at("d"), p.at("moved")).unwrap();
    killed_while_lent(moves, &[("moved", 0o555), ("moved/e", 0o055)]);
    killed_while_lent(|p| fs::remove_dir(p.at("d/e")).unwrap(), &[("d", 0o555)]);
}

#[test]
fn a_read_only_directory_is_installed_and_displaced() {
    let place = Place::new("readonly-dir");
    as_user(&place, || {
        assert_eq!(place.root.prepare(p(b"d"), 1, Kind::Directory, 0o555, 0).outcome, Outcome::Done);
        let stat = swapped(&place.root.swap(p(b"d"), 1, None, &intent(NOTHING, DIRECTORY), None));
        assert_eq!((stat.mode, place.stat("d").mode), (0o555, 0o555));
        swapped(&place.install(b"d/x", 2, None, b"", b"x"));
        let x = place.stat("d/x");
        assert_eq!(place.root.remove(p(b"d/x"), 2, &x, None).outcome, Outcome::Removed);
        let stat = place.stat("d");
        place.ready(b"d", 1, b"file");
        swapped(&place.root.swap(p(b"d"), 1, Some(&stat), &intent(DIRECTORY, file(b"file")), None));
    });
    assert_eq!(place.read("d"), b"file");
    assert!(place.tmp().is_empty());
}

#[test]
fn what_is_not_ours_is_told_with_its_cause() {
    let place = Place::new("foreign");
    if !Uid::effective().is_root() {
        return;
    }
    fs::create_dir(place.at("theirs")).unwrap();
    place.put("theirs/a", b"x");
    as_user(&place, || {});
    std::os::unix::fs::lchown(place.at("theirs"), Some(0), Some(0)).unwrap();
    as_user_only(|| {
        let stat = place.stat("theirs/a");
        assert_eq!(failed(&place.install(b"theirs/a", 1, Some(&stat), b"x", b"y")), Cause::Os(13));
        assert_eq!(failed(&place.root.remove(p(b"theirs/a"), 1, &stat, None)), Cause::Os(13));
    });
    assert_eq!((place.read("theirs/a"), mode(&place.at("theirs"))), (b"x".to_vec(), 0o755));
}

fn as_user_only(run: impl FnOnce() + Send) {
    std::thread::scope(|s| {
        s.spawn(|| {
            setfsuid(Uid::from_raw(NOBODY));
            run();
        });
    });
}

#[test]
fn no_room_is_told_and_nothing_changes() {
    if !Uid::effective().is_root() {
        return;
    }
    init().unwrap();
    let dir = temp("tiny");
    let flags = nix::mount::MsFlags::empty();
    if nix::mount::mount(Some("tmpfs"), &dir, Some("tmpfs"), flags, Some("size=256k")).is_err() {
        let _ = fs::remove_dir_all(&dir);
        return;
    }
    {
        let (root, _) = Root::link(&dir, 1).unwrap();
        fs::write(dir.join("a"), vec![b'x'; 100 << 10]).unwrap();
        assert_eq!(root.part_open(1, 1 << 20).unwrap_err(), Cause::Os(28));
        let source = fs::File::open(dir.join("a")).unwrap();
        root.make_copy(1, &source).unwrap();
        assert_eq!(root.make_copy(2, &source).unwrap_err(), Cause::Os(28));
        assert_eq!(fs::read(dir.join("a")).unwrap().len(), 100 << 10);
    }
    nix::mount::umount(&dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
}
