//! Seqs start anew in each epoch: rows of two may bear one seq, and what is said of it means the row of the epoch in force.

use super::rig::Rig;
use crate::ids::{FolderSlot, LinkId, Seq};
use crate::limits;
use crate::record::Kind;
use crate::sans_io::Sent;
use crate::wire::message::{SeqRange, ToTracker, decode};

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
