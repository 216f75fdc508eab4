use super::*;
use crate::ids::InviteId;
use crate::limits::{FRAME, FRAME_SEALED};
use crate::rng::Rng;
use clatter::bytearray::SensitiveByteArray;
use clatter::crypto::{cipher::ChaChaPoly, dh::X25519, hash::Blake2s};
use clatter::error::DhResult;
use clatter::handshakepattern::noise_ik;
use clatter::traits::{CryptoComponent, Dh};
use clatter::{Handshaker, KeyPair, NqHandshakeCore};
use std::vec;
use std::vec::Vec;

type Chan = TrackerChannel;

struct World {
    rng: Rng,
    tracker: StaticKey,
    device: StaticKey,
}

fn world(seed: u8) -> World {
    let mut rng = Rng::from_seed([seed; 32]);
    World { tracker: StaticKey::generate(&mut rng), device: StaticKey::generate(&mut rng), rng }
}

impl World {
    fn dial(&mut self, opening: Opening, secret: Option<[u8; 16]>) -> Chan {
        Chan::dial(&self.device, self.tracker.public(), opening, secret.as_ref(), &mut self.rng)
    }
    fn listen(&self) -> Chan {
        Chan::listen(self.tracker.public())
    }
    fn accept(&mut self, l: &mut Chan, secret: Option<[u8; 16]>) -> Result<(), LinkError> {
        l.accept(&self.tracker, secret.as_ref(), &mut self.rng)
    }
    /// Both ends after a good handshake.
    fn pair(&mut self, opening: Opening, secret: Option<[u8; 16]>) -> (Chan, Chan) {
        let (mut d, mut l) = (self.dial(opening, secret), self.listen());
        assert_eq!(l.feed(&out(&mut d)), Ok(140));
        assert_eq!(l.progress(), Progress::Asked(opening));
        self.accept(&mut l, secret).unwrap();
        assert_eq!(l.progress(), Progress::Established);
        assert_eq!(d.feed(&out(&mut l)), Ok(49));
        assert_eq!(d.progress(), Progress::Open);
        (d, l)
    }
}

fn out(c: &mut Chan) -> Vec<u8> {
    let mut buf = vec![0; 300];
    let n = c.poll_output(&mut buf);
    buf.truncate(n);
    buf
}

fn seal(c: &mut Chan, plain: &[u8]) -> Vec<u8> {
    let mut buf = vec![0; plain.len() + SEAL_OVERHEAD];
    buf[SEAL_HEAD..SEAL_HEAD + plain.len()].copy_from_slice(plain);
    let n = c.seal(&mut buf, plain.len());
    assert_eq!(n, buf.len());
    buf
}

/// Feeds all of `bytes` in pieces of at most `step`; gives the frames that came out.
fn frames(c: &mut Chan, bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, LinkError> {
    let mut got = vec![];
    for piece in bytes.chunks(step) {
        let mut at = 0;
        while at < piece.len() {
            at += c.feed(&piece[at..])?;
            while let Some(f) = c.next_frame()? {
                got.push(f.to_vec());
            }
        }
    }
    Ok(got)
}

#[test]
fn both_patterns_open_and_carry_frames_of_every_length() {
    let mut w = world(1);
    for (opening, secret) in [(Opening::TRACKER, None), (Opening::enrol(InviteId(7)), Some([9; 16]))] {
        let (mut d, mut l) = w.pair(opening, secret);
        assert_eq!((d.peer(), l.peer()), (Some(w.tracker.public()), Some(w.device.public())));
        assert_eq!(l.invite(), None, "the secret is proved by the first frame");
        let sizes = [0, 1, 15, 16, 17, 100, 4095, FRAME - 1, FRAME];
        let sent: Vec<Vec<u8>> = sizes.iter().map(|n| vec![*n as u8; *n]).collect();
        for step in [1, 2, 3, 1000, 100_000] {
            let wire: Vec<u8> = sent.iter().flat_map(|p| seal(&mut d, p)).collect();
            assert_eq!(frames(&mut l, &wire, step).as_ref(), Ok(&sent));
            let wire: Vec<u8> = sent.iter().flat_map(|p| seal(&mut l, p)).collect();
            assert_eq!(frames(&mut d, &wire, step).as_ref(), Ok(&sent));
        }
        assert_eq!((l.progress(), l.invite().map_or(0, |i| i.0)), (Progress::Open, opening.invite.0));
    }
}

#[test]
fn wrong_keys_and_secrets_are_told_apart_as_far_as_can_be() {
    let mut w = world(2);
    // Another listener's key: the tag says no before anything is computed.
    let other = StaticKey::generate(&mut w.rng).public();
    let mut d = Chan::dial(&w.device, other, Opening::TRACKER, None, &mut w.rng);
    let mut l = w.listen();
    assert_eq!(l.feed(&out(&mut d)), Err(LinkError::WrongListener));
    assert_eq!((l.feed(&[1]), out(&mut l).len()), (Err(LinkError::Ended), 0));
    // An invite that is not known.
    let (mut d, mut l) = (w.dial(Opening::enrol(InviteId(5)), Some([1; 16])), w.listen());
    l.feed(&out(&mut d)).unwrap();
    assert_eq!(w.accept(&mut l, None), Err(LinkError::NoInvite));
    assert_eq!(d.feed(&out(&mut l)), Err(LinkError::NoInvite));
    // Another secret: the joiner notices, and never sends a frame.
    let (mut d, mut l) = (w.dial(Opening::enrol(InviteId(5)), Some([1; 16])), w.listen());
    l.feed(&out(&mut d)).unwrap();
    w.accept(&mut l, Some([2; 16])).unwrap();
    assert_eq!(d.feed(&out(&mut l)), Err(LinkError::Handshake));
    assert_eq!((l.progress(), l.invite(), d.progress()), (Progress::Established, None, Progress::Ended));
}

/// X25519 for a dialler without a secret, whose public key is the point of order 1: all its own shares are zero.
#[derive(Clone)]
struct Nobody;

impl CryptoComponent for Nobody {
    fn name() -> &'static str {
        X25519::name()
    }
}

impl Dh for Nobody {
    type PrivateKey = SensitiveByteArray<[u8; 32]>;
    type PubKey = [u8; 32];
    type Output = SensitiveByteArray<[u8; 32]>;

    fn genkey_rng<R: clatter::traits::Rng>(rng: &mut R) -> DhResult<KeyPair<[u8; 32], Self::PrivateKey>> {
        X25519::genkey_rng(rng)
    }
    fn pubkey(k: &Self::PrivateKey) -> [u8; 32] {
        X25519::pubkey(k)
    }
    fn dh(k: &Self::PrivateKey, pk: &[u8; 32]) -> DhResult<Self::Output> {
        if **k == [0; 32] { Ok(SensitiveByteArray::new([0; 32])) } else { X25519::dh(k, pk) }
    }
}

#[test]
fn a_key_of_low_order_is_nobody() {
    let mut w = world(3);
    let key = w.tracker.public();
    let me = KeyPair::new([0u8; 32], SensitiveByteArray::new([0u8; 32]));
    let e = StaticKey::generate(&mut w.rng);
    let e = KeyPair::new(e.public().0, SensitiveByteArray::new(*e.secret()));
    let mut said = Opening::TRACKER.encode().to_vec();
    let prologue = [b"dartsync".as_slice(), &said].concat();
    let mut noise = NqHandshakeCore::<Nobody, ChaChaPoly, Blake2s, handshake::Unused>::new(
        noise_ik(),
        &prologue,
        true,
        Some(me),
        Some(e),
        Some(key.0),
        None,
    )
    .unwrap();
    let mut message = [0; 96];
    noise.write_message(&[], &mut message).unwrap();
    said.extend(message);
    let tag = preamble::tag(&key, &said);
    said.extend(tag.as_bytes());
    let mut l = w.listen();
    assert_eq!(l.feed(&said), Ok(140));
    assert_eq!(w.accept(&mut l, None), Err(LinkError::Handshake));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut w = world(4);
    let hello = out(&mut w.dial(Opening::TRACKER, None));
    for bit in 0..hello.len() * 8 {
        let mut bad = hello.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let e = w.listen().feed(&bad).unwrap_err();
        match bit / 8 {
            0..4 => assert_eq!(e, LinkError::Foreign),
            4 => assert_eq!(e, LinkError::Version(bad[4])),
            5..12 => assert!(matches!(e, LinkError::Foreign | LinkError::WrongListener)),
            _ => assert_eq!(e, LinkError::WrongListener),
        }
    }
    for bit in (0..49 * 8).step_by(3) {
        let (mut d, mut l) = (w.dial(Opening::TRACKER, None), w.listen());
        l.feed(&out(&mut d)).unwrap();
        w.accept(&mut l, None).unwrap();
        let mut answer = out(&mut l);
        answer[bit / 8] ^= 1 << (bit % 8);
        assert!(d.feed(&answer).is_err(), "bit {bit}");
    }
    for bit in 16..(20 + SEAL_OVERHEAD) * 8 {
        let (mut d, mut l) = w.pair(Opening::TRACKER, None);
        let mut frame = seal(&mut d, &[3; 20]);
        frame[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(frames(&mut l, &frame, 100), Err(LinkError::Forged));
        assert_eq!(l.feed(&[0]), Err(LinkError::Ended));
    }
}

#[test]
fn an_unknown_version_is_answered_in_clear() {
    let mut w = world(5);
    let mut hello = out(&mut w.dial(Opening::TRACKER, None));
    hello[4] = VERSION + 3;
    let mut l = w.listen();
    assert_eq!(l.feed(&hello[..5]), Err(LinkError::Version(VERSION + 3)));
    assert_eq!(out(&mut l), [VERSION]);
    let mut d = w.dial(Opening::TRACKER, None);
    assert_eq!(d.feed(&[VERSION + 1]), Err(LinkError::Version(VERSION + 1)));
}

#[test]
fn replays_never_open_a_link() {
    let mut w = world(6);
    let mut d = w.dial(Opening::TRACKER, None);
    let hello = out(&mut d);
    let mut first = w.listen();
    first.feed(&hello).unwrap();
    w.accept(&mut first, None).unwrap();
    d.feed(&out(&mut first)).unwrap();
    let frame = seal(&mut d, b"hello");
    assert_eq!(frames(&mut first, &frame, 9).unwrap().len(), 1);
    assert_eq!(frames(&mut first, &frame, 9), Err(LinkError::Forged), "the same frame again");
    let mut again = w.listen();
    again.feed(&hello).unwrap();
    w.accept(&mut again, None).unwrap();
    assert_eq!(again.progress(), Progress::Established);
    assert_eq!(frames(&mut again, &frame, 9), Err(LinkError::Forged));
    // Frames are bound to their order and their direction.
    let (mut d, mut l) = w.pair(Opening::TRACKER, None);
    let (a, b) = (seal(&mut d, b"a"), seal(&mut d, b"b"));
    assert_eq!(frames(&mut d, &a, 9), Err(LinkError::Forged), "reflected");
    assert_eq!(frames(&mut l, &b, 9), Err(LinkError::Forged), "out of order");
}

#[test]
fn wild_lengths_end_the_link() {
    let mut w = world(7);
    for n in [0u16, 1, 15, FRAME_SEALED as u16 + 1, 0x7fff, 0xffff] {
        let (_, mut l) = w.pair(Opening::TRACKER, None);
        assert_eq!(l.feed(&n.to_le_bytes()), Err(LinkError::Length(n)));
    }
    let (_, mut l) = w.pair(Opening::TRACKER, None);
    assert_eq!(frames(&mut l, &vec![0x1f; 70_000], 4096), Err(LinkError::Forged));
}

#[test]
fn what_is_truncated_waits_and_random_bytes_never_panic() {
    let mut w = world(8);
    let hello = out(&mut w.dial(Opening::TRACKER, None));
    for n in 0..hello.len() {
        let mut l = w.listen();
        assert_eq!((l.feed(&hello[..n]), l.progress()), (Ok(n), Progress::Handshake));
        assert!(matches!(l.next_frame(), Ok(None)) && l.peer().is_none());
    }
    for round in 0..2000u64 {
        let mut bytes = vec![0; w.rng.below(400) as usize];
        w.rng.fill(&mut bytes);
        let step = 1 + w.rng.below(64) as usize;
        let keep = w.rng.below(20) as usize;
        if round % 2 == 0 {
            let n = keep.min(bytes.len());
            bytes[..n].copy_from_slice(&hello[..n]);
            assert!(frames_or_asked(&mut w.listen(), &bytes, step));
        } else if round % 20 == 1 {
            let mut d = w.dial(Opening::TRACKER, None);
            bytes.insert(0, VERSION);
            assert!(frames_or_asked(&mut d, &bytes, step));
        }
    }
}

/// Feeds bytes of which nothing can come; true if nothing did.
fn frames_or_asked(c: &mut Chan, bytes: &[u8], step: usize) -> bool {
    for piece in bytes.chunks(step) {
        match c.feed(piece) {
            Ok(0) => return matches!(c.progress(), Progress::Asked(_)),
            Ok(_) => {}
            Err(_) => return c.progress() == Progress::Ended,
        }
    }
    c.progress() == Progress::Handshake
}

#[test]
fn keys_change_every_2_20_records_at_both_ends() {
    let mut w = world(9);
    let (mut d, mut l) = w.pair(Opening::TRACKER, None);
    let (mut e, mut m) = w.pair(Opening::TRACKER, None);
    for c in [&mut d, &mut l, &mut e, &mut m] {
        c.skip_to(records::REKEY - 3);
    }
    for i in 0..8u8 {
        let f = seal(&mut d, &[i]);
        assert_eq!(frames(&mut l, &f, 5), Ok(vec![vec![i]]));
        let f = seal(&mut l, &[i]);
        assert_eq!(frames(&mut d, &f, 5), Ok(vec![vec![i]]));
    }
    // An end that does not change keys is not understood beyond the boundary.
    (0..3u8).for_each(|i| assert!(frames(&mut m, &seal(&mut e, &[i]), 5).is_ok()));
    e.skip_to(records::REKEY * 2 - 1);
    m.skip_to(records::REKEY * 2);
    let _ = seal(&mut e, b"the last of its key");
    assert_eq!(frames(&mut m, &seal(&mut e, b"x"), 50), Err(LinkError::Forged));
}

#[test]
fn a_data_link_hands_out_its_keys_and_takes_no_byte_too_many() {
    let mut w = world(10);
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let key = w.tracker.public();
        let mut d = Channel::<140>::dial(&w.device, key, Opening::data(suite), None, &mut w.rng);
        let mut l = Channel::<140>::listen(key);
        let mut hello = d.output().to_vec();
        hello.extend(b"early record");
        assert_eq!(l.feed(&hello), Ok(140));
        assert_eq!(l.progress(), Progress::Asked(Opening::data(suite)));
        l.accept(&w.tracker, None, &mut w.rng).unwrap();
        let mut answer = l.output().to_vec();
        answer.extend(b"record");
        assert_eq!(d.feed(&answer), Ok(49));
        assert_eq!((d.feed(b"x"), l.feed(b"x")), (Ok(0), Ok(0)));
        assert!(!d.can_seal());
        let ((a, s, p), (b, t, q)) = (d.into_keys().unwrap(), l.into_keys().unwrap());
        assert_eq!((s, t, p, q), (suite, suite, key, w.device.public()));
        assert_eq!((a.send(), a.receive(), a.hash()), (b.receive(), b.send(), b.hash()));
        assert_ne!(a.send(), a.receive());
    }
    assert!(w.dial(Opening::TRACKER, None).into_keys().is_none());
}

#[test]
fn the_cipher_is_bound_by_the_handshake() {
    // A man in the middle who knows the listener's key can make the tag right again, but not the handshake.
    let mut w = world(11);
    let key = w.tracker.public();
    let mut d = Channel::<140>::dial(&w.device, key, Opening::data(Suite::Aes256Gcm), None, &mut w.rng);
    let mut hello = [0; 140];
    d.poll_output(&mut hello);
    hello[6] = Suite::ChaCha20Poly1305 as u8;
    let tag = preamble::tag(&key, &hello[..108]);
    hello[108..].copy_from_slice(tag.as_bytes());
    let mut l = w.listen();
    assert_eq!(l.feed(&hello), Ok(140));
    assert_eq!(w.accept(&mut l, None), Err(LinkError::Handshake));
}
