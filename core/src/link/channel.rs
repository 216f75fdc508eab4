//! One end of a link. Invariant: the buffer holds at most one unfinished handshake message or frame, so nothing of
//! the next is taken before this one is done, and what does not belong to the handshake stays with the driver.

use super::handshake::{self, Dialling, MESSAGE_1, MESSAGE_2, StaticKey};
use super::preamble::{self, Opening, PREAMBLE, Start, TAG, VERSION};
use super::records::{DataKeys, Records};
use super::{Kind, Suite};
use crate::ids::{InviteId, PublicKey};
use crate::limits::{AEAD_TAG, FRAME, FRAME_SEALED};
use crate::rng::Rng;

/// Bytes a dialler says at first.
const HELLO: usize = PREAMBLE + MESSAGE_1 + TAG;
/// Bytes of a listener's answer.
const ANSWER: usize = 1 + MESSAGE_2;
/// The answer's first byte where the invite is not known.
const NO_INVITE: u8 = 0;

/// Room that [`Channel::seal`] wants before a plaintext.
pub const SEAL_HEAD: usize = 2;
/// What [`Channel::seal`] adds to a plaintext in all.
pub const SEAL_OVERHEAD: usize = SEAL_HEAD + AEAD_TAG;

/// The channel of a tracker link: its buffer takes the longest frame.
pub type TrackerChannel = Channel<{ SEAL_HEAD + FRAME_SEALED }>;

const _: () =
    assert!(size_of::<Channel<HELLO>>() <= 1280, "a channel's state beside its buffer fits its budget");

/// Why a link is at its end. The driver sends what [`Channel::poll_output`] still gives, and hangs up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// The other end does not speak this protocol, or asks for a link of no known kind.
    Foreign,
    /// The other end speaks this version.
    Version(u8),
    /// The tag of message 1 is wrong: the dialler wants another listener.
    WrongListener,
    /// The invite is not known (any longer), or was of another home.
    NoInvite,
    /// Forged, damaged, of other keys, or of another invite secret.
    Handshake,
    /// A frame announces this length.
    Length(u16),
    /// A frame is not what the other end sealed next.
    Forged,
    /// The channel had ended before.
    Ended,
}

impl core::fmt::Display for LinkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            LinkError::Foreign => f.write_str("does not speak DartSync"),
            LinkError::Version(v) => {
                write!(f, "speaks version {v} of the protocol, this is version {VERSION}")
            }
            LinkError::WrongListener => f.write_str("wants another tracker or device"),
            LinkError::NoInvite => f.write_str("the invite is used, expired or of another home"),
            LinkError::Handshake => f.write_str("the handshake failed: wrong key or secret"),
            LinkError::Length(n) => write!(f, "a frame of {n} bytes"),
            LinkError::Forged => f.write_str("a forged or damaged frame"),
            LinkError::Ended => f.write_str("the link had ended"),
        }
    }
}

/// How far a link is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Waiting for the other end.
    Handshake,
    /// Message 1 is here and tagged rightly; [`Channel::accept`] is to be called, when [`super::admission`] lets it.
    Asked(Opening),
    /// The keys stand, but the dialler has not shown yet that it is alive: it may be a replay.
    Established,
    /// The other end is who [`Channel::peer`] says, now.
    Open,
    /// Over.
    Ended,
}

/// One end of a link; `N` = bytes of its buffer: [`TrackerChannel`] for tracker links, at least 140 for data links.
///
/// The driver's loop: feed what was read until all is taken, and after each [`feed`](Channel::feed)
/// look at [`progress`](Channel::progress) (listeners [`accept`](Channel::accept)) and take
/// [`next_frame`](Channel::next_frame) until there is none; then write what [`poll_output`](Channel::poll_output)
/// gives, and sealed frames. On an error, write the rest of the output and hang up. A data link's keys are taken with
/// [`into_keys`](Channel::into_keys) once it is established; its driver counts it as open after its first own record.
pub struct Channel<const N: usize> {
    state: State,
    opening: Opening,
    /// The listener's key, until the handshake tells the dialler's.
    peer: PublicKey,
    open: bool,
    have: usize,
    output: [u8; HELLO],
    output_at: u8,
    output_end: u8,
    inbox: [u8; N],
}

// The handshake's half is the largest by far, and there is no heap to put it on.
#[allow(clippy::large_enum_variant)]
enum State {
    Listening,
    Asked,
    Dialling(Dialling),
    Standing(Records),
    Ended,
}

impl<const N: usize> Channel<N> {
    /// Dials `peer`: message 1 is ready to be sent. `secret` is the invite's, and goes with an opening that names one.
    pub fn dial(
        me: &StaticKey,
        peer: PublicKey,
        opening: Opening,
        secret: Option<&[u8; 16]>,
        rng: &mut Rng,
    ) -> Self {
        assert_eq!(secret.is_some(), opening.invite != InviteId(0), "an invite goes with its secret");
        let mut channel = Self::new(peer, opening);
        let (said, tag) = channel.output.split_at_mut(PREAMBLE + MESSAGE_1);
        let (head, message) = said.split_first_chunk_mut::<PREAMBLE>().expect("longer than a preamble");
        *head = opening.encode();
        let message = message.first_chunk_mut().expect("as long as message 1");
        channel.state = State::Dialling(handshake::dial(me, &peer, &opening, secret, rng, message));
        tag.copy_from_slice(preamble::tag(&peer, said).as_bytes());
        channel.output_end = HELLO as u8;
        channel
    }
    /// Waits for a dialler; `me` is the listener's own key.
    pub fn listen(me: PublicKey) -> Self {
        Self::new(me, Opening::TRACKER)
    }

    /// How far the link is.
    pub fn progress(&self) -> Progress {
        match &self.state {
            State::Listening | State::Dialling(_) => Progress::Handshake,
            State::Asked => Progress::Asked(self.opening),
            State::Standing(_) if self.open => Progress::Open,
            State::Standing(_) => Progress::Established,
            State::Ended => Progress::Ended,
        }
    }
    /// What the link was opened for; of meaning from [`Progress::Asked`] on, or if dialled.
    pub fn opening(&self) -> Opening {
        self.opening
    }
    /// The other end's key; of a listener's link, once it is established.
    pub fn peer(&self) -> Option<PublicKey> {
        match self.state {
            State::Dialling(_) | State::Standing(_) => Some(self.peer),
            State::Listening | State::Asked | State::Ended => None,
        }
    }
    /// The invite that the dialler has proved to know the secret of; [`Progress::Open`] only.
    pub fn invite(&self) -> Option<InviteId> {
        (self.opening.invite.0 != 0 && self.progress() == Progress::Open).then_some(self.opening.invite)
    }

    /// Takes bytes from the other end, as many as it can use now, and says how many. Taking none means that
    /// [`accept`](Channel::accept), [`next_frame`](Channel::next_frame) or [`into_keys`](Channel::into_keys) is due.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, LinkError> {
        let mut taken = 0;
        loop {
            let want = self.wanted()?;
            let n = want.saturating_sub(self.have).min(bytes.len() - taken);
            if n == 0 {
                return Ok(taken);
            }
            self.inbox[self.have..self.have + n].copy_from_slice(&bytes[taken..taken + n]);
            self.have += n;
            taken += n;
            self.look().map_err(|e| self.end(e))?;
        }
    }
    /// The listener's answer to [`Progress::Asked`]: does the Diffie-Hellmans. `secret` is what is known of the
    /// invite that the opening names, if it names one; without it the invite is refused.
    pub fn accept(
        &mut self,
        me: &StaticKey,
        secret: Option<&[u8; 16]>,
        rng: &mut Rng,
    ) -> Result<(), LinkError> {
        assert!(matches!(self.state, State::Asked), "accept answers an asking dialler");
        let secret = secret.filter(|_| self.opening.invite.0 != 0);
        if secret.is_none() && self.opening.invite.0 != 0 {
            return Err(self.end_with(NO_INVITE, LinkError::NoInvite));
        }
        let message = self.inbox[PREAMBLE..].first_chunk::<MESSAGE_1>().expect("the buffer takes a hello");
        let (version, out) = self.output.split_first_mut().expect("not empty");
        let out = out.first_chunk_mut::<MESSAGE_2>().expect("longer than message 2");
        match handshake::answer(me, &self.opening, secret, rng, message, out) {
            Ok((records, peer)) => {
                *version = VERSION;
                self.peer = peer;
                self.state = State::Standing(records);
                (self.have, self.output_at, self.output_end) = (0, 0, ANSWER as u8);
                Ok(())
            }
            Err(handshake::Failed) => Err(self.end(LinkError::Handshake)),
        }
    }
    /// The next frame's plaintext, if it is here whole. It is gone with the next call of any kind.
    pub fn next_frame(&mut self) -> Result<Option<&mut [u8]>, LinkError> {
        if self.have < SEAL_HEAD || self.have < self.wanted()? {
            return Ok(None);
        }
        let State::Standing(records) = &mut self.state else { return Ok(None) };
        let opened = records.open(&mut self.inbox[SEAL_HEAD..self.have]);
        self.have = 0;
        match opened {
            Ok(n) => {
                self.open = true;
                Ok(Some(&mut self.inbox[SEAL_HEAD..SEAL_HEAD + n]))
            }
            Err(_) => Err(self.end(LinkError::Forged)),
        }
    }
    /// Seals the plaintext of `len` bytes that stands at `buf[SEAL_HEAD..]` in place as a frame; gives how many bytes
    /// at the start of `buf` are to be sent. What was sealed must be sent, and in this order, or the link is broken.
    pub fn seal(&mut self, buf: &mut [u8], len: usize) -> usize {
        assert!(len <= FRAME, "frames have a limit");
        assert!(self.opening.kind == Kind::Tracker, "data links have their own records");
        let State::Standing(records) = &mut self.state else { panic!("a link seals while it stands") };
        let n = records.seal(&mut buf[SEAL_HEAD..SEAL_HEAD + len + AEAD_TAG], len);
        buf[..SEAL_HEAD].copy_from_slice(&(n as u16).to_le_bytes());
        SEAL_HEAD + n
    }
    /// Whether [`seal`](Channel::seal) may be called.
    pub fn can_seal(&self) -> bool {
        matches!(self.state, State::Standing(_)) && self.opening.kind == Kind::Tracker
    }
    /// Handshake bytes that are still to be sent, before all else.
    pub fn output(&self) -> &[u8] {
        &self.output[self.output_at.into()..self.output_end.into()]
    }
    /// `n` bytes of [`output`](Channel::output) were sent.
    pub fn sent(&mut self, n: usize) {
        assert!(n <= self.output().len(), "no more is sent than there was");
        self.output_at += n as u8;
    }
    /// Moves handshake bytes to `out`; gives how many.
    pub fn poll_output(&mut self, out: &mut [u8]) -> usize {
        let n = self.output().len().min(out.len());
        out[..n].copy_from_slice(&self.output()[..n]);
        self.sent(n);
        n
    }
    /// The keys of an established data link and its cipher, and who the other end is. None of another link.
    pub fn into_keys(self) -> Option<(DataKeys, Suite, PublicKey)> {
        match self.state {
            State::Standing(r) if self.opening.kind == Kind::Data => {
                Some((r.into_keys(), self.opening.suite, self.peer))
            }
            _ => None,
        }
    }

    fn new(peer: PublicKey, opening: Opening) -> Self {
        const { assert!(N >= HELLO, "the buffer takes a hello") }
        Channel {
            state: State::Listening,
            opening,
            peer,
            open: false,
            have: 0,
            output: [0; HELLO],
            output_at: 0,
            output_end: 0,
            inbox: [0; N],
        }
    }
    /// How many bytes the buffer is to hold before the next thing happens.
    fn wanted(&self) -> Result<usize, LinkError> {
        Ok(match self.state {
            State::Listening => HELLO,
            State::Asked => 0,
            State::Dialling(_) if self.have == 0 => 1,
            State::Dialling(_) => ANSWER,
            State::Standing(_) if self.opening.kind == Kind::Data => 0,
            State::Standing(_) if self.have < SEAL_HEAD => SEAL_HEAD,
            State::Standing(_) => SEAL_HEAD + usize::from(self.announced()),
            State::Ended => return Err(LinkError::Ended),
        })
    }
    /// The length that the frame in the buffer announces.
    fn announced(&self) -> u16 {
        u16::from_le_bytes([self.inbox[0], self.inbox[1]])
    }
    /// Acts on what the buffer holds after something was added.
    fn look(&mut self) -> Result<(), LinkError> {
        match self.state {
            State::Listening => self.look_at_hello(),
            State::Dialling(_) => self.look_at_answer(),
            State::Standing(_) if self.have == SEAL_HEAD => {
                let n = usize::from(self.announced());
                let room = FRAME_SEALED.min(N - SEAL_HEAD);
                if (AEAD_TAG..=room).contains(&n) { Ok(()) } else { Err(LinkError::Length(n as u16)) }
            }
            State::Standing(_) | State::Asked | State::Ended => Ok(()),
        }
    }
    fn look_at_hello(&mut self) -> Result<(), LinkError> {
        match preamble::judge_start(&self.inbox[..self.have]) {
            Start::Foreign => return Err(LinkError::Foreign),
            Start::Version(v) => return Err(self.end_with(VERSION, LinkError::Version(v))),
            Start::Fits if self.have < HELLO => return Ok(()),
            Start::Fits => {}
        }
        let (said, tag) = self.inbox[..HELLO].split_at(PREAMBLE + MESSAGE_1);
        let head = said.first_chunk().expect("longer than a preamble");
        let opening = Opening::decode(head).ok_or(LinkError::Foreign)?;
        let tag: [u8; TAG] = tag.try_into().expect("what remains is the tag");
        if preamble::tag(&self.peer, said) != tag {
            return Err(LinkError::WrongListener);
        }
        self.opening = opening;
        self.state = State::Asked;
        Ok(())
    }
    fn look_at_answer(&mut self) -> Result<(), LinkError> {
        match self.inbox[0] {
            VERSION if self.have < ANSWER => return Ok(()),
            VERSION => {}
            NO_INVITE => return Err(LinkError::NoInvite),
            other => return Err(LinkError::Version(other)),
        }
        let State::Dialling(half) = core::mem::replace(&mut self.state, State::Ended) else {
            unreachable!("only diallers look at answers")
        };
        let message = self.inbox[1..].first_chunk().expect("the buffer takes a hello");
        self.state = State::Standing(half.finish(message).map_err(|_| LinkError::Handshake)?);
        // Message 2 answers this dial's own ephemeral key: it is no replay.
        self.open = true;
        self.have = 0;
        Ok(())
    }
    fn end(&mut self, why: LinkError) -> LinkError {
        self.state = State::Ended;
        self.have = 0;
        why
    }
    /// Ends with one last byte in clear.
    fn end_with(&mut self, last: u8, why: LinkError) -> LinkError {
        self.output[0] = last;
        (self.output_at, self.output_end) = (0, 1);
        self.end(why)
    }
}

impl<const N: usize> core::fmt::Debug for Channel<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Channel({:?}, {:?})", self.opening, self.progress())
    }
}

#[cfg(test)]
impl<const N: usize> Channel<N> {
    /// As if `n` records had gone each way.
    pub(super) fn skip_to(&mut self, n: u64) {
        let State::Standing(records) = &mut self.state else { panic!("it stands") };
        records.skip_to(n);
    }
}
