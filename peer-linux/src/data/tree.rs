//! What is known of a content's tree while it is fetched: others who seek it are told, and the next try begins with it.

use dartsync_core::content::{LEAF_BYTES, Root};
use std::collections::BTreeMap;

/// Invariant: its root and nodes are verified.
#[derive(Default)]
pub struct Tree {
    root: Option<Root>,
    /// The flat list of the content's chunks, from its start on.
    leaves: Vec<u8>,
    /// Nodes of level 1, as what they are of the list, by their offset.
    lists: BTreeMap<u64, (usize, usize)>,
    /// Nodes of higher levels, by level and offset.
    nodes: BTreeMap<(u8, u64), Box<[u8]>>,
}

impl Tree {
    /// The root.
    pub fn root(&self) -> Option<Root> {
        self.root
    }
    /// This is the root.
    pub fn rooted(&mut self, root: &Root) {
        self.root = Some(*root);
    }
    /// This is the next node in the order of a walk, of that level, from `offset` on.
    pub fn add(&mut self, level: u8, offset: u64, node: &[u8]) {
        if level > 1 {
            self.nodes.insert((level, offset), node.into());
        } else {
            self.lists.insert(offset, (self.leaves.len(), node.len()));
            self.add_leaves(node);
        }
    }
    /// More of the list of chunks.
    pub fn add_leaves(&mut self, leaves: &[u8]) {
        debug_assert!(leaves.len().is_multiple_of(LEAF_BYTES));
        self.leaves.extend_from_slice(leaves);
    }
    /// The node of that level that begins at `offset`, if it has been added.
    pub fn node(&self, level: u8, offset: u64) -> Option<&[u8]> {
        if level > 1 {
            return self.nodes.get(&(level, offset)).map(|node| &node[..]);
        }
        let (from, len) = *self.lists.get(&offset)?;
        self.leaves.get(from..from + len)
    }
    /// The list of chunks.
    pub fn leaves(&self) -> &[u8] {
        &self.leaves
    }
    /// The list of chunks; it knows nothing then.
    pub fn take_leaves(&mut self) -> Vec<u8> {
        std::mem::take(self).leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_level_and_offset() {
        let mut tree = Tree::default();
        let [a, b] = [[1; 2 * LEAF_BYTES], [2; 2 * LEAF_BYTES]];
        tree.add(2, 0, b"above");
        tree.add(1, 0, &a);
        assert_eq!((tree.node(1, 0), tree.node(1, 500), tree.node(3, 0)), (Some(&a[..]), None, None));
        tree.add(1, 500, &b[..LEAF_BYTES]);
        assert_eq!(tree.node(1, 500), Some(&b[..LEAF_BYTES]));
        assert_eq!((tree.node(2, 0), tree.node(2, 500)), (Some(&b"above"[..]), None));
        assert_eq!(tree.take_leaves(), [&a[..], &b[..LEAF_BYTES]].concat());
        assert!(tree.node(1, 0).is_none() && tree.node(2, 0).is_none());
    }
}
