//! Manifests: the leaf lists of contents of more than one chunk.
//!
//! They are a cache beside the rows. One whose content no row holds any more (or not yet: a download puts it before its
//! file stands at the path) is *loose*; after an hour it is dropped, unless a row holds its content by then.
//!
//! Beside them stands an index of some of their chunks: who lacks a chunk finds a content that has it.

use super::keys::{chunk_key, u64_at};
use super::{Part, Store};
use dartsync_core::content::{Hash, Leaves, is_sampled};
use dartsync_core::ids::ContentId;
use dartsync_core::peer::Index;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a loose manifest is kept, seconds.
const KEPT: u64 = 3600;
/// Seconds between two looks at the loose ones, and how many are looked at.
const PAUSE: u64 = 60;
const AT_ONCE: usize = 4096;

/// When the loose ones were last looked at, and up to which.
#[derive(Default)]
pub(super) struct Sweep {
    at: u64,
    upto: Vec<u8>,
}

impl Store {
    /// Keeps the leaves of a content, as they are.
    pub fn put_manifest(&mut self, content: &ContentId, leaves: &[u8]) {
        self.layer(Part::Manifests).put(&content.0, leaves);
        for chunk in sample(leaves) {
            self.layer(Part::Chunks).put(chunk_key(&chunk), &content.0);
        }
        if self.with_content(content, None).is_none() {
            self.loosen(content);
        }
        self.relieve();
    }
    /// The leaves of a content, if they are kept.
    pub fn manifest(&mut self, content: &ContentId) -> Option<Vec<u8>> {
        self.layer(Part::Manifests).get(&content.0, <[u8]>::to_vec)
    }

    /// Notes that a content may have no row.
    pub(super) fn loosen(&mut self, content: &ContentId) {
        if self.layer(Part::Manifests).has(&content.0) {
            self.layer(Part::Loose).put(&content.0, &now().to_be_bytes());
        }
    }
    pub(super) fn sweep_manifests(&mut self) {
        let now = now();
        if now.abs_diff(self.sweep.at) >= PAUSE {
            self.sweep.at = now;
            self.sweep_at(now);
        }
    }
    /// Looks at the next loose ones.
    pub(super) fn sweep_at(&mut self, now: u64) {
        for _ in 0..AT_ONCE {
            let from = std::mem::take(&mut self.sweep.upto);
            let next = |key: &[u8], since: &[u8]| (key.first_chunk::<32>().copied(), u64_at(since, 0));
            let Some((Some(key), since)) = self.layer(Part::Loose).first(&[], &from, next) else { return };
            self.sweep.upto = [&key[..], &[0]].concat();
            if now.abs_diff(since) < KEPT {
                continue;
            }
            self.layer(Part::Loose).remove(&key);
            if self.with_content(&ContentId(key), None).is_none() {
                self.drop_manifest(&ContentId(key));
            }
        }
    }
    pub(super) fn drop_manifest(&mut self, content: &ContentId) {
        let leaves = self.manifest(content).unwrap_or_default();
        for chunk in sample(&leaves) {
            let chunks = self.layer(Part::Chunks);
            // A newer content may have it, too.
            if chunks.get(chunk_key(&chunk), |c| c == content.0) == Some(true) {
                chunks.remove(chunk_key(&chunk));
            }
        }
        self.layer(Part::Manifests).remove(&content.0);
    }
}

/// The chunks by which a content is found: the first, and a sample of the others.
fn sample(leaves: &[u8]) -> impl Iterator<Item = Hash> {
    let leaves = Leaves::new(leaves).enumerate();
    leaves.filter(|(n, leaf)| *n == 0 || is_sampled(&leaf.hash)).map(|(_, leaf)| leaf.hash)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
