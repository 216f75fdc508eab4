//! What the peer machine asks of its driver, and what the driver answers. Effects name rows; paths never travel.

use super::trees::{Cause, Intent, Stat};
use crate::ids::{ContentId, DeviceId, Folder, LinkId, Row, SlotSet, Ticket};
use crate::path::Path;
use crate::record::Kind;

/// Work for the driver. Those with a ticket are answered by `handle_done` exactly once.
///
/// `n` is the row's number: its part file is `.dartsync/tmp/<n>.part`, its swap file `.dartsync/tmp/<n>.swap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Dial the tracker; answered by `handle_open` or `handle_dial_failed`.
    Dial,
    /// Close a link.
    Hang(LinkId),
    /// Watch a folder's root, recursively, before its first scan. [`Outcome::Done`] or [`Outcome::Failed`].
    Watch {
        /// Names the answer.
        ticket: Ticket,
        /// What to watch.
        folder: Folder,
    },
    /// List everything below a directory (`None`: the root), in tree order, special files and `.dartsync` left out, by
    /// `handle_entries` in batches of at most 1,024; then [`Outcome::Done`], or [`Outcome::Failed`] with what kept it.
    /// A subdirectory that cannot be read is told by `handle_blind`; rows below it are then no removals.
    Scan {
        /// Names the answer.
        ticket: Ticket,
        /// Where.
        folder: Folder,
        /// Below which directory.
        dir: Option<Row>,
    },
    /// Stat the path; unless it equals `known`, hash what is there to its end, with a stat before and after. A manifest
    /// of more than one chunk is put in the store's open transaction before the answer. Where a program has the file open for
    /// writing, the stat is [`Stat::of_writer`]. A file that is `moved`, not [`Stat::is_fresh`], has one name and surely no writer, is
    /// not hashed; then all that happened before its stat was taken is told before the answer. [`Outcome::Looked`],
    /// [`Outcome::Failed`] ([`Cause::Changing`] if it changed meanwhile, or that cannot be told).
    Look {
        /// Names the answer.
        ticket: Ticket,
        /// The path.
        row: Row,
        /// The stat that need not be hashed again.
        known: Option<Stat>,
        /// The stat and content that the file had under its former name ([`Stat::is_moved_to`], R17).
        moved: Option<(Stat, ContentId)>,
        /// Large: may wait for others.
        bulk: bool,
    },
    /// Bring content into the part file from other devices. [`Outcome::Ready`] once it is complete and verified (its
    /// manifest in the open transaction), or [`Outcome::Failed`]. What the part file holds already is verified and kept.
    Fetch {
        /// Names the answer.
        ticket: Ticket,
        /// Whose part file.
        row: Row,
        /// File or symlink.
        kind: Kind,
        /// The content.
        content: ContentId,
        /// Its bytes.
        size: u64,
        /// Devices that may have it.
        from: SlotSet,
        /// Devices that seek it, too, and may have some of it.
        seekers: SlotSet,
    },
    /// More, or other, sources for a fetch that is under way.
    Sources {
        /// The fetch.
        ticket: Ticket,
        /// Devices that have all of it.
        holders: SlotSet,
        /// Devices that have some of it.
        seekers: SlotSet,
    },
    /// Bring content into the part file from `from`, a row of this device: reflink or copy, verified. With `take`, by
    /// moving that file itself (its stat must still be `known`): the rename of a file whose removal is due here.
    /// [`Outcome::Ready`], [`Outcome::Taken`] if the file itself was moved, or [`Outcome::Failed`].
    Make {
        /// Names the answer.
        ticket: Ticket,
        /// Whose part file.
        row: Row,
        /// File or symlink.
        kind: Kind,
        /// The content.
        content: ContentId,
        /// Its bytes.
        size: u64,
        /// Where it is.
        from: Row,
        /// The source's stat, when it is to be moved.
        take: Option<Stat>,
    },
    /// Make the swap file from the part file: a file with mode, mtime, durable; a symlink of its text; a directory.
    /// A swap file that is there already is not known to anyone: to the trash first. What could not be made durable is not in
    /// the part file any more. [`Outcome::Done`] or [`Outcome::Failed`].
    Prepare {
        /// Names the answer.
        ticket: Ticket,
        /// Whose.
        row: Row,
        /// What to make.
        kind: Kind,
        /// Its permission bits.
        mode: u16,
        /// Its mtime, ns.
        mtime: i64,
        /// Large: making it durable may take long, and wait for others.
        bulk: bool,
    },
    /// Put the swap file at the path: EXCHANGE over something, NOREPLACE over nothing. Before: what stands there must
    /// have the stat `expect` (none: nothing), else [`Cause::Raced`]; no other program may write to it (lease), else
    /// [`Cause::OpenWriter`]; if `copy`, the losing inode gets that row's path as a second name. After: the displaced
    /// is compared with `expect` and, if it is what was expected, moved to the trash (a directory: removed; one that
    /// is not empty is swapped back, [`Cause::NotEmpty`]). [`Outcome::Swapped`] or [`Outcome::Failed`].
    Swap {
        /// Names the answer.
        ticket: Ticket,
        /// The path.
        row: Row,
        /// What must stand there.
        expect: Option<Stat>,
        /// As it stands in the store.
        intent: Intent,
    },
    /// Give what the last swap of `of` displaced, and still lies in its swap file, the path of `row` (NOREPLACE).
    /// [`Outcome::Swapped`] or [`Outcome::Failed`].
    Keep {
        /// Names the answer.
        ticket: Ticket,
        /// The copy.
        row: Row,
        /// Whose swap file.
        of: Row,
    },
    /// Set mode and mtime in place; what stands there must have the stat `expect`. [`Outcome::Swapped`] or
    /// [`Outcome::Failed`].
    Meta {
        /// Names the answer.
        ticket: Ticket,
        /// The path.
        row: Row,
        /// What must stand there.
        expect: Stat,
        /// Permission bits.
        mode: u16,
        /// mtime, ns; files alone.
        mtime: i64,
    },
    /// Move what stands at the path to the trash (a directory: remove it if it is empty, else [`Cause::NotEmpty`]). It
    /// must have the stat `expect`, no writer. [`Outcome::Removed`] or [`Outcome::Failed`].
    Remove {
        /// Names the answer.
        ticket: Ticket,
        /// The path.
        row: Row,
        /// What must stand there.
        expect: Stat,
    },
    /// After a crash: hash what stands at the path, and what lies in the swap file; is there a part, or a file that was
    /// taken as one? [`Outcome::Recovered`].
    Recover {
        /// Names the answer.
        ticket: Ticket,
        /// The row, which bears an intent.
        row: Row,
    },
    /// Do away with the row's swap file, if there is one, and with a file that was taken for it ([`Effect::Make`]) and is
    /// not one yet. [`Outcome::Done`] or [`Outcome::Failed`].
    Discard {
        /// Names the answer.
        ticket: Ticket,
        /// Whose.
        row: Row,
        /// It was made by [`Effect::Prepare`] and never swapped in: a file becomes the part file again, unless it was
        /// taken, for then it is a user's; a directory or link is deleted. Else it was displaced from the path. What is a
        /// user's goes to the trash, and so does what this run of the program did not make. Unused, it leaves a part file
        /// behind, be it an empty one, unless it was a directory: a recovery sees by it that nothing was swapped in.
        unused: bool,
    },
    /// List the rows that have a part file, a taken or a swap file, by `handle_parts`, then [`Outcome::Done`]; or
    /// [`Outcome::Failed`].
    Parts {
        /// Names the answer.
        ticket: Ticket,
        /// Where.
        folder: Folder,
    },
    /// Nothing waits any more for what lies in tmp for a row, which may be forgotten by now: delete its part file; anything
    /// else may be a user's, and goes to the trash. [`Outcome::Done`] or [`Outcome::Failed`].
    Clear {
        /// Names the answer.
        ticket: Ticket,
        /// Where.
        folder: Folder,
        /// Whose.
        row: Row,
    },
    /// Make every install and removal of the folder that was answered before this durable (directories).
    /// [`Outcome::Done`] or [`Outcome::Failed`].
    Sync {
        /// Names the answer.
        ticket: Ticket,
        /// Where.
        folder: Folder,
    },
    /// Make what others wrote in the folder durable, contents and names (R13). [`Outcome::Done`] or [`Outcome::Failed`]:
    /// [`Cause::RootGone`] where there is no root, and nothing was asked of its disk.
    Flush {
        /// Names the answer.
        ticket: Ticket,
        /// Where.
        folder: Folder,
    },
    /// Make the store's open transaction durable and open the next. [`Outcome::Done`].
    Commit {
        /// Names the answer.
        ticket: Ticket,
    },
    /// Give up a fetch or a look: its outcome comes all the same ([`Outcome::Failed`]).
    Cancel(Ticket),
    /// Ask a device, on a data link or through the tracker, to be reachable (nothing is answered).
    Reach(DeviceId),
    /// For logs and waiting commands.
    Tell(Tell),
}

/// What became of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It could not be done; nothing changed.
    Failed(Cause),
    /// [`Effect::Look`]: the stat, and for files and symlinks the content, `None` when the stat was the known one.
    Looked {
        /// What stands there ([`Kind::Removed`]: nothing).
        stat: Stat,
        /// Its content.
        content: Option<ContentId>,
        /// Wall time (µs) at which the first stat was read.
        at: u64,
    },
    /// The part file is complete and verified.
    Ready,
    /// The same, for the file of a [`Effect::Make`] was moved: what stands at its path now was put there since.
    Taken,
    /// It stands at the path; the stat read back after.
    Swapped {
        /// See the variant.
        stat: Stat,
        /// Wall time (µs) of the reading.
        at: u64,
        /// Stat and time of the copy, if one was asked for.
        copy: Option<(Stat, u64)>,
        /// The displaced was not what was expected: it lies in the swap file; its kind and content.
        odd: Option<(Kind, ContentId, Stat)>,
    },
    /// It is gone from the path.
    Removed,
    /// What a crash left.
    Recovered {
        /// At the path: stat and content (none: nothing).
        disk: Option<(Stat, ContentId)>,
        /// In the swap file: stat and content (none: there is none).
        swap: Option<(Stat, ContentId)>,
        /// A part file is there, or a taken one: what it holds never was in a swap file.
        part: bool,
        /// Wall time (µs).
        at: u64,
    },
}

/// News for logs, status and waiting commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// The tracker link stands.
    Connected,
    /// It does not.
    Disconnected,
    /// The roster changed: the driver stores `roster()`'s sealed bytes.
    Roster,
    /// This device's key was revoked.
    Revoked,
    /// A folder's first scan is done: it is watched and known.
    Ready(Folder),
    /// A folder's state changed (paused, held, root gone …).
    State(Folder),
    /// A row could not be handled, and why.
    Trouble(Row, Cause),
    /// A conflict was resolved: the row of the copy.
    Conflict(Row),
    /// The reply to a request is ready: `take_reply`.
    Reply(u32),
    /// The tracker takes this store for another's: it runs twice (R4).
    Twice,
}

/// Why the driver thinks a path changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// Closed after writing, moved here, made, or metadata changed: look at once.
    Settled,
    /// Written to, not closed yet: look when quiet.
    Written,
    /// Removed or moved away: look in 300 ms (an editor's save puts it back).
    Gone,
    /// Something below may have changed unseen: a directory that came, was moved, or is watched from now on, be it empty.
    Subtree,
}

/// One entry of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanEntry<'a> {
    /// Below the folder's root.
    pub path: Path<'a>,
    /// Its stat.
    pub stat: Stat,
}
