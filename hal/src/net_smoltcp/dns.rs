//! Messages of the domain name system, as far as [`mdns`](super::mdns) needs them: questions in, records out.

/// Where mDNS speaks.
pub(super) const PORT: u16 = 5353;
/// To whom it speaks.
pub(super) const GROUP: [u8; 4] = [224, 0, 0, 251];

const HEADER: usize = 12;
/// Labels of a name, at most: names with more are nobody's here.
const LABELS: usize = 8;
/// Jumps within a name, at most. Each goes back, so they end in any case.
const JUMPS: usize = 8;
/// Questions and records of a packet that are looked at.
const ENTRIES: usize = 32;

pub(super) mod kind {
    pub const A: u16 = 1;
    pub const PTR: u16 = 12;
    pub const TXT: u16 = 16;
    pub const SRV: u16 = 33;
    pub const ANY: u16 = 255;
}

pub(super) mod class {
    pub const IN: u16 = 1;
    pub const ANY: u16 = 255;
    /// In a question: answer me alone. In a record: forget what you knew.
    pub const FLUSH: u16 = 0x8000;
}

/// A name as it stands in a packet.
#[derive(Clone, Copy)]
pub(super) struct Name<'p> {
    labels: [&'p [u8]; LABELS],
    len: usize,
}

impl<'p> Name<'p> {
    /// The name that begins at `at`, and where it ends there.
    fn parse(packet: &'p [u8], mut at: usize) -> Option<(Name<'p>, usize)> {
        let mut name = Name { labels: [&[]; LABELS], len: 0 };
        let (mut end, mut jumps) = (None, 0);
        loop {
            let len = usize::from(*packet.get(at)?);
            match len >> 6 {
                0 if len == 0 => return Some((name, end.unwrap_or(at + 1))),
                0 => {
                    *name.labels.get_mut(name.len)? = packet.get(at + 1..at + 1 + len)?;
                    name.len += 1;
                    at += 1 + len;
                }
                3 if jumps < JUMPS => {
                    let to = (len & 63) << 8 | usize::from(*packet.get(at + 1)?);
                    end = end.or(Some(at + 2));
                    jumps += 1;
                    at = if to < at { to } else { return None };
                }
                _ => return None,
            }
        }
    }
    /// Whether it is this one, whatever the case of its letters.
    pub(super) fn is(&self, labels: &[&[u8]]) -> bool {
        let ours = self.labels[..self.len].iter();
        self.len == labels.len() && ours.zip(labels).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }
}

/// A question.
pub(super) struct Question<'p> {
    pub(super) name: Name<'p>,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// The asker wants the answer for itself.
    pub(super) unicast: bool,
}

/// An answer that the asker knows.
pub(super) struct Known<'p> {
    pub(super) name: Name<'p>,
    pub(super) kind: u16,
    pub(super) ttl: u32,
    /// What a PTR record names.
    pub(super) target: Option<Name<'p>>,
}

/// A packet that asks.
pub(super) struct Query<'p> {
    packet: &'p [u8],
    pub(super) id: u16,
    questions: usize,
    answers: usize,
}

fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

impl<'p> Query<'p> {
    /// None if it is no query.
    pub(super) fn parse(packet: &'p [u8]) -> Option<Query<'p>> {
        let count = |at| u16_at(packet, at).map(|n| usize::from(n).min(ENTRIES));
        let (questions, answers) = (count(4)?, count(6)?);
        // A response, or another kind of operation, is not for us.
        let ours = packet.len() >= HEADER && packet[2] & 0xf8 == 0;
        ours.then_some(Query { packet, id: u16_at(packet, 0)?, questions, answers })
    }
    /// The questions, up to one that is damaged.
    pub(super) fn questions(&self) -> impl Iterator<Item = Question<'p>> + use<'p> {
        let (packet, mut at) = (self.packet, HEADER);
        (0..self.questions).map_while(move |_| {
            let (question, end) = question(packet, at)?;
            at = end;
            Some(question)
        })
    }
    /// What the asker knows already, as far as it is whole.
    pub(super) fn answers(&self) -> impl Iterator<Item = Known<'p>> + use<'p> {
        let (packet, mut at) = (self.packet, Some(HEADER));
        for _ in 0..self.questions {
            at = at.and_then(|at| question(packet, at)).map(|(_, end)| end);
        }
        (0..self.answers).map_while(move |_| {
            let (name, end) = Name::parse(packet, at?)?;
            let kind = u16_at(packet, end)?;
            let ttl = u32::from_be_bytes(*packet.get(end + 4..)?.first_chunk()?);
            let data = end + 10;
            let target =
                (kind == kind::PTR).then(|| Name::parse(packet, data)).flatten().map(|(name, _)| name);
            at = Some(data + usize::from(u16_at(packet, end + 8)?));
            Some(Known { name, kind, ttl, target })
        })
    }
}

fn question(packet: &[u8], at: usize) -> Option<(Question<'_>, usize)> {
    let (name, end) = Name::parse(packet, at)?;
    let (kind, class) = (u16_at(packet, end)?, u16_at(packet, end + 2)?);
    let unicast = class & class::FLUSH != 0;
    Some((Question { name, kind, class: class & !class::FLUSH, unicast }, end + 4))
}

/// A message being written. What does not fit is noted, and told at the end.
pub(super) struct Out<'b> {
    bytes: &'b mut [u8],
    len: usize,
    full: bool,
}

impl<'b> Out<'b> {
    pub(super) fn new(bytes: &'b mut [u8]) -> Self {
        Out { bytes, len: 0, full: false }
    }
    /// Its length, if it fitted.
    pub(super) fn finish(self) -> Option<usize> {
        (!self.full).then_some(self.len)
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.full = true,
        }
    }
    pub(super) fn u16(&mut self, n: u16) {
        self.bytes(&n.to_be_bytes());
    }
    /// Bytes with their length before them; what is beyond 255 is cut off.
    pub(super) fn text(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(255)];
        self.bytes(&[text.len() as u8]);
        self.bytes(text);
    }
    pub(super) fn name(&mut self, labels: &[&[u8]]) {
        labels.iter().for_each(|label| self.text(label));
        self.bytes(&[0]);
    }
    /// The head of an authoritative answer.
    pub(super) fn header(&mut self, id: u16, questions: u16, answers: u16, more: u16) {
        [id, 0x8400, questions, answers, 0, more].into_iter().for_each(|n| self.u16(n));
    }
    /// A question, repeated.
    pub(super) fn question(&mut self, question: &Question<'_>) {
        self.name(&question.name.labels[..question.name.len]);
        self.u16(question.kind);
        self.u16(question.class);
    }
    /// A record, whose data `data` writes.
    pub(super) fn record(
        &mut self,
        name: &[&[u8]],
        kind: u16,
        class: u16,
        ttl: u32,
        data: impl FnOnce(&mut Self),
    ) {
        self.name(name);
        self.u16(kind);
        self.u16(class);
        self.bytes(&ttl.to_be_bytes());
        let at = self.len;
        self.u16(0);
        data(self);
        if !self.full {
            let len = (self.len - at - 2) as u16;
            self.bytes[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
    }
}
