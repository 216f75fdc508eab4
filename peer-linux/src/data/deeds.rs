//! What is decided under the hub's lock and done once it is free.

use super::errand::Errand;
use super::hub::Shared;
use super::link::Link;
use super::{Report, dial};
use dartsync_core::data::Ask;
use dartsync_core::ids::{ContentId, Slot};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is to be done once the lock is free.
#[derive(Default)]
pub struct Deeds {
    pub(super) asks: Vec<(Arc<Link>, Vec<Ask>)>,
    /// What is said of contents, unasked.
    pub(super) sayings: Vec<(Arc<Link>, ContentId, Vec<u8>)>,
    pub(super) dials: Vec<Slot>,
    pub(super) closes: Vec<Arc<Link>>,
    pub(super) errands: Vec<Errand>,
    pub reports: Vec<Report>,
}

impl Deeds {
    /// Sends an ask by that link.
    pub fn ask(&mut self, link: &Arc<Link>, ask: Ask) {
        match self.asks.iter_mut().find(|(l, _)| Arc::ptr_eq(l, link)) {
            Some((_, asks)) => asks.push(ask),
            None => self.asks.push((link.clone(), vec![ask])),
        }
    }

    /// Does it all.
    pub fn carry_out(self, shared: &Arc<Shared>) {
        for (link, asks) in &self.asks {
            link.send(shared, asks);
        }
        for (link, content, message) in &self.sayings {
            if !link.offer(shared, message) {
                shared.hub().swarm.handle_unsaid(link.slot, content);
            }
        }
        for link in self.closes {
            link.close();
        }
        for slot in self.dials {
            dial::dial(shared, slot);
        }
        for errand in self.errands {
            shared.look(errand);
        }
        if !self.reports.is_empty() && !shared.stopping.load(Ordering::Relaxed) {
            let reports = shared.reports.lock().expect("no thread panics with it");
            for report in self.reports {
                // The driver may have gone before us: then nobody wants to know.
                let _ = reports.send(report);
            }
            drop(reports);
            (shared.wake)();
        }
    }
}
