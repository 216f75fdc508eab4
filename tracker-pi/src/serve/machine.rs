//! What the loop wants of the machine it carries: the calls of the tracker, so that the loop can be tried out with
//! machines that misbehave.

use dartsync_core::ids::{InviteId, LinkId};
use dartsync_core::sans_io::{Reject, Sent};
use dartsync_core::time::{Instant, Now};
use dartsync_core::tracker::{Event, Identity};
use dartsync_core::wire::message::Addr;

/// The tracker's calls.
pub trait Machine {
    /// The tracker's `handle_open`.
    fn handle_open(&mut self, now: Now, link: LinkId, who: Identity, from: Addr) -> Result<(), Reject>;
    /// The tracker's `handle_frame`.
    fn handle_frame(&mut self, now: Now, link: LinkId, frame: &[u8]) -> Result<(), Reject>;
    /// The tracker's `handle_closed`.
    fn handle_closed(&mut self, now: Now, link: LinkId);
    /// The tracker's `handle_timeout`.
    fn handle_timeout(&mut self, now: Now);
    /// The tracker's `poll_event`.
    fn poll_event(&mut self) -> Option<Event>;
    /// The tracker's `poll_transmit`.
    fn poll_transmit(&mut self, now: Now, link: LinkId, out: &mut [u8]) -> Sent;
    /// The tracker's `poll_timeout`.
    fn poll_timeout(&self) -> Option<Instant>;
    /// The tracker's `invite_secret`.
    fn invite_secret(&self, now: Now, id: InviteId) -> Option<[u8; 16]>;
    /// The tracker's `sealed_roster`.
    fn sealed_roster(&self) -> &[u8];
}
