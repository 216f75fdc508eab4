//! What devices ask of the home: invites, folders, who leaves.

use super::Tracker;
use super::recovery::Change;
use super::session::{Reply, State};
use crate::ids::{FolderId, FolderSlot, PublicKey, Slot};
use crate::limits;
use crate::roster::{Full, Label};
use crate::sans_io::Reject;
use crate::time::Now;
use crate::wire::message::Request;

impl Tracker<'_> {
    pub(super) fn request(
        &mut self,
        now: Now,
        i: usize,
        slot: Slot,
        n: u32,
        request: Request<'_>,
    ) -> Result<(), Reject> {
        if self.sessions[i].replies.is_full() {
            return Err(Reject::new("more requests than are answered"));
        }
        let reply = match request {
            Request::Force(words) => self.forced(self.sessions[i].key, words),
            _ if !self.recovery.may_change(&self.roster) => {
                let (have, of) = self.recovery.count(&self.roster);
                Reply::Waiting { have, of }
            }
            Request::Invite => self.invite(now, i),
            Request::Revoke(key) => self.revoke(now, i, slot, &key),
            Request::Link { label, make } => self.link(slot, label, make),
            Request::LinkFirst(label) => self.link_first(slot, label),
            Request::Unlink(id) => self.unlink(now, slot, id),
            Request::Forget(id) => self.forget(now, slot, id),
            Request::Leave => self.leave(now, i, slot),
        };
        self.sessions[i].replies.push((n, reply)).expect("room was seen");
        self.lag_changed(now.at);
        Ok(())
    }

    /// The recovery words from a link that is no device's: it may found the home anew.
    pub(super) fn force(&mut self, i: usize, n: u32, words: &str) -> Result<(), Reject> {
        let reply = self.forced(self.sessions[i].key, words);
        self.sessions[i].replies.push((n, reply)).expect("the first reply");
        self.sessions[i].state = State::Closing;
        Ok(())
    }
    fn forced(&mut self, key: PublicKey, words: &str) -> Reply {
        if self.override_quorum(key, words) {
            Reply::Done(self.sealed_version)
        } else {
            Reply::Refused("these are not the tracker's recovery words")
        }
    }

    /// A fresh invite, if there is room for who comes by it.
    fn invite(&mut self, now: Now, i: usize) -> Reply {
        if let Err(full) = self.roster.free_slot(self.files.leaving()) {
            return Reply::Refused(full.0);
        }
        match self.invites.issue(now.at, self.sessions[i].key, &mut self.rng) {
            Some((id, secret)) => Reply::Invite(id, secret),
            None => Reply::Refused("16 invites are outstanding; each is good for an hour"),
        }
    }

    fn revoke(&mut self, now: Now, i: usize, slot: Slot, key: &PublicKey) -> Reply {
        if self.roster.is_revoked(key) {
            return Reply::Done(self.sealed_version);
        }
        let Some((target, device)) = self.roster.device_by_key(key) else {
            return Reply::Refused("no such device is in the home");
        };
        if target == slot {
            return self.leave(now, i, slot);
        }
        let (name, id) = (device.name.clone(), self.id(slot));
        if let Err(why) = self.may_put_out(now, target, slot) {
            return Reply::Refused(why);
        }
        if let Err(full) = self.put_out(key, None) {
            return Reply::Refused(full.0);
        }
        self.commit(id);
        self.tidy.wake(now.at);
        let by = self.roster.name_of(id).and_then(|n| Label::try_from(n).ok()).unwrap_or_default();
        self.say(format_args!("{name} was revoked by {by}"));
        Reply::Done(self.sealed_version)
    }

    fn may_put_out(&mut self, now: Now, target: Slot, by: Slot) -> Result<(), &'static str> {
        let joined = |slot: Slot| self.peers[slot.0 as usize].joined;
        let left = limits::REVOKED - self.roster.revoked().len();
        self.churn.admit(now.at, left, joined(target), (by, joined(by)))
    }

    fn leave(&mut self, now: Now, i: usize, slot: Slot) -> Reply {
        let (key, id) = (self.sessions[i].key, self.id(slot));
        if let Err(why) = self.may_put_out(now, slot, slot) {
            return Reply::Refused(why);
        }
        if let Err(full) = self.put_out(&key, Some(i)) {
            return Reply::Refused(full.0);
        }
        self.sessions[i].state = State::Closing;
        self.sessions[i].opened = now.at;
        self.commit(id);
        self.tidy.wake(now.at);
        let name = self.roster.name_of(id).and_then(|n| Label::try_from(n).ok()).unwrap_or_default();
        self.say(format_args!("{name} left the home"));
        Reply::Done(self.sealed_version)
    }

    fn link(&mut self, slot: Slot, label: &str, make: bool) -> Reply {
        if label.is_empty() || label.len() > limits::LABEL || label.chars().any(char::is_control) {
            return Reply::Refused("a label is 1 to 64 bytes of text");
        }
        match self.roster.folder_by_label(label).map(|(f, _)| f) {
            Some(f) => self.join_folder(slot, f, false),
            None if make => match self.make_folder(label) {
                Ok(f) => self.join_folder(slot, f, true),
                Err(full) => Reply::Refused(full.0),
            },
            None => Reply::Refused("no folder of that label"),
        }
    }
    fn link_first(&mut self, slot: Slot, label: &str) -> Reply {
        let first = self.roster.folders().next().map(|(f, _)| f);
        match first {
            Some(f) => self.join_folder(slot, f, false),
            None => self.link(slot, label, true),
        }
    }
    fn make_folder(&mut self, label: &str) -> Result<FolderSlot, Full> {
        let id = core::iter::repeat_with(|| FolderId(self.rng.next_u64()))
            .find(|id| id.0 != 0 && self.roster.folder_by_id(*id).is_none())
            .expect("most numbers are free");
        self.roster.add_folder(id, label, |f| !self.files.is_dropping(f))
    }
    fn join_folder(&mut self, slot: Slot, f: FolderSlot, made: bool) -> Reply {
        if self.set_member(f, slot, true) {
            self.remember_member(slot, f, true);
            let id = self.id(slot);
            self.commit(id);
        }
        let id = self.roster.folder(f).expect("a folder that was found").id;
        Reply::Folder { id, slot: f, made, roster: self.sealed_version }
    }
    fn remember_member(&mut self, slot: Slot, f: FolderSlot, member: bool) {
        let (Some(device), Some(folder)) = (self.roster.device(slot), self.roster.folder(f)) else { return };
        let (key, id, label) = (device.key, folder.id, folder.label.clone());
        self.recovery.log(Change::Member { key, id, label, member });
    }

    fn unlink(&mut self, now: Now, slot: Slot, id: FolderId) -> Reply {
        if let Some((f, _)) = self.roster.folder_by_id(id)
            && self.set_member(f, slot, false)
        {
            self.remember_member(slot, f, false);
            let id = self.id(slot);
            self.commit(id);
            self.tidy.wake(now.at);
        }
        Reply::Done(self.sealed_version)
    }
    fn forget(&mut self, now: Now, slot: Slot, id: FolderId) -> Reply {
        if let Some(f) = self.roster.folder_by_id(id).map(|(f, _)| f) {
            let by = self.roster.device(slot).expect("an active device").key;
            self.recovery.log(Change::Forget { by, id });
            self.drop_folder(f);
            let id = self.id(slot);
            self.commit(id);
            self.tidy.wake(now.at);
        }
        Reply::Done(self.sealed_version)
    }
    fn id(&self, slot: Slot) -> crate::ids::DeviceId {
        self.roster.device(slot).expect("an active device").id
    }
}
