//! Asks that are out: of whom, for what, since when.

use crate::ids::Slot;
use crate::time::Instant;

/// Asks that can be out at once.
pub(super) const FLIGHTS: usize = 1024;
/// Those that are kept for small contents.
const SPARE: usize = 128;
/// The part of an ask's number that is its place in the table; the rest counts, so that a late answer finds nothing.
const PLACE: u32 = FLIGHTS as u32 - 1;

/// What is asked for in pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    /// A small content, by its place.
    Small(u16),
    /// A chunk of a large content, by its place in the window.
    Leaf(u8, u16),
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// All of a small content, by its place.
    Small(u16),
    /// The root of a large content.
    Root(u8),
    /// What a large content's walk needs of a node.
    Node(u8),
    /// The list of pieces of this.
    Pieces(Goal),
    /// What is missing of a patch, by its place.
    Patch(u8),
    /// A chunk of a large content, by its place in the window.
    Leaf(u8, u16),
}

/// One ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub id: u32,
    pub slot: Slot,
    pub work: Work,
    /// Bytes that are expected.
    pub len: u32,
    pub at: Instant,
}

/// The table of asks. Invariant: a flight's number leads to its place, and no two flights ever share a number within
/// 2^21 asks of that place. The highest bit is never set.
pub(super) struct Flights {
    table: [Option<Flight>; FLIGHTS],
    free: heapless::Vec<u16, FLIGHTS>,
    count: u32,
}

impl Flights {
    pub(super) fn new() -> Flights {
        Flights { table: [None; FLIGHTS], free: (0..FLIGHTS as u16).rev().collect(), count: 0 }
    }
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }
    /// Whether there is room beyond what is kept for small contents.
    pub(super) fn has_spare(&self) -> bool {
        self.free.len() > SPARE
    }
    /// Notes an ask; its number. There must be room.
    pub(super) fn start(&mut self, slot: Slot, work: Work, len: u32, at: Instant) -> u32 {
        let place = self.free.pop().expect("callers look for room");
        self.count = self.count.wrapping_add(1);
        let id = (self.count.wrapping_mul(FLIGHTS as u32) | place as u32) & !super::share::SAYING;
        self.table[place as usize] = Some(Flight { id, slot, work, len, at });
        id
    }
    /// The ask of that number, if it is out, and of that device.
    pub(super) fn get(&self, slot: Slot, id: u32) -> Option<Flight> {
        self.table[(id & PLACE) as usize].filter(|f| f.id == id && f.slot == slot)
    }
    /// Takes it off.
    pub(super) fn end(&mut self, id: u32) {
        let place = (id & PLACE) as usize;
        let flight = self.table[place].take();
        assert!(flight.is_some_and(|f| f.id == id), "an ask ends once");
        let pushed = self.free.push(place as u16);
        assert!(pushed.is_ok(), "there are as many free places as the table has");
    }
    /// The first one that passes.
    pub(super) fn find(&self, test: impl Fn(&Flight) -> bool) -> Option<Flight> {
        self.iter().find(|f| test(f))
    }
    /// All that are out.
    pub(super) fn iter(&self) -> impl Iterator<Item = Flight> {
        self.table.iter().flatten().copied()
    }
}
