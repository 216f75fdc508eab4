//! The promises that are watched, apart from the world that is made to break them.

use super::device::{Device, F};
use super::excuse::{GivenAgain, Leave};
use super::fs::ROOT;
use dartsync_core::ids::{ContentId, Epoch, Row, Seq, Tag};
use dartsync_core::peer::{Index, Intent, Trees};
use dartsync_core::record::{Kind, Record};
use dartsync_core::tracker::Tracker;
use dartsync_core::version::{Edit, Order};
use dartsync_core::wire::batch::BatchReader;
use dartsync_core::wire::message::{ToPeer, ToTracker, decode};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a content that a user wrote.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The user closed the file: it may not be lost.
    pub closed: bool,
    /// Who wrote it first.
    pub by: usize,
    /// When (µs) each device's user last wrote it there: what came by another way is written once more.
    pub at: BTreeMap<usize, u64>,
    /// A user overwrote or removed it, seeing it.
    pub replaced: bool,
    /// Its one device is gone.
    pub excused: bool,
    /// It may end in a trash alone: a user saved something else under the name of the copy that was to be made of it, an
    /// instant before, when nobody could know that name yet; its edit is one that was another's ([`GivenAgain`]); or who
    /// put it back where the program had seen it go was seen by no program ([`Ledger::puts_back_unseen`]).
    pub may_sink: bool,
    /// What a power cut may have done to it.
    pub cut: Cut,
    /// What was written, for messages.
    pub text: String,
}

/// A power cut took a content while the page cache alone had it. It is over once a device has installed it.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// It may be lost: nobody else had it.
    pub lost: bool,
    /// Nobody else had it but these devices, about to install it.
    pub spared: BTreeSet<usize>,
    /// It may end in a trash alone: but a trash has it otherwise.
    pub sinks: bool,
}

impl Written {
    /// Whether it may be gone altogether.
    pub fn may_be_lost(&self) -> bool {
        self.excused || self.cut.lost
    }
    /// Whether it may end in a trash alone.
    pub fn may_sink(&self) -> bool {
        self.may_sink || self.cut.sinks
    }
}

/// Every content that users wrote, where they put it, whence they removed it.
#[derive(Default)]
pub struct Ledger {
    /// What a device has ready and could not put there when it tried last: its disk did not take it, its user had put
    /// something else there, or the directory was gone. The program can go on from what it then has; a fetch of this world
    /// comes whole or not at all.
    pub refused: BTreeSet<(usize, Vec<u8>, ContentId)>,
    /// By content.
    pub contents: BTreeMap<ContentId, Written>,
    /// How often a user put that content at that path.
    pub(super) puts: BTreeMap<(ContentId, Vec<u8>), u32>,
    /// Conflict copies that devices made: that content at that path.
    pub(super) copied: BTreeSet<(ContentId, Vec<u8>)>,
    /// Users who removed or overwrote that content at that path, when, and how often it had been put there until then.
    pub(super) taken: BTreeMap<(ContentId, Vec<u8>), (usize, u64, u32)>,
    /// Those of them that the store does not know any more where they did that.
    pub(super) orphans: BTreeSet<(ContentId, Vec<u8>)>,
    /// Every live record that was announced, by path.
    pub(super) said: BTreeMap<Vec<u8>, Vec<Record>>,
    /// Edits that each content was announced under.
    pub(super) edits: BTreeMap<ContentId, BTreeMap<Edit, Vec<u8>>>,
    /// The records that the tracker told last, by path.
    told: BTreeMap<Vec<u8>, (Seq, Record)>,
    epoch: Epoch,
    /// Tags of stores that were brought back.
    pub(super) given_again: BTreeMap<Tag, GivenAgain>,
    /// The highest counter that each device announced under its tag.
    pub(super) counted: BTreeMap<Tag, u64>,
    /// The tracker told of a withdrawn record.
    pub withdrew: bool,
}

impl Ledger {
    /// A user put that content at that path.
    pub fn put(&mut self, content: ContentId, path: &[u8]) {
        *self.puts.entry((content, path.to_vec())).or_default() += 1;
    }
    /// A device made a conflict copy at that path.
    pub fn copy(&mut self, content: ContentId, path: &[u8]) {
        self.copied.insert((content, path.to_vec()));
    }
    /// What a power cut brings back is put there by nobody, and is an edit for all that: R13 knows of no removal.
    pub fn brought_back(&mut self, before: &Seen, after: &Seen) {
        let new = after.iter().filter(|(p, e)| before.get(*p).is_none_or(|was| was.3 != e.3));
        new.for_each(|(path, e)| self.put(e.3, path));
    }
    /// How often users put each content somewhere.
    pub fn puts(&self) -> BTreeMap<ContentId, u32> {
        let mut all = BTreeMap::new();
        self.puts.iter().for_each(|((id, _), n)| *all.entry(*id).or_default() += n);
        all
    }
    /// A user removed or overwrote that content at that path.
    pub fn take(&mut self, content: ContentId, path: &[u8], by: usize, at: u64) {
        let key = (content, path.to_vec());
        let puts = self.puts.get(&key).copied().unwrap_or(0);
        self.orphans.remove(&key);
        self.taken.insert(key, (by, at, puts));
    }
    /// Whether a removal of that content at that path is held against whoever brings it back: no user put it there since.
    pub(super) fn is_taken(&self, content: ContentId, path: &[u8]) -> bool {
        let key = (content, path.to_vec());
        let puts = self.puts.get(&key).copied().unwrap_or(0);
        self.taken.get(&key).is_some_and(|t| t.2 == puts)
    }
    /// Promise: every visible content is one that some user wrote.
    pub fn is_known(&self, content: &ContentId) -> Result<(), String> {
        match self.contents.contains_key(content) {
            true => Ok(()),
            false => Err(format!("content {content:?} that no user wrote became visible")),
        }
    }

    /// Promise: what is announced, and differs from what was once heard, is committed (R2).
    pub fn announced(&mut self, d: &mut Device, frame: &[u8], forgot: bool) -> Result<(), String> {
        let Some(ToTracker::Announce(bytes)) = decode(frame) else { return Ok(()) };
        let mut r = BatchReader::new(bytes);
        while let Ok(Some(e)) = r.entry() {
            let Some(row) = d.ix.find(F, e.path) else {
                return Err(format!("{:?} was announced without a row", e.path));
            };
            let durable = d.ix.durable(row).is_some_and(|t| {
                let records = [
                    t.local.as_ref().map(|l| &l.record),
                    t.synced.as_ref(),
                    t.remote.as_ref().map(|r| &r.record),
                    t.pending.as_ref().map(|p| &p.0),
                    t.withdrawn.as_ref().map(|r| &r.record),
                ];
                records.into_iter().flatten().any(|x| x.version == e.record.version)
            });
            let owed = |t: &Trees| t.pending.as_ref().is_some_and(|p| p.0.version == e.record.version);
            if d.ix.durable(row).is_some_and(owed) {
                // Whoever has its content makes it.
                self.copy(e.record.content, e.path.bytes());
            }
            self.count(d, e.record, forgot);
            if e.record.has_content() {
                let all = self.edits.entry(e.record.content).or_default();
                all.entry(e.record.edit).or_insert_with(|| e.path.bytes().to_vec());
            }
            if !durable {
                return Err(format!("{:?} was announced before its row was durable", e.path));
            }
            let said = self.said.entry(e.path.bytes().to_vec()).or_default();
            if e.record.is_live() && !said.contains(e.record) {
                said.push(e.record.clone());
            }
        }
        Ok(())
    }

    /// Promise: only users make edits: a content has no more of them than it was put (R1, R3, R9).
    pub fn edits_are_users(&self, leave: Leave) -> Result<(), String> {
        let put = self.puts();
        let most = |id: &ContentId| put.get(id).copied().unwrap_or(1);
        let more = self.edits.iter().find(|(id, all)| all.len() as u32 > most(id));
        let Some((id, all)) = more.filter(|_| !leave.anew()) else { return Ok(()) };
        let text = self.contents.get(id).map_or("", |w| &w.text);
        let edits = all
            .iter()
            .map(|(e, path)| format!(" {}:{} at {}", e.tag.0, e.counter, String::from_utf8_lossy(path)));
        let edits: String = edits.collect();
        Err(format!("{text} was put {} times, but announced as other edits:{edits}", most(id)))
    }

    /// Promise: within an epoch the records of a path only grow, but for withdrawn and collected ones.
    pub fn pushed(&mut self, epoch: Epoch, frame: &[u8], devices: &[Device]) -> Result<(), String> {
        let Some(ToPeer::Records(bytes)) = decode(frame) else { return Ok(()) };
        if epoch != self.epoch {
            self.told.clear();
            self.epoch = epoch;
        }
        let mut r = BatchReader::new(bytes);
        while let Ok(Some(e)) = r.entry() {
            if e.record.flags.withdrawn() {
                self.told.remove(e.path.bytes());
                self.withdrew = true;
                let mut home = devices.iter().filter(|d| d.is_member() && d.folder.is_some());
                if !home.any(|d| d.fs.contents().contains(&e.record.content)) {
                    self.gives_back(e.path, e.record);
                }
                continue;
            }
            if !e.record.is_valid() {
                return Err(format!("the tracker told an invalid record of {:?}", e.path));
            }
            // Streams are at different places: what was told first need not be the older. A collected tombstone is
            // forgotten with all it knew.
            let (seq, new) = (e.seq, e.record.clone());
            let (last, old) = self.told.entry(e.path.bytes().to_vec()).or_insert_with(|| (seq, new.clone()));
            if seq > *last {
                if old.is_live() && new.version.compare(&old.version) == Order::Dominated {
                    return Err(format!("the tracker's record of {:?} went back", e.path));
                }
                (*last, *old) = (seq, new);
            }
        }
        Ok(())
    }

    /// Promise: a swap is made only when its intent is durable (R11).
    pub fn swapped(&self, d: &Device, row: Row, intent: &Intent) -> Result<(), String> {
        match d.ix.durable(row).and_then(|t| t.intent) {
            Some(i) if i == *intent => Ok(()),
            i => Err(format!("row {} is swapped while its durable intent is {i:?}", row.0)),
        }
    }

    /// Promise: nothing that a user closed is lost: it is current, an ancestor, in a copy, or in a trash.
    pub fn nothing_lost(&self, devices: &[Device], leave: Leave) -> Result<(), String> {
        let (home, gone): (Vec<_>, Vec<_>) = devices.iter().partition(|d| d.is_member());
        let seen = |of: &[&Device]| -> BTreeSet<_> {
            of.iter().flat_map(|d| visible(d).into_values().map(|e| e.3)).collect()
        };
        let kept = |of: &[&Device]| -> BTreeSet<_> { of.iter().flat_map(|d| d.fs.contents()).collect() };
        let (shown, shown_elsewhere) = (seen(&home), seen(&gone));
        let (kept_here, kept_elsewhere) = (kept(&home), kept(&gone));
        for (id, w) in self.contents.iter().filter(|(_, w)| w.closed && !w.replaced && !w.may_be_lost()) {
            let here = kept_here.contains(id);
            if !here && !kept_elsewhere.contains(id) {
                return Err(format!("an edit is lost: {} ({id:?}) of device {}", w.text, w.by));
            }
            if w.may_sink() || leave.sinks || (leave.forgot && self.met_its_equal(id)) {
                continue;
            }
            // What a device shows that was put out does not make up for what the home has in a trash.
            if !shown.contains(id) && (here || !shown_elsewhere.contains(id)) {
                return Err(format!("an edit is only in a trash: {} ({id:?}) of device {}", w.text, w.by));
            }
        }
        Ok(())
    }

    /// Promise: what a user removed stays removed, unless someone put it there again.
    pub fn nothing_returned(&self, d: &Device) -> Result<(), String> {
        for (path, e) in visible(d) {
            let key = (e.3, path.clone());
            // Put there twice, be it as a copy by a device, it need not be what the one who took it saw.
            let puts = self.puts.get(&key).copied().unwrap_or(0);
            let once = puts + u32::from(self.copied.contains(&key)) <= 1;
            let Some((by, ..)) = self.taken.get(&key).filter(|t| t.2 == puts && once) else { continue };
            let text = self.contents.get(&e.3).map_or("", |w| &w.text);
            let path = String::from_utf8_lossy(&path).into_owned();
            return Err(format!("{path} is back with {text}, which device {by} had removed"));
        }
        Ok(())
    }
}

/// What a user sees: path, (kind, mode, mtime of files, content).
pub type Seen = BTreeMap<Vec<u8>, (Kind, u16, i64, ContentId)>;

/// The visible tree of a device.
pub fn visible(d: &Device) -> Seen {
    let all = d.fs.walk(ROOT, b"").into_iter();
    all.map(|(path, ino)| {
        let (s, n) = (d.fs.stat(ino), d.fs.node(ino));
        let mtime = if s.kind == Kind::File { s.mtime } else { 0 };
        (path, (s.kind, s.mode, mtime, n.data.id))
    })
    .collect()
}

/// Promise: in the end all trees are the same, times and modes as far as both disks can hold them.
pub fn same_trees(a: &Device, b: &Device) -> Result<(), String> {
    let grain = a.fs.grain.max(b.fs.grain);
    let (x, y) = (visible(a), visible(b));
    let modes = a.fs.modes.0 & b.fs.modes.0;
    let coarse = |s: &Seen| -> Seen {
        s.iter().map(|(p, e)| (p.clone(), (e.0, e.1 & modes, e.2 - e.2.rem_euclid(grain), e.3))).collect()
    };
    let (x, y) = (coarse(&x), coarse(&y));
    for p in x.keys().chain(y.keys()) {
        if x.get(p) != y.get(p) {
            let name = String::from_utf8_lossy(p);
            return Err(format!("trees differ at {name}: {:?} and {:?}", x.get(p), y.get(p)));
        }
    }
    Ok(())
}

/// What a tracker has of each path, what is withdrawn aside.
pub type Table = BTreeMap<Vec<u8>, Record>;

/// See [`Table`].
pub fn table(t: &Tracker<'_>) -> Table {
    let mut said = Table::new();
    let mut seq = Seq(0);
    while let Some(e) = t.table().next_after(seq) {
        seq = e.seq();
        let r = e.record();
        if !r.flags.withdrawn() {
            said.insert(e.path().bytes().to_vec(), r);
        }
    }
    said
}

/// Promise: in the end the tracker's table says what the disks hold.
pub fn same_table(t: &Tracker<'_>, d: &Device) -> Result<(), String> {
    let mut said = table(t);
    said.retain(|_, r| r.is_live());
    let seen = visible(d);
    for p in said.keys().chain(seen.keys()) {
        let (r, s) = (said.get(p), seen.get(p));
        let same = r.zip(s).is_some_and(|(r, s)| {
            let time = r.kind != Kind::File || (r.mtime - r.mtime.rem_euclid(d.fs.grain)) == s.2;
            let mode = if r.kind == Kind::Symlink { r.mode } else { d.fs.masked(r.mode) };
            r.kind == s.0 && mode == s.1 && time && r.content == s.3
        });
        if !same {
            let name = String::from_utf8_lossy(p);
            let r = r.map(|r| (r.kind, r.mode, r.mtime, r.content));
            return Err(format!("the table and the disk differ at {name}: {r:?} and {s:?}"));
        }
    }
    Ok(())
}
