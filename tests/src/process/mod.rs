//! Whole homes of real programs on loopback: a tracker and devices with ports, states and folders of their own.
//!
//! Everything is judged by the files on disk; what the programs say of themselves is then compared with that. A helper
//! that does not get what it waits for panics with the ends of the logs. Whatever is started ends with the thread that
//! started it, and directories go when a [`Home`] is dropped.

mod bridge;
mod device;
mod home;
mod lan;
mod machine;
mod program;
mod tracker;

pub use bridge::{Bridge, Small, has_namespaces};
pub use dartsync::demo::tree::{Thing, Tree, difference, read as tree};
pub use device::Device;
pub use home::Home;
pub use lan::{CABLE, Dnsmasq, HERE, cable, on_a_lan};
pub use machine::{BOARDS, Kind, Machine, has_qemu, image_of};
pub use program::{Program, binary, free_port};
pub use tracker::Tracker;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as failed. Debug builds on a busy machine are slow; no test waits for it
/// where all is well.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A directory of its own, gone when dropped: on tmpfs where there is one.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// Makes one.
    pub fn new(name: &str) -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let shm = Path::new("/dev/shm");
        let at =
            if std::fs::metadata(shm).is_ok_and(|m| m.is_dir()) { shm.into() } else { std::env::temp_dir() };
        Dir::within(&at, &format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }
    /// Makes one in `at`.
    pub fn within(at: &Path, name: &str) -> Dir {
        let dir = at.join(format!("dartsync-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        Dir(dir)
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if std::env::var_os("DARTSYNC_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Says that something is not tested here, and why: past what the harness keeps of a test that passes, so that it is seen.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why} ***\n");
}

/// Waits until `holds` gives something; `why` names what did not come.
pub fn wait_for<T>(why: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, why, &mut holds)
}

/// [`wait_for`] with a limit of its own.
pub fn wait_within<T>(limit: Duration, why: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(Instant::now() < until, "not within {limit:?}: {why}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a tracker's status page says at that address. Who comes in a crowd may have to come again.
pub fn status_page(at: &str) -> String {
    wait_for("a whole page", || {
        let mut link = TcpStream::connect(at).ok()?;
        link.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        link.write_all(b"GET / HTTP/1.1\r\nHost: tracker\r\n\r\n").ok()?;
        let mut said = String::new();
        link.read_to_string(&mut said).ok()?;
        (!said.is_empty()).then_some(said)
    })
}

/// Bytes that look random and differ from seed to seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        // SplitMix64: quick, and far from compressible.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(length);
    out
}
