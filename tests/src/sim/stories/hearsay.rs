//! What is known by hearsay alone: a home that forgot, stores that were lost, contents that nobody had.

use super::super::device::F;
use super::*;
use dartsync_core::wire::batch::BatchReader;
use dartsync_core::wire::message::{ToTracker, decode};

pub(super) const STORIES: &[Story] = &[
    story("a copy that was only heard of is made after the tracker forgot", 2, heard_copy),
    story("what a lost device had moved comes back where it put it", 2, moved_and_lost),
    story("a lost store brings no removed file back", 3, lost_store),
    story("a lost store brings no file back whose removal the tracker forgot", 3, lost_and_forgot),
    story("nothing is told before all is heard", 3, unheard),
    story("what is not on disk any more is not told at the next start", 2, unscanned),
];

impl World<'_> {
    /// A device's folder is paused, or goes on.
    pub(in super::super) fn pause(&mut self, d: usize, paused: bool) {
        let dev = &mut self.devices[d];
        let now = dev.now(self.now);
        dev.peer.as_mut().expect("it runs").set_paused(&mut dev.ix, now, F, paused);
        self.pump(d);
    }
    fn loses_store(&mut self, d: usize) {
        assert!(!self.devices[d].is_up());
        self.devices[d].ix = MemIndex::new();
    }
}

/// A's edit loses while A is away: B has told of its copy, which nobody could make yet, when the tracker forgets.
fn heard_copy(w: &mut World<'_>) {
    w.write(A, "x", "base");
    w.same();
    w.kill(B);
    w.write(A, "x", "a's");
    w.run_for(3 * SECOND);
    w.kill(A);
    w.write(B, "x", "b's");
    w.start(B);
    w.run_for(3 * SECOND);
    w.stop_tracker();
    w.start_tracker(false);
    w.run_for(20 * SECOND);
    w.start(A);
    w.same();
    assert_eq!((w.shows(B, "b's"), w.shows(B, "a's").len()), (vec!["x".into()], 1), "{:?}", w.paths(B));
}

/// A moves a file and is gone for good. B, whose folder was paused, has its content under the old name alone.
fn moved_and_lost(w: &mut World<'_>) {
    w.write(A, "old", "text");
    w.write(A, "keep", "keep");
    w.same();
    w.pause(B, true);
    w.rename(A, b"old", b"new").unwrap();
    w.run_for(3 * SECOND);
    w.kill(A);
    w.put_out_now(B, A);
    w.run_for(30 * SECOND);
    w.pause(B, false);
    w.same();
    assert_eq!(w.shows(B, "text"), ["new"], "{:?}", w.paths(B));
}

/// B was away while files were removed, and its store is lost: what it still has of them is no news.
fn lost_store(w: &mut World<'_>) {
    let all = ["d/x", "e/x", "gone", "edited", "kept"];
    all.iter().for_each(|p| w.write(A, p, p));
    w.same();
    w.kill(B);
    w.remove_tree(A, b"d").unwrap();
    w.remove_tree(A, b"e").unwrap();
    ["gone", "edited"].iter().for_each(|p| w.remove(A, p.as_bytes()).unwrap());
    w.run_for(3 * SECOND);
    ["edited", "new", "e/new"].iter().for_each(|p| w.write(B, p, &format!("{p}, since")));
    w.run_for(5 * SECOND);
    w.loses_store(B);
    w.start(B);
    // It ends once more in the middle.
    w.run_for(SECOND / 20);
    w.kill(B);
    w.start(B);
    w.same();
    assert_eq!(w.paths(A), ["e", "e/new", "edited", "kept", "new"]);
    w.rests();
}

/// The same where the tracker forgot the removal in between, and others told it anew.
fn lost_and_forgot(w: &mut World<'_>) {
    ["x", "y"].iter().for_each(|p| w.write(A, p, p));
    w.same();
    w.kill(B);
    w.remove(A, b"x").unwrap();
    w.run_for(3 * SECOND);
    w.stop_tracker();
    w.start_tracker(false);
    w.run_for(20 * SECOND);
    w.loses_store(B);
    w.start(B);
    w.same();
    assert_eq!(w.paths(A), ["y"]);
}

/// B's store is lost, and its link is slow: what it finds on its disk, the home knows.
fn unheard(w: &mut World<'_>) {
    ["x", "y", "z"].iter().for_each(|p| w.write(A, p, p));
    w.same();
    w.kill(B);
    w.remove(A, b"x").unwrap();
    w.run_for(3 * SECOND);
    w.loses_store(B);
    w.faults.clog(B);
    w.start(B);
    w.same();
    assert_eq!(w.paths(A), ["y", "z"]);
}

/// B's program ends before its tracker is there to take an edit, and its user writes on; at the next start B's disk comes
/// later than its tracker.
fn unscanned(w: &mut World<'_>) {
    w.write(A, "x", "base");
    w.same();
    w.stop_tracker();
    w.write(B, "x", "first");
    w.run_for(3 * SECOND);
    w.kill(B);
    w.write(B, "x", "second");
    w.run_for(3 * SECOND);
    w.start_tracker(false);
    w.run_for(10 * SECOND);
    w.devices[B].root_gone = true;
    w.recorded = Some(Vec::new());
    w.start(B);
    w.run_for(10 * SECOND);
    w.devices[B].root_gone = false;
    w.same();
    let first = Bytes::file(b"first").id;
    let all = w.recorded.take().expect("just set");
    assert!(!all.iter().any(|f| f.0 && tells(&f.1, &first)), "it was told");
    assert_eq!(w.shows(A, "second"), ["x"]);
}

/// Whether a frame announces that content.
fn tells(frame: &[u8], content: &dartsync_core::ids::ContentId) -> bool {
    let Some(ToTracker::Announce(batch)) = decode(frame) else { return false };
    let mut r = BatchReader::new(batch);
    while let Ok(Some(e)) = r.entry() {
        if e.record.is_live() && e.record.content == *content {
            return true;
        }
    }
    false
}
