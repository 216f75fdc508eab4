//! Every change of the roster, and what follows from it for the table and the links.

use super::config::Past;
use super::recovery::Change;
use super::session::{FolderSet, State};
use super::witness::Brought;
use super::{Peer, Tracker, draw_epoch};
use crate::ids::{DeviceId, FolderSlot, PublicKey, Slot, SlotSet};
use crate::roster::{self, Roster};

impl Tracker<'_> {
    /// The start: from what storage says.
    pub(super) fn begin(&mut self, past: Past<'_>) {
        match past {
            Past::New => {
                self.commit(DeviceId(0));
                self.recovery.fresh();
            }
            Past::Sealed(bytes) => {
                let sound =
                    roster::verify(&self.roster_key, bytes).then(|| Roster::decode(bytes).ok()).flatten();
                match sound {
                    Some(r) => {
                        self.sealed.extend_from_slice(bytes).expect("a sound roster fits");
                        self.sealed_version = r.version();
                        self.roster = r;
                        self.recovery.stored(self.sealed_version);
                    }
                    None => self
                        .note(format_args!("the stored roster is damaged: waiting for devices that have it")),
                }
            }
            Past::Lost => {}
        }
        if !self.sealed.is_empty() && self.roster.is_unused() && self.founder.is_none() {
            self.invites.found(&mut self.rng);
        }
        self.mirror_members();
    }

    /// Seals the roster under a new version and sees that it is stored and told. Waits for the quorum (R20).
    pub(super) fn commit(&mut self, author: DeviceId) {
        self.roster.next_version(self.nonce, author);
        self.roster.seal(&self.roster_key, &mut self.sealed);
        self.sealed_version = self.roster.version();
        self.save_due = true;
        self.recovery.saved();
        self.recovery.sealed();
        let version = self.sealed_version;
        self.sessions
            .iter_mut()
            .filter(|s| s.slot().is_some())
            .for_each(|s| s.owed.roster = Some((version, 0)));
    }

    /// A device was taken in by one that is already here (the zero key: by the founding invite, or as the founder).
    pub(super) fn enrolled(&mut self, slot: Slot, by: PublicKey) {
        let d = self.roster.device(slot).expect("an active device").clone();
        if self.recovery.is_unfounded() {
            self.recovery.founded();
        }
        self.recovery.joined(slot);
        self.recovery.log(Change::Enrol { by, key: d.key, name: d.name.clone(), tag: d.tag });
        self.commit(d.id);
        self.say(format_args!("{} joined the home", d.name));
        self.mark_presence(SlotSet::one(slot));
    }
    /// A device has a new store. Kept in memory alone until the roster may be written.
    pub(super) fn retagged(&mut self, slot: Slot) {
        let d = self.roster.device(slot).expect("an active device");
        let (id, key, tag) = (d.id, d.key, d.tag);
        self.peers[slot.0 as usize].announced = false;
        self.recovery.log(Change::Retag { key, tag });
        if self.recovery.may_change(&self.roster) {
            self.commit(id);
        } else {
            self.recovery.postpone();
        }
    }
    /// A device links or unlinks a folder; nothing is committed.
    pub(super) fn set_member(&mut self, f: FolderSlot, slot: Slot, member: bool) -> bool {
        if member && self.files.is_leaving(f, slot) {
            self.files.finish_sweep();
        }
        if !self.roster.set_member(f, slot, member) {
            return false;
        }
        if member {
            self.files.enter(f, slot);
        } else {
            self.files.exit(f, slot);
            self.turns.forget_in(f, slot);
            self.book.forget_in(f, slot);
            if let Some(i) = self.peers[slot.0 as usize].session {
                self.sessions[i].stream.leave(f);
                self.sessions[i].claims.retain(|c| c.folder != f);
            }
        }
        true
    }
    /// A folder leaves the home; nothing is committed.
    pub(super) fn drop_folder(&mut self, f: FolderSlot) {
        self.roster.remove_folder(f);
        self.files.drop_folder(f);
        self.turns.drop_folder(f);
        self.book.drop_folder(f);
        for s in &mut self.sessions {
            s.stream.leave(f);
            s.claims.retain(|c| c.folder != f);
        }
    }
    /// A key is put out for good, and its links with it; nothing is committed. An error, and nothing has
    /// changed, if the list is full.
    pub(super) fn put_out(&mut self, key: &PublicKey, keep_link: Option<usize>) -> Result<(), roster::Full> {
        self.roster.has_room_to_revoke(key)?;
        let slot = self.roster.device_by_key(key).map(|(s, _)| s);
        let folders = self.roster.folders().filter(|(_, f)| slot.is_some_and(|s| f.members.has(s)));
        let mut linked = FolderSet::EMPTY;
        folders.for_each(|(f, _)| linked.add(f));
        for i in (0..self.sessions.len()).filter(|i| keep_link != Some(*i)) {
            if self.sessions[i].key == *key && self.sessions[i].state != State::Free {
                self.end(i);
            }
        }
        self.roster.revoke(key)?;
        let Some(slot) = slot else { return Ok(()) };
        linked.iter().for_each(|f| self.files.exit(f, slot));
        self.files.forget(slot);
        self.turns.forget(slot);
        self.book.forget(slot);
        self.peers[slot.0 as usize] = Peer::NEW;
        Ok(())
    }

    /// The table starts anew under a new epoch; every link ends, so that every device comes back and tells.
    pub(super) fn new_epoch(&mut self) {
        for i in 0..self.sessions.len() {
            self.end(i);
        }
        self.files.clear();
        self.epoch = draw_epoch(&mut self.rng);
        (0..=255).for_each(|f| self.turns.drop_folder(FolderSlot(f)));
        self.book.clear();
        self.forgotten = super::Ring::new();
        self.tidy.clear();
        self.peers.iter_mut().for_each(|p| (p.announced, p.brought) = (false, Brought::NONE));
        self.mirror_members();
    }
    fn mirror_members(&mut self) {
        for (f, folder) in self.roster.folders() {
            folder.members.iter().for_each(|s| self.files.enter(f, s));
        }
    }
}
