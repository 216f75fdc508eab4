//! Turns at `CaughtUp`: in a young epoch one device at a time is told that it has caught up with a folder, so that the
//! first fills the table and the others add only what it lacked. Safety does not rest on it (R8).

use crate::ids::{FolderSlot, Slot, SlotSet};
use crate::limits::FOLDERS;
use crate::time::{Duration, Instant};

/// A turn ends after so long without an announcement.
const PATIENCE: Duration = Duration::secs(5);

#[derive(Clone, Copy)]
struct Turn {
    /// Who had a turn in this epoch, or has it: they wait for nobody.
    had: SlotSet,
    /// Whose it is, and since when nothing was announced.
    now: Option<(Slot, Instant)>,
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
        turn.now = Some((slot, now));
        self.taken += 1;
        true
    }
    /// The device sent or was sent something of that folder: its turn goes on.
    pub(super) fn touch(&mut self, now: Instant, f: FolderSlot, slot: Slot) {
        if let Some((who, at)) = &mut self.turns[f.0 as usize].now
            && *who == slot
        {
            *at = now;
        }
    }
    /// The device has told all, or left the folder.
    pub(super) fn pass(&mut self, f: FolderSlot, slot: Slot) {
        let turn = &mut self.turns[f.0 as usize];
        if turn.now.is_some_and(|(who, _)| who == slot) {
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
    /// Ends turns that nothing was heard in; whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.taken;
        if before > 0 {
            for turn in &mut self.turns {
                if turn.now.is_some_and(|(_, at)| at + PATIENCE <= now) {
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
        self.turns.iter().filter_map(|t| t.now).map(|(_, at)| at + PATIENCE).min()
    }
}
