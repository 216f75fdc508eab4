//! From the close of a saved file on one device to its content standing on another: 200 edits of 1 KiB, default settings.
//!
//! `cargo run --release -p dartsync-tests --bin bench_latency [DIRECTORY ON A DISK]` (default: the working directory)

use dartsync_tests::bench::{line, ms, quantile, saved_to_visible};
use dartsync_tests::process::{Dir, Home};
use std::path::{Path, PathBuf};

const EDITS: u64 = 200;

fn measure(what: &str, dir: Dir) {
    let mut home = Home::found_in(dir, &[]);
    home.add();
    home.add();
    for new in [true, false] {
        let took = saved_to_visible(&home, EDITS, new);
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
