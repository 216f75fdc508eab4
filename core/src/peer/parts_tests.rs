//! Files in tmp: kept while something may come of them, cleared away once nothing will.

use super::mem_index::MemIndex;
use super::rig::{F, Rig, content};
use super::state::{PARTS_PAUSE, Stage, Work};
use super::trees::Intent;
use super::{Cause, Effect, Index, Outcome};
use crate::ids::{ContentId, Row};
use crate::path::Path;
use crate::record::Kind;
use crate::time::Duration;
use std::vec::Vec;

fn row(rig: &mut Rig, p: &str) -> Row {
    rig.ix.find(F, Path::new(p.as_bytes()).expect("a path")).expect("it has one")
}

/// What is cleared away, fetches failing, within the longest pause between two looks.
fn cleared(rig: &mut Rig) -> Vec<Row> {
    let mut all = Vec::new();
    for _ in 0..2 + PARTS_PAUSE.1 / 1_000_000 {
        while let Some(e) = rig.effect() {
            match e {
                Effect::Clear { ticket, row, .. } => {
                    all.push(row);
                    rig.tmp.retain(|r| *r != row);
                    rig.done(ticket, Outcome::Done);
                }
                Effect::Fetch { ticket, .. } => rig.done(ticket, Outcome::Failed(Cause::Unreachable)),
                _ => {}
            }
        }
        rig.pass(Duration::secs(1));
    }
    all
}

#[test]
fn what_is_wanted_no_more_is_cleared_away() {
    let mut rig = Rig::over(MemIndex::new());
    rig.link();
    rig.has("here", Kind::File, "here");
    rig.hears("x", Kind::File, "new");
    let (x, here, nobody) = (row(&mut rig, "x"), row(&mut rig, "here"), Row(99));
    rig.tmp = [x, here, nobody].into();
    rig.begin_scan(&[("here", Kind::File, "here")]);
    assert_eq!(rig.listed, 0);
    rig.done(rig.peer.scan.ticket, Outcome::Done);
    rig.catch_up();
    assert_eq!(cleared(&mut rig), [here, nobody], "an earlier run left it");
    assert_eq!(cleared(&mut rig), [], "it is still to come");
    rig.hears("x", Kind::File, "newer");
    assert_eq!(cleared(&mut rig), [], "what is there may serve the next version");
    rig.hears_removal("x", "newer");
    assert_eq!(cleared(&mut rig), [x]);
    cleared(&mut rig);
    let listed = rig.listed;
    assert!(
        cleared(&mut rig).is_empty() && rig.listed == listed,
        "nothing is looked for where nothing can be"
    );
}

#[test]
fn a_fetch_that_was_given_up_has_tmp_listed() {
    let mut rig = Rig::ready();
    cleared(&mut rig);
    let listed = rig.listed;
    rig.hears("x", Kind::File, "new");
    while rig.effect().is_some() {}
    assert_eq!((rig.peer.jobs.len(), rig.listed), (1, listed), "it is sought");
    rig.tmp = [row(&mut rig, "x")].into();
    rig.hears_removal("x", "new");
    assert_eq!(cleared(&mut rig).len(), 1);
}

#[test]
fn nothing_is_cleared_away_from_under_work_nor_work_begun_meanwhile() {
    let mut rig = Rig::ready();
    cleared(&mut rig);
    rig.hears("x", Kind::File, "new");
    while rig.effect().is_some() {}
    let x = row(&mut rig, "x");
    let work = |rig: &Rig| rig.peer.jobs.iter().filter(|j| j.row == x).map(|j| j.work).collect::<Vec<_>>();
    let seeking = [Work::Install(Stage::Seeking)];
    assert_eq!(work(&rig), seeking);
    rig.hears_removal("x", "new");
    rig.tmp = [x].into();
    rig.peer.folders[0].parts.due = true;
    let listed = rig.listed;
    while let Some(e) = rig.effect() {
        assert!(!matches!(e, Effect::Clear { .. }));
    }
    assert!(rig.listed > listed && work(&rig) == seeking);
    // Nobody has it; it is cleared away, and heard of again meanwhile.
    rig.pass(Duration(PARTS_PAUSE.1));
    let mut clear = None;
    while let Some(e) = rig.effect() {
        if let Effect::Clear { ticket, .. } = e {
            clear = Some(ticket);
            rig.hears("x", Kind::File, "again");
        }
    }
    assert_eq!(work(&rig), [Work::Clear]);
    rig.done(clear.expect("it was wanted no more"), Outcome::Failed(Cause::Os(5)));
    while rig.effect().is_some() {}
    assert_eq!(work(&rig), seeking);
}

#[test]
fn what_a_recovery_may_ask_for_stays_until_it_will_not() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "old");
    let x = row(&mut rig, "x");
    rig.tmp = [x].into();
    let bears = |rig: &mut Rig, intent| {
        let mut o = rig.peer.open(&mut rig.ix, 0, x).expect("it is there");
        o.t.intent = intent;
        rig.peer.close(&mut rig.ix, rig.now, o);
    };
    let to = (Kind::File, content("old"));
    bears(&mut rig, Some(Intent { from: (Kind::Removed, ContentId::NONE), to, copy: None }));
    // It is begun, and not answered yet.
    assert!(cleared(&mut rig).is_empty());
    rig.peer.jobs.retain(|j| j.work != Work::Recover);
    rig.peer.folders[0].parts.due = true;
    assert!(rig.listed > 0 && cleared(&mut rig).is_empty());
    bears(&mut rig, None);
    let ticket = rig.peer.ticket();
    rig.peer.push_job(rig.now, ticket, 0, Row(0), Work::Parts);
    rig.peer.handle_parts(&mut rig.ix, rig.now, ticket, &[x]);
    assert!(rig.peer.ready.is_empty(), "the store still bears the intent");
    rig.done(ticket, Outcome::Done);
    assert_eq!(cleared(&mut rig), [x]);
}

#[test]
fn what_is_unknown_in_another_epoch_is_waited_for() {
    let mut rig = Rig::ready();
    rig.hears("x", Kind::File, "new");
    rig.outlives("x");
    let x = row(&mut rig, "x");
    rig.tmp = [x].into();
    rig.peer.folders[0].parts.due = true;
    assert_eq!(cleared(&mut rig), []);
    assert!(rig.listed > 1);
    rig.has("x", Kind::File, "new");
    assert_eq!(cleared(&mut rig), [x]);
}
