//! The keys of the store's tables. Big-endian, so that byte order is the order that is asked for.

use dartsync_core::content::Hash;
use dartsync_core::ids::{ContentId, Folder, Row, Seq};
use dartsync_core::limits::PATH;
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Lane, Mark, Number};

/// A short key, built in place.
pub(super) type Key = heapless::Vec<u8, 40>;
/// A key in the table of paths.
pub(super) type PathKey = heapless::Vec<u8, { PATH + 2 }>;

const FITS: &str = "a key is sized for its parts";

pub(super) fn key(parts: &[&[u8]]) -> Key {
    let mut key = Key::new();
    parts.iter().for_each(|p| key.extend_from_slice(p).expect(FITS));
    key
}

/// Folder ‖ path with `/` as NUL: tree order.
pub(super) fn path_key(folder: Folder, path: &[u8]) -> PathKey {
    let mut key = PathKey::new();
    key.extend_from_slice(&folder.0.to_be_bytes()).expect(FITS);
    key.extend_from_slice(path).expect(FITS);
    key[2..].iter_mut().filter(|b| **b == b'/').for_each(|b| *b = 0);
    key
}

/// The path of a key of the table of paths; none if it holds none.
pub(super) fn open_path_key(key: &[u8], into: &mut PathBuf) -> Option<Folder> {
    let (folder, path) = key.split_first_chunk::<2>()?;
    let mut bytes: PathKey = PathKey::from_slice(path).ok()?;
    bytes.iter_mut().filter(|b| **b == 0).for_each(|b| *b = b'/');
    into.set(Path::new(&bytes).ok()?);
    Some(Folder(u16::from_be_bytes(*folder)))
}

/// The folder of a key that starts with one.
pub(super) fn folder_of(key: &[u8]) -> Folder {
    Folder(u16::from_be_bytes([key[0], key[1]]))
}

pub(super) fn folder_key(folder: Folder) -> Key {
    key(&[&folder.0.to_be_bytes()])
}
pub(super) fn row_key(row: Row) -> [u8; 8] {
    row.0.to_be_bytes()
}
pub(super) fn lane_key(folder: Folder, lane: Lane) -> Key {
    key(&[&folder.0.to_be_bytes(), &[lane as u8]])
}
pub(super) fn due_key(folder: Folder, lane: Lane, order: u64, row: Row) -> Key {
    key(&[&folder.0.to_be_bytes(), &[lane as u8], &order.to_be_bytes(), &row_key(row)])
}
pub(super) fn marks_key(folder: Folder, mark: Mark) -> Key {
    key(&[&folder.0.to_be_bytes(), &[mark as u8]])
}
pub(super) fn mark_key(folder: Folder, mark: Mark, row: Row) -> Key {
    key(&[&folder.0.to_be_bytes(), &[mark as u8], &row_key(row)])
}
pub(super) fn content_key(content: &ContentId, row: Row) -> Key {
    key(&[&content.0, &row_key(row)])
}
pub(super) fn chunk_key(chunk: &Hash) -> &[u8] {
    &chunk.0[..16]
}
pub(super) fn seq_key(folder: Folder, seq: Seq, row: Row) -> Key {
    key(&[&folder.0.to_be_bytes(), &seq.0.to_be_bytes(), &row_key(row)])
}
pub(super) fn number_key(folder: Folder, number: Number) -> Key {
    key(&[&folder.0.to_be_bytes(), &[number as u8]])
}

/// The u64 that the key holds from byte `at`.
pub(super) fn u64_at(key: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(key[at..at + 8].try_into().expect("eight bytes"))
}
