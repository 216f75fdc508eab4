//! Requests to the tracker (invite, link, revoke, …) and their answers.

use super::effect::Tell;
use super::machine::Peer;
use crate::ids::{FolderId, FolderSlot};
use crate::wire::message::{Answer, Request, RosterVersion, ToTracker, encode};
use heapless::{String, Vec};

/// Requests that can wait for their answers at once.
pub(super) const REQUESTS: usize = 8;

/// An answer, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It is so.
    Done(RosterVersion),
    /// An invite's id and secret.
    Invite {
        /// Its id.
        id: u32,
        /// Its one-time secret.
        secret: [u8; 16],
    },
    /// The folder that is linked now.
    Folder {
        /// Its id.
        id: FolderId,
        /// Its slot.
        slot: FolderSlot,
        /// Whether it was made by this request.
        made: bool,
    },
    /// Not done, and why.
    Refused(String<160>),
    /// The tracker waits for devices (R20).
    Waiting {
        /// Devices heard from.
        have: u8,
        /// Devices of which over half are needed.
        of: u8,
    },
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) n: u32,
    pub(super) sent: bool,
    pub(super) frame: Vec<u8, 512>,
}

impl Peer {
    /// Asks something of the home; its number. `None`: too many wait already.
    pub fn request(&mut self, request: Request<'_>) -> Option<u32> {
        let s = &mut self.session;
        let n = s.last_request + 1;
        let mut frame = Vec::new();
        frame.resize_default(512).ok()?;
        let len = encode(&ToTracker::Request(n, request), &mut frame)?;
        frame.truncate(len);
        s.asked.push(Asked { n, sent: false, frame }).ok()?;
        s.last_request = n;
        Some(n)
    }

    /// The answer to a request, once it came.
    pub fn take_reply(&mut self, n: u32) -> Option<Reply> {
        let at = self.session.replies.iter().position(|(k, _)| *k == n)?;
        Some(self.session.replies.swap_remove(at).1)
    }

    /// Gives up a request: its answer is not wanted any more.
    pub fn forget_request(&mut self, n: u32) {
        self.session.asked.retain(|a| a.n != n);
        self.session.replies.retain(|(k, _)| *k != n);
    }

    pub(super) fn note_reply(&mut self, n: u32, answer: Answer<'_>) {
        let before = self.session.asked.len();
        self.session.asked.retain(|a| a.n != n);
        if self.session.asked.len() == before {
            return;
        }
        let reply = match answer {
            Answer::Done(v) => Reply::Done(v),
            Answer::Invite { id, secret } => Reply::Invite { id, secret },
            Answer::Folder { id, slot, made, .. } => Reply::Folder { id, slot, made },
            Answer::Refused(why) => {
                let mut s = String::new();
                why.chars().take_while(|c| s.push(*c).is_ok()).count();
                Reply::Refused(s)
            }
            Answer::Waiting { have, of } => Reply::Waiting { have, of },
        };
        if self.session.replies.is_full() {
            self.session.replies.remove(0);
        }
        let _ = self.session.replies.push((n, reply));
        self.tell(Tell::Reply(n));
    }
}
