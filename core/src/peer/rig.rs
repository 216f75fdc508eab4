//! A peer machine over an index in memory, for tests of what it makes of a folder's rows. No tracker answers, no disk acts:
//! a test says what was seen and heard.

use super::machine::{Config, Peer};
use super::mem_index::MemIndex;
use super::rows::Open;
use super::state::Telling;
use super::trees::{Cause, Lane, Local, Made, Remote, Stat, Trees};
use super::{Effect, Index, Outcome, ScanEntry};
use crate::ids::{ContentId, Epoch, Folder, FolderId, PublicKey, Row, Seq, Tag, Ticket};
use crate::path::Path;
use crate::record::{Kind, Record};
use crate::time::{Duration, Instant, Now};
use crate::version::{Edit, VersionVector};
use std::boxed::Box;
use std::string::String;
use std::vec::Vec;

/// The folder.
pub(super) const F: Folder = Folder(1);
const START: u64 = 1_000_000_000_000;

pub(super) struct Rig {
    pub peer: Box<Peer>,
    pub ix: MemIndex,
    pub now: Now,
    /// Rows that something lies in tmp for.
    pub tmp: Vec<Row>,
    /// How often that was listed.
    pub listed: u32,
    /// What becomes of the flush that a link begins with; those that follow are a test's to make.
    pub first_flush: Option<Outcome>,
    /// Its root was found. Before that, nothing is there that could be flushed.
    rooted: bool,
    seq: u64,
}

/// The content that a text stands for.
pub(super) fn content(text: &str) -> ContentId {
    let mut id = [1; 32];
    id[1..=text.len()].copy_from_slice(text.as_bytes());
    ContentId(id)
}

/// What another device's edit says of a path.
pub(super) fn record(kind: Kind, content: ContentId, counter: u64) -> Record {
    let edit = Edit { tag: Tag(77), counter };
    let size = u64::from(matches!(kind, Kind::File | Kind::Symlink));
    Record { kind, content, size, edit, version: VersionVector::of(edit), ..Record::default() }
}

/// What stands there, long since.
pub(super) fn stat(kind: Kind) -> Stat {
    Stat { kind, size: u64::from(matches!(kind, Kind::File | Kind::Symlink)), ..Stat::default() }
}

/// A path.
pub(super) fn path(p: &str) -> Path<'_> {
    Path::new(p.as_bytes()).expect("a path")
}

impl Rig {
    /// A machine over a store, that has not linked the folder yet.
    pub fn over(ix: MemIndex) -> Rig {
        Rig::booted(ix, 1)
    }
    /// [`Rig::over`] in that boot of the machine.
    pub fn booted(ix: MemIndex, boot: u64) -> Rig {
        let (key, seed, addrs) = (PublicKey([1; 32]), [1; 32], Default::default());
        let config = Config { key, seed, port: 1, addrs, caps: 0, await_both: 0 };
        let now = Now { at: Instant(START), wall: START };
        let mut rig = Rig {
            peer: Box::new(Peer::new(config)),
            ix,
            now,
            tmp: Vec::new(),
            listed: 0,
            first_flush: Some(Outcome::Done),
            rooted: false,
            seq: 0,
        };
        rig.peer.start(&mut rig.ix, now, boot, None);
        rig.peer.epoch = Epoch(7);
        rig
    }
    /// A machine whose folder was linked and scanned, and is caught up.
    pub fn ready() -> Rig {
        let mut rig = Rig::over(MemIndex::new());
        rig.link();
        rig.scan(&[]);
        rig.catch_up();
        rig
    }
    pub fn link(&mut self) {
        self.peer.link_folder(&mut self.ix, self.now, F, FolderId(1));
    }
    /// The tracker has told all, and was told all.
    pub fn catch_up(&mut self) {
        let s = &mut self.peer.folders[0];
        (s.caught_up, s.telling) = (true, Telling::Done);
        s.rewind();
    }
    /// Watches and scans the folder; of all that is to be looked at, the disk holds what `found` says.
    pub fn scan(&mut self, found: &[(&str, Kind, &str)]) {
        self.begin_scan(found);
        let ticket = self.peer.scan.ticket;
        self.done(ticket, Outcome::Done);
        self.look(found);
    }
    /// [`Rig::scan`] as far as its entries.
    pub fn begin_scan(&mut self, found: &[(&str, Kind, &str)]) {
        let mut ticket = Ticket(0);
        while let Some(e) = self.effect() {
            match e {
                Effect::Watch { ticket, .. } => self.found_root(ticket),
                Effect::Scan { ticket: t, .. } => ticket = t,
                Effect::Look { ticket, row, .. } => self.answer_look(ticket, row, found),
                _ => {}
            }
        }
        self.entries(ticket, found);
    }
    /// The folder's root is found, now that it is looked for.
    pub fn opens(&mut self) {
        let ticket = self.seeks_root();
        self.found_root(ticket);
    }
    /// The folder's root is looked for.
    pub fn seeks_root(&mut self) -> Ticket {
        loop {
            if let Effect::Watch { ticket, .. } = self.effect().expect("it is looked for") {
                return ticket;
            }
        }
    }
    /// It was found.
    pub fn found_root(&mut self, ticket: Ticket) {
        self.rooted = true;
        self.done(ticket, Outcome::Done);
    }
    /// A scan of a directory (none: of the whole) has told of these entries; whatever else is asked for is left alone.
    pub fn begin_scan_of(&mut self, dir: Option<&str>, found: &[(&str, Kind, &str)]) {
        let dir = dir.map(|p| self.ix.find(F, path(p)).expect("it is known"));
        self.peer.begin_scan(&mut self.ix, 0, dir);
        self.entries(self.peer.scan.ticket, found);
    }
    fn entries(&mut self, ticket: Ticket, found: &[(&str, Kind, &str)]) {
        let entries: Vec<ScanEntry<'_>> =
            found.iter().map(|(p, kind, _)| ScanEntry { path: path(p), stat: stat(*kind) }).collect();
        self.peer.handle_entries(&mut self.ix, self.now, ticket, &entries);
    }
    /// Answers every look.
    pub fn look(&mut self, found: &[(&str, Kind, &str)]) {
        while let Some(e) = self.effect() {
            if let Effect::Look { ticket, row, .. } = e {
                self.answer_look(ticket, row, found);
            }
        }
    }
    fn answer_look(&mut self, ticket: Ticket, row: Row, found: &[(&str, Kind, &str)]) {
        let at = self.path(row);
        let there = found.iter().find(|f| f.0 == at);
        let stat = there.map_or(Stat::default(), |f| stat(f.1));
        let content = there.filter(|f| f.1 != Kind::Directory).map(|f| content(f.2));
        self.done(ticket, Outcome::Looked { stat, content, at: self.now.wall });
    }
    pub fn done(&mut self, ticket: Ticket, outcome: Outcome) {
        self.peer.handle_done(&mut self.ix, self.now, ticket, outcome);
    }
    /// The next effect; commits are made at once, as is the first flush, and tmp is listed.
    pub fn effect(&mut self) -> Option<Effect> {
        loop {
            match self.peer.poll_effect(&mut self.ix, self.now)? {
                Effect::Parts { ticket, .. } => {
                    self.listed += 1;
                    self.peer.handle_parts(&mut self.ix, self.now, ticket, &self.tmp);
                    self.done(ticket, Outcome::Done);
                }
                Effect::Commit { ticket } => {
                    self.ix.commit();
                    self.done(ticket, Outcome::Done);
                }
                Effect::Flush { ticket, .. } | Effect::Sync { ticket, .. } if !self.rooted => {
                    self.done(ticket, Outcome::Failed(Cause::RootGone));
                }
                Effect::Flush { ticket, .. } if self.first_flush.is_some() => {
                    let outcome = self.first_flush.take().expect("seen");
                    self.done(ticket, outcome);
                }
                e => return Some(e),
            }
        }
    }
    /// The paths of all removals that are begun now, which succeed; the rest of the work is left alone.
    pub fn removals(&mut self) -> Vec<String> {
        let mut removed = Vec::new();
        for _ in 0..8 {
            while let Some(e) = self.effect() {
                match e {
                    Effect::Remove { ticket, row, .. } => {
                        removed.push(self.path(row));
                        self.done(ticket, Outcome::Removed);
                    }
                    Effect::Sync { ticket, .. } => self.done(ticket, Outcome::Done),
                    _ => {}
                }
            }
            self.pass(Duration::secs(1));
        }
        removed
    }
    /// Time passes.
    pub fn pass(&mut self, span: Duration) {
        self.now.at = self.now.at + span;
        self.now.wall += span.0;
        self.peer.handle_timeout(&mut self.ix, self.now);
    }
    /// Lets the judgement come that is due next; false if none is.
    pub fn judgement(&mut self) -> bool {
        let Some(at) = self.peer.judgement_at(&self.peer.folders[0]) else { return false };
        self.pass(at.since(self.now.at));
        true
    }
    /// The row of a path, taken out of the store.
    pub fn open(&mut self, p: &str) -> Open {
        self.peer.open_path(&mut self.ix, 0, path(p))
    }
    /// What a user's change of a path would be announced as; its row stays as it is.
    pub fn minted(&mut self, p: &str) -> Record {
        let mut o = self.open(p);
        self.peer.mint_local(self.now, &mut o);
        o.t.local.expect("a change").record
    }
    /// Something stands at a path, in sync.
    pub fn has(&mut self, p: &str, kind: Kind, text: &str) {
        let id = if kind == Kind::Directory { ContentId::NONE } else { content(text) };
        self.seq += 1;
        let (record, at) = (record(kind, id, self.seq), self.now.wall);
        let mut o = self.open(p);
        o.t.remote = Some(Remote { record: record.clone(), epoch: self.peer.epoch, seq: Seq(self.seq) });
        o.t.synced = Some(record.clone());
        o.t.local = Some(Local { record, made: Made::Synced, stat: stat(kind), at });
        self.peer.close(&mut self.ix, self.now, o);
    }
    /// The epoch in which the path's record was heard is over: another's seqs start anew.
    pub fn outlives(&mut self, p: &str) {
        let mut o = self.open(p);
        if let Some(r) = &mut o.t.remote {
            r.epoch = Epoch(self.peer.epoch.0 - 1);
        }
        self.peer.close(&mut self.ix, self.now, o);
        self.seq = 0;
    }
    /// A look found this at a path.
    pub fn sees(&mut self, p: &str, kind: Kind, text: &str) {
        let o = self.open(p);
        let id = matches!(kind, Kind::File | Kind::Symlink).then(|| content(text));
        let at = self.now.wall;
        self.peer.looked(&mut self.ix, self.now, o, stat(kind), id, at);
        // Scans that follow from it find nothing else.
        let s = &mut self.peer.folders[0];
        s.rescan = false;
        s.subtrees.clear();
    }
    /// A look found nothing there any more.
    pub fn misses(&mut self, p: &str) {
        self.sees(p, Kind::Removed, "");
    }
    /// The tracker told of the removal of what `text` stands for (a directory: "").
    pub fn hears_removal(&mut self, p: &str, text: &str) {
        self.hears(p, Kind::Removed, text);
    }
    /// The tracker told of what stands there, or was removed.
    pub fn hears(&mut self, p: &str, kind: Kind, text: &str) {
        let id = if text.is_empty() { ContentId::NONE } else { content(text) };
        self.seq += 1;
        let record = record(kind, id, self.seq);
        let mut o = self.open(p);
        o.t.remote = Some(Remote { record, epoch: self.peer.epoch, seq: Seq(self.seq) });
        self.peer.close(&mut self.ix, self.now, o);
    }
    pub fn lane(&mut self, p: &str) -> Option<Lane> {
        let row = self.ix.find(F, path(p))?;
        self.ix.due_of(row).map(|d| d.lane)
    }
    pub fn trees(&mut self, p: &str) -> Trees {
        let mut t = Trees::default();
        if let Some(row) = self.ix.find(F, path(p)) {
            self.ix.load(row, &mut t);
        }
        t
    }
    pub fn path(&mut self, row: Row) -> String {
        let mut buf = crate::path::PathBuf::new();
        self.ix.path(row, &mut buf);
        String::from_utf8_lossy(buf.get().map_or(&[], |p| p.bytes())).into_owned()
    }
}
