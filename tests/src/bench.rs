//! What benches share: medians and tables.

use crate::process::{Home, noise};
use std::time::{Duration, Instant};

/// The value below which this share (0..=1) of the sorted samples lies.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Milliseconds.
pub fn ms(t: Duration) -> String {
    format!("{:.1} ms", t.as_secs_f64() * 1000.0)
}

/// Bytes moved in a time, in MB/s.
pub fn rate(bytes: u64, t: Duration) -> String {
    format!("{:.0} MB/s", bytes as f64 / 1e6 / t.as_secs_f64())
}

/// One line of a table: what, and its value.
pub fn line(what: &str, value: impl std::fmt::Display) {
    println!("{what:<52} {value}");
}

/// Saves of 1 KiB at a home's first device, one after the other, each as a file of its own or all as one; how long each
/// took from its close to its content standing on the second device, sorted. A few before do not count.
pub fn saved_to_visible(home: &Home, count: u64, new: bool) -> Vec<Duration> {
    const WARM: u64 = 10;
    let mut took = Vec::new();
    for n in 0..count + WARM {
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
    took
}
