//! What is true now, for status and waiting commands.

use super::index::{Index, Number};
use super::machine::Peer;
use super::state::Telling;
use super::trees::Lane;
use crate::ids::Folder;
use crate::time::Now;

/// How a folder stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// This device has all, has told all, and knows of no difference.
    InSync,
    /// Something is under way.
    Syncing,
    /// The start scan has not passed every path.
    Scanning,
    /// Paused by the user.
    Paused,
    /// A burst of removals waits for the user.
    Held,
    /// The root is gone, the home does not have the folder any more, or rows cannot be handled.
    Error,
    /// All is well here, but the tracker is not reached.
    Offline,
}

impl State {
    /// The word of the command-line contract.
    pub const fn word(self) -> &'static str {
        match self {
            State::InSync => "in sync",
            State::Syncing => "syncing",
            State::Scanning => "scanning",
            State::Paused => "paused",
            State::Held => "held",
            State::Error => "error",
            State::Offline => "offline",
        }
    }
}

/// What is known of a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolderView {
    /// See [`State`].
    pub state: State,
    /// Files on disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records not applied here.
    pub to_fetch: u64,
    /// Bytes of their contents.
    pub to_fetch_bytes: u64,
    /// Local changes not announced.
    pub to_announce: u64,
    /// Conflict copies on disk.
    pub conflicts: u64,
    /// Rows that had trouble and wait.
    pub failed: u64,
    /// Removals that wait for the user.
    pub vanished: u64,
    /// The root is gone.
    pub root_gone: bool,
    /// The home's roster has the folder, with this device as a member.
    pub member: bool,
}

impl Peer {
    /// How a linked folder stands; `None`: not linked.
    pub fn folder_view(&mut self, ix: &mut dyn Index, now: Now, folder: Folder) -> Option<FolderView> {
        let f = self.place_of(folder)?;
        let state = self.state_of(ix, now, f);
        let unlooked = self.delays.iter().filter(|d| d.f == f).count() as u64;
        let announcing =
            self.folders[f].counts.get(Number::ToAnnounce) + unlooked + self.lane_len(ix, folder, Lane::Look);
        let s = &self.folders[f];
        Some(FolderView {
            state,
            files: s.counts.get(Number::Files),
            bytes: s.counts.get(Number::Bytes),
            to_fetch: s.counts.get(Number::ToFetch),
            to_fetch_bytes: s.counts.get(Number::ToFetchBytes),
            to_announce: announcing,
            conflicts: s.counts.get(Number::Conflicts),
            failed: s.counts.get(Number::Failed),
            vanished: s.counts.get(Number::Vanished),
            root_gone: s.root_gone,
            member: s.slot.is_some() || !self.session.has_roster(self.roster.version()),
        })
    }

    /// Rows of a lane, counted up to a bound: enough for status.
    fn lane_len(&mut self, ix: &mut dyn Index, folder: Folder, lane: Lane) -> u64 {
        let (mut n, mut after) = (0, None);
        while n < 1_000 {
            match ix.due(folder, lane, after) {
                Some(at) => after = Some(at),
                None => break,
            }
            n += 1;
        }
        n
    }

    fn state_of(&mut self, ix: &mut dyn Index, now: Now, f: usize) -> State {
        let s = &self.folders[f];
        if s.paused {
            return State::Paused;
        }
        if s.root_gone || (self.session.has_roster(self.roster.version()) && s.slot.is_none()) {
            return State::Error;
        }
        if s.held {
            return State::Held;
        }
        if !s.scanned {
            return State::Scanning;
        }
        let folder = s.folder;
        let quiet = self.is_quiet(ix, f);
        if !self.session.welcomed {
            return State::Offline;
        }
        let _ = now;
        let s = &self.folders[f];
        if quiet && s.caught_up && s.telling == Telling::Done && !self.owes_haves(f) {
            return State::InSync;
        }
        let waits = ix.due(folder, Lane::Later, None).is_some();
        if waits && !self.moves(ix, f) { State::Error } else { State::Syncing }
    }

    /// Nothing of the folder is to be done: all lanes are empty, nothing is under way or waited for.
    fn is_quiet(&mut self, ix: &mut dyn Index, f: usize) -> bool {
        let folder = self.folders[f].folder;
        let s = &self.folders[f];
        let scanning = s.rescan || !s.subtrees.is_empty() || (self.scan.ticket.0 != 0 && self.scan.f == f);
        let working = self.jobs.iter().any(|j| j.f == f && j.work != super::state::Work::Flush);
        let announcing = self.outbox.iter().any(|a| a.f == f);
        if scanning || self.is_losing(f) || working || announcing || self.has_delays(f) {
            return false;
        }
        Lane::ALL.iter().all(|l| ix.due(folder, *l, None).is_none())
    }

    /// Whether anything but waiting rows is there to be done.
    fn moves(&mut self, ix: &mut dyn Index, f: usize) -> bool {
        let folder = self.folders[f].folder;
        let lanes = [Lane::Look, Lane::Announce, Lane::Quick, Lane::Bulk, Lane::Remove];
        lanes.iter().any(|l| ix.due(folder, *l, None).is_some()) || self.jobs.iter().any(|j| j.f == f)
    }

    fn owes_haves(&self, f: usize) -> bool {
        self.folders[f].have_sweep.is_some() || self.haves.iter().any(|h| h.0 == f)
    }

    /// Whether this device is in sync in every linked folder.
    pub fn in_sync(&mut self, ix: &mut dyn Index, now: Now) -> bool {
        (0..self.folders.len())
            .filter(|f| self.folders[*f].linked)
            .collect::<heapless::Vec<usize, { super::state::LINKED }>>()
            .into_iter()
            .all(|f| self.state_of(ix, now, f) == State::InSync)
    }
}
