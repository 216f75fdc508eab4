//! What the Cargo.toml files name, read line by line: they are plain enough for it.

use super::Tree;
use std::collections::BTreeSet;

/// Every dependency that is not of this workspace.
pub fn dependencies(tree: &Tree) -> BTreeSet<String> {
    let manifests = tree.files.iter().filter(|(path, _)| path.file_name().is_some_and(|n| n == "Cargo.toml"));
    manifests.flat_map(|(_, text)| named(text)).filter(|name| !name.starts_with("dartsync")).collect()
}

fn named(manifest: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut within = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            within = section.ends_with("dependencies");
            if let Some((_, name)) = section.split_once("dependencies.") {
                out.insert(name.to_owned());
            }
        } else if within && let Some((key, _)) = line.split_once('=') {
            out.insert(key.split('.').next().unwrap_or(key).trim().to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn names_are_found_in_every_section() {
        let text = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n[target.'cfg(x)'.dependencies]\nc = { path = \"c\" }\n[dev-dependencies.d]\nversion = \"1\"\n";
        assert_eq!(named(text).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
