//! Acts on real directories.

mod crashes;
mod installs;
mod kinds;
mod lost;
mod paths;
mod permissions;
mod races;
mod removals;
mod roots;
mod trash;
mod writers;

use super::*;
use crate::content::{hash_file, hash_symlink};
use dartsync_core::path::Path;
use dartsync_core::peer::Intent;
use dartsync_core::record::Kind;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path as StdPath, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An mtime that no test's own writes have, ns.
const MTIME: i64 = 1_600_000_000_123_456_789;
const NOTHING: (Kind, ContentId) = (Kind::Removed, ContentId::NONE);

/// A linked root of its own, gone with the value.
struct Place {
    dir: PathBuf,
    root: Root,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn temp(name: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("dartsync-disk-{}-{n}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn p(bytes: &[u8]) -> Path<'_> {
    Path::new(bytes).unwrap()
}

fn id(bytes: &[u8]) -> ContentId {
    let mut hasher = dartsync_core::content::ContentHasher::new();
    hasher.update(bytes, |_| {});
    hasher.finish(|_| {}).file_id()
}

fn file(bytes: &[u8]) -> (Kind, ContentId) {
    (Kind::File, id(bytes))
}

fn link(text: &[u8]) -> (Kind, ContentId) {
    (Kind::Symlink, hash_symlink(text).content)
}

const DIRECTORY: (Kind, ContentId) = (Kind::Directory, ContentId::NONE);

fn intent(from: (Kind, ContentId), to: (Kind, ContentId)) -> Intent {
    Intent { from, to, copy: None }
}

impl Place {
    fn new(name: &str) -> Place {
        init().unwrap();
        let dir = temp(name);
        let (root, linked) = Root::link(&dir, 7).unwrap();
        assert_eq!(linked, Linked::New);
        Place { dir, root }
    }
    fn at(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.dir.join(std::ffi::OsStr::from_bytes(path.as_ref()))
    }
    fn put(&self, path: impl AsRef<[u8]>, bytes: &[u8]) -> Stat {
        fs::write(self.at(&path), bytes).unwrap();
        self.stat(path.as_ref())
    }
    fn stat(&self, path: impl AsRef<[u8]>) -> Stat {
        self.root.stat(p(path.as_ref())).unwrap().expect("something stands there")
    }
    fn read(&self, path: impl AsRef<[u8]>) -> Vec<u8> {
        fs::read(self.at(path)).unwrap()
    }
    fn part(&self, n: u64, bytes: &[u8]) {
        let part = self.root.part_open(n, bytes.len() as u64).unwrap();
        part.write_all_at(bytes, 0).unwrap();
    }
    /// Makes a swap file of row `n`.
    fn ready(&self, path: &[u8], n: u64, bytes: &[u8]) {
        self.part(n, bytes);
        let done = self.root.prepare(p(path), n, Kind::File, 0o640, MTIME);
        assert_eq!((done.outcome, done.trashed), (Outcome::Done, vec![]));
    }
    /// Installs a file over what `expect` says.
    fn install(&self, path: &[u8], n: u64, expect: Option<&Stat>, from: &[u8], to: &[u8]) -> Act {
        self.ready(path, n, to);
        let from = expect.map_or(NOTHING, |_| file(from));
        self.root.swap(p(path), n, expect, &intent(from, file(to)), None)
    }
    /// What the trash holds: paths, and contents of files.
    fn trash(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        let see = &mut |item: Item| {
            let bytes = match item.stat.kind {
                Kind::Symlink => self.root.trash_link(&item.at).unwrap(),
                _ => read_all(&self.root.trash_open(&item.at).unwrap()),
            };
            all.push((item.path, bytes));
        };
        self.root.trash_list(see).unwrap();
        all.sort();
        all
    }
    fn trash_is(&self, want: &[(&[u8], &[u8])]) {
        let want: Vec<_> = want.iter().map(|(a, b)| (a.to_vec(), b.to_vec())).collect();
        assert_eq!(self.trash(), want);
    }
    fn tmp(&self) -> Vec<String> {
        let names = fs::read_dir(self.at(".dartsync/tmp")).unwrap();
        let mut names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
    /// Stops and starts: what was only known in memory is gone.
    fn restart(&mut self) {
        self.root = Root::open(&self.dir).unwrap();
    }
}

fn read_all(file: &fs::File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[track_caller]
fn swapped(act: &Act) -> Stat {
    match act.outcome {
        Outcome::Swapped { stat, odd: None, .. } => stat,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn failed(act: &Act) -> Cause {
    match act.outcome {
        Outcome::Failed(cause) => cause,
        other => panic!("{other:?}"),
    }
}

fn append(path: &StdPath) -> fs::File {
    fs::OpenOptions::new().append(true).open(path).unwrap()
}

#[test]
fn ids_are_those_of_the_hasher_of_files() {
    let place = Place::new("ids");
    place.put("x", b"some bytes");
    let hashed = hash_file(&fs::File::open(place.at("x")).unwrap(), &mut Vec::new(), &AtomicBool::new(false));
    assert_eq!(hashed.unwrap().content, id(b"some bytes"));
}

/// Ends what others do beside a test, however the test ends.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
