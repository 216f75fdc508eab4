//! What the peer machine asks of the store.

use super::codec::{self, Keys, View};
use super::keys::{self, folder_of, row_key, u64_at};
use super::layer::Layer;
use super::{Part, Store};
use dartsync_core::ids::{ContentId, Folder, Row, Seq};
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Due, Index, Lane, Mark, Number, Trees};

impl Index for Store {
    fn find(&mut self, folder: Folder, path: Path<'_>) -> Option<Row> {
        let key = keys::path_key(folder, path.bytes());
        self.layer(Part::Paths).get(&key, |row| Row(u64_at(row, 0)))
    }

    fn create(&mut self, folder: Folder, path: Path<'_>) -> Row {
        let key = keys::path_key(folder, path.bytes());
        let row = self.new_row();
        debug_assert!(!self.layer(Part::Paths).has(&key), "the path has no row yet");
        self.layer(Part::Paths).put(&key, &row_key(row));
        let mut value = std::mem::take(&mut self.value);
        codec::write(&mut value, &Keys::default(), &key, &Trees::default());
        self.layer(Part::Rows).put(&row_key(row), &value);
        self.value = value;
        self.relieve();
        row
    }

    fn next(&mut self, folder: Folder, after: Option<Path<'_>>, into: &mut PathBuf) -> Option<Row> {
        let mut from = keys::path_key(folder, after.map_or(&[], |p| p.bytes()));
        // The key right after a path's own is that with a NUL more; the longest path has none below it.
        let longest = after.is_some() && from.push(0).is_err();
        if longest {
            *from.last_mut().expect("the longest key is not empty") += 1;
        }
        self.layer(Part::Paths).first(&folder.0.to_be_bytes(), &from, |key, row| {
            keys::open_path_key(key, into).expect(DAMAGED);
            Row(u64_at(row, 0))
        })
    }

    fn path(&mut self, row: Row, into: &mut PathBuf) -> Folder {
        let open = |value: &[u8]| keys::open_path_key(View::new(value)?.path, into);
        self.layer(Part::Rows).get(&row_key(row), open).expect(NO_ROW).expect(DAMAGED)
    }

    fn load(&mut self, row: Row, into: &mut Trees) -> bool {
        let decode = |value: &[u8]| View::new(value).and_then(|v| v.trees(into));
        match self.layer(Part::Rows).get(&row_key(row), decode) {
            Some(decoded) => decoded.expect(DAMAGED),
            None => {
                *into = Trees::default();
                return false;
            }
        }
        true
    }

    fn save(&mut self, row: Row, trees: &Trees, due: Option<Due>) {
        let (old, path) = self.filed(row).expect(NO_ROW);
        let new = Keys::of(trees, due);
        let mut value = std::mem::take(&mut self.value);
        codec::write(&mut value, &new, &path, trees);
        self.layer(Part::Rows).put(&row_key(row), &value);
        self.value = value;
        self.file(row, folder_of(&path), &old, &new);
        self.relieve();
    }

    fn due_of(&mut self, row: Row) -> Option<Due> {
        self.layer(Part::Rows).get(&row_key(row), |v| View::new(v).expect(DAMAGED).keys.due)?
    }

    fn erase(&mut self, row: Row) {
        let (old, path) = self.filed(row).expect(NO_ROW);
        self.file(row, folder_of(&path), &old, &Keys::default());
        self.layer(Part::Paths).remove(&path);
        self.layer(Part::Rows).remove(&row_key(row));
        self.relieve();
    }

    fn due(&mut self, folder: Folder, lane: Lane, after: Option<(u64, Row)>) -> Option<(u64, Row)> {
        let prefix = keys::lane_key(folder, lane);
        let from =
            after.map_or(prefix.clone(), |(key, row)| keys::due_key(folder, lane, key, Row(row.0 + 1)));
        self.layer(Part::Due).first(&prefix, &from, |key, _| (u64_at(key, 3), Row(u64_at(key, 11))))
    }

    fn marked(&mut self, folder: Folder, mark: Mark, after: Option<Row>) -> Option<Row> {
        let prefix = keys::marks_key(folder, mark);
        let from = keys::mark_key(folder, mark, next_row(after));
        self.layer(Part::Marks).first(&prefix, &from, |key, _| Row(u64_at(key, 3)))
    }

    fn with_content(&mut self, content: &ContentId, after: Option<Row>) -> Option<Row> {
        let from = keys::content_key(content, next_row(after));
        self.layer(Part::Contents).first(&content.0, &from, |key, _| Row(u64_at(key, 32)))
    }

    fn by_seq(&mut self, folder: Folder, after: (Seq, Row)) -> Option<(Seq, Row)> {
        let from = keys::seq_key(folder, after.0, Row(after.1.0 + 1));
        let pair = |key: &[u8]| (Seq(u64_at(key, 2)), Row(u64_at(key, 10)));
        self.layer(Part::Seqs).first(&folder.0.to_be_bytes(), &from, |key, _| pair(key))
    }

    fn number(&mut self, folder: Folder, key: Number) -> u64 {
        self.layer(Part::Numbers).get(&keys::number_key(folder, key), |v| u64_at(v, 0)).unwrap_or(0)
    }

    fn set_number(&mut self, folder: Folder, key: Number, to: u64) {
        self.layer(Part::Numbers).put(&keys::number_key(folder, key), &to.to_be_bytes());
    }
}

const NO_ROW: &str = "the row exists";
const DAMAGED: &str = "the store is damaged: a row cannot be read";

fn next_row(after: Option<Row>) -> Row {
    Row(after.map_or(0, |r| r.0 + 1))
}

impl Store {
    /// What a row is filed under, and its path's key.
    fn filed(&mut self, row: Row) -> Option<(Keys, keys::PathKey)> {
        self.layer(Part::Rows).get(&row_key(row), |value| {
            let view = View::new(value).expect(DAMAGED);
            (view.keys, keys::PathKey::from_slice(view.path).expect(DAMAGED))
        })
    }

    /// Files a row under `new` instead of `old`.
    fn file(&mut self, row: Row, folder: Folder, old: &Keys, new: &Keys) {
        if old.due != new.due {
            let key = |d: Due| keys::due_key(folder, d.lane, d.key, row);
            swap(self.layer(Part::Due), old.due.map(key), new.due.map(key));
        }
        for mark in Mark::ALL.into_iter().filter(|m| old.has(*m) != new.has(*m)) {
            let key = |on: bool| on.then(|| keys::mark_key(folder, mark, row));
            swap(self.layer(Part::Marks), key(old.has(mark)), key(new.has(mark)));
        }
        if old.content != new.content {
            let key = |c: ContentId| keys::content_key(&c, row);
            swap(self.layer(Part::Contents), old.content.map(key), new.content.map(key));
            old.content.iter().for_each(|c| self.loosen(c));
        }
        if old.seqs != new.seqs {
            let key = |s: &Option<Seq>| s.map(|s| keys::seq_key(folder, s, row));
            let seqs = self.layer(Part::Seqs);
            // Two steps: the withdrawn record may take over the seq of the remote's.
            old.seqs.iter().filter_map(key).for_each(|k| seqs.remove(&k));
            new.seqs.iter().filter_map(key).for_each(|k| seqs.put(&k, &[]));
        }
    }
}

fn swap(layer: &mut Layer, old: Option<keys::Key>, new: Option<keys::Key>) {
    old.iter().for_each(|k| layer.remove(k));
    new.iter().for_each(|k| layer.put(k, &[]));
}
