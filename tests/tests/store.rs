//! The store on disk against the index in memory: the same random calls, the same answers, through commits and crashes.

use dartsync::store::Store;
use dartsync_core::ids::{ContentId, Epoch, Folder, Row, Seq, Tag};
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Due, Index, Intent, Lane, Local, Made, Mark, Number, Remote, Stat, Trees};
use dartsync_core::record::{Kind, Record};
use dartsync_core::rng::Rng;
use dartsync_core::version::{Edit, VersionVector};
use dartsync_tests::mem_index::MemIndex;
use std::fs;

const FOLDERS: [Folder; 3] = [Folder(1), Folder(2), Folder(1).trash()];

/// Both, and their rows in pairs: a crash makes the numbers differ, never their order.
struct Both {
    dir: std::path::PathBuf,
    runs: u32,
    rng: Rng,
    disk: Store,
    mem: MemIndex,
    rows: Vec<(Row, Row)>,
}

impl Both {
    fn new(seed: u8) -> Both {
        let dir = std::env::temp_dir().join(format!("dartsync-oracle-{seed}-{}", std::process::id()));
        let first = dir.join("0");
        fs::create_dir_all(&first).expect("a temporary directory");
        let disk = Store::open(&first).expect("a new store").0;
        Both { dir, runs: 0, rng: Rng::from_seed([seed; 32]), disk, mem: MemIndex::new(), rows: Vec::new() }
    }
    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }
    fn folder(&mut self) -> Folder {
        FOLDERS[self.below(3) as usize]
    }
    fn path(&mut self) -> Vec<u8> {
        let names: [&[u8]; 6] = [b"a", b"a b", b"a.txt", b"b", b"\xff\xfe", b"\x01"];
        let parts: Vec<&[u8]> = (0..1 + self.below(4)).map(|_| names[self.below(6) as usize]).collect();
        parts.join(&b'/')
    }
    fn pick(&mut self) -> Option<(Row, Row)> {
        let n = self.rows.len() as u64;
        let at = if n > 0 { self.below(n) } else { 0 };
        self.rows.get(at as usize).copied()
    }
    fn record(&mut self) -> Record {
        let edit = Edit { tag: Tag(1 + self.below(3) as u32), counter: 1 + self.below(100) };
        let kind = [Kind::Removed, Kind::File, Kind::Directory, Kind::Symlink][self.below(4) as usize];
        let content = ContentId([self.below(5) as u8; 32]);
        Record {
            kind,
            content,
            size: self.below(9),
            edit,
            version: VersionVector::of(edit),
            ..Record::default()
        }
    }
    fn remote(&mut self) -> Remote {
        Remote { record: self.record(), epoch: Epoch(self.below(2)), seq: Seq(1 + self.below(40)) }
    }
    fn trees(&mut self) -> Trees {
        let mut t = Trees::default();
        let has = self.below(256);
        let on = |bit: u64| has >> bit & 1 != 0;
        if on(0) {
            let stat = Stat { ino: self.below(9), ..Stat::default() };
            t.local = Some(Local { record: self.record(), made: Made::Minted, stat, at: self.below(9) });
        }
        t.remote = on(1).then(|| self.remote());
        t.synced = on(2).then(|| t.local.as_ref().map_or_else(|| self.record(), |l| l.record.clone()));
        t.withdrawn = (on(3) && on(4)).then(|| self.remote());
        let side = (Kind::File, ContentId([3; 32]));
        t.intent = (on(4) && on(5)).then_some(Intent { from: side, to: side, copy: None });
        t.pending = (on(5) && on(6)).then(|| (self.record(), Row(self.below(9))));
        (t.stale, t.unsynced) = (on(6), on(7));
        t
    }
    fn lane(&mut self) -> Lane {
        Lane::ALL[self.below(7) as usize]
    }
    fn to_mem(&self, disk: Option<Row>) -> Option<Row> {
        disk.map(|row| self.rows.iter().find(|r| r.0 == row).expect("a known row").1)
    }

    fn change(&mut self) {
        match self.below(10) {
            0..4 => {
                let (folder, bytes) = (self.folder(), self.path());
                let path = Path::new(&bytes).expect("a path");
                let disk = self.disk.find(folder, path);
                assert_eq!(self.to_mem(disk), self.mem.find(folder, path));
                if disk.is_none() {
                    self.rows.push((self.disk.create(folder, path), self.mem.create(folder, path)));
                }
            }
            4..8 => {
                let Some((disk, mem)) = self.pick() else { return };
                let due = (self.below(2) == 0).then(|| Due { lane: self.lane(), key: self.below(6) });
                let trees = self.trees();
                self.disk.save(disk, &trees, due);
                self.mem.save(mem, &trees, due);
            }
            8 => {
                let Some((disk, mem)) = self.pick() else { return };
                self.disk.erase(disk);
                self.mem.erase(mem);
                self.rows.retain(|r| r.0 != disk);
            }
            _ => {
                let (folder, to) = (self.folder(), self.below(100));
                let number = [Number::Tag, Number::Seen, Number::Files][self.below(3) as usize];
                self.disk.set_number(folder, number, to);
                self.mem.set_number(folder, number, to);
            }
        }
    }

    fn ask(&mut self) {
        let (folder, bytes, lane) = (self.folder(), self.path(), self.lane());
        let after = (self.below(3) > 0).then(|| Path::new(&bytes).expect("a path"));
        let (mut a, mut b) = (PathBuf::new(), PathBuf::new());
        let next = self.disk.next(folder, after, &mut a);
        assert_eq!(self.to_mem(next), self.mem.next(folder, after, &mut b));
        assert!(next.is_none() || a == b);
        let pick = if self.below(2) == 0 { self.pick() } else { None };
        let (disk, mem) = (pick.map(|p| p.0), pick.map(|p| p.1));
        let key = self.below(6);
        let due = self.disk.due(folder, lane, disk.map(|r| (key, r)));
        assert_eq!(
            due.map(|d| (d.0, self.to_mem(Some(d.1)).expect("known"))),
            self.mem.due(folder, lane, mem.map(|r| (key, r)))
        );
        for mark in Mark::ALL {
            let marked = self.disk.marked(folder, mark, disk);
            assert_eq!(self.to_mem(marked), self.mem.marked(folder, mark, mem));
        }
        let content = ContentId([self.below(6) as u8; 32]);
        let with = self.disk.with_content(&content, disk);
        assert_eq!(self.to_mem(with), self.mem.with_content(&content, mem));
        let seq = Seq(self.below(41));
        let by = self.disk.by_seq(folder, (seq, disk.unwrap_or(Row(0))));
        let by = by.map(|s| (s.0, self.to_mem(Some(s.1)).expect("known")));
        assert_eq!(by, self.mem.by_seq(folder, (seq, mem.unwrap_or(Row(0)))));
        if let Some((disk, mem)) = pick {
            assert_eq!(self.disk.due_of(disk), self.mem.due_of(mem));
            self.same_row(disk, mem);
        }
    }
    fn same_row(&mut self, disk: Row, mem: Row) {
        let (mut a, mut b) = (Trees { stale: true, ..Trees::default() }, Trees::default());
        assert_eq!(self.disk.load(disk, &mut a), self.mem.load(mem, &mut b));
        assert_eq!(a, b);
        let (mut a, mut b) = (PathBuf::new(), PathBuf::new());
        assert_eq!((self.disk.path(disk, &mut a), a), (self.mem.path(mem, &mut b), b));
    }
    fn same_all(&mut self) {
        (0..self.rows.len()).for_each(|n| self.same_row(self.rows[n].0, self.rows[n].1));
        for (folder, number) in
            FOLDERS.into_iter().flat_map(|f| [(f, Number::Tag), (f, Number::Seen), (f, Number::Files)])
        {
            assert_eq!(self.disk.number(folder, number), self.mem.number(folder, number));
        }
        (0..20).for_each(|_| self.ask());
    }

    /// Opens what the platter holds, as after a power cut.
    fn crash(&mut self) {
        self.runs += 1;
        let (old, new) = (self.dir.join((self.runs - 1).to_string()), self.dir.join(self.runs.to_string()));
        fs::create_dir_all(&new).expect("a directory");
        fs::copy(old.join("store.redb"), new.join("store.redb")).expect("copied");
        self.disk = Store::open(&new).expect("the store opens").0;
        self.mem.crash();
        let mut trees = Trees::default();
        self.rows.retain(|r| self.mem.load(r.1, &mut trees));
        self.recover_rows();
    }
    /// Rows that were erased and are back: found by their path.
    fn recover_rows(&mut self) {
        self.rows.clear();
        for folder in FOLDERS {
            let (mut at, mut into) = (PathBuf::new(), PathBuf::new());
            while let Some(mem) = self.mem.next(folder, at.get(), &mut into) {
                at = into.clone();
                let path = at.get().expect("a path");
                self.rows.push((self.disk.find(folder, path).expect("both know it"), mem));
            }
        }
        self.rows.sort();
        assert!(self.rows.is_sorted_by_key(|r| r.1), "rows keep their order");
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn the_store_answers_as_the_index_in_memory_does() {
    for seed in 0..3 {
        let mut both = Both::new(seed);
        for _ in 0..6000 {
            both.change();
            match both.below(400) {
                0..6 => both.disk.commit(false).expect("room"),
                6..10 => {
                    both.disk.commit(true).expect("room");
                    both.mem.commit();
                    both.same_all();
                }
                10..12 => {
                    both.crash();
                    both.same_all();
                }
                12..200 => both.ask(),
                _ => {}
            }
        }
    }
}
