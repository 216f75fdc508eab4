//! Applying removals.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn what_is_removed_lies_in_the_trash() {
    let place = Place::new("remove");
    fs::create_dir_all(place.at("d/e")).unwrap();
    let stat = place.put("d/e/f", b"bytes");
    let act = place.root.remove(p(b"d/e/f"), 9, &stat, Some(id(b"bytes")));
    assert_eq!(act.outcome, Outcome::Removed);
    assert_eq!((act.trashed[0].n, act.trashed[0].content), (9, Some(id(b"bytes"))));
    assert_eq!(place.root.trash_path(&act.trashed[0].at).unwrap(), b"d/e/f");
    symlink("text", place.at("d/l")).unwrap();
    let stat = place.stat("d/l");
    assert_eq!(place.root.remove(p(b"d/l"), 9, &stat, None).outcome, Outcome::Removed);
    let dir = place.stat("d");
    assert_eq!(failed(&place.root.remove(p(b"d"), 1, &dir, None)), Cause::NotEmpty);
    let e = place.stat("d/e");
    assert_eq!(place.root.remove(p(b"d/e"), 1, &e, None).outcome, Outcome::Removed);
    assert_eq!(place.root.remove(p(b"d"), 1, &dir, None).outcome, Outcome::Removed);
    assert_eq!(place.root.stat(p(b"d")), Ok(None));
    place.trash_is(&[(b"d/e/f", b"bytes"), (b"d/l", b"text")]);
    place.root.sync_dirs().unwrap();
}

#[test]
fn what_changed_is_not_removed() {
    let place = Place::new("keep-edit");
    let stat = place.put("a", b"old");
    place.put("a", b"newer");
    assert_eq!(failed(&place.root.remove(p(b"a"), 1, &stat, None)), Cause::Raced);
    assert_eq!(place.read("a"), b"newer");
    fs::remove_file(place.at("a")).unwrap();
    assert_eq!(failed(&place.root.remove(p(b"a"), 1, &stat, None)), Cause::Raced);
    assert_eq!(failed(&place.root.remove(p(b"x/a"), 1, &stat, None)), Cause::NoParent);
    fs::create_dir(place.at("d")).unwrap();
    let dir = place.stat("d");
    fs::remove_dir(place.at("d")).unwrap();
    place.put("d", b"a file now");
    assert_eq!(failed(&place.root.remove(p(b"d"), 1, &dir, None)), Cause::Raced);
    place.trash_is(&[]);
}

#[test]
fn a_file_made_ready_for_a_path_that_is_removed_goes_too() {
    let place = Place::new("ready-removed");
    let stat = place.put("a", b"old");
    place.ready(b"a", 1, b"never installed");
    let act = place.root.remove(p(b"a"), 1, &stat, None);
    assert_eq!((act.outcome, act.trashed.len()), (Outcome::Removed, 2));
    place.trash_is(&[(b"a", b"never installed"), (b"a", b"old")]);
    place.ready(b"b", 2, b"discarded");
    let act = place.root.discard(p(b"b"), 2);
    assert_eq!((act.outcome, act.trashed.len()), (Outcome::Done, 1));
    let act = place.root.discard(p(b"b"), 2);
    assert_eq!((act.outcome, act.trashed.len()), (Outcome::Done, 0));
    assert!(place.tmp().is_empty());
}
