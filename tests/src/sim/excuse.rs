//! What a run may do to what users wrote and removed without breaking a promise: each for a reason that lies beyond every
//! program, and none that is not seen to have happened.

use super::check::{Ledger, Table, visible};
use super::device::{Device, F};
use super::fs::{Fs, ROOT, TMP};
use dartsync_core::ids::{ContentId, Tag};
use dartsync_core::path::Path;
use dartsync_core::peer::{DEVICE, Index, Made, Number};
use dartsync_core::record::Record;
use dartsync_core::version::Edit;
use std::collections::BTreeSet;

/// Some contents.
pub(super) type Contents = BTreeSet<ContentId>;

/// What may be excused in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leave {
    /// The power failed.
    pub cut: bool,
    /// A user saved in the very instant in which something was put there.
    pub raced: bool,
    /// The tracker lost its table: no copy is made where each side covers the other, the loser is in a trash (R7).
    pub forgot: bool,
    /// A store was lost, rolled back or cloned, a device put out, or a folder linked again: what was removed may return.
    pub forgets: bool,
    /// What is only in a trash is no breach: the promise is kept, though more was hoped for. Where [`Leave::may_sink`] says
    /// no, or `--audit` is asked for, it is.
    pub sinks: bool,
}

impl Leave {
    /// A content may be announced as another edit, and stand at another path. Asked by the audit alone.
    pub fn anew(&self) -> bool {
        self.cut || self.raced || self.forgets
    }
    /// A content may end in a trash alone.
    pub fn may_sink(&self) -> bool {
        self.forgets
    }
}

/// A store that was brought back gives counters out once more, at a device whose clock stands behind the last of them (R1).
/// The tracker or its own tag would tell it (R4); where the tracker has lost its table, and who connects first has none of
/// those edits, nothing does: whoever knows the first edit of that counter takes the second for known.
#[derive(Clone, Copy, Debug)]
pub struct GivenAgain {
    after: u64,
    until: u64,
}

impl Ledger {
    /// What a device's store knew of its files is gone or old: what stands there may be taken for put there anew, and
    /// what its user removed, unless the home knows, for not removed.
    pub fn forgets(&mut self, d: usize, devices: &mut [Device], table: &Table) {
        visible(&devices[d]).into_iter().for_each(|(path, e)| self.put(e.3, &path));
        let own = self.taken.iter().filter(|(_, (by, ..))| *by == d).map(|(key, _)| key.clone());
        self.orphans.extend(own);
        self.reconsider(Some(d), devices, table);
    }
    /// Of removals that are not known where they were made any more, those are still known that another member has taken
    /// for its own, or the tracker has. What a member has but heard of is nothing that it tells another tracker, where
    /// it has something else of that path (R8).
    pub fn reconsider(&mut self, but: Option<usize>, devices: &mut [Device], table: &Table) {
        let mut home: Vec<_> = devices
            .iter_mut()
            .enumerate()
            .filter(|(i, x)| Some(*i) != but && x.is_member())
            .map(|x| x.1)
            .collect();
        let (edits, taken) = (&self.edits, &mut self.taken);
        let mut is_known = |(id, path): &(ContentId, Vec<u8>)| {
            let Some(known) = edits.get(id) else { return false };
            // A later record of that path than any of the content itself.
            let later = |r: &Record| {
                let other = !r.is_live() || r.content != *id;
                other && known.keys().any(|e| r.version.covers(*e))
            };
            let told = table.get(path).is_some_and(later);
            told || home.iter_mut().any(|x| {
                let row = Path::new(path).ok().and_then(|path| x.ix.find(F, path));
                let Some(t) = row.and_then(|row| x.ix.durable(row)) else { return false };
                let own = t.local.as_ref().filter(|l| l.made == Made::Minted).map(|l| &l.record);
                [t.synced.as_ref(), own].into_iter().flatten().any(later)
            })
        };
        self.orphans.retain(|key| {
            let known = taken.contains_key(key) && is_known(key);
            if !known {
                taken.remove(key);
            }
            known
        });
    }
    /// A user saved at the last instant where that was to be put, and nothing stood.
    pub fn crowds_out(&mut self, content: ContentId, path: &[u8]) {
        if let Some(w) = self.contents.get_mut(&content).filter(|_| is_copy(path)) {
            w.may_sink = true;
        }
    }
    /// A power cut took those contents from where a device's user sees them. What a user had written there in the last half
    /// minute only the page cache had: it may be lost, or stay where that device still has it (`left`: in the swap file of an
    /// install that the cut undid, which nothing tells from a torn one), or another does, though that be a trash.
    pub fn excuse<'a>(
        &mut self,
        d: usize,
        now: u64,
        gone: &Contents,
        left: Contents,
        others: impl Iterator<Item = &'a Fs>,
    ) {
        const WRITTEN_BACK: u64 = 31_000_000;
        let (mut kept, mut shown) = (left, BTreeSet::new());
        for fs in others {
            kept.append(&mut fs.kept());
            shown.extend(fs.walk(ROOT, b"").into_iter().map(|(_, i)| fs.node(i).data.id));
        }
        for id in gone.difference(&shown) {
            if let Some(w) = self.contents.get_mut(id) {
                let cached = w.at.get(&d).is_some_and(|at| at + WRITTEN_BACK > now);
                w.may_sink |= cached;
                w.excused |= cached && !kept.contains(id);
            }
        }
    }
    /// What that user removed since then may return: the disk forgot it.
    pub fn forgive(&mut self, user: usize, since: u64) {
        self.taken.retain(|_, (by, at, _)| *by != user || *at < since);
    }
    /// Whether the content met another at its path, each side covering the other's edit: then no copy is made (R7).
    pub(super) fn met_its_equal(&self, content: &ContentId) -> bool {
        let meets = |x: &Record, r: &Record| {
            !x.same_content(r) && x.version.covers(r.edit) && r.version.covers(x.edit)
        };
        self.said.values().any(|all| {
            let mut those = all.iter().filter(|x| x.content == *content);
            those.any(|x| all.iter().any(|r| meets(x, r)))
        })
    }
    /// An edit was withdrawn whose content no device has that has the folder: a user removed it where the home could not
    /// hear of that, say. The home goes back to what it replaced (R9a), or what that did, and so on: but not beyond a removal.
    pub(super) fn gives_back(&mut self, path: Path<'_>, withdrawn: &Record) {
        let (edits, said) = (&self.edits, self.said.get(path.bytes()));
        let (mut chain, mut before) = (BTreeSet::new(), withdrawn.parent);
        while let Some(e) = before.filter(|e| chain.insert(*e)) {
            before = said.and_then(|all| all.iter().find(|r| r.edit == e)?.parent);
        }
        let replaced = |id: &ContentId| {
            let at = |(e, p): (&Edit, &Vec<u8>)| p == path.bytes() && chain.contains(e);
            edits.get(id).is_some_and(|all| all.iter().any(at))
        };
        self.taken.retain(|(id, p), _| p != path.bytes() || !replaced(id));
    }

    /// A store of earlier is brought back: it knows its counter of then.
    pub fn goes_back(&mut self, old: &mut dyn Index) {
        let (tag, after) = (Tag(old.number(DEVICE, Number::Tag) as u32), old.number(DEVICE, Number::Counter));
        let until = self.counted.get(&tag).copied().unwrap_or(0);
        self.given_again.insert(tag, GivenAgain { after, until });
    }
    /// A device announces a record: its counters, and whether its content is of one that was given out again.
    /// `forgot`: the tracker has lost its table, as it must have for nobody to tell.
    pub(super) fn count(&mut self, d: &mut Device, r: &Record, forgot: bool) {
        let tag = Tag(d.ix.number(DEVICE, Number::Tag) as u32);
        let new = !self.edits.get(&r.content).is_some_and(|all| all.contains_key(&r.edit));
        let again = |g: &&GivenAgain| r.edit.counter > g.after && r.edit.counter <= g.until;
        if new
            && forgot
            && r.edit.tag == tag
            && self.given_again.get(&tag).filter(again).is_some()
            && let Some(w) = self.contents.get_mut(&r.content)
        {
            w.may_sink = true;
        }
        let counted = self.counted.entry(tag).or_default();
        *counted = (*counted).max(r.version.get(tag));
    }
}

/// Every content on that disk that is visible, in the trash, or in a swap file, which is looked into after a crash.
pub(super) fn recoverable(fs: &Fs) -> Contents {
    let tmp = fs.entries(TMP).filter(|(name, _)| !name.ends_with(b".part"));
    fs.kept().into_iter().chain(tmp.map(|(_, i)| fs.node(i).data.id)).collect()
}

/// Whether a path is a conflict copy's.
pub fn is_copy(path: &[u8]) -> bool {
    path.windows(9).any(|x| x == b"(conflict")
}

#[cfg(test)]
mod tests {
    use super::super::fs::{Bytes, ROOT, TRASH};
    use super::super::rand::Rand;
    use super::*;
    use dartsync_core::ids::{Epoch, FolderId, FolderSlot, Seq};
    use dartsync_core::peer::{Remote, Touch, Trees};
    use dartsync_core::record::{Flags, Kind};
    use dartsync_core::version::VersionVector;
    use dartsync_core::wire::batch::{BatchWriter, Entry, EntryFlags};
    use dartsync_core::wire::message::{ToPeer, encode};

    /// Members, each with these files at its root.
    fn home(files: &[&[&str]]) -> Vec<Device> {
        let device = |(n, files): (usize, &&[&str])| {
            let mut d = Device::new(n, Rand::new(0));
            d.joined = true;
            files.iter().for_each(|name| make(&mut d, ROOT, name));
            d
        };
        files.iter().enumerate().map(device).collect()
    }
    /// A file holds its own name.
    fn make(d: &mut Device, dir: u64, name: &str) {
        let ino = d.fs.make(Kind::File, 0o644, Some(Bytes::file(name.as_bytes())));
        d.fs.link(dir, name.as_bytes(), ino).unwrap();
    }
    fn id(name: &str) -> ContentId {
        Bytes::file(name.as_bytes()).id
    }

    #[test]
    fn a_lost_store_brings_back_what_stands_there_and_what_the_home_does_not_know_of_and_no_more() {
        // A shows two files that B's user removed: C has removed y, too.
        let mut devices = home(&[&["x", "y"], &[], &[]]);
        let made = Edit { tag: Tag(1), counter: 1 };
        let removal = Record { kind: Kind::Removed, version: VersionVector::of(made), ..Record::default() };
        let row = devices[2].ix.create(F, Path::new(b"y").unwrap());
        devices[2].ix.save(row, &Trees { synced: Some(removal.clone()), ..Trees::default() }, None);
        // Of x it has but heard.
        let row = devices[2].ix.create(F, Path::new(b"x").unwrap());
        let remote = Some(Remote { record: removal.clone(), epoch: Epoch(1), seq: Seq(1) });
        devices[2].ix.save(row, &Trees { remote, ..Trees::default() }, None);
        devices[2].ix.commit();
        let told = Table::from([(b"x".to_vec(), removal)]);
        let mut after = |lost: Option<usize>, name: &str, tables: &[&Table]| {
            let mut ledger = Ledger::default();
            for name in ["x", "y"] {
                ledger.put(id(name), name.as_bytes());
                ledger.edits.entry(id(name)).or_default().insert(made, name.into());
            }
            ledger.take(id(name), name.as_bytes(), 1, 1);
            lost.iter().for_each(|d| ledger.forgets(*d, &mut devices, tables[0]));
            tables[1..].iter().for_each(|t| ledger.reconsider(None, &mut devices, t));
            devices.iter().find_map(|d| ledger.nothing_returned(d).err())
        };
        let none = Table::new();
        assert!(after(None, "x", &[&none]).is_some_and(|e| e.contains("x is back")));
        let there = ["x", "y"].map(|name| after(Some(0), name, &[&none]));
        assert_eq!(there, [None, None], "it stands there without a store");
        assert_eq!(after(Some(1), "x", &[&none]), None, "nobody tells that it was removed");
        assert!(after(Some(1), "x", &[&told]).is_some(), "the tracker does");
        assert_eq!(after(Some(1), "x", &[&told, &none]), None, "as long as it runs");
        assert!(after(Some(1), "y", &[&none, &none]).is_some(), "C does");
        assert!(after(Some(2), "x", &[&none]).is_some(), "what C's store knew had nothing to do with it");
    }

    #[test]
    fn what_the_home_has_in_a_trash_alone_is_lost_whoever_else_shows_it() {
        let mut devices = home(&[&[], &["x"], &["y"]]);
        make(&mut devices[0], TRASH, "x");
        let mut ledger = Ledger::default();
        for name in ["x", "y"] {
            ledger.contents.entry(id(name)).or_default().closed = true;
        }
        let lost = |ledger: &Ledger, devices: &[Device]| ledger.nothing_lost(devices, Leave::default()).err();
        assert_eq!(lost(&ledger, &devices), None);
        devices[2].revoked = true;
        assert_eq!(lost(&ledger, &devices), None, "y was only ever there");
        devices[1].revoked = true;
        assert!(lost(&ledger, &devices).is_some_and(|e| e.contains("only in a trash")));
        ledger.crowds_out(id("x"), b"x");
        assert!(lost(&ledger, &devices).is_some(), "anyone can save as x");
        ledger.crowds_out(id("x"), b"x (conflict device 2026-01-01-000000 00000000)");
        assert_eq!(lost(&ledger, &devices), None);
    }

    #[test]
    fn what_two_users_wrote_may_go_with_the_page_caches_of_both_and_not_with_what_was_fetched() {
        const SECOND: u64 = 1_000_000;
        let (id, mut trashed, shown) = (id("x"), home(&[&[]]), home(&[&["x"]]));
        make(&mut trashed[0], TRASH, "x");
        let judged_with = |cuts: &[(usize, u64)], left: Contents, others: &[Device]| {
            let mut ledger = Ledger::default();
            ledger.contents.entry(id).or_default().at = [(0, SECOND), (1, 9 * SECOND)].into();
            let others = || others.iter().map(|d| &d.fs);
            cuts.iter()
                .for_each(|(d, at)| ledger.excuse(*d, at * SECOND, &[id].into(), left.clone(), others()));
            let w = &ledger.contents[&id];
            (w.excused, w.may_sink)
        };
        let judged = |cuts: &[(usize, u64)], others: &[Device]| judged_with(cuts, BTreeSet::new(), others);
        let after = |cuts: &[(usize, u64)]| judged(cuts, &[]) == (true, true);
        assert_eq!(judged_with(&[(0, 20)], [id].into(), &[]), (false, true), "in a swap file");
        assert_eq!(judged(&[(0, 20)], &trashed), (false, true), "it may stay in a trash, and not be lost");
        assert_eq!(judged(&[(0, 40)], &trashed), (false, false), "on the platter by then");
        assert_eq!(judged(&[(0, 20)], &shown), (false, false), "another device shows it");
        assert!(after(&[(0, 20)]) && after(&[(1, 20)]), "whoever is the last to lose it");
        assert!(!after(&[(0, 40)]), "on the platter by then");
        assert!(after(&[(1, 39)]) && !after(&[(1, 41)]), "each has its own time");
        assert!(!after(&[(2, 20)]), "who fetched it has it durably");
    }

    #[test]
    fn what_was_written_half_a_minute_ago_is_on_the_platter_though_its_mode_was_changed_since() {
        const SECOND: u64 = 1_000_000;
        let written = |then: u64, chmod: Option<u64>, cut: u64| {
            (0..64u64).all(|seed| {
                let (mut fs, name) = (Fs::new(1, 1_000), &b"x"[..]);
                let ino = fs.make(Kind::File, 0o644, Some(Bytes::file(b"old")));
                fs.link(ROOT, name, ino).unwrap();
                fs.flush();
                fs.now = then * SECOND;
                fs.write((ROOT, name), ino, Bytes::file(b"new"), Touch::Settled);
                if let Some(at) = chmod {
                    fs.now = at * SECOND;
                    fs.set_meta((ROOT, name), ino, Some(0o600), None);
                }
                fs.now = cut * SECOND;
                fs.power_cut(&mut Rand::new(seed));
                fs.node(ino).data.bytes[..] == *b"new"
            })
        };
        assert!(!written(1, None, 30) && !written(1, Some(20), 30), "in the page cache alone");
        assert!(written(1, None, 31) && written(1, Some(20), 31), "written back meanwhile");
    }

    #[test]
    fn what_lies_in_a_part_alone_is_on_no_disk() {
        let mut d = home(&[&["x"]]).remove(0);
        make(&mut d, TRASH, "y");
        make(&mut d, TMP, "1.swap");
        make(&mut d, TMP, "2.part");
        assert_eq!(recoverable(&d.fs), ["x", "y", "1.swap"].map(id).into());
    }

    /// An edit of that tag with the content of that name, which replaced the one before.
    fn edited(tag: u32, counter: u64, name: &str) -> Record {
        let edit = Edit { tag: Tag(tag), counter };
        let mut record = Record { kind: Kind::File, content: id(name), edit, ..Record::default() };
        (record.size, record.version) = (1, VersionVector::of(edit));
        record
    }

    #[test]
    fn what_an_edit_had_replaced_may_be_back_once_nobody_has_that_edit() {
        let mut devices = home(&[&[], &["y"]]);
        devices.iter_mut().for_each(|d| d.folder = Some(FolderId(1)));
        let over = |counter: u64, r: Record| Record { parent: Some(Edit { counter, ..r.edit }), ..r };
        let withdrawn = |r: Record| Record { flags: Flags(Flags::WITHDRAWN), ..over(5, r) };
        let back = |devices: &[Device], path: &str, r: &Record| {
            let mut ledger = Ledger::default();
            ledger.put(id("x"), b"p");
            ledger.edits.entry(id("x")).or_default().insert(edited(1, 5, "x").edit, b"p".to_vec());
            ledger.take(id("x"), b"p", 0, 1);
            ledger.said.entry(b"p".to_vec()).or_default().push(over(5, edited(1, 6, "w")));
            let (mut buf, mut out) = ([0; 512], [0; 1024]);
            let mut w = BatchWriter::new(&mut buf);
            let path = Path::new(path.as_bytes()).unwrap();
            let entry =
                Entry { folder: FolderSlot(0), seq: Seq(1), flags: EntryFlags::default(), path, record: r };
            assert!(w.push(&entry));
            let n = w.len();
            let n = encode(&ToPeer::Records(&buf[..n]), &mut out).unwrap();
            ledger.pushed(Epoch(1), &out[..n], devices).unwrap();
            !ledger.is_taken(id("x"), b"p")
        };
        assert!(!back(&devices, "p", &withdrawn(edited(1, 9, "y"))), "B has it");
        assert!(back(&devices, "p", &withdrawn(edited(1, 9, "z"))));
        assert!(!back(&devices, "p", &over(5, edited(1, 9, "z"))), "it stands there");
        assert!(back(&devices, "p", &over(6, withdrawn(edited(1, 9, "z")))), "one in between");
        assert!(!back(&devices, "p", &over(7, withdrawn(edited(1, 9, "z")))), "it replaced the removal");
        assert!(!back(&devices, "q", &withdrawn(edited(1, 9, "z"))), "somewhere else");
        assert!(!back(&devices, "p", &withdrawn(edited(2, 9, "z"))), "it replaced something else");
        devices[1].folder = None;
        assert!(back(&devices, "p", &withdrawn(edited(1, 9, "y"))), "B has no part in it");
    }

    #[test]
    fn a_counter_that_is_given_out_again_is_excused_and_no_other() {
        let mut device = home(&[&[]]).remove(0);
        device.ix.set_number(DEVICE, Number::Tag, 1);
        let mut ledger = Ledger::default();
        ["a", "b", "c", "d"].iter().for_each(|n| {
            ledger.contents.entry(id(n)).or_default();
        });
        ledger.count(&mut device, &edited(1, 10, "a"), true);
        ledger.edits.entry(id("a")).or_default().insert(edited(1, 10, "a").edit, b"p".to_vec());
        let mut old = device.ix.clone();
        old.set_number(DEVICE, Number::Counter, 6);
        ledger.goes_back(&mut old);
        for forgot in [false, true] {
            for (counter, tag, name) in [(10, 1, "a"), (8, 1, "b"), (11, 1, "c"), (8, 2, "d")] {
                ledger.count(&mut device, &edited(tag, counter, name), forgot);
            }
            let sinks = ["a", "b", "c", "d"].map(|n| ledger.contents[&id(n)].may_sink);
            assert_eq!(sinks, [false, forgot, false, false], "known before; again; new; another's");
        }
    }
}
