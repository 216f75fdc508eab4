//! One end of a data link, between its record layer and its driver: asks that wait to be served, and the body that is
//! coming in. Both ends ask and both serve.
//!
//! ```text
//! loop: a record is opened        → handle_record: Incoming says what to do with an answer
//!       room in the send buffer   → poll_work: read it, seal it, send it
//!       whoever wants something   → Ask::encode, seal, send
//! ```

use super::message::{self, ASKS, Answer, Ask, Have, Message, Ranges, Refusal, Wants};
use crate::content::Root;
use crate::ids::ContentId;
use crate::limits;
use crate::sans_io::Reject;
use heapless::Deque;

/// Refusals that may wait to be sent; an asker that makes more is cut off.
const REFUSALS: usize = 64;
/// Bytes up to which a read goes before longer ones: it is a small file, and someone waits for it.
const QUICK: u32 = limits::CHUNK_MIN as u32;

/// Work that an ask makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Send bytes of the content: [`message::encode_body_head`] and at most [`message::BODY`] bytes, again and again;
    /// or refuse.
    Read {
        /// The ask.
        id: u32,
        /// Which content.
        content: ContentId,
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u32,
    },
    /// Send some parts of a chunk, one after another as if they were one; or refuse.
    Ranges {
        /// The ask.
        id: u32,
        /// Which content.
        content: ContentId,
        /// Where the chunk begins.
        offset: u64,
        /// Which parts.
        ranges: Ranges,
    },
    /// Send the list of a chunk's pieces: [`message::encode_pieces_head`] and the list; or refuse.
    Pieces {
        /// The ask.
        id: u32,
        /// Which content.
        content: ContentId,
        /// Where the chunk begins.
        offset: u64,
        /// Its bytes.
        len: u32,
    },
    /// Send what is wanted of a node; or refuse.
    Node {
        /// The ask.
        id: u32,
        /// Which content.
        content: ContentId,
        /// Its level.
        level: u8,
        /// Where its bytes of the file begin.
        offset: u64,
        /// What of it.
        form: Form,
    },
    /// Send the root: [`message::encode_root`]; or refuse.
    Root {
        /// The ask.
        id: u32,
        /// Which content.
        content: ContentId,
    },
    /// Send this refusal.
    Refuse {
        /// The ask.
        id: u32,
        /// Why.
        why: Refusal,
    },
}

/// What is wanted of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// All entries: [`message::encode_node_head`] and they.
    Full,
    /// Their names cut short: [`message::encode_short_head`] and they.
    Short,
    /// These entries: [`message::encode_node_head`] and they.
    Some(Wants),
}

impl Work {
    fn id(&self) -> u32 {
        match *self {
            Work::Read { id, .. }
            | Work::Ranges { id, .. }
            | Work::Pieces { id, .. }
            | Work::Node { id, .. }
            | Work::Root { id, .. }
            | Work::Refuse { id, .. } => id,
        }
    }
    fn is_quick(&self) -> bool {
        match self {
            Work::Read { len, .. } => *len <= QUICK,
            Work::Ranges { ranges, .. } => ranges.total() <= QUICK,
            _ => true,
        }
    }
}

/// What a record brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming<'a> {
    /// Something to serve, or nothing to do.
    None,
    /// A root.
    Root(u32, Root),
    /// A node's entries, all or those that were asked for.
    Node(u32, &'a [u8]),
    /// The names of a node's entries.
    Short(u32, &'a [u8]),
    /// The pieces of a chunk.
    Pieces(u32, &'a [u8]),
    /// Bytes of what was asked for, to be put at this place of it; a place of 0 begins anew.
    Body(u32, u32, &'a [u8]),
    /// That ask is refused.
    Refused(u32, Refusal),
    /// What the other end has of a content that it fetches; [`DataLink::refuse`] if this end does not fetch it.
    Have(Have<'a>),
}

/// See the module.
#[derive(Default)]
pub struct DataLink {
    quick: Deque<Work, ASKS>,
    bulk: Deque<Work, ASKS>,
    refusals: Deque<(u32, Refusal), REFUSALS>,
    /// The body that is coming in: its ask, and how far it has come.
    coming: Option<(u32, u32)>,
}

impl DataLink {
    /// An end of a fresh link.
    pub const fn new() -> DataLink {
        DataLink { quick: Deque::new(), bulk: Deque::new(), refusals: Deque::new(), coming: None }
    }

    /// Whether something waits to be served.
    pub fn has_work(&self) -> bool {
        !(self.quick.is_empty() && self.bulk.is_empty() && self.refusals.is_empty())
    }

    /// Takes an opened record.
    pub fn handle_record<'a>(&mut self, record: &'a [u8]) -> Result<Incoming<'a>, Reject> {
        match message::decode(record)? {
            Message::Ask(ask) => self.handle_ask(ask).map(|()| Incoming::None),
            Message::Have(have) => Ok(Incoming::Have(have)),
            Message::Foreign(id) => self.refuse(id, Refusal::Unknown).map(|()| Incoming::None),
            Message::Answer(answer) => self.handle_answer(answer),
        }
    }

    fn handle_ask(&mut self, ask: Ask) -> Result<(), Reject> {
        let work = match ask {
            Ask::Ping => return Ok(()),
            Ask::Cancel { id } => {
                self.drop_work(id);
                return Ok(());
            }
            Ask::Node { id, content, level: 0, .. } => Work::Root { id, content },
            Ask::Node { id, content, level, offset } => {
                Work::Node { id, content, level, offset, form: Form::Full }
            }
            Ask::Short { id, content, level, offset } => {
                Work::Node { id, content, level, offset, form: Form::Short }
            }
            Ask::Entries { id, content, level, offset, wants } => {
                Work::Node { id, content, level, offset, form: Form::Some(wants) }
            }
            Ask::Pieces { id, content, offset, len } => Work::Pieces { id, content, offset, len },
            Ask::Ranges { id, content, offset, ranges } => Work::Ranges { id, content, offset, ranges },
            Ask::Chunk { id, content, offset, len } => Work::Read { id, content, offset, len },
        };
        if self.quick.len() + self.bulk.len() >= ASKS {
            return self.refuse(work.id(), Refusal::Busy);
        }
        let queue = if work.is_quick() { &mut self.quick } else { &mut self.bulk };
        let taken = queue.push_back(work);
        assert!(taken.is_ok(), "each queue alone has room for all asks");
        Ok(())
    }

    /// Has that ask refused.
    pub fn refuse(&mut self, id: u32, why: Refusal) -> Result<(), Reject> {
        self.refusals.push_back((id, why)).map_err(|_| Reject::new("asks on and on without reading answers"))
    }

    fn drop_work(&mut self, id: u32) {
        for queue in [&mut self.quick, &mut self.bulk] {
            for _ in 0..queue.len() {
                let work = queue.pop_front().expect("counted");
                if work.id() != id {
                    let kept = queue.push_back(work);
                    assert!(kept.is_ok(), "it was just taken out");
                }
            }
        }
    }

    fn handle_answer<'a>(&mut self, answer: Answer<'a>) -> Result<Incoming<'a>, Reject> {
        match answer {
            Answer::Root { id, root } => Ok(Incoming::Root(id, root)),
            Answer::Node { id, bytes } => Ok(Incoming::Node(id, bytes)),
            Answer::Short { id, bytes } => Ok(Incoming::Short(id, bytes)),
            Answer::Pieces { id, bytes } => Ok(Incoming::Pieces(id, bytes)),
            Answer::Refused { id, why } => {
                if self.coming.is_some_and(|(c, _)| c == id) {
                    self.coming = None;
                }
                Ok(Incoming::Refused(id, why))
            }
            Answer::Body { id, at, bytes } => {
                let in_order = at == 0 || self.coming == Some((id, at));
                let end = at as usize + bytes.len();
                if !in_order || bytes.is_empty() || bytes.len() > message::BODY || end > limits::CHUNK_MAX {
                    return Err(Reject::new("body out of order"));
                }
                self.coming = Some((id, end as u32));
                Ok(Incoming::Body(id, at, bytes))
            }
        }
    }

    /// What to send next: refusals, then small reads and nodes, then the rest, each in the order of asking.
    pub fn poll_work(&mut self) -> Option<Work> {
        if let Some((id, why)) = self.refusals.pop_front() {
            return Some(Work::Refuse { id, why });
        }
        self.quick.pop_front().or_else(|| self.bulk.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand(link: &mut DataLink, ask: Ask) -> Result<(), Reject> {
        let mut out = [0; message::ASK];
        let n = ask.encode(&mut out);
        link.handle_record(&out[..n]).map(|i| assert_eq!(i, Incoming::None))
    }
    fn chunk(id: u32, len: u32) -> Ask {
        Ask::Chunk { id, content: ContentId([1; 32]), offset: 0, len }
    }

    #[test]
    fn small_reads_overtake_bulk_and_cancelled_ones_vanish() {
        let mut link = DataLink::new();
        for (id, len) in [(1, 200_000), (2, 200_000), (3, 10), (4, 20)] {
            hand(&mut link, chunk(id, len)).unwrap();
        }
        hand(&mut link, Ask::Cancel { id: 2 }).unwrap();
        hand(&mut link, Ask::Cancel { id: 3 }).unwrap();
        let order: std::vec::Vec<u32> = core::iter::from_fn(|| link.poll_work()).map(|w| w.id()).collect();
        assert_eq!(order, [4, 1]);
        assert!(!link.has_work());
    }

    #[test]
    fn too_many_asks_are_refused_then_cut_off() {
        let mut link = DataLink::new();
        for id in 0..(ASKS + REFUSALS) as u32 {
            hand(&mut link, chunk(id, 9)).unwrap();
        }
        assert!(hand(&mut link, chunk(9999, 9)).is_err());
        let first = link.poll_work();
        assert_eq!(first, Some(Work::Refuse { id: ASKS as u32, why: Refusal::Busy }));
    }

    #[test]
    fn a_body_out_of_order_is_rejected() {
        let mut link = DataLink::new();
        let mut out = [5; 100];
        let n = message::encode_body_head(1, 0, &mut out);
        assert!(matches!(link.handle_record(&out[..n + 10]), Ok(Incoming::Body(1, 0, b)) if b.len() == 10));
        let n = message::encode_body_head(1, 10, &mut out);
        assert!(matches!(link.handle_record(&out[..n + 10]), Ok(Incoming::Body(1, 10, _))));
        let n = message::encode_body_head(1, 30, &mut out);
        assert!(link.handle_record(&out[..n + 10]).is_err());
        let n = message::encode_body_head(2, 20, &mut out);
        assert!(link.handle_record(&out[..n + 10]).is_err());
        let n = message::encode_body_head(2, 0, &mut out);
        assert!(link.handle_record(&out[..n]).is_err(), "an empty body says nothing");
    }
}
