//! Seqs start anew in each epoch: rows of two may bear one seq, and what is said of it means the row of the epoch in force.

use super::rig::Rig;
use super::state::{Telling, What};
use crate::ids::{FolderSlot, LinkId, Seq};
use crate::limits;
use crate::path::Path;
use crate::record::Kind;
use crate::sans_io::Sent;
use crate::wire::message::{SeqRange, ToTracker, Verdict, decode};
use std::vec::Vec;

/// `old` is of an epoch that is over, `new` of the one in force; both bear seq 1.
fn two() -> Rig {
    let mut rig = Rig::ready();
    rig.has("old", Kind::File, "old");
    rig.outlives("old");
    rig.has("new", Kind::File, "new");
    rig
}

#[test]
fn a_seq_names_the_row_of_the_epoch_in_force() {
    let mut rig = two();
    let row = rig.peer.row_of(&mut rig.ix, 0, Seq(1)).expect("there is one");
    assert_eq!(rig.path(row), "new");
    rig.outlives("new");
    assert!(rig.peer.row_of(&mut rig.ix, 0, Seq(1)).is_none());
}

#[test]
fn what_is_held_is_told_though_another_row_bears_its_seq() {
    let mut rig = two();
    while rig.effect().is_some() {}
    rig.peer.handle_open(&mut rig.ix, rig.now, LinkId(1));
    while rig.effect().is_some() {}
    rig.peer.session.welcomed = true;
    let s = &mut rig.peer.folders[0];
    (s.slot, s.asked, s.have_sweep) = (Some(FolderSlot(0)), true, Some(Default::default()));
    rig.catch_up();
    rig.peer.haves.clear();
    let mut out = [0; limits::FRAME];
    let mut said = None;
    for _ in 0..8 {
        let Sent::Frame(n) = rig.peer.poll_transmit(&mut rig.ix, rig.now, LinkId(1), &mut out) else { break };
        if let Some(ToTracker::Have { ranges, .. }) = decode(&out[..n]) {
            said = Some(ranges);
        }
    }
    assert_eq!(said.as_deref(), Some(&[SeqRange { from: Seq(1), to: Seq(1) }][..]));
}

#[test]
fn what_is_withdrawn_is_told_in_the_next_epoch() {
    let mut rig = Rig::ready();
    rig.hears("a", Kind::File, "a");
    let mut o = rig.peer.open_path(&mut rig.ix, 0, Path::new(b"a").expect("a path"));
    o.t.withdrawn = o.t.remote.take();
    let row = o.row;
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.peer.epoch.0 += 1;
    rig.peer.folders[0].telling = Telling::Waiting;
    rig.peer.sweep_unknown(&mut rig.ix, rig.now);
    let told: Vec<_> = rig.peer.outbox.iter().map(|a| (a.row, a.what)).collect();
    assert_eq!(told, [(row, What::Withdrawn)], "who has its content may not know of it");
    rig.peer.outbox_sent = 1;
    rig.peer.judged(&mut rig.ix, rig.now, Verdict::Accepted(Seq(3))).expect("a verdict");
    let t = rig.trees("a");
    let w = t.withdrawn.expect("it is still kept");
    assert_eq!((w.epoch, w.seq, t.remote), (rig.peer.epoch, Seq(3), None));
}
