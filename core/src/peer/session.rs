//! The tracker link as the peer keeps it: dialling, Hello and Welcome, roster, presence, requests, keep-alive.

use super::effect::{Effect, Tell};
use super::index::{DEVICE, Index, Number};
use super::machine::Peer;
use super::requests::{Asked, REQUESTS, Reply};
use super::state::Telling;
use crate::ids::{DeviceId, Epoch, FolderSlot, LinkId, Seq, Slot, Tag};
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::roster::{ROSTER_BYTES, Roster};
use crate::sans_io::Reject;
use crate::time::{Duration, Instant, Now};
use crate::wire::message::{Addrs, RosterPart, RosterVersion, ToPeer, ToTracker, encode};
use heapless::{Deque, String, Vec};

/// A silent link is pinged after this, and given up after [`SILENCE`].
const PING: Duration = Duration::secs(5);
const SILENCE: Duration = Duration::secs(15);
/// A tracker says for how long a device is not to dial (R4); longer than that, in seconds, none has to.
const WAIT: u32 = 600;
/// How long a link may take from its opening to Welcome.
const GREETING: Duration = Duration::secs(10);

/// What is known of another device's whereabouts.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// Whose.
    pub device: DeviceId,
    /// Linked to the tracker now.
    pub online: bool,
    /// Records of its folders that it has not applied.
    pub lag: u64,
    /// See [`crate::wire::message::caps`].
    pub caps: u32,
    /// Where to dial it, best first.
    pub addrs: Addrs,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Session {
    pub(super) link: Option<LinkId>,
    pub(super) dialling: bool,
    pub(super) dial_at: Instant,
    failures: u32,
    outage_since: Option<Instant>,
    opened_at: Instant,
    heard_at: Instant,
    sent_at: Instant,
    /// Nothing was sent for long: a ping goes as soon as the link takes it.
    ping_due: bool,
    hello_generation: u64,
    /// The run that the Hello says: the store's as the link was opened.
    run: u64,
    hello_sent: bool,
    pub(super) welcomed: bool,
    pub(super) tracker_epoch: Epoch,
    pub(super) device: DeviceId,
    pub(super) slot: Option<Slot>,
    roster_named: RosterVersion,
    roster_asked: bool,
    hand_in: Option<usize>,
    pub(super) version: String<96>,
    pub(super) presence: Vec<Presence, { limits::DEVICES }>,
    pub(super) asked: Vec<Asked, REQUESTS>,
    pub(super) replies: Vec<(u32, Reply), REQUESTS>,
    pub(super) last_request: u32,
    pub(super) unreachable: Deque<DeviceId, 16>,
    /// The machine's boot is another than the one the store was last open in (`FolderState::unclean`).
    pub(super) unclean: bool,
    /// Records in the tracker's table, and how many fit.
    pub(super) room: (u32, u32),
    fresh_tag: bool,
    /// No tracker has welcomed that tag.
    untried_tag: bool,
    /// More power cuts took edits at one path than this store's tags tell apart: it is to take another (R13).
    pub(super) spent_tag: bool,
    /// Until when the next record that is ahead of this store makes it wait.
    went_on: Instant,
}

impl Session {
    pub(super) fn timeout(&self) -> Option<Instant> {
        match self.link {
            None if self.dialling => None,
            None => Some(self.dial_at),
            Some(_) if !self.welcomed => Some(self.opened_at + GREETING),
            Some(_) if self.ping_due => Some(self.heard_at + SILENCE),
            Some(_) => Some((self.sent_at + PING).min(self.heard_at + SILENCE)),
        }
    }
    /// Whether the roster that the tracker named, or a newer one, is here.
    pub(super) fn has_roster(&self, ours: RosterVersion) -> bool {
        self.welcomed && ours >= self.roster_named
    }
}

impl Peer {
    /// The tracker link stands (its handshake is done).
    pub fn handle_open(&mut self, ix: &mut dyn Index, now: Now, link: LinkId) {
        self.drop_link(ix, now);
        let s = &mut self.session;
        (s.link, s.dialling) = (Some(link), false);
        (s.opened_at, s.heard_at, s.sent_at, s.ping_due) = (now.at, now.at, now.at, false);
        let run = ix.number(DEVICE, Number::Run) + 1;
        ix.set_number(DEVICE, Number::Run, run);
        self.session.run = run;
        self.dirty(now);
        self.commits.wanted = true;
        self.session.hello_generation = self.commits.open;
    }

    /// The dial failed: tried again after a while, longer during a long outage.
    pub fn handle_dial_failed(&mut self, now: Now) {
        self.session.dialling = false;
        self.plan_dial(now);
    }

    /// The link is gone.
    pub fn handle_closed(&mut self, ix: &mut dyn Index, now: Now, link: LinkId) {
        if self.session.link == Some(link) {
            self.drop_link(ix, now);
            self.plan_dial(now);
        }
    }

    /// An interface came up: dial at once.
    pub fn handle_network_up(&mut self, now: Now) {
        if self.session.link.is_none() && !self.session.dialling {
            self.session.dial_at = now.at;
        }
    }

    fn plan_dial(&mut self, now: Now) {
        let since = *self.session.outage_since.get_or_insert(now.at);
        let long = now.at.since(since) > Duration::secs(300);
        self.session.failures = self.session.failures.saturating_add(1);
        let most = if long { 30_000 } else { 1_000 };
        let span = (100u64 << self.session.failures.min(9)).min(most);
        let jitter = self.rng.below(span / 2 + 1);
        self.session.dial_at = now.at + Duration::millis(span / 2 + jitter);
    }

    pub(super) fn dial_due(&mut self, now: Now) -> Option<Effect> {
        let s = &mut self.session;
        if s.link.is_some() || s.dialling || s.dial_at > now.at {
            return None;
        }
        s.dialling = true;
        Some(Effect::Dial)
    }

    fn drop_link(&mut self, ix: &mut dyn Index, now: Now) {
        let was = self.session.link.take();
        let s = &mut self.session;
        (s.hello_sent, s.welcomed, s.roster_asked, s.hand_in) = (false, false, false, None);
        s.asked.iter_mut().for_each(|a| a.sent = false);
        s.presence.iter_mut().for_each(|p| p.online = false);
        self.assembler.clear();
        self.seeks.clear();
        self.lacks.clear();
        self.sweep = None;
        for f in self.folders.iter_mut().filter(|f| f.linked) {
            (f.asked, f.caught_up, f.have_sweep, f.resay_at) = (false, false, None, None);
            (f.untold, f.retold) = (false, false);
            if f.told_until.take().is_some() || f.telling != Telling::Done {
                f.telling = Telling::Waiting;
            }
        }
        self.drop_outbox(ix, now);
        if was.is_some() {
            self.tell(Tell::Disconnected);
        }
    }

    pub(super) fn session_timeout(&mut self, now: Now) {
        let s = &self.session;
        let Some(link) = s.link else { return };
        let ping_due = s.welcomed && s.sent_at + PING <= now.at;
        let dead = if s.welcomed { s.heard_at + SILENCE <= now.at } else { s.opened_at + GREETING <= now.at };
        self.session.ping_due |= ping_due;
        if dead {
            let _ = self.ready.push_back(Effect::Hang(link));
            // The driver answers with `handle_closed`; until then nothing more is due.
            self.session.heard_at = now.at;
            self.session.opened_at = now.at;
        }
    }

    pub(super) fn welcome(&mut self, ix: &mut dyn Index, now: Now, m: &ToPeer<'_>) -> Result<(), Reject> {
        let ToPeer::Welcome { epoch, device, slot, roster, version, .. } = m else {
            return Err(Reject::new("not a welcome"));
        };
        let s = &mut self.session;
        if s.welcomed || !s.hello_sent || epoch.0 == 0 || usize::from(slot.0) >= limits::DEVICES {
            return Err(Reject::new("a welcome out of place"));
        }
        (s.welcomed, s.tracker_epoch, s.device, s.slot) = (true, *epoch, *device, Some(*slot));
        s.roster_named = *roster;
        s.untried_tag = false;
        (s.failures, s.outage_since) = (0, None);
        s.version.clear();
        version.chars().take_while(|c| s.version.push(*c).is_ok()).count();
        let stamp = self.stamp(*epoch);
        if stamp != self.epoch {
            self.epoch = stamp;
            ix.set_number(DEVICE, Number::Epoch, stamp.0);
            self.dirty(now);
            for f in self.folders.iter_mut().filter(|f| f.linked) {
                f.telling = Telling::Waiting;
            }
        }
        self.find_slots();
        self.tell(Tell::Connected);
        Ok(())
    }

    /// The epoch as rows bear it: another for each tag, since a new tag makes every remote row unknown (R4).
    fn stamp(&self, epoch: Epoch) -> Epoch {
        if mutant::on(Mutant::R4Unknown) {
            return epoch;
        }
        let mixed = epoch.0 ^ u64::from(self.tag.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Epoch(mixed.max(1))
    }

    /// The tracker wants another tag of us (R4).
    pub(super) fn new_tag(&mut self, ix: &mut dyn Index, now: Now, wait: u32) {
        let Some(link) = self.session.link else { return };
        let wait = wait.min(WAIT);
        if wait > 0 {
            self.tell(Tell::Twice);
        }
        // The wait is for the dial alone. The tag is given up at once: another store may bear it, too, and a later dial
        // would not tell the two apart by their runs. One that no tracker has welcomed yet may stay.
        if wait == 0 || !self.session.untried_tag {
            self.go_by_new_tag(ix, now);
        }
        self.dial_again(ix, now, link, wait);
    }

    /// What was made since a commit was last considered was to go by a tag beyond this store's. It is not durable yet, and will
    /// be only with the other tag.
    pub(super) fn leave_spent_tag(&mut self, ix: &mut dyn Index, now: Now) {
        if !core::mem::take(&mut self.session.spent_tag) {
            return;
        }
        self.go_by_new_tag(ix, now);
        if let Some(link) = self.session.link {
            self.dial_again(ix, now, link, 0);
        }
    }

    fn go_by_new_tag(&mut self, ix: &mut dyn Index, now: Now) {
        self.take_new_tag(ix);
        (self.session.fresh_tag, self.session.untried_tag) = (true, true);
        self.unmint_all(ix, now);
        self.commits.wanted = true;
        self.dirty(now);
    }

    fn dial_again(&mut self, ix: &mut dyn Index, now: Now, link: LinkId, wait: u32) {
        let _ = self.ready.push_back(Effect::Hang(link));
        self.drop_link(ix, now);
        self.session.dial_at = now.at + Duration::secs(wait.into()) + Duration::millis(20);
    }

    /// A record tells of more edits of this store than it made (R4). As when the tracker says so, another tag is taken at once
    /// and the next one after a wait: who makes such records up would have this device fill the tracker's table with tags.
    pub(super) fn store_went_on(&mut self, ix: &mut dyn Index, now: Now) {
        let wait = self.session.went_on.since(now.at);
        self.session.went_on = now.at + wait + Duration::secs(WAIT.into());
        let secs = wait.as_millis_ceil().div_ceil(1000);
        self.new_tag(ix, now, secs.try_into().unwrap_or(WAIT));
    }

    pub(super) fn take_roster(&mut self, now: Now, part: &RosterPart<'_>) -> Result<(), Reject> {
        if !self.assembler.take(part)? {
            return Ok(());
        }
        let roster = Roster::decode(self.assembler.bytes())
            .map_err(|_| Reject::new("a roster that does not decode"))?;
        let revoked = roster.is_revoked(&self.config.key);
        if roster.version() < self.roster.version() || !roster.may_follow(&self.roster) {
            // It lacks what is known here: the tracker gets ours instead (R20).
            self.session.hand_in = Some(0);
            return Ok(());
        }
        self.sealed =
            Vec::from_slice(self.assembler.bytes()).map_err(|_| Reject::new("a roster too long"))?;
        self.roster = roster;
        self.find_slots();
        self.tell(Tell::Roster);
        if revoked {
            self.tell(Tell::Revoked);
        }
        let _ = now;
        Ok(())
    }

    /// Which slots the linked folders have by the roster in force.
    pub(super) fn find_slots(&mut self) {
        let me = self.roster.device_by_key(&self.config.key).map(|(s, d)| (s, d.id));
        if let Some((_, id)) = me.filter(|_| self.session.device.0 == 0) {
            // Edits can be minted before the first welcome: recovered ones.
            self.session.device = id;
        }
        let me = me.map(|m| m.0);
        for f in self.folders.iter_mut().filter(|f| f.linked) {
            f.slot = self
                .roster
                .folder_by_id(f.id)
                .filter(|(_, e)| me.is_some_and(|m| e.members.has(m)))
                .map(|(slot, _)| slot);
        }
    }

    /// The place of a folder by its slot on the wire.
    pub(super) fn place_of_slot(&self, slot: FolderSlot) -> Option<usize> {
        self.folders.iter().position(|f| f.linked && f.slot == Some(slot))
    }

    pub(super) fn hand_in_roster(&mut self) {
        if !self.sealed.is_empty() {
            self.session.hand_in = Some(0);
        }
    }

    pub(super) fn note_presence(&mut self, p: Presence) {
        let came = p.online && !self.session.presence.iter().any(|q| q.device == p.device && q.online);
        match self.session.presence.iter_mut().find(|q| q.device == p.device) {
            Some(q) => *q = p,
            None => {
                let roster = &self.roster;
                if self.session.presence.is_full() {
                    self.session.presence.retain(|q| roster.device_by_id(q.device).is_some());
                }
                let _ = self.session.presence.push(p);
            }
        }
        self.requeue |= came;
    }

    /// Greeting, roster and requests: what is sent before and beside the folders. `None`: nothing of it is due.
    pub(super) fn transmit_session(&mut self, now: Now, out: &mut [u8]) -> Option<usize> {
        if !self.session.hello_sent {
            if self.commits.durable < self.session.hello_generation {
                return None;
            }
            self.session.hello_sent = true;
            let m = ToTracker::Hello {
                tag: self.tag,
                counter: self.counter,
                run: self.session.run,
                port: self.config.port,
                addrs: self.config.addrs.clone(),
                caps: self.config.caps,
                roster: if self.sealed.is_empty() { RosterVersion::default() } else { self.roster.version() },
                flags: self.session.fresh_tag.into(),
                name: "",
            };
            return encode(&m, out);
        }
        if let Some(at) = self.session.hand_in {
            let of = self.roster.version();
            if let Some(p) = crate::roster::part_at(&self.sealed, of, at, limits::FRAME - 64) {
                self.session.hand_in = Some(at + p.bytes.len());
                return encode(&ToTracker::Roster(p), out);
            }
            self.session.hand_in = None;
        }
        if !self.session.welcomed {
            return None;
        }
        if !self.session.has_roster(self.roster.version()) && !self.session.roster_asked {
            self.session.roster_asked = true;
            return encode(&ToTracker::WantRoster, out);
        }
        if let Some(a) = self.session.asked.iter_mut().find(|a| !a.sent) {
            a.sent = true;
            out[..a.frame.len()].copy_from_slice(&a.frame);
            return Some(a.frame.len());
        }
        if let Some(d) = self.session.unreachable.pop_front() {
            return encode(&ToTracker::Unreachable(d), out);
        }
        let _ = now;
        None
    }

    /// A ping, when nothing else was sent for long.
    pub(super) fn transmit_ping(&mut self, now: Now, out: &mut [u8]) -> Option<usize> {
        if self.session.welcomed && self.session.sent_at + PING <= now.at {
            return encode(&ToTracker::Ping, out);
        }
        None
    }

    pub(super) fn note_sent(&mut self, now: Now) {
        (self.session.sent_at, self.session.ping_due) = (now.at, false);
    }
    pub(super) fn note_heard(&mut self, now: Now) {
        self.session.heard_at = now.at;
    }

    /// Where a folder's stream is to start on this link.
    pub(super) fn transmit_seen(&mut self, ix: &mut dyn Index, out: &mut [u8]) -> Option<usize> {
        if !self.session.has_roster(self.roster.version()) {
            return None;
        }
        let f = self.folders.iter().position(|f| f.linked && !f.asked && f.slot.is_some())?;
        let (epoch, stamp) = (self.session.tracker_epoch, self.epoch);
        let s = &mut self.folders[f];
        s.asked = true;
        if s.epoch != stamp {
            (s.epoch, s.seen) = (stamp, Seq(0));
            ix.set_number(s.folder, Number::Epoch, stamp.0);
            ix.set_number(s.folder, Number::Seen, 0);
        }
        encode(&ToTracker::Seen { folder: s.id, epoch, seen: s.seen }, out)
    }

    /// The addresses the tracker gave for a device, and whether it is online.
    pub fn presence(&self, device: DeviceId) -> Option<&Presence> {
        self.session.presence.iter().find(|p| p.device == device)
    }

    /// The roster in force.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }
    /// Its sealed bytes, for the driver to keep; empty before the first.
    pub fn sealed_roster(&self) -> &[u8] {
        const { assert!(ROSTER_BYTES <= 64 * 1024) };
        &self.sealed
    }
    /// This store's tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }
    /// Whether the tracker greeted us on the link that stands, and the words it said of itself.
    pub fn tracker(&self) -> (bool, &str) {
        (self.session.welcomed, &self.session.version)
    }
    /// Records in the tracker's table, and how many fit; zeros before it said so.
    pub fn tracker_room(&self) -> (u32, u32) {
        self.session.room
    }
    /// A device could not be reached at any address: the tracker is asked to have it dial us.
    pub fn handle_unreachable(&mut self, device: DeviceId) {
        if !self.session.unreachable.iter().any(|d| *d == device) {
            let _ = self.session.unreachable.push_back(device);
        }
    }
}
