//! What benches share: medians and tables.

use std::time::Duration;

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
