//! Tells who asks on the local network where a service is (RFC 6762 and 6763), as bytes in and bytes out.
//!
//! Five records, of one service on one host:
//! ```text
//! _services._dns-sd._udp.local   PTR  KIND._tcp.local
//! KIND._tcp.local                PTR  INSTANCE.KIND._tcp.local
//! INSTANCE.KIND._tcp.local       SRV  HOST.local:PORT
//! INSTANCE.KIND._tcp.local       TXT  …
//! HOST.local                     A    ADDRESS
//! ```
//! Names are made unique by the hardware address instead of by asking whether they are free.

use crate::dns::{self, Name, Out, class, kind};

/// A service that the local network can find.
#[derive(Clone, Copy, Debug)]
pub struct Service<'m> {
    /// Its kind, as `_http`; at most 15 letters behind the underscore.
    pub kind: &'m str,
    /// What people call it; what is beyond 50 bytes is cut off, and a part of the hardware address added.
    pub instance: &'m str,
    /// `key=value` each, at most 255 bytes.
    pub txt: &'m [&'m str],
}

/// Where an answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum To {
    Everybody,
    Asker,
}

/// Each record once a second to everybody: so the protocol wants it.
const QUIET_US: u64 = 1_000_000;
/// Answers to single askers: so many at once, then one each such span.
const BURST: u64 = 20;
const EACH_US: u64 = 50_000;
/// An address is announced so often, a second apart.
const ANNOUNCEMENTS: u8 = 3;
/// Seconds that others keep what names an address, and what does not.
const TTL_HOST: u32 = 120;
const TTL_OTHER: u32 = 4500;
/// For askers that are no mDNS programs.
const TTL_LEGACY: u32 = 10;
const LABEL: usize = 63;

/// Records, as bits.
mod record {
    pub const KINDS: u8 = 1;
    pub const PTR: u8 = 2;
    pub const SRV: u8 = 4;
    pub const TXT: u8 = 8;
    pub const A: u8 = 16;
    pub const ALL: [u8; 5] = [KINDS, PTR, SRV, TXT, A];
}

/// Answers for one service.
pub(super) struct Responder<'m> {
    service: Service<'m>,
    port: u16,
    host: Label,
    instance: Label,
    /// This end's address while it has one.
    ip: Option<[u8; 4]>,
    left: u8,
    announce_at: u64,
    /// When each record was sent to everybody last.
    sent: [Option<u64>; 5],
    paid_until: u64,
}

#[derive(Clone, Copy)]
struct Label {
    bytes: [u8; LABEL],
    len: usize,
}

impl Label {
    fn of(parts: [&str; 2], mac: [u8; 6]) -> Label {
        let mut label = Label { bytes: [0; LABEL], len: 0 };
        parts.iter().for_each(|p| label.push(p.as_bytes()));
        for byte in &mac[3..] {
            label.push(&[hex(byte >> 4), hex(byte & 15)]);
        }
        label
    }
    fn push(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(LABEL - self.len);
        self.bytes[self.len..][..n].copy_from_slice(&bytes[..n]);
        self.len += n;
    }
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

impl<'m> Responder<'m> {
    /// Answers for `service` at `port` of the machine with this hardware address.
    pub(super) fn new(service: Service<'m>, port: u16, mac: [u8; 6]) -> Self {
        let name = service.instance;
        let cut = (0..=name.len().min(50)).rev().find(|i| name.is_char_boundary(*i)).unwrap_or(0);
        Responder {
            service,
            port,
            host: Label::of([service.kind.trim_start_matches('_'), "-"], mac),
            instance: Label::of([&name[..cut], " "], mac),
            ip: None,
            left: 0,
            announce_at: 0,
            sent: [None; 5],
            paid_until: 0,
        }
    }
    /// This end has this address from now on, or none; it is announced.
    pub(super) fn set_address(&mut self, now: u64, ip: Option<[u8; 4]>) {
        self.ip = ip;
        (self.left, self.announce_at) = (if ip.is_some() { ANNOUNCEMENTS } else { 0 }, now);
    }
    /// When an announcement is due; `u64::MAX` = never.
    pub(super) fn due(&self) -> u64 {
        if self.left > 0 { self.announce_at } else { u64::MAX }
    }
    /// An announcement to everybody, if one is due; its length.
    pub(super) fn announce(&mut self, now: u64, out: &mut [u8]) -> Option<usize> {
        if now < self.due() {
            return None;
        }
        (self.left, self.announce_at) = (self.left - 1, now + 1_000_000);
        let mut out = Out::new(out);
        self.respond(&mut out, None, record::PTR | record::SRV | record::TXT | record::A, TTL_OTHER)?;
        self.sent = [None, Some(now), Some(now), Some(now), Some(now)];
        out.finish()
    }
    /// The answer to a packet that came in from that port, if it asks for anything that is known.
    pub(super) fn answer(
        &mut self,
        now: u64,
        packet: &[u8],
        port: u16,
        out: &mut [u8],
    ) -> Option<(usize, To)> {
        self.ip?;
        let legacy = port != dns::PORT;
        let query = dns::Query::parse(packet)?;
        let (mut wanted, mut unicast) = (0, legacy);
        for question in query.questions() {
            let matched = self.wanted(&question.name, question.kind, question.class);
            wanted |= matched;
            unicast |= matched != 0 && question.unicast;
        }
        for known in query.answers() {
            let ours = known.kind == kind::PTR && known.ttl >= TTL_OTHER / 2 && self.is_kind(&known.name);
            if ours && known.target().is_some_and(|t| self.is_instance(&t)) {
                wanted &= !record::PTR;
            }
        }
        let to = if unicast { To::Asker } else { To::Everybody };
        match to {
            To::Asker if wanted != 0 && self.pay(now) => {}
            To::Asker => return None,
            To::Everybody => {
                for (bit, at) in record::ALL.iter().zip(&mut self.sent) {
                    match at {
                        Some(at) if now < *at + QUIET_US => wanted &= !bit,
                        at if wanted & bit != 0 => *at = Some(now),
                        _ => {}
                    }
                }
            }
        }
        if wanted == 0 {
            return None;
        }
        let mut out = Out::new(out);
        let ttl = if legacy { TTL_LEGACY } else { TTL_OTHER };
        self.respond(&mut out, legacy.then_some(&query), wanted, ttl)?;
        Some((out.finish()?, to))
    }
    fn pay(&mut self, now: u64) -> bool {
        let paid = self.paid_until.max(now) + EACH_US;
        let may = paid <= now + BURST * EACH_US;
        if may {
            self.paid_until = paid;
        }
        may
    }

    fn kind_name(&self) -> [&[u8]; 3] {
        [self.service.kind.as_bytes(), b"_tcp", b"local"]
    }
    fn instance_name(&self) -> [&[u8]; 4] {
        [self.instance.bytes(), self.service.kind.as_bytes(), b"_tcp", b"local"]
    }
    fn host_name(&self) -> [&[u8]; 2] {
        [self.host.bytes(), b"local"]
    }
    fn is_kind(&self, name: &Name<'_>) -> bool {
        name.is(&self.kind_name())
    }
    fn is_instance(&self, name: &Name<'_>) -> bool {
        name.is(&self.instance_name())
    }
    /// The records that a question asks for.
    fn wanted(&self, name: &Name<'_>, asked: u16, of: u16) -> u8 {
        if of != class::IN && of != class::ANY {
            return 0;
        }
        let any = |known: u16, bit: u8| if asked == known || asked == kind::ANY { bit } else { 0 };
        if name.is(&KINDS) {
            any(kind::PTR, record::KINDS)
        } else if self.is_kind(name) {
            any(kind::PTR, record::PTR)
        } else if self.is_instance(name) {
            any(kind::SRV, record::SRV) | any(kind::TXT, record::TXT)
        } else if name.is(&self.host_name()) {
            any(kind::A, record::A)
        } else {
            0
        }
    }

    /// Writes the records that are wanted, and behind them those that will be asked for next. A legacy query is
    /// repeated in its answer.
    fn respond(
        &self,
        out: &mut Out<'_>,
        legacy: Option<&dns::Query<'_>>,
        wanted: u8,
        ttl: u32,
    ) -> Option<()> {
        let mut more = 0;
        if wanted & record::PTR != 0 {
            more |= record::SRV | record::TXT | record::A;
        }
        if wanted & record::SRV != 0 {
            more |= record::A;
        }
        more &= !wanted;
        let (id, questions) = legacy.map_or((0, 0), |q| (q.id, 1));
        out.header(id, questions, wanted.count_ones() as u16, more.count_ones() as u16);
        if let Some(question) = legacy.and_then(|q| q.questions().next()) {
            out.question(&question);
        }
        let unique = if legacy.is_some() { class::IN } else { class::IN | class::FLUSH };
        for set in [wanted, more] {
            for bit in record::ALL.into_iter().filter(|bit| set & bit != 0) {
                self.record(out, bit, unique, ttl)?;
            }
        }
        Some(())
    }
    fn record(&self, out: &mut Out<'_>, bit: u8, unique: u16, ttl: u32) -> Option<()> {
        let host_ttl = ttl.min(TTL_HOST);
        match bit {
            record::KINDS => {
                out.record(&KINDS, kind::PTR, class::IN, ttl, |out| out.name(&self.kind_name()));
            }
            record::PTR => {
                let target = self.instance_name();
                out.record(&self.kind_name(), kind::PTR, class::IN, ttl, |out| out.name(&target));
            }
            record::SRV => out.record(&self.instance_name(), kind::SRV, unique, host_ttl, |out| {
                [0, 0, self.port].into_iter().for_each(|n| out.u16(n));
                out.name(&self.host_name());
            }),
            record::TXT => out.record(&self.instance_name(), kind::TXT, unique, ttl, |out| {
                for text in self.service.txt {
                    out.text(text.as_bytes());
                }
                if self.service.txt.is_empty() {
                    out.text(b"");
                }
            }),
            _ => {
                let ip = self.ip?;
                out.record(&self.host_name(), kind::A, unique, host_ttl, |out| out.bytes(&ip));
            }
        }
        Some(())
    }
}

const KINDS: [&[u8]; 4] = [b"_services", b"_dns-sd", b"_udp", b"local"];
