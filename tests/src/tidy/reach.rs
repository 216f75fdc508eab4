//! Which Rust files the compiler comes to, and which of them for tests alone.

use super::{Source, Tree};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Every file that a crate root leads to; true where some way to it is not for tests alone.
pub fn reached(tree: &Tree, sources: &[Source]) -> BTreeMap<PathBuf, bool> {
    let mut out = BTreeMap::new();
    for source in sources.iter().filter(|s| is_root(tree, s.path)) {
        let in_tests = source.path.iter().take(2).any(|part| part == "tests");
        follow(sources, source.path, !in_tests, true, &mut out);
    }
    out
}

/// Whether Cargo takes the file as a crate's root.
fn is_root(tree: &Tree, path: &Path) -> bool {
    let Some(package) = path.ancestors().skip(1).find(|p| {
        let manifest = p.join("Cargo.toml");
        tree.files.iter().any(|(file, _)| *file == manifest)
    }) else {
        return false;
    };
    let Ok(inside) = path.strip_prefix(package) else { return false };
    let parts: Vec<_> = inside.iter().filter_map(|p| p.to_str()).collect();
    matches!(
        parts[..],
        ["src", "lib.rs" | "main.rs"] | ["build.rs"] | ["src", "bin", _] | ["src", "bin", _, "main.rs"]
    ) || matches!(
        parts[..],
        ["tests" | "benches" | "examples", _] | ["tests" | "examples", _, "main.rs"] | ["fuzz_targets", _]
    )
}

fn follow(sources: &[Source], path: &Path, product: bool, root: bool, out: &mut BTreeMap<PathBuf, bool>) {
    let Some(source) = sources.iter().find(|s| s.path == path) else { return };
    let known = out.get(path).copied();
    if known == Some(true) || known == Some(product) {
        return;
    }
    out.insert(path.to_path_buf(), product);
    let beside = path.parent().unwrap_or(Path::new(""));
    let own = root || path.file_name().is_some_and(|n| n == "mod.rs");
    let below = if own { beside.to_path_buf() } else { path.with_extension("") };
    for (name, at, test) in source.modules() {
        let candidates = match at {
            Some(at) => vec![normal(&beside.join(at))],
            None => vec![below.join(format!("{name}.rs")), below.join(name).join("mod.rs")],
        };
        for candidate in candidates {
            follow(sources, &candidate, product && !test, false, out);
        }
    }
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}
