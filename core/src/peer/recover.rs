//! After a crash, or a swap that could not be made: what lies where, and what follows from it (R11).

use super::copies::{copy_of, loser_of, take_for_copy};
use super::effect::{Effect, Outcome};
use super::index::Index;
use super::machine::Peer;
use super::rows::Open;
use super::state::{Job, Work};
use super::trees::{Cause, Intent, Local, Made, Stat};
use crate::ids::{ContentId, Row};
use crate::mutant::{self, Mutant};
use crate::record::{Kind, Record};
use crate::time::Now;

impl Peer {
    pub(super) fn start_recover(&mut self, now: Now, o: &Open) -> Effect {
        let ticket = self.ticket();
        self.push_job(now, ticket, o.f, o.row, Work::Recover);
        Effect::Recover { ticket, row: o.row }
    }

    /// A swap was not made: its swap file is put away, then the intent ends and the cause is noted.
    pub(super) fn start_discard(
        &mut self,
        _ix: &mut dyn Index,
        now: Now,
        f: usize,
        row: Row,
        cause: Option<Cause>,
    ) -> Option<Effect> {
        let ticket = self.ticket();
        self.push_job(now, ticket, f, row, Work::Discard { cause });
        Some(Effect::Discard { ticket, row, unused: true })
    }

    pub(super) fn discarded(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: Job,
        cause: Option<Cause>,
        out: Outcome,
    ) {
        self.end_job(job.ticket);
        let Some(mut o) = self.open(ix, job.f, job.row) else { return };
        if let Outcome::Failed(c) = out {
            // The intent stays: a recovery finds out.
            self.trouble(ix, now, o, c);
            return;
        }
        (o.t.intent, o.t.target) = (None, None);
        self.commits.wanted = true;
        match cause {
            Some(c) => self.trouble(ix, now, o, c),
            None => self.retry(ix, now, o),
        }
    }

    /// R11: what stands at the path and what lies in the swap file say how far the swap came.
    pub(super) fn recovered(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: Job,
        out: Outcome,
    ) -> Option<Effect> {
        let mut o = match self.open(ix, job.f, job.row) {
            Some(o) => o,
            None => {
                self.end_job(job.ticket);
                return None;
            }
        };
        let (disk, swap, part, at) = match out {
            Outcome::Recovered { disk, swap, part, at } => (disk, swap, part, at),
            Outcome::Failed(cause) => {
                self.end_job(job.ticket);
                self.trouble(ix, now, o, cause);
                return None;
            }
            _ => {
                self.end_job(job.ticket);
                return None;
            }
        };
        let Some(intent) = o.t.intent else {
            self.end_job(job.ticket);
            self.retry(ix, now, o);
            return None;
        };
        let unclean = self.folders[job.f].unclean;
        let Traces { intact, as_before, unmade, swapped, traceless, known } =
            traces(&intent, disk, swap, part, unclean);
        o.t.trouble = None;
        // The trees have the outcome of the swap already: what it left differently now, a user or a power cut did.
        let taken = o.t.target.is_none();
        let swapped = swapped && (taken || !traceless);
        if let Some(row) = intent.copy {
            let made = swapped && !unmade && !taken && !unclean;
            self.look_at_copy(ix, now, &job, row, loser_of(&o).filter(|_| made));
        }
        if !swapped && (unclean || !taken) {
            self.end_job(job.ticket);
            // A look may be due for a user's sake.
            o.t.stale |= !as_before;
            if taken && as_before {
                undo(&mut o, intent, disk, at);
            }
            self.close(ix, now, o);
            return self.start_discard(ix, now, job.f, job.row, None);
        }
        if taken && !unclean {
            o.t.stale = true;
        } else {
            self.take_over(now, &mut o, intent, disk.map_or(Stat::default(), |d| d.0), at, intact);
        }
        self.settle_swap_file(ix, now, job, o, swap.map(|s| (s, known)))
    }

    /// The swap was made: what lies in the swap file, if anything, is what was expected there (then to the trash), or
    /// another's edit (then kept as a copy).
    fn settle_swap_file(
        &mut self,
        ix: &mut dyn Index,
        now: Now,
        job: Job,
        mut o: Open,
        swap: Option<((Stat, ContentId), bool)>,
    ) -> Option<Effect> {
        match swap {
            None => {
                (o.t.intent, o.t.target) = (None, None);
                self.end_job(job.ticket);
                self.retry(ix, now, o);
                None
            }
            Some((_, known)) if known || mutant::on(Mutant::R11Unknown) => {
                self.close(ix, now, o);
                if let Some(j) = self.job_mut(job.ticket) {
                    j.work = Work::Discard { cause: None };
                }
                Some(Effect::Discard { ticket: job.ticket, row: job.row, unused: false })
            }
            Some(((stat, content), _)) => {
                let effect = self.keep_odd(ix, now, &o, job, None, (stat.kind, content, stat));
                self.close(ix, now, o);
                if effect.is_none() {
                    // Its copy stands already: what lies in the swap file is known elsewhere.
                    if let Some(j) = self.job_mut(job.ticket) {
                        j.work = Work::Discard { cause: None };
                    }
                    return Some(Effect::Discard { ticket: job.ticket, row: job.row, unused: false });
                }
                effect
            }
        }
    }

    /// The swap was made: the trees say so; what differs from it on disk is an edit of it.
    fn take_over(&mut self, now: Now, o: &mut Open, intent: Intent, stat: Stat, at: u64, intact: bool) {
        if intent.to.0 == Kind::Removed {
            return;
        }
        let read = if intact { stat } else { Stat { kind: intent.to.0, ..Stat::default() } };
        self.take_target(now, o, read, if intact { at } else { 0 });
        o.t.stale |= !intact;
        // What was read back after the swap is not known any more: other metadata than the record's may be all that this
        // disk can keep, a power cut's, or a user's of these moments. It is set once more, and read back (R14).
        let l = o.t.local.as_ref().filter(|l| intact && l.stat.kind == l.record.kind);
        o.t.disk_due |= l.is_some_and(|l| match l.record.kind {
            Kind::File => (l.record.mode, l.record.mtime) != (stat.mode, stat.mtime),
            Kind::Directory => l.record.mode != stat.mode,
            Kind::Symlink | Kind::Removed => false,
        });
    }

    /// The loser's copy may be there. `made`: whose it is, if it was made, before the swap; where it is missing a user removed
    /// it since.
    fn look_at_copy(&mut self, ix: &mut dyn Index, now: Now, job: &Job, row: Row, made: Option<Record>) {
        let Some(mut c) = self.open(ix, job.f, row) else { return };
        if let Some(loser) = made.filter(|_| c.t.local.is_none()) {
            // The home may have taken the copy's record before this was known.
            take_for_copy(&mut c.t, job.row, |t| copy_of(t, &loser));
            if let Some(Record { kind, mode, size, mtime, .. }) = c.t.pending.as_ref().map(|p| p.0.clone()) {
                let stat = Stat { kind, mode, size, mtime, ..Stat::default() };
                self.copy_made(now, &mut c, stat.of_writer(), 0);
                debug_assert!(c.t.local.as_ref().is_some_and(is_unseen));
            }
        }
        c.t.stale = true;
        self.close(ix, now, c);
    }
}

/// Whether nobody has seen it yet, but it was made: the stat is not the disk's. A removal is no copy, though its stat, after a
/// clock was set back, looks alike.
pub(super) fn is_unseen(copy: &Local) -> bool {
    copy.made == Made::Minted && copy.record.has_content() && copy.stat.is_of_writer() && copy.stat.ino == 0
}

/// What a swap has left.
struct Traces {
    /// What it was to make stands at the path.
    intact: bool,
    /// What it was to displace does.
    as_before: bool,
    /// It was not, as what lies in tmp tells: should what it was to make stand there, a user put it.
    unmade: bool,
    /// It was made.
    swapped: bool,
    /// Nothing but that is gone from tmp tells so, and after a power cut that tells nothing: what stands at the path a user
    /// put there, over the one or the other, or removed it. Taken for an edit of what was to come, which that user may never
    /// have seen, it would replace it; taken for one of what was there before, it meets it in a conflict.
    traceless: bool,
    /// What lies in the swap file is what was to be displaced.
    known: bool,
}

type Seen = Option<(Stat, ContentId)>;

fn traces(intent: &Intent, disk: Seen, swap: Seen, part: bool, unclean: bool) -> Traces {
    let is = |what: (Kind, ContentId), seen: Option<(Kind, ContentId)>| match (what.0, seen) {
        (Kind::Removed, None) => true,
        (Kind::Directory, Some((Kind::Directory, _))) => true,
        (_, Some(s)) => s == what,
        _ => false,
    };
    let (at_path, in_swap) = (disk.map(|(s, c)| (s.kind, c)), swap.map(|(s, c)| (s.kind, c)));
    // Of a file over which a directory is invented, the record names no content any more.
    let unnamed = intent.from.1 == ContentId::NONE && at_path.is_some_and(|s| s.0 == intent.from.0);
    // Where no power failed, names do not come and go: a file that is neither a part nor in the swap file any more was put
    // at its path, and is gone from there since.
    let gone = at_path.is_none() && swap.is_none() && !part && !unclean && intent.to.0 != Kind::Directory;
    let as_before = (is(intent.from, at_path) && !gone) || unnamed;
    // The intent is made durable while the swap file is made of the part: as long as there is one, nothing was swapped. A
    // directory is made of nothing: one that cannot be seen anywhere counts as not made yet, for it comes back whatever
    // else stands there. Where one stands, it may have been swapped in or be a user's: either way a user has seen what it
    // stands in place of, and where that is nowhere, he removed it.
    let intact = is(intent.to, at_path);
    let never = intent.to.0 == Kind::Directory && swap.is_none() && !intact;
    let unmade = part || never || in_swap.is_some_and(|s| is(intent.to, Some(s)));
    // A directory is no content that could be lost: it goes to the trash, whole.
    let known = is(intent.from, in_swap) || in_swap.is_some_and(|s| s.0 == Kind::Directory);
    let traceless = unclean && !intact && in_swap.is_none();
    Traces { intact, as_before, unmade, swapped: intact || !(unmade || as_before), traceless, known }
}

/// A power cut undid what the trees have taken for done: the disk holds what was there before, which is to give way again.
fn undo(o: &mut Open, intent: Intent, disk: Seen, at: u64) {
    let Some((stat, content)) = disk else {
        if let Some(l) = &mut o.t.local {
            (l.stat, l.at) = (Stat::default(), at);
            o.t.disk_due = l.record.is_live();
        }
        return;
    };
    let Stat { kind, mode, size, mtime, .. } = stat;
    let record = match kind {
        Kind::Directory => Record { kind, mode, ..Record::default() },
        Kind::Symlink => Record { kind, size, mtime, content, ..Record::default() },
        _ => Record { kind, mode, size, mtime, content, ..Record::default() },
    };
    // Where it lost, the name of its copy may be gone, too: it loses once more.
    let made = if intent.copy.is_some() { Made::Unminted } else { Made::Synced };
    o.t.local = Some(Local { record, made, stat, at });
    (o.t.synced, o.t.disk_due) = (None, false);
}
