//! Bounds of what travels, in one place: both ends refuse what exceeds them. How much a node does at a time, how often and
//! for how long, stands beside what does it.

/// Active devices of a home: a slot each.
pub const DEVICES: usize = 64;
/// Folders of a home.
pub const FOLDERS: usize = 256;
/// Entries of a version vector (R6).
pub const VECTOR: usize = 64;
/// Bytes of a path.
pub const PATH: usize = 4096;
/// Bytes of one name in a path.
pub const NAME: usize = 255;
/// Bytes of a device name.
pub const DEVICE_NAME: usize = 32;
/// Bytes of a folder label.
pub const LABEL: usize = 64;
/// Plaintext bytes of one frame on a tracker link.
pub const FRAME: usize = 8 * 1024;
/// Bytes an AEAD adds to a frame.
pub const AEAD_TAG: usize = 16;
/// Bytes of a sealed frame on a tracker link, without its length prefix.
pub const FRAME_SEALED: usize = FRAME + AEAD_TAG;
/// Plaintext bytes of one record of a data link.
pub const DATA_RECORD: usize = 60 * 1024 + 64;
/// Addresses kept of one device.
pub const ADDRESSES: usize = 8;
/// Counters and times at or beyond this are refused (R1).
pub const COUNTER: u64 = 1 << 62;
/// Seqs at or beyond this are refused: a table never comes so far.
pub const SEQ: u64 = 1 << 48;
/// Largest file, bytes.
pub const FILE_SIZE: u64 = 1 << 44;
/// Smallest, and largest chunk (bytes); the last of a file may be smaller.
pub const CHUNK_MIN: usize = 48 * 1024;
/// See [`CHUNK_MIN`].
pub const CHUNK_MAX: usize = 256 * 1024;
/// Files above this go in the bulk lane and are sought through the tracker.
pub const BULK: u64 = 1024 * 1024;
/// Given-up tags that a roster remembers.
pub const GIVEN_UP_TAGS: usize = 128;
/// Revoked keys that a roster remembers.
pub const REVOKED: usize = 256;
/// Former devices whose names a roster remembers.
pub const FORMER: usize = 64;
/// Announcements a peer may have unanswered on a link.
pub const ANNOUNCE_WINDOW: usize = 512;
/// Seq ranges in one message.
pub const RANGES: usize = 64;
