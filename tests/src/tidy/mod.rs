//! What no compiler checks of this repository: sizes, places, words. Each rule lists its offenders, one a line.

mod code;
mod manifest;
mod reach;
mod rules;

pub use code::Source;
pub use rules::{
    allocation_in_core, banned_words, broken_links, dependencies, files_too_long, functions_too_long,
    machine_paths, unreachable_files, unsafe_outside_hal,
};

use std::path::{Path, PathBuf};

/// The repository's text, as files below its root.
pub struct Tree {
    /// Where it is.
    pub root: PathBuf,
    /// Every text file, relative to the root, sorted.
    pub files: Vec<(PathBuf, String)>,
}

impl Tree {
    /// Reads the repository that this crate stands in.
    pub fn read() -> Tree {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_path_buf();
        let mut files = Vec::new();
        collect(&root, Path::new(""), &mut files);
        files.sort();
        Tree { root, files }
    }

    /// The Rust sources, parsed as far as the rules need.
    pub fn sources(&self) -> Vec<Source<'_>> {
        let rust = self.files.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "rs"));
        rust.map(|(path, text)| Source::new(path, text)).collect()
    }

    /// The text of one file; empty if it is not there.
    pub fn text(&self, path: &str) -> &str {
        self.files.iter().find(|(p, _)| p == Path::new(path)).map_or("", |(_, text)| text)
    }
}

fn collect(root: &Path, below: &Path, into: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if name == ".git" {
            continue; // a directory, or a file that points to one
        }
        if kind.is_dir() {
            if name != "target" {
                collect(root, &path, into);
            }
        } else if kind.is_file()
            && let Ok(text) = std::fs::read_to_string(root.join(&path))
        {
            into.push((path, text));
        }
    }
}
