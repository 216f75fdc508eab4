//! One file of 1 GiB: from its close, hashing included; and to a device that joins when it is hashed already.
//!
//! `cargo run --release -p dartsync-tests --bin bench_bulk [MiB]`

use dartsync_tests::bench::{line, ms, rate};
use dartsync_tests::process::{Home, noise};
use std::time::{Duration, Instant};

fn main() {
    let mib: u64 = std::env::args().nth(1).map_or(1024, |n| n.parse().expect("a number of MiB"));
    let bytes = mib << 20;
    let mut home = Home::start("bulk", 2);
    let content = noise(1, bytes as usize);
    std::fs::write(home[0].path("large.part~"), &content).expect("room for it");
    home[0].rename("large.part~", "large");
    let since = Instant::now();
    arrives(&home, 1, &content);
    let took = since.elapsed();
    line(&format!("{mib} MiB from close to visible, hashing included"), show(bytes, took));
    home.converge();
    let since = Instant::now();
    let third = home.add();
    arrives(&home, third, &content);
    line(&format!("{mib} MiB to a device that joins, two sources"), show(bytes, since.elapsed()));
    for (i, device) in home.devices.iter().enumerate() {
        let program = device.program.as_ref().expect("it runs");
        line(
            &format!("resident memory of device {i}, at most"),
            format!("{} MiB", program.resident_peak() / 1024),
        );
    }
}

fn show(bytes: u64, took: Duration) -> String {
    format!("{}, {}", ms(took), rate(bytes, took))
}

fn arrives(home: &Home, i: usize, content: &[u8]) {
    let path = home[i].path("large");
    let until = Instant::now() + Duration::from_secs(600);
    while !std::fs::metadata(&path).is_ok_and(|m| m.len() == content.len() as u64) {
        assert!(Instant::now() < until, "it does not arrive{}", home.last_words());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(std::fs::read(&path).expect("it is there") == content, "what arrived is not what was sent");
}
