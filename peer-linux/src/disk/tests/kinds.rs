//! Files, directories and symlinks in place of one another.

use super::*;
use std::os::unix::fs::symlink;

impl Place {
    /// Installs any kind over what stands there.
    fn turn(&self, path: &[u8], from: (Kind, ContentId), to: (Kind, ContentId), bytes: &[u8]) -> Act {
        let old = self.root.stat(p(path)).unwrap();
        if to.0 != Kind::Directory {
            self.root.part_write(1, bytes).unwrap();
        }
        assert_eq!(self.root.prepare(p(path), 1, to.0, 0o755, MTIME).outcome, Outcome::Done);
        self.root.swap(p(path), 1, old.as_ref(), &intent(from, to), None)
    }
}

#[test]
fn every_kind_takes_the_place_of_every_other() {
    let place = Place::new("kinds");
    let kinds = [
        (file(b"f"), &b"f"[..]),
        (link(b"to/nowhere"), b"to/nowhere"),
        (DIRECTORY, b""),
        (file(b"g"), b"g"),
        (DIRECTORY, b""),
        (DIRECTORY, b""),
        (link(b"x"), b"x"),
        (link(b"yy"), b"yy"),
        (file(b"h"), b"h"),
    ];
    let mut from = NOTHING;
    for (to, bytes) in kinds {
        let act = place.turn(b"x", from, to, bytes);
        let stat = swapped(&act);
        assert_eq!((stat.kind, stat), (to.0, place.stat("x")));
        assert_eq!(act.trashed.len(), usize::from(!matches!(from.0, Kind::Directory | Kind::Removed)));
        match to.0 {
            Kind::Symlink => assert_eq!(place.root.read_link(p(b"x")).unwrap(), bytes),
            Kind::File => assert_eq!(place.read("x"), bytes),
            _ => assert_eq!(stat.mode, 0o755),
        }
        from = to;
    }
    place.trash_is(&[(b"x", b"f"), (b"x", b"g"), (b"x", b"to/nowhere"), (b"x", b"x"), (b"x", b"yy")]);
    assert!(place.tmp().is_empty());
}

#[test]
fn a_directory_that_holds_something_stays() {
    let place = Place::new("full");
    fs::create_dir(place.at("d")).unwrap();
    place.put("d/inside", b"x");
    assert_eq!(failed(&place.turn(b"d", DIRECTORY, file(b"f"), b"f")), Cause::NotEmpty);
    assert_eq!(place.read("d/inside"), b"x");
    assert_eq!(place.tmp(), ["1.swap"]);
    fs::remove_file(place.at("d/inside")).unwrap();
    let old = place.stat("d");
    swapped(&place.root.swap(p(b"d"), 1, Some(&old), &intent(DIRECTORY, file(b"f")), None));
    assert_eq!(place.read("d"), b"f");
}

#[test]
fn a_file_in_a_directorys_place_is_no_parent() {
    let place = Place::new("noparent");
    place.put("d", b"file");
    place.ready(b"d/x", 1, b"new");
    let plan = intent(NOTHING, file(b"new"));
    assert_eq!(failed(&place.root.swap(p(b"d/x"), 1, None, &plan, None)), Cause::NoParent);
    assert_eq!(failed(&place.root.swap(p(b"none/x"), 1, None, &plan, None)), Cause::NoParent);
    assert_eq!(place.root.stat(p(b"d/x")), Ok(None));
    assert_eq!(place.root.stat(p(b"none/x/y")), Ok(None));
}

#[test]
fn a_losing_symlink_keeps_its_text_under_the_copys_name() {
    let place = Place::new("link-copy");
    symlink("/etc/passwd", place.at("l")).unwrap();
    let old = place.stat("l");
    assert_eq!((old.kind, old.mode, old.size), (Kind::Symlink, 0, 11));
    place.root.part_write(1, b"other").unwrap();
    assert_eq!(place.root.prepare(p(b"l"), 1, Kind::Symlink, 0, MTIME).outcome, Outcome::Done);
    let plan = intent(link(b"/etc/passwd"), link(b"other"));
    let act = place.root.swap(p(b"l"), 1, Some(&old), &plan, Some(p(b"c")));
    swapped(&act);
    assert_eq!(place.root.read_link(p(b"c")).unwrap(), b"/etc/passwd");
    assert_eq!(place.root.read_link(p(b"l")).unwrap(), b"other");
}

#[test]
fn a_text_that_is_none_makes_no_symlink() {
    let place = Place::new("text");
    for text in [&b""[..], b"a\0b", &[b'x'; 4097]] {
        place.root.part_write(1, text).unwrap();
        assert_eq!(failed(&place.root.prepare(p(b"l"), 1, Kind::Symlink, 0, 1)), Cause::Corrupt);
    }
    assert_eq!(place.tmp(), ["1.part"]);
}

#[test]
fn a_swap_file_of_another_kind_or_content_is_not_installed() {
    let mut place = Place::new("wrong");
    place.ready(b"a", 1, b"one");
    let plan = intent(NOTHING, link(b"one"));
    assert_eq!(failed(&place.root.swap(p(b"a"), 1, None, &plan, None)), Cause::Os(2));
    place.restart();
    let plan = intent(NOTHING, file(b"two"));
    let act = place.root.swap(p(b"a"), 1, None, &plan, None);
    assert_eq!((failed(&act), act.trashed.len()), (Cause::Corrupt, 1));
    assert!(!place.at("a").exists());
    place.trash_is(&[(b"a", b"one")]);
}
