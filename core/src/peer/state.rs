//! What the peer machine remembers in RAM: folders, jobs, announcements under way. All bounded.

use super::index::Number;
use super::trees::{Due, Lane, Stat, Trees};
use crate::ids::{ContentId, Epoch, Folder, FolderId, FolderSlot, Row, Seq, Ticket};
use crate::path::PathBuf;
use crate::record::Kind;
use crate::time::Instant;
use crate::version::Edit;
use heapless::{Deque, Vec};

/// Folders one device can link.
pub const LINKED: usize = 64;
/// Looks under way.
pub const LOOKS: usize = 64;
/// Work on what rows are to become, from the fetch to the last sync, recoveries included.
pub const INSTALLS: usize = 224;
/// All slow work under way: beside those a watch of each folder, and syncs and the like, which wait for room.
pub const JOBS: usize = INSTALLS + LOOKS + LINKED + 64;
/// Bulk installs among those.
pub const BULK_INSTALLS: usize = 8;
/// Of those, the ones that hope for devices which have not all of it either.
pub const ALONE: usize = 2;
/// Paths that wait for quiet.
pub const DELAYS: usize = 512;
/// New directories that a scan has found and no look yet.
pub const LISTED: usize = 1024;
/// Subtrees of one folder that wait for a scan; more make it a scan of the whole.
pub const SUBTREES: usize = 16;

/// What is counted of a folder, from its rows; kept in the store with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts(pub [u64; 11]);

/// The numbers that [`Counts`] holds, in order.
pub const COUNTED: [Number; 11] = [
    Number::Files,
    Number::Bytes,
    Number::Directories,
    Number::ToFetch,
    Number::ToFetchBytes,
    Number::ToAnnounce,
    Number::Conflicts,
    Number::Failed,
    Number::Vanished,
    Number::VanishedContent,
    Number::Links,
];

impl Counts {
    /// What one row adds.
    pub fn of(t: &Trees, due: Option<Due>) -> Counts {
        let mut c = [0; 11];
        if let Some(l) = &t.local {
            match l.stat.kind {
                Kind::File => {
                    c[0] = 1;
                    c[1] = l.stat.size;
                    c[6] = t.conflict.into();
                }
                Kind::Directory => c[2] = 1,
                Kind::Symlink => {
                    c[6] = t.conflict.into();
                    c[10] = 1;
                }
                Kind::Removed => {}
            }
        }
        let fetch = match due.map(|d| d.lane) {
            Some(Lane::Quick | Lane::Bulk | Lane::Remove) => true,
            Some(Lane::Later) => t.remote.as_ref().is_some_and(|r| Some(&r.record) != t.synced.as_ref()),
            _ => false,
        };
        if fetch {
            c[3] = 1;
            c[4] = t.remote.as_ref().filter(|r| r.record.kind == Kind::File).map_or(0, |r| r.record.size);
        }
        c[5] = matches!(due.map(|d| d.lane), Some(Lane::Announce | Lane::Vanished)).into();
        c[7] = (due.map(|d| d.lane) == Some(Lane::Later)).into();
        if due.map(|d| d.lane) == Some(Lane::Vanished) {
            c[8] = 1;
            c[9] = t.synced.as_ref().is_some_and(|s| s.has_content()).into();
        }
        Counts(c)
    }
    /// One of the counts.
    pub fn get(&self, n: Number) -> u64 {
        COUNTED.iter().position(|k| *k == n).map_or(0, |i| self.0[i])
    }
    /// Replaces what a row added by what it adds now.
    pub fn shift(&mut self, before: Counts, after: Counts) {
        for (i, n) in self.0.iter_mut().enumerate() {
            *n = n.saturating_add(after.0[i]).saturating_sub(before.0[i]);
        }
    }
}

/// How far R8 is in the epoch in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Telling {
    /// Waits for the folder's first `CaughtUp`.
    Waiting,
    /// Rows are being gone through.
    Sweeping,
    /// All were announced; `Told` is to be sent.
    Owed,
    /// Done.
    Done,
}

/// One linked folder.
#[derive(Debug)]
pub struct FolderState {
    /// Its number here.
    pub folder: Folder,
    /// Its id in the home.
    pub id: FolderId,
    /// Whether this place is in use.
    pub linked: bool,
    /// Its slot, once the roster in force says so.
    pub slot: Option<FolderSlot>,
    /// The epoch (as stamped here) that `seen` counts in.
    pub epoch: Epoch,
    /// Every record up to it is in the store.
    pub seen: Seq,
    /// `Seen` was sent on this link.
    pub asked: bool,
    /// `CaughtUp` came on this link.
    pub caught_up: bool,
    /// See [`Telling`].
    pub telling: Telling,
    /// All was told, and is judged with that many verdicts on this link.
    pub told_until: Option<u32>,
    /// Something of what was told was not taken for its copy's sake: the rows that are still unknown are told again.
    pub untold: bool,
    /// They were, once on this link.
    pub retold: bool,
    /// Watched since its root was last found.
    pub watched: bool,
    /// A ticket is out for watching it.
    pub watching: bool,
    /// Its watches ended while that ticket was out.
    pub unwatched: bool,
    /// When to try to watch it again.
    pub watch_at: Instant,
    /// The start scan has passed every path.
    pub scanned: bool,
    /// The power failed, and not all that was under way then was looked at since, in whichever run (R11, R13).
    pub unclean: bool,
    /// Its store was lost, and no scan of all was finished since: what is found without a row may be what was removed
    /// elsewhere (R10).
    pub lost: bool,
    /// `Tell::Ready` was said.
    pub ready: bool,
    /// A scan of the whole is due.
    pub rescan: bool,
    /// When the next scan of the whole is due by itself.
    pub rescan_at: Instant,
    /// A flush that was due when the root was found comes before a scan, which waits for it, until then at most.
    pub scan_waits: Option<Instant>,
    /// Subtrees to scan.
    pub subtrees: Vec<Row, SUBTREES>,
    /// The root is gone or not the one that was linked.
    pub root_gone: bool,
    /// Paused by the user.
    pub paused: bool,
    /// A burst of removals waits for the user.
    pub held: bool,
    /// What its rows add up to.
    pub counts: Counts,
    /// The counts changed since they were kept in the store.
    pub counts_dirty: bool,
    /// Where each lane was last pulled.
    pub cursors: [Option<(u64, Row)>; 7],
    /// Lanes that were found empty behind their cursor, with nothing put in since.
    pub drained: [bool; 7],
    /// Removals that passed in the running window, and when that ends.
    pub passed: u32,
    /// See `passed`.
    pub window_end: Instant,
    /// When the last removal was seen.
    pub vanished_at: Instant,
    /// More removals wait than pass at once: they are judged when no more come.
    pub burst: bool,
    /// A directory sync is under way.
    pub syncing: bool,
    /// After a failed sync: not before.
    pub sync_at: Instant,
    /// A flush of file contents is under way; when it began, by the wall clock (µs); and when the next may begin.
    pub flushing: bool,
    /// See `flushing`.
    pub flush_began: u64,
    /// See `flushing`.
    pub flush_at: Option<Instant>,
    /// When the last flush that made all durable began, by the wall clock (µs) and by the other.
    pub flushed: Option<(u64, Instant)>,
    /// Where the sweep that tells what is held stands: behind that row of that seq.
    pub have_sweep: Option<(Seq, Row)>,
    /// All that is held, and what is not, is to be told again then: a device was asked for what it has not.
    pub resay_at: Option<Instant>,
    /// Rows that had to wait for others are gone through again then; and the pause before the next time (µs).
    pub recheck_at: Option<Instant>,
    /// See `recheck_at`.
    pub recheck_pause: u64,
    /// The R9b sweep of invented directories is due.
    pub revivals_due: bool,
    /// See [`Parts`].
    pub parts: Parts,
}

/// When files in tmp that nothing wants any more are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// There may be some.
    pub due: bool,
    /// Not before.
    pub at: Instant,
    /// The pause before the next time (µs).
    pub pause: u64,
    /// The transaction in which an intent was last ended: until it is durable, a recovery may still ask for them (R11).
    pub ended: u64,
}

/// The shortest pause between two looks for such files, and the longest (µs).
pub const PARTS_PAUSE: (u64, u64) = (5_000_000, 30_000_000);

impl FolderState {
    /// A folder as it is when it is linked.
    pub fn new(folder: Folder, id: FolderId) -> FolderState {
        FolderState {
            folder,
            id,
            linked: true,
            slot: None,
            epoch: Epoch(0),
            seen: Seq(0),
            asked: false,
            caught_up: false,
            telling: Telling::Waiting,
            told_until: None,
            untold: false,
            retold: false,
            watched: false,
            watching: false,
            unwatched: false,
            watch_at: Instant(0),
            scanned: false,
            unclean: false,
            lost: false,
            ready: false,
            rescan: false,
            rescan_at: Instant(u64::MAX),
            scan_waits: None,
            subtrees: Vec::new(),
            root_gone: false,
            paused: false,
            held: false,
            counts: Counts::default(),
            counts_dirty: false,
            cursors: [None; 7],
            drained: [false; 7],
            passed: 0,
            window_end: Instant(0),
            vanished_at: Instant(0),
            burst: false,
            syncing: false,
            sync_at: Instant(0),
            flushing: false,
            flush_began: 0,
            flush_at: None,
            flushed: None,
            have_sweep: None,
            resay_at: None,
            recheck_at: None,
            recheck_pause: 20_000,
            revivals_due: false,
            // What an earlier run has left.
            parts: Parts { due: true, at: Instant(0), pause: PARTS_PAUSE.0, ended: 0 },
        }
    }
    /// Whether its root is there, as far as is known, and watched: before that there is nothing to be looked at or flushed.
    pub fn has_root(&self) -> bool {
        self.linked && self.watched && !self.root_gone
    }
    /// Whether rows may be acted on: the root is there, the start scan is done, the user did not pause it.
    pub fn may_act(&self) -> bool {
        self.has_root() && self.scanned && !self.paused
    }
    /// All lanes are gone through from their start again.
    pub fn rewind(&mut self) {
        (self.cursors, self.drained) = ([None; 7], [false; 7]);
    }
    /// One lane is gone through from its start again.
    pub fn rewind_lane(&mut self, lane: Lane) {
        (self.cursors[lane as usize], self.drained[lane as usize]) = (None, false);
    }
    /// One lane is gone through again from that row, which was put there behind its cursor.
    pub fn rewind_to(&mut self, due: Due, row: Row) {
        let cursor = &mut self.cursors[due.lane as usize];
        if cursor.is_some_and(|c| (due.key, row) <= c) {
            *cursor = Some((due.key, Row(row.0.saturating_sub(1))));
        }
        self.drained[due.lane as usize] = false;
    }
    /// Notes a subtree to scan.
    pub fn note_subtree(&mut self, row: Row) {
        if !self.subtrees.contains(&row) && self.subtrees.push(row).is_err() {
            self.subtrees.clear();
            self.rescan = true;
        }
    }
}

/// What a job is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// [`super::Effect::Look`].
    Look,
    /// An install, at this stage.
    Install(Stage),
    /// [`super::Effect::Meta`], with what it sets.
    Meta {
        /// The mode bits.
        mode: u16,
        /// The modification time (ns).
        mtime: i64,
    },
    /// A removal; done, it waits for its directory's sync.
    Remove {
        /// Answered.
        done: bool,
        /// The sync that makes it durable has begun.
        syncing: bool,
    },
    /// [`super::Effect::Recover`].
    Recover,
    /// [`super::Effect::Discard`] of a swap file whose intent then ends.
    Discard {
        /// What kept the swap from being made.
        cause: Option<super::trees::Cause>,
    },
    /// [`super::Effect::Keep`] of what a swap displaced: the row is the swap's, `copy` the copy's.
    Keep {
        /// The copy's row.
        copy: Row,
        /// What is kept.
        content: ContentId,
    },
    /// [`super::Effect::Parts`].
    Parts,
    /// [`super::Effect::Clear`].
    Clear,
    /// [`super::Effect::Watch`].
    Watch,
    /// [`super::Effect::Sync`].
    Sync,
    /// [`super::Effect::Flush`].
    Flush,
}

/// How far an install is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The tracker was asked who has the content.
    Seeking,
    /// A fetch is under way.
    Fetching,
    /// A copy or move on this device is under way.
    Making,
    /// The swap file is being made; the intent's commit may be under way too.
    Preparing,
    /// The swap file is there; the intent is not durable yet.
    Committing,
    /// The swap is under way.
    Swapping,
    /// It stands at the path; its directory is not durable yet.
    Syncing {
        /// The sync that makes it so has begun.
        begun: bool,
    },
}

/// One piece of slow work.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Names it.
    pub ticket: Ticket,
    /// The folder, by place.
    pub f: usize,
    /// The row; 0 for work on a whole folder.
    pub row: Row,
    /// See [`Work`].
    pub work: Work,
    /// Content and kind that an install makes, and the edit it is of.
    pub want: (Kind, ContentId, Edit),
    /// The transaction whose commit it waits for.
    pub generation: u64,
    /// A second row it keeps busy (a rename's source).
    pub also: Option<Row>,
    /// The tracker was asked for sources already.
    pub sought: bool,
    /// A copy on this device was tried already.
    pub made: bool,
    /// A look whose row was touched after it began.
    pub again: bool,
    /// What a scan found there since a look that hashes began.
    pub scanned: Option<Stat>,
    /// That copy is the source's own file, moved.
    pub took: bool,
    /// When this stage began.
    pub since: Instant,
    /// When it began.
    pub begun: Instant,
    /// It was told to give its place up.
    pub aside: bool,
    /// It counts among the bulk ones.
    pub bulk: bool,
    /// It is fetched, and nobody is known to have all of it.
    pub alone: bool,
}

/// Which record of a row was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The local one.
    Local,
    /// The synced one.
    Synced,
    /// The remote one, once heard in another epoch.
    Heard,
    /// The withdrawn one, noted in another epoch.
    Withdrawn,
    /// The pending copy.
    Pending,
}

/// An announcement: minted, committed, sent, judged.
#[derive(Clone, Copy, Debug)]
pub struct Announcement {
    /// The folder, by place.
    pub f: usize,
    /// The row.
    pub row: Row,
    /// See [`What`].
    pub what: What,
    /// The transaction that made what it says.
    pub generation: u64,
    /// Forms a pair with the next.
    pub pair: bool,
    /// Tells the version that is meant from later ones.
    pub stamp: u64,
    /// Its folder was unlinked after it was sent: its verdict means nothing.
    pub void: bool,
}

/// A path that waits for quiet.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// When to look.
    pub at: Instant,
    /// The folder, by place.
    pub f: usize,
    /// The path's row.
    pub row: Row,
    /// Whether a removal is waited for.
    pub gone: bool,
    /// Whether it was written to.
    pub written: bool,
    /// The pause that was waited (µs), doubled at each further write.
    pub pause: u64,
    /// When the first write was seen.
    pub since: Instant,
}

/// The scan under way.
#[derive(Debug)]
pub struct Scan {
    /// Names it; 0 = none is under way.
    pub ticket: Ticket,
    /// The folder, by place.
    pub f: usize,
    /// Below which directory; none = the root.
    pub dir: Option<Row>,
    /// That directory's path.
    pub prefix: PathBuf,
    /// The last path passed.
    pub cursor: PathBuf,
    /// A directory that could not be read: rows below it are no removals. More than one: none is.
    pub blind: PathBuf,
    /// More than one was blind.
    pub blinded: bool,
}

/// Ranges of seqs whose content is not here, to be told.
pub const LACKS: usize = 64;

/// Seqs whose content came to be here, to be told.
pub type Haves = Deque<(usize, Seq, u64), 1024>;
