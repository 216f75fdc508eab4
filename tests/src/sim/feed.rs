//! What comes to a device from outside its machine: contents of other devices, and what the kernel tells of the disk.

use super::acts::Act;
use super::device::{F, Fetch};
use super::fs::{Bytes, TRASH};
use super::rand::{For, number};
use super::words::coalesce;
use super::world::{Event, MS, SECOND, World};
use dartsync_core::ids::Ticket;
use dartsync_core::mutant::{self, Mutant};
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Index, Outcome, Touch};

impl World<'_> {
    /// Device `d` asked `s` for what that has no more.
    fn asked_in_vain(&mut self, s: usize, d: usize, f: &Fetch) {
        let key = self.devices[d].key;
        let src = &mut self.devices[s];
        let now = src.now(self.now);
        let peer = src.peer.as_mut().expect("it is up");
        if let Some((asker, _)) = peer.roster().device_by_key(&key) {
            peer.handle_gone(&mut src.ix, now, asker, &f.content);
        }
        self.note(s + 1, "gone", d as u64, 0);
        self.pump(s);
    }

    /// A fetch is tried: any source that is there and still has the content will do.
    pub(super) fn fetch(&mut self, d: usize, life: u32, ticket: Ticket, tries: u32) {
        if self.devices[d].life != life || !self.devices[d].is_up() {
            return;
        }
        let Some(f) = self.devices[d].fetches.get(&ticket).cloned() else { return };
        let give_up = |w: &mut World<'_>, cause| {
            w.devices[d].fetches.remove(&ticket);
            w.done(d, life, ticket, Outcome::Failed(cause), vec![]);
        };
        if f.cancelled {
            return give_up(self, Cause::Unreachable);
        }
        if tries == 0 {
            self.devices[d].opens_part(self.now, f.row);
        }
        let mut lacking = Vec::new();
        let mut got = None;
        let keys: Vec<_> = {
            let roster = self.devices[d].peer.as_ref().expect("it is up").roster();
            f.from.iter().filter_map(|s| roster.device(s).map(|x| x.key)).collect()
        };
        for key in keys {
            let Some(s) = self.devices.iter().position(|x| x.key == key).filter(|s| *s != d) else {
                continue;
            };
            let src = &self.devices[s];
            let awake = src.asleep <= self.now && !self.faults.is_cut(s) && !self.faults.is_cut(d);
            let Some(p) = src.peer.as_ref().filter(|_| awake && !src.root_gone) else { continue };
            if !p.roster().is_active(&self.devices[d].key) {
                continue;
            }
            match self.serve(s, &f) {
                // What does not verify on arrival is nothing, and its source is asked no more.
                Some(_) if self.faults.liar == Some(s) && !mutant::on(Mutant::NoHash) => {}
                Some(data) => {
                    let lies = self.faults.liar == Some(s);
                    got = Some(if lies { Bytes::file(b"planted") } else { data });
                    break;
                }
                None => lacking.push(s),
            }
        }
        for s in &lacking {
            self.asked_in_vain(*s, d, &f);
        }
        if let Some(data) = got {
            self.devices[d].fetches.remove(&ticket);
            self.devices[d].tick(self.now);
            let which = number(&self.devices[d].path(f.row).1);
            let luck = self.draw(For::Error, d, which);
            let fail = self.faults.disk_error(d, luck);
            let rand = self.draw(For::Whim, d, which);
            let dev = &mut self.devices[d];
            let act =
                Act { fs: &mut dev.fs, tmp: &mut dev.tmp, root_gone: dev.root_gone, fail, race: None, rand };
            let outcome = act.run(|a| a.store_part(f.row.0, f.kind, data));
            let trash = std::mem::take(&mut dev.tmp.news);
            let delay = self.slow(d, which, 100, 3 * MS);
            return self.after(delay, Event::Done { d, life, ticket, outcome: Box::new(outcome), trash });
        }
        if tries < 2 && lacking.is_empty() {
            return self.after(SECOND, Event::Fetch { d, life, ticket, tries: tries + 1 });
        }
        give_up(self, Cause::Unreachable)
    }
    /// The content, if a row of that device names it and its file still is what the row says.
    fn serve(&mut self, s: usize, f: &Fetch) -> Option<Bytes> {
        let src = &mut self.devices[s];
        let mut after = None;
        while let Some(row) = src.ix.with_content(&f.content, after) {
            after = Some(row);
            let (folder, path) = src.path(row);
            let ino = if folder.is_trash() { src.fs.entry(TRASH, &path) } else { src.fs.find(&path) };
            let node = ino.map(|i| src.fs.node(i));
            if let Some(n) = node.filter(|n| n.data.id == f.content && n.kind == f.kind) {
                return Some(n.data.clone());
            }
        }
        None
    }

    pub(super) fn will_read(&mut self, d: usize) {
        let dev = &mut self.devices[d];
        if !dev.is_up() {
            return dev.fs.told.clear();
        }
        dev.reading = true;
        let life = dev.life;
        let mut rand = self.draw(For::Read, d, 0);
        let late = rand.chance(1, 20);
        let delay = if late { rand.within(10 * MS, 200 * MS) } else { rand.within(20, 2 * MS) };
        self.after(delay, Event::Read { d, life });
    }
    /// The inotify reader takes what the kernel told.
    pub(super) fn read(&mut self, d: usize, life: u32) {
        let luck = self.draw(For::Overflow, d, 0);
        let lost = self.faults.overflows(luck);
        let dev = &mut self.devices[d];
        if dev.life != life || !dev.is_up() {
            return;
        }
        dev.reading = false;
        let told = std::mem::take(&mut dev.fs.told);
        let now = dev.now(self.now);
        self.note(d + 1, "read", told.len() as u64, lost.into());
        let dev = &mut self.devices[d];
        if lost {
            dev.fs.watch_all();
            dev.peer.as_mut().expect("it is up").handle_lost_events(&mut dev.ix, now, F);
            return self.pump(d);
        }
        let latest = coalesce(told);
        for t in latest {
            let dev = &mut self.devices[d];
            let Some(p) = dev.peer.as_mut() else { return };
            let path = Path::new(&t.path).expect("users use good names");
            let watched = t.dir.filter(|dir| dev.fs.path_of(*dir).is_some()).map(|dir| dev.fs.watch(dir));
            let ino = dev.fs.find(&t.path).filter(|_| t.touch == Touch::Settled && t.dir.is_none());
            let from = t.from.as_ref().map(|from| Path::new(from).expect("users use good names"));
            match (ino.map(|ino| dev.fs.stat(ino)), from) {
                (Some(stat), Some(from)) => p.handle_moved(&mut dev.ix, now, F, from, path, &stat),
                (Some(stat), None) => p.handle_seen(&mut dev.ix, now, F, path, &stat),
                (None, _) => p.handle_touched(&mut dev.ix, now, F, path, t.touch),
            }
            if t.dir.is_some() && (watched.is_some() || t.moved) {
                p.handle_touched(&mut dev.ix, now, F, path, Touch::Subtree);
            }
            self.note(d + 1, "touched", t.touch as u64, t.dir.is_some().into());
            self.explain(|| format!("{} {:?}", String::from_utf8_lossy(&t.path), t.touch));
            self.pump(d);
        }
    }
}
