//! What a device serves: the contents of its folders and their trash, found through the store.

use super::{Bytes, Source};
use crate::content::hash_file;
use crate::disk::{Root, file_stat};
use crate::store::{Candidate, Reader};
use dartsync_core::content::{Hash, symlink_root};
use dartsync_core::ids::{ContentId, Folder};
use dartsync_core::peer::Stat;
use dartsync_core::record::Kind;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

/// Places of one content that are tried.
const PLACES: usize = 16;

/// The roots that are served from, by folder; the driver keeps them up to date. A paused folder is still served.
pub type Roots = Arc<RwLock<HashMap<Folder, Arc<Root>>>>;

/// Serves what the store's last commit says is here. A file is served only while its stat is the one that was read
/// when its content was known.
pub struct Shelf {
    reader: Reader,
    roots: Roots,
}

impl Shelf {
    /// Over these.
    pub fn new(reader: Reader, roots: Roots) -> Shelf {
        Shelf { reader, roots }
    }

    fn root(&self, folder: Folder) -> Option<Arc<Root>> {
        self.roots.read().expect("no thread panics with it").get(&folder.live()).cloned()
    }

    /// Opens a content's bytes at one place.
    fn open_at(&self, content: &ContentId, place: &Candidate) -> Option<Bytes> {
        let root = self.root(place.folder)?;
        let path = place.path.get()?;
        if place.kind == Kind::Symlink {
            let text = match place.folder.is_trash() {
                true => root.trash_link(path.bytes()),
                false => root.read_link(path),
            };
            return text.ok().filter(|t| symlink_root(t).symlink_id() == *content).map(Bytes::Text);
        }
        let file = match place.folder.is_trash() {
            true => root.trash_open(path.bytes()),
            false => root.open_read(path),
        };
        let file = file.ok()?;
        let stat = file_stat(&file).ok()?;
        let known = match place.folder.is_trash() {
            true => stat.size == place.size,
            false => is_same(&stat, &place.stat),
        };
        known.then_some(Bytes::File(file))
    }
}

/// Whether a file still is what the store knows. Its ctime may have moved on: a new name or mode changes no bytes.
fn is_same(stat: &Stat, known: &Stat) -> bool {
    stat.kind == known.kind && stat.size == known.size && stat.mtime == known.mtime && stat.ino == known.ino
}

impl Source for Shelf {
    fn open(&self, content: &ContentId) -> Option<Bytes> {
        let mut places = self.reader.candidates(content, PLACES);
        places.sort_by_key(|p| p.folder.is_trash());
        places.iter().find_map(|p| self.open_at(content, p))
    }

    fn leaves(&self, content: &ContentId) -> Option<Vec<u8>> {
        if let Some(list) = self.reader.manifest(content) {
            return Some(list);
        }
        // Manifests are a cache, and one chunk needs none: hash it again.
        let Some(Bytes::File(file)) = self.open(content) else { return None };
        let hashed = hash_file(&file, &mut Vec::new(), &AtomicBool::new(false)).ok()?;
        (hashed.content == *content).then_some(hashed.leaves)
    }

    fn with_chunk(&self, chunk: &Hash) -> Option<ContentId> {
        self.reader.with_chunk(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use dartsync_core::path::Path;
    use dartsync_core::peer::{Index, Local, Made, Trees};
    use dartsync_core::record::Record;
    use std::io::Read;

    const F: Folder = Folder(3);

    fn files(store: &mut Store, root: &Root, name: &[u8], content: ContentId) {
        let path = Path::new(name).unwrap();
        let stat = root.stat(path).unwrap().unwrap();
        let record = Record { kind: stat.kind, size: stat.size, content, ..Record::default() };
        let row = store.create(F, path);
        let local = Local { record, made: Made::Unminted, stat, at: 0 };
        store.save(row, &Trees { local: Some(local), ..Trees::default() }, None);
        store.commit(false).unwrap();
    }

    #[test]
    fn what_the_store_knows_is_served_while_the_file_is_what_it_was() {
        let dir = std::env::temp_dir().join(format!("dartsync-shelf-{}", std::process::id()));
        let (home, state) = (dir.join("home"), dir.join("state"));
        std::fs::create_dir_all(&home).unwrap();
        std::fs::create_dir_all(&state).unwrap();
        let (root, _) = Root::link(&home, 7).unwrap();
        let mut store = Store::open(&state).unwrap().0;
        std::fs::write(home.join("f"), vec![5; 300_000]).unwrap();
        std::os::unix::fs::symlink("to/there", home.join("l")).unwrap();
        let file = std::fs::File::open(home.join("f")).unwrap();
        let hashed = hash_file(&file, &mut Vec::new(), &AtomicBool::new(false)).unwrap();
        let link = symlink_root(b"to/there").symlink_id();
        files(&mut store, &root, b"f", hashed.content);
        files(&mut store, &root, b"l", link);
        let roots: Roots = Arc::new(RwLock::new(HashMap::from([(F, Arc::new(root))])));
        let shelf = Shelf::new(store.reader(), roots.clone());

        let Some(Bytes::File(mut file)) = shelf.open(&hashed.content) else { panic!("it is here") };
        assert_eq!(file.read_to_end(&mut Vec::new()).unwrap(), 300_000);
        assert_eq!(shelf.leaves(&hashed.content), Some(hashed.leaves), "hashed again for want of a manifest");
        assert!(matches!(shelf.open(&link), Some(Bytes::Text(t)) if t == b"to/there"));
        assert!(shelf.open(&ContentId([1; 32])).is_none());
        std::fs::write(home.join("f"), b"changed").unwrap();
        assert!(shelf.open(&hashed.content).is_none());
        roots.write().unwrap().clear();
        assert!(shelf.open(&link).is_none(), "its folder is not linked any more");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
