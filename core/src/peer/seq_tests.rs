//! Seqs start anew in each epoch: rows of two may bear one seq, and what is said of it means the row of the epoch in force.

use super::index::{Index, Number};
use super::rig::{F, Rig, content, record};
use super::state::{Announcement, Telling, What};
use super::trees::{Intent, Lane, Trees};
use crate::ids::{ContentId, Folder, FolderId, FolderSlot, LinkId, Row, Seq, Tag};
use crate::limits;
use crate::path::Path;
use crate::record::{Flags, Kind, Record};
use crate::sans_io::Sent;
use crate::time::Duration;
use crate::version::{Edit, VersionVector};
use crate::wire::batch::{BatchWriter, Entry, EntryFlags};
use crate::wire::message::{Ranges, SeqRange, ToPeer, ToTracker, Verdict, decode, encode};
use std::format;
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
    greet(&mut rig);
    rig.peer.folders[0].have_sweep = Some(Default::default());
    rig.peer.haves.clear();
    assert_eq!(said(&mut rig).as_deref(), Some(&[SeqRange { from: Seq(1), to: Seq(1) }][..]));
}

#[test]
fn what_went_and_came_back_is_told_when_that_is_durable() {
    let mut rig = Rig::ready();
    greet(&mut rig);
    rig.has("a", Kind::File, "a");
    while rig.effect().is_some() {}
    let intent =
        Intent { from: (Kind::Removed, ContentId::NONE), to: (Kind::File, content("a")), copy: None };
    for intent in [Some(intent), None] {
        // It was made anew, and the end of that is not durable yet.
        let mut o = rig.open("a");
        o.t.intent = intent;
        rig.peer.close(&mut rig.ix, rig.now, o);
    }
    assert_eq!(said(&mut rig), None);
    while rig.effect().is_some() {}
    assert_eq!(said(&mut rig).as_deref(), Some(&[SeqRange { from: Seq(1), to: Seq(1) }][..]));
}

/// A record tells of an edit of this store, so far ahead of what it made, by the nth of its tags.
fn hears_own(rig: &mut Rig, ahead: u64, nth: usize) {
    let now = rig.now;
    let mut own = rig.peer.mint(now);
    own.tag = own.tag.line().nth(nth).expect("there is one");
    let mut r = record(Kind::File, content("a"), 5);
    assert!(r.version.raise(Edit { counter: own.counter + ahead, ..own }));
    let mut buf = [0; 512];
    let mut w = BatchWriter::new(&mut buf);
    let (path, flags) = (Path::new(b"a").expect("a path"), EntryFlags::default());
    assert!(w.push(&Entry { folder: FolderSlot(0), seq: Seq(1), flags, path, record: &r }));
    let n = w.len();
    let mut out = [0; 1024];
    let n = encode(&ToPeer::Records(&buf[..n]), &mut out).expect("it fits");
    rig.peer.handle_frame(&mut rig.ix, rig.now, LinkId(1), &out[..n]).expect("a record");
}

#[test]
fn who_hears_of_own_counters_that_are_still_to_come_takes_another_tag() {
    let heard = |ahead: u64, nth: usize| {
        let mut rig = Rig::ready();
        greet(&mut rig);
        let tag = rig.peer.tag;
        hears_own(&mut rig, ahead, nth);
        (rig.peer.tag != tag, rig.trees("a").remote.is_some(), rig.peer.session.link.is_some())
    };
    // Those by which it goes on where power cuts took what it had announced have the same counter (R13).
    for nth in 0..Tag(1).line().count() {
        assert_eq!(heard(0, nth), (false, true, true), "{nth}");
        assert_eq!(
            heard(1, nth),
            (true, false, false),
            "its edits are told from those that it knows nothing of"
        );
    }
}

#[test]
fn who_hears_of_them_again_and_again_waits() {
    let mut rig = Rig::ready();
    let mut waits = || {
        greet(&mut rig);
        hears_own(&mut rig, 1, 0);
        let wait = rig.peer.session.dial_at.since(rig.now.at);
        rig.pass(wait);
        wait.0 / 1_000_000
    };
    assert_eq!([waits(), waits(), waits()], [0, 600, 600]);
    rig.pass(Duration::secs(601));
    greet(&mut rig);
    hears_own(&mut rig, 1, 0);
    assert!(rig.peer.session.dial_at.since(rig.now.at) < Duration::secs(1), "that is long ago");
}

/// A tracker is linked that knows the folder.
fn greet(rig: &mut Rig) {
    while rig.effect().is_some() {}
    rig.peer.handle_open(&mut rig.ix, rig.now, LinkId(1));
    while rig.effect().is_some() {}
    rig.peer.session.welcomed = true;
    (rig.peer.folders[0].slot, rig.peer.folders[0].asked) = (Some(FolderSlot(0)), true);
    rig.catch_up();
}

/// The last that is said to be here, of all that is sent now.
fn said(rig: &mut Rig) -> Option<Ranges> {
    let mut out = [0; limits::FRAME];
    let mut said = None;
    while let Sent::Frame(n) = rig.peer.poll_transmit(&mut rig.ix, rig.now, LinkId(1), &mut out) {
        if let Some(ToTracker::Have { ranges, .. }) = decode(&out[..n]) {
            said = Some(ranges);
        }
    }
    said
}

/// The tracker has told of `a`, and withdrew it.
fn hears_withdrawn(rig: &mut Rig) -> Row {
    rig.hears("a", Kind::File, "a");
    let mut o = rig.open("a");
    o.t.withdrawn = o.t.remote.take();
    let row = o.row;
    rig.peer.close(&mut rig.ix, rig.now, o);
    row
}

#[test]
fn what_is_withdrawn_is_told_in_the_next_epoch() {
    let mut rig = Rig::ready();
    let row = hears_withdrawn(&mut rig);
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

/// Another device's record of `a` comes.
fn push(rig: &mut Rig, seq: u64, record: &Record) {
    let (flags, path) = (EntryFlags::default(), Path::new(b"a").expect("a path"));
    let e = Entry { folder: FolderSlot(0), seq: Seq(seq), flags, path, record };
    rig.peer.take_record(&mut rig.ix, rig.now, 0, &e);
}

fn judged(rig: &mut Rig, v: Verdict) {
    rig.peer.outbox_sent = rig.peer.outbox.len();
    rig.peer.judged(&mut rig.ix, rig.now, v).expect("a verdict");
}

fn told(rig: &Rig) -> Vec<(Row, What)> {
    rig.peer.outbox.iter().map(|a| (a.row, a.what)).collect()
}

/// `Told` is said.
fn says_told(rig: &mut Rig) {
    rig.peer.folders[0].slot = Some(FolderSlot(0));
    rig.peer.outbox_sent = rig.peer.outbox.len();
    assert!(rig.peer.transmit_told(&mut rig.ix, rig.now, &mut [0; limits::FRAME]).is_some());
}

/// The tracker lost its table, and is told of `a` what was heard once; before it hears that, it tells of something older,
/// which replaces that here. The row, the newer record, the older one.
fn told_of_and_replaced() -> (Rig, Row, Record, Record) {
    let mut rig = Rig::ready();
    rig.hears("a", Kind::File, "new");
    let older = record(Kind::File, content("old"), 3);
    let mut o = rig.open("a");
    let newer = o.t.remote.as_mut().map(|r| (r.record.version.raise(older.edit), r.record.clone()));
    let (row, newer) = (o.row, newer.expect("it was heard").1);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.peer.epoch.0 += 1;
    rig.peer.folders[0].telling = Telling::Waiting;
    rig.peer.sweep_unknown(&mut rig.ix, rig.now);
    assert_eq!(told(&rig), [(row, What::Heard)]);
    push(&mut rig, 9, &older);
    (rig, row, newer, older)
}

#[test]
fn what_was_told_of_and_replaced_before_its_verdict_came_is_asked_for() {
    let (mut rig, row, newer, older) = told_of_and_replaced();
    says_told(&mut rig);
    judged(&mut rig, Verdict::Accepted(Seq(15)));
    assert_eq!(told(&rig), [(row, What::Heard)], "what is kept is not what the tracker has");
    let r = rig.trees("a").remote.expect("the older one");
    assert!(
        r.record == older && r.epoch != rig.peer.epoch && rig.lane("a").is_none(),
        "nothing is made of it"
    );
    assert_ne!(rig.ix.number(F, Number::ToldIn), rig.peer.epoch.0);
    push(&mut rig, 15, &newer);
    judged(&mut rig, Verdict::Superseded(Seq(15)));
    let r = rig.trees("a").remote.expect("the newer one");
    assert_eq!((r.record, r.seq, told(&rig)), (newer, Seq(15), Vec::new()));
    assert_eq!(rig.lane("a"), Some(Lane::Quick), "it is fetched");
    assert_eq!(rig.ix.number(F, Number::ToldIn), rig.peer.epoch.0);
}

#[test]
fn asking_again_ends_no_telling() {
    let (mut rig, ..) = told_of_and_replaced();
    rig.peer.folders[0].telling = Telling::Sweeping;
    judged(&mut rig, Verdict::Accepted(Seq(15)));
    judged(&mut rig, Verdict::Superseded(Seq(15)));
    assert_ne!(rig.ix.number(F, Number::ToldIn), rig.peer.epoch.0, "others are still untold");
}

#[test]
fn what_is_never_sent_is_waited_for_by_no_count() {
    let (mut rig, _, newer, _) = told_of_and_replaced();
    says_told(&mut rig);
    judged(&mut rig, Verdict::Accepted(Seq(15)));
    // The tracker tells of it before it is asked.
    push(&mut rig, 15, &newer);
    rig.peer.outbox_sent = 0;
    rig.peer.commits.durable = rig.peer.commits.open;
    rig.peer.transmit_announce(&mut rig.ix, rig.now, &mut [0; limits::FRAME]);
    assert!(rig.peer.outbox.is_empty());
    assert_eq!(rig.ix.number(F, Number::ToldIn), rig.peer.epoch.0);
}

#[test]
fn what_is_filed_makes_no_more_rows_be_read_than_it_may_concern() {
    let mut rig = Rig::ready();
    (0..100).for_each(|i| rig.has(&format!("{i}"), Kind::File, "x"));
    hears_withdrawn(&mut rig);
    assert_eq!(rig.lane("a"), None, "nobody has it");
    rig.ix.add_trash(F, Path::new(b"1").expect("a name"), Kind::File, content("a"), 1);
    let before = rig.ix.loads;
    rig.peer.handle_filed(&mut rig.ix, rig.now, F);
    assert!(rig.ix.loads - before < 10, "{} rows were read", rig.ix.loads - before);
    assert_eq!(rig.lane("a"), Some(Lane::Quick), "it is made of what was filed (R9a)");
}

#[test]
fn what_was_withdrawn_is_made_of_what_a_former_run_left_in_the_trash() {
    let mut rig = Rig::ready();
    hears_withdrawn(&mut rig);
    rig.ix.add_trash(F, Path::new(b"1").expect("a name"), Kind::File, content("a"), 1);
    rig.ix.commit();
    assert_eq!(rig.lane("a"), None, "this run does not come to it any more");
    let mut rig = Rig::over(rig.ix);
    rig.link();
    assert_eq!(rig.lane("a"), Some(Lane::Quick));
}

#[test]
fn who_hears_of_a_withdrawn_record_waits_for_nothing_older_of_the_path() {
    let mut rig = Rig::ready();
    let push = |rig: &mut Rig, seq: u64, tag: u32, withdrawn: bool| {
        let mut record = record(Kind::File, content("a"), 5);
        (record.edit.tag, record.content.0[9]) = (Tag(tag), tag as u8);
        record.version = VersionVector::of(record.edit);
        record.flags.0 |= if withdrawn { Flags::WITHDRAWN } else { 0 };
        let (flags, path) = (EntryFlags::default(), Path::new(b"a").expect("a path"));
        let e = Entry { folder: FolderSlot(0), seq: Seq(seq), flags, path, record: &record };
        rig.peer.take_record(&mut rig.ix, rig.now, 0, &e);
        let t = rig.trees("a");
        (t.remote.map(|r| r.seq.0), t.withdrawn.map(|r| r.seq.0))
    };
    assert_eq!(push(&mut rig, 3, 5, false), (Some(3), None));
    // That one was withdrawn, as was the one that took its path and knew nothing of it: the latter alone is told.
    assert_eq!(push(&mut rig, 9, 6, true), (None, Some(9)));
    assert!(rig.lane("a").is_none(), "nothing is waited for");
    assert_eq!(push(&mut rig, 10, 7, false), (Some(10), Some(9)), "what came later stands");
    assert_eq!(push(&mut rig, 9, 6, true), (Some(10), Some(9)));
}

#[test]
fn what_was_withdrawn_before_its_verdict_came_is_not_waited_for() {
    let mut rig = Rig::ready();
    let path = Path::new(b"a").expect("a path");
    let copy = record(Kind::File, content("lost"), 5);
    let mut withdrawn = copy.clone();
    withdrawn.flags.0 |= Flags::WITHDRAWN;
    let row = rig.ix.create(F, path);
    let mut accepted = |at: u64| {
        let pending = Some((copy.clone(), row));
        rig.ix.save(row, &Trees { pending, ..Trees::default() }, None);
        let flags = EntryFlags::default();
        let e = Entry { folder: FolderSlot(0), seq: Seq(36), flags, path, record: &withdrawn };
        rig.peer.take_record(&mut rig.ix, rig.now, 0, &e);
        let mut o = rig.peer.open(&mut rig.ix, 0, row).expect("a row");
        let stamp = super::announce::stamp(&copy);
        let a =
            Announcement { f: 0, row, what: What::Pending, generation: 0, pair: false, stamp, void: false };
        rig.peer.accepted(&mut rig.ix, rig.now, &mut o, &a, Seq(at));
        rig.peer.close(&mut rig.ix, rig.now, o);
        (rig.trees("a").remote.map(|r| r.seq.0), rig.lane("a").is_some())
    };
    assert_eq!(accepted(34), (None, false));
    assert_eq!(accepted(38), (Some(38), true), "told anew since");
}

#[test]
fn a_made_up_counter_does_not_use_up_the_own_ones() {
    let mut rig = Rig::ready();
    let mut version = VersionVector::new();
    let made_up = |t| Edit { tag: Tag(1000 + t), counter: limits::COUNTER - 1 };
    (1..limits::VECTOR as u32).for_each(|t| assert!(version.raise(made_up(t))));
    assert!(version.raise(Edit { tag: Tag(1), counter: rig.now.wall + 5_000_000 }) && version.is_full());
    let now = rig.now;
    let edits = [0; 3].map(|_| rig.peer.mint_over(now, &version).counter);
    assert!(edits[0] > now.wall + 5_000_000, "what a clock may have said is outrun");
    assert!(edits[0] < edits[1] && edits[1] < edits[2] && edits[2] < now.wall + 6_000_000, "{edits:?}");
}

#[test]
fn what_is_minted_over_an_own_edit_is_later_than_that_whatever_the_clock_says() {
    for nth in 0..Tag(1).line().count() {
        let mut rig = Rig::ready();
        let tag = rig.peer.tag.line().nth(nth).expect("there is one");
        let known = Edit { tag, counter: rig.now.wall + 5_000_000 };
        let now = rig.now;
        let edit = rig.peer.mint_over(now, &VersionVector::of(known));
        assert!(edit.tag == tag && edit.counter > known.counter, "{nth}");
    }
}

#[test]
fn what_is_said_of_an_unlinked_folder_means_nothing_for_the_next_in_its_place() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "x");
    let row = rig.ix.find(F, Path::new(b"x").expect("a path")).expect("just made");
    let a = Announcement { f: 0, row, what: What::Local, generation: 0, pair: false, stamp: 0, void: false };
    for _ in 0..2 {
        assert!(rig.peer.outbox.push_back(a).is_ok());
    }
    rig.peer.outbox_sent = 1;
    rig.peer.note_lack(0, Seq(1));
    let before = rig.trees("x");
    rig.peer.unlink_folder(&mut rig.ix, rig.now, F);
    rig.peer.link_folder(&mut rig.ix, rig.now, Folder(2), FolderId(2));
    assert_eq!((rig.peer.outbox.len(), rig.peer.lacks.len()), (1, 0), "only what was sent is waited for");
    rig.peer.judged(&mut rig.ix, rig.now, Verdict::Accepted(Seq(9))).expect("it was sent");
    assert_eq!((rig.trees("x"), rig.peer.outbox.len()), (before, 0));
}

/// The link ends after all was told and before the tracker has judged it.
#[test]
fn what_was_told_in_an_epoch_is_told_again_unless_its_verdicts_came() {
    for judged in [0, 1, 2] {
        let mut rig = Rig::ready();
        greet(&mut rig);
        let rows: Vec<Row> = ["a", "b"]
            .map(|p| {
                rig.has(p, Kind::File, p);
                rig.ix.find(F, Path::new(p.as_bytes()).expect("a path")).expect("it is known")
            })
            .into();
        rig.ix.set_number(F, Number::ToldIn, 0);
        rig.peer.outbox.clear();
        for row in rows {
            let (f, what, generation, pair, stamp, void) = (0, What::Synced, 0, false, 0, true);
            assert!(
                rig.peer
                    .outbox
                    .push_back(Announcement { f, row, what, generation, pair, stamp, void })
                    .is_ok()
            );
        }
        rig.peer.outbox_sent = 2;
        rig.peer.folders[0].telling = Telling::Owed;
        let now = rig.now;
        assert!(rig.peer.transmit_told(&mut rig.ix, now, &mut [0; 64]).is_some(), "it waits for no verdict");
        (0..judged)
            .for_each(|n| rig.peer.judged(&mut rig.ix, now, Verdict::Accepted(Seq(n))).expect("it was sent"));
        let told = rig.ix.number(F, Number::ToldIn) == rig.peer.epoch.0;
        rig.peer.handle_closed(&mut rig.ix, now, LinkId(1));
        assert_eq!(
            (told, rig.peer.folders[0].telling == Telling::Done),
            (judged == 2, judged == 2),
            "{judged}"
        );
    }
}
