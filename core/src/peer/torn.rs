//! R13: what a power cut tore, or took, is no user's edit of its path; nor did a user who finds it so see what the home has.

use super::machine::Peer;
use super::merge::known_of;
use super::reconcile::{is_aside, is_lost, was_aside};
use super::rows::Open;
use super::trees::{Local, Made, Remote, Stat, Trees};
use crate::ids::ContentId;
use crate::mutant::{self, Mutant};
use crate::record::{Kind, Record};
use crate::time::Now;
use crate::version::{Edit, Order, VersionVector};

impl Peer {
    /// Whether what a look found is all a power cut's doing: the trees say so then.
    pub(super) fn is_of_power_cut(
        &mut self,
        now: Now,
        o: &mut Open,
        stat: &Stat,
        content: Option<ContentId>,
        at: u64,
    ) -> bool {
        if self.is_gone(o, stat) {
            self.await_back(o);
            return true;
        }
        if let Some(s) = self.undone(o, stat, content) {
            self.forget_announced(&mut o.t);
            o.t.disk_due = s.kind == Kind::File && (s.mode, s.mtime) != (stat.mode, stat.mtime);
            o.t.local = Some(Local { record: s, made: Made::Synced, stat: *stat, at });
            return true;
        }
        if self.is_turned_back(o, stat) {
            // The directory that a file had replaced is no edit over it: it gives way again.
            self.forget_announced(&mut o.t);
            let record = Record { kind: Kind::Directory, mode: stat.mode, ..Record::default() };
            o.t.local = Some(Local { record, made: Made::Synced, stat: *stat, at });
            self.drop_synced(&mut o.t);
            (o.t.unsynced, o.t.disk_due) = (false, false);
            self.note_torn(o);
            return true;
        }
        let untold = o.t.local.as_ref().is_some_and(|l| l.made != Made::Synced);
        if untold && was_aside(&o.t) && is_other(&o.t.local, stat, content) {
            // A user removed or replaced what was torn, and saw nothing else.
            if is_aside(&o.t) {
                self.forget_announced(&mut o.t);
            }
            (o.t.local, o.t.disk_due) = (None, false);
        }
        if is_lost(&o.t) {
            if stat.kind == Kind::Removed {
                return true;
            }
            // Who made this did not see what a power cut took: it replaces nothing.
            if let Some(s) = o.t.synced.take() {
                self.forget_own(&mut o.t, &s.version);
            }
        }
        if self.is_torn(o, stat, content) {
            self.set_aside(now, o, *stat, content, at);
            self.note_torn(o);
            return true;
        }
        if let Some(whole) = self.torn_withdrawn(o, stat, content) {
            // It is all that the home has. Who comes back with the whole of it meets it in a conflict.
            self.forget_announced(&mut o.t);
            self.forget_own(&mut o.t, &whole);
            self.drop_synced(&mut o.t);
            (o.t.local, o.t.disk_due) = (None, false);
        } else if self.is_torn_unjudged(o, stat, content) {
            // Others may have what was announced, and no tree here says what that is.
            self.forget_announced(&mut o.t);
            (o.t.local, o.t.disk_due) = (None, false);
        }
        false
    }

    /// Whether the row was announced from the page cache before a power cut, and was not looked at since: what changes later,
    /// a user changed.
    pub(super) fn is_distrusted(&self, o: &Open) -> bool {
        self.folders[o.f].unclean && o.t.unsynced && o.t.local.as_ref().is_some_and(|l| l.at == 0)
    }

    /// After a power cut an edit that nobody took, as far as is known, is not there any more, but what it replaced: no edit
    /// on top of it. Should somebody have it, it comes back.
    fn undone(&self, o: &Open, stat: &Stat, content: Option<ContentId>) -> Option<Record> {
        let l = o.t.local.as_ref().filter(|l| self.is_distrusted(o) && l.made != Made::Synced)?;
        let back =
            |s: &&Record| s.kind == stat.kind && content == Some(s.content) && !l.record.same_content(s);
        o.t.synced.as_ref().filter(|s| s.has_content()).filter(back).cloned()
    }

    /// Announced from the page cache, and after a power cut the name is not there.
    fn is_gone(&self, o: &Open, stat: &Stat) -> bool {
        let Some(l) = &o.t.local else { return false };
        self.is_distrusted(o) && stat.kind == Kind::Removed && l.record.is_live()
    }

    /// It is no removal: what the home has is fetched back, and nothing told of what only this device had.
    fn await_back(&mut self, o: &mut Open) {
        self.forget_announced(&mut o.t);
        let Some(l) = o.t.local.take() else { return };
        let known = o.t.remote.as_ref().map(|r| &r.record).filter(|r| r.same_content(&l.record));
        let untold = l.made == Made::Unminted && l.record.version.is_empty();
        o.t.synced = match o.t.synced.take() {
            // Nobody was told of what was made over that: it is what others know, and what went here.
            Some(before) if untold => Some(before),
            before => known.cloned().or(before.filter(|s| s.same_content(&l.record))),
        };
        (o.t.unsynced, o.t.disk_due) = (false, false);
        self.note_torn(o);
    }

    /// The local record goes: others may have it, or what it was made over, if that is an own edit that may have been
    /// announced.
    fn forget_announced(&self, t: &mut Trees) {
        let Some(l) = t.local.as_ref().filter(|l| l.made != Made::Synced) else { return };
        let known = match l.record.version.is_empty() {
            true => VersionVector::of(l.record.edit),
            false => l.record.version.clone(),
        };
        if l.made == Made::Minted || self.is_unjudged(t, &known) {
            self.forget_own(t, &known);
        }
    }

    /// Whether what knows so much is this store's own, and no verdict came on it, as far as is known here.
    fn is_unjudged(&self, t: &Trees, known: &VersionVector) -> bool {
        let follows = |s: &Record| matches!(s.version.compare(known), Order::Equal | Order::Dominates);
        known.get_store(self.tag) > 0 && !t.synced.as_ref().is_some_and(follows)
    }

    /// The synced record goes, which others may have.
    pub(super) fn drop_synced(&self, t: &mut Trees) {
        if let Some(s) = t.synced.take().filter(|s| s.version.get_store(self.tag) > 0) {
            self.forget_own(t, &s.version);
        }
    }

    /// The home has something else, which does not know what a power cut took here: once it stands here, nothing tells of that
    /// any more.
    pub(super) fn lose_to_heard(&self, t: &mut Trees) {
        let Some(r) = t.remote.as_ref().filter(|r| r.epoch == self.epoch && (is_lost(t) || was_aside(t)))
        else {
            return;
        };
        let lost = t.synced.as_ref().map(|s| &s.version).filter(|v| v.get_store(self.tag) > 0);
        let unknown =
            |v: &&VersionVector| matches!(v.compare(&r.record.version), Order::Concurrent | Order::Dominates);
        if let Some(lost) = lost.filter(unknown).cloned() {
            self.forget_own(t, &lost);
        }
    }

    /// What was announced is not here any more.
    fn note_torn(&mut self, o: &Open) {
        if let Some(seq) = self.lacks(&o.t) {
            self.note_lack(o.f, seq);
        }
    }

    /// Announced from the page cache, and after a power cut a directory stands there.
    fn is_turned_back(&self, o: &Open, stat: &Stat) -> bool {
        // One that was seen before the power failed is a user's.
        let came = o.t.local.as_ref().is_some_and(|l| l.record.kind != Kind::Directory);
        let back = stat.kind == Kind::Directory && came && self.is_distrusted(o);
        back && told(&o.t).is_some_and(Record::has_content)
    }

    /// Announced from the page cache, and after a power cut the disk holds something else: part of it, or the file or symlink
    /// that it had replaced.
    fn is_torn(&self, o: &Open, stat: &Stat, content: Option<ContentId>) -> bool {
        let whole = told(&o.t).filter(|r| r.has_content() && !mutant::on(Mutant::R13Torn));
        whole.is_some_and(|whole| self.is_torn_of(o, whole, stat, content))
    }

    /// [`Peer::is_torn`], of what the home has withdrawn, for nobody was there who had it: what that knew.
    fn torn_withdrawn(&self, o: &Open, stat: &Stat, content: Option<ContentId>) -> Option<VersionVector> {
        let w = o.t.withdrawn.as_ref()?;
        let whole = made_over(&o.t).find(|r| w.record.same_content(r))?;
        self.is_torn_of(o, whole, stat, content).then(|| whole.version.clone())
    }

    /// [`Peer::is_torn`], or [`Peer::is_turned_back`], where a change that nobody was told of was made over an edit of which no
    /// verdict came: an own one, or what a conflict copy is of.
    fn is_torn_unjudged(&self, o: &Open, stat: &Stat, content: Option<ContentId>) -> bool {
        let over = |l: &&Local| l.made == Made::Unminted && l.record.version.is_empty();
        let Some(l) = o.t.local.as_ref().filter(over) else { return false };
        let judged = o.t.synced.as_ref().is_some_and(|s| s.version.covers(l.record.edit));
        let turned = stat.kind == Kind::Directory && l.record.kind != stat.kind && self.is_distrusted(o);
        l.record.edit.tag.0 != 0 && !judged && (turned || self.is_torn_of(o, &l.record, stat, content))
    }

    /// Whether a file or symlink stands there of which the power cut has left another content than that, and than what was
    /// seen there last.
    fn is_torn_of(&self, o: &Open, whole: &Record, stat: &Stat, content: Option<ContentId>) -> bool {
        let Some(l) = o.t.local.as_ref().filter(|_| self.is_distrusted(o)) else { return false };
        let other = content.is_some_and(|c| c != whole.content && c != l.record.content);
        matches!(stat.kind, Kind::File | Kind::Symlink) && other
    }

    /// What the disk holds becomes an edit that loses against what was announced: a conflict copy.
    fn set_aside(&mut self, now: Now, o: &mut Open, stat: Stat, content: Option<ContentId>, at: u64) {
        let unknown = |l: &Local| told(&o.t).is_some_and(|whole| !whole.version.covers(l.record.edit));
        if o.t.local.as_ref().is_some_and(unknown) {
            self.forget_announced(&mut o.t);
        }
        let heard = o.t.remote.as_ref().map(|r| &r.record);
        let known = [o.t.local.as_ref().map(|l| &l.record), o.t.synced.as_ref(), heard].into_iter().flatten();
        let forgot = o.t.forgot.map(known_of);
        let tag = self.tag_after_loss(known.map(|r| &r.version).chain(forgot.as_ref()));
        let edit = Edit { tag, ..self.mint(now) };
        let whole = told(&o.t).expect("seen in is_torn");
        let announced = heard.filter(|r| r.same_content(whole)).unwrap_or(whole).clone();
        let record = Record {
            kind: stat.kind,
            mode: if stat.kind == Kind::File { stat.mode } else { 0 },
            size: stat.size,
            mtime: announced.mtime.saturating_sub(1),
            content: content.expect("seen in is_torn"),
            author: self.session.device,
            edit,
            version: VersionVector::of(edit),
            ..Record::default()
        };
        o.t.unsynced = false;
        o.t.synced = Some(announced);
        // Whatever becomes of it, the disk has another time by now; that of a symlink is nobody's.
        o.t.disk_due = stat.kind == Kind::File;
        o.t.local = Some(Local { record, made: Made::Minted, stat, at });
    }
}

/// What stood at the path before the power failed, and may be the home's: what the local record says, or, as long as nobody
/// was told of that, what it was made over. What a power cut left is no more of a change of that than of the other.
fn told(t: &Trees) -> Option<&Record> {
    made_over(t).find(|r| may_be_home(t, r))
}

/// The local record; of one that nobody was told of, also what it was made over: an own edit that was told before, which the
/// home tells of by now, and what was in sync.
fn made_over(t: &Trees) -> impl Iterator<Item = &Record> {
    let untold = t.local.as_ref().filter(|l| l.made == Made::Unminted);
    let of_home = [&t.remote, &t.withdrawn].into_iter().flatten().map(|r| &r.record);
    let below = of_home.filter(move |r| untold.is_some_and(|l| l.record.edit == r.edit));
    let synced = t.synced.iter().filter(move |_| untold.is_some());
    t.local.iter().map(|l| &l.record).chain(below).chain(synced)
}

/// Whether others may have the content of that record: it is the home's, or was before a tracker forgot it that tells of
/// something older now, or has withdrawn that; or it was announced, and no verdict came before the power failed.
fn may_be_home(t: &Trees, record: &Record) -> bool {
    let older = |r: &Remote| record.compare(&r.record) == Order::Dominates;
    let told = match (&t.remote, &t.withdrawn) {
        (Some(r), _) => r.record.same_content(record) || older(r),
        (None, Some(w)) => older(w),
        (None, None) => false,
    };
    told || t.local.as_ref().is_some_and(|l| l.made == Made::Minted)
}

/// Whether a look found something else than what is known; `content` is none where the stat is the known one.
fn is_other(known: &Option<Local>, stat: &Stat, content: Option<ContentId>) -> bool {
    known.as_ref().is_some_and(|l| l.stat.kind != stat.kind || content.is_some_and(|c| c != l.record.content))
}
