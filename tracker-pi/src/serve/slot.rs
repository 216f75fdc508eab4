//! One link: its channel and the bytes that are on their way out.

use dartsync_core::ids::LinkId;
use dartsync_core::limits::FRAME;
use dartsync_core::link::{SEAL_HEAD, SEAL_OVERHEAD, TrackerChannel};
use dartsync_core::sans_io::Sent;
use dartsync_core::time::Instant;
use dartsync_hal::net::{Addr, LinkKey, Net, NetError};
use embedded_io::Write;

/// Room for a frame behind another: small ones leave together.
const OUT: usize = 2 * (FRAME + SEAL_OVERHEAD);

/// A link as the loop keeps it.
pub struct Slot {
    pub(super) key: LinkKey,
    pub(super) from: Addr,
    pub(super) since: Instant,
    pub(super) channel: TrackerChannel,
    /// The machine knows it.
    pub(super) open: bool,
    /// A token of the limits is out for it.
    pub(super) charged: bool,
    /// Its handshake waits for a token until then; it is not read meanwhile.
    pub(super) waits: Option<Instant>,
    /// The machine has more for it, when others had their turn.
    pub(super) again: bool,
    out: [u8; OUT],
    at: usize,
    end: usize,
}

const _: () = assert!(size_of::<Option<Slot>>() <= 27 * 1024, "a link's budget");

impl Slot {
    pub(super) fn new(key: LinkKey, from: Addr, since: Instant, channel: TrackerChannel) -> Slot {
        Slot {
            key,
            from,
            since,
            channel,
            open: false,
            charged: false,
            waits: None,
            again: false,
            out: [0; OUT],
            at: 0,
            end: 0,
        }
    }
    /// The link as the machine knows it.
    pub(super) fn id(&self) -> LinkId {
        LinkId(self.key.0)
    }
    /// Writes what is on its way out; true if all of it is gone.
    pub(super) fn flush<N: Net>(&mut self, net: &mut N) -> Result<bool, NetError> {
        if self.is_flushed() {
            return Ok(true);
        }
        let mut link = net.link(self.key).ok_or(NetError::Closed)?;
        loop {
            let handshake = !self.channel.output().is_empty();
            let bytes = if handshake { self.channel.output() } else { &self.out[self.at..self.end] };
            if bytes.is_empty() {
                (self.at, self.end) = (0, 0);
                return Ok(true);
            }
            match link.write(bytes) {
                Ok(n) if handshake => self.channel.sent(n),
                Ok(n) => self.at += n,
                Err(NetError::NotReady) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }
    /// Whether nothing is on its way out.
    pub(super) fn is_flushed(&self) -> bool {
        self.at == self.end && self.channel.output().is_empty()
    }
    /// Asks `next` for plaintexts and seals them, as long as there is room for one more of any size. Only when all
    /// before has left: so a slow reader is never worked for in vain.
    pub(super) fn fill(&mut self, mut next: impl FnMut(&mut [u8]) -> Sent) {
        if !self.is_flushed() || !self.channel.can_seal() {
            return;
        }
        self.again = false;
        while self.out.len() - self.end >= FRAME + SEAL_OVERHEAD {
            let room = &mut self.out[self.end..];
            match next(&mut room[SEAL_HEAD..SEAL_HEAD + FRAME]) {
                Sent::Frame(n) => self.end += self.channel.seal(room, n),
                Sent::Idle => return,
                Sent::Again => {
                    self.again = true;
                    return;
                }
            }
        }
        self.again = true;
    }
}
