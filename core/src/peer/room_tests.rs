//! One device with little bandwidth does not hold up what others have.

use super::effect::{Effect, Outcome};
use super::rig::Rig;
use super::state::{INSTALLS, Stage, Work};
use super::trees::{Cause, Lane};
use crate::ids::DeviceId;
use crate::limits::BULK;
use crate::record::Kind;
use crate::time::Duration;
use std::string::String;
use std::vec::Vec;

/// What is begun now, by path: a device that brings nothing has it.
fn fetches(rig: &mut Rig) -> Vec<String> {
    let mut begun = Vec::new();
    for _ in 0..4 {
        while let Some(e) = rig.effect() {
            if let Effect::Cancel(ticket) = e {
                rig.done(ticket, Outcome::Failed(Cause::NoSource));
            }
        }
        rig.peer.seeks.clear();
        for j in rig.peer.jobs.iter_mut().filter(|j| j.work == Work::Install(Stage::Seeking)) {
            j.work = Work::Install(Stage::Fetching);
            begun.push(j.row);
        }
    }
    begun.into_iter().map(|row| rig.path(row)).collect()
}

#[test]
fn small_contents_that_come_slowly_give_way_to_others() {
    let mut rig = Rig::ready();
    for i in 0..500 {
        rig.hears(&std::format!("slow{i:03}"), Kind::File, &std::format!("{i}"));
    }
    assert_eq!(fetches(&mut rig).len(), INSTALLS);
    rig.hears("new", Kind::File, "new");
    assert!(fetches(&mut rig).is_empty(), "there is no place");
    let mut came = None;
    for second in 0..30 {
        rig.pass(Duration::secs(1));
        if fetches(&mut rig).iter().any(|p| p == "new") {
            came = Some(second);
            break;
        }
    }
    assert!(came.is_some(), "behind two rounds of others");
    assert!(
        (0..500).all(|i| rig.lane(&std::format!("slow{i:03}")) == Some(Lane::Quick)),
        "all are still to come"
    );
}

#[test]
fn a_large_content_of_another_author_gets_a_place() {
    let mut rig = Rig::ready();
    let hears = |rig: &mut Rig, p: &str, author: u32| {
        rig.hears(p, Kind::File, p);
        let mut o = rig.open(p);
        let r = &mut o.t.remote.as_mut().expect("heard").record;
        (r.size, r.author) = (BULK + 1, DeviceId(author));
        (o.due, o.bulk) = (None, true);
        rig.peer.close(&mut rig.ix, rig.now, o);
    };
    for i in 0..12 {
        hears(&mut rig, &std::format!("slow{i:02}"), 5);
    }
    assert_eq!(fetches(&mut rig).len(), 8);
    for _ in 0..100 {
        rig.pass(Duration::secs(1));
        assert!(fetches(&mut rig).is_empty(), "all of one author: none gives way");
    }
    hears(&mut rig, "other", 6);
    let mut begun = Vec::new();
    for _ in 0..70 {
        rig.pass(Duration::secs(1));
        begun.extend(fetches(&mut rig));
    }
    assert!(begun.iter().any(|p| p == "other"), "{begun:?}");
}
