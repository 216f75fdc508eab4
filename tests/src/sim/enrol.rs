//! How devices come into the home: invites, and the folder that they link.

use super::device::F;
use super::reached::State;
use super::world::{SECOND, World};
use dartsync_core::ids::InviteId;
use dartsync_core::peer::{Peer, Reply, Tell};
use dartsync_core::wire::message::Request;

impl World<'_> {
    /// Starts a device's program for the first time.
    pub(super) fn join(&mut self, d: usize) {
        if self.devices[d].absent {
            return;
        }
        self.devices[d].joined = true;
        let founding = self.station.tracker.as_ref().and_then(|t| t.founding_invite());
        if let Some((id, _)) = founding.filter(|_| d == self.founder()) {
            self.devices[d].invite = Some(id);
        }
        self.start(d);
    }
    /// What the machine tells its surroundings: enrolment goes by it.
    pub(super) fn told(&mut self, d: usize, t: Tell) {
        match t {
            Tell::Roster => {
                let dev = &mut self.devices[d];
                let p = dev.peer.as_ref().expect("it spoke");
                dev.roster = p.sealed_roster().to_vec();
                if p.roster().is_active(&dev.key) {
                    dev.invite = None;
                }
            }
            Tell::Connected => self.want_folder(d),
            Tell::Reply(n) => self.replied(d, n),
            Tell::Revoked => self.devices[d].revoked = true,
            Tell::Conflict(_) => self.reach(State::ConflictCopy),
            // Until the first scan after a power cut nothing tells a user's removal from the power cut's doing (R13), however
            // long the root is gone meanwhile; looks at what it found follow within seconds.
            Tell::Ready(_) => {
                self.devices[d].torn_until = self.devices[d].torn_until.min(self.now + 3 * SECOND)
            }
            Tell::Twice => self.reach(State::Twice),
            _ => {}
        }
    }
    pub(super) fn want_folder(&mut self, d: usize) {
        let dev = &mut self.devices[d];
        if dev.folder.is_none() && dev.asked.is_none() && !dev.unlinked {
            dev.asked = dev.peer.as_mut().expect("it spoke").request(Request::LinkFirst("home"));
        }
    }
    fn replied(&mut self, d: usize, n: u32) {
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        let p = dev.peer.as_mut().expect("it spoke");
        match p.take_reply(n) {
            Some(Reply::Folder { id, .. }) if dev.folder.is_none() => {
                Peer::note_new_root(&mut dev.ix, F);
                dev.ix.commit();
                (dev.folder, dev.asked) = (Some(id), None);
                p.link_folder(&mut dev.ix, now, F, id);
                self.note(d + 1, "linked", id.0, 0);
                self.will_file(d);
                self.invite_next(d);
            }
            Some(Reply::Invite { id, .. }) => {
                let next = self.devices.iter().position(|x| x.waits());
                if let Some(x) = next {
                    self.devices[x].invite = Some(InviteId(id));
                    self.note(d + 1, "invited", x as u64, id.into());
                }
                self.invite_next(d);
            }
            Some(Reply::Done(_)) if dev.unlinking == Some(n) => self.give_up(d),
            Some(Reply::Refused(_) | Reply::Waiting { .. }) => dev.asked = None,
            _ => {}
        }
    }
    /// The device that the home begins with.
    pub(super) fn founder(&self) -> usize {
        self.devices.iter().position(|d| !d.absent).unwrap_or(0)
    }
    /// The first device asks for invites until all have one.
    fn invite_next(&mut self, d: usize) {
        let waits = self.devices.iter().any(|x| x.waits());
        if d == self.founder() && waits {
            self.devices[d].peer.as_mut().expect("it spoke").request(Request::Invite);
        }
    }
}
