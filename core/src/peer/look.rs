//! What a look found: it becomes the local tree, of the path and of what is known to stand below it.

use super::effect::Outcome;
use super::index::Index;
use super::machine::Peer;
use super::reconcile::observed;
use super::recover::is_unseen;
use super::rows::Open;
use super::state::Job;
use super::trees::{Cause, Local, Made, Stat};
use crate::ids::{ContentId, Row};
use crate::path::PathBuf;
use crate::record::Kind;
use crate::time::{Instant, Now};

impl Peer {
    pub(super) fn look_done(&mut self, ix: &mut dyn Index, now: Now, job: Job, outcome: Outcome) {
        let Some(mut o) = self.open(ix, job.f, job.row) else { return };
        let found = match outcome {
            Outcome::Looked { stat, at, .. } => Some((stat, at)),
            Outcome::Failed(Cause::NoParent) => Some((Stat::default(), now.wall)),
            _ => None,
        };
        let changed = |(stat, at)| job.again || job.scanned.is_some_and(|s| !s.is_clean_since(&stat, at));
        if found.is_some_and(changed) {
            // It changed after that look may have read it.
            o.t.stale = true;
            self.retry(ix, now, o);
            return;
        }
        match outcome {
            Outcome::Looked { stat, content, at } => self.looked(ix, now, o, stat, content, at),
            Outcome::Failed(Cause::NoParent) => self.looked_in_vain(ix, now, o, job.begun),
            Outcome::Failed(cause) => {
                o.t.stale = true;
                self.trouble(ix, now, o, cause);
            }
            _ => self.retry(ix, now, o),
        }
    }

    /// A look's outcome becomes the local tree; of what is below it, too, where no directory is at the path.
    pub(super) fn looked(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        o: Open,
        stat: Stat,
        content: Option<ContentId>,
        at: u64,
    ) {
        if stat.kind == Kind::Directory {
            self.doubt_losing(ix, &o);
            self.take_look(ix, now, o, stat, content, at);
            return;
        }
        // The row may be forgotten by then.
        let (mut path, f) = (PathBuf::new(), o.f);
        ix.path(o.row, &mut path);
        if self.take_look(ix, now, o, stat, content, at) {
            self.lose_below(ix, now, f, &path, at);
        }
    }

    /// [`Peer::looked`] where no directory was found above the path, by a look that began then: nothing stands there.
    fn looked_in_vain(&mut self, ix: &mut dyn Index, now: Now, o: Open, began: Instant) {
        let (mut path, f) = (PathBuf::new(), o.f);
        ix.path(o.row, &mut path);
        if self.take_look(ix, now, o, Stat::default(), None, now.wall) {
            let began = now.wall.saturating_sub(now.at.since(began).0);
            self.lose_below(ix, now, f, &path, began);
        }
    }

    /// [`Peer::looked`] of this row alone; whether the local tree says now what was found.
    pub(super) fn take_look(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        mut o: Open,
        stat: Stat,
        content: Option<ContentId>,
        at: u64,
    ) -> bool {
        let was = Peer::stands(&o.t);
        let was_dir = was == Kind::Directory;
        let is_listed = self.unlist(o.row);
        o.t.stale = false;
        o.t.trouble = None;
        if self.is_distrusted(&o) {
            self.want_flush(now, o.f);
        }
        if let Some(copy) = o.t.local.take_if(|l| is_unseen(l) && content == Some(l.record.content)) {
            o.t.pending = Some((copy.record, o.row));
        }
        if self.is_pending_copy(&o, content) {
            self.copy_made(now, &mut o, stat, at);
            self.close(ix, now, o);
            return false;
        }
        if self.is_of_power_cut(now, &mut o, &stat, content, at) {
            if stat.kind == Kind::Directory && !was_dir {
                // A user may have made it all the same, and put something into it.
                self.folders[o.f].note_subtree(o.row);
            }
            self.close(ix, now, o);
            return false;
        }
        if o.t.covered().is_some_and(|c| content.is_none_or(|found| found == c))
            && let Some(l) = o.t.local.as_mut().filter(|l| l.stat.kind == stat.kind)
        {
            // What the invented directory is to displace is no edit on top of it.
            (l.stat, l.at) = (stat, at);
            self.close(ix, now, o);
            return false;
        }
        let had = self.take_put_back(&mut o, &stat);
        let Some(local) = observed(&o.t, &stat, content.or(had), at) else {
            o.t.stale = true;
            self.trouble(ix, now, o, Cause::Changing);
            return false;
        };
        // What changed after it was found is a user's.
        o.t.orphan &= o.t.local.as_ref().is_none_or(|l| l.record.same_content(&local.record));
        let (row, f, is_dir) = (o.row, o.f, stat.kind == Kind::Directory);
        if local.made == Made::Unminted && o.t.local.as_ref().is_none_or(|l| l.record != local.record) {
            // What the disk was still to take, it is to take under the new content, too.
            o.t.disk_due &= local.stat.kind == local.record.kind
                && was == local.stat.kind
                && (local.record.mode, local.record.mtime) != (local.stat.mode, local.stat.mtime);
        }
        if stat.kind != Kind::Removed && has_come(o.t.local.as_ref(), &local) {
            self.mark_come(ix, now, &mut o, &stat);
        }
        o.t.local = Some(local);
        self.close(ix, now, o);
        if is_dir && !was_dir && !is_listed {
            self.folders[f].note_subtree(row);
        }
        if stat.kind == Kind::Removed {
            self.folders[f].revivals_due = true;
        }
        true
    }

    /// Whether a scan has found the directory, which nothing has touched since: it lists what is below it, too. Said once.
    pub(super) fn unlist(&mut self, row: Row) -> bool {
        let at = self.listed.iter().position(|r| *r == row);
        at.map(|at| self.listed.swap_remove(at)).is_some()
    }
}

/// Whether what a look found was not there before: another file, another content, or the same, written once more, as the
/// time tells. Another mode leaves what is on the platter where it is.
fn has_come(known: Option<&Local>, found: &Local) -> bool {
    let saved = found.stat.kind != Kind::Directory && found.made == Made::Unminted;
    known.is_none_or(|l| {
        let other = l.stat.kind != found.stat.kind || l.stat.ino != found.stat.ino;
        let written = || l.stat.mtime != found.stat.mtime || !l.record.same_content(&found.record);
        other || (saved && written())
    })
}
