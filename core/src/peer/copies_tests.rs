//! R11 and R9: what becomes of a loser's copy where the program ended before it was noted.

use super::announce::stamp;
use super::reconcile::copy_record;
use super::rig::{Rig, content, path, record, stat};
use super::state::{Announcement, What};
use super::trees::{Intent, Lane, Made, Remote};
use super::{Effect, Outcome, Stat, copy_path};
use crate::ids::{ContentId, Row, Seq};
use crate::path::PathBuf;
use crate::record::Kind;

/// The program ended between the swap of `x`, which lost to something of that kind, and the noting of it; the row of its copy,
/// of which the home has the record already, or not.
fn killed_in_a_swap(rig: &mut Rig, told: bool, kind: Kind) -> Row {
    rig.has("x", Kind::File, "loser");
    let mut o = rig.open("x");
    let loser = o.t.local.as_ref().expect("it stands").record.clone();
    if told {
        let (mut name, record) = (PathBuf::new(), copy_record(&loser));
        copy_path(path("x"), &loser, rig.peer.roster().name_of(loser.author), &mut name);
        let mut c = rig.peer.open_path(&mut rig.ix, 0, name.get().expect("a name"));
        c.t.remote = Some(Remote { record, epoch: rig.peer.epoch, seq: Seq(5) });
        rig.peer.close(&mut rig.ix, rig.now, c);
    }
    let row = rig.peer.plan_copy(&mut rig.ix, rig.now, &o, &loser).expect("a copy");
    let target = record(kind, winner(kind), 9_000_000);
    let (from, to) = ((Kind::File, loser.content), (kind, target.content));
    (o.t.intent, o.t.target) = (Some(Intent { from, to, copy: Some(row) }), Some(target));
    rig.peer.close(&mut rig.ix, rig.now, o);
    row
}

fn winner(kind: Kind) -> ContentId {
    if kind == Kind::File { content("winner") } else { ContentId::NONE }
}

/// A crash came between a swap that gave the loser its copy's name and the noting of both; a user removed the copy meanwhile.
#[test]
fn a_copy_that_a_user_removed_before_it_was_noted_is_removed() {
    // With a part in tmp, nothing was swapped: a user put there what was to come.
    let coarse = Stat { mtime: 4_000_000_000, ..stat(Kind::File) };
    let file = Kind::File;
    let cases = [
        (file, false, false, None),
        (file, true, false, None),
        (file, false, true, None),
        (file, false, false, Some(coarse)),
        (Kind::Directory, false, false, None),
        (Kind::Directory, true, false, None),
    ];
    for (kind, unclean, part, there) in cases {
        let mut rig = Rig::ready();
        let row = killed_in_a_swap(&mut rig, false, kind);
        rig.peer.folders[0].unclean = unclean;
        let (copy, at) = (rig.path(row), rig.now.wall);
        let edit = rig.trees(&copy).pending.expect("it must exist").0;
        while let Some(e) = rig.effect() {
            match e {
                Effect::Recover { ticket, .. } => {
                    let disk = Some((stat(kind), winner(kind)));
                    rig.done(ticket, Outcome::Recovered { disk, swap: None, part, at });
                }
                Effect::Look { ticket, row: of, .. } => {
                    let (stat, id) = match of == row {
                        true => there.map_or_else(Default::default, |s| (s, Some(content("loser")))),
                        false => (stat(kind), Some(winner(kind)).filter(|c| *c != ContentId::NONE)),
                    };
                    rig.done(ticket, Outcome::Looked { stat, content: id, at });
                }
                _ => {}
            }
        }
        let t = rig.trees(&copy);
        if let Some(there) = there {
            let l = t.local.expect("it stands");
            assert_eq!(
                (l.made, &l.record, l.stat),
                (Made::Minted, &edit, there),
                "what the disk kept of it is no edit"
            );
            assert!(t.disk_due && t.pending.is_none());
            continue;
        }
        let gone = !unclean && !part;
        assert_eq!(t.pending.is_some(), !gone, "its name, or all of the swap, may be what is missing");
        let removal = t.local.is_some_and(|l| l.made == Made::Unminted && !l.record.is_live());
        assert_eq!(removal, gone);
    }
}

/// The home takes the copy's record while the recovery looks, or had it before the swap: it is pending no more then.
#[test]
fn a_copy_that_a_user_removed_before_it_was_noted_is_removed_though_the_home_has_it() {
    for (told, unclean, there) in [
        (false, false, false),
        (true, false, false),
        (false, false, true),
        (true, false, true),
        (true, true, false),
    ] {
        let mut rig = Rig::ready();
        let row = killed_in_a_swap(&mut rig, told, Kind::File);
        rig.peer.folders[0].unclean = unclean;
        let (copy, at) = (rig.path(row), rig.now.wall);
        let found = if there { (stat(Kind::File), Some(content("loser"))) } else { (Stat::default(), None) };
        while let Some(e) = rig.effect() {
            match e {
                Effect::Recover { ticket, .. } => {
                    if let Some((record, _)) = rig.trees(&copy).pending {
                        let (what, stamp) = (What::Pending, stamp(&record));
                        let a =
                            Announcement { f: 0, row, what, generation: 0, pair: false, stamp, void: false };
                        let mut c = rig.open(&copy);
                        rig.peer.accepted(&mut rig.ix, rig.now, &mut c, &a, Seq(5));
                        rig.peer.close(&mut rig.ix, rig.now, c);
                    }
                    let t = rig.trees(&copy);
                    assert!(t.pending.is_none() && t.remote.is_some() && t.local.is_none());
                    let disk = Some((stat(Kind::File), content("winner")));
                    rig.done(ticket, Outcome::Recovered { disk, swap: None, part: false, at });
                }
                Effect::Look { ticket, row: of, .. } => {
                    let (stat, content) =
                        if of == row { found } else { (stat(Kind::File), Some(content("winner"))) };
                    rig.done(ticket, Outcome::Looked { stat, content, at });
                }
                _ => {}
            }
        }
        let t = rig.trees(&copy);
        let told = t.remote.expect("the home has it").record;
        let (made, live) = t.local.as_ref().map_or((None, false), |l| (Some(l.made), l.record.is_live()));
        match (unclean, there) {
            (true, _) => {
                assert_eq!((made, rig.lane(&copy)), (None, Some(Lane::Quick)), "its name may be lost")
            }
            (false, true) => assert_eq!((made, t.synced), (Some(Made::Synced), Some(told))),
            (false, false) => {
                assert_eq!((made, live), (Some(Made::Unminted), false));
                assert!(rig.minted(&copy).version.covers(told.edit));
            }
        }
    }
}
