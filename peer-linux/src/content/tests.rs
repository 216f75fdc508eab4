use super::*;
use dartsync_core::content::Leaves;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

static GO: AtomicBool = AtomicBool::new(false);

/// A file of its own, gone at the end.
struct Temp(PathBuf, File);

impl Temp {
    fn new(bytes: &[u8]) -> Temp {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dartsync-content-{}-{n}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        Temp(path, file)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut bytes);
    bytes
}

fn in_memory(bytes: &[u8]) -> (Root, Vec<Leaf>) {
    let (mut hasher, mut leaves) = (ContentHasher::new(), Vec::new());
    hasher.update(bytes, |l| leaves.push(l));
    let root = hasher.finish(|l| leaves.push(l));
    (root, leaves)
}

#[test]
fn files_have_the_ids_of_their_bytes() {
    let bytes = random(3 * BLOCK + 12_345);
    let mut block = Vec::new();
    for len in [0, 1, 4_096, 60_000, BLOCK, BLOCK + 1, bytes.len()] {
        let temp = Temp::new(&bytes[..len]);
        let hashed = hash_file(&temp.1, &mut block, &GO).unwrap();
        let (root, leaves) = in_memory(&bytes[..len]);
        assert_eq!((hashed.root, hashed.content), (root, root.file_id()), "{len}");
        let listed: Vec<Leaf> = Leaves::new(&hashed.leaves).collect();
        assert_eq!(listed, if leaves.len() > 1 { leaves } else { Vec::new() }, "{len}");
        if len > BLOCK {
            assert_eq!(manifest(hashed.leaves).unwrap().root(), root);
        }
    }
}

#[test]
fn sparse_files_have_the_ids_of_their_bytes() {
    let bytes = random(300_000);
    let temp = Temp::new(&[]);
    temp.1.set_len(6_000_000).unwrap();
    temp.1.write_all_at(&bytes, 1_000_001).unwrap();
    temp.1.write_all_at(&bytes, 4_444_444).unwrap();
    let mut all = vec![0; 6_000_000];
    all[1_000_001..][..bytes.len()].copy_from_slice(&bytes);
    all[4_444_444..][..bytes.len()].copy_from_slice(&bytes);
    let hashed = hash_file(&temp.1, &mut Vec::new(), &GO).unwrap();
    assert_eq!(hashed.root, in_memory(&all).0);
}

#[test]
fn a_large_hole_takes_no_time() {
    let temp = Temp::new(b"head");
    if temp.1.set_len(5 << 30).is_err() {
        return;
    }
    let start = Instant::now();
    let hashed = hash_file(&temp.1, &mut Vec::new(), &GO).unwrap();
    assert_eq!(hashed.root.size, 5 << 30);
    assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
}

#[test]
fn hashing_stops_when_asked() {
    let temp = Temp::new(b"x");
    let stop = AtomicBool::new(true);
    assert!(matches!(hash_file(&temp.1, &mut Vec::new(), &stop), Err(HashError::Cancelled)));
    let leaf = Leaf { offset: 0, len: 1, hash: chunk_id(b"x") };
    let verified = verify_part(&temp.1, [leaf], &mut Vec::new(), &stop, |_, _| unreachable!());
    assert!(matches!(verified, Err(HashError::Cancelled)));
}

#[test]
fn a_symlinks_text_is_one_chunk() {
    let hashed = hash_symlink(b"../target");
    assert_eq!(hashed.root.hash, chunk_id(b"../target"));
    assert_eq!(hashed.content, hashed.root.symlink_id());
    assert!(hashed.leaves.is_empty());
}

#[test]
fn a_part_file_tells_what_it_holds() {
    let mut bytes = random(2_000_000);
    bytes.extend_from_slice(&[0; 3 * limits::CHUNK_MAX]);
    let (_, leaves) = in_memory(&bytes);
    let temp = Temp::new(&[]);
    temp.1.set_len(bytes.len() as u64).unwrap();
    let landed = |i: usize| i.is_multiple_of(3);
    for (_, leaf) in leaves.iter().enumerate().filter(|(i, _)| landed(*i)) {
        let range = leaf.offset as usize..leaf.offset as usize + leaf.len as usize;
        temp.1.write_all_at(&bytes[range], leaf.offset).unwrap();
    }
    let damaged = leaves[3];
    temp.1.write_all_at(&[bytes[damaged.offset as usize] ^ 1], damaged.offset).unwrap();
    let check = |short: Option<u64>| {
        let mut held = Vec::new();
        if let Some(len) = short {
            temp.1.set_len(len).unwrap();
        }
        verify_part(&temp.1, leaves.iter().copied(), &mut Vec::new(), &GO, |l, here| held.push((l, here)))
            .unwrap();
        assert!(held.iter().map(|h| h.0).eq(leaves.iter().copied()));
        held
    };
    for (i, (leaf, here)) in check(None).into_iter().enumerate() {
        let expected = (landed(i) && i != 3) || leaf.hash == ZERO_CHUNK;
        assert_eq!(here, expected, "chunk {i}, {leaf:?}");
    }
    let cut = leaves[6].offset + 10;
    assert!(check(Some(cut)).iter().all(|(leaf, here)| !here || leaf.offset + leaf.len as u64 <= cut));
}
