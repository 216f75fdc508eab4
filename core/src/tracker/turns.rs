//! Turns at `CaughtUp`: in a young epoch one device at a time is told that it has caught up with a folder, so that the
//! first fills the table and the others add only what it lacked. Safety does not rest on it (R8).

use crate::ids::{FolderSlot, Slot, SlotSet};
use crate::limits::FOLDERS;
use crate::time::{Duration, Instant};

/// A turn ends after so long in which nothing new was taken from the device, and nothing sent to it.
const PATIENCE: Duration = Duration::secs(5);
/// A turn ends after so long, whatever is announced: an old edit again and again must not hold up the others.
const LONGEST: Duration = Duration::secs(60);
/// For each path that the table lacked a turn may last so much longer: a device with a million of them needs no more.
const PACE: Duration = Duration::millis(2);

#[derive(Clone, Copy)]
struct Running {
    slot: Slot,
    /// When something new was last taken from it or sent to it.
    heard: Instant,
    /// When it ends at the latest.
    end: Instant,
}

impl Running {
    fn until(&self) -> Instant {
        (self.heard + PATIENCE).min(self.end)
    }
}

#[derive(Clone, Copy)]
struct Turn {
    /// Who had a turn in this epoch, or has it: they wait for nobody.
    had: SlotSet,
    now: Option<Running>,
}

/// See the module.
pub(super) struct Turns {
    turns: [Turn; FOLDERS],
    /// Folders whose turn is taken, so that the clock is cheap.
    taken: usize,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Turns { turns: [Turn { had: SlotSet(0), now: None }; FOLDERS], taken: 0 }
    }
    /// Whether the device may be told now; takes the turn if it is free.
    pub(super) fn take(&mut self, now: Instant, f: FolderSlot, slot: Slot) -> bool {
        let turn = &mut self.turns[f.0 as usize];
        if turn.had.has(slot) {
            return true;
        }
        if turn.now.is_some() {
            return false;
        }
        turn.had.add(slot);
        turn.now = Some(Running { slot, heard: now, end: now + LONGEST });
        self.taken += 1;
        true
    }
    /// The device was sent something of that folder: its turn goes on.
    pub(super) fn touch(&mut self, now: Instant, f: FolderSlot, slot: Slot) {
        if let Some(running) = &mut self.turns[f.0 as usize].now
            && running.slot == slot
        {
            running.heard = now;
        }
    }
    /// Something new was taken from the device: its turn goes on, and longer if the path was not known.
    pub(super) fn grow(&mut self, now: Instant, f: FolderSlot, slot: Slot, fresh: bool) {
        if let Some(running) = &mut self.turns[f.0 as usize].now
            && running.slot == slot
        {
            running.heard = now;
            if fresh {
                running.end = running.end + PACE;
            }
        }
    }
    /// The device has told all, or left the folder.
    pub(super) fn pass(&mut self, f: FolderSlot, slot: Slot) {
        let turn = &mut self.turns[f.0 as usize];
        if turn.now.is_some_and(|r| r.slot == slot) {
            turn.now = None;
            self.taken -= 1;
        }
    }
    /// The device is gone: its turns end.
    pub(super) fn leave(&mut self, slot: Slot) {
        (0..=255).for_each(|f| self.pass(FolderSlot(f), slot));
    }
    /// The device is as one that was never told: a new store, or another device in its slot.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.leave(slot);
        self.turns.iter_mut().for_each(|t| t.had.remove(slot));
    }
    /// The device is as one that was never told of that folder.
    pub(super) fn forget_in(&mut self, f: FolderSlot, slot: Slot) {
        self.pass(f, slot);
        self.turns[f.0 as usize].had.remove(slot);
    }
    /// Nobody has the folder any more.
    pub(super) fn drop_folder(&mut self, f: FolderSlot) {
        let turn = &mut self.turns[f.0 as usize];
        self.taken -= usize::from(turn.now.is_some());
        *turn = Turn { had: SlotSet(0), now: None };
    }
    /// Ends turns that are over; whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.taken;
        if before > 0 {
            for turn in &mut self.turns {
                if turn.now.is_some_and(|r| r.until() <= now) {
                    turn.now = None;
                    self.taken -= 1;
                }
            }
        }
        self.taken < before
    }
    /// When the next turn ends by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.taken == 0 {
            return None;
        }
        self.turns.iter().filter_map(|t| t.now).map(|r| r.until()).min()
    }
}
