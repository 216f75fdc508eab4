//! 100,000 files of 1 KiB: the first scan, to a second device, a restart, an idle restart, resident memory.
//!
//! `cargo run --release -p dartsync-tests --bin bench_scan [FILES]`

use dartsync_tests::bench::{line, ms};
use dartsync_tests::process::{Device, Home, noise};
use std::time::{Duration, Instant};

/// Waits until the device says that it is in sync; how long since then.
fn in_sync(device: &Device, since: Instant) -> Duration {
    let out = device.try_say(&["wait", "--timeout", "900"]);
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), device.last_words());
    since.elapsed()
}

fn memory(device: &Device) -> String {
    let program = device.program.as_ref().expect("it runs");
    format!(
        "{:.1} MiB, at most {:.1}",
        program.resident() as f64 / 1024.0,
        program.resident_peak() as f64 / 1024.0
    )
}

fn main() {
    let files: u64 = std::env::args().nth(1).map_or(100_000, |n| n.parse().expect("a number of files"));
    let mut home = Home::found_with("scan", &["--memory", "64M"]);
    let mut first = Device::new(home.dir.path(), "dev0");
    for n in 0..files {
        if n % 500 == 0 {
            first.mkdir(&format!("{}/{}", n / 10_000, n / 500));
        }
        std::fs::write(first.path(format!("{}/{}/{n}", n / 10_000, n / 500)), noise(n, 1024))
            .expect("room for it");
    }
    first.join(&home.invite());
    let since = Instant::now();
    first.start();
    line(&format!("{files} files of 1 KiB: first scan, until `ready`"), ms(since.elapsed()));
    line("until hashed, announced, in sync", ms(in_sync(&first, since)));
    line("resident memory of the first device", memory(&first));
    home.devices.push(first);
    let mut second = Device::new(home.dir.path(), "dev1");
    second.join(&home.invite());
    let since = Instant::now();
    second.start();
    line("to a second device, from its start until in sync", ms(in_sync(&second, since)));
    line("resident memory of the second device", memory(&second));
    line("resident memory of the first device, as a source", memory(&home[0]));
    let received = second.status()["traffic"]["peer_received"].clone();
    line("bytes it received from devices", received);
    second.stop();
    let since = Instant::now();
    second.start();
    line("restart, nothing changed, until `ready`", ms(since.elapsed()));
    line("restart, nothing changed, until in sync", ms(in_sync(&second, since)));
    std::thread::sleep(Duration::from_secs(5));
    line("resident memory after a restart, idle", memory(&second));
    let busy = second.running().busy();
    std::thread::sleep(Duration::from_secs(10));
    line("time on a processor in 10 s of idleness", ms(second.running().busy() - busy));
    home.devices.push(second);
    home.converge();
}
