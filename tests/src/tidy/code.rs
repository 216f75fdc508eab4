//! Rust source with comments and literals blanked out, and what stands in it: functions, parts for tests alone.

use std::ops::Range;
use std::path::Path;

/// One Rust file.
pub struct Source<'a> {
    /// Where it is, below the root.
    pub path: &'a Path,
    /// As written.
    pub text: &'a str,
    /// The same bytes, with comments and the insides of literals made blanks.
    pub code: String,
}

impl<'a> Source<'a> {
    /// Reads a file's text.
    pub fn new(path: &'a Path, text: &'a str) -> Self {
        Source { path, text, code: blank(text) }
    }

    /// The line (from 1) of a byte.
    pub fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Where `word` stands in the code as a word of its own.
    pub fn words(&self, word: &str) -> Vec<usize> {
        let bytes = self.code.as_bytes();
        let inside = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let alone = |at: &usize| {
            !inside(at.checked_sub(1).and_then(|b| bytes.get(b))) && !inside(bytes.get(at + word.len()))
        };
        self.code.match_indices(word).map(|(at, _)| at).filter(alone).collect()
    }

    /// Every function with a body: where its `fn` stands, its name, the line count from there to its last brace.
    pub fn functions(&self) -> Vec<(usize, &str, usize)> {
        let mut out = Vec::new();
        for at in self.words("fn") {
            let rest = self.code[at + 2..].trim_start();
            let name = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0)];
            if let (false, Some(body)) = (name.is_empty(), self.body(at)) {
                out.push((at, name, self.line(body.end - 1) - self.line(at) + 1));
            }
        }
        out
    }

    /// The braces that follow an item's head at `at`, or none if a `;` comes first.
    pub fn body(&self, at: usize) -> Option<Range<usize>> {
        let bytes = self.code.as_bytes();
        let (mut depth, mut open) = (0usize, at);
        loop {
            match bytes.get(open)? {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                b';' if depth == 0 => return None,
                b'{' if depth == 0 => break,
                _ => {}
            }
            open += 1;
        }
        let mut depth = 0;
        for (end, b) in bytes.iter().enumerate().skip(open) {
            match b {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(open..end + 1);
            }
        }
        None
    }

    /// The parts that are compiled for tests alone: items behind `#[cfg(test)]`, `mod x;` among them.
    pub fn test_parts(&self) -> Vec<Range<usize>> {
        let attribute = "#[cfg(test)]";
        let starts = self.code.match_indices(attribute).map(|(at, _)| at);
        starts
            .map(|at| {
                let head = at + attribute.len();
                let end = self.body(head).map(|b| b.end);
                at..end
                    .or_else(|| self.code[head..].find(';').map(|n| head + n + 1))
                    .unwrap_or(self.code.len())
            })
            .collect()
    }

    /// `mod x;` declarations: the name, a `#[path]` if one is given, whether it is behind `#[cfg(test)]`.
    pub fn modules(&self) -> Vec<(&str, Option<&'a str>, bool)> {
        let tests = self.test_parts();
        let mut out = Vec::new();
        for at in self.words("mod") {
            let rest = self.code[at + 3..].trim_start();
            let Some(end) = rest.find(|c: char| !c.is_alphanumeric() && c != '_') else { continue };
            if rest[end..].trim_start().starts_with(';') {
                let line = self.line(at);
                let above = self.text.lines().nth(line.saturating_sub(2)).unwrap_or("");
                let path = above.trim().strip_prefix("#[path = \"").and_then(|p| p.strip_suffix("\"]"));
                out.push((&rest[..end], path, tests.iter().any(|t| t.contains(&at))));
            }
        }
        out
    }
}

/// Blanks out comments, strings and characters; every byte keeps its place, every line its end.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (from, to) = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => (at, line_end(bytes, at)),
            b'/' if bytes[at..].starts_with(b"/*") => (at, comment_end(bytes, at)),
            b'"' => (at + 1, string_end(bytes, at + 1)),
            b'r' if !in_word(bytes, at) && raw_end(bytes, at).is_some() => {
                (at + 1, raw_end(bytes, at).unwrap_or(at + 1))
            }
            b'\'' => (at + 1, character_end(bytes, at + 1)),
            _ => (at, at),
        };
        for b in &mut out[from..to] {
            if *b != b'\n' {
                *b = b' ';
            }
        }
        let closed = bytes[at] == b'"' || bytes[at] == b'\'' && to > from;
        at = to.max(at + 1) + usize::from(closed);
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

fn in_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw string too.
    let before = |n: usize| at.checked_sub(n).map(|i| bytes[i]);
    let word = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    word(before(1)) && (before(1) != Some(b'b') || word(before(2)))
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(bytes.len())
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += 1 + usize::from(bytes[at] == b'\\');
    }
    at.min(bytes.len())
}

/// Behind a raw string that begins at `at`, if one does.
fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = at + 2 + hashes;
    let length = bytes[inside..].windows(close.len()).position(|w| w == close)?;
    Some(inside + length + close.len())
}

/// The closing quote of a character that begins at `at`, or `at` where the quote was a lifetime's.
fn character_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at) == Some(&b'\\') {
        return bytes[at + 2..].iter().position(|b| *b == b'\'').map_or(at, |n| at + 2 + n);
    }
    let text = std::str::from_utf8(&bytes[at..bytes.len().min(at + 8)]);
    let text =
        text.unwrap_or_else(|e| std::str::from_utf8(&bytes[at..at + e.valid_up_to()]).expect("valid so far"));
    let width = text.chars().next().map_or(0, char::len_utf8);
    if bytes.get(at + width) == Some(&b'\'') { at + width } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let text = "let a = \"\"; let a = \"fn x { \\\" {\"; // fn {\nlet c = '{'; /* { /* } */ */ f::<'a>('\\'', r#\"{\"\"#, b\"{\");";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        assert!(!code.contains('{') && !code.contains("fn"), "{code}");
        assert!(code.contains("f::<'a>("), "{code}");
    }

    #[test]
    fn functions_are_measured() {
        let text = "impl X {\n fn a(&self) -> [u8; 3] {\n  if x {\n  }\n }\n fn b();\n}\n#[cfg(test)]\nmod t {\n}\nmod u;\n";
        let source = Source::new(Path::new("x.rs"), text);
        let found: Vec<_> = source.functions().iter().map(|(_, name, lines)| (*name, *lines)).collect();
        assert_eq!(found, [("a", 4)]);
        assert_eq!(&text[source.test_parts()[0].clone()], "#[cfg(test)]\nmod t {\n}");
        assert_eq!(source.modules(), [("u", None, false)]);
    }
}
