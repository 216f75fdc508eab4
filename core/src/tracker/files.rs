//! The file table with what is counted over it: for each device and folder how many current records the device lacks
//! (its lag), and how many live contents nobody has. Every change of an entry or of its holders goes through here, so
//! the counts are exact at any moment. Withdrawn entries are counted nowhere.

use super::session::FolderSet;
use super::table::{Full, Step, Stored, Table};
use crate::ids::{FolderSlot, Seq, Slot, SlotSet};
use crate::limits::{DEVICES, FOLDERS};
use crate::mutant::{self, Mutant};
use crate::path::Path;
use crate::record::{Kind, Record};

/// See the module.
pub(super) struct Files<'m> {
    table: Table<'m>,
    members: [SlotSet; FOLDERS],
    current: [u32; FOLDERS],
    lag: [[u32; FOLDERS]; DEVICES],
    total: [u64; DEVICES],
    /// Devices whose lag changed since it was last asked.
    changed: SlotSet,
    /// Live files and symlinks without any holder.
    bare: usize,
    sweep: Sweep,
}

/// Bits and folders that are on their way out of the table, one pass for all of them.
struct Sweep {
    /// Slots that leave every folder; slots that leave one; folders that go.
    slots: SlotSet,
    leaving: [SlotSet; FOLDERS],
    folders: FolderSet,
    /// The last seq looked at, if there is anything to do.
    at: Option<Seq>,
}

/// Entries looked at in one step of background work.
pub(super) const STEP: usize = 1024;

fn is_bare(kind: Kind, holders: SlotSet) -> bool {
    matches!(kind, Kind::File | Kind::Symlink) && holders.is_empty()
}

impl<'m> Files<'m> {
    pub(super) fn new(memory: &'m mut [u8], seed: u64) -> Self {
        Files {
            table: Table::seeded(memory, seed),
            members: [SlotSet(0); FOLDERS],
            current: [0; FOLDERS],
            lag: [[0; FOLDERS]; DEVICES],
            total: [0; DEVICES],
            changed: SlotSet(0),
            bare: 0,
            sweep: Sweep {
                slots: SlotSet(0),
                leaving: [SlotSet(0); FOLDERS],
                folders: FolderSet::EMPTY,
                at: None,
            },
        }
    }
    /// Forgets everything, members too.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.members = [SlotSet(0); FOLDERS];
        self.current = [0; FOLDERS];
        self.lag.iter_mut().for_each(|l| *l = [0; FOLDERS]);
        self.total = [0; DEVICES];
        self.changed = SlotSet(u64::MAX);
        self.bare = 0;
        self.sweep.slots = SlotSet(0);
        self.sweep.leaving = [SlotSet(0); FOLDERS];
        self.sweep.folders = FolderSet::EMPTY;
        self.sweep.at = None;
    }

    /// The table, to read.
    pub(super) fn table(&self) -> &Table<'m> {
        &self.table
    }
    /// Who is a member of a folder.
    pub(super) fn members(&self, f: FolderSlot) -> SlotSet {
        self.members[f.0 as usize]
    }
    /// Records that the device lacks, over all its folders.
    pub(super) fn lag(&self, slot: Slot) -> u64 {
        self.total[slot.0 as usize]
    }
    /// The devices whose lag changed since the last call.
    pub(super) fn take_changed(&mut self) -> SlotSet {
        core::mem::take(&mut self.changed)
    }
    /// Whether some lag changed.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }
    /// Live contents that nobody has.
    pub(super) fn bare(&self) -> usize {
        self.bare
    }

    /// Puts a record; see [`Table::put`].
    pub(super) fn put(
        &mut self,
        f: FolderSlot,
        path: Path<'_>,
        r: &Record,
        holders: SlotSet,
    ) -> Result<Seq, Full> {
        assert!(!self.sweep.folders.has(f), "a folder on its way out takes nothing");
        if r.flags.withdrawn() {
            return self.table.put(f, path, r, holders);
        }
        let old = self.table.find(f, path).map(|e| (e.kind(), e.holders()));
        let seq = self.table.put(f, path, r, holders)?;
        self.count(f, old, Some((r.kind, holders)));
        Ok(seq)
    }
    /// Sets who holds an entry; whether that changed anything.
    pub(super) fn set_holders(&mut self, seq: Seq, holders: SlotSet) -> bool {
        let Some(e) = self.table.get(seq) else { return false };
        let (f, kind, old, withdrawn) = (e.folder(), e.kind(), e.holders(), e.flags().withdrawn());
        if old == holders {
            return false;
        }
        self.table.set_holders(seq, holders);
        if !withdrawn {
            self.count(f, Some((kind, old)), Some((kind, holders)));
        }
        true
    }
    /// Drops an entry.
    pub(super) fn remove(&mut self, seq: Seq) {
        let Some(e) = self.table.get(seq) else { return };
        let (f, kind, old, withdrawn) = (e.folder(), e.kind(), e.holders(), e.flags().withdrawn());
        self.table.remove(seq);
        if !withdrawn {
            self.count(f, Some((kind, old)), None);
        }
    }
    /// Withdraws a live content that nobody has (R9a); see [`Table::withdraw`]. None if somebody has it by now.
    pub(super) fn withdraw(&mut self, seq: Seq) -> Option<Seq> {
        let e = self.table.get(seq)?;
        let (f, kind, holders) = (e.folder(), e.kind(), e.holders());
        if !holders.is_empty() {
            return None;
        }
        let new = self.table.withdraw(seq)?;
        self.count(f, Some((kind, holders)), None);
        Some(new)
    }

    /// A device links a folder: it lacks all of it.
    pub(super) fn enter(&mut self, f: FolderSlot, slot: Slot) {
        assert!(!self.is_leaving(f, slot), "old bits are swept first");
        self.members[f.0 as usize].add(slot);
        self.set_lag(f, slot, self.current[f.0 as usize]);
    }
    /// A device unlinks a folder: its bits begin to go.
    pub(super) fn exit(&mut self, f: FolderSlot, slot: Slot) {
        self.members[f.0 as usize].remove(slot);
        self.set_lag(f, slot, 0);
        self.sweep.leaving[f.0 as usize].add(slot);
        self.sweep.at = Some(Seq(0));
    }
    /// A device's bits go, in every folder; its memberships stay (a new store) or were ended before (revoked).
    pub(super) fn forget(&mut self, slot: Slot) {
        self.sweep.slots.add(slot);
        self.sweep.at = Some(Seq(0));
    }
    /// A folder leaves the home.
    pub(super) fn drop_folder(&mut self, f: FolderSlot) {
        self.members(f).iter().for_each(|s| self.set_lag(f, s, 0));
        self.members[f.0 as usize] = SlotSet(0);
        self.sweep.folders.add(f);
        self.sweep.at = Some(Seq(0));
    }
    /// Whether bits of a device that left are still about: in that folder, or all.
    pub(super) fn is_leaving(&self, f: FolderSlot, slot: Slot) -> bool {
        self.sweep.slots.has(slot) || self.sweep.leaving[f.0 as usize].has(slot)
    }
    /// Slots whose bits are on their way out of every folder.
    pub(super) fn leaving(&self) -> SlotSet {
        self.sweep.slots
    }
    /// Whether entries of a folder that left are still about.
    pub(super) fn is_dropping(&self, f: FolderSlot) -> bool {
        self.sweep.folders.has(f)
    }
    /// Whether something is on its way out.
    pub(super) fn is_sweeping(&self) -> bool {
        self.sweep.at.is_some()
    }
    /// One step of sweeping.
    pub(super) fn sweep(&mut self) {
        let Some(mut at) = self.sweep.at else { return };
        for _ in 0..STEP {
            match self.table.walk(at, STEP) {
                Step::Entry(e) => {
                    at = e.seq();
                    let (f, mut holders) = (e.folder(), e.holders());
                    if self.sweep.folders.has(f) {
                        self.remove(at);
                        continue;
                    }
                    if mutant::on(Mutant::SlotBits) {
                        continue;
                    }
                    holders.0 &= !(self.sweep.slots.0 | self.sweep.leaving[f.0 as usize].0);
                    self.set_holders(at, holders);
                }
                Step::Later(seq) => {
                    at = seq;
                    break;
                }
                Step::End => {
                    self.sweep.slots = SlotSet(0);
                    self.sweep.leaving = [SlotSet(0); FOLDERS];
                    self.sweep.folders = FolderSet::EMPTY;
                    self.sweep.at = None;
                    return;
                }
            }
        }
        self.sweep.at = Some(at);
    }
    /// Sweeps to the end.
    pub(super) fn finish_sweep(&mut self) {
        while self.is_sweeping() {
            self.sweep();
        }
    }
    /// The next entry after `seq` within one step's budget.
    pub(super) fn walk(&self, seq: Seq) -> Step<'_> {
        self.table.walk(seq, STEP)
    }
    /// The entry of that seq.
    pub(super) fn get(&self, seq: Seq) -> Option<Stored<'_>> {
        self.table.get(seq)
    }

    /// Counts one path's record out and in.
    fn count(&mut self, f: FolderSlot, old: Option<(Kind, SlotSet)>, new: Option<(Kind, SlotSet)>) {
        let members = self.members(f).0;
        let lacking = |e: Option<(Kind, SlotSet)>| e.map_or(0, |(_, h)| members & !h.0);
        let (before, now) = (lacking(old), lacking(new));
        SlotSet(now & !before)
            .iter()
            .for_each(|s| self.set_lag(f, s, self.lag[s.0 as usize][f.0 as usize] + 1));
        SlotSet(before & !now)
            .iter()
            .for_each(|s| self.set_lag(f, s, self.lag[s.0 as usize][f.0 as usize] - 1));
        let current = &mut self.current[f.0 as usize];
        *current = *current + u32::from(new.is_some()) - u32::from(old.is_some());
        let bare = |e: Option<(Kind, SlotSet)>| usize::from(e.is_some_and(|(k, h)| is_bare(k, h)));
        self.bare = self.bare + bare(new) - bare(old);
    }
    fn set_lag(&mut self, f: FolderSlot, slot: Slot, lag: u32) {
        let place = &mut self.lag[slot.0 as usize][f.0 as usize];
        if *place != lag {
            let total = &mut self.total[slot.0 as usize];
            *total = *total + u64::from(lag) - u64::from(*place);
            *place = lag;
            self.changed.add(slot);
        }
    }
}

#[cfg(test)]
impl Files<'_> {
    /// Counts anew what is kept, by looking at every entry.
    pub(super) fn check(&self) {
        let (mut bare, mut lag) = (0, std::vec![[0u32; FOLDERS]; DEVICES]);
        let mut at = Seq(0);
        while let Some(e) = self.table.next_after(at) {
            at = e.seq();
            if e.flags().withdrawn() || self.sweep.folders.has(e.folder()) {
                continue;
            }
            bare += usize::from(is_bare(e.kind(), e.holders()));
            let lacking = SlotSet(self.members(e.folder()).0 & !e.holders().0);
            lacking.iter().for_each(|s| lag[s.0 as usize][e.folder().0 as usize] += 1);
        }
        if !self.is_sweeping() {
            assert_eq!(self.bare, bare);
        }
        assert!(lag.iter().zip(&self.lag).all(|(a, b)| a == b), "lag is exact");
        let totals = lag.iter().map(|l| l.iter().map(|n| u64::from(*n)).sum::<u64>());
        assert!(totals.eq(self.total.iter().copied()));
    }
}
