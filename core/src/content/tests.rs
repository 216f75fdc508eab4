//! The clever structures against obvious ones.

use super::*;
use crate::limits::{CHUNK_MAX, CHUNK_MIN};
use std::prelude::rust_2024::*;
use std::vec;

/// Bytes from a fixed stream; streams of other seeds differ.
pub(super) fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A few pseudo-random numbers below a bound.
fn numbers(seed: u64, below: usize) -> impl Iterator<Item = usize> {
    let mut x = seed | 1;
    std::iter::repeat_with(move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 8) as usize % below
    })
}

/// Cuts as the rule reads: the whole window hashed anew at every position.
fn slow_cuts(mut bytes: &[u8]) -> Vec<usize> {
    let mut cuts = Vec::new();
    while !bytes.is_empty() {
        let at_most = bytes.len().min(CHUNK_MAX);
        let hit = (CHUNK_MIN..=at_most).find(|&end| {
            let window = &bytes[end - 64..end];
            let hash = window.iter().fold(0u64, |h, &b| (h << 1).wrapping_add(gear::GEAR[b as usize]));
            hash >> 50 == 0
        });
        let len = hit.unwrap_or(at_most);
        cuts.push(len);
        bytes = &bytes[len..];
    }
    cuts
}

/// The same, rolling over each chunk from its start: faster, no less plain.
fn rolled_cuts(bytes: &[u8]) -> Vec<usize> {
    let (mut cuts, mut hash, mut len) = (Vec::new(), 0u64, 0);
    for &b in bytes {
        hash = (hash << 1).wrapping_add(gear::GEAR[b as usize]);
        len += 1;
        if len == CHUNK_MAX || (len >= CHUNK_MIN && hash >> 50 == 0) {
            cuts.push(len);
            (hash, len) = (0, 0);
        }
    }
    cuts.extend((len > 0).then_some(len));
    cuts
}

fn hash_in(bytes: &[u8], mut pieces: impl Iterator<Item = usize>) -> (Root, Vec<Leaf>) {
    let mut hasher = ContentHasher::new();
    let mut leaves = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = pieces.next().unwrap().clamp(1, rest.len());
        hasher.update(&rest[..n], |l| leaves.push(l));
        rest = &rest[n..];
        assert_eq!(hasher.size(), (bytes.len() - rest.len()) as u64);
    }
    let root = hasher.finish(|l| leaves.push(l));
    (root, leaves)
}

fn list(leaves: &[Leaf]) -> Vec<u8> {
    leaves.iter().flat_map(|l| l.encode()).collect()
}

fn manifest(leaves: &[Leaf]) -> Manifest<Vec<u8>, Vec<Node>> {
    let list = list(leaves);
    let nodes = vec![Node::default(); manifest_room(&list)];
    Manifest::new(list, nodes).unwrap()
}

/// The root as the rule reads: whole levels as lists.
fn naive_root(leaves: &[Leaf]) -> Root {
    let size = leaves.iter().map(|l| l.len as u64).sum();
    let mut entries: Vec<(Hash, u64)> = leaves.iter().map(|l| (l.hash, l.len as u64)).collect();
    let mut level = 0u8;
    if entries.is_empty() {
        return Root { hash: node_id(1, &[]), level: 1, size: 0 };
    }
    while entries.len() > 1 {
        level += 1;
        let mut above = Vec::new();
        let (mut bytes, mut count, mut sum) = (Vec::new(), 0, 0);
        for (i, (hash, len)) in entries.iter().enumerate() {
            bytes.extend_from_slice(&hash.0);
            bytes.extend_from_slice(&len.to_le_bytes()[..if level == 1 { 4 } else { 8 }]);
            (count, sum) = (count + 1, sum + len);
            if count == 256 || (count >= 16 && hash.0[31].trailing_zeros() >= 6) || i + 1 == entries.len() {
                above.push((node_id(level, &bytes), sum));
                (count, sum) = (0, 0);
                bytes.clear();
            }
        }
        entries = above;
    }
    Root { hash: entries[0].0, level, size }
}

/// Made-up chunks: trees of any height without hashing files.
pub(super) fn made_up(seed: u64, count: usize) -> Vec<Leaf> {
    let mut hashes = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut lens = numbers(seed + 7, CHUNK_MAX - CHUNK_MIN);
    let mut offset = 0;
    (0..count)
        .map(|_| {
            let mut hash = Hash::default();
            hashes.fill(&mut hash.0);
            let leaf = Leaf { offset, len: (CHUNK_MIN + lens.next().unwrap()) as u32, hash };
            offset += leaf.len as u64;
            leaf
        })
        .collect()
}

fn built(leaves: &[Leaf]) -> Root {
    let mut builder = ManifestBuilder::new();
    leaves.iter().for_each(|l| builder.push(l.hash, l.len));
    assert_eq!(builder.chunks(), leaves.len() as u64);
    builder.finish()
}

#[test]
fn the_table_is_blake3s_stream() {
    let mut stream = blake3::Hasher::new().update(b"DartSync 1: gear table").finalize_xof();
    for number in gear::GEAR {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        assert_eq!(number, u64::from_le_bytes(bytes));
    }
}

#[test]
fn constants_are_what_they_name() {
    assert_eq!(EMPTY_ROOT, node_id(1, &[]));
    assert_eq!(ZERO_CHUNK, chunk_id(&vec![0; CHUNK_MAX]));
    assert_eq!(slow_cuts(&vec![0; CHUNK_MAX + 9]), [CHUNK_MAX, 9]);
    let mut count = crate::limits::FILE_SIZE.div_ceil(CHUNK_MIN as u64);
    for _ in 0..LEVELS {
        assert!(count > 1);
        count = count.div_ceil(NODE_MIN as u64);
    }
    assert_eq!(count, 1, "the largest file needs exactly LEVELS");
}

#[test]
fn cuts_are_those_of_the_slow_reference_however_the_bytes_come() {
    let mut bytes = random(1, 1_500_000);
    bytes[300_000..700_000].fill(0);
    for (i, b) in bytes[900_000..1_000_000].iter_mut().enumerate() {
        *b = b"the same line again\n"[i % 20];
    }
    let cuts = slow_cuts(&bytes);
    assert!(cuts.len() > 8);
    for (seed, most) in [(1, 700), (2, 70_000), (3, 600_000), (4, 5_000_000)] {
        let (root, leaves) = hash_in(&bytes, numbers(seed, most));
        let mut rest = &bytes[..];
        assert_eq!(leaves.iter().map(|l| l.len as usize).collect::<Vec<_>>(), cuts);
        for leaf in &leaves {
            assert_eq!(Chunker::cut(rest), leaf.len as usize);
            assert_eq!(leaf.offset as usize, bytes.len() - rest.len());
            assert_eq!(leaf.hash, chunk_id(&rest[..leaf.len as usize]));
            rest = &rest[leaf.len as usize..];
        }
        assert_eq!(root, naive_root(&leaves));
    }
}

#[test]
fn lengths_about_the_bounds() {
    let bytes = random(5, 2 * CHUNK_MAX);
    for len in [0, 1, 63, 64, CHUNK_MIN - 1, CHUNK_MIN, CHUNK_MIN + 1, CHUNK_MAX, 2 * CHUNK_MAX] {
        let (root, leaves) = hash_in(&bytes[..len], numbers(len as u64, 100_000));
        assert_eq!(leaves.iter().map(|l| l.len as usize).collect::<Vec<_>>(), slow_cuts(&bytes[..len]));
        assert_eq!(root, naive_root(&leaves));
        assert!(root.is_valid());
        assert_eq!(root.level == 0, leaves.len() == 1);
    }
}

#[test]
fn chunks_have_the_sizes_they_should() {
    let bytes = random(6, 24 << 20);
    let (_, leaves) = hash_in(&bytes, std::iter::repeat(1 << 20));
    assert_eq!(leaves.iter().map(|l| l.len as usize).collect::<Vec<_>>(), rolled_cuts(&bytes));
    let mean = bytes.len() / leaves.len();
    assert!((60 << 10..68 << 10).contains(&mean), "{mean}");
    let theirs = fastcdc::v2020::FastCDC::new(&bytes, 16 << 10, 64 << 10, 256 << 10).count();
    assert!(leaves.len().abs_diff(theirs) < leaves.len() / 2, "{} {theirs}", leaves.len());
    let spread = leaves.iter().filter(|l| l.len < 56 << 10).count() * 100 / leaves.len();
    assert!((30..50).contains(&spread), "{spread} % end in the first half of the mean search (39 expected)");
}

#[test]
fn an_edit_moves_only_the_chunks_near_it() {
    let mut bytes = random(7, 6 << 20);
    let (_, before) = hash_in(&bytes, std::iter::repeat(1 << 20));
    bytes.insert(3 << 20, 42);
    let (_, after) = hash_in(&bytes, std::iter::repeat(1 << 20));
    let fresh = after.iter().filter(|a| !before.iter().any(|b| b.hash == a.hash)).count();
    assert!((1..=8).contains(&fresh), "{fresh} of {} chunks are new", after.len());
}

#[test]
fn zeros_by_count_are_zeros_by_byte() {
    for (head, zeros, tail) in [(0, 5 << 20, 0), (100_000, 900_001, 77_777), (1, CHUNK_MAX, 1), (0, 10, 0)] {
        let (start, end) = (random(8, head), random(9, tail));
        let mut hasher = ContentHasher::new();
        let mut leaves = Vec::new();
        hasher.update(&start, |l| leaves.push(l));
        hasher.update_zeros(zeros as u64, |l| leaves.push(l));
        hasher.update(&end, |l| leaves.push(l));
        let root = hasher.finish(|l| leaves.push(l));
        let bytes = [start, vec![0; zeros], end].concat();
        let (same, same_leaves) = hash_in(&bytes, std::iter::repeat(4096));
        assert_eq!((root, leaves), (same, same_leaves));
    }
}

const COUNTS: [usize; 14] = [0, 1, 2, 15, 16, 17, 79, 255, 256, 257, 1_000, 5_000, 20_000, 100_000];

#[test]
fn builder_manifest_and_walker_agree_with_whole_lists() {
    for (seed, count) in COUNTS.into_iter().enumerate() {
        let leaves = made_up(seed as u64, count);
        let root = naive_root(&leaves);
        assert_eq!(built(&leaves), root, "{count}");
        let manifest = manifest(&leaves);
        assert_eq!(manifest.root(), root, "{count}");
        assert!(root.is_valid());

        let memory = vec![0; root.walk_memory()];
        let mut walker = Walker::new(root, memory).unwrap();
        let mut out = [0; NODE_BYTES];
        let (mut seen, mut nodes) = (0, 0);
        loop {
            match walker.step() {
                Step::Leaf(leaf) => {
                    assert_eq!(leaf, leaves[seen]);
                    seen += 1;
                }
                Step::Need(want) => {
                    let node = manifest.node(want.level, want.offset).unwrap();
                    assert_eq!((node.hash, node.len), (want.hash, want.len));
                    let n = manifest.encode(node, &mut out);
                    assert_eq!(n, node.encoded_len());
                    walker.feed(&out[..n]).unwrap();
                    nodes += 1;
                }
                Step::End => break,
            }
        }
        assert_eq!(seen, leaves.len());
        let all: usize = (1..=root.level).map(|l| manifest.level(l).len()).sum();
        assert_eq!(nodes, if count == 0 { 0 } else { all });
    }
}

#[test]
fn chunks_are_found_by_offset() {
    for count in [0, 1, 40, 3_000] {
        let leaves = made_up(3, count);
        let manifest = manifest(&leaves);
        assert_eq!(manifest.leaves().collect::<Vec<_>>(), leaves);
        for leaf in leaves.iter().step_by(7) {
            assert_eq!(manifest.chunk_at(leaf.offset), Some(*leaf));
            assert_eq!(manifest.chunk_at(leaf.offset + 1), None);
            assert_eq!(manifest.chunk_over(leaf.offset + leaf.len as u64 - 1), Some(*leaf));
        }
        assert_eq!(manifest.chunk_over(manifest.root().size), None);
        assert!(
            manifest.node(1, 1).is_none() && manifest.node(0, 0).is_none() && manifest.node(9, 0).is_none()
        );
    }
}

#[test]
fn trees_of_an_edited_list_share_their_nodes() {
    let mut leaves = made_up(4, 20_000);
    let before = manifest(&leaves);
    leaves.remove(9_000);
    let after = manifest(&leaves);
    let known: std::collections::BTreeSet<Hash> = before.level(1).iter().map(|n| n.hash).collect();
    let fresh = after.level(1).iter().filter(|n| !known.contains(&n.hash)).count();
    assert!(fresh <= 4, "{fresh} of {} nodes are new", after.level(1).len());
}

#[test]
fn damaged_lists_are_refused() {
    let leaves = made_up(5, 40);
    let check = |list: Vec<u8>| {
        let nodes = vec![Node::default(); manifest_room(&list)];
        Manifest::new(list, nodes).map(|m| m.root())
    };
    let good = list(&leaves);
    assert!(check(good.clone()).is_ok());
    assert_eq!(check(good[1..].to_vec()), Err(BadNode::Shape));
    for (at, len) in [(3, 0u32), (3, CHUNK_MIN as u32 - 1), (39, CHUNK_MAX as u32 + 1), (39, 0)] {
        let mut bad = good.clone();
        bad[at * LEAF_BYTES + 32..][..4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(check(bad), Err(BadNode::Length));
    }
}

/// A node of level 1 over these lengths with hashes that end it nowhere before 256.
fn node(lens: &[u32]) -> (Vec<u8>, Entry) {
    let bytes: Vec<u8> =
        lens.iter().flat_map(|&len| Leaf { offset: 0, len, hash: Hash([1; 32]) }.encode()).collect();
    let entry = Entry { hash: node_id(1, &bytes), len: lens.iter().map(|l| *l as u64).sum() };
    (bytes, entry)
}

#[test]
fn nodes_from_elsewhere_are_checked() {
    let min = CHUNK_MIN as u32;
    let bad = |lens: &[u32], first, last| {
        let (bytes, of) = node(lens);
        NodeView::check(1, &bytes, &of, first, last).err()
    };
    assert_eq!(bad(&[min, min, 5], true, true), None);
    assert_eq!(bad(&[5], false, true), None, "the last node of a level may have one entry");
    assert_eq!(bad(&[5], true, true), Some(BadNode::Shape), "a root of one entry is that entry");
    assert_eq!(bad(&[min, min, 5], true, false), Some(BadNode::Shape), "short, though its level goes on");
    assert_eq!(bad(&[min; 256], false, false), None);
    assert_eq!(bad(&[min; 257], false, true), Some(BadNode::Shape));
    assert_eq!(bad(&[min, 0, 5], true, true), Some(BadNode::Length));
    assert_eq!(bad(&[min, min, 0], true, true), Some(BadNode::Length));
    assert_eq!(bad(&[min, 9, min], true, true), Some(BadNode::Length));
    assert_eq!(bad(&[min, CHUNK_MAX as u32 + 1, min], true, true), Some(BadNode::Length));
    assert_eq!(bad(&[], true, true), None, "an empty file's root");

    let (mut bytes, of) = node(&[min, min]);
    let sum = Entry { len: of.len + 1, ..of };
    assert_eq!(NodeView::check(1, &bytes, &sum, true, true).err(), Some(BadNode::Sum));
    assert_eq!(NodeView::check(2, &bytes, &of, true, true).err(), Some(BadNode::Shape), "another level");
    assert_eq!(NodeView::check(1, &bytes[..71], &of, true, true).err(), Some(BadNode::Shape));
    bytes[5] ^= 1;
    assert_eq!(NodeView::check(1, &bytes, &of, true, true).err(), Some(BadNode::Hash));
}

#[test]
fn a_bad_node_leaves_the_walk_where_it_was() {
    let leaves = made_up(6, 600);
    let manifest = manifest(&leaves);
    let root = manifest.root();
    let mut memory = vec![0; root.walk_memory()];
    let mut walker = Walker::new(root, &mut memory[..]).unwrap();
    let Step::Need(want) = walker.step() else { unreachable!("a node first") };
    assert_eq!((want.level, want.offset, want.hash), (root.level, 0, root.hash));
    let mut out = [0; NODE_BYTES];
    let n = manifest.encode(manifest.node(want.level, 0).unwrap(), &mut out);
    out[0] ^= 1;
    assert_eq!(walker.feed(&out[..n]), Err(BadNode::Hash));
    assert_eq!(walker.step(), Step::Need(want));
    out[0] ^= 1;
    walker.feed(&out[..n]).unwrap();
    assert_ne!(walker.step(), Step::Need(want));
}

#[test]
fn roots_from_elsewhere_are_bounded() {
    let bad = [
        Root { hash: Hash([1; 32]), level: 0, size: CHUNK_MAX as u64 + 1 },
        Root { hash: Hash([1; 32]), level: 9, size: 1 << 30 },
        Root { hash: Hash([1; 32]), level: 8, size: crate::limits::FILE_SIZE + 1 },
        Root { hash: Hash([1; 32]), level: 1, size: 0 },
        Root { hash: EMPTY_ROOT, level: 0, size: 0 },
    ];
    for root in bad {
        assert_eq!(Walker::new(root, Vec::new()).err(), Some(BadNode::Root), "{root:?}");
    }
    let mut empty = Walker::new(Root::EMPTY, vec![0; NODE_BYTES]).unwrap();
    assert_eq!(empty.step(), Step::End);
    let text = symlink_root(b"../elsewhere");
    let mut link = Walker::new(text, Vec::new()).unwrap();
    assert_eq!(link.step(), Step::Leaf(Leaf { offset: 0, len: 12, hash: chunk_id(b"../elsewhere") }));
    assert_eq!(link.step(), Step::End);
    assert_ne!(text.symlink_id(), text.file_id());
}
