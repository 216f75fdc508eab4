//! Reading the last commit from other threads: which file has a content, and its manifest.

use super::layer::sure;
use super::{Part, codec, keys};
use dartsync_core::content::Hash;
use dartsync_core::ids::{ContentId, Folder, Row};
use dartsync_core::path::PathBuf;
use dartsync_core::peer::{Stat, Trees};
use dartsync_core::record::Kind;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition};
use std::sync::{Arc, PoisonError, RwLock};

/// The open file, shared with readers; none only while it is opened anew.
pub(super) struct Shared(pub RwLock<Option<Database>>);

impl Shared {
    /// A snapshot of the last commit.
    pub fn snapshot(&self) -> ReadTransaction {
        let db = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sure(db.as_ref().expect("opened again before the lock is let go").begin_read())
    }
}

/// Reads the last commit; cheap to clone, for any thread.
#[derive(Clone)]
pub struct Reader(pub(super) Arc<Shared>);

/// A file or symlink that held a content when it was last looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its row.
    pub row: Row,
    /// Where it is: a folder or a folder's trash.
    pub folder: Folder,
    /// Its path below the folder's root, or below the trash.
    pub path: PathBuf,
    /// File or symlink.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// The stat read back after the last look or install; empty for what lies in the trash.
    pub stat: Stat,
}

impl Reader {
    /// Up to `most` places that held the content at the last commit.
    pub fn candidates(&self, content: &ContentId, most: usize) -> Vec<Candidate> {
        let snapshot = self.0.snapshot();
        let contents = sure(snapshot.open_table(table(Part::Contents)));
        let rows = sure(snapshot.open_table(table(Part::Rows)));
        let mut found = Vec::new();
        for entry in sure(contents.range::<&[u8]>(&content.0[..]..)) {
            let (key, _) = sure(entry);
            if !key.value().starts_with(&content.0) || found.len() == most {
                break;
            }
            let row = Row(keys::u64_at(key.value(), 32));
            let value = sure(rows.get(&keys::row_key(row)[..]));
            found.extend(value.and_then(|v| candidate(row, v.value())));
        }
        found
    }
    /// The manifest of a content of more than one chunk, as it was put; none if it is not known.
    pub fn manifest(&self, content: &ContentId) -> Option<Vec<u8>> {
        let manifests = sure(self.0.snapshot().open_table(table(Part::Manifests)));
        sure(manifests.get(&content.0[..])).map(|v| v.value().to_vec())
    }
    /// A content whose manifest holds that chunk, if the index holds it.
    pub fn with_chunk(&self, chunk: &Hash) -> Option<ContentId> {
        let chunks = sure(self.0.snapshot().open_table(table(Part::Chunks)));
        let found = sure(chunks.get(keys::chunk_key(chunk)))?;
        found.value().first_chunk().map(|c| ContentId(*c))
    }
}

fn candidate(row: Row, value: &[u8]) -> Option<Candidate> {
    let view = codec::View::new(value)?;
    let mut trees = Trees::default();
    view.trees(&mut trees)?;
    let (mut path, local) = (PathBuf::new(), trees.local?);
    let folder = keys::open_path_key(view.path, &mut path)?;
    Some(Candidate { row, folder, path, kind: local.record.kind, size: local.record.size, stat: local.stat })
}

fn table(part: Part) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(part.name())
}
