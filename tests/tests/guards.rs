//! What is not believed, what does not work, and how that is told.

use dartsync_tests::process::{Device, Home, noise, skipped, wait_for};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn fill(home: &Home, count: usize) {
    for n in 0..count {
        home[0].put(format!("d{}/f{n}", n % 5), format!("{n}"));
    }
    home.converge();
}

#[test]
fn a_root_that_is_gone_is_no_removal() {
    let mut home = Home::start("root-gone", 2);
    fill(&home, 30);
    let away = home.dir.path().join("away");
    fs::rename(&home[1].root, &away).unwrap();
    wait_for("the loss to be told", || (home[1].state_word() != "in sync").then_some(()));
    home[0].put("new", "made meanwhile");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(home[0].tree().len(), 30 + 5 + 1, "the others keep everything");
    let status = home[1].folder("");
    assert!(!status["errors"].as_array().unwrap().is_empty(), "{status}");
    // A directory without a marker in its place is not it.
    fs::create_dir(&home[1].root).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(home[0].tree().len(), 30 + 5 + 1, "the others keep everything");
    fs::remove_dir_all(&home[1].root).unwrap();
    fs::rename(&away, &home[1].root).unwrap();
    home.converge();
    // The same over a restart.
    home[1].kill();
    fs::rename(&home[1].root, &away).unwrap();
    home[1].start_unready();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(home[0].tree().len(), 30 + 5 + 1, "the others keep everything");
    assert_ne!(home[1].state_word(), "in sync");
    fs::rename(&away, &home[1].root).unwrap();
    let tree = home.converge();
    assert_eq!(tree.len(), 30 + 5 + 1);
}

#[test]
fn a_root_that_was_emptied_is_held() {
    let home = Home::start("emptied", 2);
    fill(&home, 30);
    for n in 0..5 {
        home[1].remove_all(&format!("d{n}"));
    }
    wait_for("the removals to be held", || (home[1].state_word() == "held").then_some(()));
    assert_eq!(home[0].tree().len(), 35);
    // A held folder still receives.
    home[0].put("arrives", "all the same");
    home[1].gets("arrives", "all the same");
    let listed = home[1].say(&["approve", "dev0", "--list"]);
    assert!(listed.contains("d0/f0"), "{listed}");
    home[1].say(&["approve", "dev0"]);
    let tree = home.converge();
    assert_eq!(tree.len(), 1, "{:?}", tree.keys());
    // And all of it is in the trash of the other.
    assert!(home[0].trash().len() >= 30, "{} items in the trash", home[0].trash().len());
}

#[test]
fn a_burst_of_removals_is_held_and_can_be_taken_back() {
    let home = Home::start("burst", 2);
    fill(&home, 200);
    for n in 0..150 {
        home[1].remove(format!("d{}/f{n}", n % 5));
    }
    wait_for("the removals to be held", || (home[1].state_word() == "held").then_some(()));
    assert!(!home[1].in_sync(Duration::ZERO));
    assert_eq!(home[0].tree().len(), 205);
    // They come back: nothing is left to judge.
    for n in 0..150 {
        home[1].put(format!("d{}/f{n}", n % 5), format!("{n}"));
    }
    let tree = home.converge();
    assert_eq!(tree.len(), 205);
    assert!(home[0].conflict_copies().is_empty());
    // A few at a time pass at once.
    for n in 0..40 {
        home[1].remove(format!("d{}/f{n}", n % 5));
    }
    assert_eq!(home.converge().len(), 165);
}

/// A small disk of its own, mounted for a test.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Option<Small> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let none: Option<&str> = None;
        match mount(none, at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(Small(at.to_path_buf())),
            Err(e) => {
                skipped(&format!("no small disk can be mounted here ({e}): a full one was not tested"));
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_holds_up_one_file_alone() {
    let mut home = Home::start("full", 1);
    let Some(_disk) = Small::mount(&home.dir.path().join("dev1"), "4m") else { return };
    let one = home.add();
    home[0].put("fits", "a little");
    home[0].put("too large", noise(1, 6 << 20));
    home[0].put("also fits", "a little more");
    home[one].gets("fits", "a little");
    home[one].gets("also fits", "a little more");
    home[one].names_trouble("too large", "space");
    assert!(!home[one].has("too large"));
    assert!(!home[one].in_sync(Duration::ZERO));
    assert!(home[0].in_sync(Duration::from_secs(20)));
    // It waits quietly.
    let before = home[one].running().busy();
    std::thread::sleep(Duration::from_secs(3));
    let busy = home[one].running().busy() - before;
    assert!(busy < Duration::from_millis(600), "{busy:?} on a processor in 3 s of waiting");
    // Room comes back, and so does the file.
    home[0].put("too large", noise(2, 1 << 20));
    let tree = home.converge();
    assert_eq!(tree.len(), 3);
    home.status_is_true();
}

#[test]
fn a_directory_that_may_not_be_written() {
    let mut home = Home::start("denied", 2);
    if !is_root() {
        return skipped("not root: a directory that may not be written was not tested");
    }
    home[0].put("open/a", "1");
    home[0].put("locked/a", "1");
    home.converge();
    home[1].kill();
    home[1].run_as(65534);
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let locked = home[1].path("locked");
    lchown(&locked, Some(0), Some(0)).unwrap();
    home[1].start();
    home[0].put("locked/b", "cannot arrive");
    home[0].put("open/b", "arrives");
    home[1].gets("open/b", "arrives");
    home[1].names_trouble("locked/b", "permission");
    assert!(!home[1].has("locked/b"));
    let before = home[1].running().busy();
    std::thread::sleep(Duration::from_secs(2));
    let busy = home[1].running().busy() - before;
    assert!(busy < Duration::from_millis(400), "{busy:?} on a processor in 2 s of waiting");
    // The cause goes, and the file comes: a touch of the directory is enough, else the next try.
    lchown(&locked, Some(65534), Some(65534)).unwrap();
    home.converge();
    assert_eq!(home[1].get("locked/b").unwrap(), b"cannot arrive");
}

#[test]
fn an_unreadable_file_holds_up_itself_alone() {
    let mut home = Home::start("unreadable", 2);
    if !is_root() {
        return skipped("not root: a file that may not be read was not tested");
    }
    home[1].kill();
    home[1].run_as(65534);
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home[1].start();
    home[1].put("secret", "root's alone");
    fs::set_permissions(home[1].path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    home[1].names_trouble("secret", "permission");
    home[1].put("plain", "for all");
    lchown(home[1].path("plain"), Some(65534), Some(65534)).unwrap();
    home[0].gets("plain", "for all");
    assert!(!home[0].has("secret"));
    lchown(home[1].path("secret"), Some(65534), Some(65534)).unwrap();
    home.converge();
    assert_eq!(home[0].get("secret").unwrap(), b"root's alone");
}

#[test]
fn late_writes_in_one_folder_are_kept_whatever_is_watched_in_another() {
    let mut home = Home::start("late", 2);
    if !is_root() {
        return skipped("not root: late writes to files of another user were not tested");
    }
    let roots = [home.dir.path().join("second of 0"), home.dir.path().join("second of 1")];
    roots.iter().for_each(|r| fs::create_dir(r).unwrap());
    home[0].say(&["add", roots[0].to_str().unwrap(), "--label", "second"]);
    home[1].say(&["link", "second", roots[1].to_str().unwrap()]);
    home[1].wait();
    home[1].kill();
    home[1].run_as(65534);
    for path in [&roots[1], &roots[1].join(".dartsync"), &roots[1].join(".dartsync/tmp")] {
        lchown(path, Some(65534), Some(65534)).unwrap();
    }
    lchown(roots[1].join(".dartsync/trash"), Some(65534), Some(65534)).unwrap();
    lchown(roots[1].join(".dartsync/folder"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home[1].start();
    // Files of somebody else's, in each folder: whether they are written to is not to be known, so they are watched.
    let pairs = [(home[0].path("f"), home[1].path("f")), (roots[0].join("f"), roots[1].join("f"))];
    let mut writers: Vec<fs::File> = pairs
        .iter()
        .map(|(there, here)| {
            fs::write(here, "old").unwrap();
            wait_for("the file to arrive", || there.exists().then_some(()));
            fs::File::options().append(true).open(here).unwrap()
        })
        .collect();
    for (there, here) in &pairs {
        fs::write(there, "new").unwrap();
        wait_for("the new one", || (fs::read(here).unwrap() == b"new").then_some(()));
    }
    for (writer, (_, here)) in writers.iter_mut().zip(&pairs) {
        std::io::Write::write_all(writer, b", and late").unwrap();
        wait_for("the late write to be kept as a copy", || {
            let all = fs::read_dir(here.parent().unwrap()).unwrap().map(|e| e.unwrap().path());
            all.filter(|p| p.is_file()).any(|p| fs::read(p).unwrap() == b"old, and late").then_some(())
        });
    }
}

#[test]
fn no_folder_within_a_folder() {
    let home = Home::start("nested", 1);
    let device: &Device = &home[0];
    device.mkdir("inside");
    for path in [device.path("inside"), device.root.clone(), home.dir.path().to_path_buf()] {
        let refused = device.try_say(&["add", path.to_str().unwrap(), "--label", "nested"]);
        assert!(!refused.status.success(), "{}: {refused:?}", path.display());
    }
}

#[test]
fn no_folder_around_one_of_another_state() {
    let mut home = Home::start("around", 1);
    let outer = home.dir.path().join("outer");
    fs::create_dir_all(outer.join("a/.dartsync")).unwrap();
    fs::write(outer.join("a/.dartsync/folder"), "of another state").unwrap();
    for runs in [true, false] {
        let refused = home[0].try_say(&["add", outer.to_str().unwrap(), "--label", "second"]);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains("a linked folder stands in it"), "{why}");
        let known = home[0].say(&["folders"]);
        assert!(!known.contains("second"), "nobody was asked for it: {known}");
        if runs {
            home[0].stop();
        }
    }
    fs::remove_dir_all(outer.join("a")).unwrap();
    home[0].start();
    home[0].say(&["add", outer.to_str().unwrap(), "--label", "second"]);
    home.converge();
}

#[test]
fn a_service_manager_is_told_when_a_device_serves_and_when_it_ends() {
    let mut home = Home::start("notify", 1);
    home[0].stop();
    let socket = home.dir.path().join("manager");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let heard = || {
        let mut buf = [0; 64];
        let n = manager.recv(&mut buf).unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    };
    home[0].tells = Some(socket.clone());
    home[0].start_unready();
    assert_eq!(heard(), "READY=1");
    // Commands work from then on.
    home[0].status();
    home[0].stop();
    assert_eq!(heard(), "STOPPING=1");
}
