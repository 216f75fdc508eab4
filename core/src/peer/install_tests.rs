//! What comes to stand at a path while its content is on the way is not swapped for the same again.

use super::rig::{Rig, content, stat};
use super::trees::{Local, Made};
use super::{Effect, Outcome, Stat};
use crate::record::Kind;
use crate::time::Duration;
use std::vec::Vec;

/// The device's own copy of what was heard of comes to stand at the path, with another mode.
fn comes_to_stand(rig: &mut Rig, p: &str) {
    let mut o = rig.open(p);
    let record = o.t.remote.as_ref().expect("heard of").record.clone();
    let stat = Stat { mode: 0o755, ..stat(Kind::File) };
    o.t.local = Some(Local { record, made: Made::Minted, stat, at: rig.now.wall });
    o.t.disk_due = true;
    rig.peer.close(&mut rig.ix, rig.now, o);
}

/// The stages of the path's install, until nothing more comes; `at` its stage something comes to stand there.
fn stages(at: &str) -> Vec<&'static str> {
    let (mut rig, mut seen) = (Rig::ready(), Vec::new());
    rig.has("other", Kind::File, "new");
    rig.hears("x", Kind::File, "new");
    for _ in 0..8 {
        while let Some(e) = rig.effect() {
            let (stage, ticket, outcome) = match e {
                Effect::Make { ticket, .. } => ("make", ticket, Outcome::Ready),
                Effect::Prepare { ticket, .. } => ("prepare", ticket, Outcome::Done),
                Effect::Swap { ticket, expect, .. } => {
                    assert_eq!(expect, None, "what stands there is no business of a swap's");
                    let (stat, at) = (stat(Kind::File), rig.now.wall);
                    ("swap", ticket, Outcome::Swapped { stat, at, copy: None, odd: None })
                }
                Effect::Meta { ticket, .. } => {
                    let (stat, at) = (stat(Kind::File), rig.now.wall);
                    ("meta", ticket, Outcome::Swapped { stat, at, copy: None, odd: None })
                }
                Effect::Discard { ticket, .. } => ("discard", ticket, Outcome::Done),
                Effect::Sync { ticket, .. } => ("sync", ticket, Outcome::Done),
                _ => continue,
            };
            if stage == at {
                comes_to_stand(&mut rig, "x");
            }
            rig.done(ticket, outcome);
            seen.push(stage);
        }
        rig.pass(Duration::secs(1));
    }
    let t = rig.trees("x");
    assert!(t.intent.is_none() && !t.disk_due);
    let there = t.local.map(|l| (l.record.content, l.stat));
    assert_eq!(there, Some((content("new"), stat(Kind::File))));
    seen
}

#[test]
fn what_came_to_stand_there_meanwhile_is_given_its_metadata_and_not_swapped() {
    assert_eq!(stages("")[..3], ["make", "prepare", "swap"]);
    for at in ["make", "prepare"] {
        let seen = stages(at);
        assert!(seen.contains(&"meta") && !seen.contains(&"swap"), "{at}: {seen:?}");
    }
}
