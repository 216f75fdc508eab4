//! Data links: file contents fetched from other devices, and served to them.
//!
//! | piece | what it does |
//! |---|---|
//! | [`Fetcher`] | the handle of the driver's main loop |
//! | [`Book`] | who may be linked with, and where they are; the driver keeps it up to date |
//! | [`Source`], [`Shelf`] | where served contents are found: through the store, in the folders and their trash |
//! | [`Report`] | what the driver is told |
//! | `hub` | the download machine and its links behind one lock; effects are carried out after it is released |
//! | `link` | one thread a link: reads, serves, writes |
//! | `serve`, `receive` | file bytes out, file bytes in |
//! | [`Bank`] | what a fetch finds on this device |
//! | `partial` | what is served of contents that are still on their way in |
//! | `dial` | connecting, accepting, shaking hands |
//! | [`record`] | ciphers |
//!
//! Nothing here waits by sleeping: a thread that wants something sends it itself, and a link's thread sleeps in poll.

mod bank;
mod deeds;
mod dial;
mod errand;
mod gone;
mod hub;
mod link;
mod part;
mod partial;
mod receive;
pub mod record;
mod serve;
mod shelf;
#[cfg(test)]
mod tests;
mod tree;
mod uploads;

use dartsync_core::content::Hash;
use dartsync_core::ids::{ContentId, DeviceId, PublicKey, Slot, SlotSet, Ticket};
use dartsync_core::link::StaticKey;
use dartsync_core::peer::Outcome;
use dartsync_core::record::Kind;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, RwLock};

pub use bank::Bank;
pub use shelf::{Roots, Shelf};

/// An active device of the home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub device: DeviceId,
    /// Its key.
    pub key: PublicKey,
    /// Where to dial it, in the order in which to try: what the tracker saw, then what the device says of itself.
    pub addrs: Vec<SocketAddr>,
    /// Whether it does AES in hardware (its `caps`).
    pub aes: bool,
}

/// Who may be linked with. This device itself is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Book {
    /// Active devices: from the roster that a Welcome of this run named; empty before.
    pub devices: Vec<Known>,
    /// This device's own slot, if it has one.
    pub me: Option<Slot>,
}

impl Book {
    /// The device of that slot.
    pub fn at(&self, slot: Slot) -> Option<&Known> {
        self.devices.iter().find(|k| k.slot == slot)
    }
    /// The device of that key.
    pub fn of(&self, key: &PublicKey) -> Option<&Known> {
        self.devices.iter().find(|k| k.key == *key)
    }
}

/// Bytes of a content that is here.
pub enum Bytes {
    /// A file, open for reading, whose content it is as far as its stat tells.
    File(File),
    /// A symlink's text.
    Text(Vec<u8>),
}

/// Where contents are that others ask for. Called by any link's thread; may block on the disk.
pub trait Source: Send + Sync {
    /// The bytes of a content, if they are here and current.
    fn open(&self, content: &ContentId) -> Option<Bytes>;
    /// The flat list of a content's chunks; asked for those longer than one chunk.
    fn leaves(&self, content: &ContentId) -> Option<Vec<u8>>;
    /// A content that may be here and has that chunk, if one is known.
    fn with_chunk(&self, chunk: &Hash) -> Option<ContentId>;
}

/// What the driver is told; it comes by the channel, and the waker is called after.
#[derive(Debug)]
pub enum Report {
    /// A fetch is over: [`Outcome::Ready`] or [`Outcome::Failed`].
    Done {
        /// Which.
        ticket: Ticket,
        /// How it went.
        outcome: Outcome,
        /// If it is ready and longer than one chunk: the flat list of its chunks.
        leaves: Vec<u8>,
    },
    /// Contents that were asked for are not here (any more), though someone believes so: [`Fetcher::take_gone`].
    Gone,
    /// No address of that device answered: the tracker may ask it to dial back.
    Unreachable(DeviceId),
    /// That device sent bytes that the content does not hold.
    Bad(DeviceId, ContentId),
}

/// What a [`Fetcher`] is made of.
pub struct Setup {
    /// This device's key.
    pub key: StaticKey,
    /// Who may be linked with.
    pub book: Arc<RwLock<Book>>,
    /// What is served.
    pub source: Arc<dyn Source>,
    /// Where reports go.
    pub reports: Sender<Report>,
    /// Called after a report was sent.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Seed of what is drawn for handshakes.
    pub seed: [u8; 32],
}

/// A fetch.
pub struct Job {
    /// Names the report.
    pub ticket: Ticket,
    /// File or symlink (whose text becomes the part file's bytes).
    pub kind: Kind,
    /// The content.
    pub content: ContentId,
    /// Its bytes.
    pub size: u64,
    /// Devices that may have it.
    pub from: SlotSet,
    /// Devices that seek it, too, and may have some of it.
    pub seekers: SlotSet,
    /// The part file, open for reading and writing, `size` bytes long. Right bytes of an earlier try are kept; chunks of
    /// zeros are left as holes.
    pub part: File,
    /// What is here of it already ([`Fetcher::bank`]).
    pub bank: Bank,
}

/// The driver's handle on all data links. Clones are the same.
#[derive(Clone)]
pub struct Fetcher(Arc<hub::Shared>);

impl Fetcher {
    /// Starts without links.
    pub fn start(setup: Setup) -> Fetcher {
        Fetcher(hub::Shared::start(setup))
    }
    /// Fetches them; more than can be under way at once wait for their turn. [`Report::Done`] follows, once for each. What
    /// is asked of a device for those that come together is sent together.
    pub fn fetch(&self, jobs: Vec<Job>) {
        self.0.fetch(jobs);
    }
    /// What is here of a newer version of that content: for a fetch of it. May block on the disk.
    pub fn bank(&self, base: &ContentId) -> Bank {
        Bank::with(&*self.0.source, base)
    }
    /// Other sources for a fetch.
    pub fn sources(&self, ticket: Ticket, holders: SlotSet, seekers: SlotSet) {
        self.0.with(|hub, at| hub.sources(at, ticket, holders, seekers));
    }
    /// Gives a fetch up; its report comes all the same.
    pub fn cancel(&self, ticket: Ticket) {
        self.0.with(|hub, _| hub.cancel(ticket));
    }
    /// Who asked for which content in vain since this was called last: some of it, of a device that asks for much.
    pub fn take_gone(&self) -> Vec<(Slot, ContentId)> {
        self.0.gone.take()
    }
    /// The book was changed: links to devices that are not in it any more are closed, and devices that could not be
    /// reached are tried again.
    pub fn book_changed(&self) {
        self.0.book_changed();
    }
    /// Takes a connection that the driver's listener accepted; hangs up on strangers.
    pub fn accept(&self, stream: TcpStream, from: SocketAddr) {
        dial::accept(&self.0, stream, from);
    }
    /// That device cannot reach this one and asks to be dialled.
    pub fn connect_back(&self, slot: Slot) {
        self.0.connect_back(slot);
    }
    /// Limits what is sent to others, and what is asked of them, in bytes a second; none: no limit.
    pub fn limit(&self, up: Option<u64>, down: Option<u64>) {
        self.0.limit(up, down);
    }
    /// Bytes sent and received on all data links since the start.
    pub fn traffic(&self) -> (u64, u64) {
        self.0.traffic()
    }
    /// Closes every link and ends every thread soon; nothing is reported any more.
    pub fn stop(&self) {
        self.0.stop();
    }
}
