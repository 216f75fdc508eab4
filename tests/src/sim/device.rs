//! One device of the world: the real peer machine, its store, its disk, its clocks.

use super::acts::{Act, Tmp};
use super::fs::{Fs, TRASH};
use super::rand::Rand;
use crate::mem_index::MemIndex;
use dartsync_core::ids::{ContentId, Folder, FolderId, InviteId, PublicKey, Row, SlotSet, Ticket};
use dartsync_core::path::PathBuf;
use dartsync_core::peer::{Config, Index, Number, Peer, Trees, UNCLEAN};
use dartsync_core::record::Kind;
use dartsync_core::time::{Instant, Now};
use std::collections::{BTreeMap, BTreeSet};

/// The one folder, as every device's store numbers it.
pub const F: Folder = Folder(1);
/// Wall time at the world's start (µs).
pub const EPOCH: u64 = 1_790_000_000_000_000;

/// A fetch under way.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Whose part file.
    pub row: Row,
    /// File or symlink.
    pub kind: Kind,
    /// What.
    pub content: ContentId,
    /// Who may have it.
    pub from: SlotSet,
    /// It was given up.
    pub cancelled: bool,
}

/// See the module.
pub struct Device {
    /// Who it is.
    pub key: PublicKey,
    /// The machine, while the program runs.
    pub peer: Option<Box<Peer>>,
    /// The store.
    pub ix: MemIndex,
    /// The disk.
    pub fs: Fs,
    /// What the program knows of tmp.
    pub tmp: Tmp,
    /// The stored roster.
    pub roster: Vec<u8>,
    /// The linked folder, as the configuration has it.
    pub folder: Option<FolderId>,
    /// A request to link it is out.
    pub asked: Option<u32>,
    /// The invite it dials with.
    pub invite: Option<InviteId>,
    /// Counts starts of the program: what was under way before is nobody's.
    pub life: u32,
    /// Stopped until then (SIGSTOP).
    pub asleep: u64,
    /// Monotonic clock beside the world's.
    pub mono: u64,
    /// Wall clock beside the world's (µs).
    pub skew: i64,
    /// The machine's boot.
    pub boot: u64,
    /// Its link, by place in the world's.
    pub link: Option<u32>,
    /// Fetches under way.
    pub fetches: BTreeMap<Ticket, Fetch>,
    /// Looks that count only if nothing was told of since that happened before (R17).
    pub unread: BTreeSet<Ticket>,
    /// The commit under way.
    pub committing: Option<Ticket>,
    /// Which timer event counts.
    pub timer: u64,
    /// The folder's root is not there.
    pub root_gone: bool,
    /// Its program has opened the root since it was linked, and since it last sought it: before, no act can be carried out.
    pub opened: bool,
    /// Until then what is edited may be taken for torn by a power cut (R13).
    pub torn_until: u64,
    /// Its key was revoked.
    pub revoked: bool,
    /// Was ever started.
    pub joined: bool,
    /// The inotify reader is to run.
    pub reading: bool,
    /// The trash is being looked through.
    pub filing: bool,
    /// Effects asked for, pings aside frames sent: what idleness is judged by.
    pub busy: u64,
    /// A store kept for a rollback.
    pub backup: Option<MemIndex>,
    /// It is left out of the home.
    pub absent: bool,
    /// It comes to the home later than the others, and has not yet.
    pub late: bool,
    /// When it was last invited (µs).
    pub invited_at: u64,
    /// Files had come to it by another way before it was linked.
    pub filled: bool,
    /// Its folder is to be unlinked; the request for that; it was, and is not linked again yet.
    pub leaving: bool,
    /// See `leaving`.
    pub unlinking: Option<u32>,
    /// See `leaving`.
    pub unlinked: bool,
    /// Its folder is paused, as its configuration has it.
    pub paused: bool,
    /// Turns of its user, and what they did in them or would have.
    pub turns: u64,
    /// See `turns`.
    pub deeds: u64,
    /// Saves at the last instant.
    pub raced: u64,
}

impl Device {
    /// A device that was never started.
    pub fn new(n: usize, mut rand: Rand) -> Device {
        let grain = *rand.pick(&[1, 1, 1, 1_000, 1_000_000_000, 2_000_000_000]);
        Device::with_grain(n, rand, grain)
    }
    /// [`Device::new`] whose disk keeps times in multiples of `grain` ns.
    pub fn with_grain(n: usize, mut rand: Rand, grain: i64) -> Device {
        let tick = *rand.pick(&[1_000, 1_000_000, 4_000_000]);
        Device {
            key: PublicKey([n as u8 + 1; 32]),
            peer: None,
            ix: MemIndex::new(),
            fs: Fs::new(grain, tick),
            tmp: Tmp::default(),
            roster: Vec::new(),
            folder: None,
            asked: None,
            invite: None,
            life: 0,
            asleep: 0,
            mono: rand.below(1 << 40),
            skew: 0,
            boot: rand.next() | 1,
            link: None,
            fetches: BTreeMap::new(),
            unread: BTreeSet::new(),
            committing: None,
            timer: 0,
            root_gone: false,
            opened: false,
            torn_until: 0,
            revoked: false,
            joined: false,
            reading: false,
            filing: false,
            busy: 0,
            backup: None,
            absent: false,
            late: false,
            leaving: false,
            unlinking: None,
            unlinked: false,
            filled: false,
            invited_at: 0,
            paused: false,
            turns: 0,
            deeds: 0,
            raced: 0,
        }
    }
    /// What its clocks say at a time of the world.
    pub fn now(&self, now: u64) -> Now {
        Now { at: Instant(now + self.mono), wall: self.wall(now) }
    }
    /// Its wall clock (µs).
    pub fn wall(&self, now: u64) -> u64 {
        (EPOCH + now).saturating_add_signed(self.skew)
    }
    /// Tells the disk what time it is.
    pub fn tick(&mut self, now: u64) {
        (self.fs.now, self.fs.wall) = (now, self.wall(now));
    }
    /// The path of a row.
    pub fn path(&mut self, row: Row) -> (Folder, Vec<u8>) {
        let mut buf = PathBuf::new();
        let f = self.ix.path(row, &mut buf);
        (f, buf.get().map_or(Vec::new(), |p| p.bytes().to_vec()))
    }
    /// Whether its program can know that a user takes that content away from a path: what had come by another way is
    /// no file of the home before it was looked at; nor is what may not have been on the platter when the power failed
    /// (R13), be it that it could not be looked at since; nor what it was killed over, before it had noted that it made
    /// it, until all of what a power cut left was looked at (R11: what left no trace counts as not made).
    pub fn knows(&mut self, path: &[u8], content: ContentId) -> bool {
        let path = dartsync_core::path::Path::new(path).ok();
        let (mut t, row) = (Trees::default(), path.and_then(|p| self.ix.find(F, p)));
        let loaded = row.is_some_and(|row| self.ix.load(row, &mut t));
        let unclean = loaded && self.ix.number(F, Number::State) & UNCLEAN != 0;
        if unclean && t.unsynced && t.local.as_ref().is_some_and(|l| l.at == 0) {
            return false;
        }
        let noted = t.intent.is_none() || t.target.is_none();
        if unclean && !noted && self.peer.is_none() {
            return false;
        }
        !self.filled || (loaded && t.disk_content() == Some(content))
    }
    /// The program starts; `secret`: what its machine draws from.
    pub fn start(&mut self, now: u64, secret: [u8; 32]) {
        assert!(self.peer.is_none());
        self.life += 1;
        self.joined = true;
        self.tmp = Tmp { trashed: self.tmp.trashed, ..Tmp::default() };
        let (key, addrs) = (self.key, Default::default());
        // Of each two devices one takes all its files for large.
        let await_both = if key.0[0] % 2 == 1 { 0 } else { u64::MAX };
        let config = Config { key, seed: secret, port: 7421, addrs, caps: 0, await_both };
        let mut peer = Box::new(Peer::new(config));
        self.opened = false;
        let at = self.now(now);
        self.cleanup(now, true);
        self.file_trash();
        let roster = Some(&self.roster[..]).filter(|r| !r.is_empty());
        peer.start(&mut self.ix, at, self.boot, roster);
        if let Some(id) = self.folder {
            peer.link_folder(&mut self.ix, at, F, id);
            if self.paused != (self.ix.number(F, Number::State) & 1 != 0) {
                peer.set_paused(&mut self.ix, at, F, self.paused);
            }
        }
        self.peer = Some(peer);
    }
    /// Its folder is unlinked: what lies in tmp goes to the trash, which nobody knows any more.
    pub fn forget_tmp(&mut self, now: u64) {
        self.cleanup(now, false);
        self.tmp = Tmp { trashed: self.tmp.trashed, ..Tmp::default() };
    }
    /// A fetch begins.
    pub fn opens_part(&mut self, now: u64, row: Row) {
        self.tick(now);
        Act::plain(&mut self.fs, &mut self.tmp).open_part(row.0);
    }
    fn cleanup(&mut self, now: u64, linked: bool) {
        self.tick(now);
        let ix = std::cell::RefCell::new(&mut self.ix);
        let intends = |n: u64| {
            let mut t = Default::default();
            linked && ix.borrow_mut().load(Row(n), &mut t) && t.intent.is_some()
        };
        let mut act = Act::plain(&mut self.fs, &mut self.tmp);
        act.cleanup(&intends);
        for row in if linked { Vec::new() } else { super::parts::rows(act.fs) } {
            act.clear(row.0).expect("nothing fails");
        }
    }
    /// What acts moved to the trash is filed in the store.
    pub fn file_trash(&mut self) {
        for (name, kind, content, size) in std::mem::take(&mut self.tmp.news) {
            let path = dartsync_core::path::Path::new(&name).expect("a good name");
            if kind != Kind::Directory {
                self.ix.add_trash(F, path, kind, content, size);
            }
        }
    }
    /// What lies in the trash and is not in the store is filed there, too; whether there was any.
    pub fn file_unknown(&mut self) -> bool {
        let mut any = false;
        for (name, ino) in self.fs.walk(TRASH, b"") {
            let n = self.fs.node(ino);
            let path = dartsync_core::path::Path::new(&name).expect("a good name");
            if n.kind != Kind::Directory && self.ix.find(F.trash(), path).is_none() {
                self.ix.add_trash(F, path, n.kind, n.data.id, n.data.bytes.len() as u64);
                any = true;
            }
        }
        any
    }
    /// The program ends at once, whatever it was doing; `kept`: a commit under way is.
    pub fn kill(&mut self, kept: bool) {
        self.peer = None;
        if self.committing.take().is_some() && kept {
            self.ix.settle();
        }
        self.ix.crash();
        self.fs.reset();
        self.tmp.news.clear();
        self.link = None;
        (self.asked, self.unlinking) = (None, None);
        self.fetches.clear();
        (self.reading, self.filing) = (false, false);
    }
    /// Whether it is still to be invited.
    pub fn waits(&self) -> bool {
        self.invite.is_none() && self.roster.is_empty() && !self.revoked && !self.absent && !self.late
    }
    /// Whether the program runs.
    pub fn is_up(&self) -> bool {
        self.peer.is_some()
    }
    /// Whether it is to be like the others in the end.
    pub fn is_member(&self) -> bool {
        self.joined && !self.revoked
    }
}
