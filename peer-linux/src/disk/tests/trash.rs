//! What becomes of things in the trash.

use super::*;
use dartsync_core::limits;
use std::os::unix::fs::PermissionsExt;

const DAY: u64 = 86_400_000_000;

impl Place {
    fn removed(&self, path: &[u8], bytes: &[u8]) -> Vec<u8> {
        let stat = self.put(path, bytes);
        let mut act = self.root.remove(p(path), 1, &stat, Some(id(bytes)));
        assert_eq!(act.outcome, Outcome::Removed);
        act.trashed.remove(0).at
    }
    /// Forgets writers: everything was closed long ago.
    fn settle(&self) {
        assert_eq!(self.root.poll_displaced(), []);
    }
    /// Some days (and seconds, lest it be a trifle less) pass while the program runs; what is pruned then.
    fn days(&self, days: u64, policy: &Policy) -> Purged {
        self.at_wall(wall(), days * DAY + 3_000_000, policy)
    }
    fn at_wall(&self, wall: u64, ran: u64, policy: &Policy) -> Purged {
        self.root.trash_prune((wall, ran), policy, &|at| at.ends_with(b"wanted")).unwrap()
    }
}

/// What nothing is too old for.
const ALL_STAY: Policy = Policy { days: 10_000, young: 10_000, percent: 100 };

#[test]
fn restoring_is_an_edit_that_displaces_into_the_trash() {
    let place = Place::new("restore");
    fs::create_dir_all(place.at("d/e")).unwrap();
    let at = place.removed(b"d/e/f", b"old");
    fs::remove_dir_all(place.at("d")).unwrap();
    let done = place.root.trash_restore(&at).unwrap();
    assert_eq!((&done.path[..], done.trashed), (&b"d/e/f"[..], None));
    assert_eq!(place.read("d/e/f"), b"old");
    place.trash_is(&[]);

    let at = place.removed(b"x", b"first");
    place.put("x", b"second");
    let done = place.root.trash_restore(&at).unwrap();
    assert_eq!(place.read("x"), b"first");
    place.trash_is(&[(b"x", b"second")]);
    let back = place.root.trash_restore(&done.trashed.unwrap().at).unwrap();
    assert_eq!(place.read("x"), b"second");
    assert!(back.trashed.is_some());
    let gone = b"2025-01-01/x";
    assert_eq!(place.root.trash_restore(gone).unwrap_err(), Cause::Os(2), "it lies there no more");
    assert!(place.tmp().is_empty());
}

#[test]
fn restoring_waits_for_writers_and_spares_full_directories() {
    let place = Place::new("restore-not");
    let at = place.removed(b"x", b"item");
    fs::create_dir(place.at("x")).unwrap();
    place.put("x/inside", b"");
    assert_eq!(place.root.trash_restore(&at).unwrap_err(), Cause::NotEmpty);
    fs::remove_file(place.at("x/inside")).unwrap();
    place.root.trash_restore(&at).unwrap();
    assert_eq!(place.read("x"), b"item");
    fs::create_dir(place.at("d")).unwrap();
    let at = place.removed(b"d/f", b"item");
    fs::remove_dir(place.at("d")).unwrap();
    place.put("d", b"a file");
    assert_eq!(place.root.trash_restore(&at).unwrap_err(), Cause::NoParent);
    let at = place.removed(b"y", b"item");
    place.put("y", b"now");
    if place.root.probe().leases {
        let writer = append(&place.at("y"));
        assert_eq!(place.root.trash_restore(&at).unwrap_err(), Cause::OpenWriter);
        drop(writer);
    }
    place.root.trash_restore(&at).unwrap();
    for bad in [&b""[..], b"x", b"../x", b"2025-01-01/../../x", b"/etc/passwd"] {
        assert!(place.root.trash_restore(bad).is_err());
    }
}

#[test]
fn emptying_spares_what_is_wanted() {
    let place = Place::new("empty");
    fs::create_dir_all(place.at("d/e")).unwrap();
    place.removed(b"d/e/a", b"1");
    let wanted = place.removed(b"d/b", b"2");
    place.removed(b"c", b"3");
    std::thread::sleep(std::time::Duration::from_millis(25));
    place.settle();
    let purged = place.root.trash_empty(&|at| at == wanted).unwrap();
    assert_eq!((purged.gone.len(), purged.kept), (2, 1));
    place.trash_is(&[(b"d/b", b"2")]);
    let purged = place.root.trash_empty(&|_| false).unwrap();
    assert_eq!(purged.gone, [wanted]);
    assert_eq!(
        fs::read_dir(place.at(".dartsync/trash")).unwrap().count(),
        0,
        "no empty directories are left"
    );
    fs::create_dir(place.at(".dartsync/trash/mine")).unwrap();
    fs::write(place.at(".dartsync/trash/mine/x"), b"not ours").unwrap();
    assert_eq!(place.root.trash_empty(&|_| false).unwrap(), Purged::default());
    assert!(place.at(".dartsync/trash/mine/x").exists());
}

#[test]
fn pruning_takes_the_old_and_then_the_oldest_but_never_the_young() {
    let place = Place::new("prune");
    place.removed(b"old", b"1");
    place.removed(b"wanted", b"2");
    std::thread::sleep(std::time::Duration::from_millis(25));
    place.settle();
    assert_eq!(place.days(0, &ALL_STAY).gone.len(), 0);
    place.days(12, &ALL_STAY);
    place.removed(b"middle", b"3");
    place.days(0, &ALL_STAY);
    place.days(12, &ALL_STAY);
    place.removed(b"week", b"4");
    place.days(0, &ALL_STAY);
    place.days(7, &ALL_STAY);
    place.removed(b"today", b"5");
    std::thread::sleep(std::time::Duration::from_millis(25));
    place.settle();
    assert_eq!(
        place.days(0, &Policy::default()),
        Purged::default(),
        "31 days: what came last may be 30 days old"
    );
    let purged = place.days(1, &Policy::default());
    assert_eq!((purged.gone.len(), purged.kept), (1, 1));
    place.trash_is(&[(b"middle", b"3"), (b"today", b"5"), (b"wanted", b"2"), (b"week", b"4")]);
    let none = Policy { percent: 0, ..Policy::default() };
    place.days(0, &none);
    place.trash_is(&[(b"today", b"5"), (b"wanted", b"2"), (b"week", b"4")]);
    place.days(1, &none);
    place.trash_is(&[(b"today", b"5"), (b"wanted", b"2")]);
}

#[test]
fn no_clock_ages_the_trash() {
    let mut place = Place::new("clock");
    let (policy, hour) = (Policy { percent: 0, ..Policy::default() }, DAY / 24);
    place.removed(b"a", b"1");
    std::thread::sleep(std::time::Duration::from_millis(25));
    place.settle();
    place.at_wall(wall(), hour, &policy);
    // It starts with a clock that is weeks ahead, weeks behind or not set at all, and then is set right.
    for n in 0..20 {
        for wrong in [wall() + 40 * DAY, wall() - 40 * DAY, 5 * DAY] {
            place.restart();
            assert_eq!(place.at_wall(wrong, hour / 60, &policy), Purged::default(), "{n}");
            assert_eq!(place.at_wall(wall(), hour, &policy), Purged::default(), "{n}");
        }
    }
    // What was filed by a clock that was behind has an old name, and is not old.
    let trash = place.at(".dartsync/trash");
    for (day, file) in [("2025-01-01", "b"), ("1970-01-03", "c"), ("2250-01-01", "d")] {
        fs::create_dir(trash.join(day)).unwrap();
        fs::write(trash.join(day).join(file), "2").unwrap();
    }
    place.restart();
    assert_eq!(place.at_wall(wall(), hour, &policy), Purged::default());
    place.trash_is(&[(b"a", b"1"), (b"b", b"2"), (b"c", b"2"), (b"d", b"2")]);
    // A leap that stays is believed to be a day; then all go in their time, whatever they are called.
    assert_eq!(place.at_wall(wall() + 4_000 * DAY, hour, &policy), Purged::default());
    let gone = (0..7).map(|_| place.at_wall(wall() + 4_000 * DAY, DAY, &policy).gone.len());
    assert_eq!(gone.sum::<usize>(), 1, "a week: what was there before is a day or two older");
    let gone = (0..3).map(|_| place.at_wall(wall() + 4_000 * DAY, DAY, &policy).gone.len());
    assert_eq!(gone.sum::<usize>(), 3);
    place.trash_is(&[]);
}

#[test]
fn what_comes_on_a_day_that_never_ends_is_not_as_old_as_what_is_there() {
    let mut place = Place::new("stuck-clock");
    let first = place.removed(b"first", b"1");
    for n in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(25));
        place.settle();
        place.days(20 * n, &Policy::default());
        place.restart();
        let at = place.removed(b"later", b"2");
        let slot = |at: &[u8]| at.split(|b| *b == b'/').next().unwrap().to_vec();
        assert_eq!(slot(&at) == slot(&first), n == 0);
    }
    place.trash_is(&[(b"later", b"2"), (b"later", b"2")]);
}

#[test]
fn a_path_below_what_was_a_file_finds_room_too() {
    let place = Place::new("below");
    place.removed(b"a", b"file");
    fs::create_dir(place.at("a")).unwrap();
    place.removed(b"a/b", b"below");
    fs::remove_dir(place.at("a")).unwrap();
    place.removed(b"a", b"file again");
    place.trash_is(&[(b"a", b"file"), (b"a", b"file again"), (b"a/b", b"below")]);
    let mut items = Vec::new();
    place.root.trash_list(&mut |i| items.push(i)).unwrap();
    let now = (wall() / 1_000_000) as i64;
    assert!(items.iter().all(|i| (now - 60..=now + 1).contains(&i.when)));
}

#[test]
fn a_walk_comes_to_every_item_once_however_many_at_a_time() {
    let place = Place::new("walk");
    fs::create_dir_all(place.at("d/e/empty")).unwrap();
    for path in ["a", "d/b", "d/e/c", "d/path", "z"] {
        place.removed(path.as_bytes(), b"x");
    }
    let long = place.at(".dartsync/trash/2025-11-24-long");
    fs::create_dir_all(&long).unwrap();
    for name in ["1-name", "path"] {
        fs::write(long.join(name), b"a path").unwrap();
    }
    fs::create_dir(long.with_file_name("of somebody else")).unwrap();
    fs::write(long.with_file_name("of somebody else").join("f"), b"x").unwrap();
    let mut all = Vec::new();
    place.root.trash_list(&mut |item| all.push((item.at, item.stat.kind))).unwrap();
    all.sort_by(|a: &(Vec<u8>, Kind), b| a.0.cmp(&b.0));
    assert_eq!(all.len(), 6);
    for most in 1..=7 {
        let (mut walk, mut seen) = (TrashWalk::default(), Vec::new());
        loop {
            let some = place.root.trash_next(&mut walk, most).unwrap();
            assert!(some.len() <= most);
            if some.is_empty() {
                break;
            }
            seen.extend(some);
        }
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(seen, all);
    }
}

#[test]
fn what_is_locked_or_lost_in_the_trash_holds_nothing_else_up() {
    let place = Place::new("stuck");
    std::thread::scope(|s| {
        // No mode of a file holds root up: what follows runs as nobody.
        if nix::unistd::geteuid().is_root() {
            let nobody = Some(65_534);
            for path in ["", ".dartsync", ".dartsync/tmp", ".dartsync/trash", ".dartsync/folder"] {
                std::os::unix::fs::chown(place.at(path), nobody, nobody).unwrap();
            }
        }
        s.spawn(|| {
            if nix::unistd::geteuid().is_root() {
                // Of this thread alone.
                nix::unistd::setfsuid(65_534.into());
            }
            lock_and_lose(&place);
        });
    });
}

fn lock_and_lose(place: &Place) {
    place.removed(b"a", b"1");
    let long = [b"l".repeat(200), b"/".to_vec()].concat().repeat(21);
    let long = [&long[..long.len().min(limits::PATH - 11)], b"z"].concat();
    let from = super::super::beneath::open_dir(place.root.dir(), b"").unwrap();
    place.put("long", b"2");
    let at = place.root.to_trash(&from, b"long", &long, 7).unwrap().at;
    assert_eq!(place.trash(), [(b"a".to_vec(), b"1".to_vec()), (long, b"2".to_vec())]);
    // A directory that was put there whole, in which its owner may do nothing; one that is read-only; a path that is lost.
    for (dir, mode) in [("locked", 0), ("read-only", 0o555)] {
        fs::create_dir(place.at(dir)).unwrap();
        place.put(format!("{dir}/x"), dir.as_bytes());
        fs::set_permissions(place.at(dir), fs::Permissions::from_mode(mode)).unwrap();
        place.root.to_trash(&from, dir.as_bytes(), dir.as_bytes(), 8).unwrap();
    }
    let slot = at.split(|b| *b == b'/').next().unwrap();
    fs::remove_file(place.at([b".dartsync/trash/", slot, b"/path"].concat())).unwrap();
    let lost = at[slot.len() + 1..].to_vec();
    place.trash_is(&[(&lost, b"2"), (b"a", b"1"), (b"locked/x", b"locked"), (b"read-only/x", b"read-only")]);
    let back = place.root.trash_restore(&at).unwrap();
    assert_eq!((&back.path, place.read(&lost)), (&lost, b"2".to_vec()), "by the name it lay under");
    std::thread::sleep(std::time::Duration::from_millis(25));
    place.settle();
    place.days(0, &ALL_STAY);
    let purged = place.days(40, &Policy::default());
    assert_eq!((purged.gone.len(), purged.stuck), (3, Stuck::default()));
    place.trash_is(&[]);
}

#[test]
fn what_cannot_be_deleted_is_told_and_the_rest_goes() {
    let place = Place::new("mounted");
    place.removed(b"a", b"1");
    place.removed(b"z", b"2");
    let slot = fs::read_dir(place.at(".dartsync/trash")).unwrap().next().unwrap().unwrap().path();
    let mut kept = Vec::new();
    for dir in ["b", "y"] {
        fs::create_dir(slot.join(dir)).unwrap();
        fs::write(slot.join(dir).join("kept"), b"3").unwrap();
        let Some(one) = Immutable::new(slot.join(dir)) else {
            return eprintln!("nothing can be made immutable here: what cannot be deleted was not tested");
        };
        kept.push(one);
    }
    std::thread::sleep(std::time::Duration::from_millis(25));
    place.settle();
    let purged = place.root.trash_empty(&|_| false).unwrap();
    assert_eq!((purged.gone.len(), purged.stuck.count), (2, 2));
    let (at, why) = purged.stuck.first.clone().unwrap();
    assert!(at.ends_with(b"/kept") && why == Cause::Os(1), "{purged:?}");
    let told = crate::trash::emptied(&purged);
    assert!(
        told.starts_with("2 items deleted") && told.contains("2 cannot be deleted: .dartsync/trash/"),
        "{told}"
    );
    place.trash_is(&[(b"b/kept", b"3"), (b"y/kept", b"3")]);
}

/// A directory in which nothing can be removed, not even by root, while the value lives.
struct Immutable(PathBuf);

impl Immutable {
    /// None if the file system or this user cannot.
    fn new(dir: PathBuf) -> Option<Immutable> {
        set_immutable(&dir, true).then_some(Immutable(dir))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        set_immutable(&self.0, false);
    }
}

/// Lets nothing in a directory be removed, not even by root; false if the file system or this user cannot.
fn set_immutable(dir: &StdPath, on: bool) -> bool {
    let (dir, flag) = (fs::File::open(dir).unwrap(), rustix::fs::IFlags::IMMUTABLE);
    let Ok(flags) = rustix::fs::ioctl_getflags(&dir) else { return false };
    rustix::fs::ioctl_setflags(&dir, if on { flags | flag } else { flags - flag }).is_ok()
}
