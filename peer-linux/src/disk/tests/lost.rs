//! What a disk did not take of what users wrote.

use super::*;
use std::process::{Command, Stdio};
use sync::Together;

/// A file system of its own, on a file that there may be no room for.
struct Small {
    dir: PathBuf,
}

impl Drop for Small {
    fn drop(&mut self) {
        // In this order; each only if it is mounted.
        for at in ["disk", "room"] {
            runs("umount -l", &[&self.dir.join(at)]);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn runs(command: &str, paths: &[&StdPath]) -> bool {
    let mut words = command.split(' ');
    let mut run = Command::new(words.next().expect("a program"));
    run.args(words).args(paths).stdout(Stdio::null()).stderr(Stdio::null());
    run.status().is_ok_and(|status| status.success())
}

impl Small {
    /// None where this user, or this machine, cannot have one.
    fn new() -> Option<Small> {
        let small = Small { dir: temp("small") };
        let [room, disk] = ["room", "disk"].map(|name| small.dir.join(name));
        fs::create_dir(&room).unwrap();
        fs::create_dir(&disk).unwrap();
        let image = room.join("image");
        let made = runs("mount -t tmpfs -o size=8m tmpfs", &[&room])
            && fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).is_ok()
            // Without a journal, whose end would be that of all writing.
            && runs("mkfs.ext4 -q -F -O ^has_journal", &[&image])
            && runs("mount -o loop,errors=continue", &[&image, &disk]);
        made.then_some(small)
    }

    /// From now on what is written is lost, and nobody is told at once; or no more.
    fn lose(&self, on: bool) {
        let filler = self.dir.join("room/filler");
        if !on {
            return fs::remove_file(filler).unwrap();
        }
        let mut file = fs::File::create(filler).unwrap();
        for size in [1 << 16, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }
}

#[test]
fn a_users_write_that_was_lost_is_told_to_a_flush_whoever_met_the_error_first() {
    let Some(small) = Small::new() else {
        return eprintln!("no file system can be made and mounted here: what a disk loses was not tested");
    };
    init().unwrap();
    let dir = small.dir.join("disk/root");
    fs::create_dir(&dir).unwrap();
    let place = Place { root: Root::link(&dir, 7).unwrap().0, dir };
    sync::WAITING.set(Some(0));
    let write = || {
        small.lose(true);
        place.put("a", [7; 1 << 20].as_slice());
    };
    assert!(matches!(&*place.root.together, Together::Whole(handle) if handle.lock().unwrap().is_some()));
    [1, 2].into_iter().for_each(|n| place.part(n, b"fetched"));
    write();
    let one = |n| ToPrepare { path: p(b"b"), n, kind: Kind::File, mode: 0o600, mtime: MTIME };
    place.root.prepare_all(&[one(1), one(2)]);
    let met = matches!(&*place.root.together, Together::Whole(handle) if handle.lock().unwrap().is_none());
    assert!(met, "a batch of installs meets the error");
    assert!(place.root.flush().is_err(), "and so does the flush");
    small.lose(false);
    // However much waits to be written, and whatever was kept just before, all that users wrote is meant.
    place.root.flush().unwrap();
    place.part(3, b"a user's last words");
    place.root.prepare(p(b"b"), 3, Kind::File, 0o600, MTIME);
    place.root.keep(p(b"kept"), 3);
    assert_eq!(place.read("kept"), b"a user's last words");
    sync::WAITING.set(Some(u64::MAX));
    write();
    assert!(place.root.flush().is_err());
    small.lose(false);
    // Another program meets it, and the root is found again before it is flushed.
    place.root.flush().unwrap();
    write();
    assert!(rustix::fs::syncfs(fs::File::open(&place.dir).unwrap()).is_err());
    let mut again = Root::open(&place.dir).unwrap();
    again.take_over(&place.root);
    assert!(again.flush().is_err());
    small.lose(false);
    again.flush().unwrap();
}
