//! Contents that are on their way in, and just arrived ones that the shelf does not know yet: what is served of them.
//!
//! A part file that a fetch writes to is served where the machine knows it to be verified: nobody else writes there. Once
//! the fetch is over the file becomes a user's, who may write to it at any moment: its chunks are hashed before they go
//! out, until the shelf has it, which knows by its stat that it is as it was.

use super::hub::Hub;
use dartsync_core::content::{Leaf, Leaves, chunk_id};
use dartsync_core::ids::ContentId;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shelf has so long to find a content that has arrived.
const LINGER: Duration = Duration::from_secs(20);

/// A content that has arrived, and that others were told of.
pub struct Arrived {
    content: ContentId,
    file: Arc<File>,
    leaves: Arc<Vec<u8>>,
    until: Instant,
}

/// What there is of a content that the shelf does not have.
pub enum Partial {
    /// The bytes asked for, verified.
    Here(Arc<File>),
    /// All, with the list of its chunks: to be verified before they go out.
    Arrived(Arc<File>, Arc<Vec<u8>>),
    /// It is on its way.
    Wait,
}

impl Hub {
    /// What there is of a content, and of these bytes of it, on its way or just arrived.
    pub fn partial(&self, content: &ContentId, range: Option<(u64, u32)>) -> Option<Partial> {
        let held = range.and_then(|(offset, len)| self.swarm.holds(content, offset, len));
        if let Some(file) = held.and_then(|ticket| self.served(ticket)) {
            return Some(Partial::Here(file));
        }
        if let Some(a) = self.arrived.iter().find(|a| a.content == *content) {
            return Some(Partial::Arrived(a.file.clone(), a.leaves.clone()));
        }
        self.is_fetched(content).then_some(Partial::Wait)
    }
    /// Keeps a content that has come now, for the shelf to find.
    pub(super) fn keep_arrived(&mut self, content: ContentId, file: Arc<File>, leaves: Vec<u8>) {
        if self.arrived.iter().all(|a| a.content != content) {
            let until = Instant::now() + LINGER;
            self.arrived.push(Arrived { content, file, leaves: Arc::new(leaves), until });
        }
    }
    /// Lets those go that the shelf had time enough to find; how long until the next.
    pub(super) fn let_go(&mut self) -> Option<Duration> {
        if self.arrived.is_empty() {
            return None;
        }
        let now = Instant::now();
        self.arrived.retain(|a| a.until > now);
        self.arrived.iter().map(|a| a.until.saturating_duration_since(now)).min()
    }
}

/// An open file once more, for reading alone. The other way, it would count as open for writing long after it became a
/// user's, whose next version would wait for that (R12). None where there is no /proc.
pub fn for_reading(file: &File) -> Option<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Reads the chunk that begins at `offset`, if it is what the list says.
pub fn read_verified(file: &File, leaves: &[u8], offset: u64) -> Option<Vec<u8>> {
    let leaf: Leaf = Leaves::new(leaves).find(|l| l.offset >= offset).filter(|l| l.offset == offset)?;
    let mut chunk = vec![0; leaf.len as usize];
    file.read_exact_at(&mut chunk, offset).ok()?;
    (chunk_id(&chunk) == leaf.hash).then_some(chunk)
}
