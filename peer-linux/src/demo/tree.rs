//! What really stands in a folder, for comparing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One path, with everything that must be the same on every device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Thing {
    /// A file: mode, mtime (s, ns), bytes, hash.
    File(u32, (i64, i64), u64, blake3::Hash),
    /// A directory: mode.
    Directory(u32),
    /// A symbolic link: its text.
    Link(OsString),
    /// Something else; is nowhere expected.
    Other,
}

/// Everything below a folder's root but DartSync's own.
pub type Tree = BTreeMap<PathBuf, Thing>;

/// Reads a tree. Fails if it changes meanwhile.
pub fn read(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            if dir.as_os_str().is_empty() && entry.file_name() == ".dartsync" {
                continue;
            }
            let path = dir.join(entry.file_name());
            let thing = look(&entry.path())?;
            if matches!(thing, Thing::Directory(_)) {
                todo.push(path.clone());
            }
            tree.insert(path, thing);
        }
    }
    Ok(tree)
}

fn look(path: &Path) -> io::Result<Thing> {
    let stat = fs::symlink_metadata(path)?;
    let mode = stat.mode() & 0o777;
    Ok(match stat.file_type() {
        t if t.is_symlink() => Thing::Link(fs::read_link(path)?.into_os_string()),
        t if t.is_dir() => Thing::Directory(mode),
        t if t.is_file() => Thing::File(mode, (stat.mtime(), stat.mtime_nsec()), stat.size(), hash(path)?),
        _ => Thing::Other,
    })
}

fn hash(path: &Path) -> io::Result<blake3::Hash> {
    let mut file = fs::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize()),
            n => hasher.update(&block[..n]),
        };
    }
}

/// The first difference, in words; `None` if there is none.
pub fn difference(a: &Tree, b: &Tree) -> Option<String> {
    let paths = a.keys().chain(b.keys());
    let path = paths.filter(|p| a.get(*p) != b.get(*p)).min()?;
    let shown = path.as_os_str().as_bytes().escape_ascii();
    let say = |t: Option<&Thing>| t.map_or("nothing".into(), |t| format!("{t:?}"));
    Some(format!("{shown}: {} here, {} there", say(a.get(path)), say(b.get(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_differ_where_files_do() {
        let base = std::env::temp_dir().join(format!("dartsync-tree-{}", std::process::id()));
        let roots = [base.join("a"), base.join("b")];
        for r in &roots {
            fs::create_dir_all(r.join("sub/.dartsync")).unwrap();
            fs::create_dir_all(r.join(".dartsync/tmp")).unwrap();
            std::os::unix::fs::symlink("nowhere", r.join("l")).unwrap();
        }
        let [a, b] = roots.each_ref().map(|r| read(r).unwrap());
        assert_eq!((difference(&a, &b), a.len()), (None, 3));
        fs::write(roots[0].join("sub/x"), "1").unwrap();
        assert!(difference(&read(&roots[0]).unwrap(), &b).unwrap().starts_with("sub/x: File"));
        fs::remove_dir_all(base).unwrap();
    }
}
