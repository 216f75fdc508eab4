//! What a user can do to files, and what becomes of it elsewhere.

use dartsync_tests::process::{Home, Thing, noise, skipped};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

#[test]
fn changes_of_one_file_arrive() {
    let home = Home::start("changes", 3);
    let [a, b, c] = &home.devices[..] else { unreachable!() };
    a.put("f", "created");
    b.gets("f", "created");
    c.gets("f", "created");
    b.put("f", "edited elsewhere");
    a.gets("f", "edited elsewhere");
    a.append("f", b", appended");
    c.gets("f", "edited elsewhere, appended");
    c.truncate("f", 6);
    a.gets("f", "edited");
    a.replace("f", "saved as an editor does");
    b.gets("f", "saved as an editor does");
    a.rename("f", "g");
    b.loses("f");
    b.gets("g", "saved as an editor does");
    b.rename("g", "sub/dir/g");
    c.gets("sub/dir/g", "saved as an editor does");
    c.remove("sub/dir/g");
    a.loses("sub/dir/g");
    a.put("empty", "");
    let tree = home.converge();
    assert_eq!(tree.len(), 3, "{tree:?}");
    home.status_is_true();
}

#[test]
fn edits_answer_one_another_at_once() {
    let home = Home::start("answers", 3);
    let mut text = String::new();
    home[0].put("f", "");
    for round in 0..100 {
        let (from, to) = (&home[round % 3], &home[(round + 1) % 3]);
        from.gets("f", &text);
        let more = format!("{round} ");
        text.push_str(&more);
        match round % 4 {
            0 => from.append("f", more.as_bytes()),
            1 => from.put("f", &text),
            2 => from.replace("f", &text),
            _ => {
                from.rename("f", "away");
                from.append("away", more.as_bytes());
                from.rename("away", "f");
            }
        }
        to.gets("f", &text);
    }
    home.converge();
    assert!(home[0].conflict_copies().is_empty(), "{:?}", home[0].conflict_copies());
}

#[test]
fn trees_move_as_a_whole() {
    let home = Home::start("trees", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    let deep = (0..20).map(|n| format!("level{n}")).collect::<Vec<_>>().join("/");
    a.put(format!("{deep}/leaf"), "deep down");
    a.mkdir("empty/also empty");
    for n in 0..60 {
        a.put(format!("many/{}/{n}", n % 7), noise(n, 100 + n as usize));
    }
    home.converge();
    b.rename("many", "elsewhere/many more");
    b.rename("level0/level1", "moved up");
    a.remove_all("empty/also empty");
    let tree = home.converge();
    assert!(a.has("elsewhere/many more/6/6") && !a.has("many"));
    assert!(matches!(tree.get(Path::new("empty")), Some(Thing::Directory(_))));
    assert!(a.conflict_copies().is_empty());
    a.remove_all("elsewhere");
    a.remove_all("moved up");
    let tree = home.converge();
    assert_eq!(tree.keys().filter_map(|p| p.to_str()).collect::<Vec<_>>(), ["empty", "level0"]);
}

#[test]
fn kinds_take_one_another_s_place() {
    let home = Home::start("kinds", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    let outside = home.dir.path().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secret"), "not ours").unwrap();
    a.put("x", "a file");
    a.put("target", "pointed at");
    a.link("l", "target");
    a.link("dangling", "nowhere/at all");
    a.link("out", outside.to_str().unwrap());
    home.converge();
    // File, directory, link, file, each in the place of the one before.
    a.remove("x");
    a.put("x/inside", "now a directory");
    home.converge();
    b.remove_all("x");
    b.link("x", "../..");
    home.converge();
    a.remove("x");
    a.put("x", "a file again");
    // And directly: a directory over a file by rename.
    b.remove("l");
    b.put("l", "a file where a link was");
    b.remove("dangling");
    b.mkdir("dangling");
    let tree = home.converge();
    assert!(matches!(tree.get(Path::new("x")), Some(Thing::File(..))));
    assert!(matches!(tree.get(Path::new("l")), Some(Thing::File(..))));
    assert!(matches!(tree.get(Path::new("dangling")), Some(Thing::Directory(_))));
    assert!(matches!(tree.get(Path::new("out")), Some(Thing::Link(_))));
    assert_eq!(a.get("target").unwrap(), b"pointed at");
    // Nothing was read or written through the link.
    b.remove("out");
    b.put("out/secret", "a directory of that name is another matter");
    home.converge();
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"not ours");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn metadata_arrives_to_the_nanosecond() {
    let home = Home::start("metadata", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    a.put("f", "content");
    a.mkdir("d");
    home.converge();
    let stamp = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    a.set_mtime("f", stamp);
    a.chmod("f", 0o751);
    b.chmod("d", 0o700);
    let tree = home.converge();
    let Some(Thing::File(mode, mtime, 7, _)) = tree.get(Path::new("f")) else { panic!("{tree:?}") };
    assert_eq!((*mode, *mtime), (0o751, (1_234_567_890, 123_456_789)));
    assert_eq!(tree.get(Path::new("d")), Some(&Thing::Directory(0o700)));
    // Before the epoch, in the far future, and a mode that forbids its owner to write.
    a.put("old", "x");
    a.set_mtime("old", SystemTime::UNIX_EPOCH - Duration::new(86_400, 1));
    a.put("future", "x");
    a.set_mtime("future", SystemTime::now() + Duration::from_secs(400 * 86_400));
    a.put("locked/in", "x");
    a.chmod("locked/in", 0o400);
    a.chmod("locked", 0o500);
    let tree = home.converge();
    assert_eq!(tree.get(Path::new("locked")), Some(&Thing::Directory(0o500)));
    a.chmod("locked", 0o700);
    a.put("locked/more", "y");
    let sent = |d: &dartsync_tests::process::Device| d.status()["traffic"]["peer_sent"].as_u64().unwrap();
    home.converge();
    // A chmod and a touch move no content.
    a.put("large", noise(1, 2_000_000));
    home.converge();
    let before = sent(a);
    a.chmod("large", 0o640);
    a.set_mtime("large", stamp);
    home.converge();
    assert!(sent(a) - before < 100_000, "{} bytes were sent for a touch", sent(a) - before);
}

#[test]
fn names_may_be_any_bytes() {
    let home = Home::start("names", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    let long = "n".repeat(255);
    let wide = "ü".repeat(127);
    let names: [&[u8]; 11] = [
        b" leading and trailing ",
        b"two\nlines\r",
        b"\xff\xfe\x80 not UTF-8",
        b"-rf",
        b"a\\b\"c'd`e$f*g?h[i]",
        b"\x01\x7f\x1b[31m",
        long.as_bytes(),
        wide.as_bytes(),
        b"...",
        b".dartsyncignore-not",
        "c\u{301}ombining".as_bytes(),
    ];
    for name in names {
        a.put(name, name);
        b.put([b"dir of ", &name[..name.len().min(200)], b"/", name].concat(), name);
    }
    let tree = home.converge();
    assert_eq!(tree.len(), 3 * names.len());
    for name in names {
        assert_eq!(b.get(name).as_deref(), Some(name));
        a.remove(name);
    }
    assert_eq!(home.converge().len(), 2 * names.len());
}

#[test]
fn paths_of_four_thousand_bytes() {
    let home = Home::start("long", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    // Too long for one system call: made step by step, and compared so.
    let part = "p".repeat(249);
    let deep = |root: &Path, make: bool| {
        use std::os::fd::AsRawFd;
        let mut dir = std::fs::File::open(root).unwrap();
        for n in 0..15 {
            let at = format!("/proc/self/fd/{}/{part}{n:02}", dir.as_raw_fd());
            if make {
                std::fs::create_dir(&at).unwrap();
            }
            dir = std::fs::File::open(&at).ok()?;
        }
        let file = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), "f".repeat(200));
        if make {
            std::fs::write(&file, "at the end of a long way").unwrap();
        }
        std::fs::read(&file).ok()
    };
    deep(&a.root, true);
    dartsync_tests::process::wait_for("the long path on the other device", || deep(&b.root, false));
    a.wait();
    b.wait();
    assert_eq!(deep(&b.root, false).unwrap(), b"at the end of a long way");
    a.rename(&format!("{part}00"), "short");
    b.loses(&format!("{part}00"));
    b.wait();
    assert!(b.has("short"));
}

#[test]
fn five_gib_with_holes() {
    const SIZE: u64 = 5 << 30;
    let home = Home::start("sparse", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    {
        use std::os::unix::fs::FileExt;
        let part = a.path("large.part~");
        let file = std::fs::File::create(&part).unwrap();
        file.set_len(SIZE).unwrap();
        for at in [0, 1 << 30, (4 << 30) + 12_345, SIZE - 1000] {
            file.write_all_at(&noise(at, 1000), at).unwrap();
        }
    }
    a.rename("large.part~", "large");
    let whole = || std::fs::metadata(b.path("large")).ok().filter(|m| m.len() == SIZE);
    let limit = Duration::from_secs(240);
    let stat = dartsync_tests::process::wait_within(limit, &format!("5 GiB{}", home.last_words()), whole);
    use std::os::unix::fs::MetadataExt;
    assert!(stat.blocks() * 512 < 64 << 20, "holes were filled: {} blocks", stat.blocks());
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(b.path("large")).unwrap();
    for at in [0, 1 << 30, (4 << 30) + 12_345, SIZE - 1000] {
        let mut found = vec![0; 1000];
        file.read_exact_at(&mut found, at).unwrap();
        assert_eq!(found, noise(at, 1000));
    }
    b.wait();
}

#[test]
fn readers_see_whole_versions() {
    const SIZE: usize = 8 << 20;
    let home = Home::start("atomic", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    let version = |n: u64| format!("{n:08}").repeat(SIZE / 8).into_bytes();
    a.put("f", version(0));
    home.converge();
    let path = b.path("f");
    let (ended, several) = (AtomicBool::new(false), AtomicBool::new(false));
    let last = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = std::collections::BTreeSet::new();
            while !ended.load(Ordering::Relaxed) {
                let bytes = std::fs::read(&path).expect("there is a file at every moment");
                assert_eq!(bytes.len(), SIZE, "a part of a file");
                let first = bytes[..8].to_vec();
                assert!(bytes.chunks(8).all(|c| c == first), "two versions in one");
                seen.insert(first);
                several.store(seen.len() > 3, Ordering::Relaxed);
            }
        });
        let mut n = 0;
        // Saved ever more slowly, until even a busy machine installs some of them.
        while n < 40 || (n < 200 && !several.load(Ordering::Relaxed)) {
            n += 1;
            match n % 2 {
                0 => a.put("f", version(n)),
                _ => a.replace("f", version(n)),
            }
            std::thread::sleep(Duration::from_millis(40) * (n as u32).div_ceil(20));
        }
        b.gets("f", version(n));
        ended.store(true, Ordering::Relaxed);
        reader.join().expect("the reader saw whole versions alone");
        n
    });
    assert!(several.into_inner(), "few of {last} versions were seen");
    home.converge();
}

/// Bytes that a device's program has read so far, from wherever.
fn read_by(device: &dartsync_tests::process::Device) -> u64 {
    let id = device.program.as_ref().expect("it runs").id();
    let io = std::fs::read_to_string(format!("/proc/{id}/io")).expect("ours to read");
    let line = io.lines().find_map(|l| l.strip_prefix("rchar: ")).expect("Linux says so");
    line.parse().expect("a number")
}

#[test]
fn a_large_file_that_is_renamed_is_neither_read_nor_sent_again() {
    const SIZE: usize = 8 << 20;
    let home = Home::start("renamed", 2);
    let plain = home.devices[0].root.with_file_name("plain");
    std::fs::create_dir(&plain).unwrap();
    if !dartsync::disk::Root::link(&plain, 1).expect("a root").0.probe().leases {
        return skipped("files have no leases here: that a renamed one is not read again was not tested");
    }
    let [a, b] = &home.devices[..] else { unreachable!() };
    let data = noise(1, SIZE);
    a.put("f", &data);
    b.gets("f", &data);
    home.converge();
    std::fs::create_dir(a.path("d")).unwrap();
    home.converge();
    let came = || b.status()["traffic"]["peer_received"].as_u64().expect("a number");
    let before = came();
    let mut unread = 0;
    for (from, to) in [("f", "g"), ("g", "d/f"), ("d/f", "h"), ("h", "f"), ("f", "g")] {
        let read = read_by(a);
        a.rename(from, to);
        b.gets(to, &data);
        b.loses(from);
        home.converge();
        // The two halves of what the system tells of a move may rarely come apart.
        unread += u32::from(read_by(a) - read < SIZE as u64 / 2);
    }
    assert!(unread >= 3, "{unread} of 5 were not read again");
    assert!(came() - before < SIZE as u64 / 4, "{} bytes came", came() - before);
}

#[test]
fn what_is_written_around_a_rename_arrives() {
    use std::os::unix::fs::FileExt;
    let home = Home::start("around", 2);
    let [a, b] = &home.devices[..] else { unreachable!() };
    let write = |name: &str, seed: u64, unseen: bool| {
        let file = std::fs::OpenOptions::new().write(true).open(a.path(name)).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(&noise(seed, 512), 100).unwrap();
        if unseen {
            file.set_modified(time).unwrap();
        }
    };
    for round in 0..24 {
        let size = if round % 4 == 0 { 5_000 } else { 1_500_000 };
        let (from, to, seed) = (format!("f{round}"), format!("g{round}"), round * 10);
        a.put(&from, noise(seed, size));
        b.gets(&from, noise(seed, size));
        // Every other one long enough for all to be settled.
        std::thread::sleep(Duration::from_millis(round % 2 * 60));
        let unseen = round % 3 != 0;
        match round % 6 {
            0 | 1 => {
                write(&from, seed, unseen);
                a.rename(&from, &to);
            }
            2 | 3 => {
                a.rename(&from, &to);
                // A change that has the same ctime as the rename is not to be told from it.
                std::thread::sleep(Duration::from_millis(20 + round));
                write(&to, seed, unseen);
            }
            4 => {
                a.rename(&from, &to);
                std::thread::sleep(Duration::from_millis(280 + round));
                write(&to, seed, unseen);
            }
            _ => {
                // An editor's backup, and the new version beside it.
                a.rename(&from, &to);
                a.put(&from, noise(seed + 1, size));
            }
        }
        let wrote = std::fs::read(a.path(&to)).unwrap();
        b.gets(&to, &wrote);
        if round % 6 == 5 {
            b.gets(&from, noise(seed + 1, size));
        }
    }
    home.converge();
    assert!(a.conflict_copies().is_empty(), "{:?}", a.conflict_copies());
}
