//! Effects carried out, and their outcomes handed back.

use super::fetches::Fetch;
use super::folders::Lying;
use super::gathered::Kinds;
use super::jobs::{self, Found, Make, Spot};
use super::requests::Linking;
use super::tracker_link::Fact;
use super::{Node, log, now};
use crate::control::Reply;
use crate::data::{Bank, Book, Known, Report};
use crate::disk::{Act, DiskError, Purged, Rewritten, Root, Trashed};
use crate::node::clients::ClientId;
use crate::workers::Priority::{self, Apart, Interactive};
use crate::{find, ops, trash};
use dartsync_core::ids::{ContentId, DeviceId, Folder, Row, SlotSet, Ticket};
use dartsync_core::limits::BULK;
use dartsync_core::path::{Path, PathBuf};
use dartsync_core::peer::{Cause, Effect, Index, Outcome, Tell, Trees};
use dartsync_core::record::Kind;
use dartsync_core::wire::message::caps;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

/// Completions taken in one turn, at most.
const COMPLETIONS: usize = 256;

/// Troubles remembered, lest they be logged at each retry.
const TROUBLES: usize = 1024;

/// What something in a trash is: its kind and content, its manifest, its size; none if it is gone.
pub type Hashed = Option<(Kind, ContentId, Vec<u8>, u64)>;

/// What a worker has done.
pub enum Done {
    /// A look or a copy.
    Found(Found),
    /// The rows that have files in a folder's tmp.
    Parts(Ticket, Result<Vec<Row>, Cause>),
    /// An act on users' files.
    Act(Ticket, Folder, Act),
    /// Some that were done in one job; and of which kind and root it was the one job with small ones.
    Acts(Option<(Kinds, Arc<Root>)>, Vec<(Ticket, Folder, Act)>),
    /// Anything else with an outcome.
    Outcome(Ticket, Outcome),
    /// A part file is open: its fetch may begin.
    Part(Folder, Fetch, Result<Box<(File, Bank)>, Cause>),
    /// A folder's root was looked for.
    Root(Ticket, Folder, Result<Box<Root>, String>),
    /// The tracker's addresses were looked up.
    Addresses(Vec<SocketAddr>),
    /// The local network was asked where the tracker is.
    Whereabouts(Vec<SocketAddr>),
    /// Something in a trash was hashed: where, what, its manifest and size.
    Trashed(Folder, Vec<u8>, Hashed),
    /// Some of what lies in a folder's trash.
    Lying(Lying),
    /// One of them, that the store does not know, was hashed.
    Filed(Lying, Vec<u8>, Hashed),
    /// Displaced files that were written to afterwards.
    Rewritten(Folder, Vec<Rewritten>),
    /// Places of a trash that are empty now.
    Purged(Folder, Vec<Vec<u8>>),
    /// A trash was emptied for a command, or why not.
    Emptied(ClientId, Folder, Result<Purged, String>),
    /// Something was brought back.
    Back(ClientId, Result<trash::Back, String>),
    /// A directory that is to be linked was looked through for linked ones.
    Linkable(ClientId, Linking, Result<(), DiskError>),
    /// A command's answer.
    Reply(ClientId, Reply),
}

impl Node {
    /// Carries an effect out, or has it carried out.
    pub(super) fn begin(&mut self, effect: Effect) {
        match effect {
            Effect::Dial => self.dial(),
            Effect::Hang(link) => {
                self.tracker.hang(&mut self.net, link);
                self.peer.handle_closed(&mut self.store, now(), link);
            }
            Effect::Watch { ticket, folder } => self.watch(ticket, folder),
            Effect::Scan { ticket, folder, dir } => self.scan(ticket, folder, dir),
            Effect::Fetch { ticket, row, kind, content, size, from, seekers } => {
                self.fetch(row, Fetch { ticket, kind, content, size, from, seekers })
            }
            Effect::Sources { ticket, holders, seekers } => self.other_sources(ticket, holders, seekers),
            Effect::Cancel(ticket) => self.cancel(ticket),
            Effect::Commit { .. } => unreachable!("the loop commits"),
            Effect::Reach(device) => self.reach(device),
            Effect::Tell(tell) => self.hear(tell),
            Effect::Parts { ticket, folder } => self.with_root(ticket, folder, Interactive, move |root| {
                Done::Parts(ticket, root.tmp_rows().map(|all| all.into_iter().map(Row).collect()))
            }),
            Effect::Clear { ticket, folder, row } => {
                self.with_root(ticket, folder, Interactive, move |root| {
                    Done::Act(ticket, folder, root.tmp_clear(row.0))
                })
            }
            Effect::Sync { ticket, folder } => {
                self.on_root(ticket, folder, Interactive, |root| root.sync_dirs())
            }
            Effect::Flush { ticket, folder } => self.on_root(ticket, folder, Apart, |root| root.flush()),
            Effect::Look { ticket, row, known, moved, bulk } => {
                let Some(spot) = self.spot(ticket, row) else { return };
                let flag = self.flag(ticket);
                self.workers.submit(Priority::of(bulk), move |desk| {
                    Done::Found(jobs::look(&spot, ticket, (known, moved), desk.buffer, &flag))
                });
            }
            Effect::Make { ticket, row, kind, content, from, take, size } => {
                let (Some(to), Some(from)) = (self.spot(ticket, row), self.spot(ticket, from)) else {
                    return;
                };
                let make = Make { ticket, to, from, kind, content, take };
                let flag = self.flag(ticket);
                let bulk = take.is_none() && size > BULK;
                self.workers
                    .submit(Priority::of(bulk), move |desk| Done::Found(make.run(desk.buffer, &flag)));
            }
            act => self.act(act),
        }
    }

    fn on_root(
        &mut self,
        ticket: Ticket,
        folder: Folder,
        priority: Priority,
        run: impl FnOnce(&Root) -> Result<(), Cause> + Send + 'static,
    ) {
        self.with_root(ticket, folder, priority, move |root| {
            Done::Outcome(ticket, run(root).map_or_else(Outcome::Failed, |()| Outcome::Done))
        });
    }

    fn with_root(
        &mut self,
        ticket: Ticket,
        folder: Folder,
        priority: Priority,
        run: impl FnOnce(&Root) -> Done + Send + 'static,
    ) {
        let Some(root) = self.folders.root(folder) else {
            return self.finish(ticket, Outcome::Failed(Cause::RootGone));
        };
        self.workers.submit(priority, move |_| run(&root));
    }

    /// A row's folder and path.
    pub(super) fn path_of(&mut self, row: Row) -> Option<(Folder, Vec<u8>)> {
        if !self.store.load(row, &mut Trees::default()) {
            return None;
        }
        let mut path = PathBuf::new();
        let folder = self.store.path(row, &mut path);
        Some((folder, path.get()?.bytes().to_vec()))
    }

    /// Where a row's file is; if that is nowhere, the ticket is answered.
    pub(super) fn spot(&mut self, ticket: Ticket, row: Row) -> Option<Spot> {
        let found = self.path_of(row);
        let spot = found.and_then(|(folder, path)| {
            let root = self.folders.root(folder)?;
            Some(Spot { folder, root, path, n: row.0 })
        });
        if spot.is_none() {
            self.finish(ticket, Outcome::Failed(Cause::RootGone));
        }
        spot
    }

    pub(super) fn content_of(&mut self, row: Row) -> Option<ContentId> {
        let mut trees = Box::<Trees>::default();
        self.store.load(row, &mut trees);
        trees.disk_content()
    }

    pub(super) fn flag(&mut self, ticket: Ticket) -> Arc<AtomicBool> {
        self.cancels.entry(ticket).or_default().clone()
    }

    /// Hands an outcome to the machine.
    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Outcome) {
        self.cancels.remove(&ticket);
        self.peer.handle_done(&mut self.store, now(), ticket, outcome);
        self.pull();
    }

    /// Looks the tracker's addresses up, then dials them. If none answered last time, the local network is asked, too.
    fn dial(&mut self) {
        if !self.news.outage.is_empty() && !std::mem::replace(&mut self.tracker.asking, true) {
            let key = self.tracker.key();
            self.workers.submit(Priority::Interactive, move |_| Done::Whereabouts(find::tracker(&key)));
        }
        let named = self.config.tracker.addresses.clone();
        let parsed: Option<Vec<SocketAddr>> = named.iter().map(|a| a.parse().ok()).collect();
        match parsed {
            Some(addresses) => self.dial_at(addresses),
            None => self.workers.submit(Priority::Interactive, move |_| {
                use std::net::ToSocketAddrs;
                Done::Addresses(named.iter().filter_map(|a| a.to_socket_addrs().ok()).flatten().collect())
            }),
        }
    }

    fn dial_at(&mut self, addresses: Vec<SocketAddr>) {
        let (peer, store, outage) = (&mut self.peer, &mut self.store, &mut self.news.outage);
        let at = now().at.0;
        let sink = &mut |fact: Fact<'_>| super::tell_machine(peer, store, outage, fact);
        self.tracker.dial(&mut self.net, at, addresses, sink);
    }

    fn reach(&mut self, device: DeviceId) {
        if let Some((slot, _)) = self.peer.roster().device_by_id(device) {
            self.fetcher.connect_back(slot);
        }
    }

    /// Takes what workers have done.
    pub(super) fn take_completions(&mut self) {
        let mut left = COMPLETIONS;
        while left > 0
            && let Some(done) = self.workers.poll()
        {
            self.take(done);
            left -= 1;
        }
        self.begin_fetches();
        if left == 0 {
            self.come_again();
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Found(found) => {
                if let Some((content, leaves)) = &found.manifest {
                    self.store.put_manifest(content, leaves);
                }
                match found.unread && !self.tell_all_touches() {
                    true => self.finish(found.ticket, Outcome::Failed(Cause::Changing)),
                    false => self.finish(found.ticket, found.outcome),
                }
            }
            Done::Parts(ticket, found) => {
                if let Ok(rows) = &found {
                    self.peer.handle_parts(&mut self.store, now(), ticket, rows);
                }
                self.finish(ticket, found.map_or_else(Outcome::Failed, |_| Outcome::Done));
            }
            Done::Act(ticket, folder, act) => {
                act.trashed.iter().for_each(|t| self.file_trash(folder, t));
                self.finish(ticket, act.outcome);
            }
            Done::Acts(of, acts) => self.acted(of, acts),
            Done::Outcome(ticket, outcome) => self.finish(ticket, outcome),
            Done::Part(folder, fetch, part) => self.begin_fetch(folder, fetch, part),
            Done::Root(ticket, folder, root) => self.root_found(ticket, folder, root),
            Done::Addresses(addresses) => self.dial_at(addresses),
            Done::Whereabouts(addresses) => {
                self.tracker.asking = false;
                self.tracker.hint(addresses);
            }
            Done::Trashed(folder, at, found) => self.trash_hashed(folder, &at, found),
            Done::Lying(some) => self.lying(some),
            Done::Filed(some, at, found) => self.filed(some, &at, found),
            Done::Rewritten(folder, all) => self.rewritten(folder, all),
            Done::Purged(folder, gone) => trash::forget(&mut self.store, folder, &gone),
            Done::Emptied(client, folder, done) => {
                if let Ok(purged) = &done {
                    trash::forget(&mut self.store, folder, &purged.gone);
                }
                self.requests.purged(client, done);
            }
            Done::Back(client, back) => {
                let reply = match back {
                    Ok(back) => {
                        back.note(&mut self.store);
                        Reply::done(&back.text())
                    }
                    Err(why) => Reply::Failed(why),
                };
                self.clients.reply(client, &reply, now().at.0);
            }
            Done::Linkable(client, what, found) => self.linkable(client, what, found),
            Done::Reply(client, reply) => self.clients.reply(client, &reply, now().at.0),
        }
    }

    /// Notes in the store what was trashed; what it is not known to be is hashed first.
    pub(super) fn file_trash(&mut self, folder: Folder, t: &Trashed) {
        if trash::file(&mut self.store, folder, t) {
            return;
        }
        let Some(root) = self.folders.root(folder) else { return };
        let (at, kind) = (t.at.clone(), t.stat.kind);
        let spot = Spot { folder: folder.trash(), root, path: at.clone(), n: t.n };
        self.workers.submit(Priority::Bulk, move |desk| {
            let hashed = jobs::hash_trash(&spot, kind, desk.buffer, desk.stopping);
            Done::Trashed(folder, at, hashed.map(|(h, size)| (kind, h.content, h.leaves, size)))
        });
    }

    pub(super) fn trash_hashed(&mut self, folder: Folder, at: &[u8], found: Hashed) {
        let (Some((kind, content, leaves, size)), Ok(at)) = (found, Path::new(at)) else { return };
        self.store.add_trash(folder, at, kind, content, size);
        if !leaves.is_empty() {
            self.store.put_manifest(&content, &leaves);
        }
    }

    /// Takes what data links report.
    pub(super) fn take_reports(&mut self) {
        for _ in 0..COMPLETIONS {
            let Ok(report) = self.reports.try_recv() else { return };
            match report {
                Report::Done { ticket, outcome, leaves } => {
                    if let Some(content) = self.folders.contents.remove(&ticket)
                        && outcome == Outcome::Ready
                        && !leaves.is_empty()
                    {
                        self.store.put_manifest(&content, &leaves);
                    }
                    self.finish(ticket, outcome);
                }
                Report::Gone => {
                    for (asker, content) in self.fetcher.take_gone() {
                        self.peer.handle_gone(&mut self.store, now(), asker, &content);
                    }
                    self.pull();
                }
                Report::Unreachable(device) => self.peer.handle_unreachable(device),
                Report::Bad(device, content) => {
                    let name = self.peer.roster().name_of(device).unwrap_or("?").to_owned();
                    log(&format!("{name}: sent wrong bytes of {content:?}; it is not asked for that again"));
                    self.requests.wrong_bytes(name);
                }
            }
        }
        self.come_again();
    }

    /// Tells the threads of data links who may be linked with, if that changed; and when a device has come online: it
    /// may be reached now, though it could not before.
    pub(super) fn update_book(&mut self) {
        if !self.welcomed {
            return;
        }
        let mut online = SlotSet::default();
        let me = self.peer.roster().devices().find(|(_, d)| d.key == self.me).map(|(slot, _)| slot);
        let devices = self.peer.roster().devices().filter(|(_, d)| d.key != self.me).map(|(slot, d)| {
            let p = self.peer.presence(d.id);
            if p.is_some_and(|p| p.online) {
                online.add(slot);
            }
            Known {
                slot,
                device: d.id,
                key: d.key,
                addrs: p.map_or(Vec::new(), |p| p.addrs.iter().map(crate::client::socket_addr).collect()),
                aes: p.is_some_and(|p| p.caps & caps::AES != 0),
            }
        });
        let devices: Vec<Known> = devices.collect();
        let came = !self.online.covers(online);
        self.online = online;
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        let changed = (&book.devices, book.me) != (&devices, me);
        if changed {
            *book = Book { devices, me };
        }
        drop(book);
        if changed || came {
            self.fetcher.book_changed();
        }
    }

    /// A row waits: told once for each cause, not at each retry.
    fn trouble(&mut self, row: Row, cause: Cause) {
        let troubles = &mut self.news.troubles;
        if troubles.len() >= TROUBLES {
            troubles.clear();
        }
        if troubles.insert(row, cause) != Some(cause)
            && let Some((folder, path)) = self.path_of(row)
        {
            let label = self.folders.label(folder);
            log(&format!("{label}/{}: {}", ops::show(&path), ops::cause(cause)));
        }
    }

    /// News of the machine.
    fn hear(&mut self, tell: Tell) {
        match tell {
            Tell::Connected => {
                self.welcomed = true;
                self.news.twice = false;
                log(&format!("tracker: connected to {}", self.tracker_address()));
                self.update_book();
            }
            Tell::Disconnected => log("tracker: disconnected"),
            Tell::Roster => self.roster_changed(),
            Tell::Revoked => {
                self.news.revoked = true;
                log("this device was revoked: it is out of the home, for ever; its files stay");
            }
            Tell::Ready(folder) => {
                self.folders.settle(folder);
                self.say_ready();
            }
            Tell::State(folder) => self.folder_state_changed(folder),
            Tell::Trouble(row, cause) => self.trouble(row, cause),
            Tell::Conflict(row) => {
                if let Some((folder, path)) = self.path_of(row) {
                    log(&format!("{}/{}: is a conflict copy", self.folders.label(folder), ops::show(&path)));
                }
            }
            Tell::Reply(n) => self.tracker_replied(n),
            Tell::Twice => {
                self.news.twice = true;
                log("the tracker sees this device run twice: enrol one of the two anew");
            }
        }
    }
}
