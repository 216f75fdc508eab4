//! How things leave the trash for good.

use super::beneath::cause;
use super::root::{Root, TRASH, lock};
use super::trash::{Stuck, slot_day, slot_name};
use dartsync_core::peer::{Cause, Stat};
use rustix::fs::{AtFlags, RenameFlags, renameat_with, statat, unlinkat};

/// A day in µs.
const DAY: u64 = 86_400_000_000;
/// The day before which no program of ours ran (2025-01-01): a clock that said less was wrong.
const FIRST_DAY: u64 = 20_089;

/// What is pruned unasked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Items older than this many days go.
    pub days: u64,
    /// Items of this many days or less never go unasked.
    pub young: u64,
    /// The share of the file system, in percent, beyond which the oldest go.
    pub percent: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { days: 30, young: 7, percent: 10 }
    }
}

/// What was deleted.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Purged {
    /// Items that are gone, below `.dartsync/trash`.
    pub gone: Vec<Vec<u8>>,
    /// Bytes they took on the disk.
    pub bytes: u64,
    /// Items that should have gone and were kept: wanted, or still being written to.
    pub kept: usize,
    /// What could not be deleted.
    pub stuck: Stuck,
}

impl Purged {
    /// Both together.
    pub fn add(&mut self, other: Purged) {
        self.gone.extend(other.gone);
        self.bytes += other.bytes;
        self.kept += other.kept;
        self.stuck.count += other.stuck.count;
        self.stuck.first = self.stuck.first.take().or(other.stuck.first);
    }
}

impl Root {
    /// Deletes everything in the trash, because the user asked, but what `keep` says is wanted here (R15; asked with the
    /// item's place below `.dartsync/trash`) and what is still being written to.
    pub fn trash_empty(&self, keep: &dyn Fn(&[u8]) -> bool) -> Result<Purged, Cause> {
        self.verify()?;
        let mut purged = Purged::default();
        for slot in self.slots()? {
            self.purge_slot(&slot, keep, u64::MAX, &mut purged)?;
        }
        Ok(purged)
    }

    /// Deletes what the policy says at wall time `now` (µs): what is too old, then the oldest until the rest is within its
    /// share; never what `keep` says (wanted here, or the last of a live record's content), nor what is still being written to.
    pub fn trash_prune(
        &self,
        now: u64,
        policy: &Policy,
        keep: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Purged, Cause> {
        self.verify()?;
        let today = now / DAY;
        let mut purged = Purged::default();
        let mut slots = self.slots()?;
        self.redate(&mut slots, now)?;
        let age = |slot: &[u8]| today.saturating_sub(slot_day(slot).unwrap_or(today));
        let old = policy.days.max(policy.young);
        for slot in slots.iter().filter(|s| age(s) > old) {
            self.purge_slot(slot, keep, u64::MAX, &mut purged)?;
        }
        let cap = (self.capacity()? / 100).saturating_mul(policy.percent);
        let mut used = self.trash_bytes()?;
        for slot in slots.iter().filter(|s| (policy.young + 1..=old).contains(&age(s))) {
            if used <= cap {
                break;
            }
            let before = purged.bytes;
            self.purge_slot(slot, keep, used - cap, &mut purged)?;
            used = used.saturating_sub(purged.bytes - before);
        }
        Ok(purged)
    }

    /// Bytes that the trash takes on the disk. A file with other names is counted as if it had none.
    pub fn trash_bytes(&self) -> Result<u64, Cause> {
        let mut bytes = 0;
        for slot in self.slots()? {
            let see = &mut |root: &Root, at: &[u8], _| {
                bytes += root.blocks(at)?;
                Ok(false)
            };
            self.walk_slot(&slot, see, &mut Stuck::default())?;
        }
        Ok(bytes)
    }

    /// Items filed while the clock was plainly wrong are dated anew, lest they be old at once when it is set.
    fn redate(&self, slots: &mut Vec<Vec<u8>>, now: u64) -> Result<(), Cause> {
        if now / DAY < FIRST_DAY {
            slots.clear();
            return Ok(());
        }
        let trash = self.own(TRASH)?;
        for (i, slot) in slots.iter_mut().enumerate().filter(|(_, s)| slot_day(s) < Some(FIRST_DAY)) {
            let suffix = if slot.ends_with(b"-long") { "-long" } else { "" };
            let to = format!("{}{suffix}", slot_name(now, 2 + i as u64)).into_bytes();
            renameat_with(&trash, slot.as_slice(), &trash, to.as_slice(), RenameFlags::NOREPLACE)
                .map_err(cause)?;
            *slot = to;
        }
        Ok(())
    }

    /// Deletes items of one slot until `enough` bytes are freed.
    fn purge_slot(
        &self,
        slot: &[u8],
        keep: &dyn Fn(&[u8]) -> bool,
        enough: u64,
        purged: &mut Purged,
    ) -> Result<(), Cause> {
        let goal = purged.bytes.saturating_add(enough);
        let mut stuck = std::mem::take(&mut purged.stuck);
        let see = &mut |root: &Root, at: &[u8], stat: Stat| {
            if purged.bytes >= goal {
                return Ok(false);
            }
            if lock(&root.watch).is_watched(at) || keep(at) {
                purged.kept += 1;
                return Ok(false);
            }
            let bytes = root.blocks(at)?;
            root.delete(at, stat)?;
            purged.bytes += bytes;
            purged.gone.push(at.to_vec());
            Ok(true)
        };
        let walked = self.walk_slot(slot, see, &mut stuck);
        purged.stuck = stuck;
        walked
    }

    fn blocks(&self, at: &[u8]) -> Result<u64, Cause> {
        let (dir, name) = self.trash_place(at)?;
        let s = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(cause)?;
        Ok(s.st_blocks as u64 * 512)
    }

    fn delete(&self, at: &[u8], stat: Stat) -> Result<(), Cause> {
        let (dir, name) = self.trash_place(at)?;
        debug_assert!(stat.kind != dartsync_core::record::Kind::Directory);
        unlinkat(&dir, name, AtFlags::empty()).map_err(cause)
    }
}
