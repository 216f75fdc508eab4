//! How a row is written: what it is filed under, its path, its trees.
//!
//! A row that is in sync holds the same record three times (local, synced, remote) and its content twice; each is
//! written once. Layout: head (see [`Keys`]) ‖ path length ‖ path key ‖ trees. Integers are little-endian or LEB128.

use dartsync_core::ids::{ContentId, DeviceId, Epoch, Row, Seq, Tag};
use dartsync_core::peer::{Due, Intent, Lane, Local, Made, Mark, Remote, Stat, Trees};
use dartsync_core::record::{Flags, Kind, Record};
use dartsync_core::version::{Edit, VersionVector};
use serde::{Serialize, de::DeserializeOwned};

/// What a row is filed under beside its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Keys {
    pub due: Option<Due>,
    /// Bit n: [`Mark`] n is on.
    pub marks: u8,
    /// What the local tree holds.
    pub content: Option<ContentId>,
    /// Of the remote and of the withdrawn record.
    pub seqs: [Option<Seq>; 2],
}

/// A row's value, taken apart; the trees are decoded by [`View::trees`].
pub(super) struct View<'a> {
    pub keys: Keys,
    /// Its key in the table of paths.
    pub path: &'a [u8],
    body: &'a [u8],
}

impl Keys {
    pub fn of(trees: &Trees, due: Option<Due>) -> Keys {
        let seq = |r: &Option<Remote>| r.as_ref().map(|r| r.seq);
        Keys {
            due,
            marks: Mark::ALL.iter().filter(|m| m.is_on(trees)).fold(0, |bits, m| bits | 1 << *m as u8),
            content: trees.disk_content(),
            seqs: [seq(&trees.remote), seq(&trees.withdrawn)],
        }
    }
    pub fn has(&self, mark: Mark) -> bool {
        self.marks >> mark as u8 & 1 != 0
    }
}

/// Marks as they stand in a row's head: four bits. Whether a withdrawn record is there, its seq's bit says already, so
/// in the place of that mark stands [`Mark::Invented`].
fn nibble(marks: u8) -> u8 {
    let spare = 1 << Mark::Withdrawn as u8;
    let invented = marks >> Mark::Invented as u8 & 1;
    (marks & 0xf & !spare) | (invented * spare)
}
/// The marks of a head.
fn marks(head: u8) -> u8 {
    let (four, spare) = (head >> 4, 1 << Mark::Withdrawn as u8);
    let invented = u8::from(four & spare != 0) << Mark::Invented as u8;
    let withdrawn = (head >> 3 & 1) * spare;
    (four & !spare) | invented | withdrawn
}

/// Replaces `out` by a row's value.
pub(super) fn write(out: &mut Vec<u8>, keys: &Keys, path: &[u8], trees: &Trees) {
    out.clear();
    let bit = |on: bool, n: u8| u8::from(on) << n;
    let seqs = keys.seqs.map(|s| s.is_some());
    let head =
        bit(keys.due.is_some(), 0) | bit(keys.content.is_some(), 1) | bit(seqs[0], 2) | bit(seqs[1], 3);
    out.push(head | nibble(keys.marks) << 4);
    if let Some(due) = keys.due {
        out.push(due.lane as u8);
        uint(out, due.key);
    }
    out.extend_from_slice(keys.content.as_ref().map_or(&[], |c| &c.0));
    keys.seqs.iter().flatten().for_each(|s| uint(out, s.0));
    uint(out, path.len() as u64);
    out.extend_from_slice(path);
    if !trees.is_empty() {
        write_trees(out, keys, trees);
    }
}

/// How a record is written: in full, or as another of the same row.
const FULL: u8 = 0;
const AS_LOCAL: u8 = 1;
const AS_SYNCED: u8 = 2;

fn write_trees(out: &mut Vec<u8>, keys: &Keys, t: &Trees) {
    // All fields by name: a new one must be written too (a flag: one more bit of `bits`, here and in `View::trees`).
    #[rustfmt::skip]
    let Trees { local, remote, synced, withdrawn, intent, target, pending, copies, over, trouble,
        stale, unsynced, unsure, forgot, disk_due, conflict, orphan } = t;
    let local_record = local.as_ref().map(|l| &l.record);
    let synced_as = if synced.is_some() && synced.as_ref() == local_record { AS_LOCAL } else { FULL };
    let remote_as = match remote.as_ref().map(|r| &r.record) {
        Some(r) if Some(r) == local_record => AS_LOCAL,
        Some(r) if Some(r) == synced.as_ref() => AS_SYNCED,
        _ => FULL,
    };
    debug_assert!(*unsynced == keys.has(Mark::Unsynced), "marks stand in the head");
    let there = [local.is_some(), remote.is_some(), synced.is_some(), target.is_some(), trouble.is_some()];
    let flags = [*stale, *disk_due, *conflict, *orphan, over.is_some(), *unsure, forgot.is_some()];
    let bits = there.into_iter().chain(flags).enumerate();
    out.extend_from_slice(&bits.fold(0u16, |bits, (n, on)| bits | u16::from(on) << n).to_le_bytes());
    out.push(synced_as | remote_as << 2 | (copies.len() as u8) << 4);
    let content = keys.content.as_ref();
    if let Some(l) = local {
        write_record(out, &l.record, content);
        write_reading(out, l);
    }
    if let Some(r) = synced.as_ref().filter(|_| synced_as == FULL) {
        write_record(out, r, content);
    }
    if let Some(r) = remote {
        out.extend_from_slice(&r.epoch.0.to_le_bytes());
        if remote_as == FULL {
            write_record(out, &r.record, content);
        }
    }
    if let Some(r) = withdrawn {
        out.extend_from_slice(&r.epoch.0.to_le_bytes());
        write_record(out, &r.record, content);
    }
    if let Some(intent) = intent {
        rare(out, intent);
    }
    if let Some(target) = target {
        write_record(out, target, content);
    }
    if let Some((record, winner)) = pending {
        write_record(out, record, content);
        uint(out, winner.0);
    }
    copies.iter().for_each(|row| uint(out, row.0));
    if let Some(over) = over {
        write_record(out, over, content);
    }
    if let Some(trouble) = trouble {
        rare(out, trouble);
    }
    if let Some(tag) = forgot {
        out.extend_from_slice(&tag.0.to_le_bytes());
    }
}

/// A local tree without its record: how it was read. What its stat has in common with the record is left out.
fn write_reading(out: &mut Vec<u8>, l: &Local) {
    let (s, r) = (&l.stat, &l.record);
    let same = s.kind == r.kind && s.mode == r.mode && s.size == r.size && s.mtime == r.mtime;
    out.push(l.made as u8 | u8::from(same) << 2 | (s.kind as u8) << 3);
    if !same {
        uint(out, s.mode.into());
        uint(out, s.size);
        out.extend_from_slice(&s.mtime.to_le_bytes());
    }
    out.extend_from_slice(&s.ctime.to_le_bytes());
    uint(out, s.ino);
    uint(out, l.at);
}

/// How a record's content is written.
const NO_CONTENT: u8 = 0;
const OWN_CONTENT: u8 = 1;
const HEAD_CONTENT: u8 = 2;

fn write_record(out: &mut Vec<u8>, r: &Record, head: Option<&ContentId>) {
    let content = match &r.content {
        c if *c == ContentId::NONE => NO_CONTENT,
        c if Some(c) == head => HEAD_CONTENT,
        _ => OWN_CONTENT,
    };
    debug_assert!(r.flags.0 < 4, "a record has two flags");
    out.push(r.kind as u8 | (r.flags.0 & 3) << 2 | content << 4 | u8::from(r.parent.is_some()) << 6);
    uint(out, r.mode.into());
    uint(out, r.size);
    out.extend_from_slice(&r.mtime.to_le_bytes());
    if content == OWN_CONTENT {
        out.extend_from_slice(&r.content.0);
    }
    uint(out, r.author.0.into());
    let mut edit = |e: &Edit| {
        out.extend_from_slice(&e.tag.0.to_le_bytes());
        uint(out, e.counter);
    };
    edit(&r.edit);
    r.parent.iter().for_each(&mut edit);
    edit(&Edit { tag: Tag(r.version.entries().len() as u32), counter: 0 });
    r.version.entries().iter().for_each(edit);
}

fn uint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// What few rows bear, as postcard writes it.
fn rare<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    let mut room = [0; 128];
    out.extend_from_slice(postcard::to_slice(value, &mut room).expect("intents and troubles are short"));
}

impl<'a> View<'a> {
    /// Takes a value apart; none if it is none that [`write`] makes.
    pub fn new(value: &'a [u8]) -> Option<View<'a>> {
        let mut at = Cursor(value);
        let head = at.byte()?;
        let mut keys = Keys { marks: marks(head), ..Keys::default() };
        if head & 1 != 0 {
            let lane = *Lane::ALL.get(usize::from(at.byte()?))?;
            keys.due = Some(Due { lane, key: at.uint()? });
        }
        if head & 2 != 0 {
            keys.content = Some(ContentId(at.array()?));
        }
        for (n, seq) in keys.seqs.iter_mut().enumerate() {
            if head >> (2 + n) & 1 != 0 {
                *seq = Some(Seq(at.uint()?));
            }
        }
        let len = usize::try_from(at.uint()?).ok()?;
        let path = at.take(len)?;
        Some(View { keys, path, body: at.0 })
    }

    /// Decodes the trees into `t`, whatever it held; none if the value is damaged.
    pub fn trees(&self, t: &mut Trees) -> Option<()> {
        *t = Trees::default();
        if self.body.is_empty() {
            return Some(());
        }
        let mut at = Cursor(self.body);
        let (bits, how) = (u16::from_le_bytes(at.array()?), at.byte()?);
        let on = |n: u8| bits >> n & 1 != 0;
        let content = self.keys.content;
        if on(0) {
            let record = at.record(content)?;
            t.local = Some(at.reading(record)?);
        }
        if on(2) {
            t.synced = Some(if how & 3 == AS_LOCAL {
                t.local.as_ref()?.record.clone()
            } else {
                at.record(content)?
            });
        }
        if on(1) {
            let epoch = Epoch(u64::from_le_bytes(at.array()?));
            let record = match how >> 2 & 3 {
                AS_LOCAL => t.local.as_ref()?.record.clone(),
                AS_SYNCED => t.synced.clone()?,
                _ => at.record(content)?,
            };
            t.remote = Some(Remote { record, epoch, seq: self.keys.seqs[0]? });
        }
        if self.keys.has(Mark::Withdrawn) {
            let epoch = Epoch(u64::from_le_bytes(at.array()?));
            t.withdrawn = Some(Remote { record: at.record(content)?, epoch, seq: self.keys.seqs[1]? });
        }
        if self.keys.has(Mark::Intent) {
            t.intent = Some(at.rare::<Intent>()?);
        }
        if on(3) {
            t.target = Some(at.record(content)?);
        }
        if self.keys.has(Mark::Pending) {
            t.pending = Some((at.record(content)?, Row(at.uint()?)));
        }
        for _ in 0..how >> 4 {
            t.copies.push(Row(at.uint()?)).ok()?;
        }
        if on(9) {
            t.over = Some(at.record(content)?);
        }
        if on(4) {
            t.trouble = Some(at.rare()?);
        }
        (t.stale, t.disk_due, t.conflict, t.orphan) = (on(5), on(6), on(7), on(8));
        (t.unsynced, t.unsure) = (self.keys.has(Mark::Unsynced), on(10));
        if on(11) {
            t.forgot = Some(Tag(u32::from_le_bytes(at.array()?)));
        }
        at.0.is_empty().then_some(())
    }
}

/// What is left to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn uint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }
    fn time(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.array()?))
    }
    fn rare<T: DeserializeOwned>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }
    fn edit(&mut self) -> Option<Edit> {
        Some(Edit { tag: Tag(u32::from_le_bytes(self.array()?)), counter: self.uint()? })
    }
    fn record(&mut self, head: Option<ContentId>) -> Option<Record> {
        let bits = self.byte()?;
        let mut r = Record { kind: kind(bits & 3), flags: Flags(bits >> 2 & 3), ..Record::default() };
        r.mode = self.uint()?.try_into().ok()?;
        r.size = self.uint()?;
        r.mtime = self.time()?;
        r.content = match bits >> 4 & 3 {
            OWN_CONTENT => ContentId(self.array()?),
            HEAD_CONTENT => head?,
            _ => ContentId::NONE,
        };
        r.author = DeviceId(self.uint()?.try_into().ok()?);
        r.edit = self.edit()?;
        if bits >> 6 & 1 != 0 {
            r.parent = Some(self.edit()?);
        }
        r.version = VersionVector::new();
        for _ in 0..self.edit()?.tag.0 {
            let entry = self.edit()?;
            r.version.raise(entry).then_some(())?;
        }
        Some(r)
    }
    fn reading(&mut self, record: Record) -> Option<Local> {
        let bits = self.byte()?;
        let made = [Made::Unminted, Made::Minted, Made::Synced].into_iter().nth(usize::from(bits & 3))?;
        let mut stat = Stat { kind: kind(bits >> 3 & 3), ..Stat::default() };
        if bits >> 2 & 1 != 0 {
            (stat.mode, stat.size, stat.mtime) = (record.mode, record.size, record.mtime);
        } else {
            stat.mode = self.uint()?.try_into().ok()?;
            stat.size = self.uint()?;
            stat.mtime = self.time()?;
        }
        stat.ctime = self.time()?;
        stat.ino = self.uint()?;
        Some(Local { record, made, stat, at: self.uint()? })
    }
}

fn kind(two_bits: u8) -> Kind {
    match two_bits {
        1 => Kind::File,
        2 => Kind::Directory,
        3 => Kind::Symlink,
        _ => Kind::Removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dartsync_core::peer::Cause;

    fn record(n: u8) -> Record {
        let edit = Edit { tag: Tag(u32::from(n) + 1), counter: 1_700_000_000_000_000 + u64::from(n) };
        let mut r = Record {
            kind: kind(n % 4),
            flags: Flags(n / 4 % 4),
            mode: 0o644,
            size: 1 << (n % 40),
            mtime: -5 + i64::from(n),
            content: ContentId([n / 3; 32]),
            author: DeviceId(n.into()),
            edit,
            parent: n.is_multiple_of(3).then_some(Edit { tag: Tag(7), counter: n.into() }),
            version: VersionVector::of(edit),
        };
        for tag in 0..n % 64 {
            let _full = r.version.raise(Edit { tag: Tag(1000 + u32::from(tag)), counter: 1 << (tag % 62) });
        }
        r
    }

    fn round(t: &Trees, due: Option<Due>) -> usize {
        let (mut out, keys) = (Vec::new(), Keys::of(t, due));
        write(&mut out, &keys, b"\0\x01some/path", t);
        let view = View::new(&out).expect("whole");
        assert_eq!((view.keys, view.path), (keys, &b"\0\x01some/path"[..]));
        let mut back = Trees { stale: true, ..Trees::default() };
        view.trees(&mut back).expect("whole");
        assert_eq!(back, *t);
        for cut in 0..out.len() {
            if let Some(view) = View::new(&out[..cut]).filter(|v| !v.body.is_empty()) {
                assert!(view.trees(&mut back).is_none(), "a torn value is seen");
            }
        }
        out.len()
    }

    fn synced(record: Record) -> Trees {
        let stat = Stat {
            kind: record.kind,
            mode: record.mode,
            size: record.size,
            mtime: record.mtime,
            ..Stat::default()
        };
        Trees {
            local: Some(Local {
                record: record.clone(),
                made: Made::Synced,
                stat,
                at: 1_700_000_000_000_000,
            }),
            remote: Some(Remote { record: record.clone(), epoch: Epoch(u64::MAX), seq: Seq(123_456) }),
            synced: Some(record),
            ..Trees::default()
        }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        round(&Trees::default(), None);
        round(&Trees { forgot: Some(Tag(7)), ..Trees::default() }, None);
        for n in 0..250u8 {
            let (rec, m) = (|k: u8| record(n.wrapping_mul(31).wrapping_add(k)), n % 8);
            let remote = |k| Remote { record: rec(k), epoch: Epoch(n.into()), seq: Seq(u64::from(n) << m) };
            let mut t = if m < 2 { synced(rec(0)) } else { Trees::default() };
            t.local = t.local.or((m & 1 != 0).then(|| Local {
                record: rec(1),
                made: Made::Unminted,
                stat: Stat { kind: kind(m % 4), ino: n.into(), ctime: i64::MIN, ..Stat::default() },
                at: 9,
            }));
            t.remote = t.remote.or((m & 2 != 0).then(|| remote(2)));
            t.synced = t.synced.or((m & 4 != 0).then(|| rec(u8::from(n % 2 == 0) * 2)));
            t.withdrawn = (n % 5 == 0).then(|| remote(4));
            t.intent = (n % 7 == 0).then(|| Intent {
                from: (Kind::Removed, ContentId::NONE),
                to: (Kind::File, ContentId([n; 32])),
                copy: (n % 2 == 0).then_some(Row(u64::MAX)),
            });
            t.pending = (n % 6 == 0).then(|| (rec(5), Row(n.into())));
            t.copies = (0..n % 5).map(|c| Row(u64::from(c) << 40)).collect();
            t.trouble = (n % 4 == 0).then_some((Cause::Os(-i32::from(n)), n));
            t.target = n.is_multiple_of(9).then(|| rec(6));
            t.over = n.is_multiple_of(11).then(|| rec(7));
            (t.stale, t.unsynced, t.unsure) = (n % 3 == 0, n % 2 == 0, n % 4 == 0);
            t.forgot = (n % 8 < 3).then_some(Tag(u32::MAX - u32::from(n)));
            (t.disk_due, t.conflict, t.orphan) = (n % 5 == 1, n % 7 == 3, n % 3 == 1);
            round(
                &t,
                (n % 3 == 1).then_some(Due { lane: Lane::ALL[usize::from(n % 7)], key: u64::MAX >> m }),
            );
        }
    }

    #[test]
    fn a_row_in_sync_is_short() {
        let len = round(&synced(record(1)), None);
        assert!(len <= 150, "{len} bytes");
    }
}
