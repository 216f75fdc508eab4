//! Fetches: their part files are opened by workers; those that are open by the end of a turn begin together.

use super::Node;
use super::effects::Done;
use crate::data::{Bank, Job};
use crate::workers::Priority;
use dartsync_core::ids::{ContentId, Folder, Row, SlotSet, Ticket};
use dartsync_core::peer::{Cause, Outcome};
use dartsync_core::record::Kind;
use std::fs::File;
use std::sync::atomic::Ordering;

/// From so many bytes on it is worth looking at the version that a newer one replaces.
const WORTH_PIECES: u64 = 4096;

/// A fetch whose part file is being opened.
pub struct Fetch {
    pub ticket: Ticket,
    pub kind: Kind,
    pub content: ContentId,
    pub size: u64,
    pub from: SlotSet,
    pub seekers: SlotSet,
}

impl Node {
    /// Opens the part file of a row, for its fetch to begin.
    pub(super) fn fetch(&mut self, row: Row, fetch: Fetch) {
        let Fetch { ticket, content, size, .. } = fetch;
        let Some(spot) = self.spot(ticket, row) else { return };
        self.flag(ticket);
        self.folders.contents.insert(ticket, content);
        self.opening.insert(ticket, None);
        let base = self.content_of(row).filter(|base| *base != content && size >= WORTH_PIECES);
        let fetcher = self.fetcher.clone();
        self.workers.submit(Priority::Interactive, move |_| {
            let part = spot.root.part_open(spot.n, size);
            let bank = || base.map_or(Bank::default(), |base| fetcher.bank(&base));
            Done::Part(spot.folder, fetch, part.map(|part| Box::new((part, bank()))))
        });
    }

    /// It is open, or cannot be.
    pub(super) fn begin_fetch(&mut self, folder: Folder, f: Fetch, part: Result<Box<(File, Bank)>, Cause>) {
        if let Some(root) = self.folders.root(folder) {
            for t in root.take_strays() {
                self.file_trash(folder, &t);
            }
        }
        let said = self.opening.remove(&f.ticket).flatten();
        let stopped = self.cancels.get(&f.ticket).is_none_or(|c| c.load(Ordering::Relaxed));
        match part {
            Err(cause) => {
                self.folders.contents.remove(&f.ticket);
                self.finish(f.ticket, Outcome::Failed(cause));
            }
            Ok(_) if stopped => {
                self.folders.contents.remove(&f.ticket);
                self.finish(f.ticket, Outcome::Failed(Cause::Raced));
            }
            Ok(opened) => {
                let (part, bank) = *opened;
                let Fetch { ticket, kind, content, size, from, seekers } = f;
                self.fetches.push(Job { ticket, kind, content, size, from, seekers, part, bank });
                if let Some((holders, seekers)) = said {
                    self.begin_fetches();
                    self.fetcher.sources(ticket, holders, seekers);
                }
            }
        }
    }

    /// Begins those whose part files were opened in this turn.
    pub(super) fn begin_fetches(&mut self) {
        if !self.fetches.is_empty() {
            self.fetcher.fetch(std::mem::take(&mut self.fetches));
        }
    }

    /// Who else has what is fetched.
    pub(super) fn other_sources(&mut self, ticket: Ticket, holders: SlotSet, seekers: SlotSet) {
        match self.opening.get_mut(&ticket) {
            // Its part file is still being opened.
            Some(said) => *said = Some((holders, seekers)),
            None => {
                self.begin_fetches();
                self.fetcher.sources(ticket, holders, seekers);
            }
        }
    }

    /// Something under way is wanted no more.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        if let Some(flag) = self.cancels.get(&ticket) {
            flag.store(true, Ordering::Relaxed);
        }
        self.begin_fetches();
        self.fetcher.cancel(ticket);
    }
}
