//! What the loop wants of the machine it carries: the calls of [`Tracker`], so that the loop can be tried out with
//! machines that misbehave.

use super::report;
use core::fmt;
use dartsync_core::ids::{InviteId, LinkId};
use dartsync_core::sans_io::{Reject, Sent};
use dartsync_core::time::{Duration, Instant, Now};
use dartsync_core::tracker::{Event, Identity, Tracker};
use dartsync_core::wire::message::Addr;

/// See [`Tracker`], whose methods these are.
pub trait Machine {
    /// [`Tracker::handle_open`].
    fn handle_open(&mut self, now: Now, link: LinkId, who: Identity, from: Addr) -> Result<(), Reject>;
    /// [`Tracker::handle_frame`].
    fn handle_frame(&mut self, now: Now, link: LinkId, frame: &[u8]) -> Result<(), Reject>;
    /// [`Tracker::handle_closed`].
    fn handle_closed(&mut self, now: Now, link: LinkId);
    /// [`Tracker::handle_timeout`].
    fn handle_timeout(&mut self, now: Now);
    /// [`Tracker::poll_event`].
    fn poll_event(&mut self) -> Option<Event>;
    /// [`Tracker::poll_transmit`].
    fn poll_transmit(&mut self, now: Now, link: LinkId, out: &mut [u8]) -> Sent;
    /// [`Tracker::poll_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;
    /// [`Tracker::invite_secret`].
    fn invite_secret(&self, now: Now, id: InviteId) -> Option<[u8; 16]>;
    /// [`Tracker::sealed_roster`].
    fn sealed_roster(&self) -> &[u8];
    /// Writes what the status page says of it; `up` since it began.
    fn report(&self, up: Duration, out: &mut dyn fmt::Write) -> fmt::Result;
}

// By a borrow: a tracker is too large to be moved about.
impl Machine for &mut Tracker<'_> {
    fn handle_open(&mut self, now: Now, link: LinkId, who: Identity, from: Addr) -> Result<(), Reject> {
        (**self).handle_open(now, link, who, from)
    }
    fn handle_frame(&mut self, now: Now, link: LinkId, frame: &[u8]) -> Result<(), Reject> {
        (**self).handle_frame(now, link, frame)
    }
    fn handle_closed(&mut self, now: Now, link: LinkId) {
        (**self).handle_closed(now, link);
    }
    fn handle_timeout(&mut self, now: Now) {
        (**self).handle_timeout(now);
    }
    fn poll_event(&mut self) -> Option<Event> {
        (**self).poll_event()
    }
    fn poll_transmit(&mut self, now: Now, link: LinkId, out: &mut [u8]) -> Sent {
        (**self).poll_transmit(now, link, out)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }
    fn invite_secret(&self, now: Now, id: InviteId) -> Option<[u8; 16]> {
        (**self).invite_secret(now, id)
    }
    fn sealed_roster(&self) -> &[u8] {
        (**self).sealed_roster()
    }
    fn report(&self, up: Duration, out: &mut dyn fmt::Write) -> fmt::Result {
        report::page(self, up, out)
    }
}
