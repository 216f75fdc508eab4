//! The link to the tracker: dialling its addresses in turn, the handshake, frames in and out.

use crate::client::wire_addr;
use dartsync_core::ids::{LinkId, PublicKey};
use dartsync_core::limits::{FRAME, FRAME_SEALED};
use dartsync_core::link::{Opening, Progress, SEAL_HEAD, StaticKey, TrackerChannel};
use dartsync_core::rng::Rng;
use dartsync_core::sans_io::{Reject, Sent};
use dartsync_core::wire::message::Addr;
use dartsync_hal::net::{Event, LinkKey, Net, NetError};
use dartsync_hal::net_std::NetStd;
use dartsync_hal::os::interface_addresses;
use embedded_io::{Read, Write};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How long an address may take to connect and shake hands, µs.
const DIAL: u64 = 3_000_000;
/// Bytes read, at most, before others have their turn.
const READ: usize = 64 * 1024;
/// Bytes gathered, at least, before they are written, as long as there are frames.
const GATHER: usize = 16 * 1024;

/// What happened on the link, for the peer machine.
pub enum Fact<'a> {
    /// It stands. This end's address on it is told.
    Opened(LinkId, Option<SocketAddr>),
    /// No address answered; why, for the log.
    DialFailed(String),
    /// A frame came.
    Frame(LinkId, &'a [u8]),
    /// It ended; why, for the log.
    Closed(LinkId, String),
}

/// Takes facts; an error on a frame ends the link.
pub type Sink<'a> = dyn FnMut(Fact<'_>) -> Result<(), Reject> + 'a;

/// The link to the tracker.
pub struct TrackerLink {
    me: StaticKey,
    tracker: PublicKey,
    rng: Rng,
    candidates: VecDeque<SocketAddr>,
    /// Where the local network says it is: tried once.
    hints: Vec<SocketAddr>,
    why: String,
    live: Option<Live>,
    count: u32,
    read: Box<[u8; 16 * 1024]>,
    /// Bytes sent and received since the start.
    pub traffic: (u64, u64),
    /// The local network is being asked where it is.
    pub asking: bool,
    /// The address that answered last.
    pub address: Option<SocketAddr>,
}

struct Live {
    key: LinkKey,
    at: SocketAddr,
    /// When the handshake must be done; none once it is.
    until: Option<u64>,
    channel: Option<Box<TrackerChannel>>,
    id: LinkId,
    out: Vec<u8>,
    sent: usize,
}

impl TrackerLink {
    /// No link yet.
    pub fn new(me: StaticKey, tracker: PublicKey, rng: Rng) -> TrackerLink {
        TrackerLink {
            me,
            tracker,
            rng,
            candidates: VecDeque::new(),
            hints: Vec::new(),
            why: String::new(),
            live: None,
            count: 0,
            read: Box::new([0; 16 * 1024]),
            traffic: (0, 0),
            asking: false,
            address: None,
        }
    }

    /// The tracker's key.
    pub fn key(&self) -> PublicKey {
        self.tracker
    }

    /// Dials the addresses in turn, each for 3 s; a fact follows. An older link is closed first.
    pub fn dial(&mut self, net: &mut NetStd, now: u64, addresses: Vec<SocketAddr>, sink: &mut Sink<'_>) {
        self.end(net, "replaced", sink);
        self.candidates = std::mem::take(&mut self.hints).into_iter().chain(addresses).collect();
        self.why = "no address of the tracker is known".into();
        self.next(net, now, sink);
    }

    /// Where it may be, too: dialled behind the addresses that are being dialled, or before those of the next dial.
    pub fn hint(&mut self, addresses: Vec<SocketAddr>) {
        if self.live.as_ref().is_none_or(|l| l.until.is_some()) {
            self.hints = addresses;
        }
    }

    fn next(&mut self, net: &mut NetStd, now: u64, sink: &mut Sink<'_>) {
        if self.candidates.is_empty() {
            self.candidates = std::mem::take(&mut self.hints).into();
        }
        while let Some(at) = self.candidates.pop_front() {
            match net.dial(at.into()) {
                Ok(key) => {
                    self.count += 1;
                    let id = LinkId(self.count);
                    let until = Some(now + DIAL);
                    let (channel, out) = (None, Vec::new());
                    self.live = Some(Live { key, at, until, channel, id, out, sent: 0 });
                    return;
                }
                Err(e) => self.why = format!("{at}: {e}"),
            }
        }
        // Nobody rejects the news that there is no link.
        let _ = sink(Fact::DialFailed(std::mem::take(&mut self.why)));
    }

    /// Whether the event is this link's, and then acts on it.
    pub fn event(&mut self, net: &mut NetStd, now: u64, event: Event, sink: &mut Sink<'_>) -> bool {
        let Some(live) = &mut self.live else { return false };
        match event {
            Event::Connected(k) if k == live.key => {
                let rng = &mut self.rng;
                let dial = TrackerChannel::dial(&self.me, self.tracker, Opening::TRACKER, None, rng);
                live.channel = Some(Box::new(dial));
                self.flush(net, now, sink);
            }
            Event::Failed(k, e) if k == live.key => self.fail(net, now, &e.to_string(), sink),
            Event::Closed(k) if k == live.key => self.fail(net, now, "reset by the tracker", sink),
            Event::Readable(k) if k == live.key => self.readable(net, now, sink),
            Event::Writable(k) if k == live.key => self.flush(net, now, sink),
            _ => return false,
        }
        true
    }

    /// When [`timeout`](TrackerLink::timeout) is due.
    pub fn deadline(&self) -> Option<u64> {
        self.live.as_ref()?.until
    }
    /// Gives up an address that is too slow.
    pub fn timeout(&mut self, net: &mut NetStd, now: u64, sink: &mut Sink<'_>) {
        if self.deadline().is_some_and(|t| t <= now) {
            self.fail(net, now, "no answer within 3 s", sink);
        }
    }

    /// Closes the link if it is that one; the machine asked for it, so it is not told.
    pub fn hang(&mut self, net: &mut NetStd, id: LinkId) {
        if self.live.as_ref().is_some_and(|l| l.id == id) {
            net.close(self.live.take().expect("just seen").key);
        }
    }

    /// Sends what is due, as long as it goes out. True if the machine asked for a pause: come again.
    pub fn transmit(
        &mut self,
        net: &mut NetStd,
        now: u64,
        poll: &mut dyn FnMut(LinkId, &mut [u8]) -> Sent,
        sink: &mut Sink<'_>,
    ) -> bool {
        let mut again = false;
        loop {
            let Some(live) = self.live.as_mut().filter(|l| l.until.is_none()) else { return false };
            if live.sent < live.out.len() {
                return again;
            }
            again = live.gather(poll);
            if live.out.is_empty() {
                net.set_interest(live.key, true, false);
                return again;
            }
            self.flush(net, now, sink);
            if again {
                return true;
            }
        }
    }

    fn readable(&mut self, net: &mut NetStd, now: u64, sink: &mut Sink<'_>) {
        let mut total = 0;
        while total < READ {
            let Some(live) = &mut self.live else { return };
            let Some(mut link) = net.link(live.key) else { return };
            let n = match link.read(&mut self.read[..]) {
                Ok(0) => return self.fail(net, now, "closed by the tracker", sink),
                Ok(n) => n,
                Err(NetError::NotReady) => return,
                Err(e) => return self.fail(net, now, &e.to_string(), sink),
            };
            total += n;
            self.traffic.1 += n as u64;
            if let Err(why) = self.take(net, n, sink) {
                return self.fail(net, now, &why, sink);
            }
        }
    }

    /// Hands what was read to the channel, and its frames to the machine.
    fn take(&mut self, net: &NetStd, n: usize, sink: &mut Sink<'_>) -> Result<(), String> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let channel = live.channel.as_mut().ok_or("speaks before it is asked")?;
        let mut at = 0;
        while at < n {
            at += channel.feed(&self.read[at..n]).map_err(|e| e.to_string())?;
            if live.until.is_some() && channel.progress() == Progress::Open {
                live.until = None;
                self.candidates.clear();
                self.hints.clear();
                self.address = Some(live.at);
                let here = net.local(live.key).map(SocketAddr::from);
                sink(Fact::Opened(live.id, here)).map_err(|r| r.why.to_owned())?;
            }
            while let Some(frame) = channel.next_frame().map_err(|e| e.to_string())? {
                sink(Fact::Frame(live.id, frame)).map_err(|r| r.why.to_owned())?;
            }
        }
        Ok(())
    }

    /// Writes as much as goes.
    fn flush(&mut self, net: &mut NetStd, now: u64, sink: &mut Sink<'_>) {
        let Some(live) = &mut self.live else { return };
        if let Some(channel) = &mut live.channel {
            let said = channel.output();
            live.out.extend_from_slice(said);
            let n = said.len();
            channel.sent(n);
        }
        while live.sent < live.out.len() {
            let Some(mut link) = net.link(live.key) else { return };
            match link.write(&live.out[live.sent..]) {
                Ok(n) => {
                    live.sent += n;
                    self.traffic.0 += n as u64;
                }
                Err(NetError::NotReady) => return net.set_interest(live.key, true, true),
                Err(e) => return self.fail(net, now, &e.to_string(), sink),
            }
        }
        (live.sent, _) = (0, live.out.clear());
    }

    /// The link is at its end: the next address is dialled if it never stood.
    fn fail(&mut self, net: &mut NetStd, now: u64, why: &str, sink: &mut Sink<'_>) {
        let Some(live) = self.live.take() else { return };
        net.close(live.key);
        if live.until.is_some() {
            self.why = format!("{}: {why}", live.at);
            self.next(net, now, sink);
        } else {
            let _ = sink(Fact::Closed(live.id, why.to_owned()));
        }
    }

    /// Closes whatever there is.
    fn end(&mut self, net: &mut NetStd, why: &str, sink: &mut Sink<'_>) {
        self.candidates.clear();
        let Some(live) = self.live.take() else { return };
        net.close(live.key);
        if live.until.is_none() {
            let _ = sink(Fact::Closed(live.id, why.to_owned()));
        }
    }
}

impl Live {
    /// Seals frames as long as there are some and little is gathered. True if the machine asked for a pause.
    fn gather(&mut self, poll: &mut dyn FnMut(LinkId, &mut [u8]) -> Sent) -> bool {
        let Some(channel) = &mut self.channel else { return false };
        while self.out.len() < GATHER {
            let at = self.out.len();
            self.out.resize(at + SEAL_HEAD + FRAME_SEALED, 0);
            let buf = &mut self.out[at..];
            match poll(self.id, &mut buf[SEAL_HEAD..SEAL_HEAD + FRAME]) {
                Sent::Frame(n) => {
                    let sealed = channel.seal(buf, n);
                    self.out.truncate(at + sealed);
                }
                other => {
                    self.out.truncate(at);
                    return other == Sent::Again;
                }
            }
        }
        false
    }
}

/// Addresses of this machine where other devices may reach it: of interfaces that are up, not link-local; loopback too
/// if the tracker is reached by it. A listener at one address has that one.
pub fn own_addresses(listen: SocketAddr, by_loopback: bool) -> Vec<Addr> {
    if !listen.ip().is_unspecified() {
        return vec![wire_addr(&listen)];
    }
    let loopback = by_loopback.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    // A wildcard of IPv4 hears nothing of IPv6.
    let own =
        interface_addresses().unwrap_or_default().into_iter().filter(|ip| ip.is_ipv4() || listen.is_ipv6());
    let all = loopback.into_iter().chain(own);
    all.map(|ip| wire_addr(&SocketAddr::new(ip, listen.port()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_at_one_address_is_reached_there_alone() {
        let at: SocketAddr = "127.0.0.1:7421".parse().unwrap();
        assert_eq!(own_addresses(at, false), [Addr::V4([127, 0, 0, 1], 7421)]);
        let any: SocketAddr = "0.0.0.0:7421".parse().unwrap();
        assert!(own_addresses(any, true).contains(&Addr::V4([127, 0, 0, 1], 7421)));
        assert!(!own_addresses(any, false).contains(&Addr::V4([127, 0, 0, 1], 7421)));
    }
}
