//! The table against a naive one, and at its edges.

use super::*;
use crate::ids::{ContentId, DeviceId, Slot};
use crate::version::{Edit, VersionVector};
use std::collections::BTreeMap;
use std::string::String;
use std::{format, vec, vec::Vec};

/// A small seeded generator (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn edit(tag: u32, counter: u64) -> Edit {
    Edit { tag: Tag(tag), counter }
}
fn path(s: &str) -> Path<'_> {
    Path::new(s.as_bytes()).unwrap()
}
fn file(tag: u32, counter: u64) -> Record {
    let edit = edit(tag, counter);
    let content = ContentId([counter as u8; 32]);
    let version = VersionVector::of(edit);
    Record { kind: Kind::File, size: 3, content, edit, author: DeviceId(1), version, ..Record::default() }
}
fn tombstone(tag: u32, counter: u64) -> Record {
    Record { kind: Kind::Removed, size: 0, ..file(tag, counter) }
}

/// Any valid record with a vector of few entries of `tags` tags.
fn any_record(rng: &mut Rng, tags: u64) -> Record {
    let mut version = VersionVector::new();
    for _ in 0..1 + rng.below(5) {
        let spread = [8, 50, 61][rng.below(3) as usize];
        assert!(version.raise(edit(1 + rng.below(tags) as u32, 1 + rng.below(1 << spread))));
    }
    let own = version.entries()[rng.below(version.entries().len() as u64) as usize];
    let kind = [Kind::Removed, Kind::File, Kind::Directory, Kind::Symlink][rng.below(4) as usize];
    let file = matches!(kind, Kind::File | Kind::Symlink);
    let flags = match kind {
        Kind::Directory => Flags(rng.below(2) as u8 * Flags::REVIVAL),
        Kind::File => Flags(u8::from(rng.below(5) == 0) * Flags::WITHDRAWN),
        _ => Flags(0),
    };
    let r = Record {
        kind,
        flags,
        mode: if matches!(kind, Kind::File | Kind::Directory) { rng.below(0o1000) as u16 } else { 0 },
        size: if file { 1 + rng.below(4096) } else { 0 },
        mtime: if file { rng.next() as i64 } else { 0 },
        content: if kind == Kind::Directory { ContentId::NONE } else { ContentId([rng.next() as u8; 32]) },
        author: DeviceId(rng.next() as u32),
        edit: edit(own.tag.0, 1 + rng.below(own.counter)),
        parent: (rng.below(2) == 0).then(|| edit(rng.below(tags + 9) as u32, rng.below(1 << 61))),
        version,
    };
    assert!(r.is_valid());
    r
}

type NaiveKey = (u8, Vec<u8>, bool);

/// What the table should hold.
#[derive(Default)]
struct Naive(BTreeMap<NaiveKey, (Record, Seq, SlotSet)>);

impl Naive {
    fn nth(&self, rng: &mut Rng) -> Option<(NaiveKey, Seq)> {
        let n = rng.below(self.0.len().max(1) as u64) as usize;
        self.0.iter().nth(n).map(|(k, v)| (k.clone(), v.1))
    }
    fn compare(&self, t: &Table<'_>) {
        assert_eq!(t.check(), Ok(()));
        assert_eq!(t.len(), self.0.len());
        let mut by_seq: Vec<_> = self.0.iter().map(|(k, v)| (v.1, k, v)).collect();
        by_seq.sort_by_key(|e| e.0);
        let mut cursor = Seq(0);
        for (seq, (folder, path, withdrawn), (record, _, holders)) in by_seq {
            let e = t.next_after(cursor).expect("as many as there are");
            assert_eq!((e.seq(), e.folder(), e.path().bytes()), (seq, FolderSlot(*folder), &path[..]));
            assert_eq!((&e.record(), e.holders(), e.flags().withdrawn()), (record, *holders, *withdrawn));
            assert_eq!((e.content(), e.kind(), e.flags()), (record.content, record.kind, record.flags));
            let p = Path::new(path).unwrap();
            let found = if *withdrawn {
                t.find_withdrawn(FolderSlot(*folder), p)
            } else {
                t.find(FolderSlot(*folder), p)
            };
            assert_eq!(found.unwrap().seq(), seq);
            cursor = seq;
        }
        assert!(t.next_after(cursor).is_none());
    }
}

/// Random operations on both; how many puts were refused.
fn run(seed: u64, memory: usize, paths: u64, ops: usize) -> usize {
    let mut rng = Rng(seed);
    let mut buffer = vec![0xa5; memory];
    let mut t = Table::seeded(&mut buffer, seed);
    let mut naive = Naive::default();
    let mut refused = 0;
    for op in 0..ops {
        match rng.below(100) {
            0..70 => refused += usize::from(!put_any(&mut t, &mut naive, &mut rng, paths)),
            70..80 => change_holders(&mut t, &mut naive, &mut rng),
            80..88 => {
                if let Some((key, seq)) = naive.nth(&mut rng) {
                    assert!(t.remove(seq) && !t.remove(seq));
                    naive.0.remove(&key);
                }
            }
            88..92 => withdraw_any(&mut t, &mut naive, &mut rng),
            92..99 => {
                t.maintain(rng.below(3000) as usize);
            }
            _ => sweep_any(&mut t, &mut naive, &mut rng),
        }
        if op % 97 == 0 {
            naive.compare(&t);
        }
    }
    naive.compare(&t);
    t.clear();
    Naive::default().compare(&t);
    assert_eq!(t.tail(), Seq(0));
    refused
}

fn put_any(t: &mut Table<'_>, naive: &mut Naive, rng: &mut Rng, paths: u64) -> bool {
    let n = rng.below(paths);
    let name = format!(
        "{}{n}",
        "long/".repeat(if n.is_multiple_of(50) { n as usize % 700 } else { n as usize % 9 })
    );
    let folder = rng.below(4) as u8;
    let record = any_record(rng, 20);
    let holders = SlotSet(rng.next());
    let tail = t.tail();
    let key = (folder, name.clone().into_bytes(), record.flags.withdrawn());
    match t.put(FolderSlot(folder), path(&name), &record, holders) {
        Ok(seq) => {
            assert_eq!(seq, Seq(tail.0 + 1));
            naive.0.insert(key, (record, seq, holders));
            true
        }
        Err(e) => {
            assert_eq!((e, t.tail()), (Full::Space, tail));
            false
        }
    }
}

fn change_holders(t: &mut Table<'_>, naive: &mut Naive, rng: &mut Rng) {
    let Some((key, seq)) = naive.nth(rng) else { return };
    let holders = SlotSet(rng.next());
    assert!(t.set_holders(seq, holders));
    naive.0.get_mut(&key).unwrap().2 = holders;
}

fn withdraw_any(t: &mut Table<'_>, naive: &mut Naive, rng: &mut Rng) {
    let Some((key, seq)) = naive.nth(rng) else { return };
    let (mut record, _, holders) = naive.0.remove(&key).unwrap();
    match t.withdraw(seq) {
        Some(new) => {
            assert!(record.has_content() && !key.2);
            record.flags.0 |= Flags::WITHDRAWN;
            naive.0.insert((key.0, key.1, true), (record, new, SlotSet::default()));
        }
        None => {
            assert!(!record.has_content() || key.2);
            naive.0.insert(key, (record, seq, holders));
        }
    }
}

fn sweep_any(t: &mut Table<'_>, naive: &mut Naive, rng: &mut Rng) {
    let (folder, slot, steps) = (rng.below(4) as u8, Slot(rng.below(64) as u8), 1 + rng.below(9) as usize);
    let what = rng.below(3);
    let mut from = Seq(0);
    loop {
        let progress = match what {
            0 => t.drop_folder(FolderSlot(folder), from, steps),
            1 => t.clear_holder(slot, from, steps),
            _ => t.clear_holder_in(FolderSlot(folder), slot, from, steps),
        };
        match progress {
            Progress::Done => break,
            Progress::More(next) => from = next,
        }
        t.maintain(300);
    }
    match what {
        0 => naive.0.retain(|k, _| k.0 != folder),
        w => naive.0.iter_mut().filter(|(k, _)| w == 1 || k.0 == folder).for_each(|(_, v)| v.2.remove(slot)),
    }
}

#[test]
fn does_what_a_naive_table_does() {
    for seed in 0..6 {
        run(seed, 200 * 1024, 300, 1500);
        assert!(run(seed + 100, 80 * 1024, 3000, 2500) > 0, "it was full at times");
        run(seed + 200, 20 * 1024, 60, 1500);
        run(seed + 300, 3 * 1024, 20, 800);
    }
}

#[test]
fn no_size_of_memory_panics() {
    for memory in (0..2048).step_by(31).chain([4096, 65_536 + 8, 131_072 + 3440]) {
        run(memory as u64, memory, 30, 200);
    }
}

/// Puts files until no new path is taken; how many there are.
fn fill(t: &mut Table<'_>) -> usize {
    let n = (0..)
        .take_while(|n| t.put(FolderSlot(0), path(&format!("file/{n:08}")), &file(1, 9), SlotSet(1)).is_ok());
    n.count()
}

#[test]
fn a_full_table_still_takes_updates_and_tombstones_for_ever() {
    let mut memory = vec![0; 400 * 1024];
    let mut t = Table::new(&mut memory);
    let n = fill(&mut t);
    assert!((890..=900).contains(&t.usage().permille), "{:?}", t.usage());
    assert!(t.estimate_capacity().abs_diff(n) <= n / 50, "{} of {n}", t.estimate_capacity());
    let mut rng = Rng(1);
    for round in 0..60_000u64 {
        let p = format!("file/{:08}", rng.below(n as u64));
        let record = if round % 3 == 0 { tombstone(1, round + 10) } else { file(1, round + 10) };
        t.put(FolderSlot(0), path(&p), &record, SlotSet(1)).expect("an update is taken");
        assert!(
            t.put(FolderSlot(0), path("new"), &file(1, 9), SlotSet(1)).is_err() || t.usage().permille < 900
        );
        if round % 10_000 == 0 {
            assert_eq!(t.check(), Ok(()));
        }
    }
    assert_eq!((t.check(), t.stalls()), (Ok(()), 0), "compaction kept up");
    // Tombstones of paths never heard of go into the reserve, until that is used up, too.
    let more = (0..).take_while(|m| {
        t.put(FolderSlot(0), path(&format!("gone/{m}")), &tombstone(1, 5), SlotSet(1)).is_ok()
    });
    assert!(more.count() > n / 20);
    for round in 0..5_000u64 {
        let p = format!("file/{:08}", rng.below(n as u64));
        t.put(FolderSlot(0), path(&p), &tombstone(1, round + 100_000), SlotSet(1)).expect("it got no longer");
    }
    assert_eq!((t.check(), t.stalls()), (Ok(()), 0));
    while let Step::Entry(e) = t.oldest_tombstone(Seq(0), usize::MAX) {
        let seq = e.seq();
        assert!(t.remove(seq));
    }
    assert_eq!(t.tombstones(), 0);
    assert_eq!(t.check(), Ok(()));
    assert!(fill(&mut t).abs_diff(n) < 3, "all of their room is free again");
}

#[test]
fn a_walker_sees_the_latest_of_every_path_while_it_changes() {
    for seed in 0..8 {
        let mut memory = vec![0; 160 * 1024];
        let mut t = Table::new(&mut memory);
        let mut rng = Rng(seed);
        let n = fill(&mut t) as u64;
        let mut seen: BTreeMap<String, Seq> = BTreeMap::new();
        let (mut cursor, mut changes) = (Seq(0), 3 * n);
        loop {
            match t.walk(cursor, 1 + rng.below(7) as usize) {
                Step::Entry(e) => {
                    assert!(e.seq() > cursor);
                    cursor = e.seq();
                    seen.insert(String::from_utf8(e.path().bytes().to_vec()).unwrap(), e.seq());
                }
                Step::Later(seq) => {
                    assert!(seq > cursor);
                    cursor = seq;
                }
                Step::End if changes == 0 => break,
                Step::End => {}
            }
            for _ in 0..rng.below(4).min(changes) {
                let p = format!("file/{:08}", rng.below(n));
                t.put(FolderSlot(0), path(&p), &file(1, changes + 10), SlotSet(0)).unwrap();
                changes -= 1;
            }
        }
        assert_eq!(seen.len(), t.len());
        for (p, seq) in seen {
            assert_eq!(t.find(FolderSlot(0), path(&p)).unwrap().seq(), seq, "{p}");
        }
    }
}

#[test]
fn tags_that_nobody_names_are_given_away() {
    let mut memory = vec![0; 128 * 1024];
    let mut t = Table::new(&mut memory);
    let f = FolderSlot(0);
    for n in 1..=255 {
        t.put(f, path(&format!("{n}")), &file(n, 7), SlotSet(1)).unwrap();
    }
    assert_eq!(t.put(f, path("x"), &file(256, 1), SlotSet(1)), Err(Full::Tags));
    assert_eq!((t.len(), t.check()), (255, Ok(())));
    let with_parent = Record { parent: Some(edit(257, 3)), ..file(256, 1) };
    assert_eq!(t.put(f, path("1"), &with_parent, SlotSet(1)), Err(Full::Tags), "one goes, two come");
    assert_eq!(t.find(f, path("1")).unwrap().record(), file(1, 7), "a refused put changes nothing");
    t.put(f, path("1"), &file(256, 1), SlotSet(1)).expect("one goes, one comes");
    assert_eq!((t.highest_counter(Tag(1)), t.highest_counter(Tag(256))), (0, 1));
    for n in 300..3000 {
        t.put(f, path(&format!("{}", 2 + n % 100)), &file(n, 7), SlotSet(1)).unwrap();
    }
    assert_eq!(t.check(), Ok(()));
    assert_eq!(t.find(f, path("2")).unwrap().record(), file(2900, 7));
    assert_eq!(t.find(f, path("255")).unwrap().record(), file(255, 7));
}

#[test]
fn the_longest_path_and_vector_fit_and_block_ends_are_counted() {
    let mut memory = vec![0; 500 * 1024];
    let mut t = Table::new(&mut memory);
    let mut version = VersionVector::new();
    (1..=64).for_each(|n| assert!(version.raise(edit(u32::MAX - n, (1 << 61) * u64::from(n % 2) + 1))));
    let parent = Some(edit(5, (1 << 62) - 1));
    let record =
        Record { edit: version.entries()[63], version, parent, author: DeviceId(u32::MAX), ..file(1, 1) };
    let long = |n: usize| {
        format!("{n:04}/{}", format!("{}/", "n".repeat(254)).repeat(17))[..4096].trim_end_matches('/').into()
    };
    let paths: Vec<String> = (0..200).map(long).collect();
    let mut n = 0;
    while t.put(FolderSlot(9), path(&paths[n]), &record, SlotSet(u64::MAX)).is_ok() {
        assert_eq!(t.find(FolderSlot(9), path(&paths[n])).unwrap().record(), record);
        n += 1;
    }
    assert!(n > 60, "{n}");
    for round in 0..500 {
        // Big ones and small ones by turns: the worst for block ends.
        let p = &paths[round * 7 % n];
        let r = if round % 2 == 0 { file(1, 3) } else { record.clone() };
        t.put(FolderSlot(9), path(p), &r, SlotSet(1)).expect("it is no longer than what was there");
    }
    assert_eq!((t.len(), t.check()), (n, Ok(())));
}

#[test]
fn a_walk_and_a_sweep_look_at_no_more_than_they_are_told() {
    let mut memory = vec![0; 64 * 1024];
    let mut t = Table::new(&mut memory);
    for n in 0..40 {
        t.put(FolderSlot(1), path("a"), &file(1, n + 1), SlotSet(3)).unwrap();
    }
    assert!(matches!(t.walk(Seq(0), 10), Step::Later(Seq(10))));
    assert!(matches!(t.walk(Seq(30), 10), Step::Entry(e) if e.seq() == Seq(40)));
    assert!(matches!(t.walk(Seq(40), 1), Step::End) && matches!(t.walk(Seq(99), 1), Step::End));
    assert_eq!(t.clear_holder(Slot(0), Seq(0), 10), Progress::More(Seq(10)));
    assert_eq!(t.clear_holder(Slot(0), Seq(10), 31), Progress::Done);
    assert_eq!(t.get(Seq(40)).unwrap().holders(), SlotSet(2));
    assert!(matches!(t.oldest_tombstone(Seq(0), 1), Step::End));
    assert_eq!(t.drop_folder(FolderSlot(2), Seq(0), 1), Progress::Done, "an empty folder costs nothing");
    assert_eq!(t.drop_folder(FolderSlot(1), Seq(0), 40), Progress::More(Seq(40)));
    assert_eq!(t.drop_folder(FolderSlot(1), Seq(40), 40), Progress::Done);
    assert!(t.is_empty() && t.check() == Ok(()));
}

#[test]
fn maintaining_gives_all_space_back() {
    let mut memory = vec![0; 300 * 1024];
    let mut t = Table::new(&mut memory);
    let n = fill(&mut t);
    let half = (1..=n as u64).step_by(2).map(Seq);
    half.for_each(|seq| assert!(t.remove(seq)));
    while t.maintain(1000) {}
    let u = t.usage();
    assert!(u.used - u.live < 8 * 512 && t.check() == Ok(()), "{u:?}");
}
