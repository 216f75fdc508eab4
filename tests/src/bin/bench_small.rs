//! 10,000 files of 4 KiB, moved into a folder at once: until they stand on the other device, and until all is durable.
//!
//! `cargo run --release -p dartsync-tests --bin bench_small [FILES] [BYTES]`

use dartsync_tests::bench::{line, ms};
use dartsync_tests::process::{Dir, Home, noise};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The disks that are measured: memory, and where the command stands.
fn places() -> Vec<(&'static str, Dir)> {
    let mut out = Vec::new();
    if Path::new("/dev/shm").is_dir() {
        out.push(("tmpfs", Dir::within(Path::new("/dev/shm"), "small")));
    }
    let here = std::path::absolute(PathBuf::from(".")).expect("a working directory");
    out.push(("disk", Dir::within(&here, "small")));
    out
}

fn main() {
    let number = |n: usize, or: u64| std::env::args().nth(n).map_or(or, |s| s.parse().expect("a number"));
    let (files, bytes) = (number(1, 10_000), number(2, 4096));
    for (what, dir) in places() {
        let mut home = Home::found_in(dir, &[]);
        home.add();
        home.add();
        let made = home.dir.path().join("made");
        for n in 0..files {
            let dir = made.join(format!("{}", n / 100));
            if n % 100 == 0 {
                std::fs::create_dir_all(&dir).expect("it can be made");
            }
            std::fs::write(dir.join(format!("{n}")), noise(n, bytes as usize)).expect("it can be written");
        }
        let since = Instant::now();
        std::fs::rename(&made, home[0].path("many")).expect("the same disk");
        let until = since + Duration::from_secs(600);
        let mut full = 0;
        while !are_there(&home[1].path("many"), files, &mut full) {
            assert!(Instant::now() < until, "they do not arrive{}", home.last_words());
            std::thread::sleep(Duration::from_millis(2));
        }
        let visible = since.elapsed();
        home[1].wait();
        let durable = since.elapsed();
        let name = format!("{what}, {files} files of {bytes} B");
        line(&name, format!("visible {}, in sync {}", ms(visible), ms(durable)));
        let status = home[1].status();
        let traffic = &status["traffic"];
        line(
            &format!("{what}, bytes received by the other device"),
            format!(
                "{} from devices, {} from the tracker",
                traffic["peer_received"], traffic["tracker_received"]
            ),
        );
        home.converge();
    }
}

/// Whether all files are there. Directories that were full are not looked at again: looking must not cost what is measured.
fn are_there(dir: &Path, files: u64, full: &mut u64) -> bool {
    while *full * 100 < files {
        let due = (files - *full * 100).min(100);
        let names = std::fs::read_dir(dir.join(full.to_string()));
        if names.map_or(0, |all| all.count() as u64) < due {
            return false;
        }
        *full += 1;
    }
    true
}
