//! How things leave the trash for good.

use super::beneath::cause;
use super::root::{Root, lock};
use super::trash::Stuck;
use dartsync_core::peer::{Cause, Stat};
use rustix::fs::{AtFlags, statat, unlinkat};
use std::cmp::Reverse;

/// Days that a directory of the trash may be older than what is in it: it takes items for a day, and a clock that leaps ahead
/// is believed for another.
const MARGIN: u64 = 1;

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

    /// Deletes what the policy says: what is too old, then the oldest until the rest is within its share; never what `keep`
    /// says (wanted here, or the last of a live record's content), nor what is still being written to. The wall clock says
    /// `wall` (µs), and the program has run for `ran` µs since this was called last, or since its start.
    pub fn trash_prune(
        &self,
        (wall, ran): (u64, u64),
        policy: &Policy,
        keep: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Purged, Cause> {
        self.verify()?;
        let mut purged = Purged::default();
        let mut slots = self.slots()?;
        let ages = self.ages(&slots, wall, ran);
        slots.sort_by_key(|slot| Reverse(ages.of(slot)));
        let old = policy.days.max(policy.young) + MARGIN;
        for slot in slots.iter().filter(|s| ages.of(s) > old) {
            self.purge_slot(slot, keep, u64::MAX, &mut purged)?;
        }
        let cap = (self.capacity()? / 100).saturating_mul(policy.percent);
        let mut used = self.trash_bytes()?;
        for slot in slots.iter().filter(|s| (policy.young + MARGIN + 1..=old).contains(&ages.of(s))) {
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
