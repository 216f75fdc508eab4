//! Messages of a data link: one a record, its number first, then its fields in postcard's encoding. Numbers below 0x40
//! are asks, the others answers. Every ask but [`Ask::Ping`] begins with a number of the asker's choice, which its
//! answer repeats, so that answers may come in any order and an ask of an unknown kind can still be answered.
//!
//! [`Have`] is numbered like an ask and has no answer but a refusal.

pub use super::have::{EVERYTHING, HAVE, HAVE_CHUNKS, Have};
pub use super::ranges::{RANGES_MAX, Ranges};
use crate::content::{Hash, NODE_BYTES, NODE_MAX, PIECE_BYTES, PIECE_MIN, Root};
use crate::ids::ContentId;
use crate::limits;
use crate::sans_io::Reject;
use serde::{Deserialize, Serialize};

/// Bytes of a body in one record; a longer chunk goes in several, in order, none of another body between them.
pub const BODY: usize = 60 * 1024;
/// Bytes before the body in its record, at most.
pub const HEAD: usize = limits::DATA_RECORD - BODY;
/// Bytes of an encoded ask, at most.
pub const ASK: usize = 256;
/// Asks that a server keeps waiting; beyond them it answers `Busy`.
pub const ASKS: usize = 256;

const PING: u8 = 0;
const NODE: u8 = 1;
const CHUNK: u8 = 2;
const PIECES: u8 = 3;
const SHORT: u8 = 4;
pub(super) const HAVE_ASK: u8 = 5;
const CANCEL: u8 = 6;
const ENTRIES: u8 = 7;
const RANGES: u8 = 8;
const FIRST_ANSWER: u8 = 0x40;
const ROOT: u8 = 0x40;
const NODE_BODY: u8 = 0x41;
const CHUNK_BODY: u8 = 0x42;
const PIECE_LIST: u8 = 0x43;
const SHORT_BODY: u8 = 0x44;
const BUSY: u8 = 0x46;
const GONE: u8 = 0x47;
const UNKNOWN: u8 = 0x48;

/// Bytes of an entry's name in a short node.
pub const SHORT_BYTES: usize = 6;
/// Bytes of the longest list of pieces.
pub const PIECES_MAX: usize = (limits::CHUNK_MAX / PIECE_MIN + 1) * PIECE_BYTES;

/// Positions of a node's entries, one bit each.
pub type Wants = [u8; NODE_MAX / 8];

/// What one device asks of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Nothing: opens the link, keeps it open. Not answered.
    Ping,
    /// A node of the content's manifest tree; at level 0 the root's name, level and size. Answers: [`Answer::Node`],
    /// [`Answer::Root`].
    Node {
        /// The ask's number.
        id: u32,
        /// Which content.
        content: ContentId,
        /// The node's level; 0 asks for the root's name.
        level: u8,
        /// Where the node's bytes of the file begin.
        offset: u64,
    },
    /// Bytes of the content: a chunk, or the whole if it is no longer than the longest chunk. Answer: [`Answer::Body`].
    Chunk {
        /// The ask's number.
        id: u32,
        /// Which content.
        content: ContentId,
        /// Where they begin.
        offset: u64,
        /// How many, 1..=[`limits::CHUNK_MAX`].
        len: u32,
    },
    /// The names of a node's entries, [`SHORT_BYTES`] each: the asker knows most of them. Answer: [`Answer::Short`].
    Short {
        /// The ask's number.
        id: u32,
        /// Which content.
        content: ContentId,
        /// The node's level, from 1.
        level: u8,
        /// Where the node's bytes of the file begin.
        offset: u64,
    },
    /// Some entries of a node. Answer: [`Answer::Node`] with these alone, in order.
    Entries {
        /// The ask's number.
        id: u32,
        /// Which content.
        content: ContentId,
        /// The node's level, from 1.
        level: u8,
        /// Where the node's bytes of the file begin.
        offset: u64,
        /// Which.
        wants: Wants,
    },
    /// What pieces a chunk has, or a whole content no longer than one. Answer: [`Answer::Pieces`].
    Pieces {
        /// The ask's number.
        id: u32,
        /// Which content.
        content: ContentId,
        /// Where the chunk begins.
        offset: u64,
        /// Its bytes.
        len: u32,
    },
    /// Parts of a chunk. Answer: [`Answer::Body`] with these alone, one after another.
    Ranges {
        /// The ask's number.
        id: u32,
        /// Which content.
        content: ContentId,
        /// Where the chunk begins.
        offset: u64,
        /// Which parts.
        ranges: Ranges,
    },
    /// The answer to that ask is not wanted any more; it may come all the same.
    Cancel {
        /// The number of the ask that is taken back.
        id: u32,
    },
}

/// Why an ask is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Too much waits already: ask later, or another.
    Busy,
    /// The content is not here any more, or its file has changed: do not ask for it again.
    Gone,
    /// That kind of ask is not known here.
    Unknown,
}

/// What comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// The top of the content's tree; the asker checks it against the content id.
    Root {
        /// The ask.
        id: u32,
        /// The top.
        root: Root,
    },
    /// A node's entries.
    Node {
        /// The ask.
        id: u32,
        /// Encoded entries.
        bytes: &'a [u8],
    },
    /// The names of a node's entries.
    Short {
        /// The ask.
        id: u32,
        /// [`SHORT_BYTES`] each.
        bytes: &'a [u8],
    },
    /// The pieces of a chunk.
    Pieces {
        /// The ask.
        id: u32,
        /// [`PIECE_BYTES`] each.
        bytes: &'a [u8],
    },
    /// Some bytes of what was asked for, in order.
    Body {
        /// The ask.
        id: u32,
        /// Where in what was asked for these bytes begin.
        at: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Nothing.
    Refused {
        /// The ask.
        id: u32,
        /// Why.
        why: Refusal,
    },
}

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// To be served.
    Ask(Ask),
    /// To be noted; owed, if that content is not being fetched: [`Refusal::Gone`].
    Have(Have<'a>),
    /// An ask of a kind that is not known here; owed: [`Refusal::Unknown`].
    Foreign(u32),
    /// To be taken.
    Answer(Answer<'a>),
}

pub(super) fn put<T: Serialize>(number: u8, fields: &T, out: &mut [u8]) -> usize {
    let (first, rest) = out.split_first_mut().expect("callers lend room for a whole message");
    *first = number;
    1 + postcard::to_slice(fields, rest).expect("callers lend room for a whole message").len()
}

impl Ask {
    /// Writes the ask to `out`, which has [`ASK`] bytes; how many it took.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        match *self {
            Ask::Ping => put(PING, &(), out),
            Ask::Node { id, content, level, offset } => put(NODE, &(id, content, level, offset), out),
            Ask::Chunk { id, content, offset, len } => put(CHUNK, &(id, content, offset, len), out),
            Ask::Short { id, content, level, offset } => put(SHORT, &(id, content, level, offset), out),
            Ask::Entries { id, content, level, offset, wants } => {
                put(ENTRIES, &(id, content, level, offset, wants), out)
            }
            Ask::Pieces { id, content, offset, len } => put(PIECES, &(id, content, offset, len), out),
            Ask::Ranges { id, content, offset, ranges } => {
                put(RANGES, &(id, content, offset, ranges.as_slice()), out)
            }
            Ask::Cancel { id } => put(CANCEL, &id, out),
        }
    }
    /// The ask's number; a ping has none.
    pub fn id(&self) -> Option<u32> {
        match *self {
            Ask::Ping => None,
            Ask::Node { id, .. }
            | Ask::Chunk { id, .. }
            | Ask::Short { id, .. }
            | Ask::Entries { id, .. }
            | Ask::Pieces { id, .. }
            | Ask::Ranges { id, .. }
            | Ask::Cancel { id } => Some(id),
        }
    }
}

/// Writes what comes before the bytes of a body; the driver reads the file right behind it. How many bytes it took.
pub fn encode_body_head(id: u32, at: u32, out: &mut [u8]) -> usize {
    put(CHUNK_BODY, &(id, at), out)
}

/// Writes what comes before the entries of a node. How many bytes it took.
pub fn encode_node_head(id: u32, out: &mut [u8]) -> usize {
    put(NODE_BODY, &id, out)
}

/// Writes what comes before the names of a node's entries. How many bytes it took.
pub fn encode_short_head(id: u32, out: &mut [u8]) -> usize {
    put(SHORT_BODY, &id, out)
}

/// Writes what comes before a list of pieces. How many bytes it took.
pub fn encode_pieces_head(id: u32, out: &mut [u8]) -> usize {
    put(PIECE_LIST, &id, out)
}

/// Writes a root's answer. How many bytes it took.
pub fn encode_root(id: u32, root: &Root, out: &mut [u8]) -> usize {
    put(ROOT, &(id, root.hash.0, root.level, root.size), out)
}

/// Writes a refusal. How many bytes it took.
pub fn encode_refusal(id: u32, why: Refusal, out: &mut [u8]) -> usize {
    let number = match why {
        Refusal::Busy => BUSY,
        Refusal::Gone => GONE,
        Refusal::Unknown => UNKNOWN,
    };
    put(number, &id, out)
}

/// Reads one record.
pub fn decode(record: &[u8]) -> Result<Message<'_>, Reject> {
    let (&number, fields) = record.split_first().ok_or(Reject::new("empty record"))?;
    if number < FIRST_ANSWER { decode_ask(number, fields) } else { decode_answer(number, fields) }
}

fn fields<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), Reject> {
    postcard::take_from_bytes(bytes).map_err(|_| Reject::new("message cut short"))
}

pub(super) fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Reject> {
    match fields(bytes)? {
        (f, []) => Ok(f),
        _ => Err(Reject::new("bytes after a message")),
    }
}

fn decode_ask(number: u8, bytes: &[u8]) -> Result<Message<'_>, Reject> {
    let ask = match number {
        PING => Ask::Ping,
        NODE => {
            let (id, content, level, offset) = whole(bytes)?;
            Ask::Node { id, content, level, offset }
        }
        CHUNK => {
            let (id, content, offset, len) = chunk(bytes)?;
            Ask::Chunk { id, content, offset, len }
        }
        PIECES => {
            let (id, content, offset, len) = chunk(bytes)?;
            Ask::Pieces { id, content, offset, len }
        }
        SHORT => {
            let (id, content, level, offset) = whole(bytes)?;
            Ask::Short { id, content, level, offset }
        }
        ENTRIES => {
            let (id, content, level, offset, wants) = whole(bytes)?;
            Ask::Entries { id, content, level, offset, wants }
        }
        RANGES => {
            type Parts = heapless::Vec<(u32, u32), RANGES_MAX>;
            let (id, content, offset, parts): (u32, ContentId, u64, Parts) = whole(bytes)?;
            let ranges = Ranges::take(&parts).filter(|_| offset <= limits::FILE_SIZE);
            let ranges = ranges.ok_or(Reject::new("ask for parts of a chunk out of bounds"))?;
            Ask::Ranges { id, content, offset, ranges }
        }
        HAVE_ASK => return Have::decode(bytes).map(Message::Have),
        CANCEL => Ask::Cancel { id: whole(bytes)? },
        _ => return Ok(Message::Foreign(fields(bytes)?.0)),
    };
    Ok(Message::Ask(ask))
}

fn chunk(bytes: &[u8]) -> Result<(u32, ContentId, u64, u32), Reject> {
    let (id, content, offset, len): (u32, ContentId, u64, u32) = whole(bytes)?;
    if len == 0 || len as usize > limits::CHUNK_MAX || offset > limits::FILE_SIZE {
        return Err(Reject::new("ask for a chunk out of bounds"));
    }
    Ok((id, content, offset, len))
}

fn decode_answer(number: u8, bytes: &[u8]) -> Result<Message<'_>, Reject> {
    let refused = |why| Ok(Answer::Refused { id: whole(bytes)?, why });
    let answer = match number {
        ROOT => {
            let (id, hash, level, size) = whole(bytes)?;
            Ok(Answer::Root { id, root: Root { hash: Hash(hash), level, size } })
        }
        NODE_BODY => {
            let (id, bytes) = fields(bytes)?;
            if bytes.len() > NODE_BYTES {
                return Err(Reject::new("node too long"));
            }
            Ok(Answer::Node { id, bytes })
        }
        SHORT_BODY => {
            let (id, bytes) = fields(bytes)?;
            if bytes.len() > NODE_MAX * SHORT_BYTES {
                return Err(Reject::new("short node too long"));
            }
            Ok(Answer::Short { id, bytes })
        }
        PIECE_LIST => {
            let (id, bytes) = fields(bytes)?;
            if bytes.len() > PIECES_MAX {
                return Err(Reject::new("list of pieces too long"));
            }
            Ok(Answer::Pieces { id, bytes })
        }
        CHUNK_BODY => {
            let ((id, at), bytes) = fields(bytes)?;
            Ok(Answer::Body { id, at, bytes })
        }
        BUSY => refused(Refusal::Busy),
        GONE => refused(Refusal::Gone),
        UNKNOWN => refused(Refusal::Unknown),
        _ => Err(Reject::new("answer to an ask that does not exist")),
    };
    answer.map(Message::Answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn many() -> Ranges {
        let mut ranges = Ranges::default();
        let last = limits::CHUNK_MAX as u32 - 16 * 9;
        assert!((0..16).all(|n| ranges.push(last + n * 9, 8)) && !ranges.push(limits::CHUNK_MAX as u32, 1));
        ranges
    }

    #[test]
    fn asks_come_back_as_they_went() {
        let content = ContentId([7; 32]);
        for ask in [
            Ask::Ping,
            Ask::Node { id: u32::MAX, content, level: 8, offset: limits::FILE_SIZE },
            Ask::Chunk { id: u32::MAX, content, offset: limits::FILE_SIZE, len: limits::CHUNK_MAX as u32 },
            Ask::Short { id: 1, content, level: 2, offset: 3 },
            Ask::Entries { id: u32::MAX, content, level: 8, offset: limits::FILE_SIZE, wants: [0xa5; 32] },
            Ask::Pieces { id: 7, content, offset: 9, len: limits::CHUNK_MAX as u32 },
            Ask::Ranges { id: u32::MAX, content, offset: limits::FILE_SIZE, ranges: many() },
            Ask::Cancel { id: 5 },
        ] {
            let mut out = [0; ASK];
            let n = ask.encode(&mut out);
            assert_eq!(decode(&out[..n]), Ok(Message::Ask(ask)));
            assert!(ask == Ask::Ping || decode(&out[..n - 1]).is_err());
        }
    }

    #[test]
    fn answers_come_back_as_they_went() {
        let mut out = vec![0; limits::DATA_RECORD];
        let n = encode_body_head(u32::MAX, u32::MAX, &mut out);
        assert!(n <= HEAD);
        out[n..n + 3].copy_from_slice(b"abc");
        let body = Answer::Body { id: u32::MAX, at: u32::MAX, bytes: b"abc" };
        assert_eq!(decode(&out[..n + 3]), Ok(Message::Answer(body)));
        let root = Root { hash: Hash([9; 32]), level: 3, size: 1 << 40 };
        let n = encode_root(3, &root, &mut out);
        assert_eq!(decode(&out[..n]), Ok(Message::Answer(Answer::Root { id: 3, root })));
        for why in [Refusal::Busy, Refusal::Gone, Refusal::Unknown] {
            let n = encode_refusal(300, why, &mut out);
            assert_eq!(decode(&out[..n]), Ok(Message::Answer(Answer::Refused { id: 300, why })));
        }
    }

    #[test]
    fn an_ask_of_tomorrow_is_foreign_and_an_answer_a_reject() {
        assert_eq!(decode(&[9, 9, 1, 2, 3]), Ok(Message::Foreign(9)));
        assert_eq!(decode(&[0x3f, 9]), Ok(Message::Foreign(9)));
        assert!(decode(&[0x45, 9]).is_err() && decode(&[5, 9, 1, 2, 3]).is_err());
        assert!(decode(&[]).is_err());
    }
}
