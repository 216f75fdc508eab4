//! The tree of a content that is here, over its flat list of chunks: what a source answers from.

use super::id::{Root, node_id};
use super::node::{BadNode, Entry, LEAF_BYTES, Leaf, ends, entry_bytes};
use super::{Hash, LEVELS, NODE_MIN};
use crate::limits;

/// One node of a [`Manifest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Its name.
    pub hash: Hash,
    /// Where its bytes of the file begin.
    pub offset: u64,
    /// Bytes of the file under it.
    pub len: u64,
    /// Its first child's position in the level below, and how many they are.
    first: u32,
    count: u16,
    level: u8,
}

impl Node {
    /// Its level, from 1.
    pub fn level(&self) -> u8 {
        self.level
    }
    /// How many entries it has.
    pub fn count(&self) -> usize {
        self.count as usize
    }
    /// Bytes of its encoding.
    pub fn encoded_len(&self) -> usize {
        self.count as usize * entry_bytes(self.level)
    }
}

/// The chunks of a flat list in order.
#[derive(Clone, Debug)]
pub struct Leaves<'a> {
    bytes: &'a [u8],
    offset: u64,
}

impl<'a> Leaves<'a> {
    /// Over a flat list ([`LEAF_BYTES`] a chunk) whose first chunk stands at offset 0.
    pub fn new(list: &'a [u8]) -> Leaves<'a> {
        Leaves::starting(list, 0)
    }
    /// Over the rest of a flat list, whose first chunk stands at this offset.
    pub(super) fn starting(list: &'a [u8], offset: u64) -> Leaves<'a> {
        Leaves { bytes: list, offset }
    }
}

impl Iterator for Leaves<'_> {
    type Item = Leaf;
    fn next(&mut self) -> Option<Leaf> {
        let (entry, rest) = self.bytes.split_at_checked(LEAF_BYTES)?;
        let entry = Entry::decode(entry);
        let leaf = Leaf { offset: self.offset, len: entry.len as u32, hash: entry.hash };
        self.bytes = rest;
        self.offset += entry.len;
        Some(leaf)
    }
}

/// A content's chunks (`L`: the flat list) and the nodes above them (`N`), both lent or owned. Made once, in one pass
/// over the list; then each node and chunk is found by its offset in logarithmic time.
#[derive(Clone, Debug)]
pub struct Manifest<L, N> {
    list: L,
    nodes: N,
    /// Where the nodes of level `l` begin in `nodes`: `starts[l - 1]..starts[l]`.
    starts: [u32; LEVELS + 1],
    root: Root,
}

/// Room, in nodes, that [`Manifest::new`] needs for this list, at most.
pub fn manifest_room(list: &[u8]) -> usize {
    let mut count = 0;
    let mut nodes = 1;
    for entry in list.chunks_exact(LEAF_BYTES) {
        count += 1;
        if ends(count, &Entry::decode(entry).hash) {
            count = 0;
            nodes += 1;
        }
    }
    nodes + nodes / (NODE_MIN - 1) + LEVELS
}

impl<L: AsRef<[u8]>, N: AsRef<[Node]> + AsMut<[Node]>> Manifest<L, N> {
    /// The tree over a flat list of chunks. `nodes` is overwritten and must have [`manifest_room`] (asserted). A list
    /// that breaks the rules is refused: it was damaged where it was kept.
    pub fn new(list: L, mut nodes: N) -> Result<Manifest<L, N>, BadNode> {
        let bytes = list.as_ref();
        let size = check_list(bytes)?;
        let mut starts = [0u32; LEVELS + 1];
        let root = match bytes.len() / LEAF_BYTES {
            0 => Root::EMPTY,
            1 => Root { hash: Entry::decode(bytes).hash, level: 0, size },
            _ => build(bytes, nodes.as_mut(), &mut starts, size)?,
        };
        Ok(Manifest { list, nodes, starts, root })
    }
}

/// The size of the file, if every chunk of the list has a length it may have.
fn check_list(list: &[u8]) -> Result<u64, BadNode> {
    if !list.len().is_multiple_of(LEAF_BYTES) {
        return Err(BadNode::Shape);
    }
    let last = (list.len() / LEAF_BYTES).wrapping_sub(1);
    let mut size = 0;
    for (i, leaf) in Leaves::new(list).enumerate() {
        let min = if i == last { 1 } else { limits::CHUNK_MIN };
        if !(min..=limits::CHUNK_MAX).contains(&(leaf.len as usize)) {
            return Err(BadNode::Length);
        }
        size += leaf.len as u64;
    }
    if size <= limits::FILE_SIZE { Ok(size) } else { Err(BadNode::Root) }
}

/// Fills `nodes` level by level until one has a single node.
fn build(
    list: &[u8],
    nodes: &mut [Node],
    starts: &mut [u32; LEVELS + 1],
    size: u64,
) -> Result<Root, BadNode> {
    let mut used = build_first(list, nodes);
    starts[1] = used as u32;
    let mut below = 0..used;
    for level in 1..=LEVELS as u8 {
        if below.len() == 1 {
            starts[level as usize..].fill(used as u32);
            return Ok(Root { hash: nodes[below.start].hash, level, size });
        }
        if level as usize == LEVELS {
            break;
        }
        let (done, free) = nodes.split_at_mut(used);
        let made = build_above(level + 1, &done[below.clone()], free);
        below = used..used + made;
        used += made;
        starts[level as usize + 1] = used as u32;
    }
    Err(BadNode::Root)
}

/// The nodes of level 1: slices of the list itself.
fn build_first(list: &[u8], nodes: &mut [Node]) -> usize {
    let (mut made, mut from) = (0, 0);
    let mut open = Node { level: 1, ..Node::default() };
    let total = list.len() / LEAF_BYTES;
    for (i, leaf) in Leaves::new(list).enumerate() {
        open.count += 1;
        open.len += leaf.len as u64;
        if ends(open.count as usize, &leaf.hash) || i + 1 == total {
            open.hash = node_id(1, &list[from * LEAF_BYTES..(i + 1) * LEAF_BYTES]);
            nodes[made] = open;
            made += 1;
            from = i + 1;
            open = Node {
                level: 1,
                offset: leaf.offset + leaf.len as u64,
                first: from as u32,
                ..Node::default()
            };
        }
    }
    made
}

/// The nodes of a higher level over those of the level below.
fn build_above(level: u8, below: &[Node], nodes: &mut [Node]) -> usize {
    let mut made = 0;
    let mut open = Node { level, ..Node::default() };
    let mut hasher = blake3::Hasher::new_keyed(&super::id::node_key(level));
    let mut bytes = [0; entry_bytes(2)];
    for (i, child) in below.iter().enumerate() {
        let n = Entry { hash: child.hash, len: child.len }.encode(level, &mut bytes);
        hasher.update(&bytes[..n]);
        open.count += 1;
        open.len += child.len;
        if ends(open.count as usize, &child.hash) || i + 1 == below.len() {
            open.hash = Hash(*hasher.finalize().as_bytes());
            hasher.reset();
            nodes[made] = open;
            made += 1;
            open = Node { level, offset: child.offset + child.len, first: i as u32 + 1, ..Node::default() };
        }
    }
    made
}

impl<L: AsRef<[u8]>, N: AsRef<[Node]>> Manifest<L, N> {
    /// The top of the tree.
    pub fn root(&self) -> Root {
        self.root
    }
    /// The flat list of chunks.
    pub fn list(&self) -> &[u8] {
        self.list.as_ref()
    }
    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        self.list().len() / LEAF_BYTES
    }
    /// The chunks in order.
    pub fn leaves(&self) -> Leaves<'_> {
        Leaves::new(self.list())
    }

    /// All nodes, level by level from the first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes.as_ref()[..self.starts[LEVELS] as usize]
    }
    /// A chunk at or before that position whose offset is known: its position and offset.
    pub(super) fn before(&self, position: u32) -> (u32, u64) {
        let nodes = self.level(1);
        match nodes.partition_point(|n| n.first <= position).checked_sub(1) {
            Some(i) => (nodes[i].first, nodes[i].offset),
            None => (0, 0),
        }
    }

    /// The nodes of a level, in order.
    pub fn level(&self, level: u8) -> &[Node] {
        match level as usize {
            l @ 1..=LEVELS => &self.nodes.as_ref()[self.starts[l - 1] as usize..self.starts[l] as usize],
            _ => &[],
        }
    }

    /// The node of a level that begins at this offset of the file.
    pub fn node(&self, level: u8, offset: u64) -> Option<&Node> {
        let nodes = self.level(level);
        nodes.binary_search_by_key(&offset, |n| n.offset).ok().map(|i| &nodes[i])
    }

    /// Writes a node's bytes into `out`, which holds at least [`super::NODE_BYTES`]; how many they are.
    pub fn encode(&self, node: &Node, out: &mut [u8]) -> usize {
        let (first, count) = (node.first as usize, node.count as usize);
        if node.level == 1 {
            let bytes = &self.list()[first * LEAF_BYTES..(first + count) * LEAF_BYTES];
            out[..bytes.len()].copy_from_slice(bytes);
            return bytes.len();
        }
        let mut at = 0;
        for child in &self.level(node.level - 1)[first..first + count] {
            at += Entry { hash: child.hash, len: child.len }.encode(node.level, &mut out[at..]);
        }
        at
    }

    /// The chunk that begins at this offset of the file.
    pub fn chunk_at(&self, offset: u64) -> Option<Leaf> {
        let near = self.chunk_over(offset)?;
        (near.offset == offset).then_some(near)
    }

    /// The chunk that holds the byte at this offset of the file.
    pub fn chunk_over(&self, offset: u64) -> Option<Leaf> {
        let (position, at) = self.found(offset);
        Leaves::starting(&self.list()[position as usize * LEAF_BYTES..], at).next()
    }
    /// Its position; the number of chunks when the file is no longer than this.
    pub(super) fn position_over(&self, offset: u64) -> u32 {
        self.found(offset).0
    }
    /// The position and offset of the chunk that holds a byte.
    fn found(&self, byte: u64) -> (u32, u64) {
        let nodes = self.level(1);
        let (mut position, mut at) = (0, 0);
        if let Some(i) = nodes.partition_point(|n| n.offset <= byte).checked_sub(1) {
            (position, at) = (nodes[i].first, nodes[i].offset);
        }
        for leaf in Leaves::starting(&self.list()[position as usize * LEAF_BYTES..], at) {
            if byte < leaf.offset + leaf.len as u64 {
                return (position, leaf.offset);
            }
            (position, at) = (position + 1, leaf.offset + leaf.len as u64);
        }
        (position, at)
    }
}
