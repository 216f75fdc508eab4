//! How a tracker on a board is found on its network by mDNS, whatever address it was lent.
//!
//! ```text
//! _dartsync._tcp.local  PTR  HOME 12ab34._dartsync._tcp.local      its SRV and A: where;  its TXT: "id=" MARK
//! ```
//! Whoever finds one that has the mark dials it; that it has the key, too, the handshake proves.

use core::fmt::Write;
use dartsync_core::ids::PublicKey;
use heapless::String;

/// The kind of service.
pub const SERVICE: &str = "_dartsync";
const DOMAIN: &str = "dartsync 2026 tracker mark v1";

/// The text by which a tracker is known among others: `id=` and 16 hex digits, made of its key. It tells nothing of
/// the key to who does not know it.
pub fn mark(tracker: &PublicKey) -> String<19> {
    let mut out = String::new();
    let hash = blake3::derive_key(DOMAIN, &tracker.0);
    let digits = u64::from_be_bytes(*hash.first_chunk().expect("32 bytes are at least 8"));
    write!(out, "id={digits:016x}").expect("3 letters and 16 digits fit");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_mark() {
        let marks = [1, 2].map(|n| mark(&PublicKey([n; 32])));
        assert!(marks[0] != marks[1] && marks[0] == mark(&PublicKey([1; 32])));
        // What trackers show and devices look for is never to change.
        assert_eq!(marks[0], "id=4d8f003a580e2a84");
    }
}
