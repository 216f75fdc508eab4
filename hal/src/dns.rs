//! Messages of the domain name system, as far as mDNS needs them: for who answers (`net_smoltcp/mdns.rs`), questions in
//! and records out; for who asks (`os/find.rs`), the reverse.

/// Where mDNS speaks.
pub(crate) const PORT: u16 = 5353;
/// To whom it speaks.
pub(crate) const GROUP: [u8; 4] = [224, 0, 0, 251];

const HEADER: usize = 12;
/// Labels of a name, at most: names with more are nobody's here.
const LABELS: usize = 8;
/// Jumps within a name, at most. Each goes back, so they end in any case.
const JUMPS: usize = 8;
/// Questions and records of a packet that are looked at.
const ENTRIES: usize = 32;

pub(crate) mod kind {
    pub const A: u16 = 1;
    pub const PTR: u16 = 12;
    pub const TXT: u16 = 16;
    pub const SRV: u16 = 33;
    pub const ANY: u16 = 255;
}

pub(crate) mod class {
    pub const IN: u16 = 1;
    pub const ANY: u16 = 255;
    /// In a question: answer me alone. In a record: forget what you knew.
    pub const FLUSH: u16 = 0x8000;
}

/// A name as it stands in a packet.
#[derive(Clone, Copy)]
pub(crate) struct Name<'p> {
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
    pub(crate) fn is(&self, labels: &[&[u8]]) -> bool {
        let ours = self.labels[..self.len].iter();
        self.len == labels.len() && ours.zip(labels).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }
    /// The labels.
    pub(crate) fn labels(&self) -> &[&'p [u8]] {
        &self.labels[..self.len]
    }
}

/// A question.
pub(crate) struct Question<'p> {
    pub(crate) name: Name<'p>,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// The asker wants the answer for itself.
    pub(crate) unicast: bool,
}

/// A record of a packet.
pub(crate) struct Record<'p> {
    packet: &'p [u8],
    pub(crate) name: Name<'p>,
    pub(crate) kind: u16,
    pub(crate) ttl: u32,
    /// Where its data stand.
    at: usize,
    pub(crate) data: &'p [u8],
}

impl<'p> Record<'p> {
    /// The record that begins at `at`, and where it ends; none if it is damaged.
    fn parse(packet: &'p [u8], at: usize) -> Option<(Record<'p>, usize)> {
        let (name, end) = Name::parse(packet, at)?;
        let kind = u16_at(packet, end)?;
        let ttl = u32::from_be_bytes(*packet.get(end + 4..)?.first_chunk()?);
        let at = end + 10;
        let data = packet.get(at..at + usize::from(u16_at(packet, end + 8)?))?;
        Some((Record { packet, name, kind, ttl, at, data }, at + data.len()))
    }
    /// What a PTR record names.
    pub(crate) fn target(&self) -> Option<Name<'p>> {
        let named = (self.kind == kind::PTR).then(|| Name::parse(self.packet, self.at)).flatten();
        named.map(|(name, _)| name)
    }
    /// The host that an SRV record names, and the port.
    pub(crate) fn service(&self) -> Option<(Name<'p>, u16)> {
        let host = (self.kind == kind::SRV).then(|| Name::parse(self.packet, self.at + 6)).flatten();
        Some((host?.0, u16_at(self.data, 4)?))
    }
}

/// So many records of a packet behind so many questions, up to one that is damaged.
pub(crate) fn records(
    packet: &[u8],
    questions: usize,
    count: usize,
) -> impl Iterator<Item = Record<'_>> + use<'_> {
    let mut at = Some(HEADER);
    for _ in 0..questions.min(ENTRIES) {
        at = at.and_then(|at| question(packet, at)).map(|(_, end)| end);
    }
    (0..count.min(ENTRIES)).map_while(move |_| {
        let (record, end) = Record::parse(packet, at?)?;
        at = Some(end);
        Some(record)
    })
}

/// A packet that asks.
pub(crate) struct Query<'p> {
    packet: &'p [u8],
    pub(crate) id: u16,
    questions: usize,
    answers: usize,
}

pub(crate) fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

impl<'p> Query<'p> {
    /// None if it is no query.
    pub(crate) fn parse(packet: &'p [u8]) -> Option<Query<'p>> {
        let count = |at| u16_at(packet, at).map(|n| usize::from(n).min(ENTRIES));
        let (questions, answers) = (count(4)?, count(6)?);
        // A response, or another kind of operation, is not for us.
        let ours = packet.len() >= HEADER && packet[2] & 0xf8 == 0;
        ours.then_some(Query { packet, id: u16_at(packet, 0)?, questions, answers })
    }
    /// The questions, up to one that is damaged.
    pub(crate) fn questions(&self) -> impl Iterator<Item = Question<'p>> + use<'p> {
        let (packet, mut at) = (self.packet, HEADER);
        (0..self.questions).map_while(move |_| {
            let (question, end) = question(packet, at)?;
            at = end;
            Some(question)
        })
    }
    /// What the asker knows already, as far as it is whole.
    pub(crate) fn answers(&self) -> impl Iterator<Item = Record<'p>> + use<'p> {
        records(self.packet, self.questions, self.answers)
    }
}

fn question(packet: &[u8], at: usize) -> Option<(Question<'_>, usize)> {
    let (name, end) = Name::parse(packet, at)?;
    let (kind, class) = (u16_at(packet, end)?, u16_at(packet, end + 2)?);
    let unicast = class & class::FLUSH != 0;
    Some((Question { name, kind, class: class & !class::FLUSH, unicast }, end + 4))
}

/// A message being written. What does not fit is noted, and told at the end.
pub(crate) struct Out<'b> {
    bytes: &'b mut [u8],
    len: usize,
    full: bool,
}

impl<'b> Out<'b> {
    pub(crate) fn new(bytes: &'b mut [u8]) -> Self {
        Out { bytes, len: 0, full: false }
    }
    /// Its length, if it fitted.
    pub(crate) fn finish(self) -> Option<usize> {
        (!self.full).then_some(self.len)
    }
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.full = true,
        }
    }
    pub(crate) fn u16(&mut self, n: u16) {
        self.bytes(&n.to_be_bytes());
    }
    /// Bytes with their length before them; what is beyond 255 is cut off.
    pub(crate) fn text(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(255)];
        self.bytes(&[text.len() as u8]);
        self.bytes(text);
    }
    pub(crate) fn name(&mut self, labels: &[&[u8]]) {
        labels.iter().for_each(|label| self.text(label));
        self.bytes(&[0]);
    }
    /// The head of an authoritative answer.
    pub(crate) fn header(&mut self, id: u16, questions: u16, answers: u16, more: u16) {
        [id, 0x8400, questions, answers, 0, more].into_iter().for_each(|n| self.u16(n));
    }
    /// A question, repeated.
    pub(crate) fn question(&mut self, question: &Question<'_>) {
        self.name(question.name.labels());
        self.u16(question.kind);
        self.u16(question.class);
    }
    /// A record, whose data `data` writes.
    pub(crate) fn record(
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
