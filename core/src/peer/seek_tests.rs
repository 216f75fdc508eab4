//! Who has a content is asked of the tracker as long as it is being fetched.

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
