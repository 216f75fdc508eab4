//! What users decide about their devices: when one comes into the home, when a folder is paused, unlinked,
//! linked again.

use super::device::F;
use super::fs::ROOT;
use super::rand::For;
use super::reached::State;
use super::world::{Event, MS, SECOND, World};
use dartsync_core::record::Kind;
use dartsync_core::wire::message::Request;

/// A decision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    /// A device comes to a home that is at work; or its user asks for another invite, the last one having been a
    /// tracker's that is gone.
    Come(usize),
    /// A device's folder is paused, for the so-manieth time.
    Pause(usize, u64),
    /// It goes on.
    Resume(usize, u64),
    /// A device's folder is to be linked no more: asked until it is so.
    Unlink(usize),
    /// It is linked again.
    Relink(usize),
}

/// Between two invites for one device.
const ASK: u64 = 5 * SECOND;

impl World<'_> {
    /// Draws who comes late: one device of every fourth home.
    pub(super) fn draw_late(&mut self) {
        let mut rand = self.luck.of(For::Late, 0, 0);
        let d = rand.within(1, self.devices.len() as u64 - 1) as usize;
        self.devices[d].late = rand.chance(1, 4) && d != self.founder() && !self.devices[d].absent;
    }
    /// From now on users decide, for so long.
    pub(super) fn live(&mut self, long: u64) {
        if let Some(d) = self.devices.iter().position(|d| d.late) {
            let delay = self.luck.of(For::Late, 1, 0).within(0, long);
            self.after(delay, Event::Life(Life::Come(d)));
        }
        let pauses = self.luck.of(For::Pauses, u64::MAX, 0).chance(1, 5);
        for d in 0..if pauses { self.devices.len() } else { 0 } {
            let mut rand = self.luck.of(For::Pauses, d as u64, 0);
            if rand.chance(1, 2) {
                let delay = rand.around(10 * SECOND);
                self.after(delay, Event::Life(Life::Pause(d, 0)));
            }
        }
        let mut rand = self.luck.of(For::Links, 0, 0);
        let d = rand.below(self.devices.len() as u64) as usize;
        if rand.chance(1, 8) {
            self.after(rand.around(10 * SECOND), Event::Life(Life::Unlink(d)));
        }
    }
    pub(super) fn decide(&mut self, what: Life) {
        match what {
            Life::Come(d) => self.come(d),
            Life::Pause(d, n) if self.editing => {
                self.pause_folder(d, true);
                let long = self.luck.of(For::Pauses, d as u64, 2 * n + 1).within(100 * MS, 30 * SECOND);
                self.after(long, Event::Life(Life::Resume(d, n)));
            }
            Life::Resume(d, n) if self.editing => {
                self.pause_folder(d, false);
                let next = self.luck.of(For::Pauses, d as u64, 2 * n + 2).around(20 * SECOND);
                self.after(next, Event::Life(Life::Pause(d, n + 1)));
            }
            Life::Pause(..) | Life::Resume(..) => {}
            Life::Unlink(d) => self.unlink(d),
            Life::Relink(d) => {
                self.devices[d].unlinked = false;
                self.reach(State::Relinked);
                self.come(d);
            }
        }
    }
    /// Who is to come comes now, and no folder is paused.
    pub(super) fn settle_down(&mut self) {
        for d in 0..self.devices.len() {
            if self.devices[d].late {
                self.come(d);
            }
            self.pause_folder(d, false);
        }
    }

    /// As long as another device has the folder, it may go from one; a request that is under way goes with its program.
    fn unlink(&mut self, d: usize) {
        let others =
            self.devices.iter().enumerate().any(|(i, x)| i != d && x.is_member() && x.folder.is_some());
        let dev = &mut self.devices[d];
        let Some(id) = dev.folder.filter(|_| !dev.revoked && !dev.absent) else { return };
        let begins = self.editing && others;
        if !begins && !dev.leaving {
            return;
        }
        dev.leaving = true;
        if let Some(p) = &mut dev.peer {
            dev.unlinking = p.request(Request::Unlink(id));
            self.pump(d);
        }
        self.after(ASK, Event::Life(Life::Unlink(d)));
    }
    /// A tracker lost its roster together with a link that nobody else had heard of: status says so, and users unlink what
    /// the home does not have, to link it again.
    pub(super) fn link_anew(&mut self) {
        if self.linked_at + 30 * SECOND > self.now {
            return;
        }
        self.linked_at = self.now;
        for d in 0..self.devices.len() {
            let dev = &mut self.devices[d];
            let now = dev.now(self.now);
            let Some(p) = dev.peer.as_mut().filter(|p| p.tracker().0) else { continue };
            let gone = p.folder_view(&mut dev.ix, now, F).is_some_and(|v| !v.member);
            if gone && !dev.leaving && !dev.revoked {
                dev.leaving = true;
                self.unlink(d);
            }
        }
    }
    /// The home has let the device's folder go: its rows go, its files stay. Linked again it is a new one: what others
    /// removed meanwhile may return.
    pub(super) fn give_up(&mut self, d: usize) {
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        (dev.unlinking, dev.leaving, dev.unlinked) = (None, false, true);
        (dev.folder, dev.backup, dev.opened) = (None, None, false);
        dev.peer.as_mut().expect("it spoke").unlink_folder(&mut dev.ix, now, F);
        dev.fs.reset();
        dev.fetches.clear();
        dev.forget_tmp(self.now);
        dev.ix.erase_folder(F);
        dev.ix.commit();
        self.forgets(d);
        self.note(d + 1, "unlinked", 0, 0);
        let delay = self.luck.of(For::Links, 1, 0).within(100 * MS, 20 * SECOND);
        self.after(delay, Event::Life(Life::Relink(d)));
    }

    fn come(&mut self, d: usize) {
        if std::mem::take(&mut self.devices[d].late) {
            self.reach(State::LateJoiner);
            self.note(d + 1, "comes", 0, 0);
            if self.luck.of(For::Late, 2, 0).chance(1, 2) {
                self.copy_files(d);
            }
            self.join(d);
        }
        let dev = &self.devices[d];
        if dev.revoked || dev.folder.is_some() {
            return;
        }
        // An invite is good as long as its tracker runs, and only 16 are given in an hour.
        let good = dev.invite.is_some() && self.now < dev.invited_at + 120 * SECOND;
        if dev.roster.is_empty() && !good {
            (self.devices[d].invite, self.devices[d].invited_at) = (None, self.now);
            let can = |x: &super::device::Device| x.is_member() && x.is_up() && x.folder.is_some();
            if let Some(by) = self.devices.iter().position(can) {
                self.devices[by].peer.as_mut().expect("it is up").request(Request::Invite);
                self.pump(by);
            }
        } else if dev.is_up() && !dev.roster.is_empty() {
            self.want_folder(d);
            self.pump(d);
        }
        self.after(ASK, Event::Life(Life::Come(d)));
    }
    /// Its user has put files there that came by another way.
    fn copy_files(&mut self, d: usize) {
        let from = &self.devices[self.founder()].fs;
        let all = from.walk(ROOT, b"").into_iter().map(|(path, i)| (path, from.node(i)));
        let files = all.filter(|(_, n)| n.kind == Kind::File && n.writers == 0);
        let files: Vec<_> = files.map(|(path, n)| (path, n.data.clone())).collect();
        self.devices[d].filled = true;
        for (path, data) in files {
            // It stands there once more than anyone can see who removes it at the home: in a newly linked root it is a
            // file to keep (R10). A conflict copy nobody has put there yet.
            self.ledger.put(data.id, &path);
            let _ = self.put(d, &path, data);
        }
    }
    fn pause_folder(&mut self, d: usize, paused: bool) {
        if self.devices[d].paused == paused || !self.devices[d].joined {
            return;
        }
        let dev = &mut self.devices[d];
        dev.paused = paused;
        let now = dev.now(self.now);
        if let Some(p) = &mut dev.peer {
            p.set_paused(&mut dev.ix, now, F, paused);
        }
        if paused {
            self.reach(State::Paused);
        }
        self.note(d + 1, "paused", paused.into(), 0);
        self.pump(d);
    }
}
