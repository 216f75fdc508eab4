//! Who has a content is asked of the tracker as long as it is being fetched.

use super::Effect;
use super::Outcome;
use super::rig::Rig;
use super::state::{Stage, Work};
use super::trees::{Cause, Lane};
use crate::ids::{Row, Slot, SlotSet};
use crate::limits::CHUNK_MAX;
use crate::record::Kind;
use crate::time::Duration;

#[test]
fn what_is_fetched_for_long_is_sought_again() {
    let mut rig = Rig::ready();
    rig.hears("big", Kind::File, "big");
    while rig.effect().is_some() {}
    let job = rig.peer.jobs[0];
    assert_eq!((job.work, rig.peer.seeks.len()), (Work::Install(Stage::Seeking), 1));
    // The tracker names one, and is silent from then on.
    let said = rig.peer.seeks.pop_front().unwrap();
    rig.peer.jobs[0].work = Work::Install(Stage::Fetching);
    rig.pass(Duration::secs(29));
    assert!(rig.peer.seeks.is_empty());
    for _ in 0..2 {
        rig.pass(Duration::secs(30));
        assert_eq!(rig.peer.seeks.pop_front(), Some(said));
        assert!(rig.peer.seeks.is_empty() && rig.peer.job_timeout().is_some_and(|t| t > rig.now.at));
    }
    assert_eq!(rig.peer.jobs.len(), 1, "it is still fetched");
}

#[test]
fn what_its_author_alone_is_asked_for_is_sought_before_long() {
    let mut rig = Rig::ready();
    rig.hears("small", Kind::File, "small");
    while rig.effect().is_some() {}
    // The author is asked, and is silent.
    let said = rig.peer.seeks.pop_front().unwrap();
    let job = &mut rig.peer.jobs[0];
    (job.work, job.sought, job.since) = (Work::Install(Stage::Fetching), false, rig.now.at);
    let ticket = job.ticket;
    rig.pass(Duration::millis(4_900));
    assert!(rig.peer.seeks.is_empty());
    rig.pass(Duration::millis(100));
    assert_eq!(rig.peer.seeks.pop_front(), Some(said));
    rig.pass(Duration::secs(29));
    assert!(rig.peer.seeks.is_empty(), "from then on as whatever is fetched for long");
    rig.peer.sources(&mut rig.ix, rig.now, said.0, said.1, SlotSet::one(Slot(0)), SlotSet(0));
    let told = core::iter::from_fn(|| rig.effect())
        .any(|e| matches!(e, Effect::Sources { ticket: of, .. } if of == ticket));
    assert!(told, "the fetch goes on with what the tracker says");
}

#[test]
fn what_is_wanted_no_more_is_not_waited_for() {
    for replaced in [true, false] {
        let mut rig = Rig::ready();
        rig.hears("big", Kind::File, "big");
        while rig.effect().is_some() {}
        rig.peer.jobs[0].work = Work::Install(Stage::Fetching);
        (rig.peer.jobs[0].sought, rig.peer.jobs[0].since) = (replaced, rig.now.at);
        let ticket = rig.peer.jobs[0].ticket;
        let gives_up = |rig: &mut Rig| {
            rig.pass(Duration::secs(30));
            core::iter::from_fn(|| rig.effect()).any(|e| e == Effect::Cancel(ticket))
        };
        assert!(!gives_up(&mut rig), "it is wanted");
        if replaced {
            rig.hears("big", Kind::File, "newer");
        } else {
            rig.hears_removal("big", "big");
        }
        assert!(gives_up(&mut rig) && gives_up(&mut rig), "until it is answered");
    }
}

/// Who seeks a content, too, is a source of it, if it has several chunks: where nobody has all of it, the only one.
#[test]
fn what_seekers_alone_may_have_is_fetched_from_them_and_again_when_one_comes() {
    for size in [CHUNK_MAX as u64, CHUNK_MAX as u64 + 1] {
        let mut rig = Rig::ready();
        rig.hears("big", Kind::File, "big");
        let mut o = rig.open("big");
        let row: Row = o.row;
        o.t.remote.as_mut().unwrap().record.size = size;
        rig.peer.close(&mut rig.ix, rig.now, o);
        let others = SlotSet::one(Slot(9));
        let tells = |rig: &mut Rig, seekers| {
            while rig.effect().is_some() {}
            rig.peer.sources(&mut rig.ix, rig.now, 0, row, SlotSet(0), seekers);
            core::iter::from_fn(|| rig.effect()).find_map(|e| match e {
                Effect::Fetch { ticket, from, seekers, .. } => Some((ticket, from, seekers)),
                _ => None,
            })
        };
        assert_eq!(tells(&mut rig, SlotSet(0)), None);
        assert_eq!(rig.lane("big"), Some(Lane::Later));
        // One comes who seeks it, too: the tracker is asked once more.
        rig.peer.seeks.clear();
        assert_eq!(tells(&mut rig, others), None);
        assert_eq!(rig.peer.seeks.len(), usize::from(size > CHUNK_MAX as u64));
        if rig.peer.seeks.is_empty() {
            continue;
        }
        let (ticket, from, seekers) = tells(&mut rig, others).expect("it is fetched");
        assert_eq!((from, seekers), (SlotSet(0), others));
        assert!(rig.peer.jobs.iter().any(|j| j.ticket == ticket && j.alone), "few of these at a time");
        rig.done(ticket, Outcome::Failed(Cause::NoSource));
        assert_eq!(rig.lane("big"), Some(Lane::Later));
    }
}
