//! A content that is here, looked up by what it consists of: what an asker of a newer version knows already.

use super::id::Hash;
use super::manifest::{Leaves, Manifest, Node};
use super::node::{Entry, LEAF_BYTES, Leaf};

/// Bytes before and after the place where an old version of a chunk should be that are looked at too.
const MARGIN: u64 = 128 << 10;

/// A chunk near another one in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Near {
    /// Its name.
    pub hash: Hash,
    /// Bytes between the beginnings of the two.
    pub distance: u64,
}

/// The nearest chunks before and after one that both versions of a file have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Neighbours {
    /// The one before.
    pub before: Option<Near>,
    /// The one after.
    pub after: Option<Near>,
}

/// A manifest with its chunks and nodes sorted by name. `I`: positions, lent or owned.
#[derive(Clone, Debug)]
pub struct Known<L, N, I> {
    manifest: Manifest<L, N>,
    /// Positions of chunks by name, then those of nodes by level and name.
    index: I,
}

/// Positions that [`Known::new`] needs for a manifest.
pub fn known_room<L: AsRef<[u8]>, N: AsRef<[Node]>>(manifest: &Manifest<L, N>) -> usize {
    manifest.chunks() + manifest.nodes().len()
}

impl<L: AsRef<[u8]>, N: AsRef<[Node]>, I: AsRef<[u32]> + AsMut<[u32]>> Known<L, N, I> {
    /// Sorts. `index` has [`known_room`] (asserted).
    pub fn new(manifest: Manifest<L, N>, mut index: I) -> Known<L, N, I> {
        let (chunks, nodes) = index.as_mut()[..known_room(&manifest)].split_at_mut(manifest.chunks());
        chunks.iter_mut().zip(0..).for_each(|(place, i)| *place = i);
        chunks.sort_unstable_by_key(|i| name(&manifest, *i));
        nodes.iter_mut().zip(0..).for_each(|(place, i)| *place = i);
        nodes.sort_unstable_by_key(|i| {
            let node = &manifest.nodes()[*i as usize];
            (node.level(), node.hash)
        });
        Known { manifest, index }
    }
}

fn name<L: AsRef<[u8]>, N>(manifest: &Manifest<L, N>, position: u32) -> Hash
where
    N: AsRef<[Node]>,
{
    let from = position as usize * LEAF_BYTES;
    Entry::decode(&manifest.list()[from..from + LEAF_BYTES]).hash
}

impl<L: AsRef<[u8]>, N: AsRef<[Node]>, I: AsRef<[u32]>> Known<L, N, I> {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest<L, N> {
        &self.manifest
    }
    fn chunks(&self) -> &[u32] {
        &self.index.as_ref()[..self.manifest.chunks()]
    }
    fn nodes(&self) -> &[u32] {
        &self.index.as_ref()[self.manifest.chunks()..][..self.manifest.nodes().len()]
    }
    /// The position, counted from the start, of a chunk of that name.
    pub fn position(&self, chunk: &Hash) -> Option<u32> {
        let found = self.chunks().binary_search_by_key(chunk, |i| name(&self.manifest, *i));
        found.ok().map(|at| self.chunks()[at])
    }
    /// The chunk at a position below [`Manifest::chunks`].
    pub fn leaf(&self, position: u32) -> Leaf {
        let (from, offset) = self.manifest.before(position);
        let list = &self.manifest.list()[from as usize * LEAF_BYTES..];
        let mut leaves = Leaves::starting(list, offset);
        leaves.nth((position - from) as usize).expect("the position is below the count")
    }
    /// The node of that level and name.
    pub fn node(&self, level: u8, hash: &Hash) -> Option<&Node> {
        let key = |i: &u32| {
            let node = &self.manifest.nodes()[*i as usize];
            (node.level(), node.hash)
        };
        let found = self.nodes().binary_search_by_key(&(level, *hash), key);
        found.ok().map(|at| &self.manifest.nodes()[self.nodes()[at] as usize])
    }
    /// The entry under this short name that nodes of that level hold: of a chunk at level 1, else of a node.
    pub fn entry(&self, level: u8, short: [u8; 6]) -> Option<Entry> {
        let mut least = Hash([0; 32]);
        least.0[..6].copy_from_slice(&short);
        let entry = if level <= 1 {
            let at = self.chunks().partition_point(|i| name(&self.manifest, *i) < least);
            let from = *self.chunks().get(at)? as usize * LEAF_BYTES;
            Entry::decode(&self.manifest.list()[from..from + LEAF_BYTES])
        } else {
            let nodes = self.manifest.nodes();
            let before = |i: &u32| (nodes[*i as usize].level(), nodes[*i as usize].hash) < (level - 1, least);
            let at = self.nodes().partition_point(before);
            let node = &nodes[*self.nodes().get(at)? as usize];
            let of_level = node.level() == level - 1;
            of_level.then_some(Entry { hash: node.hash, len: node.len })?
        };
        (entry.hash.prefix() == short).then_some(entry)
    }
    /// Positions of the chunks that may have been where bytes `offset..offset + len` of a newer version are: judged
    /// from chunks that both versions have, one before and one after ([`Near`]), else from the offset alone.
    pub fn around(
        &self,
        offset: u64,
        len: u32,
        neighbours: &Neighbours,
    ) -> impl Iterator<Item = u32> + use<L, N, I> {
        // What begins before the file does is near its start.
        let [before, after] = self.places(neighbours).map(|place| place.map(|at| at.max(0) as u64));
        let first = self.over(before.or(after).unwrap_or(offset), len);
        let second = self.over(after.or(before).unwrap_or(offset), len);
        if second.start < first.end && first.start < second.end {
            return (first.start.min(second.start)..first.end.max(second.end)).chain(0..0);
        }
        first.chain(second)
    }
    /// Where a chunk begins in this version if nothing differs between it and the one before, or the one after. Chunks
    /// are cut elsewhere for a while after a difference: their bytes are there, though no chunk has their name.
    fn places(&self, neighbours: &Neighbours) -> [Option<i64>; 2] {
        let old = |near: &Near| self.position(&near.hash).map(|p| self.leaf(p).offset as i64);
        let before = neighbours.before.and_then(|near| old(&near)?.checked_add_unsigned(near.distance));
        let after = neighbours.after.and_then(|near| old(&near)?.checked_sub_unsigned(near.distance));
        [before, after]
    }
    /// Offsets at which the `len` bytes of a chunk may stand that no chunk here has the name of. A place that is wholly
    /// one chunk is none: its name would be known.
    pub fn guesses(&self, len: u32, neighbours: &Neighbours) -> impl Iterator<Item = u64> {
        let [before, after] = self.places(neighbours).map(|place| u64::try_from(place?).ok());
        let fits = move |at: &u64| {
            let end = at.checked_add(len as u64).filter(|end| *end <= self.manifest.root().size);
            end.is_some() && len > 0 && {
                let leaf = self.leaf(self.manifest.position_over(*at));
                (leaf.offset, leaf.len) != (*at, len)
            }
        };
        before.into_iter().chain(after.filter(|at| Some(*at) != before)).filter(fits)
    }
    /// Positions of the chunks that touch these bytes, or those up to [`MARGIN`] before and after.
    fn over(&self, offset: u64, len: u32) -> core::ops::Range<u32> {
        let size = self.manifest.root().size;
        let (from, end) = (offset.saturating_sub(MARGIN), offset + len as u64 + MARGIN);
        let at = |byte: u64| self.manifest.position_over(byte.min(size - 1));
        match size {
            0 => 0..0,
            _ if from >= size => self.manifest.chunks() as u32 - 1..self.manifest.chunks() as u32,
            _ => at(from)..at(end - 1) + 1,
        }
    }
}
