//! From the close of a saved file on one device to its content standing on another: 200 edits of 1 KiB, default settings.
//!
//! `cargo run --release -p dartsync-tests --bin bench_latency [DIRECTORY ON A DISK]` (default: the working directory)

use dartsync_tests::bench::{line, ms, quantile};
use dartsync_tests::process::{Dir, Home, noise};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EDITS: u64 = 200;
const WARM: u64 = 10;

fn measure(what: &str, dir: Dir) {
    let mut home = Home::found_in(dir, &[]);
    home.add();
    home.add();
    for new in [true, false] {
        let mut took: Vec<Duration> = Vec::new();
        for n in 0..EDITS + WARM {
            let bytes = noise(n + u64::from(new) * 1_000_000, 1024);
            let name = if new { format!("f{n}") } else { "one".into() };
            let (from, to) = (home[0].path(&name), home[1].path(&name));
            std::fs::write(&from, &bytes).expect("it can be written");
            let since = Instant::now();
            while std::fs::read(&to).ok().as_ref() != Some(&bytes) {
                assert!(since.elapsed() < Duration::from_secs(20), "it does not arrive{}", home.last_words());
                std::thread::sleep(Duration::from_micros(50));
            }
            if n >= WARM {
                took.push(since.elapsed());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        took.sort();
        let kind = if new { "new files" } else { "edits of one file" };
        let (median, high) = (quantile(&took, 0.5), quantile(&took, 0.95));
        let most = *took.last().expect("there were some");
        line(
            &format!("{what}, {EDITS} {kind} of 1 KiB"),
            format!("median {}, p95 {}, worst {}", ms(median), ms(high), ms(most)),
        );
    }
}

fn main() {
    let disk = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let disk = std::path::absolute(disk).expect("a working directory");
    if Path::new("/dev/shm").is_dir() {
        measure("tmpfs", Dir::within(Path::new("/dev/shm"), "latency"));
    }
    measure("disk", Dir::within(&disk, "latency"));
}
