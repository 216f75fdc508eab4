use super::*;
use dartsync_core::content::{Hash, Leaf};
use dartsync_core::peer::{Due, Lane, Number};
use std::fs;

/// A directory that is removed with the value.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Temp {
        let dir = std::env::temp_dir().join(format!("dartsync-store-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory");
        Temp(dir)
    }
    fn open(&self) -> (Store, Found) {
        Store::open(&self.0).expect("the store opens")
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn path(s: &str) -> Path<'_> {
    Path::new(s.as_bytes()).expect("a path")
}
const F: Folder = Folder(3);
const C: ContentId = ContentId([7; 32]);

#[test]
fn a_new_store_says_so_and_a_known_one_keeps_what_was_committed() {
    let temp = Temp::new("kept");
    let (mut s, found) = temp.open();
    assert_eq!(found, Found::Fresh);
    let kept = s.create(F, path("a/b"));
    s.set_blob("config", b"x");
    s.set_number(F, Number::Seen, 9);
    s.commit(true).expect("room");
    let lost = s.create(F, path("a"));
    drop(s);
    let (mut s, found) = temp.open();
    assert_eq!(found, Found::Known);
    assert_eq!((s.find(F, path("a/b")), s.find(F, path("a"))), (Some(kept), None));
    assert_eq!((s.blob("config"), s.number(F, Number::Seen)), (Some(b"x".to_vec()), 9));
    assert!(s.create(F, path("a")).0 > lost.0, "rows are never made twice");
}

#[test]
fn a_commit_that_is_not_durable_waits_for_one_that_is() {
    let temp = Temp::new("soft");
    let (mut s, _) = temp.open();
    s.add_trash(F, path("x"), Kind::File, C, 5);
    s.commit(false).expect("room");
    assert_eq!(s.reader().candidates(&C, 9).len(), 1, "readers see it");
    s.commit(true).expect("room");
    drop(s);
    assert_eq!(temp.open().0.reader().candidates(&C, 9).len(), 1);
}

#[test]
fn damaged_files_are_set_aside() {
    let temp = Temp::new("damaged");
    let file = temp.0.join(NAME);
    let whole = {
        let (mut s, _) = temp.open();
        (0..500).for_each(|n| {
            s.create(F, path(&format!("file {n}")));
        });
        s.commit(true).expect("room");
        drop(s);
        fs::read(&file).expect("the store's file")
    };
    let mut torn = whole.clone();
    torn[4096..].iter_mut().for_each(|b| *b = 0x55);
    let mut headless = whole.clone();
    headless[..4096].fill(0);
    for (n, bytes) in [b"no store at all".to_vec(), whole[..5000].to_vec(), headless, torn].iter().enumerate()
    {
        fs::write(&file, bytes).expect("written");
        let (mut s, found) = temp.open();
        let Found::Damaged(aside) = found else { panic!("damage {n} is not seen: {found:?}") };
        assert_eq!(fs::read(&aside).expect("kept").len(), bytes.len());
        fs::remove_file(aside).expect("removed");
        assert_eq!(s.find(F, path("file 1")), None);
        s.create(F, path("file 1"));
        s.commit(true).expect("room");
    }
    fs::write(&file, whole).expect("written");
    assert_eq!(temp.open().1, Found::Known);
}

#[test]
fn a_second_program_is_told() {
    let temp = Temp::new("second");
    let _first = temp.open();
    let second = Store::open(&temp.0).err().expect("it is open");
    assert!(format!("{second:#}").contains("another program"), "{second:#}");
}

#[test]
fn trash_and_live_files_serve_their_content() {
    let temp = Temp::new("trash");
    let (mut s, _) = temp.open();
    let row = s.add_trash(F, path("2024/x"), Kind::File, C, 5);
    assert_eq!(s.add_trash(F, path("2024/x"), Kind::File, C, 6), row, "one row a path");
    assert_eq!((s.with_content(&C, None), s.with_content(&C, Some(row))), (Some(row), None));
    let reader = s.reader();
    assert_eq!(reader.candidates(&C, 9), [], "not committed yet");
    s.commit(true).expect("room");
    let found = std::thread::spawn(move || reader.candidates(&C, 9)).join().expect("no panic");
    assert_eq!((found.len(), found[0].row, found[0].folder, found[0].size), (1, row, F.trash(), 6));
    assert_eq!(found[0].path.get(), Some(path("2024/x")));
    assert!(s.remove_trash(F, path("2024/x")) && !s.remove_trash(F, path("2024/x")));
    assert_eq!(s.with_content(&C, None), None);
}

#[test]
fn manifests_go_an_hour_after_the_last_row_of_their_content() {
    let temp = Temp::new("manifests");
    let (mut s, _) = temp.open();
    let unused = ContentId([8; 32]);
    s.add_trash(F, path("x"), Kind::File, C, 5);
    s.put_manifest(&C, b"leaves");
    s.put_manifest(&unused, b"never used");
    s.commit(true).expect("room");
    let reader = s.reader();
    let at =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let both_at = |s: &mut Store, now: u64| {
        s.sweep_at(now);
        s.commit(true).expect("room");
        (reader.manifest(&C).is_some(), reader.manifest(&unused).is_some())
    };
    assert_eq!(both_at(&mut s, at), (true, true));
    assert_eq!(both_at(&mut s, at + 4000), (true, false));
    s.remove_trash(F, path("x"));
    assert_eq!(both_at(&mut s, at), (true, false));
    s.add_trash(F, path("y"), Kind::File, C, 5);
    assert_eq!(both_at(&mut s, at + 4000), (true, false), "it has a row again");
    s.remove_trash(F, path("y"));
    assert_eq!(both_at(&mut s, at + 9000), (false, false));
    assert_eq!(s.manifest(&C), None);
}

#[test]
fn contents_are_found_by_some_of_their_chunks() {
    let temp = Temp::new("chunks");
    let (mut s, _) = temp.open();
    let leaf = |n: u8| Leaf { offset: 0, len: 60_000, hash: Hash([n; 32]) };
    let list = |names: &[u8]| names.iter().flat_map(|n| leaf(*n).encode()).collect::<Vec<_>>();
    let (old, new) = (ContentId([8; 32]), ContentId([9; 32]));
    // The first of each, and those whose name begins with a byte of four low zeros.
    s.put_manifest(&old, &list(&[0x11, 0x12, 0x20, 0x30]));
    s.put_manifest(&new, &list(&[0x12, 0x20]));
    s.commit(true).expect("room");
    let reader = s.reader();
    let found = |n: u8| reader.with_chunk(&Hash([n; 32]));
    assert_eq!([0x11, 0x30].map(found), [Some(old); 2]);
    assert_eq!([0x12, 0x20].map(found), [Some(new); 2]);
    assert_eq!([0x13, 0x40].map(found), [None; 2]);
    s.drop_manifest(&old);
    s.commit(true).expect("room");
    assert_eq!([0x11, 0x30, 0x20].map(found), [None, None, Some(new)]);
}

#[test]
fn the_front_of_a_lane_is_found_quickly_while_it_is_emptied() {
    let temp = Temp::new("lane");
    let (mut s, _) = temp.open();
    let n = 3000;
    for i in 0..n {
        let row = s.create(F, path(&format!("{i}")));
        s.save(row, &Trees::default(), Some(Due { lane: Lane::Quick, key: i }));
    }
    s.commit(true).expect("room");
    let mut seen = 0;
    while let Some((key, row)) = s.due(F, Lane::Quick, None) {
        assert_eq!(key, seen);
        let again = (key == 5).then_some(Due { lane: Lane::Quick, key: n });
        s.save(row, &Trees::default(), again);
        seen += 1;
        if seen == 100 {
            s.save(row, &Trees::default(), Some(Due { lane: Lane::Quick, key: 1 }));
            assert_eq!(s.due(F, Lane::Quick, None), Some((1, row)), "a removed key that is back is found");
            s.save(row, &Trees::default(), None);
        }
    }
    assert_eq!(seen, n + 1);
}

#[test]
fn a_folder_is_erased_in_steps_and_a_reset_forgets_all() {
    let temp = Temp::new("erase");
    let (mut s, _) = temp.open();
    (0..10).for_each(|n| {
        s.create(F, path(&format!("{n}")));
    });
    s.add_trash(F, path("x"), Kind::File, C, 5);
    let other = s.create(Folder(4), path("x"));
    s.set_number(F, Number::Seen, 9);
    s.set_number(Folder(4), Number::Seen, 9);
    s.commit(true).expect("room");
    assert!(!s.erase_folder(F, 6));
    assert!(s.erase_folder(F, 6));
    let mut into = dartsync_core::path::PathBuf::new();
    assert_eq!((s.next(F, None, &mut into), s.next(F.trash(), None, &mut into)), (None, None));
    assert_eq!((s.number(F, Number::Seen), s.number(Folder(4), Number::Seen)), (0, 9));
    assert_eq!((s.next(Folder(4), None, &mut into), s.with_content(&C, None)), (Some(other), None));
    s.reset().expect("reset");
    assert_eq!((s.next(Folder(4), None, &mut into), s.number(Folder(4), Number::Seen)), (None, 0));
    s.create(Folder(4), path("x"));
    s.commit(true).expect("room");
}

#[test]
fn much_is_written_before_it_is_committed_and_a_crash_takes_it_back() {
    let temp = Temp::new("relief");
    let (mut s, _) = temp.open();
    s.bound = 10_000;
    let rows: Vec<Row> = (0..1000).map(|n| s.create(F, path(&format!("{n}")))).collect();
    assert!(s.is_soft && s.bytes() <= 10_000);
    assert!((0..1000).all(|n| s.find(F, path(&format!("{n}"))) == Some(rows[n])));
    // The program's end without a commit: what was only eased out of memory is not durable.
    std::mem::forget(s);
    let copy = Temp::new("relief-copy");
    fs::copy(temp.0.join(NAME), copy.0.join(NAME)).expect("copied");
    let (mut s, found) = copy.open();
    assert_eq!((found, s.find(F, path("1"))), (Found::Known, None));
}
