//! Stories about names: what moves, what meets something else of its name, what lives below what goes.

use super::*;
use crate::sim::device::F;
use crate::sim::fs::{Fs, ROOT};
use crate::sim::world::Event;
use dartsync_core::ids::ContentId;
use dartsync_core::path::Path;
use dartsync_core::peer::{Due, Index, Intent, Lane, Trees};
use dartsync_core::record::Kind;

impl World<'_> {
    /// A program opens a file and writes; it goes on after `pause`, and then closes it.
    fn open(&mut self, d: usize, path: &[u8], pause: u64) {
        let ino = self.devices[d].fs.find(path).expect("it is there");
        self.devices[d].fs.node_mut(ino).writers += 1;
        let place = (ROOT, path.to_vec());
        self.after(pause, Event::Write { d, ino, place, deed: 0, left: 1 });
    }
    /// The swap that made a path could not be finished yet.
    fn unfinish(&mut self, d: usize, path: &[u8]) {
        let ix = &mut self.devices[d].ix;
        let row = ix.find(F, Path::new(path).unwrap()).unwrap();
        let mut t = Trees::default();
        ix.load(row, &mut t);
        let r = t.synced.take().unwrap();
        t.intent =
            Some(Intent { from: (Kind::Removed, ContentId::NONE), to: (r.kind, r.content), copy: None });
        (t.target, t.local) = (Some(r), None);
        ix.save(row, &t, Some(Due { lane: Lane::Quick, key: 0 }));
    }
}

#[test]
fn an_open_file_is_moved() {
    home(2, |w| {
        w.edit(A, "x");
        w.same();
        w.open(A, b"x", 5 * SECOND);
        w.rename(A, b"x", b"y").unwrap();
        w.same();
        w.run_for(10 * SECOND);
        w.same();
        assert_eq!(w.paths(B), ["y"]);
    });
}

#[test]
fn what_left_a_directory_before_it_was_watched_is_missed() {
    home(2, |w| {
        w.edit(A, "keep");
        w.same();
        // Nothing is read of B's events for a while, but an install meets its directory.
        w.devices[B].reading = true;
        w.make_dir(B, b"x/d").unwrap();
        w.edit(A, "x");
        w.run_for(2 * SECOND);
        w.rename(B, b"x/d", b"y").unwrap();
        let life = w.devices[B].life;
        w.after(SECOND, Event::Read { d: B, life });
        w.run_for(2 * SECOND);
        w.same();
        assert!(w.paths(A).contains(&"y".into()) && !w.paths(A).contains(&"x/d".into()));
    });
}

#[test]
fn watches_that_ended_are_set_anew() {
    home(2, |w| {
        w.edit(A, "d/x");
        w.same();
        let now = w.devices[B].now(w.now);
        let dev = &mut w.devices[B];
        dev.fs.reset();
        dev.peer.as_mut().unwrap().handle_unwatched(&mut dev.ix, now, F);
        w.pump(B);
        w.edit(B, "d/y");
        w.run_for(2 * SECOND);
        w.same();
        assert_eq!(w.paths(A), ["d", "d/x", "d/y"]);
    });
}

#[test]
fn a_directory_that_went_unseen_is_found_missing() {
    home(2, |w| {
        ["d/x", "keep"].iter().for_each(|p| w.edit(A, p));
        w.same();
        w.devices[B].fs.reset();
        w.remove_tree(B, b"d").unwrap();
        w.devices[B].fs.watch_all();
        w.edit(A, "d/y");
        w.same();
        assert_eq!(w.paths(B)[..2], ["d", "d/y"]);
        assert!(w.paths(A).contains(&"keep".into()));
    });
}

#[test]
fn a_directory_that_comes_while_another_is_made_is_scanned() {
    home(2, |w| {
        w.make_dir(A, b"d").unwrap();
        w.edit(A, "b/x");
        w.same();
        w.unfinish(B, b"d");
        w.rename(B, b"b", b"d").unwrap();
        w.same();
        assert_eq!(w.paths(A), ["d", "d/x"]);
    });
}

#[test]
fn metadata_that_a_recovery_finds_changed_is_set_again() {
    home(2, |w| {
        w.make_dir(A, b"d").unwrap();
        w.edit(A, "x");
        w.same();
        w.kill(B);
        for (path, mode) in [(&b"d"[..], 0o700), (b"x", 0o600)] {
            w.unfinish(B, path);
            let fs = &mut w.devices[B].fs;
            let ino = fs.find(path).unwrap();
            fs.set_meta((ROOT, path), ino, Some(mode), None);
        }
        w.start(B);
        w.same();
    });
}

#[test]
fn what_a_directory_held_that_came_and_went_between_two_looks_is_missed() {
    home(2, |w| {
        w.edit(A, "b");
        w.make_dir(A, b"d").unwrap();
        w.same();
        // A scan saw b/a while a directory stood at b; the looks at b did not.
        let ix = &mut w.devices[A].ix;
        let mut t = Trees::default();
        let row = ix.find(F, Path::new(b"d").unwrap()).unwrap();
        ix.load(row, &mut t);
        let row = ix.create(F, Path::new(b"b/a").unwrap());
        ix.save(row, &t, None);
        w.edit(A, "b");
        w.same();
        assert!(!w.devices[A].ix.load(row, &mut t) || t.local.is_none(), "{t:?}");
        assert_eq!(w.paths(B), ["b", "d"]);
    });
}

#[test]
fn a_power_cut_leaves_a_directory_where_its_name_is() {
    let dir = |fs: &mut Fs, at, name: &[u8]| {
        let made = fs.make(Kind::Directory, 0o755, None);
        fs.link(at, name, made).unwrap();
        made
    };
    let left = (0..16).map(|seed| {
        let mut fs = Fs::new(1, 1);
        let x = dir(&mut fs, ROOT, b"x");
        let d = dir(&mut fs, x, b"d");
        fs.sync_names();
        let y = dir(&mut fs, ROOT, b"y");
        fs.rename((x, b"d"), (y, b"d"), true).unwrap();
        fs.power_cut(&mut Rand::new(seed));
        let at = fs.walk(ROOT, b"").into_iter().find(|w| w.1 == d).unwrap().0;
        assert_eq!(fs.path_of(d), Some(at.clone()));
        at
    });
    let left: Vec<_> = left.collect();
    assert!([b"x/d", b"y/d"].iter().all(|at| left.contains(&at.to_vec())), "both happen");
}
