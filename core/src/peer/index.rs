//! The store as the peer machine sees it, lent in each call.

use super::trees::{Due, Lane, Trees};
use crate::ids::{ContentId, Folder, Row, Seq};
use crate::path::{Path, PathBuf};
use crate::record::Record;

/// Rows that must be found again after a restart or reconnect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mark {
    /// A swap was under way ([`Trees::intent`]).
    Intent = 0,
    /// Not known to be on the platter ([`Trees::unsynced`]).
    Unsynced = 1,
    /// A withdrawn record is kept beside it ([`Trees::withdrawn`]).
    Withdrawn = 2,
    /// A conflict copy that must exist ([`Trees::pending`]).
    Pending = 3,
    /// A directory that was made for something live below (R9b), and goes with it.
    Invented = 4,
}

impl Mark {
    /// All marks, by number.
    pub const ALL: [Mark; 5] = [Mark::Intent, Mark::Unsynced, Mark::Withdrawn, Mark::Pending, Mark::Invented];

    /// Whether a row bears it: what the store files it under.
    pub fn is_on(self, t: &Trees) -> bool {
        match self {
            Mark::Intent => t.intent.is_some(),
            Mark::Unsynced => t.unsynced,
            Mark::Withdrawn => t.withdrawn.is_some(),
            Mark::Pending => t.pending.is_some(),
            Mark::Invented => t.synced.as_ref().is_some_and(Record::is_invented),
        }
    }
}

/// Numbers kept in the store, of one folder or (folder 0xffff) of the device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Number {
    /// The store's tag.
    Tag = 0,
    /// The highest counter minted.
    Counter = 1,
    /// Raised at each dial.
    Run = 2,
    /// The epoch that `Seen` counts in.
    Epoch = 3,
    /// Every record up to it is in the store.
    Seen = 4,
    /// Regular files that stand on disk.
    Files = 5,
    /// Their bytes.
    Bytes = 6,
    /// Directories that stand on disk.
    Directories = 7,
    /// Rows whose content is to be fetched.
    ToFetch = 8,
    /// Their bytes.
    ToFetchBytes = 9,
    /// Rows to be announced.
    ToAnnounce = 10,
    /// Conflict copies that stand on disk.
    Conflicts = 11,
    /// Bits: [`PAUSED`], [`HELD`], [`UNCLEAN`].
    State = 12,
    /// R8 is done in the epoch of this value.
    ToldIn = 13,
    /// The boot the store was last open in (hash of the machine's boot id).
    Boot = 14,
    /// 1: the folder's root was linked anew with this store, or wholly scanned by it since. 0: the root was linked
    /// before there was this store, which was lost (R10).
    Known = 15,
    /// Rows that could not be looked at or made.
    Failed = 16,
    /// Removals that wait for judgement.
    Vanished = 17,
    /// Tag that must be taken at the next start.
    NewTag = 18,
    /// Symlinks that stand on disk.
    Links = 19,
    /// Those of [`Number::Vanished`] that are of files and symlinks.
    VanishedContent = 20,
}

/// The folder number of numbers that belong to the device.
pub const DEVICE: Folder = Folder(0xffff);

/// Of [`Number::State`]: paused by the user.
pub const PAUSED: u64 = 1;
/// Of [`Number::State`]: held by the guard.
pub const HELD: u64 = 1 << 1;
/// Of [`Number::State`]: not all was looked at that a power cut left.
pub const UNCLEAN: u64 = 1 << 2;

/// One transaction is always open; [`super::Effect::Commit`] closes it and opens the next. A fault of the store ends the
/// program; the peer machine never sees one.
pub trait Index {
    /// The row of a path.
    fn find(&mut self, folder: Folder, path: Path<'_>) -> Option<Row>;
    /// A new row; the path has none yet. Its trees are empty.
    fn create(&mut self, folder: Folder, path: Path<'_>) -> Row;
    /// The first row after `after` (`None`: from the start) in tree order, with its path.
    fn next(&mut self, folder: Folder, after: Option<Path<'_>>, into: &mut PathBuf) -> Option<Row>;
    /// The row's path. The row exists.
    fn path(&mut self, row: Row, into: &mut PathBuf) -> Folder;
    /// The row's trees; false if there is no such row (then `into` is empty).
    fn load(&mut self, row: Row, into: &mut Trees) -> bool;
    /// Keeps the row's trees and its place in the to-do; files it under its marks, content and seq.
    fn save(&mut self, row: Row, trees: &Trees, due: Option<Due>);
    /// The row's place in the to-do.
    fn due_of(&mut self, row: Row) -> Option<Due>;
    /// Forgets the row and its path.
    fn erase(&mut self, row: Row);
    /// The first of a lane after (key, row), exclusive; `None`: from the start.
    fn due(&mut self, folder: Folder, lane: Lane, after: Option<(u64, Row)>) -> Option<(u64, Row)>;
    /// The first row after `after` that bears the mark, of one folder.
    fn marked(&mut self, folder: Folder, mark: Mark, after: Option<Row>) -> Option<Row>;
    /// A row, after `after`, of any folder, trash included, whose local tree holds that content.
    fn with_content(&mut self, content: &ContentId, after: Option<Row>) -> Option<Row>;
    /// The first row of the folder, by the seq of its remote (or withdrawn) record and then its number, behind `after`, with
    /// that seq. Rows of several epochs may bear one seq.
    fn by_seq(&mut self, folder: Folder, after: (Seq, Row)) -> Option<(Seq, Row)>;
    /// A number; 0 if never set.
    fn number(&mut self, folder: Folder, key: Number) -> u64;
    /// Keeps a number.
    fn set_number(&mut self, folder: Folder, key: Number, to: u64);
}
