//! Frozen values, also printed in docs/PROTOCOL.md. If one of these fails, the code is wrong: never change the value.

use super::*;
use crate::ids::ContentId;
use std::prelude::rust_2024::*;
use std::{format, vec};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The first bytes of BLAKE3's output stream of a text.
fn stream(of: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(of.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn hash(bytes: &[u8]) -> (Root, Vec<Leaf>) {
    let (mut hasher, mut leaves) = (ContentHasher::new(), Vec::new());
    hasher.update(bytes, |l| leaves.push(l));
    let root = hasher.finish(|l| leaves.push(l));
    (root, leaves)
}

/// Length of the input, level, root, content id.
const FILES: [(usize, u8, &str, &str); 5] = [
    (
        0,
        1,
        "669929eb1a6b0ca012304b7f6512239e3f51cbbc1257aa64406afa6fea168a5b",
        "1fc723d3ba333a7974c2b3524845624ade863fd8970897c7084cc56e8758d5cb",
    ),
    (
        1,
        0,
        "b33eaab01f4d5f34f14a95dbc8b6c3eaca0d4288d017ccb788a0f0ce58985cf3",
        "3e4b7842dec034e0f897e421b3dd60b354141f802af713162f795de29b1f2dfc",
    ),
    (
        49_151,
        0,
        "77eeeafeece05d8f35988d55a6622965ad943747713baf02ff6e9192956e1e8c",
        "cda2f0825f7d3649b34a94696cc19103c9372a3b4dfbad6946d561191056cdc3",
    ),
    (
        100_000,
        1,
        "b6a419969c4193db9f4f61dbfecbebd182edf5eb2ae7d3f1d91606dd0f2a120b",
        "69a35688acc38193ebe0c6763a46134c5466166e7e2f3dbedea7628ca7b43909",
    ),
    (
        1_000_000,
        1,
        "5baf680572304259e022895ae0612789d4714fe3186f8e7aa99fc7ef04d47928",
        "b64f6553612638a8ba7f129da8727db47b95f67418238a061fbeb40a4badeef7",
    ),
];

#[test]
fn files() {
    let bytes = stream("DartSync 1: test input", 1_000_000);
    for (len, level, root, id) in FILES {
        let (got, _) = hash(&bytes[..len]);
        assert_eq!((got.level, got.size), (level, len as u64));
        assert_eq!((&*hex(&got.hash.0), &*hex(&got.file_id().0)), (root, id), "{len}");
    }
}

/// The chunks of the longest of [`FILES`].
const LENGTHS: [u32; 17] = [
    53119, 81935, 56179, 53521, 78221, 61464, 50153, 78712, 59017, 52826, 59517, 50305, 54421, 65003, 60476,
    53908, 31223,
];

#[test]
fn chunks() {
    let (_, leaves) = hash(&stream("DartSync 1: test input", 1_000_000));
    assert_eq!(leaves.iter().map(|l| l.len).collect::<Vec<_>>(), LENGTHS);
    let expected = "4c4af632b2aa67b3aeeb0bf1cebaed0a46fbb8cbe8fab1fb89e05bed31285fa2";
    assert_eq!(hex(&leaves[0].hash.0), expected);
    let expected = "71d607f2f58f6374f003d4a85553147c4935282ce51e8ac153cca3c974468c77";
    assert_eq!(hex(&leaves[16].hash.0), expected);
    let expected = "c72f36f8964fd7ec5c5546b75c799652ba1df535279eb2806515970ab7ba1619";
    assert_eq!(hex(&chunk_id(&vec![0; 262_144]).0), expected);
}

/// Level, nodes of it; of the first: entries, bytes of the file, name.
const TREE: [(u8, usize, usize, u64, &str); 3] = [
    (1, 129, 88, 4_329_204, "4dbff5abd0474bfff6f81b170c2af77f6532d35ee3352d53a655c3ac15f333ff"),
    (2, 2, 50, 187_437_402, "48adfdcea31cea6bc9315ff52b6f7bace0dd2c650c2472ff7f91fabb39169ded"),
    (3, 1, 2, 541_515_000, "8dbbc89c99e887e6c0340c2c88d251b36fe1573ed2195a2cf1634d7ad0c646e8"),
];

#[test]
fn tree() {
    let hashes = stream("DartSync 1: test chunks", 10_000 * 32);
    let (mut builder, mut list) = (ManifestBuilder::new(), Vec::new());
    for (i, bytes) in hashes.chunks_exact(32).enumerate() {
        let hash = Hash(bytes.try_into().unwrap());
        let leaf = Leaf { offset: builder.size(), len: 49_152 + i as u32, hash };
        builder.push(leaf.hash, leaf.len);
        list.extend(leaf.encode());
    }
    let nodes = vec![Node::default(); manifest_room(&list)];
    let manifest = Manifest::new(list, nodes).unwrap();
    assert_eq!(manifest.root(), builder.finish());
    for (level, count, entries, len, name) in TREE {
        let nodes = manifest.level(level);
        assert_eq!((nodes.len(), nodes[0].count(), nodes[0].len), (count, entries, len), "{level}");
        assert_eq!(hex(&nodes[0].hash.0), name);
    }
    let id = "bcb58b59558a6e16653dd486198e510575deca99fdd3aa780095f6353b633978";
    assert_eq!(hex(&manifest.root().file_id().0), id);
}

#[test]
fn symlink() {
    let root = symlink_root(b"../target");
    assert_eq!(hex(&root.hash.0), "4f49e5c8f43080173c3d0ecf70525829d02625006ce2b3456cb7323f13c4e6fa");
    assert_eq!(hex(&root.symlink_id().0), "733162efe285793e7d76fc395e6f40de2f14b543767654fdce13af122c9203af");
    assert_ne!(root.symlink_id(), ContentId::NONE);
}
