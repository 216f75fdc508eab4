//! The watched directories: a node each, with its parent's watch and its own name.

use dartsync_core::ids::Folder;
use std::collections::{HashMap, HashSet};

/// A watched directory.
pub(super) struct Node {
    /// The parent's watch; a root: its folder, as -1 - n.
    parent: i32,
    name: Box<[u8]>,
}

impl Node {
    pub fn root(folder: Folder) -> Node {
        Node { parent: -1 - i32::from(folder.0), name: Box::default() }
    }
    pub fn child(parent: i32, name: &[u8]) -> Node {
        Node { parent, name: name.into() }
    }
    pub fn is_root_of(&self) -> Option<Folder> {
        (self.parent < 0).then(|| Folder((-1 - self.parent) as u16))
    }
}

/// Nodes by watch. Invariant: no cycles, for a node's parent is what the file system said it is.
#[derive(Default)]
pub(super) struct Tree(HashMap<i32, Node>);

impl Tree {
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn get(&self, wd: i32) -> Option<&Node> {
        self.0.get(&wd)
    }
    /// A watch that is known already is the same directory under another name.
    pub fn put(&mut self, wd: i32, node: Node) {
        self.0.insert(wd, node);
    }
    pub fn remove(&mut self, wd: i32) {
        self.0.remove(&wd);
    }
    pub fn root_of(&self, folder: Folder) -> Option<i32> {
        self.0.iter().find(|(_, n)| n.is_root_of() == Some(folder)).map(|(wd, _)| *wd)
    }

    /// The folder of a watch, and its path (empty: the root); none if a directory on the way is watched no more.
    pub fn path_of(&self, wd: i32) -> Option<(Folder, Vec<u8>)> {
        let (mut names, mut node) = (Vec::new(), self.0.get(&wd)?);
        while node.parent >= 0 {
            names.push(&node.name[..]);
            node = self.0.get(&node.parent)?;
            // Deeper than any path: the tree is out of date, and events of it say nothing.
            if names.len() > dartsync_core::limits::PATH / 2 {
                return None;
            }
        }
        names.reverse();
        Some((node.is_root_of()?, names.join(&b'/')))
    }

    /// Takes out all watches of a folder.
    pub fn take_folder(&mut self, folder: Folder) -> Vec<i32> {
        let root = self.root_of(folder);
        root.map_or_else(Vec::new, |root| self.take_from(HashSet::from([root])))
    }

    /// Takes out the watches of `name` in `parent` and of all below it, but not that of `keep`.
    pub fn take_below(&mut self, parent: i32, name: &[u8], keep: Option<i32>) -> Vec<i32> {
        let is_it = |(wd, n): &(&i32, &Node)| n.parent == parent && *n.name == *name && Some(**wd) != keep;
        let tops = self.0.iter().filter(is_it).map(|(wd, _)| *wd).collect();
        self.take_from(tops)
    }

    /// Takes out watches and all below them.
    fn take_from(&mut self, mut out: HashSet<i32>) -> Vec<i32> {
        if out.is_empty() {
            return Vec::new();
        }
        // Each round reaches one level further down.
        loop {
            let below: Vec<i32> = self
                .0
                .iter()
                .filter(|(wd, n)| out.contains(&n.parent) && !out.contains(wd))
                .map(|(wd, _)| *wd)
                .collect();
            if below.is_empty() {
                break;
            }
            out.extend(below);
        }
        self.0.retain(|wd, _| !out.contains(wd));
        out.into_iter().collect()
    }
}
