//! The driver of a device: effects become events, outcomes come back to the machine.

use super::acts::{Act, Trashed};
use super::device::{F, Fetch};
use super::fs::{Bytes, Fs, ROOT, TMP};
use super::rand::{For, number};
use super::words::{cmp, code, explain_down, name_of};
use super::world::{Event, MS, World};
use dartsync_core::ids::{ContentId, Row, Ticket};
use dartsync_core::mutant::{self, Mutant};
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Effect, Index, Outcome, ScanEntry, Stat, Trees};
use dartsync_core::record::Kind;
use std::cell::RefCell;

/// Slow work on the disk.
#[derive(Debug)]
pub(super) struct Work {
    pub effect: Effect,
    /// The row's path (`Make`: of its source; in the trash?).
    pub path: Vec<u8>,
    pub trash: bool,
    /// The copy's path.
    pub copy: Option<Vec<u8>>,
}

/// Effects of one device within one moment of the world that can only be a loop.
const TOO_MANY: u32 = 20_000;

impl World<'_> {
    /// The program starts.
    pub(super) fn start(&mut self, d: usize) {
        if self.devices[d].is_up() || self.devices[d].absent {
            return;
        }
        let secret = self.draw(For::Run, d, 0).seed();
        self.devices[d].start(self.now, secret);
        self.note(d + 1, "start", self.devices[d].life.into(), 0);
        if self.devices[d].folder.is_some() {
            self.will_file(d);
        }
        self.pump(d);
    }
    /// It ends at once.
    pub(super) fn kill(&mut self, d: usize) {
        if !self.devices[d].is_up() {
            return;
        }
        self.note(d + 1, "kill", 0, 0);
        if let Some(id) = self.devices[d].link {
            let told = self.draw(For::Break, d, 2).chance(1, 2);
            self.hang_here(id, told);
        }
        let kept = self.draw(For::Commit, d, 0).chance(1, 2);
        let news = self.ledger.put_back(&mut self.devices[d]);
        self.devices[d].kill(kept);
        self.ledger.puts_back_unseen(&mut self.devices[d], news);
    }

    pub(super) fn timer(&mut self, d: usize, timer: u64) {
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        if dev.timer != timer {
            return;
        }
        if let Some(p) = &mut dev.peer {
            p.handle_timeout(&mut dev.ix, now);
            self.pump(d);
        }
    }

    /// Drains a device.
    pub(super) fn pump(&mut self, d: usize) {
        self.drain(d, false);
    }
    fn drain(&mut self, d: usize, late: bool) {
        let mut n = 0;
        loop {
            let mut quiet = true;
            loop {
                let dev = &mut self.devices[d];
                let now = dev.now(self.now);
                let Some(p) = &mut dev.peer else { return };
                let Some(e) = p.poll_effect(&mut dev.ix, now) else { break };
                (quiet, n) = (false, n + 1);
                if n > TOO_MANY {
                    return self.broke(format!("D{d} does not come to rest within one moment: {e:?}"));
                }
                self.effect(d, e);
            }
            quiet &= !self.transmit(d);
            self.watch_row(d);
            if quiet || self.broken.is_some() {
                break;
            }
        }
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        let Some(p) = &mut dev.peer else { return };
        if let Some(at) = p.poll_timeout() {
            if at <= now.at && self.broken.is_none() {
                // Due at this very moment: told, and drained once more, it must lie ahead.
                if late {
                    return self
                        .broke(format!("D{d} was drained and its next timeout is not later than now"));
                }
                p.handle_timeout(&mut dev.ix, now);
                return self.drain(d, true);
            }
            dev.timer += 1;
            let timer = dev.timer;
            self.after(at.since(now.at).0, Event::Timer { d, timer });
        }
        if !self.devices[d].fs.told.is_empty() && !self.devices[d].reading {
            self.will_read(d);
        }
    }

    fn effect(&mut self, d: usize, e: Effect) {
        let (name, ticket, row) = name_of(&e);
        self.notice_effect(&e);
        if !matches!(e, Effect::Tell(_)) {
            self.devices[d].busy += 1;
        }
        self.note(d + 1, name, ticket.0.into(), row.0);
        if self.print {
            let path = if row.0 != 0 { self.devices[d].path(row).1 } else { Vec::new() };
            self.explain(|| format!("{} {e:?}", String::from_utf8_lossy(&path)));
        }
        let life = self.devices[d].life;
        match e {
            Effect::Dial => self.dial(d),
            Effect::Hang(link) => {
                self.hang_here(link.0, true);
                let dev = &mut self.devices[d];
                dev.link = dev.link.filter(|l| *l != link.0);
                let now = dev.now(self.now);
                let p = dev.peer.as_mut().expect("it spoke");
                p.handle_closed(&mut dev.ix, now, link);
            }
            Effect::Tell(t) => self.told(d, t),
            Effect::Reach(_) => {}
            Effect::Cancel(t) => {
                if let Some(f) = self.devices[d].fetches.get_mut(&t) {
                    f.cancelled = true;
                }
            }
            Effect::Sources { ticket, holders, .. } => {
                if let Some(f) = self.devices[d].fetches.get_mut(&ticket) {
                    f.from.0 |= holders.0;
                }
            }
            Effect::Fetch { ticket, row, kind, content, from, .. } => {
                let f = Fetch { row, kind, content, from, cancelled: false };
                self.devices[d].fetches.insert(ticket, f);
                let which = self.which(d, row);
                let delay = self.draw(For::Fetch, d, which).within(200, 5 * MS);
                self.after(delay, Event::Fetch { d, life, ticket, tries: 0 });
            }
            Effect::Commit { ticket } => {
                let dev = &mut self.devices[d];
                dev.ix.seal();
                dev.committing = Some(ticket);
                let delay = self.slow(d, 1, 50, 3 * MS);
                self.after(
                    delay,
                    Event::Done { d, life, ticket, outcome: Box::new(Outcome::Done), trash: vec![] },
                );
            }
            Effect::Scan { ticket, dir, .. } => {
                let dir = dir.map_or(Vec::new(), |row| self.devices[d].path(row).1);
                let delay = self.slow(d, number(&dir), 50, MS);
                self.after(delay, Event::Scan { d, life, ticket, after: dir.clone(), dir });
            }
            Effect::Swap { row, intent, .. } => {
                let r = self.ledger.swapped(&self.devices[d], row, &intent);
                self.must(r);
                self.act_later(d, ticket, e, row);
            }
            Effect::Parts { .. } | Effect::Clear { .. } => self.tidy_later(d, ticket, e),
            Effect::Make { from, .. } => self.act_later(d, ticket, e, from),
            _ => self.act_later(d, ticket, e, row),
        }
    }

    /// How long a disk takes over `which`.
    pub(super) fn slow(&mut self, d: usize, which: u64, low: u64, high: u64) -> u64 {
        let factor = if self.faults.is_slow(d) { 100 } else { 1 };
        self.draw(For::Disk, d, which).within(low, high) * factor
    }
    /// A row by its path, whatever its place in the store.
    fn which(&mut self, d: usize, row: Row) -> u64 {
        if row.0 == 0 { 0 } else { number(&self.devices[d].path(row).1) }
    }
    fn act_later(&mut self, d: usize, ticket: Ticket, effect: Effect, row: Row) {
        let dev = &mut self.devices[d];
        let (folder, path) = if row.0 == 0 { (F, Vec::new()) } else { dev.path(row) };
        let copy = match effect {
            Effect::Swap { intent, .. } => intent.copy.map(|c| dev.path(c).1),
            _ => None,
        };
        let work = Box::new(Work { effect, path, trash: folder.is_trash(), copy });
        let life = dev.life;
        let delay = self.slow(d, number(&work.path), 20, 400);
        self.after(delay, Event::Act { d, life, ticket, work });
    }

    /// The act itself; its outcome is told a little later.
    pub(super) fn act(&mut self, d: usize, life: u32, ticket: Ticket, work: Work) {
        if self.devices[d].life != life || !self.devices[d].is_up() || self.devices[d].folder.is_none() {
            return;
        }
        if let Effect::Parts { .. } = work.effect {
            return self.list_tmp(d, life, ticket);
        }
        self.devices[d].tick(self.now);
        let which = number(&work.path);
        let luck = self.draw(For::Error, d, which);
        let fail = self.faults.disk_error(d, luck);
        let luck = self.draw(For::Race, d, which);
        let spare = self.faults.races(self.devices.len(), luck).then(|| {
            self.devices[d].raced += 1;
            Bytes::file(format!("race{}-{d}", self.devices[d].raced).as_bytes())
        });
        let rand = self.draw(For::Whim, d, which);
        let raced = RefCell::new(None);
        let ready = self.ready_for(d, &work);
        // The lease keeps writers out of the inode itself: they can only put another in its place.
        let style = 1;
        let dev = &mut self.devices[d];
        if let Effect::Watch { .. } = work.effect {
            dev.opened = !dev.root_gone;
        }
        let mut race = |fs: &mut Fs, path: &[u8]| {
            if let Some(data) = &spare {
                *raced.borrow_mut() = super::user::last_instant(fs, path, data.clone(), style);
            }
        };
        let act = Act {
            fs: &mut dev.fs,
            tmp: &mut dev.tmp,
            root_gone: dev.root_gone || !dev.opened,
            fail,
            race: if spare.is_some() { Some(&mut race) } else { None },
            rand,
        };
        let outcome = perform(act, &work);
        if let Effect::Look { moved: Some(_), .. } = work.effect {
            dev.unread.insert(ticket);
        }
        let trash = std::mem::take(&mut dev.tmp.news);
        if let Some(old) = raced.into_inner() {
            self.note(d + 1, "last instant", 0, 0);
            self.made += 1;
            self.leave.raced = true;
            let data = spare.expect("it was used");
            if let (None, Effect::Swap { intent, .. }) = (old, &work.effect) {
                self.ledger.crowds_out(intent.to.1, &work.path);
            }
            self.wrote(d, &work.path, &data, old, true);
        }
        self.look_at_visible(d, &work, &outcome);
        self.note_copy(d, &work, &outcome);
        self.note_given_up(d, &work, &outcome, ready);
        self.look_at_displaced(d, &work, &trash);
        self.explain(|| format!("   = {outcome:?}"));
        self.notice_outcome(&outcome);
        let delay = self.slow(d, which, 20, 400);
        self.after(delay, Event::Done { d, life, ticket, outcome: Box::new(outcome), trash });
        if !self.devices[d].fs.told.is_empty() && !self.devices[d].reading {
            self.will_read(d);
        }
    }

    /// What lies ready to be installed that this act gives up.
    fn ready_for(&self, d: usize, work: &Work) -> Option<ContentId> {
        let Effect::Discard { row, unused: true, .. } = work.effect else { return None };
        let name = format!("{}.swap", row.0).into_bytes();
        let fs = &self.devices[d].fs;
        fs.entries(TMP).find(|(n, _)| ***n == name).map(|(_, ino)| fs.node(ino).data.id)
    }

    /// What cannot be installed, or is `ready` to be and not wanted any more.
    fn note_given_up(&mut self, d: usize, work: &Work, outcome: &Outcome, ready: Option<ContentId>) {
        match (&work.effect, outcome) {
            (Effect::Prepare { .. }, _) => self.ledger.refused.retain(|(n, p, _)| (*n, p) != (d, &work.path)),
            (
                Effect::Swap { intent, .. },
                Outcome::Failed(Cause::Os(_) | Cause::Raced | Cause::NoParent | Cause::NotEmpty),
            ) => {
                self.ledger.refused.insert((d, work.path.clone(), intent.to.1));
            }
            _ => {}
        }
        if let Some(content) = ready.filter(|_| *outcome == Outcome::Done) {
            self.ledger.gives_up(d, content, &work.path, &mut self.devices);
        }
    }

    /// Promise: what a swap makes visible, some user wrote.
    fn look_at_visible(&mut self, d: usize, work: &Work, outcome: &Outcome) {
        if let (Effect::Swap { .. }, Outcome::Swapped { .. }) = (&work.effect, outcome) {
            let fs = &self.devices[d].fs;
            let Some(ino) = fs.find(&work.path) else { return };
            let n = fs.node(ino);
            if n.kind != Kind::Directory {
                let r = self.ledger.is_known(&n.data.id);
                self.ledger.installed(n.data.id);
                self.must(r.map_err(|e| format!("D{d} {}: {e}", String::from_utf8_lossy(&work.path))));
            }
        }
    }

    /// Where a conflict copy was made: under the loser's second name, of what a swap displaced, or of a pending record.
    fn note_copy(&mut self, d: usize, work: &Work, outcome: &Outcome) {
        let Outcome::Swapped { .. } = outcome else { return };
        let dev = &mut self.devices[d];
        let mut t = Trees::default();
        let path = match work.effect {
            Effect::Swap { .. } if work.copy.is_some() => work.copy.as_deref(),
            Effect::Swap { row, .. } if dev.ix.load(row, &mut t) && t.pending.is_some() => {
                Some(&work.path[..])
            }
            Effect::Keep { .. } => Some(&work.path[..]),
            _ => None,
        };
        if let Some((path, ino)) = path.and_then(|p| Some((p, dev.fs.find(p)?))) {
            let content = dev.fs.node(ino).data.id;
            self.ledger.copy(content, path);
            self.ledger.installed(content);
        }
    }

    fn look_at_displaced(&mut self, d: usize, work: &Work, trash: &[Trashed]) {
        let strict = self.audits || !self.leave.may_sink();
        if matches!(work.effect, Effect::Swap { .. }) && strict {
            let r = super::audit::displaced(&self.ledger, &self.devices, d, trash);
            self.must(r);
        }
    }

    pub(super) fn done(
        &mut self,
        d: usize,
        life: u32,
        ticket: Ticket,
        outcome: Outcome,
        trash: Vec<Trashed>,
    ) {
        if self.devices[d].life != life || self.devices[d].peer.is_none() {
            return;
        }
        if self.devices[d].unread.remove(&ticket) && !mutant::on(Mutant::R17Fence) {
            self.read(d, life);
        }
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        dev.tmp.news = trash;
        dev.file_trash();
        if dev.committing == Some(ticket) {
            dev.committing = None;
            dev.ix.settle();
        }
        let p = dev.peer.as_mut().expect("seen");
        p.handle_done(&mut dev.ix, now, ticket, outcome);
        self.note(d + 1, "done", ticket.0.into(), code(&outcome));
        self.pump(d);
    }

    /// A batch of a scan: what comes next in tree order, as it is at this moment.
    pub(super) fn scan(&mut self, d: usize, life: u32, ticket: Ticket, dir: Vec<u8>, after: Vec<u8>) {
        if self.devices[d].life != life || !self.devices[d].is_up() {
            return;
        }
        let batch = *self.draw(For::Batch, d, number(&dir)).pick(&[2, 7, 1024]);
        let dev = &mut self.devices[d];
        dev.tick(self.now);
        let at = if dir.is_empty() { Some(ROOT) } else { dev.fs.find(&dir) };
        let at = at.filter(|i| dev.fs.node(*i).kind == Kind::Directory);
        let first = after == dir;
        let failed = match at {
            _ if dev.root_gone && !mutant::on(Mutant::NoRoot) => Some(Cause::RootGone),
            // ENOENT; a directory that goes away under a running scan holds nothing more.
            None if first => Some(Cause::Os(2)),
            _ => None,
        };
        if let Some(cause) = failed {
            return self.done(d, life, ticket, Outcome::Failed(cause), vec![]);
        }
        let at = at.filter(|_| !dev.root_gone);
        let all = at.map_or(Vec::new(), |i| dev.fs.walk(i, &dir));
        let later = |p: &[u8]| after.is_empty() || cmp(p, &after) == std::cmp::Ordering::Greater;
        let rest: Vec<_> = all.into_iter().filter(|(p, _)| later(p)).collect();
        let found: Vec<(Vec<u8>, Stat)> =
            rest.iter().take(batch).map(|(p, i)| (p.clone(), dev.fs.stat(*i))).collect();
        let entries: Vec<ScanEntry<'_>> = found
            .iter()
            .map(|(p, stat)| ScanEntry { path: Path::new(p).expect("users use good names"), stat: *stat })
            .collect();
        let now = dev.now(self.now);
        let p = dev.peer.as_mut().expect("it is up");
        if !entries.is_empty() {
            p.handle_entries(&mut dev.ix, now, ticket, &entries);
            self.note(d + 1, "entries", ticket.0.into(), found.len() as u64);
        }
        if rest.len() <= batch {
            return self.done(d, life, ticket, Outcome::Done, vec![]);
        }
        self.pump(d);
        let after = found.last().expect("there is more").0.clone();
        let delay = self.slow(d, number(&dir), 20, 400);
        self.after(delay, Event::Scan { d, life, ticket, dir, after });
    }

    pub(super) fn hand_to_peer(&mut self, id: u32, d: usize, frame: &[u8]) {
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        if dev.link != Some(id) {
            return;
        }
        let Some(p) = &mut dev.peer else { return };
        let r = p.handle_frame(&mut dev.ix, now, dartsync_core::ids::LinkId(id), frame);
        self.note(d + 1, "frame", frame[0].into(), frame.len() as u64);
        self.notice_frame(frame);
        self.explain(|| explain_down(frame));
        if let Err(e) = r {
            self.broke(format!("D{d} rejects a frame of the tracker: {}", e.why));
        }
        self.pump(d);
    }
    pub(super) fn closed_here(&mut self, id: u32, d: usize) {
        self.hang_here(id, true);
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        if dev.link != Some(id) {
            return;
        }
        dev.link = None;
        if let Some(p) = &mut dev.peer {
            p.handle_closed(&mut dev.ix, now, dartsync_core::ids::LinkId(id));
            self.note(d + 1, "closed", id.into(), 0);
            self.pump(d);
        }
    }
}

fn perform(act: Act<'_>, w: &Work) -> Outcome {
    let path = &w.path[..];
    act.run(|a| match &w.effect {
        Effect::Look { known, moved, .. } => a.look(path, *known, *moved),
        Effect::Make { row, kind, content, take, .. } => {
            a.make(row.0, (*kind, *content), (w.trash, path), *take)
        }
        Effect::Prepare { row, kind, mode, mtime, .. } => a.prepare(row.0, *kind, *mode, *mtime),
        Effect::Swap { row, expect, intent, .. } => a.swap(path, row.0, *expect, intent, w.copy.as_deref()),
        Effect::Keep { of, .. } => a.keep(path, of.0),
        Effect::Meta { expect, mode, mtime, .. } => a.meta(path, expect, *mode, *mtime),
        Effect::Remove { row, expect, .. } => a.remove(path, row.0, expect),
        Effect::Recover { row, .. } => a.recover(path, row.0),
        Effect::Clear { row, .. } => a.clear(row.0),
        Effect::Discard { row, unused, .. } => a.discard(row.0, *unused),
        Effect::Watch { .. } => {
            a.fs.watch_all();
            Ok(Outcome::Done)
        }
        Effect::Sync { .. } => {
            a.fs.sync_names();
            Ok(Outcome::Done)
        }
        Effect::Flush { .. } => {
            a.fs.flush();
            Ok(Outcome::Done)
        }
        e => unreachable!("{e:?} is no act"),
    })
}
