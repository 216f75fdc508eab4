//! What is looked for on the disk for a fetch, by one thread, while its links go on.

use super::bank::Bank;
use super::hub::Shared;
use super::{Source, part};
use dartsync_core::content::{Hash, Leaf, Neighbours};
use dartsync_core::ids::Ticket;
use dartsync_core::limits::CHUNK_MAX;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the thread for that looks into.
pub struct Errand {
    pub ticket: Ticket,
    pub bank: Arc<Bank>,
    pub what: Look,
}
/// See [`Errand`].
pub enum Look {
    /// Whether the part file holds that chunk, or can get it from what is here.
    Check(Leaf, Neighbours, Arc<File>),
    /// Whether any file of this device has that chunk.
    Find(Hash),
}

impl Errand {
    /// Tells the machine what was found. The part file is let go before: a fetch ends only then.
    fn end(self, shared: &Arc<Shared>, good: bool) {
        let Errand { ticket, bank, what } = self;
        drop(bank);
        match what {
            Look::Check(leaf, _, part) => {
                drop(part);
                shared.with(|hub, _| hub.swarm.handle_checked(ticket, leaf.offset, good));
            }
            Look::Find(_) => shared.with(|hub, _| hub.swarm.handle_found(ticket)),
        }
    }
    /// Looks into it.
    fn run(&self, source: &dyn Source, block: &mut [u8]) -> bool {
        match &self.what {
            Look::Check(leaf, neighbours, part) => {
                part::holds(part, leaf, block) || self.bank.copy(leaf, neighbours, part, block)
            }
            Look::Find(chunk) => self.bank.find(source, chunk),
        }
    }
}

impl Shared {
    /// Has the thread for that look into something.
    pub fn look(self: &Arc<Self>, errand: Errand) {
        let mut errands = self.errands.lock().expect("no thread panics with it");
        if errands.is_none() && !self.stopping.load(Ordering::Relaxed) {
            let (sender, jobs) = std::sync::mpsc::channel::<Errand>();
            let (weak, source) = (Arc::downgrade(self), self.source.clone());
            let work = move || {
                let mut block = vec![0; CHUNK_MAX];
                for errand in jobs {
                    let good = errand.run(&*source, &mut block);
                    let Some(shared) = weak.upgrade() else { return };
                    errand.end(&shared, good);
                }
            };
            let spawned = std::thread::Builder::new().name("data-check".into()).spawn(work);
            *errands = spawned.is_ok().then_some(sender);
        }
        let unsent = match &*errands {
            Some(sender) => sender.send(errand).err().map(|e| e.0),
            None => Some(errand),
        };
        drop(errands);
        if let Some(errand) = unsent {
            errand.end(self, false);
        }
    }
}
