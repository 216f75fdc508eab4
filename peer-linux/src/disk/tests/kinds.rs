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
fn of_many_that_are_installed_together_each_has_its_own_outcome() {
    let place = Place::new("many");
    fs::create_dir(place.at("d")).unwrap();
    place.put("d/taken", b"a user's");
    let all: [(&[u8], u64); 6] =
        [(b"d/a", 1), (b"none/b", 2), (b"d/taken", 3), (b"d/c", 4), (b"e", 5), (b"d/unready", 6)];
    all[..5].iter().for_each(|(path, n)| place.ready(path, *n, path));
    let swap = |(path, n): &(&'static [u8], u64)| ToSwap {
        path: p(path),
        n: *n,
        expect: None,
        intent: intent(NOTHING, file(path)),
        copy: None,
    };
    let acts = place.root.swap_all(&all.iter().map(swap).collect::<Vec<_>>());
    for (done, path) in [(&acts[0], "d/a"), (&acts[3], "d/c"), (&acts[4], "e")] {
        assert_eq!(swapped(done), place.stat(path));
        assert_eq!(place.read(path), path.as_bytes());
    }
    let enoent = Cause::Os(rustix::io::Errno::NOENT.raw_os_error());
    assert_eq!([1, 2].map(|n: usize| failed(&acts[n])), [Cause::NoParent, Cause::Raced]);
    assert!([enoent, Cause::Raced].contains(&failed(&acts[5])));
    assert_eq!(place.read("d/taken"), b"a user's");
    assert_eq!(place.tmp(), ["2.swap", "3.swap"]);
}

#[test]
fn what_goes_while_many_are_looked_at_or_installed_is_missed() {
    let place = Place::new("many-gone");
    fs::create_dir(place.at("d")).unwrap();
    let mut run = Run::default();
    assert_eq!(place.root.stat_next(&mut run, p(b"d/a")), Ok(None));
    place.put("d/a", b"x");
    assert_eq!(place.root.stat_next(&mut run, p(b"d/a")), Ok(Some(place.stat("d/a"))));
    fs::remove_file(place.at("d/a")).unwrap();
    fs::remove_dir(place.at("d")).unwrap();
    assert_eq!(place.root.stat_next(&mut run, p(b"d/a")), Ok(None));
    fs::rename(&place.dir, place.dir.with_extension("moved")).unwrap();
    assert_eq!(place.root.stat_next(&mut run, p(b"d/a")), Err(Cause::RootGone));
    fs::rename(place.dir.with_extension("moved"), &place.dir).unwrap();
    fs::create_dir(place.at("d")).unwrap();
    let mut run = Run::default();
    let mut swap = |path: &'static [u8], n| {
        let plan = intent(NOTHING, file(path));
        let one = ToSwap { path: p(path), n, expect: None, intent: plan, copy: None };
        act(|trashed| place.root.swap_next(&mut run, &one, trashed))
    };
    for (path, n) in [(&b"d/a"[..], 1), (b"d/b", 2)] {
        place.ready(path, n, path);
    }
    swapped(&swap(b"d/a", 1));
    fs::remove_dir_all(place.at("d")).unwrap();
    assert_eq!(failed(&swap(b"d/b", 2)), Cause::Raced);
    assert_eq!(place.tmp(), ["2.swap"]);
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
