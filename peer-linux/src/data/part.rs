//! What a part file holds: how far its bytes reach, and whether a range of it is a hole; and the fetch that fills it.

use super::Job;
use super::bank::Bank;
use super::hub::Machine;
use dartsync_core::content::{Leaf, ZERO_CHUNK, chunk_id};
use dartsync_core::data::swarm::Fetch;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Extents looked at; a file of more counts as full.
const EXTENTS: usize = 4096;

/// A fetch that can begin.
pub struct Prepared {
    pub fetch: Fetch,
    pub part: File,
    pub bank: Bank,
}

impl Prepared {
    /// Looks how far an earlier try came. May block on the disk.
    pub fn of(job: Job) -> Prepared {
        let Job { ticket, kind, content, size, from, seekers, part, bank } = job;
        let present = if Machine::needs_memory(size) { written(&part) } else { 0 };
        let fetch = Fetch { ticket, kind, content, size, present, from, seekers, based: bank.has_base() };
        Prepared { fetch, part, bank }
    }
    /// Whether the machine is to be lent memory for it.
    pub fn is_large(&self) -> bool {
        Machine::needs_memory(self.fetch.size)
    }
}

/// The end of the last bytes that were ever written to it: below may be what an earlier try left.
pub fn written(file: &File) -> u64 {
    let size = file.metadata().map_or(0, |m| m.len());
    let mut end = 0;
    for _ in 0..EXTENTS {
        match seek(file, SeekFrom::Data(end)).and_then(|data| seek(file, SeekFrom::Hole(data))) {
            Ok(hole) => end = hole,
            Err(Errno::NXIO) => return end,
            Err(_) => return size,
        }
    }
    size
}

/// Whether nothing was ever written to that range.
fn is_hole(file: &File, leaf: &Leaf) -> bool {
    match seek(file, SeekFrom::Data(leaf.offset)) {
        Ok(data) => data >= leaf.offset + leaf.len as u64,
        Err(e) => e == Errno::NXIO,
    }
}

/// Whether the file holds that chunk where it belongs. `block` has room for the longest chunk.
pub fn holds(file: &File, leaf: &Leaf, block: &mut [u8]) -> bool {
    if is_hole(file, leaf) {
        return leaf.hash == ZERO_CHUNK;
    }
    let bytes = &mut block[..leaf.len as usize];
    file.read_exact_at(bytes, leaf.offset).is_ok() && chunk_id(bytes) == leaf.hash
}
