//! How fast contents are named: chunking with hashing, in memory, on one thread, beside the hash alone.
//! `bench_hash [MIB] [ROUNDS]`; build with `--release`.

use dartsync_core::content::{Chunker, ContentHasher, chunk_id};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a number"));
    let (mib, rounds) = (args.next().unwrap_or(256), args.next().unwrap_or(3));
    let bytes = random(mib << 20);
    let measure = |name: &str, work: &dyn Fn()| {
        let best = (0..rounds.max(1))
            .map(|_| {
                let start = Instant::now();
                work();
                start.elapsed().as_secs_f64()
            })
            .fold(f64::MAX, f64::min);
        println!("{name:<40} {:>6.2} GB/s", bytes.len() as f64 / best / 1e9);
    };
    measure("BLAKE3 alone, 64 KiB at a time", &|| {
        for chunk in bytes.chunks(64 << 10) {
            black_box(chunk_id(chunk));
        }
    });
    measure("cuts alone", &|| {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[Chunker::cut(rest)..];
        }
    });
    measure("content id, 1 MiB at a time", &|| {
        let mut hasher = ContentHasher::new();
        for block in bytes.chunks(1 << 20) {
            hasher.update(block, |leaf| {
                black_box(leaf);
            });
        }
        black_box(hasher.finish(|_| ()).file_id());
    });
    let zeros = vec![0; 1 << 20];
    measure("content id of zeros", &|| {
        let mut hasher = ContentHasher::new();
        for _ in 0..mib {
            hasher.update(&zeros, |_| ());
        }
        black_box(hasher.finish(|_| ()).file_id());
    });
}

/// Bytes without repetition (xorshift64*).
fn random(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        bytes.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes
}
