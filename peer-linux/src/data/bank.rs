//! What a fetch may find on this device: older versions of what it fetches, and files alike, by their chunks.

use super::tree::Tree;
use super::{Bytes, Source};
use crate::content::manifest;
use dartsync_core::content::{
    Entry, Hash, Known, LEAF_BYTES, Leaf, Neighbours, Node, Piece, Root, chunk_id, known_room, pieces,
};
use dartsync_core::data::message::SHORT_BYTES;
use dartsync_core::data::swarm::{self, Piecemeal};
use dartsync_core::data::{Ranges, assemble};
use dartsync_core::ids::ContentId;
use dartsync_core::limits::CHUNK_MAX;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Chunks of one file that are known by their names, at most (10 MiB of memory): a longer file is no base.
const CHUNKS: usize = 256 * 1024;

/// Files that are looked at because one of their chunks is wanted.
const ALIKE: usize = 4;

/// Chunks whose pieces are kept, once named: the next chunk lies near the same ones.
const NAMED: usize = 8;

/// A file that is here, by its chunks.
struct Old {
    known: Known<Vec<u8>, Vec<Node>, Vec<u32>>,
    file: File,
}

/// See the module. What it says is checked by whoever uses it: its files may change at any moment.
#[derive(Default)]
pub struct Bank {
    olds: RwLock<Vec<Old>>,
    /// Contents that were looked at because they have a chunk that this one has.
    alike: Mutex<Vec<ContentId>>,
    /// By where they begin in the first file: the pieces of the chunks that were named last.
    named: Mutex<VecDeque<(u64, Arc<[Piece]>)>>,
    /// What is known of the content's tree; and what an earlier try knew of it.
    tree: Mutex<Tree>,
    earlier: Option<Tree>,
}

impl Bank {
    /// One that knows a content, if it is here. Reads its manifest, and one short enough to need none.
    pub fn with(source: &dyn Source, base: &ContentId) -> Bank {
        let bank = Bank::default();
        bank.olds.write().unwrap_or_else(PoisonError::into_inner).extend(open(source, base));
        bank
    }
    /// Looks in all files of this device for a chunk; a file that has it is known from then on, if there are not too many
    /// already. May block on the disk.
    pub fn find(&self, source: &dyn Source, chunk: &Hash) -> bool {
        let Some(content) = source.with_chunk(chunk) else { return false };
        let mut alike = self.alike.lock().unwrap_or_else(PoisonError::into_inner);
        if alike.len() >= ALIKE || alike.contains(&content) {
            return false;
        }
        alike.push(content);
        drop(alike);
        let Some(old) = open(source, &content) else { return false };
        self.olds.write().unwrap_or_else(PoisonError::into_inner).push(old);
        true
    }
    /// Whether a file is known.
    pub fn has_base(&self) -> bool {
        !self.olds().is_empty()
    }
    /// Gives it what an earlier try knew of the content's tree.
    pub fn go_on_from(&mut self, earlier: Tree) {
        self.earlier = Some(earlier);
    }
    /// What is known of the content's tree.
    pub fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn olds(&self) -> std::sync::RwLockReadGuard<'_, Vec<Old>> {
        self.olds.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a chunk into a part file, if it is here, under its name or where its neighbours say, and still what it was.
    /// `block` has room for the longest chunk.
    pub fn copy(&self, leaf: &Leaf, neighbours: &Neighbours, part: &File, block: &mut [u8]) -> bool {
        let bytes = &mut block[..leaf.len as usize];
        let mut is_at = |old: &Old, at: u64| old.read(at, bytes) && chunk_id(bytes) == leaf.hash;
        let here = self.olds().iter().any(|old| {
            let named = old.known.position(&leaf.hash).map(|p| old.known.leaf(p).offset);
            named.into_iter().chain(old.known.guesses(leaf.len, neighbours)).any(|at| is_at(old, at))
        });
        here && part.write_all_at(bytes, leaf.offset).is_ok()
    }

    /// What can be made of a list of pieces: the chunk, whole or with gaps.
    pub fn assemble(&self, piecemeal: &Piecemeal, list: &[u8]) -> Option<(Vec<u8>, Ranges)> {
        let expect = &piecemeal.expect;
        let olds = self.olds();
        let old = olds.first()?;
        let around = old.known.around(expect.offset, expect.len, &piecemeal.neighbours);
        let mut chunks = Vec::new();
        for leaf in around.map(|p| old.known.leaf(p)) {
            let mut bytes = vec![0; leaf.len as usize];
            if old.read(leaf.offset, &mut bytes) {
                chunks.push((self.named(leaf.offset, &bytes), bytes));
            }
        }
        drop(olds);
        let known: HashMap<u64, &[u8]> = chunks.iter().flat_map(|(named, bytes)| cut(named, bytes)).collect();
        let mut out = vec![0; expect.len as usize];
        let missing = assemble(list, &mut out, |piece| known.get(&piece.name).copied())?;
        Some((out, missing))
    }

    /// The pieces of a chunk of the first file.
    fn named(&self, at: u64, chunk: &[u8]) -> Arc<[Piece]> {
        let named = || self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = named().iter().find(|n| n.0 == at) {
            return found.clone();
        }
        let new: Arc<[Piece]> = pieces(chunk).map(|(piece, _)| piece).collect();
        let mut named = named();
        named.truncate(NAMED - 1);
        named.push_front((at, new.clone()));
        new
    }
}

/// A chunk's pieces by their names.
fn cut<'a>(named: &'a [Piece], chunk: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
    named.iter().scan(chunk, |rest, piece| {
        let (bytes, after) = rest.split_at_checked(usize::from(piece.len))?;
        *rest = after;
        Some((piece.name, bytes))
    })
}

impl Old {
    fn read(&self, at: u64, bytes: &mut [u8]) -> bool {
        self.file.read_exact_at(bytes, at).is_ok()
    }
}

fn open(source: &dyn Source, content: &ContentId) -> Option<Old> {
    let Bytes::File(file) = source.open(content)? else { return None };
    let size = file.metadata().ok()?.len();
    let list = if size <= CHUNK_MAX as u64 { only_chunk(&file, size)? } else { source.leaves(content)? };
    if list.len() > CHUNKS * LEAF_BYTES {
        return None;
    }
    let manifest = manifest(list).ok()?;
    let index = vec![0; known_room(&manifest)];
    Some(Old { known: Known::new(manifest, index), file })
}

/// The list of chunks of a file so short that its manifest is not kept, or that it has one alone.
fn only_chunk(file: &File, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let mut list = Vec::new();
    let mut hasher = dartsync_core::content::ContentHasher::new();
    hasher.update(&bytes, |leaf| list.extend(leaf.encode()));
    hasher.finish(|leaf| list.extend(leaf.encode()));
    Some(list)
}

/// The machine's handle on a bank.
pub struct Teller(pub Arc<Bank>);

impl swarm::Bank for Teller {
    fn root(&self) -> Option<Root> {
        self.0.earlier.as_ref()?.root()
    }
    fn node(&self, level: u8, offset: u64, hash: &Hash, out: &mut [u8]) -> Option<usize> {
        if let Some(node) = self.0.earlier.as_ref().and_then(|tree| tree.node(level, offset)) {
            out.get_mut(..node.len())?.copy_from_slice(node);
            return Some(node.len());
        }
        let olds = self.0.olds();
        olds.iter().find_map(|old| Some(old.known.manifest().encode(old.known.node(level, hash)?, out)))
    }
    fn entry(&self, level: u8, name: [u8; SHORT_BYTES]) -> Option<Entry> {
        self.0.olds().iter().find_map(|old| old.known.entry(level, name))
    }
    fn may_have(&self, chunk: &Hash) -> bool {
        self.0.olds().iter().any(|old| old.known.position(chunk).is_some())
    }
    fn is_empty(&self) -> bool {
        !self.0.has_base()
    }
    fn rooted(&self, root: &Root) {
        self.0.tree().rooted(root);
    }
    fn listed(&self, level: u8, offset: u64, node: &[u8]) {
        self.0.tree().add(level, offset, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dartsync_core::data::swarm::{Check, Expect};
    use dartsync_core::ids::Ticket;

    /// A bank that knows a file of those bytes.
    fn bank(bytes: &[u8], at: &std::path::Path) -> Bank {
        std::fs::write(at, bytes).unwrap();
        let file = File::open(at).unwrap();
        let mut list = Vec::new();
        let mut hasher = dartsync_core::content::ContentHasher::new();
        hasher.update(bytes, |leaf| list.extend(leaf.encode()));
        hasher.finish(|leaf| list.extend(leaf.encode()));
        let manifest = manifest(list).unwrap();
        let index = vec![0; known_room(&manifest)];
        let bank = Bank::default();
        bank.olds.write().unwrap().push(Old { known: Known::new(manifest, index), file });
        bank
    }

    #[test]
    fn chunks_whose_pieces_were_named_before_are_made_of_the_same() {
        let at = std::env::temp_dir().join(format!("dartsync-bank-{}", std::process::id()));
        let mut x = 1u64;
        let old: Vec<u8> = std::iter::repeat_with(|| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 56) as u8
        })
        .take(2 << 20)
        .collect();
        let with = bank(&old, &at);
        let mut new = old.clone();
        new.iter_mut().step_by(20_000).for_each(|b| *b = !*b);
        let mut offset = 0;
        while offset < new.len() {
            let chunk = &new[offset..new.len().min(offset + 50_000)];
            let (check, len) = (Check::Chunk(chunk_id(chunk)), chunk.len() as u32);
            let expect = Expect { ticket: Ticket(1), offset: offset as u64, len, check, missing: None };
            let piecemeal = Piecemeal { expect, neighbours: Neighbours::default() };
            let list: Vec<u8> = pieces(chunk).flat_map(|(piece, _)| piece.encode()).collect();
            let made = with.assemble(&piecemeal, &list).expect("a list of its pieces");
            assert!(made == bank(&old, &at).assemble(&piecemeal, &list).unwrap(), "at {offset}");
            let missing = made.1.total();
            assert!(missing < 20_000, "{missing} of {} are missing at {offset}", chunk.len());
            assert!((1..=NAMED).contains(&with.named.lock().unwrap().len()));
            offset += chunk.len();
        }
        std::fs::remove_file(at).unwrap();
    }
}
