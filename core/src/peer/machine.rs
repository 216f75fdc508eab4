//! The peer machine: its state and the calls that drive it.
//!
//! Calls are of four kinds: getters; `handle_*` (facts); commands (`link_folder`, `request`, …); `poll_*` (what follows).
//! A driver gathers facts, hands them in, then drains in this order: [`Peer::poll_effect`] until `None`,
//! [`Peer::poll_transmit`] until `Idle`, and sleeps until [`Peer::poll_timeout`].

use super::effect::{Effect, Tell};
use super::index::{DEVICE, HELD, Index, Number, PAUSED, UNCLEAN};
use super::lose::{LOSING, Losing};
use super::moved::{MOVED, Moved};
use super::session::Session;
use super::state::*;
use super::trees::Lane;
use super::vain::Vain;
use super::waiting::Waiting;
use crate::ids::*;
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::path::PathBuf;
use crate::rng::Rng;
use crate::roster::{ROSTER_BYTES, Roster, RosterAssembler};
use crate::time::{Duration, Instant, Now};
use crate::wire::message::{Addrs, SeqRange};
use heapless::{Deque, Vec};

/// What a peer is told of itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// This device's key.
    pub key: PublicKey,
    /// Randomness, once.
    pub seed: [u8; 32],
    /// Where data links are taken.
    pub port: u16,
    /// Addresses of this device's interfaces.
    pub addrs: Addrs,
    /// See [`crate::wire::message::caps`].
    pub caps: u32,
    /// A file of so many bytes that was moved is announced together with what became of its former name, and need not be read
    /// again (R17); a smaller one at once.
    pub await_both: u64,
}

/// The store's run is raised by one at each dial and by this with what the tracker is told to be here, so that no few dials
/// make up for that (R4).
const RUNS: u64 = 1 << 16;

/// Which saves are durable: each commit closes a generation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Commits {
    /// The open transaction's.
    pub open: u64,
    /// The last that is durable.
    pub durable: u64,
    /// The commit under way: its ticket and the generation it closes.
    pub running: Option<(Ticket, u64)>,
    /// Something waits for durability.
    pub wanted: bool,
    /// Saves since the last commit.
    pub dirty: u32,
    /// When the first of them was made.
    pub since: Instant,
    /// After a failed commit: not before.
    pub not_before: Instant,
    /// The open transaction holds what the tracker is told to be here, on the link that stands.
    pub haves: bool,
    /// The run of the store: as it is durable, and as the commit under way makes it.
    pub run: u64,
    /// See `run`.
    pub next_run: u64,
}

/// The peer machine; see the module. Some 400 KiB: keep it in one place.
pub struct Peer {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) roster: Roster,
    pub(super) sealed: Vec<u8, ROSTER_BYTES>,
    pub(super) assembler: RosterAssembler,
    pub(super) session: Session,
    pub(super) tag: Tag,
    pub(super) counter: u64,
    pub(super) epoch: Epoch,
    pub(super) folders: Vec<FolderState, LINKED>,
    pub(super) jobs: Vec<Job, JOBS>,
    pub(super) last_ticket: u32,
    pub(super) outbox: Deque<Announcement, { limits::ANNOUNCE_WINDOW }>,
    pub(super) outbox_sent: usize,
    /// Verdicts so far on this link.
    pub(super) verdicts: u32,
    pub(super) delays: Vec<Delay, DELAYS>,
    pub(super) moved: Vec<Moved, MOVED>,
    /// Rows whose files were moved away for a rename, until they are looked at.
    pub(super) taken: Vec<Row, MOVED>,
    /// New directories that a scan has found, and nothing touched since.
    pub(super) listed: Vec<Row, LISTED>,
    pub(super) waiting: Waiting,
    pub(super) vain: Vain,
    /// Directories that went, while not all below them was gone through.
    pub(super) losing: Vec<Losing, LOSING>,
    pub(super) scan: Scan,
    /// The folder that is gone through by R8, where, and the transaction in which the last of it was heard.
    pub(super) sweep: Option<(usize, PathBuf, u64)>,
    pub(super) sweep_stalled: bool,
    pub(super) haves: Haves,
    pub(super) lacks: Deque<(usize, SeqRange), LACKS>,
    pub(super) seeks: Deque<(usize, Row, Seq), 64>,
    pub(super) ready: Deque<Effect, { JOBS + 192 }>,
    pub(super) tells: Deque<Tell, 128>,
    pub(super) commits: Commits,
    /// A row was put into a lane since this was last cleared.
    pub(super) placed: bool,
    pub(super) order: u64,
    pub(super) later_at: Option<Instant>,
    /// When slow fetches are to give way, there being no place for others.
    pub(super) room_at: Option<Instant>,
    pub(super) requeue: bool,
    pub(super) buf: PathBuf,
}

impl Peer {
    /// A peer that has not started: call [`Peer::start`], then [`Peer::link_folder`] for each folder.
    pub fn new(config: Config) -> Peer {
        let rng = Rng::from_seed(config.seed);
        Peer {
            config,
            rng,
            roster: Roster::new(),
            sealed: Vec::new(),
            assembler: RosterAssembler::new(),
            session: Session::default(),
            tag: Tag(0),
            counter: 0,
            epoch: Epoch(0),
            folders: Vec::new(),
            jobs: Vec::new(),
            last_ticket: 0,
            outbox: Deque::new(),
            outbox_sent: 0,
            verdicts: 0,
            delays: Vec::new(),
            moved: Vec::new(),
            taken: Vec::new(),
            listed: Vec::new(),
            waiting: Waiting::default(),
            vain: Vain::default(),
            losing: Vec::new(),
            scan: Scan {
                ticket: Ticket(0),
                f: 0,
                dir: None,
                prefix: PathBuf::new(),
                cursor: PathBuf::new(),
                blind: PathBuf::new(),
                blinded: false,
            },
            sweep: None,
            sweep_stalled: false,
            haves: Deque::new(),
            lacks: Deque::new(),
            seeks: Deque::new(),
            ready: Deque::new(),
            tells: Deque::new(),
            commits: Commits { open: 1, ..Commits::default() },
            placed: false,
            order: 0,
            later_at: None,
            room_at: None,
            requeue: false,
            buf: PathBuf::new(),
        }
    }

    /// Takes up the store: once, before any other call. `boot` identifies the machine's boot (R13), `roster` is the
    /// sealed roster kept here.
    pub fn start(&mut self, ix: &mut dyn Index, now: Now, boot: u64, roster: Option<&[u8]>) {
        if let Some((sealed, roster)) = roster.and_then(|b| Some((b, Roster::decode(b).ok()?))) {
            self.roster = roster;
            self.sealed = Vec::from_slice(sealed).expect("what decodes fits");
        }
        self.tag = Tag(ix.number(DEVICE, Number::Tag) as u32);
        self.counter = ix.number(DEVICE, Number::Counter);
        self.epoch = Epoch(ix.number(DEVICE, Number::Epoch));
        if self.tag.0 == 0 {
            self.take_new_tag(ix);
        }
        self.session.unclean = {
            let last = ix.number(DEVICE, Number::Boot);
            last != 0 && last != boot
        };
        ix.set_number(DEVICE, Number::Boot, boot);
        self.order = now.wall;
        self.dirty(now);
        self.session.dial_at = now.at;
    }

    /// A directory that bore no marker is about to become the root of a folder: what is found in it is to be kept and
    /// spread. To be made durable before the marker is. A folder of which the store holds neither this nor a whole scan
    /// is one whose store was lost (R10).
    pub fn note_new_root(ix: &mut dyn Index, folder: Folder) {
        ix.set_number(folder, Number::Known, 1);
    }

    /// A folder is linked here: at start, or while running. Its root is watched and scanned before anything else.
    /// See [`Peer::note_new_root`].
    pub fn link_folder(&mut self, ix: &mut dyn Index, now: Now, folder: Folder, id: FolderId) {
        assert!(!folder.is_trash() && folder != DEVICE);
        let mut state = FolderState::new(folder, id);
        state.epoch = Epoch(ix.number(folder, Number::Epoch));
        state.seen = Seq(ix.number(folder, Number::Seen));
        state.watch_at = now.at;
        state.lost = ix.number(folder, Number::Known) == 0;
        let bits = ix.number(folder, Number::State);
        (state.paused, state.held, state.unclean) =
            (bits & PAUSED != 0, bits & HELD != 0, bits & UNCLEAN != 0);
        for (i, n) in COUNTED.iter().enumerate() {
            state.counts.0[i] = ix.number(folder, *n);
        }
        if self.epoch.0 != 0 && ix.number(folder, Number::ToldIn) == self.epoch.0 {
            state.telling = Telling::Done;
        }
        let f = match self.folders.iter().position(|f| !f.linked) {
            Some(i) => {
                self.folders[i] = state;
                i
            }
            None => {
                assert!(self.folders.push(state).is_ok(), "the driver links at most {LINKED} folders");
                self.folders.len() - 1
            }
        };
        self.find_slots();
        // A former run may have ended before what it had taken was filed in the trash.
        self.handle_filed(ix, now, folder);
        self.take_up_marks(ix, now, f);
    }

    /// The folder is linked no more: what is under way for it is forgotten; the driver erases its rows.
    pub fn unlink_folder(&mut self, _ix: &mut dyn Index, _now: Now, folder: Folder) {
        let Some(f) = self.place_of(folder) else { return };
        let mut i = 0;
        while i < self.jobs.len() {
            if self.jobs[i].f == f {
                let job = self.jobs.swap_remove(i);
                let _ = self.ready.push_back(Effect::Cancel(job.ticket));
            } else {
                i += 1;
            }
        }
        if self.scan.f == f {
            self.scan.ticket = Ticket(0);
        }
        self.folders[f].told_until = None;
        self.end_losing(f);
        self.delays.retain(|d| d.f != f);
        self.events_were_lost();
        self.taken.clear();
        self.waiting.forget(f);
        if self.sweep.as_ref().is_some_and(|s| s.0 == f) {
            self.sweep = None;
        }
        drop_of(&mut self.haves, |h| h.0 == f);
        drop_of(&mut self.lacks, |l| l.0 == f);
        drop_of(&mut self.seeks, |s| s.0 == f);
        // Another folder may take the place before verdicts come, and before the rows are gone.
        self.outbox.iter_mut().filter(|a| a.f == f).for_each(|a| a.void = true);
        let sent = self.outbox_sent;
        let mut at = 0;
        drop_of(&mut self.outbox, |a| {
            at += 1;
            a.void && at > sent
        });
        let most = self.verdicts + self.outbox.len() as u32;
        let waits = self.folders.iter_mut().filter_map(|s| s.told_until.as_mut());
        waits.for_each(|until| *until = most.min(*until));
        self.folders[f].linked = false;
    }

    /// Pauses or resumes a folder; outlives a restart.
    pub fn set_paused(&mut self, ix: &mut dyn Index, now: Now, folder: Folder, paused: bool) {
        let Some(f) = self.place_of(folder) else { return };
        self.folders[f].paused = paused;
        self.keep_state(ix, now, f);
    }

    /// Lets a held burst of removals pass.
    pub fn approve(&mut self, ix: &mut dyn Index, now: Now, folder: Folder) {
        let Some(f) = self.place_of(folder) else { return };
        self.folders[f].held = false;
        self.keep_state(ix, now, f);
        self.release_vanished(ix, now, f);
    }

    /// This device's addresses changed.
    pub fn set_addrs(&mut self, port: u16, addrs: Addrs) {
        self.config.port = port;
        self.config.addrs = addrs;
    }

    /// The next thing the driver is to do; `None`: nothing.
    pub fn poll_effect(&mut self, ix: &mut dyn Index, now: Now) -> Option<Effect> {
        if let Some(e) = self.ready.pop_front() {
            return Some(e);
        }
        if let Some(t) = self.tells.pop_front() {
            return Some(Effect::Tell(t));
        }
        self.plan(ix, now).or_else(|| self.ready.pop_front()).or_else(|| self.commit_due(ix, now))
    }

    /// When [`Peer::handle_timeout`] is to be called; later than now once drained.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut at = self.session.timeout();
        let mut sooner = |t: Option<Instant>| {
            at = match (at, t) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        };
        sooner(self.delays.iter().map(|d| d.at).min());
        sooner(self.later_at);
        sooner(self.losing_at());
        sooner(self.room_at);
        for f in self.folders.iter().filter(|f| f.linked) {
            if !f.watching && !f.watched {
                sooner(Some(f.watch_at));
            }
            if f.watched && f.rescan_at.0 != u64::MAX {
                sooner(Some(f.rescan_at));
            }
            sooner(f.flush_at.filter(|_| !f.flushing && f.has_root()));
            sooner(f.scan_waits.filter(|_| f.watched));
            sooner(f.recheck_at.filter(|_| f.watched));
            sooner(f.resay_at);
            sooner(self.judgement_at(f));
            sooner(self.parts_at(f));
        }
        if self.commits.dirty > 0 && self.commits.running.is_none() {
            let quiet = self.commits.since + Duration::secs(1);
            let due = if self.is_commit_wanted() { self.commits.not_before } else { quiet };
            sooner(Some(due.max(self.commits.not_before)));
        }
        sooner(self.job_timeout());
        at
    }

    /// Time has passed; early calls do nothing.
    pub fn handle_timeout(&mut self, ix: &mut dyn Index, now: Now) {
        self.session_timeout(now);
        self.end_delays(ix, now);
        self.wake_later(ix, now);
        self.go_on_losing(ix, now);
        self.judge_vanished(ix, now);
        self.end_slow_jobs(ix, now);
        self.make_room(ix, now);
        self.say_again(now);
        for (place, f) in self.folders.iter_mut().enumerate().filter(|(_, f)| f.linked && f.watched) {
            if f.recheck_at.is_some_and(|at| at <= now.at) {
                f.recheck_at = None;
                f.rewind();
                self.waiting.forget(place);
            }
            f.scan_waits = f.scan_waits.filter(|at| *at > now.at);
            if f.rescan_at <= now.at {
                f.rescan = true;
                f.rescan_at = Instant(u64::MAX);
            }
        }
    }

    pub(super) fn place_of(&self, folder: Folder) -> Option<usize> {
        self.folders.iter().position(|f| f.linked && f.folder == folder)
    }
    pub(super) fn ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.wrapping_add(1).max(1);
        Ticket(self.last_ticket)
    }
    pub(super) fn tell(&mut self, t: Tell) {
        if self.tells.is_full() {
            self.tells.pop_front();
        }
        let _ = self.tells.push_back(t);
    }
    pub(super) fn dirty(&mut self, now: Now) {
        if self.commits.dirty == 0 {
            self.commits.since = now.at;
        }
        self.commits.dirty += 1;
    }

    pub(super) fn keep_state(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        let s = &self.folders[f];
        let unclean = s.unclean && !mutant::on(Mutant::R13Later);
        let bits = [(s.paused, PAUSED), (s.held, HELD), (unclean, UNCLEAN)];
        let bits = bits.into_iter().fold(0, |all, (on, bit)| all | (u64::from(on) * bit));
        ix.set_number(s.folder, Number::State, bits);
        let folder = s.folder;
        self.dirty(now);
        self.commits.wanted = true;
        self.tell(Tell::State(folder));
    }

    /// R4: another tag; every remote row is unknown to it, and edits that nobody accepted are minted anew.
    pub(super) fn take_new_tag(&mut self, ix: &mut dyn Index) {
        self.tag = Tag(self.rng.next_u32().max(1));
        self.counter = 0;
        self.epoch = Epoch(0);
        ix.set_number(DEVICE, Number::Tag, self.tag.0.into());
        ix.set_number(DEVICE, Number::Counter, 0);
        ix.set_number(DEVICE, Number::Epoch, 0);
    }

    /// Whether something waits for durability: a step that asked for it, or what the tracker is to be told (R16).
    fn is_commit_wanted(&self) -> bool {
        let c = &self.commits;
        let told = |s: &FolderState| s.linked && s.caught_up;
        let have = self.haves.front().is_some_and(|h| h.2 > c.durable && told(&self.folders[h.0]));
        let sweep = self.folders.iter().any(|s| told(s) && s.have_sweep.is_some());
        c.wanted || have || sweep
    }

    /// The commit, once nothing else can be done before it.
    fn commit_due(&mut self, ix: &mut dyn Index, now: Now) -> Option<Effect> {
        self.leave_spent_tag(ix, now);
        if let Some(e) = self.ready.pop_front() {
            return Some(e);
        }
        let c = &self.commits;
        if c.running.is_some() || c.dirty == 0 || now.at < c.not_before {
            return None;
        }
        if !(self.is_commit_wanted() || c.dirty > 20_000 || now.at.since(c.since) >= Duration::secs(1)) {
            return None;
        }
        for s in self.folders.iter_mut().filter(|s| s.linked && s.counts_dirty) {
            for (i, n) in COUNTED.iter().enumerate() {
                ix.set_number(s.folder, *n, s.counts.0[i]);
            }
            s.counts_dirty = false;
        }
        ix.set_number(DEVICE, Number::Counter, self.counter);
        if core::mem::take(&mut self.commits.haves) {
            let run = ix.number(DEVICE, Number::Run) / RUNS * RUNS + RUNS;
            ix.set_number(DEVICE, Number::Run, run);
        }
        self.commits.next_run = ix.number(DEVICE, Number::Run);
        let ticket = self.ticket();
        let c = &mut self.commits;
        c.running = Some((ticket, c.open));
        c.open += 1;
        c.dirty = 0;
        c.wanted = false;
        Some(Effect::Commit { ticket })
    }

    /// Every row of the folder that waits for a retry gets it now; lanes are gone through from their start.
    pub(super) fn requeue_folder(&mut self, ix: &mut dyn Index, now: Now, f: usize) {
        let folder = self.folders[f].folder;
        self.folders[f].rewind();
        let mut after = None;
        while let Some((key, row)) = ix.due(folder, Lane::Later, after) {
            after = Some((key, row));
            if self.is_busy(row) {
                continue;
            }
            if let Some(o) = self.open(ix, f, row) {
                self.retry(ix, now, o);
            }
        }
    }
}

/// Takes what it is true of out of a queue.
fn drop_of<T, const N: usize>(queue: &mut Deque<T, N>, mut gone: impl FnMut(&T) -> bool) {
    for _ in 0..queue.len() {
        let x = queue.pop_front().expect("counted");
        if !gone(&x) {
            let _ = queue.push_back(x);
        }
    }
}
