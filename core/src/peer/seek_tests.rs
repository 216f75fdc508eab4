//! Who has a content is asked of the tracker as long as it is being fetched.

use super::Effect;
use super::rig::Rig;
use super::state::{Stage, Work};
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
