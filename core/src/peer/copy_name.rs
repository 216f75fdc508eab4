//! Names of conflict copies: made from the loser alone, so that every device makes the same one (R9).

use crate::limits::{NAME, PATH};
use crate::path::{Path, PathBuf};
use crate::record::Record;
use core::fmt::Write;
use heapless::String;

/// The domain of the hash in a copy's name.
const DOMAIN: &[u8; 32] = b"DartSync 1: name of a copy      ";

/// The path of the copy of `loser`, which lost at `path`; `device` is the name of the loser's author, if one is known. A path
/// that would be too long goes to the nearest ancestor where it fits.
pub fn copy_path(path: Path<'_>, loser: &Record, device: Option<&str>, into: &mut PathBuf) {
    let mut mark: String<128> = String::new();
    let (y, mo, d, h, mi, s) = civil(loser.edit.counter / 1_000_000);
    let _ = match device {
        Some(name) => write!(mark, " (conflict {name} "),
        None => write!(mark, " (conflict id{} ", loser.author.0),
    };
    let _ = write!(mark, "{y:04}-{mo:02}-{d:02}-{h:02}{mi:02}{s:02} ");
    let (stem, ext) = split(path.name());
    // Beside the hash, with its bracket.
    let room = NAME - mark.len() - 9 - ext.len();
    // Cut to fit, the copy of a copy would have the very name of that.
    let nested = stem.len() > room && is_copy_name(path.name());
    for b in name_hash(loser, if nested { path.name() } else { b"" }) {
        let _ = write!(mark, "{b:02x}");
    }
    let _ = mark.push(')');
    let mut name: heapless::Vec<u8, NAME> = heapless::Vec::new();
    let fits = name.extend_from_slice(cut(stem, room)).is_ok()
        && name.extend_from_slice(mark.as_bytes()).is_ok()
        && name.extend_from_slice(ext).is_ok();
    assert!(fits, "cut to fit");
    let mut dir = path.parent();
    while dir.is_some_and(|d| d.bytes().len() + 1 + name.len() > PATH) {
        dir = dir.and_then(Path::parent);
    }
    into.clear();
    if let Some(d) = dir {
        into.set(d);
        let mut tail: heapless::Vec<u8, { NAME + 1 }> = heapless::Vec::new();
        let _ = tail.push(b'/');
        let _ = tail.extend_from_slice(&name);
        assert!(into.splice(d.bytes().len(), &tail), "a valid name in a valid directory");
    } else {
        assert!(into.splice(0, &name), "a valid name");
    }
}

/// Tells the loser from every other of its second: by its content, and by its edit, for one content may lose twice (a copy
/// moved back over the winner), and whoever removed the first copy knows nothing of the second. (A clock set back keeps a
/// store's counters within one second for long, see R1.) And from what stands under `other`, if that is not empty.
fn name_hash(loser: &Record, other: &[u8]) -> [u8; 4] {
    let mut bytes = [0; 44];
    bytes[..32].copy_from_slice(&loser.content.0);
    bytes[32..36].copy_from_slice(&loser.edit.tag.0.to_le_bytes());
    bytes[36..].copy_from_slice(&loser.edit.counter.to_le_bytes());
    let mut hasher = blake3::Hasher::new_keyed(DOMAIN);
    hasher.update(&bytes).update(other);
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    [a, b, c, d]
}

/// Whether a name is that of a conflict copy, by its form.
pub fn is_copy_name(name: &[u8]) -> bool {
    let (stem, _) = split(name);
    let Some(at) = stem.windows(11).rposition(|w| w == b" (conflict ") else { return false };
    let inner = &stem[at + 11..];
    let Some(inner) = inner.strip_suffix(b")") else { return false };
    let mut parts = inner.rsplit(|b| *b == b' ');
    let hash = parts.next().is_some_and(|h| h.len() == 8 && h.iter().all(u8::is_ascii_hexdigit));
    hash && parts.next().is_some_and(|d| d.len() == 17) && parts.next().is_some_and(|n| !n.is_empty())
}

/// Stem and extension (with its dot); a leading dot, or one far from the end, starts no extension.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(i) if i > 0 && name.len() - i <= 32 && !name[i..].contains(&b' ') => name.split_at(i),
        _ => (name, &[]),
    }
}

/// At most `room` bytes, not through the middle of a UTF-8 character.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let mut end = room;
    while end > 0 && stem[end] & 0xc0 == 0x80 && room - end < 4 {
        end -= 1;
    }
    &stem[..end]
}

/// UTC date and time of seconds since 1970 (days to civil date: Howard Hinnant's algorithm).
fn civil(secs: u64) -> (u64, u64, u64, u64, u64, u64) {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    (yoe + era * 400 + u64::from(month <= 2), month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ContentId, DeviceId, Tag};
    use crate::version::Edit;
    use std::string::String as Text;
    use std::vec;

    fn name(path: &[u8], device: Option<&str>) -> Text {
        name_of(path, device, 1_795_557_906_123_456)
    }
    fn name_of(path: &[u8], device: Option<&str>, counter: u64) -> Text {
        let loser = Record {
            content: ContentId([0xab; 32]),
            author: DeviceId(4),
            edit: Edit { tag: Tag(1), counter },
            ..Record::default()
        };
        let mut into = PathBuf::new();
        copy_path(Path::new(path).unwrap(), &loser, device, &mut into);
        Text::from_utf8_lossy(into.get().unwrap().bytes()).into_owned()
    }

    #[test]
    fn a_copy_is_named_by_its_loser() {
        assert_eq!(name(b"d/doc.txt", Some("box")), "d/doc (conflict box 2026-11-24-220506 000fece8).txt");
        assert_eq!(name(b".profile", None), ".profile (conflict id4 2026-11-24-220506 000fece8)");
        assert!(is_copy_name(name(b"a.b", Some("x")).as_bytes()) && !is_copy_name(b"a (conflict y).txt"));
        assert!(is_copy_name(name(b"a", Some("x")).as_bytes()));
    }

    #[test]
    fn a_content_that_loses_twice_in_one_second_has_two_names() {
        let (a, b) = (1_795_557_906_123_456, 1_795_557_906_123_457);
        assert_ne!(name_of(b"a", Some("x"), a), name_of(b"a", Some("x"), b));
        assert_eq!(name_of(b"a", Some("x"), a), name_of(b"a", Some("x"), a));
    }

    #[test]
    fn long_names_are_cut_and_long_paths_move_up() {
        let n = name(&[b'n'; 255], Some("box"));
        assert_eq!(n.len(), 255);
        let deep = [&b"d/".repeat(2010)[..], b"x"].concat();
        let n = name(&deep, Some("box"));
        assert!(n.len() <= PATH && n.ends_with("000fece8)"));
    }

    #[test]
    fn a_copy_of_a_copy_has_a_name_of_its_own_however_long_that_is() {
        for len in 180..=255 {
            for name_of_it in [vec![b'n'; len], [&b"\xc3\xa9".repeat(len / 2)[..], b".txt"].concat()] {
                let mut names = vec![name(&name_of_it[..name_of_it.len().min(255)], Some("box"))];
                for _ in 0..8 {
                    let next = name(names.last().unwrap().as_bytes(), Some("box"));
                    assert!(
                        next.len() <= NAME && is_copy_name(next.as_bytes()) && !names.contains(&next),
                        "{len}"
                    );
                    names.push(next);
                }
            }
        }
    }
}
