//! The rules.

use super::{Tree, manifest, reach};
use std::path::Path;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];
/// Files outside hal that may hold `unsafe`, and why; docs/ARCHITECTURE.md says so too.
const UNSAFE_FILES: &[(&str, &str)] = &[];

/// Sources and scripts of more than 500 lines.
pub fn files_too_long(tree: &Tree) -> Vec<String> {
    let judged = |path: &Path| {
        path.extension().is_some_and(|e| e == "rs" || e == "sh") || path == Path::new("tests/run")
    };
    let long = tree.files.iter().filter(|(path, _)| judged(path) && !allowed(path, LONG_FILES));
    long.map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect()
}

/// Functions of more than 70 lines.
pub fn functions_too_long(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for source in tree.sources() {
        for (at, name, lines) in source.functions() {
            if lines > FUNCTION_LINES {
                out.push(format!("{}:{}: {name}: {lines} lines", source.path.display(), source.line(at)));
            }
        }
    }
    out
}

/// Marks of unfinished work, and tests that nothing runs. (The words are put together here so as not to be found.)
pub fn banned_words(tree: &Tree) -> Vec<String> {
    let halves = [
        ("todo", "!("),
        ("unimpl", "emented!("),
        ("FIX", "ME"),
        ("XX", "X"),
        ("db", "g!("),
        ("#[ign", "ore"),
    ];
    let words: Vec<String> = halves.iter().map(|(a, b)| format!("{a}{b}")).collect();
    lines_with(tree, |path| !is_text_of_others(path), |line| words.iter().any(|w| line.contains(w.as_str())))
}

/// Paths of the machine that something was written on.
pub fn machine_paths(tree: &Tree) -> Vec<String> {
    let words = ["work", "root", "home", "Users"].map(|name| format!("/{name}/"));
    let begins = |line: &str, at: usize| {
        line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && !"._-~]}".contains(c))
    };
    let found =
        |line: &str| words.iter().any(|w| line.match_indices(w.as_str()).any(|(at, _)| begins(line, at)));
    lines_with(tree, |path| !is_text_of_others(path), found)
}

/// `unsafe` anywhere but in hal.
pub fn unsafe_outside_hal(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for source in tree.sources() {
        if !source.path.starts_with("hal") && !allowed(source.path, UNSAFE_FILES) {
            for at in source.words("unsafe") {
                out.push(format!("{}:{}", source.path.display(), source.line(at)));
            }
        }
    }
    out
}

/// The standard library or an allocator in core, but for tests.
pub fn allocation_in_core(tree: &Tree) -> Vec<String> {
    let sources = tree.sources();
    let reached = reach::reached(tree, &sources);
    let mut out = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("core/src")) {
        if reached.get(source.path) != Some(&true) {
            continue;
        }
        let tests = source.test_parts();
        let used = ["std", "alloc"]
            .iter()
            .flat_map(|word| source.words(word).into_iter().map(|at| (at, word.len())));
        for (at, length) in used {
            let path = source.code[at + length..].starts_with("::");
            let linked = source.code[..at].trim_end().ends_with("extern crate");
            if (path || linked) && !tests.iter().any(|t| t.contains(&at)) {
                out.push(format!("{}:{}", source.path.display(), source.line(at)));
            }
        }
    }
    out
}

/// Rust files that no `mod` leads to: nothing compiles them.
pub fn unreachable_files(tree: &Tree) -> Vec<String> {
    let sources = tree.sources();
    let reached = reach::reached(tree, &sources);
    let dead = sources.iter().filter(|s| !reached.contains_key(s.path));
    dead.map(|s| s.path.display().to_string()).collect()
}

/// Dependencies without a line in docs/DEPENDENCIES.md, and lines without their dependency.
pub fn dependencies(tree: &Tree) -> Vec<String> {
    let used = manifest::dependencies(tree);
    let text = tree.text("docs/DEPENDENCIES.md");
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let told: Vec<&str> = lines.map(|(name, _)| name).collect();
    let mut out: Vec<String> = Vec::new();
    for name in &used {
        match told.iter().filter(|t| *t == name).count() {
            1 => {}
            n => out.push(format!("{name}: {n} lines in docs/DEPENDENCIES.md")),
        }
    }
    out.extend(told.iter().filter(|t| !used.contains(**t)).map(|t| format!("{t}: no Cargo.toml names it")));
    out
}

/// Links in Markdown files to files that are not there.
pub fn broken_links(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for (path, text) in tree.files.iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "md")) {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', ' ', '\n']).next().unwrap_or("");
            let file = target.split('#').next().unwrap_or("");
            let beside = path.parent().unwrap_or(Path::new("")).join(file);
            if !file.is_empty() && !file.contains(':') && !tree.root.join(&beside).exists() {
                out.push(format!("{}: {target}", path.display()));
            } else if let Some((_, section)) = target.split_once('#')
                && !file.contains(':')
                && !sections(tree, if file.is_empty() { path } else { &beside }).iter().any(|s| s == section)
            {
                out.push(format!("{}: {target}: no such section", path.display()));
            }
        }
    }
    out
}

/// The names that links use for the headings of a file.
fn sections(tree: &Tree, path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(tree.root.join(path)).unwrap_or_default();
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    headings.map(|heading| heading.chars().filter_map(kept).collect()).collect()
}

fn allowed(path: &Path, list: &[(&str, &str)]) -> bool {
    list.iter().any(|(p, _)| Path::new(p) == path)
}

/// Licences and lock files are not ours to word.
fn is_text_of_others(path: &Path) -> bool {
    path.to_str().is_some_and(|p| p.starts_with("LICENSE") || p.ends_with(".lock"))
}

fn lines_with(tree: &Tree, judged: impl Fn(&Path) -> bool, bad: impl Fn(&str) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    for (path, text) in tree.files.iter().filter(|(path, _)| judged(path)) {
        let lines = text.lines().enumerate().filter(|(_, line)| bad(line));
        out.extend(lines.map(|(n, line)| format!("{}:{}: {}", path.display(), n + 1, line.trim())));
    }
    out
}
