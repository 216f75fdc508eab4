//! Contents, each with its content id.

use dartsync_core::content::{ContentHasher, symlink_root};
use dartsync_core::ids::ContentId;
use std::rc::Rc;

/// What a file or symlink holds, and its content id.
#[derive(Clone, Debug, PartialEq)]
pub struct Bytes {
    /// The bytes.
    pub bytes: Rc<[u8]>,
    /// Their name.
    pub id: ContentId,
}

impl Bytes {
    /// The content of a file.
    pub fn file(bytes: &[u8]) -> Bytes {
        let mut h = ContentHasher::new();
        h.update(bytes, |_| {});
        Bytes { bytes: bytes.into(), id: h.finish(|_| {}).file_id() }
    }
    /// The text of a symlink.
    pub fn link(text: &[u8]) -> Bytes {
        Bytes { bytes: text.into(), id: symlink_root(text).symlink_id() }
    }
    /// No content: of a directory.
    pub fn none() -> Bytes {
        Bytes { bytes: Rc::new([]), id: ContentId::NONE }
    }
}
