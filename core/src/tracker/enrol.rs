//! Hello: who comes in, as whom, and with which store (R4).

use super::session::State;
use super::{Peer, Tracker};
use crate::ids::{PublicKey, Slot, Tag};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::sans_io::Reject;
use crate::time::{Duration, Instant, Now};
use crate::wire::message::{Addr, Addrs, RosterVersion};

/// A key is told to take a new tag once in so long (R4).
const NEW_TAG_PAUSE: Duration = Duration::secs(600);

/// The fields of a Hello that count.
pub(super) struct Hello<'a> {
    pub(super) tag: Tag,
    pub(super) counter: u64,
    pub(super) run: u64,
    pub(super) port: u16,
    pub(super) addrs: Addrs,
    pub(super) caps: u32,
    pub(super) roster: RosterVersion,
    pub(super) name: &'a str,
}

impl Tracker<'_> {
    pub(super) fn hello(&mut self, now: Now, i: usize, hello: Hello<'_>) -> Result<(), Reject> {
        if hello.tag.0 == 0 || hello.counter >= limits::COUNTER {
            return Err(Reject::new("a Hello that breaks the rules"));
        }
        let key = self.sessions[i].key;
        if self.roster.is_revoked(&key) {
            return Err(Reject::new("a revoked device"));
        }
        let slot = self.roster.device_by_key(&key).map(|(s, _)| s);
        if self.recovery.asks(self.sealed_version, slot, hello.roster) {
            self.sessions[i].state = State::Presenting;
            self.sessions[i].owed.want_roster = true;
            return Ok(());
        }
        match slot {
            Some(slot) => {
                // Who has none calls none in doubt, and would show this one at its next Hello.
                if hello.roster == self.sealed_version || hello.roster.version == 0 {
                    self.presented(slot);
                }
                self.come_in(now, i, slot, hello);
                Ok(())
            }
            None => self.enrol(now, i, hello),
        }
    }

    /// A new device: by an invite, which this uses up, or as the founder. With a tag that cannot be, nothing changes.
    fn enrol(&mut self, now: Now, i: usize, hello: Hello<'_>) -> Result<(), Reject> {
        let (key, invite) = (self.sessions[i].key, self.sessions[i].invite);
        let founds = self.founder == Some(key) && self.roster.is_unused();
        let invite = invite.filter(|id| self.invites.is_good(now.at, *id));
        if !founds && invite.is_none() {
            return Err(Reject::new("an invite that is used, expired or unknown"));
        }
        if !founds && !self.recovery.may_change(&self.roster) {
            return Err(Reject::new("the home waits for its devices"));
        }
        if self.roster.device_by_tag(hello.tag).is_some() || self.roster.is_given_up(hello.tag) {
            self.answer_new_tag(i, 0);
            return Ok(());
        }
        let avoid = self.files.leaving();
        let joined = self.roster.devices().next().map(|_| now.at);
        let slot =
            self.roster.enrol(key, hello.name, hello.tag, avoid).map_err(|full| Reject::new(full.0))?;
        let by = invite.map_or_else(PublicKey::default, |id| self.invites.take(now.at, id));
        let witnessed = self.is_first_word(&hello).then_some(0);
        self.peers[slot.0 as usize] = Peer { witnessed, joined, ..Peer::NEW };
        self.enrolled(slot, by);
        self.come_in(now, i, slot, hello);
        Ok(())
    }

    /// Whether nothing was ever made under the tag of that Hello, which the roster does not know: it says so, and this
    /// tracker's roster is whole, so that it did not forget the tag.
    fn is_first_word(&self, hello: &Hello<'_>) -> bool {
        hello.counter == 0 && !self.recovery.is_open()
    }

    /// A device of the home says who its store is. Either it is the device's one link now, or it takes a new tag.
    fn come_in(&mut self, now: Now, i: usize, slot: Slot, hello: Hello<'_>) {
        let peer = &self.peers[slot.0 as usize];
        let device = self.roster.device(slot).expect("an active device");
        let table = self.files.table();
        let known = hello.tag.line().map(|tag| table.highest_counter(tag)).max().unwrap_or(0);
        let same = device.tag == hello.tag;
        let stale = if same {
            peer.run.is_some_and(|run| hello.run <= run)
        } else {
            self.roster.device_by_tag(hello.tag).is_some() || self.roster.is_given_up(hello.tag)
        };
        if (stale || hello.counter < known) && !mutant::on(Mutant::R4Tag) {
            return self.refuse_tag(now.at, i, slot);
        }
        let waiting = self.peers[slot.0 as usize].told_new_tag.filter(|_| self.peers[slot.0 as usize].waits);
        if !same && waiting.is_some_and(|told| told + NEW_TAG_PAUSE > now.at) {
            return self.refuse_tag(now.at, i, slot);
        }
        if !same {
            let witnessed = self.is_first_word(&hello).then_some(0);
            let peer = &mut self.peers[slot.0 as usize];
            peer.witnessed = witnessed;
            peer.brought.stores += 1;
            self.roster.retag(slot, hello.tag);
            if !mutant::on(Mutant::R4Bits) {
                self.files.forget(slot);
            }
            self.turns.forget(slot);
            self.tidy.wake(now.at);
            self.retagged(slot);
        }
        self.take_place(now, i, slot, &hello);
    }

    fn take_place(&mut self, now: Now, i: usize, slot: Slot, hello: &Hello<'_>) {
        if let Some(j) = self.peers[slot.0 as usize].session.filter(|j| *j != i) {
            self.end(j);
        }
        let from = self.sessions[i].from;
        let peer = &mut self.peers[slot.0 as usize];
        peer.session = Some(i);
        peer.run = Some(hello.run);
        peer.waits = false;
        peer.caps = hello.caps;
        peer.addrs = reachable(from, hello.port, &hello.addrs);
        let tail = self.files.table().tail();
        let s = &mut self.sessions[i];
        s.state = State::Live(slot);
        s.owed.welcome = true;
        s.owed.room = true;
        (s.stream.live, s.stream.back) = (tail, tail);
        if hello.roster != self.sealed_version && !self.sealed.is_empty() {
            s.owed.roster = Some((self.sealed_version, 0));
        }
        s.presence = self.roster.active();
        self.mark_presence(crate::ids::SlotSet::one(slot));
        self.lag_changed(now.at);
    }

    /// R4's answer, at once or, the second time, after a wait that every device is told of.
    fn refuse_tag(&mut self, now: Instant, i: usize, slot: Slot) {
        let peer = &mut self.peers[slot.0 as usize];
        let wait = match peer.told_new_tag.filter(|told| *told + NEW_TAG_PAUSE > now) {
            Some(told) if !mutant::on(Mutant::R4Turns) => {
                peer.waits = true;
                (told + NEW_TAG_PAUSE).since(now).as_millis_ceil().div_ceil(1000) as u32
            }
            _ => {
                peer.told_new_tag = Some(now);
                0
            }
        };
        self.answer_new_tag(i, wait);
        if wait > 0 {
            let name = self.roster.device(slot).expect("an active device").name.clone();
            self.say(format_args!("{name} runs twice: enrol one of them anew"));
        }
    }
    fn answer_new_tag(&mut self, i: usize, wait: u32) {
        self.sessions[i].owed.new_tag = Some(wait);
        self.sessions[i].state = State::Closing;
    }
}

/// Where a device that takes links at `port` may be dialled: what the tracker saw first, then what the device says.
fn reachable(from: Addr, port: u16, said: &Addrs) -> Addrs {
    let mut out = Addrs::new();
    if port == 0 {
        return out;
    }
    let seen = match from {
        Addr::V4(ip, _) => Addr::V4(ip, port),
        Addr::V6(ip, _) => Addr::V6(ip, port),
    };
    for addr in core::iter::once(&seen).chain(said) {
        if !out.contains(addr) && out.push(*addr).is_err() {
            break;
        }
    }
    out
}
