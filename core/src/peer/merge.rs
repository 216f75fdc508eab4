//! Versions: minting edits, merging concurrent records, planning conflict copies (R1, R6, R7, R9).

use super::copy_name::copy_path;
use super::index::Index;
use super::machine::Peer;
use super::reconcile::{Judgement, copy_record, is_aside, judge, merge_meta, ours, was_aside};
use super::rows::Open;
use super::state::What;
use super::trees::{Local, Made, Stat, Trees};
use crate::ids::{ContentId, Row, Tag};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::path::{Path, PathBuf};
use crate::record::{Flags, Kind, Record};
use crate::time::Now;
use crate::version::{Edit, VersionVector};

/// A counter that is further ahead (µs, 100 years) comes from no clock: to follow one that somebody made up would use this
/// store's counters up.
const FAR: u64 = 100 * 365 * 24 * 3_600 * 1_000_000;

/// A vector that knows of a tag.
pub(super) fn known_of(tag: Tag) -> VersionVector {
    VersionVector::of(Edit { tag, counter: 1 })
}

/// Names that are tried for a conflict copy where another content stands under each before.
const BESIDE: u32 = 8;

/// Whether a conflict copy's name is another content's, which knows nothing of that loser.
fn is_taken(t: &Trees, loser: &Record) -> bool {
    let other =
        t.local.as_ref().is_some_and(|l| l.stat.kind != Kind::Removed && !l.record.same_content(loser));
    other && !t.synced.as_ref().is_some_and(|s| s.version.covers(loser.edit))
}

impl Peer {
    /// A fresh edit of this store (R1).
    pub(super) fn mint(&mut self, now: Now) -> Edit {
        let next = if mutant::on(Mutant::R1Clock) { now.wall } else { (self.counter + 1).max(now.wall) };
        self.counter = next.min(limits::COUNTER - 1);
        Edit { tag: self.tag, counter: self.counter }
    }

    /// [`Peer::mint`], for a record that knows all of `version`: later than what that has of the tag. Of records whose
    /// vectors had to lose entries, the latest entry tells which is the later (R6), so that it has to be later than all of
    /// them, whatever this clock says.
    pub(super) fn mint_over(&mut self, now: Now, version: &VersionVector) -> Edit {
        let (tag, far) = (self.tag_over([version]), self.counter.max(now.wall) + FAR);
        let before = version.entries().iter().filter(|e| version.is_full() || e.tag == tag);
        let believed = before.map(|e| e.counter).filter(|c| *c <= far);
        self.counter = self.counter.max(believed.max().unwrap_or(0));
        Edit { tag, ..self.mint(now) }
    }

    /// The tag under which this store goes on from what knows so much: its own, or, where power cuts took what it had announced,
    /// the last of those that follow it (R13). Counters of a tag follow each other: under its own, what is made of what
    /// is left would seem to know what is lost.
    pub(super) fn tag_over<'v>(&self, known: impl IntoIterator<Item = &'v VersionVector> + Clone) -> Tag {
        let is_known = |tag: &Tag| known.clone().into_iter().any(|v| v.get(*tag) > 0);
        self.tag.line().filter(is_known).last().unwrap_or(self.tag)
    }

    /// The tag that follows that of [`Peer::tag_over`]: for what does not know all that was made under those before. Behind the
    /// last of them comes one drawn for that alone, and the store takes another tag (R4), of which nobody knows either.
    pub(super) fn tag_after_loss<'v>(
        &mut self,
        known: impl IntoIterator<Item = &'v VersionVector> + Clone,
    ) -> Tag {
        let tag = self.tag_over(known);
        if mutant::on(Mutant::R13Tag) {
            return tag;
        }
        let next = self.tag.line().skip_while(|t| *t != tag).nth(1);
        next.unwrap_or_else(|| {
            self.session.spent_tag = true;
            Tag(self.rng.next_u32().max(1))
        })
    }

    /// [`Peer::mint_over`] for a row of these trees. What a power cut took meanwhile, and the home had by then, or may have,
    /// this knows nothing of (R13).
    pub(super) fn mint_at(&mut self, now: Now, t: &mut Trees, version: &VersionVector) -> Edit {
        let edit = self.mint_over(now, version);
        let told = t.remote.as_ref().map(|r| &r.record.version);
        // Not of those before: that this goes by a tag behind them says already that it does not know all of them.
        let mut line = self.tag.line().skip_while(|tag| *tag != edit.tag);
        let lost = |told: &VersionVector| line.any(|tag| told.get(tag) > version.get(tag));
        if t.forgot.is_none() && !told.is_some_and(lost) {
            return edit;
        }
        let forgot = t.forgot.take().map(known_of);
        Edit {
            tag: self.tag_after_loss([Some(version), told, forgot.as_ref()].into_iter().flatten()),
            ..edit
        }
    }

    /// What was made here, of which others may have what `lost` knows, went with a power cut: the row's next edit is not to
    /// seem to know it.
    pub(super) fn forget_own(&self, t: &mut Trees, lost: &VersionVector) {
        let before = t.forgot.map(known_of);
        t.forgot = Some(self.tag_over([Some(lost), before.as_ref()].into_iter().flatten()));
    }

    /// Gives an unminted local tree its version: that of the synced tree, the own entry raised (R1).
    pub(super) fn mint_local(&mut self, now: Now, o: &mut Open) {
        let author = self.session.device;
        let synced = o.t.synced.clone();
        let aside = was_aside(&o.t);
        let l = o.t.local.as_mut().expect("only an unminted row is minted");
        let meta_only = !l.record.version.is_empty();
        // What a power cut tore knows nothing of what was whole, whoever changes its mode or time (R13). What is not told
        // yet needs no counter for that.
        let aside = aside && meta_only;
        if aside && !self.outbox.iter().any(|a| a.row == o.row && a.what == What::Local) {
            l.made = Made::Minted;
            return;
        }
        let mut version = if meta_only { l.record.version.clone() } else { VersionVector::new() };
        let below = Some(l.record.edit).filter(|e| !meta_only && e.tag.0 != 0);
        if let Some(e) = below {
            // It may be another's (a conflict copy's, say), not accepted yet: who wrote over it saw it.
            self.raise(&mut version, e, (e, None));
        }
        if let Some(s) = synced.as_ref().filter(|_| !aside) {
            self.join(&mut version, &s.version);
        }
        if let Some(r) = o.t.remote.as_ref().filter(|_| mutant::on(Mutant::R1Remote)) {
            self.join(&mut version, &r.record.version);
        }
        let edit = self.mint_at(now, &mut o.t, &version);
        let l = o.t.local.as_mut().expect("as above");
        if !meta_only {
            // What a fork is changed to is one as well: who made it saw no more of what stands against it.
            let was = below.map(|edit| Record { edit, parent: l.record.parent, ..Record::default() });
            let forks = |x: &Record, r: &Record| x.edit != r.edit && x.forks(r);
            let fork = was.filter(|x| o.t.remote.as_ref().is_some_and(|r| forks(x, &r.record)));
            let replaced = match fork {
                Some(x) => x.parent,
                None => below.or(synced.as_ref().map(|s| s.edit)),
            };
            l.record.parent = replaced.filter(|_| !mutant::on(Mutant::R3Parent));
            l.record.edit = edit;
            l.record.author = author;
            let stat = l.stat;
            self.mark_unsynced(now, o, &stat);
        } else if l.record.author.0 == 0 {
            l.record.author = author;
        }
        let l = o.t.local.as_mut().expect("as above");
        l.made = Made::Minted;
        let keep = (l.record.edit, l.record.parent);
        self.raise(&mut version, edit, keep);
        o.t.local.as_mut().expect("as above").record.version = version;
    }

    /// Raises an entry; a full vector loses a dead tag's smallest counter first (R6).
    pub(super) fn raise(&self, v: &mut VersionVector, edit: Edit, keep: (Edit, Option<Edit>)) {
        while !v.raise(edit) {
            if mutant::on(Mutant::R6Full) {
                return;
            }
            let dead = v
                .entries()
                .iter()
                .filter(|e| self.roster.device_by_tag(e.tag).is_none() && e.tag != keep.0.tag)
                .filter(|e| keep.1.is_none_or(|p| p.tag != e.tag))
                .min_by_key(|e| e.counter)
                .map(|e| e.tag);
            let dead = dead.filter(|_| !mutant::on(Mutant::R6Keep));
            let Some(tag) = dead.or_else(|| v.entries().iter().min_by_key(|e| e.counter).map(|e| e.tag))
            else {
                return;
            };
            v.drop_tag(tag);
        }
    }

    pub(super) fn join(&self, v: &mut VersionVector, other: &VersionVector) {
        for e in other.entries() {
            self.raise(v, *e, (*e, None));
        }
    }

    /// The merge of two concurrent records of which `winner` keeps its content (R7), for a row of these trees.
    pub(super) fn merge(
        &mut self,
        now: Now,
        t: &mut Trees,
        winner: &Record,
        loser: &Record,
        fork: bool,
    ) -> Record {
        let (mode, mtime) = merge_meta(t.synced.as_ref(), winner, loser);
        let mut m = winner.clone();
        (m.mode, m.mtime) = (mode, mtime);
        m.flags.0 &= !Flags::WITHDRAWN;
        self.join(&mut m.version, &loser.version);
        let same = winner.same_content(loser) && m.same_meta(winner) && m.same_meta(loser);
        // Joined with what replaced an older edit of the same tag, it would be a fork of that one to who still has it.
        let fork = fork || (winner.seems_to_know(loser) && !mutant::on(Mutant::R5Fork));
        // What is joined alike everywhere needs no counter of its own, unless it had to lose entries: then that alone says
        // that it is the later (R6).
        if !same || fork || m.version.is_full() {
            if mutant::on(Mutant::R7Fresh) && !fork {
                return m;
            }
            let edit = self.mint_at(now, t, &m.version);
            if fork || mutant::on(Mutant::R3Edit) {
                m.parent = Some(winner.edit);
                m.edit = edit;
                m.author = self.session.device;
            }
            self.raise(&mut m.version, edit, (m.edit, m.parent));
        }
        m
    }

    /// Whether, of two concurrent records, ours wins and whether the loser becomes a copy.
    pub(super) fn judgement(&self, o: &Open) -> Option<Judgement> {
        let (x, r) = (ours(&o.t)?, &o.t.remote.as_ref()?.record);
        if is_aside(&o.t) && r.is_live() {
            return Some(Judgement { ours: false, copy: true, fork: false });
        }
        Some(judge(x, r))
    }

    /// Whether the copy of that loser has been made already, whatever became of it. One that the home knows of and that is
    /// still to come here may as well be made of the loser itself.
    pub(super) fn knows_copy(&self, c: &Trees, loser: &Record) -> bool {
        let heard = c.remote.as_ref().filter(|r| r.epoch == self.epoch).map(|r| &r.record);
        let later = |r: &&Record| !r.is_live() || r.edit != loser.edit;
        let known = [c.synced.as_ref(), heard.filter(later)];
        known.into_iter().flatten().any(|r| r.version.covers(loser.edit))
    }

    /// The row of the conflict copy of `loser`, with the copy's record pending on it; none if it stands there already.
    pub(super) fn plan_copy(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        o: &Open,
        loser: &Record,
    ) -> Option<Row> {
        let mut at = PathBuf::new();
        ix.path(o.row, &mut at);
        self.plan_copy_of(ix, now, (o.f, o.row), loser, at)
    }

    pub(super) fn plan_copy_of(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        (f, winner): (usize, Row),
        loser: &Record,
        mut at: PathBuf,
    ) -> Option<Row> {
        let mut copy = PathBuf::new();
        let by = if mutant::on(Mutant::R9Name) { self.session.device } else { loser.author };
        copy_path(at.get()?, loser, self.roster.name_of(by), &mut copy);
        let mut c = self.open_path(ix, f, copy.get()?);
        // Where another content stands under that very name (a user wrote to an earlier copy), one beside it, again made
        // of the loser alone.
        for _ in 0..BESIDE {
            if !is_taken(&c.t, loser) {
                break;
            }
            core::mem::swap(&mut at, &mut copy);
            copy_path(at.get()?, loser, self.roster.name_of(by), &mut copy);
            c = self.open_path(ix, f, copy.get()?);
        }
        let mut record = copy_record(loser);
        if mutant::on(Mutant::R9Record) {
            record.edit = self.mint(now);
            record.version = VersionVector::of(record.edit);
        }
        let stands = c.t.local.as_ref().is_some_and(|l| l.record.same_content(&record));
        let row = c.row;
        if stands || self.knows_copy(&c.t, &record) {
            return None;
        }
        c.t.conflict = true;
        // What is pending may have been announced: should its loser's metadata have changed since, it stays as it is.
        if c.t.pending.as_ref().is_none_or(|p| p.0.edit != record.edit || !p.0.same_content(&record)) {
            c.t.pending = Some((record, winner));
        }
        self.close(ix, now, c);
        Some(row)
    }

    /// The copy of what nobody expected there.
    pub(super) fn plan_odd(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        o: &Open,
        before: Option<Local>,
        (kind, content, stat): (Kind, ContentId, Stat),
    ) -> Option<Row> {
        let edit = self.mint(now);
        let parent = before.as_ref().map(|l| l.record.edit).filter(|e| e.tag.0 != 0);
        let loser = Record {
            kind,
            mode: if kind == Kind::Symlink { 0 } else { stat.mode },
            size: if kind == Kind::Directory { 0 } else { stat.size },
            mtime: if kind == Kind::Directory { 0 } else { stat.mtime },
            content: if kind == Kind::Directory { ContentId::NONE } else { content },
            author: self.session.device,
            edit,
            parent: parent.filter(|p: &Edit| p.counter != 0),
            version: VersionVector::of(edit),
            ..Record::default()
        };
        let mut at = PathBuf::new();
        ix.path(o.row, &mut at);
        self.climb(ix, o.f, &mut at);
        self.plan_copy_of(ix, now, (o.f, o.row), &loser, at)
    }

    /// Where a file stands in the place of a directory on the way to a path, and nobody was told yet, nothing can be made
    /// below it, and it waits for what is below (R9b): a copy goes beside it.
    pub(super) fn climb(&mut self, ix: &mut dyn Index, f: usize, at: &mut PathBuf) {
        let folder = self.folders[f].folder;
        let mut t = Trees::default();
        let mut is_file = |dir: Path<'_>| {
            let known = ix.find(folder, dir).is_some_and(|row| ix.load(row, &mut t));
            let l = t.local.as_ref().filter(|l| known && l.made == Made::Unminted);
            l.is_some_and(|l| matches!(l.stat.kind, Kind::File | Kind::Symlink))
        };
        while let Some(path) = at.get() {
            let Some(dir) = path.parent().filter(|dir| is_file(*dir)) else { return };
            let mut up = PathBuf::new();
            up.set(dir);
            let keep = dir.parent().map_or(0, |above| above.bytes().len() + 1);
            let mut name: heapless::Vec<u8, { limits::NAME }> = heapless::Vec::new();
            if name.extend_from_slice(path.name()).is_err() || !up.splice(keep, &name) {
                return;
            }
            core::mem::swap(at, &mut up);
        }
    }

    /// Ours wins, or both are the same: the merge becomes the local record; a losing content gets its copy's record (R9).
    pub(super) fn resolve(&mut self, ix: &mut dyn Index, now: Now, o: &mut Open) {
        let Some(j) = self.judgement(o) else { return };
        let x = ours(&o.t).expect("judged").clone();
        let r = o.t.remote.as_ref().expect("judged").record.clone();
        debug_assert!(j.ours || x.same_content(&r));
        let (winner, loser) = if j.ours { (&x, &r) } else { (&r, &x) };
        let mut merged = self.merge(now, &mut o.t, winner, loser, j.fork);
        if j.ours && is_aside(&o.t) {
            // It stays an edit that replaced no more than it has met: who has what was torn whole is not to take it for
            // something later, unless the other side knew of that.
            let met = Edit { counter: r.version.get(x.edit.tag), ..x.edit };
            (merged.edit, merged.parent) = (x.edit, Some(met).filter(|e| e.counter > 0));
            // Nor has who changes it before the verdict comes seen what was whole.
            self.drop_synced(&mut o.t);
        }
        if j.copy
            && let Some(row) = self.plan_copy(ix, now, o, &r)
        {
            let _ = o.t.copies.push(row);
            self.tell(super::Tell::Conflict(row));
        }
        let stat = o.t.local.as_ref().map_or(Stat::default(), |l| l.stat);
        let at = o.t.local.as_ref().map_or(now.wall, |l| l.at);
        let before = o.t.local.as_ref().map_or(&x, |l| &l.record);
        if merged.is_live() && !merged.same_meta(before) {
            o.t.disk_due = true;
        }
        o.t.local = Some(Local { record: merged, made: Made::Minted, stat, at });
    }

    /// R4: under a new tag, edits that nobody accepted are minted anew on their synced base; copies' records are not.
    pub(super) fn unmint_all(&mut self, ix: &mut dyn Index, now: Now) {
        if mutant::on(Mutant::R4Mint) {
            return;
        }
        for f in 0..self.folders.len() {
            if !self.folders[f].linked {
                continue;
            }
            let folder = self.folders[f].folder;
            let (mut at, mut next) = (PathBuf::new(), PathBuf::new());
            while let Some(row) = ix.next(folder, at.get(), &mut next) {
                core::mem::swap(&mut at, &mut next);
                let Some(mut o) = self.open(ix, f, row) else { continue };
                // The new tag knows nothing of what was lost under others.
                let forgot = o.t.forgot.take().is_some();
                // Nor is what a power cut tore, which is under no tag that was given up.
                let conflict = o.t.conflict || is_aside(&o.t);
                let Some(l) = o.t.local.as_mut().filter(|l| l.made == Made::Minted && !conflict) else {
                    if forgot {
                        self.close(ix, now, o);
                    }
                    continue;
                };
                let like = o.t.synced.as_ref().filter(|s| s.same_content(&l.record));
                let r = &mut l.record;
                (r.edit, r.parent, r.version) = match like {
                    Some(s) => (s.edit, s.parent, s.version.clone()),
                    None => (Edit::default(), None, VersionVector::new()),
                };
                l.made = Made::Unminted;
                self.close(ix, now, o);
            }
        }
    }
}
