//! What a link is sent next: of everything that is owed, the most urgent.

use super::Tracker;
use super::session::{Reply, State};
use super::streams::{Drawn, Which};
use crate::ids::{FolderSlot, Seq, Slot};
use crate::roster;
use crate::sans_io::Sent;
use crate::time::Now;
use crate::wire::message::{self, Addr, Addrs, Answer, Ranges, SeqRange, ToPeer};

/// Bytes of a roster in one frame, beside the message around it.
const ROSTER_PART: usize = 7 * 1024;

impl Tracker<'_> {
    pub(super) fn transmit(&mut self, now: Now, i: usize, out: &mut [u8]) -> Sent {
        match self.sessions[i].state {
            State::Free | State::Dead | State::Opened => Sent::Idle,
            State::Presenting => self.transmit_presenting(now, i, out),
            State::Closing => self.transmit_closing(i, out),
            State::Live(slot) => self.transmit_live(now, i, slot, out),
        }
    }

    fn transmit_presenting(&mut self, now: Now, i: usize, out: &mut [u8]) -> Sent {
        let s = &mut self.sessions[i];
        if core::mem::take(&mut s.owed.pong) {
            return put(&ToPeer::Pong, out);
        }
        self.want_roster(now, i, out).unwrap_or(Sent::Idle)
    }

    /// Asks for a roster, when it can be taken: one at a time is.
    fn want_roster(&mut self, now: Now, i: usize, out: &mut [u8]) -> Option<Sent> {
        if !self.sessions[i].owed.want_roster || !self.recovery.grasp(now.at, i).0 {
            return None;
        }
        self.assembler.clear();
        self.sessions[i].owed.want_roster = false;
        Some(put(&ToPeer::WantRoster, out))
    }

    fn transmit_closing(&mut self, i: usize, out: &mut [u8]) -> Sent {
        if let Some(wait) = self.sessions[i].owed.new_tag.take() {
            return put(&ToPeer::NewTag { wait }, out);
        }
        if let Some(sent) = self.reply(i, out) {
            return sent;
        }
        self.end(i);
        Sent::Idle
    }

    fn transmit_live(&mut self, now: Now, i: usize, slot: Slot, out: &mut [u8]) -> Sent {
        // Bits of the device's former store, or of who was in its slot before, are gone before it says anything new.
        if self.files.leaving().has(slot) {
            self.files.sweep();
            return Sent::Again;
        }
        if core::mem::take(&mut self.sessions[i].owed.welcome) {
            return self.welcome(i, slot, out);
        }
        if let Some(sent) = self.reply(i, out).or_else(|| self.roster_part(i, out)) {
            return sent;
        }
        let mut again = false;
        // Verdicts first: a record that the peer announced and is not sent back must be known to it before any later one
        // raises its `seen`.
        for step in [Step::Verdicts, Step::Live, Step::Small, Step::Back] {
            let drawn = match step {
                Step::Live => self.records(now.at, i, slot, Which::Live, out),
                Step::Verdicts => self.verdicts(i, out),
                Step::Small => match self.small(now, i, slot, out) {
                    Some(Sent::Frame(n)) => Drawn::Frame(n),
                    _ => Drawn::Nothing,
                },
                Step::Back => self.records(now.at, i, slot, Which::Back, out),
            };
            match drawn {
                Drawn::Frame(n) => return Sent::Frame(n),
                Drawn::Again => again = true,
                Drawn::Nothing => {}
            }
        }
        // What the last look at the streams has made true.
        if let Some((folder, seq)) = self.caught_up(now.at, i, slot) {
            return put(&ToPeer::CaughtUp { folder, seq }, out);
        }
        again |= !self.sessions[i].claims.is_empty() && {
            self.step_claims(now.at, i, slot);
            true
        };
        if again {
            return Sent::Again;
        }
        self.standing(i, out)
    }

    /// Where the peer stands, if it cannot tell by what it was sent.
    fn standing(&mut self, i: usize, out: &mut [u8]) -> Sent {
        let s = &mut self.sessions[i];
        let settled = s.stream.behind.is_empty() && s.stream.owes.is_empty() && s.verdicts.len == 0;
        if settled && core::mem::take(&mut s.stream.skipped) {
            return put(&ToPeer::Standing(s.stream.live), out);
        }
        Sent::Idle
    }

    fn welcome(&mut self, i: usize, slot: Slot, out: &mut [u8]) -> Sent {
        let device = self.roster.device(slot).expect("an active device").id;
        let (epoch, roster, seen_at) = (self.epoch, self.sealed_version, self.sessions[i].from);
        let version = self.about.as_str();
        put(&ToPeer::Welcome { epoch, device, slot, roster, seen_at, version }, out)
    }

    fn reply(&mut self, i: usize, out: &mut [u8]) -> Option<Sent> {
        let replies = &mut self.sessions[i].replies;
        if replies.is_empty() {
            return None;
        }
        let (n, reply) = replies.remove(0);
        let answer = match reply {
            Reply::Done(version) => Answer::Done(version),
            Reply::Invite(id, secret) => Answer::Invite { id: id.0, secret },
            Reply::Folder { id, slot, made, roster } => Answer::Folder { id, slot, made, roster },
            Reply::Refused(why) => Answer::Refused(why),
            Reply::Waiting { have, of } => Answer::Waiting { have, of },
        };
        Some(put(&ToPeer::Reply(n, answer), out))
    }

    fn roster_part(&mut self, i: usize, out: &mut [u8]) -> Option<Sent> {
        let owed = &mut self.sessions[i].owed.roster;
        let (of, offset) = (*owed)?;
        // A roster that changed while it was sent begins anew.
        let (of, offset) = if of == self.sealed_version { (of, offset) } else { (self.sealed_version, 0) };
        let Some(part) = roster::part_at(&self.sealed, of, offset, ROSTER_PART) else {
            *owed = None;
            return None;
        };
        *owed = Some((of, offset + part.bytes.len()));
        Some(put(&ToPeer::Roster(part), out))
    }

    /// Messages of a few bytes.
    fn small(&mut self, now: Now, i: usize, slot: Slot, out: &mut [u8]) -> Option<Sent> {
        if let Some((folder, seq)) = self.caught_up(now.at, i, slot) {
            return Some(put(&ToPeer::CaughtUp { folder, seq }, out));
        }
        let s = &mut self.sessions[i];
        if core::mem::take(&mut s.owed.pong) {
            return Some(put(&ToPeer::Pong, out));
        }
        if let Some(from) = s.connect_back.iter().next() {
            s.connect_back.remove(from);
            if let Some(device) = self.roster.device(from) {
                return Some(put(&ToPeer::ConnectBack(device.id), out));
            }
        }
        if let Some(due) = self.book.next_due(slot) {
            let holders = self.files.get(due.seq).map_or(Default::default(), |e| e.holders());
            let (folder, seq, seekers) = (due.folder, due.seq, due.seekers);
            return Some(put(&ToPeer::Sources { folder, seq, holders, seekers }, out));
        }
        if let Some(line) = self.news.next(&mut s.news) {
            return Some(put(&ToPeer::Notice(line), out));
        }
        if core::mem::take(&mut s.owed.room) {
            let table = self.files.table();
            let count = |n: usize| n.try_into().unwrap_or(u32::MAX);
            return Some(put(
                &ToPeer::Room { used: count(table.len()), of: count(table.estimate_capacity()) },
                out,
            ));
        }
        let rest = self.forget_message(i, slot, out).or_else(|| self.presence(i, out));
        rest.or_else(|| self.want_roster(now, i, out))
    }

    fn forget_message(&mut self, i: usize, slot: Slot, out: &mut [u8]) -> Option<Sent> {
        let s = &mut self.sessions[i];
        let mut ranges = Ranges::new();
        let mut of: Option<FolderSlot> = None;
        loop {
            let before = s.forgot;
            let Some(&(f, seq)) = self.forgotten.next(&mut s.forgot) else { break };
            if !self.files.members(f).has(slot) {
                continue;
            }
            if *of.get_or_insert(f) != f || !extend(&mut ranges, seq) {
                s.forgot = before;
                break;
            }
        }
        of.map(|folder| put(&ToPeer::Forget { folder, ranges }, out))
    }

    fn presence(&mut self, i: usize, out: &mut [u8]) -> Option<Sent> {
        loop {
            let s = &mut self.sessions[i];
            let of = s.presence.iter().next()?;
            s.presence.remove(of);
            let Some(device) = self.roster.device(of) else { continue };
            let peer = &self.peers[of.0 as usize];
            // A loopback address leads a device on another machine to itself. One machine is what is seen at one address.
            let from = s.from;
            let near = is_loopback(&from)
                || peer.session.is_some_and(|other| is_one_host(&self.sessions[other].from, &from));
            let mut addrs = Addrs::new();
            for addr in peer.addrs.iter().filter(|a| near || !is_loopback(a)) {
                addrs.push(*addr).expect("no more than there were");
            }
            let (device, online, lag, caps) =
                (device.id, peer.session.is_some(), self.files.lag(of), peer.caps);
            return Some(put(&ToPeer::Presence { device, online, lag, caps, addrs }, out));
        }
    }
}

/// The parts of a live link's output, most urgent first.
#[derive(Clone, Copy)]
enum Step {
    Verdicts,
    Live,
    Small,
    Back,
}

fn put(message: &ToPeer<'_>, out: &mut [u8]) -> Sent {
    Sent::Frame(message::encode(message, out).expect("every message fits into a frame"))
}

fn is_one_host(a: &Addr, b: &Addr) -> bool {
    match (a, b) {
        (Addr::V4(a, _), Addr::V4(b, _)) => a == b,
        (Addr::V6(a, _), Addr::V6(b, _)) => a == b,
        _ => false,
    }
}

fn is_loopback(addr: &Addr) -> bool {
    match addr {
        Addr::V4(ip, _) => ip[0] == 127,
        Addr::V6(ip, _) => *ip == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    }
}

/// Adds a seq to ascending ranges; false if there is no room.
fn extend(ranges: &mut Ranges, seq: Seq) -> bool {
    if let Some(last) = ranges.last_mut()
        && last.to.0 + 1 == seq.0
    {
        last.to = seq;
        return true;
    }
    ranges.push(SeqRange { from: seq, to: seq }).is_ok()
}
