//! A tree that comes from elsewhere, walked from its root with one node a level in memory.

use super::id::Root;
use super::node::{BadNode, Entry, Leaf, NODE_BYTES, NodeView, entry_bytes};
use super::{Hash, LEVELS};

/// A node that the walk needs next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// Its level, from 1.
    pub level: u8,
    /// Where its bytes of the file begin.
    pub offset: u64,
    /// Its name.
    pub hash: Hash,
    /// Bytes of the file under it.
    pub len: u64,
}

/// What a walk yields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Hand in this node with [`Walker::feed`]; the same answer until then.
    Need(Want),
    /// The next chunk of the file.
    Leaf(Leaf),
    /// All chunks have been yielded.
    End,
}

/// Where the walk stands in the node of one level.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    bytes: u16,
    next: u16,
}

/// Walks a tree from its root and yields its chunks in order. Nothing that it yields has escaped the checks; whatever
/// it holds is what the root's name says. Memory: [`NODE_BYTES`] a level, lent or owned.
#[derive(Clone, Debug)]
pub struct Walker<B> {
    root: Root,
    memory: B,
    /// By level - 1.
    places: [Place; LEVELS],
    /// The level in whose node the next entry is taken; above the root's level: the root itself is next.
    level: u8,
    /// Where the next entry's bytes of the file begin.
    offset: u64,
    need: Option<Want>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Walker<B> {
    /// A walk from a root whose content id the caller has checked. `memory` has [`Root::walk_memory`] bytes (asserted).
    pub fn new(root: Root, memory: B) -> Result<Walker<B>, BadNode> {
        if !root.is_valid() {
            return Err(BadNode::Root);
        }
        assert!(memory.as_ref().len() >= root.walk_memory());
        let places = [Place::default(); LEVELS];
        Ok(Walker { root, memory, places, level: root.level + 1, offset: 0, need: None })
    }

    /// What comes next.
    pub fn step(&mut self) -> Step {
        if let Some(want) = self.need {
            return Step::Need(want);
        }
        if self.offset == self.root.size {
            return Step::End;
        }
        let entry = self.take();
        if self.level == 1 {
            let leaf = Leaf { offset: self.offset, len: entry.len as u32, hash: entry.hash };
            self.offset += entry.len;
            return Step::Leaf(leaf);
        }
        let want = Want { level: self.level - 1, offset: self.offset, hash: entry.hash, len: entry.len };
        self.need = Some(want);
        Step::Need(want)
    }

    /// The next entry in tree order; leaves `level` at the level of the node that lists it.
    fn take(&mut self) -> Entry {
        loop {
            if self.level > self.root.level {
                return Entry { hash: self.root.hash, len: self.root.size };
            }
            let at = self.level as usize - 1;
            let place = &mut self.places[at];
            if place.next < place.bytes {
                let from = at * NODE_BYTES + place.next as usize;
                let width = entry_bytes(self.level);
                place.next += width as u16;
                return Entry::decode(&self.memory.as_ref()[from..from + width]);
            }
            // A checked node's lengths fill it exactly, so while bytes of the file are left, some level has an entry.
            self.level += 1;
        }
    }

    /// Hands in the node that [`Step::Need`] asked for. One that fails a check changes nothing: it may come again from
    /// another source.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), BadNode> {
        let want = self.need.expect("a node is fed only when one is needed");
        let (first, last) = (want.offset == 0, want.offset + want.len == self.root.size);
        NodeView::check(want.level, bytes, &Entry { hash: want.hash, len: want.len }, first, last)?;
        let at = want.level as usize - 1;
        self.memory.as_mut()[at * NODE_BYTES..][..bytes.len()].copy_from_slice(bytes);
        self.places[at] = Place { bytes: bytes.len() as u16, next: 0 };
        self.level = want.level;
        self.need = None;
        Ok(())
    }

    /// The root it walks from.
    pub fn root(&self) -> Root {
        self.root
    }
}
