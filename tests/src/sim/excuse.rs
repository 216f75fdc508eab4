//! What a run may do to what users wrote and removed without breaking a promise: each for a reason that lies beyond every
//! program, and none that is not seen to have happened.

use super::check::{Cut, Ledger, Table, visible};
use super::device::{Device, F};
use super::fs::{Fs, ROOT, TMP, WRITTEN_BACK};
use super::world::SECOND;
use dartsync_core::ids::{ContentId, Tag};
use dartsync_core::path::Path;
use dartsync_core::peer::{DEVICE, Index, Made, Number, Trees};
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
    /// install that the cut undid, which nothing tells from a torn one), or another does, though that be a trash, or where a
    /// user moved it away.
    pub fn excuse<'a>(
        &mut self,
        d: usize,
        now: u64,
        gone: &Contents,
        left: Contents,
        others: impl Iterator<Item = (usize, &'a Fs)>,
    ) {
        let since = cached_since(now);
        self.refused.retain(|(n, ..)| *n != d);
        let (mut kept, mut shown, mut ready) = (left, BTreeSet::new(), Vec::new());
        for (n, fs) in others {
            ready.push((n, recoverable(fs)));
            kept.append(&mut fs.kept());
            // Whence a user moved it, it is going to a trash.
            let all = fs.walk(ROOT, b"").into_iter().map(|(path, i)| (fs.node(i).data.id, path));
            shown.extend(all.filter(|(id, path)| !self.is_taken(*id, path)).map(|(id, _)| id));
        }
        for id in gone.difference(&shown) {
            let Some(w) = self.contents.get_mut(id) else { continue };
            let cached = w.at.get(&d).is_some_and(|at| *at > since);
            // What it was about to install is no copy yet: a power cut may take that, too.
            if w.cut.spared.remove(&d) || cached {
                w.cut.sinks = true;
                if !kept.contains(id) {
                    w.cut.spared =
                        ready.iter().filter(|(_, has)| has.contains(id)).map(|(n, _)| *n).collect();
                    w.cut.lost |= w.cut.spared.is_empty();
                }
            }
        }
    }
    /// A device gives up what it had ready to be installed, for its user saved or removed something there, the home has
    /// something else by now, or it could not be installed. That was no copy yet: where nothing else had spared it from a
    /// power cut, and nobody has fetched it since, it may be lost.
    pub fn gives_up(&mut self, d: usize, content: ContentId, path: &[u8], devices: &mut [Device]) {
        let refused = self.refused.remove(&(d, path.to_vec(), content));
        let own = refused || self.is_users(d, &devices[d].fs, content, path);
        let mut t = Trees::default();
        let row = Path::new(path).ok().and_then(|path| devices[d].ix.find(F, path));
        row.map(|row| devices[d].ix.load(row, &mut t));
        let of = |r: Option<&Record>| r.is_some_and(|r| r.content == content);
        let [heard, withdrawn] = [&t.remote, &t.withdrawn].map(|r| r.as_ref().map(|r| &r.record));
        let pending = t.pending.as_ref().map(|p| &p.0);
        let wanted = [heard, withdrawn, pending, t.target.as_ref()].into_iter().any(of);
        let kept = devices.iter().any(|x| x.fs.kept().contains(&content));
        let Some(w) = self.contents.get_mut(&content).filter(|_| own || !wanted) else { return };
        if w.cut.spared.remove(&d) && w.cut.spared.is_empty() && !kept {
            let ready = devices.iter().enumerate().filter(|(_, x)| recoverable(&x.fs).contains(&content));
            w.cut.spared = ready.map(|(n, _)| n).collect();
            w.cut.lost |= w.cut.spared.is_empty();
        }
    }
    /// Whether what stands at a path, or that nothing does, is that device's user's doing since that content was written.
    fn is_users(&self, d: usize, fs: &Fs, content: ContentId, path: &[u8]) -> bool {
        let Some(since) = self.contents.get(&content).and_then(|w| w.at.values().min().copied()) else {
            return false;
        };
        match fs.find(path).map(|ino| fs.node(ino).data.id) {
            Some(stands) => {
                self.contents.get(&stands).and_then(|w| w.at.get(&d)).is_some_and(|at| *at >= since)
            }
            None => self.taken.iter().any(|((_, p), (by, at, _))| p == path && *by == d && *at >= since),
        }
    }
    /// A device has put that content at a path: it is durable there.
    pub fn installed(&mut self, content: ContentId) {
        self.contents.entry(content).and_modify(|w| w.cut = Cut::default());
        self.refused.retain(|(_, _, c)| *c != content);
    }
    /// What that user removed since then may return: the disk forgot it.
    pub fn forgive(&mut self, user: usize, since: u64) {
        self.taken.retain(|_, (by, at, _)| *by != user || *at < since);
    }
    /// Nor what its program had not seen go, paused, say, and had not known to be on the platter: after a power cut nothing
    /// tells the one from the other (R13).
    pub fn forgive_unseen(&mut self, d: usize, device: &mut Device) {
        let mut unseen = |id: &ContentId, path: &[u8]| {
            let row = Path::new(path).ok().and_then(|path| device.ix.find(F, path));
            let known = row.and_then(|row| device.ix.durable(row));
            known.is_some_and(|t| t.unsynced && t.disk_content() == Some(*id))
        };
        self.taken.retain(|(id, path), (by, ..)| *by != d || !unseen(id, path));
    }
    /// What stands on a device without its program knowing that, where a user put it back.
    pub fn put_back(&self, device: &mut Device) -> Vec<(Vec<u8>, ContentId)> {
        let there: Vec<_> = visible(device).into_iter().map(|(path, e)| (path, e.3)).collect();
        let back =
            |path: &[u8], id| self.taken.contains_key(&(id, path.to_vec())) && !self.is_taken(id, path);
        there.into_iter().filter(|(path, id)| back(path, *id) && !knows(device, path, *id)).collect()
    }
    /// A program ended that did not know that these were put back, or they were put there when it had ended. Where its store
    /// says that they stand there, as it does of what the program had seen go without having stored that, nothing tells them
    /// from what was there all the time: if the home has removed that, they go to the trash.
    pub fn puts_back_unseen(&mut self, device: &mut Device, news: Vec<(Vec<u8>, ContentId)>) {
        for (path, id) in news {
            if knows(device, &path, id)
                && let Some(w) = self.contents.get_mut(&id)
            {
                w.may_sink = true;
            }
        }
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

/// Whether its store says that this content stands at that path.
fn knows(device: &mut Device, path: &[u8], id: ContentId) -> bool {
    let mut t = Trees::default();
    let row = Path::new(path).ok().and_then(|path| device.ix.find(F, path));
    row.is_some_and(|row| device.ix.load(row, &mut t)) && t.disk_content() == Some(id)
}

/// Since when the page cache alone may have what was written.
pub(super) fn cached_since(now: u64) -> u64 {
    now.saturating_sub(WRITTEN_BACK + SECOND)
}

/// What a power cut took from a disk, on which these were [`recoverable`], and of them those kept in sight or in the trash,
/// before and after it. What a user wrote into a file that is a download's part again, its rename being undone, is nowhere.
pub(super) fn gone(before: &(Contents, Contents), after: &(Contents, Contents)) -> Contents {
    let lost = before.0.difference(&after.0);
    lost.chain(before.1.difference(&after.1)).copied().collect()
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
