//! Bench of the tracker's file table: a million records of 64-byte paths in 192 MiB, then updates of all of them; or how
//! many of them fit into another memory.
//!
//! `cargo run --release -p dartsync-tests --bin bench_table [MIB]`

use anyhow::{Context as _, anyhow, ensure};
use dartsync_core::ids::{ContentId, DeviceId, FolderSlot, Seq, SlotSet, Tag};
use dartsync_core::path::Path;
use dartsync_core::record::{Kind, Record};
use dartsync_core::tracker::table::{Full, Table};
use dartsync_core::version::{Edit, VersionVector};
use std::time::{Duration, Instant};

const MEMORY: usize = 192 << 20;
const RECORDS: u64 = 1_000_000;
const UPDATES: u64 = 2_000_000;
/// 2026-01-01 in microseconds: counters look like this.
const EPOCH: u64 = 1_767_225_600_000_000;

/// A path of 64 bytes.
fn path(n: u64) -> String {
    let path = format!("documents/projects/group-{:04}/section-{:03}/holiday-pic-{n:010}", n / 1000, n % 997);
    let path = format!("{path:.<64}");
    assert_eq!(path.len(), 64);
    path
}

/// A file whose vector has three entries, as after edits on three devices.
fn record(n: u64, round: u64) -> Record {
    let counter = |k: u64| EPOCH + round * 86_400_000_000 + n * 1_000 - k * 3_600_000_000;
    let tags = [0, 1, 2].map(|k| Tag(0x1234_5678 + ((n + k) % 5) as u32));
    let mut version = VersionVector::new();
    for (k, tag) in tags.iter().enumerate() {
        assert!(version.raise(Edit { tag: *tag, counter: counter(k as u64) }), "three fit");
    }
    let mut content = [0; 32];
    content[..8].copy_from_slice(&n.to_le_bytes());
    Record {
        kind: Kind::File,
        mode: 0o644,
        size: 4096 + n % 1_000_000,
        mtime: (counter(0) * 1_000) as i64,
        content: ContentId(content),
        author: DeviceId(1 + (n % 5) as u32),
        edit: Edit { tag: tags[0], counter: counter(0) },
        parent: Some(Edit { tag: tags[1], counter: counter(1) }),
        version,
        ..Record::default()
    }
}

/// How long puts took.
struct Took {
    total: Duration,
    /// The worst single one. On a busy machine that is the scheduler's doing.
    worst: Duration,
    /// All but one in ten thousand took at most this.
    usual: Duration,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p99.99 {:?}, worst {:?}", self.usual, self.worst)
    }
}

/// Puts the records that `at` names.
fn put_all(table: &mut Table<'_>, count: u64, at: impl Fn(u64) -> (u64, u64)) -> anyhow::Result<Took> {
    let mut each = Vec::with_capacity(usize::try_from(count)?);
    for i in 0..count {
        let (n, round) = at(i);
        let (name, record) = (path(n), record(n, round));
        let path = Path::new(name.as_bytes()).map_err(|e| anyhow!("{name}: {e:?}"))?;
        let start = Instant::now();
        table
            .put(FolderSlot(0), path, &record, SlotSet(1))
            .map_err(|e| anyhow!("{e:?}"))
            .with_context(|| format!("put {i} of {count}"))?;
        each.push(start.elapsed());
    }
    let total = each.iter().sum();
    each.sort();
    Ok(Took { total, worst: each[each.len() - 1], usual: each[each.len() - 1 - each.len() / 10_000] })
}

/// Puts records until no more fit, in as much memory.
fn fill(mib: usize) -> anyhow::Result<()> {
    let mut memory = vec![0; mib << 20];
    let mut table = Table::seeded(&mut memory, 42);
    let (mut count, start) = (0, Instant::now());
    loop {
        let (name, record) = (path(count), record(count, 0));
        let path = Path::new(name.as_bytes()).map_err(|e| anyhow!("{name}: {e:?}"))?;
        match table.put(FolderSlot(0), path, &record, SlotSet(1)) {
            Ok(_) => count += 1,
            Err(Full::Space) => break,
            Err(e) => return Err(anyhow!("put {count}: {e:?}")),
        }
    }
    println!("records        {count}  in {mib} MiB, and the last tenth kept for updates and tombstones");
    println!("inserts        {:.0} /s", count as f64 / start.elapsed().as_secs_f64());
    table.check().map_err(|e| anyhow!("{e}"))
}

fn main() -> anyhow::Result<()> {
    if let Some(mib) = std::env::args().nth(1) {
        return fill(mib.parse().context("MiB")?);
    }
    let mut memory = vec![0; MEMORY];
    memory.fill(1);
    let mut table = Table::seeded(&mut memory, 42);
    let took = put_all(&mut table, RECORDS, |i| (i, 0))?;
    let usage = table.usage();
    ensure!(table.len() as u64 == RECORDS);
    println!("records        {}  of about {} that fit", table.len(), table.estimate_capacity());
    println!("bytes a record {:.1}  in the log", usage.live as f64 / RECORDS as f64);
    println!(
        "full           {:.1} %; the last 10 % are kept for updates and tombstones",
        f64::from(usage.permille) / 10.0
    );
    println!("inserts        {:.0} /s, {took}", RECORDS as f64 / took.total.as_secs_f64());
    let scattered = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % RECORDS, 1 + i / RECORDS);
    let took = put_all(&mut table, UPDATES, scattered)?;
    println!("updates        {:.0} /s, {took}", UPDATES as f64 / took.total.as_secs_f64());
    println!("stalls         {}", table.stalls());
    let start = Instant::now();
    let (mut cursor, mut seen) = (Seq(0), 0u64);
    while let Some(e) = table.next_after(cursor) {
        cursor = e.seq();
        seen += u64::from(e.record().size > 0);
    }
    println!("walked         {:.0} /s, decoded", seen as f64 / start.elapsed().as_secs_f64());
    table.check().map_err(|e| anyhow!("{e}"))
}
