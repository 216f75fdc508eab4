//! What is written is read, whatever it is, and little is written of what is alike.

use super::batch::*;
use crate::ids::{ContentId, DeviceId, FolderSlot, Seq, Tag};
use crate::limits;
use crate::path::Path;
use crate::record::{Flags, Kind, Record};
use crate::version::{Edit, VersionVector};
use proptest::prelude::*;
use std::vec;

fn record() -> impl Strategy<Value = Record> {
    (
        0..4u8,
        any::<[u8; 32]>(),
        0..0o1000u16,
        1..4000u64,
        any::<i64>(),
        prop::collection::btree_map(1..70u32, prop_oneof![1..1000u64, 1..limits::COUNTER], 1..64),
        prop::option::of(1..limits::COUNTER),
        any::<bool>(),
    )
        .prop_map(|(k, c, mode, size, mtime, vv, parent, like)| {
            let kind = [Kind::Removed, Kind::File, Kind::Directory, Kind::Symlink][k as usize];
            let mut version = VersionVector::new();
            vv.iter().for_each(|(t, c)| assert!(version.raise(Edit { tag: Tag(*t), counter: *c })));
            let edit = version.entries()[0];
            let content = if kind == Kind::Directory { ContentId::NONE } else { ContentId(c) };
            let file = matches!(kind, Kind::File | Kind::Symlink);
            Record {
                kind,
                edit,
                version,
                content,
                mode: if matches!(kind, Kind::File | Kind::Directory) {
                    mode & if like { 1 } else { 0o777 }
                } else {
                    0
                },
                size: if file { size } else { 0 },
                mtime: if file { mtime } else { 0 },
                author: DeviceId(u32::from(!like) * 7),
                flags: Flags(0),
                parent: parent.map(|counter| Edit { tag: edit.tag, counter }),
            }
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(records in prop::collection::vec((record(), "[a-c/]{1,20}", any::<bool>(), prop_oneof![Just(0), 1..4u32, any::<u32>()]), 1..20)) {
        let mut buf = vec![0; 64 * 1024];
        let mut w = BatchWriter::new(&mut buf);
        let mut sent = vec![];
        for (i, (r, p, held, seq)) in records.iter().enumerate() {
            let Ok(path) = Path::new(p.as_bytes()) else { continue };
            let e = Entry { folder: FolderSlot(i as u8 / 4), seq: Seq(*seq as u64), flags: EntryFlags { held: *held, pair: false }, path, record: r };
            if w.push(&e) { sent.push((r, path, *held, *seq)) }
        }
        let n = w.len();
        prop_assert_eq!(BatchReader::check(&buf[..n]), Ok(sent.len()));
        let mut r = BatchReader::new(&buf[..n]);
        for (record, path, held, seq) in sent {
            let e = r.entry().unwrap().unwrap();
            prop_assert!(e.record == record && e.path == path && e.flags.held == held && e.seq.0 == u64::from(seq));
        }
        prop_assert!(r.entry().unwrap().is_none());
        for cut in 0..n.min(200) { let _ = BatchReader::check(&buf[..cut]); }
    }

    #[test]
    fn what_does_not_fit_changes_nothing(first in record(), long in record(), last in record(), room in 0..3000usize) {
        let path = Path::new(b"a").unwrap();
        let entry = |seq, record| Entry { folder: FolderSlot(1), seq: Seq(seq), flags: EntryFlags::default(), path, record };
        let mut buf = vec![0; room];
        let mut w = BatchWriter::new(&mut buf);
        let sent: vec::Vec<_> = [&first, &long, &last].into_iter().enumerate().filter(|(i, r)| w.push(&entry(*i as u64, r))).collect();
        let n = w.len();
        let mut r = BatchReader::new(&buf[..n]);
        for (i, record) in sent {
            let e = r.entry().unwrap().unwrap();
            prop_assert!(e.record == record && e.seq.0 == i as u64);
        }
        prop_assert!(r.entry().unwrap().is_none());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = BatchReader::check(&bytes);
    }
}

/// A file and its former name, as a renamed tree of thousands comes to the others.
#[test]
fn a_renamed_file_takes_little_more_than_its_content_twice() {
    let (mut buf, mut left) = (vec![0; 64 * 1024], vec![]);
    let mut w = BatchWriter::new(&mut buf);
    let mut push = |record: &Record, seq, name: &str| {
        let path = Path::new(name.as_bytes()).unwrap();
        let flags = EntryFlags::default();
        assert!(w.push(&Entry { folder: FolderSlot(3), seq: Seq(seq), flags, path, record }));
        w.len()
    };
    for i in 0..200 {
        let edit = |at: u64| Edit { tag: Tag(9), counter: at + i * 30 };
        let (was, now, removal) =
            (edit(1_700_000_000_000_000), edit(1_710_000_000_000_000), edit(1_710_000_000_500_000));
        let content = ContentId([i as u8; 32]);
        let file = Record {
            kind: Kind::File,
            mode: 0o644,
            size: 4096,
            mtime: 1_700_000_000_000_000_000 + i as i64 * 40_000,
            content,
            author: DeviceId(2),
            edit: now,
            version: VersionVector::of(now),
            ..Record::default()
        };
        let gone = Record {
            content,
            author: DeviceId(2),
            edit: removal,
            parent: Some(was),
            version: VersionVector::of(removal),
            ..Record::default()
        };
        left.push((file, gone));
    }
    for (i, (file, _)) in left.iter().enumerate() {
        push(file, 20_000 + i as u64, &std::format!("tree2/d0001/f{i:06}"));
    }
    let mut len = 0;
    for (i, (_, gone)) in left.iter().enumerate() {
        len = push(gone, 30_000 + i as u64, &std::format!("tree/d0001/f{i:06}"));
    }
    assert!(len < 200 * (2 * 32 + 26), "{len}");
}
