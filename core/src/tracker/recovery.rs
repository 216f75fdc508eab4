//! R20 and R21: which sealed roster the home stands on, and when it may be changed.
//!
//! The *base* is the sealed roster that was stored, or the newest one handed in by a key that it names. A tracker that
//! came up without one makes no change until over half of the base's devices have shown theirs. Changes made in this
//! boot are remembered, so that they can be made again on a newer base.

use super::session::State;
use super::{Peer, Tracker};
use crate::ids::{DeviceId, FolderId, PublicKey, Slot, SlotSet, Tag};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::roster::{self, Label, Name, Roster};
use crate::sans_io::Reject;
use crate::time::{Duration, Instant, Now};
use crate::wire::message::{RosterPart, RosterVersion};
use heapless::Vec;

/// A roster must be handed in within so long; others wait.
const HANDING: Duration = Duration::secs(5);
/// Changes that are remembered; the oldest are given up first.
const CHANGES: usize = 64;

/// A change of this boot, by keys and ids: slots may differ on another base. Revocations are not among them: they are
/// united whatever the base.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Enrol { by: PublicKey, key: PublicKey, name: Name, tag: Tag },
    Retag { key: PublicKey, tag: Tag },
    Member { key: PublicKey, id: FolderId, label: Label, member: bool },
    Forget { by: PublicKey, id: FolderId },
}

/// See the module.
pub(super) struct Recovery {
    base: RosterVersion,
    /// Whether this boot began without its roster, or with one that proved old.
    lost: bool,
    /// Whether nothing is stored: not when it began, and not since.
    bare: bool,
    quorum: bool,
    forced: bool,
    founded: bool,
    /// Whether the roster has changes that are not sealed yet.
    dirty: bool,
    presented: SlotSet,
    /// Devices that were asked already; they come in whatever they brought.
    asked: SlotSet,
    changes: Vec<Change, CHANGES>,
    /// Whose parts the one buffer holds, and until when.
    hand: Option<(usize, Instant)>,
}

impl Recovery {
    pub(super) const fn new() -> Self {
        Recovery {
            base: RosterVersion { version: 0, nonce: 0 },
            lost: true,
            bare: true,
            quorum: true,
            forced: false,
            founded: false,
            dirty: false,
            presented: SlotSet(0),
            asked: SlotSet(0),
            changes: Vec::new(),
            hand: None,
        }
    }
    /// The roster was stored.
    pub(super) fn stored(&mut self, base: RosterVersion) {
        (self.base, self.lost, self.bare, self.quorum) = (base, false, false, false);
    }
    /// Something of this boot is stored from now on: what goes before it later must be, too.
    pub(super) fn saved(&mut self) {
        self.bare = false;
    }
    /// The identity is new: nobody can have a roster of it.
    pub(super) fn fresh(&mut self) {
        (self.lost, self.quorum, self.founded) = (false, false, true);
    }
    /// The founder began a roster; a sealed one that turns up later goes before it (R21).
    pub(super) fn founded(&mut self) {
        (self.quorum, self.founded) = (false, true);
    }
    /// Whether there is neither a base nor a roster founded in this boot.
    pub(super) fn is_unfounded(&self) -> bool {
        self.lost && self.base.version == 0 && !self.founded
    }
    /// Whether strangers may come and hand a roster in.
    pub(super) fn is_open(&self) -> bool {
        self.lost
    }
    /// Whether the roster may be changed now.
    pub(super) fn may_change(&self, roster: &Roster) -> bool {
        if self.is_unfounded() {
            return false;
        }
        if mutant::on(Mutant::R20Quorum) {
            return true;
        }
        let (have, of) = self.count(roster);
        !self.quorum || self.forced || have * 2 > of
    }
    /// Devices that presented their roster, of all.
    pub(super) fn count(&self, roster: &Roster) -> (u8, u8) {
        let active = roster.active();
        (SlotSet(active.0 & self.presented.0).len() as u8, active.len() as u8)
    }
    /// Whether a link that says it has the roster `theirs` must hand it in before anything else is read of it.
    pub(super) fn asks(&self, sealed: RosterVersion, slot: Option<Slot>, theirs: RosterVersion) -> bool {
        // One that this boot wrote has the nonce of what is sealed, or comes before the base that replaced it.
        if theirs.version == 0 || theirs == sealed || theirs == self.base {
            return false;
        }
        let ours = theirs.nonce == sealed.nonce && theirs < sealed;
        match slot {
            None => self.lost,
            Some(slot) => !self.asked.has(slot) && (self.lost || (theirs > self.base && !ours)),
        }
    }
    /// A device was taken in by a roster that may be changed: it has no other, so it does not call this one in doubt.
    pub(super) fn joined(&mut self, slot: Slot) {
        self.presented.add(slot);
    }
    pub(super) fn log(&mut self, change: Change) {
        if self.changes.is_full() {
            self.changes.remove(0);
        }
        self.changes.push(change).expect("room was made");
    }
    /// Gives the buffer free if that session has it.
    pub(super) fn release(&mut self, session: usize) {
        self.hand = self.hand.filter(|(s, _)| *s != session);
    }
    /// Takes the buffer for a session; whether it has it now, and whether it is newly taken.
    pub(super) fn grasp(&mut self, now: Instant, session: usize) -> (bool, bool) {
        match self.hand {
            Some((s, _)) if s == session => (true, false),
            Some(_) => (false, false),
            None => {
                self.hand = Some((session, now + HANDING));
                (true, true)
            }
        }
    }
    pub(super) fn expire(&mut self, now: Instant) {
        self.hand = self.hand.filter(|(_, until)| *until > now);
    }
    pub(super) fn next(&self) -> Option<Instant> {
        self.hand.map(|(_, until)| until)
    }
    /// The recovery words were said.
    pub(super) fn force(&mut self) {
        self.forced = true;
    }
    /// The roster changed but may not be sealed yet.
    pub(super) fn postpone(&mut self) {
        self.dirty = true;
    }
    /// The roster was sealed: from now on this one stands, whoever of those that vouched for it is put out.
    pub(super) fn sealed(&mut self) {
        (self.dirty, self.quorum) = (false, false);
    }
}

impl Tracker<'_> {
    /// A part of a roster that a link hands in.
    pub(super) fn handed_in(&mut self, now: Now, i: usize, part: &RosterPart<'_>) -> Result<(), Reject> {
        let (mine, new) = self.recovery.grasp(now.at, i);
        if !mine {
            // Another link has the buffer: this one is asked again when it is free.
            self.sessions[i].owed.want_roster = true;
            return Ok(());
        }
        if new {
            self.assembler.clear();
        }
        if self.assembler.bytes().is_empty() && part.offset != 0 {
            return Ok(()); // The rest of one that was not taken.
        }
        let whole = self.assembler.take(part);
        if whole != Ok(false) {
            self.recovery.release(i);
        }
        if !whole? {
            return Ok(());
        }
        let key = self.sessions[i].key;
        if let Some((slot, _)) = self.roster.device_by_key(&key) {
            self.recovery.asked.add(slot);
        }
        let bytes = self.assembler.bytes();
        if !roster::verify(&self.roster_key, bytes) {
            return Err(Reject::new("a roster that this tracker did not seal"));
        }
        let handed = Roster::decode(bytes).map_err(|_| Reject::new("a sealed roster that cannot be read"))?;
        let over = handed.version() > self.recovery.base || mutant::on(Mutant::R20Order);
        let kept = mutant::on(Mutant::R21Founded) && self.recovery.founded;
        let newer = over && !kept && handed.version().nonce != self.nonce;
        if newer && handed.is_active(&key) {
            self.adopt(handed, &key);
        } else {
            self.unite(&handed, &key);
        }
        if let Some((slot, _)) = self.roster.device_by_key(&key) {
            self.presented(slot);
        }
        // What it said behind its Hello was not read: it comes anew.
        if self.sessions[i].state == State::Presenting {
            self.end(i);
        }
        Ok(())
    }

    /// A device showed its roster.
    pub(super) fn presented(&mut self, slot: Slot) {
        let before = self.recovery.may_change(&self.roster);
        self.recovery.presented.add(slot);
        if !before {
            self.settle();
        }
    }
    /// If the roster may be written now, it is.
    fn settle(&mut self) {
        if !self.recovery.may_change(&self.roster) {
            return;
        }
        if self.recovery.dirty {
            self.commit(DeviceId(0));
        } else if !self.sealed.is_empty() && (!self.recovery.bare || self.recovery.forced) {
            // What a tracker without one was given is not stored as it is: whoever joined later than that may be the last to
            // come back, and at the next start a stored roster would have no ear for him.
            self.save_due = true;
            self.recovery.saved();
        }
        self.recovery.sealed();
        self.note(format_args!("the roster is whole again: changes are possible"));
    }
    /// The words that override the wait for devices; where there is nothing to wait for, they make their bearer the
    /// founder. False if they are wrong.
    pub(super) fn override_quorum(&mut self, key: PublicKey, words: &str) -> bool {
        let digest = blake3::Hash::from(super::recovery_digest(words));
        if self.recovery_words.is_none_or(|w| digest != w) {
            return false;
        }
        if self.recovery.is_unfounded() {
            self.founder = Some(key);
            return true;
        }
        let before = self.recovery.may_change(&self.roster);
        self.recovery.force();
        if !before || self.recovery.bare {
            self.settle();
        }
        true
    }

    /// Takes the revocations of a roster that is not newer than the base.
    fn unite(&mut self, handed: &Roster, from: &PublicKey) {
        let mut changed = false;
        let mut betrayed = false;
        for key in handed.revoked() {
            if self.roster.is_revoked(key) || mutant::on(Mutant::R20Unite) {
                continue;
            }
            let slot = self.roster.device_by_key(key).map(|(s, _)| s);
            betrayed |= slot.is_some_and(|s| self.peers[s.0 as usize].announced);
            let name = slot.and_then(|s| self.roster.device(s)).map(|d| d.name.clone());
            changed |= self.put_out(key, None).is_ok();
            if let Some(name) = name {
                self.say(format_args!("{name} was revoked before this tracker came up"));
            }
        }
        if !changed {
            return;
        }
        let author = self.roster.device_by_key(from).map_or(DeviceId(0), |(_, d)| d.id);
        if self.recovery.may_change(&self.roster) {
            self.commit(author);
        } else {
            self.recovery.postpone();
        }
        if betrayed {
            self.note(format_args!("a revoked device had announced: the table starts anew"));
            self.new_epoch();
        }
    }

    /// The handed roster is the base from now on. Slots may mean others than before, so the table starts anew.
    fn adopt(&mut self, handed: Roster, from: &PublicKey) {
        (0..self.sessions.len()).for_each(|j| self.end(j));
        let bytes = self.assembler.bytes();
        self.sealed.clear();
        self.sealed.extend_from_slice(bytes).expect("a decoded roster fits");
        self.sealed_version = handed.version();
        let old = core::mem::replace(&mut self.roster, handed);
        let changes = core::mem::take(&mut self.recovery.changes);
        let mut changed = redo(&mut self.roster, &changes);
        self.recovery.changes = changes;
        for key in old.revoked() {
            changed |= !self.roster.is_revoked(key) && self.roster.revoke(key).is_ok();
        }
        // Who has a later one of this boot takes no older one.
        changed |= old.version() > self.sealed_version;
        self.roster.outrun(old.version());
        let r = &mut self.recovery;
        (r.base, r.lost, r.quorum, r.founded) = (self.sealed_version, true, true, false);
        // The words were said of another one: this may name devices that whoever said them knew nothing of.
        r.forced = false;
        (r.presented, r.asked, r.dirty) = (SlotSet(0), SlotSet(0), changed);
        self.invites.clear();
        self.move_peers(&old);
        self.new_epoch();
        let version = self.sealed_version.version;
        let name = self.roster.device_by_key(from).map_or(Name::new(), |(_, d)| d.name.clone());
        self.note(format_args!("works on roster {version} as {name} keeps it"));
    }
    /// What is known of devices goes to their slots in the present roster.
    fn move_peers(&mut self, old: &Roster) {
        let before = core::mem::replace(&mut self.peers, [const { Peer::NEW }; limits::DEVICES]);
        for (slot, d) in self.roster.devices() {
            if let Some((o, was)) = old.device_by_key(&d.key) {
                let mut peer = before[o.0 as usize].clone();
                peer.session = None;
                peer.run = peer.run.filter(|_| was.tag == d.tag);
                peer.witnessed = peer.witnessed.filter(|_| was.tag == d.tag);
                self.peers[slot.0 as usize] = peer;
            }
        }
    }
}

/// Makes the changes of this boot again, where their author is a device of this roster; whether there were any.
fn redo(r: &mut Roster, changes: &[Change]) -> bool {
    let mut any = false;
    for change in changes {
        any |= match change {
            Change::Enrol { by, key, name, tag } => {
                let free = r.device_by_tag(*tag).is_none() && !r.is_given_up(*tag);
                let stranger = !r.is_active(key) && !r.is_revoked(key);
                r.is_active(by) && stranger && free && r.enrol(*key, name, *tag, SlotSet::default()).is_ok()
            }
            Change::Retag { key, tag } => {
                let free = r.device_by_tag(*tag).is_none() && !r.is_given_up(*tag);
                let slot = r.device_by_key(key).map(|(s, _)| s).filter(|_| free);
                slot.inspect(|s| r.retag(*s, *tag)).is_some()
            }
            Change::Member { key, id, label, member } => redo_member(r, key, *id, label, *member),
            Change::Forget { by, id } => {
                let folder = r.folder_by_id(*id).map(|(f, _)| f).filter(|_| r.is_active(by));
                folder.inspect(|f| r.remove_folder(*f)).is_some()
            }
        };
    }
    any
}

fn redo_member(r: &mut Roster, key: &PublicKey, id: FolderId, label: &Label, member: bool) -> bool {
    let Some((slot, _)) = r.device_by_key(key) else { return false };
    let known = r.folder_by_id(id).map(|(f, _)| f);
    let folder = match known {
        None if member && r.folder_by_label(label).is_none() => r.add_folder(id, label, |_| true).ok(),
        known => known,
    };
    folder.is_some_and(|f| r.set_member(f, slot, member))
}
