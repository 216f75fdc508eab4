//! What a device knows of one path: the three trees' view of it, and what is under way.

use crate::ids::{ContentId, Epoch, Row, Seq, Tag};
use crate::record::{Kind, Record};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// What the file system says of a path, as far as it tells one state of it from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stat {
    /// What stands there; [`Kind::Removed`] is nothing.
    pub kind: Kind,
    /// Permission bits (0o777).
    pub mode: u16,
    /// Bytes; 0 for directories.
    pub size: u64,
    /// Modification time, ns.
    pub mtime: i64,
    /// Status change time, ns.
    pub ctime: i64,
    /// Inode number.
    pub ino: u64,
}

impl Stat {
    /// The stat of a file that a program had open for writing while it was read: what that writes through a map afterwards
    /// may leave the very same stat. So that it is read again, this one differs from any that is found: it has no ctime.
    pub fn of_writer(self) -> Stat {
        Stat { ctime: i64::MIN, ..self }
    }
    /// Whether it is [`Stat::of_writer`].
    pub fn is_of_writer(&self) -> bool {
        self.ctime == i64::MIN
    }
    /// Whether a change soon after a reading at `at` (µs) could have left this very ctime.
    pub fn is_fresh(&self, at: u64) -> bool {
        self.ctime >= (at as i64).saturating_mul(1000).saturating_sub(grain(self.ctime))
    }
    /// Whether a file of this stat can have that one under another name, if nothing else happened to it: ctime alone may
    /// differ.
    pub fn is_moved_to(&self, now: &Stat) -> bool {
        !self.is_of_writer() && Stat { ctime: now.ctime, ..*self } == *now
    }
    /// Whether a path of this stat can be taken for unchanged since `old` was read at wall time `old_at` (µs): all
    /// fields equal and not racy. Directories: kind and mode.
    pub fn is_clean_since(&self, old: &Stat, old_at: u64) -> bool {
        match self.kind {
            Kind::Removed => old.kind == Kind::Removed,
            Kind::Directory => old.kind == self.kind && old.mode == self.mode,
            Kind::File | Kind::Symlink => self == old && !self.is_racy(old_at),
        }
    }
    /// Whether a write after a reading at wall time `at` (µs) could have left this very stat: the mtime does not lie
    /// clearly before the reading. File systems that keep whole seconds, or every other one, are known by that.
    pub fn is_racy(&self, at: u64) -> bool {
        self.mtime >= (at as i64).saturating_mul(1000).saturating_sub(self.grain())
    }
    /// Whether a write soon after a reading at `at` (µs) could have left this very stat. Unlike with
    /// [`Stat::is_racy`], a time set far into the future is in no doubt: the next write takes it back.
    pub fn is_in_doubt(&self, at: u64) -> bool {
        let at = (at as i64).saturating_mul(1000);
        let near = at.saturating_sub(self.grain())..at.saturating_add(2_020_000_000);
        self.kind == Kind::File && near.contains(&self.mtime)
    }
    fn grain(&self) -> i64 {
        grain(self.mtime)
    }
}

/// How far apart a file system may keep two times (ns) of which one is this.
fn grain(time: i64) -> i64 {
    if time % 1_000_000_000 == 0 { 2_020_000_000 } else { 20_000_000 }
}

/// Where the local tree's record has its version from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Made {
    /// Differs from the synced tree and has no version yet: kind, size, mtime, mode, content alone are meant.
    Unminted,
    /// Has a version of its own (an edit minted here, a merge, a copy), not yet accepted.
    Minted,
    /// Is the synced record.
    Synced,
}

/// The local tree's view: what the disk holds as last looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Local {
    /// What stands there. While unminted: a change of metadata alone keeps edit, parent and version of what it changes;
    /// after a change of content `version` is empty, and `edit` is that of the last minted and unaccepted edit below
    /// it, if any (tag 0: none), for it is the parent of the next (R1).
    pub record: Record,
    /// See [`Made`].
    pub made: Made,
    /// The stat read back after the last look, install or change of metadata (R14).
    pub stat: Stat,
    /// Wall time (µs) of that reading.
    pub at: u64,
}

/// The remote tree's view: what the tracker said last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remote {
    /// The record.
    pub record: Record,
    /// The epoch it was heard in; of another than the link's it is *unknown* (R8).
    pub epoch: Epoch,
    /// Its seq in that epoch.
    pub seq: Seq,
}

/// A swap that is about to be made, or was being made when the program ended (R11).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Content and kind that the path holds before (kind Removed: nothing).
    pub from: (Kind, ContentId),
    /// Content and kind that it holds after.
    pub to: (Kind, ContentId),
    /// The row of the losing version's copy, made before the swap.
    pub copy: Option<Row>,
}

/// Why a row waits; shown in status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// The operating system said no: this errno.
    Os(i32),
    /// Another program has the file open for writing (R12).
    OpenWriter,
    /// It keeps changing while it is read.
    Changing,
    /// No device that has the content is online.
    NoSource,
    /// Sources are online, none could be reached or none could serve.
    Unreachable,
    /// Something that is no file, directory or symlink stands there.
    Special,
    /// The directory still holds something.
    NotEmpty,
    /// The directory it belongs in is not there yet.
    NoParent,
    /// The folder's root is gone, not the one that was linked, or lost its marker.
    RootGone,
    /// The tracker has no room for it.
    TrackerFull,
    /// The tracker refused it.
    Refused,
    /// The path changed between decision and act: looked at again.
    Raced,
    /// Content did not verify.
    Corrupt,
    /// No device has the content any more, online or not: its record is withdrawn soon, or its content comes back (R9a).
    NoHolder,
}

/// All that is kept of one path; the row's value in the store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trees {
    /// The disk; none = nothing is known to have been here.
    pub local: Option<Local>,
    /// The tracker's.
    pub remote: Option<Remote>,
    /// The last state in which both agreed: the merge base. Never names content that is not installed here.
    pub synced: Option<Record>,
    /// The latest withdrawn record of the path (R9a).
    pub withdrawn: Option<Remote>,
    /// See [`Intent`].
    pub intent: Option<Intent>,
    /// The record that the swap of `intent` installs: the synced one once it is made.
    pub target: Option<Record>,
    /// On a conflict copy that must exist: its record, and the row of its winner (R9, "it wins").
    pub pending: Option<(Record, Row)>,
    /// On a winner: rows of its pending copies; and of a file's that is still to be displaced here, pending or not.
    pub copies: Vec<Row, 4>,
    /// The file that a directory which was invented here is still to displace ([`Trees::is_over_file`]).
    pub over: Option<Record>,
    /// The disk may differ from `local`: look before anything else.
    pub stale: bool,
    /// In the page cache, not known to be on the platter (R13): announced, or seen over what others have.
    pub unsynced: bool,
    /// A flush failed while it was `unsynced`: the system tells that once, so that no later flush says anything of it, until
    /// the machine starts anew (R13).
    pub unsure: bool,
    /// An own edit that others may have went with a power cut, and no tree here may tell of it: the last tag that it went by.
    /// The next goes by one that follows (R13).
    pub forgot: Option<Tag>,
    /// The disk must still follow the local tree's record: metadata, or a directory to make.
    pub disk_due: bool,
    /// Named like a conflict copy: counted as one while it stands.
    pub conflict: bool,
    /// Found by the first scan of a folder whose store was lost, and neither changed nor synced since: a removal of
    /// just this content has it removed (R10).
    pub orphan: bool,
    /// Why it waits, and how often it was tried.
    pub trouble: Option<(Cause, u8)>,
}

impl Trees {
    /// What the disk is known to hold.
    pub fn disk_kind(&self) -> Kind {
        self.local.as_ref().map_or(Kind::Removed, |l| l.record.kind)
    }
    /// The content at the path, as the local tree knows it.
    pub fn disk_content(&self) -> Option<ContentId> {
        self.local.as_ref().filter(|l| l.record.has_content()).map(|l| l.record.content)
    }
    /// Whether a directory that was invented here is still to displace a file, which then gets its copy's name.
    pub fn is_over_file(&self) -> bool {
        let over =
            |l: &Local| l.record.kind == Kind::Directory && matches!(l.stat.kind, Kind::File | Kind::Symlink);
        self.disk_due && self.local.as_ref().is_some_and(over)
    }
    /// The content of the file that an invented directory is still to displace here.
    pub fn covered(&self) -> Option<ContentId> {
        self.over.as_ref().filter(|_| self.is_over_file()).map(|r| r.content)
    }
    /// Whether nothing is kept: the row can be erased.
    pub fn is_empty(&self) -> bool {
        *self == Trees::default()
    }
}

/// The lanes of the to-do. A row is in at most one: its single next step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Lane {
    /// Look at the disk: stat, and hash if it changed.
    Look = 0,
    /// Announce.
    Announce = 1,
    /// Install: directories, metadata, links and small files.
    Quick = 2,
    /// Install: large files.
    Bulk = 3,
    /// Apply a removal; children first.
    Remove = 4,
    /// A local removal that waits to be judged (guards).
    Vanished = 5,
    /// Failed or postponed: key is when (µs of wall time) to try again.
    Later = 6,
}

impl Lane {
    /// All lanes, by number.
    pub const ALL: [Lane; 7] =
        [Lane::Look, Lane::Announce, Lane::Quick, Lane::Bulk, Lane::Remove, Lane::Vanished, Lane::Later];
}

/// A row's place in the to-do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Due {
    /// Which lane.
    pub lane: Lane,
    /// Order within it.
    pub key: u64,
}
