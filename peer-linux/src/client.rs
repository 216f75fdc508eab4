//! A short visit to the tracker without the peer machine: for `join`, and for commands while `run` is down.

use crate::find;
use anyhow::{Context, Result, anyhow, bail};
use dartsync_core::ids::{FolderId, FolderSlot, PublicKey, Tag};
use dartsync_core::limits::{FRAME, FRAME_SEALED};
use dartsync_core::link::code::InviteCode;
use dartsync_core::link::{LinkError, Opening, Progress, SEAL_HEAD, StaticKey, TrackerChannel};
use dartsync_core::peer::{DEVICE, Index, Number};
use dartsync_core::rng::Rng;
use dartsync_core::roster::{Roster, RosterAssembler, part_at};
use dartsync_core::wire::message::{self, Addr, Addrs, Answer, Request, RosterVersion, ToPeer, ToTracker};
use dartsync_hal::entropy::Entropy;
use dartsync_hal::std_impl::StdEntropy;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long one address may take to answer.
const DIAL: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// An address of the wire as the standard library knows it.
pub fn socket_addr(addr: &Addr) -> SocketAddr {
    match *addr {
        Addr::V4(ip, port) => SocketAddr::new(IpAddr::from(ip), port),
        Addr::V6(ip, port) => SocketAddr::new(IpAddr::from(ip), port).to_canonical(),
    }
}

trait Canonical {
    fn to_canonical(self) -> SocketAddr;
}

impl Canonical for SocketAddr {
    /// An IPv4 address that came in IPv6's clothes is an IPv4 address.
    fn to_canonical(self) -> SocketAddr {
        SocketAddr::new(self.ip().to_canonical(), self.port())
    }
}

/// An address of the standard library as the wire knows it.
pub fn wire_addr(addr: &SocketAddr) -> Addr {
    match addr.to_canonical() {
        SocketAddr::V4(a) => Addr::V4(a.ip().octets(), a.port()),
        SocketAddr::V6(a) => Addr::V6(a.ip().octets(), a.port()),
    }
}

/// A generator seeded by the operating system.
pub fn entropy() -> Rng {
    Rng::from_seed(seed())
}

/// 32 bytes from the operating system.
pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    StdEntropy.fill(&mut seed);
    seed
}

/// What a store says of itself in a Hello (R4).
#[derive(Clone, Copy, Debug)]
pub struct StoreNumbers {
    /// Its tag.
    pub tag: Tag,
    /// The highest counter minted.
    pub counter: u64,
    /// Raised for this dial.
    pub run: u64,
}

impl StoreNumbers {
    /// Takes the numbers of a dial. The caller commits the store before it dials.
    pub fn take(ix: &mut impl Index, rng: &mut Rng) -> StoreNumbers {
        let mut tag = ix.number(DEVICE, Number::Tag) as u32;
        while tag == 0 {
            tag = rng.next_u32();
        }
        let run = ix.number(DEVICE, Number::Run) + 1;
        ix.set_number(DEVICE, Number::Tag, tag.into());
        ix.set_number(DEVICE, Number::Run, run);
        StoreNumbers { tag: Tag(tag), counter: ix.number(DEVICE, Number::Counter), run }
    }
}

/// An [`Answer`] that outlives its frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It is so.
    Done,
    /// An invite: id and secret.
    Invite(u32, [u8; 16]),
    /// The folder that is linked now, and whether it was made by the request.
    Folder(FolderId, FolderSlot, bool),
    /// Not done, and why.
    Refused(String),
    /// The tracker waits for devices (R20).
    Waiting(u8, u8),
}

impl From<Answer<'_>> for Reply {
    fn from(answer: Answer<'_>) -> Reply {
        match answer {
            Answer::Done(_) => Reply::Done,
            Answer::Invite { id, secret } => Reply::Invite(id, secret),
            Answer::Folder { id, slot, made, .. } => Reply::Folder(id, slot, made),
            Answer::Refused(why) => Reply::Refused(why.to_owned()),
            Answer::Waiting { have, of } => Reply::Waiting(have, of),
        }
    }
}

impl Reply {
    /// The reply, or why it is a refusal.
    pub fn granted(self) -> Result<Reply> {
        match self {
            Reply::Refused(why) => bail!("the tracker refused: {why}"),
            Reply::Waiting(have, of) => bail!(
                "the tracker lost its roster and waits for devices to bring it back: {have} of {of} are here, over half are needed; start more devices, or use --force with the tracker's recovery words"
            ),
            other => Ok(other),
        }
    }
}

/// Whom to dial, and by which right.
#[derive(Clone, Debug)]
pub struct Target {
    /// The tracker's key.
    pub tracker: PublicKey,
    /// Its addresses, in the order they are tried.
    pub addresses: Vec<String>,
    /// The invite, for a device that is new.
    pub invite: Option<InviteCode>,
    /// The sealed roster that this device keeps; empty if none.
    pub roster: Vec<u8>,
}

/// The tracker turned this device away: to dial again by the same right is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// It knows no such invite (any longer).
    NoInvite,
    /// It knows the invite, but does not let this device in by it.
    Used,
    /// It knows the invite by another secret.
    Forged,
    /// This device does not belong to the home.
    Stranger,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NEW: &str = "ask for a new one with `dartsync invite` on a device of the home";
        match self {
            Denied::NoInvite => write!(
                f,
                "this invite has expired, was used, or is not of this home (each is good for an hour, once, and until its tracker restarts): {NEW}"
            ),
            Denied::Used => write!(
                f,
                "this invite was already used: {NEW} (or, as the tracker's log tells then, this device was revoked, or the home is full)"
            ),
            Denied::Forged => write!(f, "this invite is wrong, its secret is not the tracker's: {NEW}"),
            Denied::Stranger => f.write_str("this device does not belong to the home (any longer)"),
        }
    }
}

impl std::error::Error for Denied {}

/// The tracker hung up after it was handed the roster that this device keeps.
#[derive(Debug)]
struct HandedIn;

impl std::fmt::Display for HandedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("took the home's roster from this device, and let it in no more")
    }
}

impl std::error::Error for HandedIn {}

/// A link to the tracker, for a few requests.
pub struct Client {
    socket: TcpStream,
    channel: Box<TrackerChannel>,
    address: SocketAddr,
    /// What it means if the tracker hangs up now.
    denied: Option<Denied>,
    /// The sealed roster that this device keeps, for a tracker that lost its own (R20).
    kept: Vec<u8>,
    handed_in: bool,
    requests: u32,
    buf: Vec<u8>,
}

impl Client {
    /// Dials each address in turn, then those that the local network names, and says Hello. Fails at once with
    /// [`Denied`], else with the cause of the last address.
    pub fn visit(me: &StaticKey, target: &Target, store: StoreNumbers, name: &str) -> Result<Client> {
        let mut why = anyhow!(
            "no address of the tracker is known, and none is told on this network: name one with --tracker ADDR:PORT"
        );
        let named = target.addresses.iter().map(Some);
        for address in named.chain([None]) {
            let found: Result<Vec<SocketAddr>> = match address {
                Some(a) => a
                    .to_socket_addrs()
                    .map(Iterator::collect)
                    .with_context(|| format!("{a}: no such address")),
                None => Ok(find::tracker(&target.tracker)),
            };
            let found = match found {
                Ok(found) => found,
                Err(e) => {
                    why = e;
                    continue;
                }
            };
            for at in found {
                let knock = || Self::dial(me, target, at).and_then(|c| c.hello(store, name));
                // A tracker that took a roster lets all come in anew.
                let came = knock().or_else(|e| if e.is::<HandedIn>() { knock() } else { Err(e) });
                match came {
                    Ok(client) => return Ok(client),
                    Err(e) if e.is::<Denied>() => return Err(e),
                    Err(e) => why = e.context(format!("tracker {at}")),
                }
            }
        }
        Err(why)
    }

    fn dial(me: &StaticKey, target: &Target, at: SocketAddr) -> Result<Client> {
        let socket = TcpStream::connect_timeout(&at, DIAL).map_err(|e| anyhow!("cannot be reached: {e}"))?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(DIAL))?;
        let invite = target.invite.as_ref().filter(|code| code.invite.0 != 0);
        let (opening, secret) = match invite {
            Some(code) => (Opening::enrol(code.invite), Some(&code.secret)),
            None => (Opening::TRACKER, None),
        };
        let denied = Some(if invite.is_some() { Denied::Used } else { Denied::Stranger });
        let channel = Box::new(TrackerChannel::dial(me, target.tracker, opening, secret, &mut entropy()));
        let kept = target.roster.clone();
        let buf = vec![0; SEAL_HEAD + FRAME_SEALED];
        let handed_in = false;
        let mut client = Client { socket, channel, address: at, denied, kept, handed_in, requests: 0, buf };
        let until = Instant::now() + DIAL;
        client.flush()?;
        while client.channel.progress() == Progress::Handshake {
            client.read_some(until, &mut |_| Ok(()))?;
        }
        Ok(client)
    }

    /// Says who this is and waits for the welcome.
    fn hello(mut self, store: StoreNumbers, name: &str) -> Result<Client> {
        self.send(&ToTracker::Hello {
            tag: store.tag,
            counter: store.counter,
            run: store.run,
            port: 0,
            addrs: Addrs::new(),
            caps: 0,
            roster: Roster::decode(&self.kept).map_or(RosterVersion::default(), |r| r.version()),
            flags: 0,
            name,
        })?;
        self.until(|m| match m {
            ToPeer::Welcome { .. } => Ok(true),
            ToPeer::NewTag { .. } => {
                bail!("the store is not the one the tracker knows: start `dartsync run`, which mends that")
            }
            _ => Ok(false),
        })?;
        self.denied = None;
        Ok(self)
    }

    /// Where the tracker answered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks, and waits for the answer.
    pub fn request(&mut self, request: Request<'_>) -> Result<Reply> {
        let n = self.requests;
        self.requests += 1;
        self.send(&ToTracker::Request(n, request))?;
        let mut reply = None;
        self.until(|m| {
            if let ToPeer::Reply(of, answer) = m
                && of == n
            {
                reply = Some(Reply::from(answer));
            }
            Ok(reply.is_some())
        })?;
        Ok(reply.expect("waited for"))
    }

    /// The tracker's roster: sealed, and read.
    pub fn roster(&mut self) -> Result<(Vec<u8>, Box<Roster>)> {
        let mut parts = Box::new(RosterAssembler::new());
        self.send(&ToTracker::WantRoster)?;
        self.until(|m| match m {
            ToPeer::Roster(part) => parts.take(&part).map_err(|r| anyhow!("the tracker sends {}", r.why)),
            _ => Ok(false),
        })?;
        let sealed = parts.bytes().to_vec();
        let roster = Roster::decode(&sealed).map_err(|_| anyhow!("the tracker sends a damaged roster"))?;
        Ok((sealed, Box::new(roster)))
    }

    fn send(&mut self, m: &ToTracker<'_>) -> Result<()> {
        let len =
            message::encode(m, &mut self.buf[SEAL_HEAD..SEAL_HEAD + FRAME]).context("a message too long")?;
        let n = self.channel.seal(&mut self.buf, len);
        self.flush()?;
        self.socket.write_all(&self.buf[..n]).context("the tracker does not read")
    }

    /// Sends what the handshake still has to say.
    fn flush(&mut self) -> Result<()> {
        let said = self.channel.output();
        let n = said.len();
        self.socket.write_all(said).context("the tracker does not read")?;
        self.channel.sent(n);
        Ok(())
    }

    /// Reads messages until `done` says so.
    fn until(&mut self, mut done: impl FnMut(ToPeer<'_>) -> Result<bool>) -> Result<()> {
        let until = Instant::now() + ANSWER;
        let (mut finished, mut wanted) = (false, false);
        while !finished {
            self.read_some(until, &mut |frame| {
                let m = message::decode::<ToPeer>(frame).context("the tracker sends what is unknown here")?;
                wanted |= matches!(m, ToPeer::WantRoster);
                finished = finished || done(m)?;
                Ok(())
            })?;
            if std::mem::take(&mut wanted) {
                self.hand_in()?;
            }
        }
        Ok(())
    }

    /// Hands in the roster that this device keeps.
    fn hand_in(&mut self) -> Result<()> {
        let kept = std::mem::take(&mut self.kept);
        let of = Roster::decode(&kept).map_or(RosterVersion::default(), |r| r.version());
        let mut at = 0;
        while let Some(part) = part_at(&kept, of, at, FRAME - 64) {
            at += part.bytes.len();
            self.send(&ToTracker::Roster(part))?;
        }
        self.kept = kept;
        self.handed_in = at > 0;
        Ok(())
    }

    /// What the tracker means by hanging up.
    fn hung_up(&self) -> anyhow::Error {
        match (self.channel.progress(), self.denied) {
            (Progress::Handshake, _) => anyhow!("hung up during the handshake: it may be another tracker"),
            (_, Some(_)) if self.handed_in => HandedIn.into(),
            (_, Some(denied)) => denied.into(),
            (_, None) => anyhow!("hung up"),
        }
    }

    /// Reads once, and hands out each frame that is whole.
    fn read_some(&mut self, until: Instant, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("gave no answer in time");
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut bytes = [0; 16 * 1024];
        let got = match self.socket.read(&mut bytes) {
            Ok(n) if n > 0 => n,
            Ok(_) => return Err(self.hung_up()),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Err(self.hung_up()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("gave no answer in time")
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(anyhow!("broke off: {e}")),
        };
        let mut at = 0;
        while at < got {
            at += self.channel.feed(&bytes[at..got]).map_err(|e| refused(e, self.denied))?;
            while let Some(frame) = self.channel.next_frame().map_err(|e| refused(e, self.denied))? {
                each(frame)?;
            }
        }
        Ok(())
    }
}

/// A link's end as an error of its own where another right to come in may help.
fn refused(e: LinkError, denied: Option<Denied>) -> anyhow::Error {
    match e {
        LinkError::NoInvite => Denied::NoInvite.into(),
        LinkError::Handshake if denied == Some(Denied::Used) => Denied::Forged.into(),
        _ => anyhow!("{e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_there_and_back() {
        for text in ["127.0.0.1:7420", "[::1]:7421", "[fe80::1]:1"] {
            let a: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_addr(&wire_addr(&a)), a);
        }
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        assert_eq!(wire_addr(&mapped), Addr::V4([10, 0, 0, 1], 5));
    }

    #[test]
    fn a_tracker_that_is_not_there_is_told_within_the_dial() {
        let me = StaticKey::generate(&mut Rng::from_seed([1; 32]));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target {
            tracker: PublicKey([9; 32]),
            addresses: vec![free.to_string()],
            invite: None,
            roster: vec![],
        };
        let store = StoreNumbers { tag: Tag(1), counter: 0, run: 1 };
        let e = Client::visit(&me, &target, store, "x").err().unwrap();
        assert!(format!("{e:#}").contains("cannot be reached"), "{e:#}");
    }
}
