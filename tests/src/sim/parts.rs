//! What lies in tmp: listed, cleared away, looked through when a program starts.

use super::acts::{Act, Done, part, swap, take};
use super::check::visible;
use super::device::{Device, F};
use super::drive::Work;
use super::fs::{Bytes, Fs, Name, TMP};
use super::rand::{For, number};
use super::world::{Event, MS, SECOND, World};
use dartsync_core::ids::{Row, Ticket};
use dartsync_core::peer::{Cause, Effect, Outcome};
use dartsync_core::record::Kind;

/// The row and the suffix of a name in tmp.
fn parse(name: &Name) -> (u64, String) {
    let text = String::from_utf8_lossy(name).into_owned();
    let (n, what) = text.split_once('.').expect("names in tmp have two parts");
    (n.parse().expect("a row's number"), what.to_owned())
}

/// The rows that something lies there for.
pub(super) fn rows(fs: &Fs) -> Vec<Row> {
    let mut all: Vec<Row> = fs.entries(TMP).map(|e| Row(parse(e.0).0)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Promise: in the end nothing lies in tmp that nothing waits for.
pub fn tmp_is_empty(d: &Device) -> Result<(), String> {
    match d.fs.entries(TMP).next() {
        None => Ok(()),
        Some((name, _)) => {
            let (name, seen) = (String::from_utf8_lossy(name), visible(d).len());
            Err(format!("{name} is left in tmp, beside {seen} paths in sync"))
        }
    }
}

impl Act<'_> {
    /// A fetch begins.
    pub(super) fn open_part(&mut self, n: u64) {
        if self.fs.entry(TMP, &part(n)).is_none() {
            let ino = self.fs.make(Kind::File, 0o600, Some(Bytes::file(b"")));
            self.fs.link(TMP, &part(n), ino).expect("the name is free");
        }
    }
    /// `Clear`.
    pub(super) fn clear(&mut self, n: u64) -> Done {
        self.may_fail()?;
        for name in [take(n), swap(n)] {
            self.rescue(&name);
        }
        self.tmp.ready.remove(&n);
        self.tmp.taken.remove(&n);
        self.tmp.took.remove(&n);
        let _ = self.fs.unlink(TMP, &part(n));
        Ok(Outcome::Done)
    }
    fn rescue(&mut self, name: &[u8]) {
        let dir = self.fs.entry(TMP, name).is_some_and(|i| self.fs.node(i).kind == Kind::Directory);
        if !dir || self.fs.unlink(TMP, name).is_err() {
            self.trash_it(name);
        }
    }
    /// At start: what nobody knows in tmp. `intends`: rows that bear an intent.
    pub(super) fn cleanup(&mut self, intends: &dyn Fn(u64) -> bool) {
        let names: Vec<Name> = self.fs.entries(TMP).map(|e| e.0.clone()).collect();
        for name in names {
            let (n, what) = parse(&name);
            if what != "part" && !intends(n) {
                self.rescue(&name);
            }
        }
    }
}

impl World<'_> {
    /// Once a run, when a folder's root is there: its trash is to be looked through.
    pub(super) fn will_file(&mut self, d: usize) {
        let delay = self.draw(For::Disk, d, number(b"trash")).within(MS, 8 * SECOND);
        let dev = &mut self.devices[d];
        dev.filing = true;
        let life = dev.life;
        self.after(delay, Event::File { d, life });
    }
    pub(super) fn file_unknown(&mut self, d: usize, life: u32) {
        let dev = &mut self.devices[d];
        if dev.life != life || !dev.is_up() {
            return;
        }
        if dev.root_gone {
            return self.after(SECOND, Event::File { d, life });
        }
        dev.filing = false;
        let now = dev.now(self.now);
        if dev.folder.is_some() && dev.file_unknown() {
            let p = dev.peer.as_mut().expect("it is up");
            p.handle_filed(&mut dev.ix, now, F);
            self.note(d + 1, "filed", 0, 0);
            self.pump(d);
        }
    }
    /// Tmp is to be listed, or something in it cleared away.
    pub(super) fn tidy_later(&mut self, d: usize, ticket: Ticket, effect: Effect) {
        let life = self.devices[d].life;
        let work = Box::new(Work { effect, path: b".dartsync".to_vec(), trash: false, copy: None });
        self.after(100, Event::Act { d, life, ticket, work });
    }
    /// `Parts`.
    pub(super) fn list_tmp(&mut self, d: usize, life: u32, ticket: Ticket) {
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        if dev.root_gone {
            return self.done(d, life, ticket, Outcome::Failed(Cause::RootGone), vec![]);
        }
        let found = rows(&dev.fs);
        dev.peer.as_mut().expect("it is up").handle_parts(&mut dev.ix, now, ticket, &found);
        self.done(d, life, ticket, Outcome::Done, vec![]);
    }
}

impl World<'_> {
    /// Promise: at rest nothing happens but keep-alives, and nothing is left in tmp. A device that others asked in vain has
    /// yet to tell once more what it holds, a minute later if they did not stop asking; it is at rest when it has.
    pub fn rests(&mut self) {
        self.run_for(40 * SECOND);
        for d in 0..self.devices.len() {
            if self.devices[d].is_member() {
                let r = tmp_is_empty(&self.devices[d]);
                self.must(r.map_err(|e| format!("D{d}: {e}")));
            }
        }
        // None is asked again meanwhile: once is enough, by when the longest pause (60 s) is over.
        for _ in 0..4 {
            let tells_again = |d: &Device| d.peer.as_ref().is_some_and(|p| p.tells_again());
            if !self.devices.iter().any(|d| d.is_member() && tells_again(d)) {
                break;
            }
            self.run_for(20 * SECOND);
        }
        let before: Vec<u64> = self.devices.iter().map(|d| d.busy).collect();
        self.run_for(20 * SECOND);
        for (i, b) in before.iter().enumerate() {
            let n = self.devices[i].busy - b;
            if n > 0 && self.devices[i].is_member() {
                self.broke(format!("D{i} is not at rest: {n} effects and frames in 20 s"));
            }
        }
    }
}
