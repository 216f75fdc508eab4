//! Names of any bytes, of 255 bytes, and paths of 4,096.

use super::*;

fn deep(total: usize, part: usize) -> Vec<u8> {
    let mut path = Vec::new();
    while path.len() + part + 1 < total {
        path.extend_from_slice(&vec![b'd'; part]);
        path.push(b'/');
    }
    let rest = total - path.len();
    path.extend_from_slice(&vec![b'f'; rest.min(255)]);
    path
}

/// Makes the directories of a path, longer than a path may be for one call.
fn make_dirs(place: &Place, path: &[u8]) {
    let mut at = rustix::fs::open(&place.dir, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    for name in &parts[..parts.len() - 1] {
        let _ = rustix::fs::mkdirat(&at, *name, rustix::fs::Mode::RWXU);
        at = rustix::fs::openat(&at, *name, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    }
}

fn through_its_life(place: &Place, path: &[u8]) {
    swapped(&place.install(path, 1, None, b"", b"one"));
    let stat = place.stat(path);
    assert_eq!(read_all(&place.root.open_read(p(path)).unwrap()), b"one");
    let act = place.install(path, 1, Some(&stat), b"one", b"two");
    let stat = swapped(&act);
    let at = &act.trashed[0].at;
    assert!(Path::new(at).is_ok(), "a place in the trash is a path");
    assert_eq!(place.root.trash_path(at).unwrap(), path);
    assert_eq!(read_all(&place.root.trash_open(at).unwrap()), b"one");
    let act = place.root.remove(p(path), 1, &stat, None);
    assert_eq!((act.outcome, act.trashed.len()), (Outcome::Removed, 1));
    assert_eq!(place.root.stat(p(path)), Ok(None));
    place.root.sync_dirs().unwrap();
    let back = place.root.trash_restore(&act.trashed[0].at).unwrap();
    assert_eq!((&back.path[..], back.trashed), (path, None));
    assert_eq!(read_all(&place.root.open_read(p(path)).unwrap()), b"two");
    place.root.sync_dirs().unwrap();
}

#[test]
fn names_of_any_bytes() {
    let place = Place::new("bytes");
    for name in [&b"\xff\xfe\x80"[..], b"new\nline", b" ", b"-rf", b"a\\b", b"%s", &[b'n'; 255], &[0xe9; 255]]
    {
        through_its_life(&place, name);
    }
    assert!(place.tmp().is_empty());
}

#[test]
fn paths_as_long_as_they_may_be() {
    let place = Place::new("long");
    for path in [deep(4000, 200), deep(4096, 250), deep(4095, 99), deep(4096, 20), deep(4081, 255)] {
        assert!(path.len() <= 4096);
        make_dirs(&place, &path);
        through_its_life(&place, &path);
    }
    let purged = place.root.trash_empty(&|_| false).unwrap();
    assert_eq!(purged.gone.len() + purged.kept, 5);
}

#[test]
fn names_too_long_for_the_file_system_are_told() {
    let place = Place::new("too-long");
    let mut path = vec![b'a'; 255];
    path.extend_from_slice(b"/x");
    assert_eq!(place.root.stat(p(&path)), Ok(None));
}
