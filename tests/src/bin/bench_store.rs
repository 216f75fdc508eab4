//! Times the peer's store: first scan, restart, updates and lookups of N rows (default 100,000).
//! `bench_store [N] [DIR]`

use dartsync::store::Store;
use dartsync_core::ids::{ContentId, Epoch, Folder, Row, Seq, Tag};
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Due, Index, Lane, Local, Made, Remote, Stat, Trees};
use dartsync_core::record::{Kind, Record};
use dartsync_core::version::{Edit, VersionVector};
use std::time::Instant;

const F: Folder = Folder(1);

fn trees(n: u64) -> Trees {
    let edit = Edit { tag: Tag(77), counter: 1_760_000_000_000_000 + n };
    let mut content = ContentId([9; 32]);
    content.0[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let version = VersionVector::of(edit);
    let mtime = 1_760_000_000_000_000_000;
    let kind = Kind::File;
    let record = Record { kind, mode: 0o644, size: n, mtime, content, edit, version, ..Record::default() };
    let stat = Stat { kind, mode: 0o644, size: n, mtime, ctime: mtime, ino: n };
    Trees { local: Some(Local { record, made: Made::Minted, stat, at: edit.counter }), ..Trees::default() }
}

fn time<R>(what: &str, n: u64, f: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = f();
    let took = start.elapsed();
    println!("{what}: {:.3} s ({:.2} µs each)", took.as_secs_f64(), took.as_secs_f64() * 1e6 / n as f64);
    result
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let n: u64 = args.next().map_or(Ok(100_000), |a| a.parse())?;
    let base = args.next().map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    let dir = base.join(format!("dartsync-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = run(n, &dir);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn run(n: u64, dir: &std::path::Path) -> anyhow::Result<()> {
    let name = |i: u64| format!("photos and papers/{:04}/file number {:03}.jpeg", i / 100, i % 100);
    let mut store = Store::open(dir)?.0;
    let rows: Vec<Row> = time("find + create + save, commits of 1,024 rows", n, || {
        let row = |i| {
            let name = name(i);
            let path = Path::new(name.as_bytes()).expect("a path");
            assert_eq!(store.find(F, path), None);
            let row = store.create(F, path);
            store.save(row, &trees(i), None);
            if i % 1024 == 1023 {
                store.commit(false).expect("room");
            }
            row
        };
        (0..n).map(row).collect()
    });
    time("durable commit", 1, || store.commit(true))?;
    println!("file: {} B a row", std::fs::metadata(dir.join("store.redb"))?.len() / n);
    let order = |i: u64| (i.wrapping_mul(7919) % n) as usize;
    let mut t = Trees::default();
    time("load + save as synced with a due, all in one transaction", n, || {
        for i in 0..n {
            let row = rows[order(i)];
            assert!(store.load(row, &mut t));
            let record = t.local.as_ref().expect("saved").record.clone();
            t.remote = Some(Remote { record: record.clone(), epoch: Epoch(5), seq: Seq(i + 1) });
            t.synced = Some(record);
            store.save(row, &t, Some(Due { lane: Lane::Quick, key: i }));
        }
    });
    time("durable commit", 1, || store.commit(true))?;
    time("first of the lane + load + save without a due", n, || {
        while let Some((_, row)) = store.due(F, Lane::Quick, None) {
            store.load(row, &mut t);
            store.save(row, &t, None);
        }
    });
    time("durable commit", 1, || store.commit(true))?;
    time("one row, durable, 100 times", 100, || {
        (0..100).try_for_each(|i| {
            store.save(rows[i], &t, Some(Due { lane: Lane::Later, key: i as u64 }));
            store.commit(true)
        })
    })?;
    println!("file: {} B a row", std::fs::metadata(dir.join("store.redb"))?.len() / n);
    drop(store);
    let mut store = time("open", 1, || Store::open(dir))?.0;
    let mut walked = 0;
    time("next + load, all", n, || {
        let (mut at, mut into) = (PathBuf::new(), PathBuf::new());
        while let Some(row) = store.next(F, at.get(), &mut into) {
            std::mem::swap(&mut at, &mut into);
            assert!(store.load(row, &mut t));
            walked += 1;
        }
    });
    assert_eq!(walked, n);
    Ok(())
}
