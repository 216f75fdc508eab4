//! Reconcile against an exhaustive table: every pair of records over two tags, every state of the local tree.

use super::reconcile::*;
use super::trees::{Local, Made, Remote, Stat, Trees};
use crate::ids::{ContentId, Epoch, Seq, Tag};
use crate::record::{Kind, Record};
use crate::version::{Edit, Order, VersionVector};
use std::vec::Vec;

const NOW: Context = Context { epoch: Epoch(7), told: true };

fn version(a: u64, b: u64) -> VersionVector {
    let mut v = VersionVector::new();
    assert!(v.raise(Edit { tag: Tag(1), counter: a }) && v.raise(Edit { tag: Tag(2), counter: b }));
    v
}

/// Every record over two tags with counters up to 2, three kinds; content follows from the edit, as it does in life.
fn records() -> Vec<Record> {
    let mut all = Vec::new();
    for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))).filter(|v| *v != (0, 0)) {
        for (tag, counter) in [(1, a), (2, b)].into_iter().filter(|e| e.1 > 0) {
            for kind in [Kind::File, Kind::Directory, Kind::Removed] {
                let content = if kind == Kind::File {
                    ContentId([(tag * 16 + counter) as u8; 32])
                } else {
                    ContentId::NONE
                };
                let edit = Edit { tag: Tag(tag as u32), counter };
                // A parent of the other tag, so that no fork comes in by accident.
                let parent = Some(Edit { tag: Tag(3 - tag as u32), counter: 1 });
                let mtime = if kind == Kind::File { (tag * 10 + counter) as i64 } else { 0 };
                all.push(Record {
                    kind,
                    content,
                    edit,
                    parent,
                    mtime,
                    version: version(a, b),
                    ..Record::default()
                });
            }
        }
    }
    all
}

fn on_disk(r: &Record, made: Made) -> Option<Local> {
    r.is_live().then(|| Local {
        record: r.clone(),
        made,
        stat: Stat { kind: r.kind, ..Stat::default() },
        at: 1,
    })
}

fn heard(r: &Record) -> Option<Remote> {
    Some(Remote { record: r.clone(), epoch: NOW.epoch, seq: Seq(1) })
}

#[test]
fn both_sides_of_a_conflict_name_the_same_winner_and_the_same_copy() {
    let (all, mut conflicts) = (records(), 0);
    for x in &all {
        for r in all.iter().filter(|r| x.compare(r) == Order::Concurrent) {
            conflicts += 1;
            let (here, there) = (judge(x, r), judge(r, x));
            assert_eq!((here.copy, here.fork), (there.copy, there.fork), "{x:?} {r:?}");
            if !x.same_content(r) {
                assert_ne!(here.ours, there.ours, "one wins, on both sides: {x:?} {r:?}");
            }
            let (winner, loser) = if here.ours { (x, r) } else { (r, x) };
            assert!(!here.copy || loser.kind == Kind::File, "only a file can become a copy");
            let ancestor = !here.fork && (x.version.covers(r.edit) || r.version.covers(x.edit));
            let beaten = loser.kind == Kind::File && winner.kind != Kind::Removed;
            assert_eq!(here.copy, beaten && !ancestor && !x.same_content(r), "{x:?} {r:?}");
            if !ancestor && winner.kind == Kind::Removed {
                assert_eq!(loser.kind, Kind::Removed, "an edit beats a concurrent removal");
            }
        }
    }
    assert!(conflicts > 200, "the table is not empty: {conflicts}");
}

#[test]
fn a_synced_row_follows_what_is_newer_and_tells_what_is_newer_here() {
    for s in records() {
        for r in records() {
            let mut t = Trees {
                local: on_disk(&s, Made::Synced),
                synced: Some(s.clone()),
                remote: heard(&r),
                ..Trees::default()
            };
            absorb(&mut t, NOW);
            let got = step(&t, NOW);
            let want = match s.compare(&r) {
                Order::Equal => Step::Rest,
                Order::Dominates => Step::Announce,
                Order::Concurrent => Step::Resolve,
                Order::Dominated if s.same_content(&r) && s.same_meta(&r) => Step::Rest,
                Order::Dominated if s.same_content(&r) => Step::Follow,
                Order::Dominated if r.is_live() => Step::Get,
                Order::Dominated => Step::Remove,
            };
            assert_eq!(got, want, "synced {s:?} remote {r:?}");
            if got == Step::Rest {
                assert_eq!(t.synced.as_ref(), Some(&r), "at rest, synced is the remote");
            }
        }
    }
}

#[test]
fn what_is_unknown_in_this_epoch_is_never_acted_on() {
    for s in records() {
        for r in records() {
            let old = Remote { record: r.clone(), epoch: Epoch(6), seq: Seq(1) };
            let mut t = Trees {
                local: on_disk(&s, Made::Synced),
                synced: Some(s.clone()),
                remote: Some(old),
                ..Trees::default()
            };
            let before = t.clone();
            absorb(&mut t, NOW);
            assert_eq!((step(&t, NOW), &t), (Step::Rest, &before), "synced {s:?} unknown {r:?}");
        }
    }
}

#[test]
fn remote_absence_is_no_removal() {
    for s in records() {
        let t = Trees { local: on_disk(&s, Made::Synced), synced: Some(s.clone()), ..Trees::default() };
        assert_eq!(step(&t, NOW), Step::Announce);
        assert_eq!(step(&t, Context { told: false, ..NOW }), Step::Rest, "the sweep of this epoch tells it");
    }
}

#[test]
fn an_unminted_change_is_minted_unless_it_is_what_the_remote_says_already() {
    for s in records() {
        for r in records().into_iter().filter(|r| matches!(r.compare(&s), Order::Dominates | Order::Equal)) {
            let edited =
                Record { kind: Kind::File, content: ContentId([0xee; 32]), mtime: 99, ..Record::default() };
            let mut t = Trees {
                local: on_disk(&edited, Made::Unminted),
                synced: Some(s.clone()),
                remote: heard(&r),
                ..Trees::default()
            };
            absorb(&mut t, NOW);
            assert_eq!(step(&t, NOW), Step::Mint);
            if r.kind != Kind::File {
                continue;
            }
            let same = Record { content: r.content, mtime: r.mtime, ..edited };
            let mut t = Trees {
                local: on_disk(&same, Made::Unminted),
                synced: Some(s.clone()),
                remote: heard(&r),
                ..Trees::default()
            };
            absorb(&mut t, NOW);
            assert_eq!(step(&t, NOW), Step::Rest, "equal content is no edit");
            assert_eq!(t.synced.as_ref(), Some(&r));
        }
    }
}

#[test]
fn what_comes_back_with_the_time_that_a_coarse_disk_keeps_is_no_edit() {
    const SECOND: i64 = 1_000_000_000;
    let file = |mtime| Record { kind: Kind::File, content: ContentId([1; 32]), mtime, ..Record::default() };
    let s = Record { edit: Edit { tag: Tag(1), counter: 5 }, version: version(5, 0), ..file(5 * SECOND + 7) };
    for (mtime, same) in
        [(5 * SECOND, true), (4 * SECOND, true), (3 * SECOND, false), (5 * SECOND + 1, false)]
    {
        let mut t = Trees {
            local: on_disk(&file(mtime), Made::Unminted),
            synced: Some(s.clone()),
            remote: heard(&s),
            ..Trees::default()
        };
        absorb(&mut t, NOW);
        assert_eq!(step(&t, NOW), if same { Step::Follow } else { Step::Mint }, "{mtime}");
        assert_eq!(t.local.is_some_and(|l| l.record == s), same, "what the disk cannot keep is not told");
    }
}

#[test]
fn a_change_to_what_another_device_has_by_itself_is_an_edit_nevertheless() {
    let edit = |tag, counter| Edit { tag: Tag(tag), counter };
    let file = Record {
        kind: Kind::File,
        content: ContentId([1; 32]),
        edit: edit(1, 5),
        version: version(5, 0),
        ..Record::default()
    };
    let theirs =
        Record { kind: Kind::Directory, edit: edit(2, 3), version: version(0, 3), ..Record::default() };
    let here = Record { kind: Kind::Directory, ..Record::default() };
    let trees = |remote: &Record| Trees {
        local: on_disk(&here, Made::Unminted),
        synced: Some(file.clone()),
        remote: heard(remote),
        ..Trees::default()
    };
    let mut t = trees(&theirs);
    absorb(&mut t, NOW);
    assert_eq!(step(&t, NOW), Step::Mint, "else nobody is told that the file was removed, and it returns");
    let mut t = trees(&Record { version: version(5, 3), ..theirs });
    absorb(&mut t, NOW);
    assert_eq!(step(&t, NOW), Step::Rest, "who made it knew of the file");
}

#[test]
fn a_fresh_link_adopts_equal_content_with_the_homes_metadata_and_mints_nothing() {
    let home = records().into_iter().find(|r| r.kind == Kind::File).unwrap();
    let here = Record { kind: Kind::File, content: home.content, mtime: 5, mode: 0o600, ..Record::default() };
    let mut t = Trees { local: on_disk(&here, Made::Unminted), remote: heard(&home), ..Trees::default() };
    absorb(&mut t, NOW);
    assert_eq!(step(&t, NOW), Step::Follow);
    assert_eq!((t.synced.as_ref(), t.local.as_ref().map(|l| l.made)), (Some(&home), Some(Made::Synced)));
}

#[test]
fn metadata_merges_per_field_against_the_base() {
    let base =
        Record { kind: Kind::File, mode: 0o644, mtime: 1, content: ContentId([1; 32]), ..Record::default() };
    let edited = Record { content: ContentId([2; 32]), mtime: 9, ..base.clone() };
    let chmodded = Record { mode: 0o600, ..base.clone() };
    assert_eq!(
        merge_meta(Some(&base), &edited, &chmodded),
        (0o600, 9),
        "a chmod here and an edit there: both stay"
    );
    let touched = Record { mtime: 4, ..base.clone() };
    assert_eq!(merge_meta(Some(&base), &touched, &chmodded), (0o600, 4));
    assert_eq!(
        merge_meta(None, &touched, &chmodded),
        (0o600, 4),
        "no base: bits that both have, the later mtime"
    );
}

#[test]
fn a_look_that_sees_what_was_installed_is_no_edit_though_the_disk_kept_less() {
    let r = Record {
        kind: Kind::File,
        mode: 0o640,
        mtime: 1_000_000_007,
        content: ContentId([1; 32]),
        ..Record::default()
    };
    // A disk of coarse times and masked modes: the stat read back differs from the record.
    let stat = Stat { kind: Kind::File, mode: 0o600, mtime: 1_000_000_000, ino: 4, ..Stat::default() };
    let local = Local { record: r.clone(), made: Made::Synced, stat, at: 1 };
    let t = Trees { local: Some(local), synced: Some(r.clone()), ..Trees::default() };
    let seen = observed(&t, &stat, Some(r.content), 2).unwrap();
    assert_eq!((seen.made, &seen.record), (Made::Synced, &r));
    let chmod = Stat { mode: 0o400, ..stat };
    let seen = observed(&t, &chmod, None, 2).unwrap();
    assert_eq!((seen.made, seen.record.mode, seen.record.mtime), (Made::Unminted, 0o400, 1_000_000_007));
    assert_eq!(seen.record.edit, r.edit, "a change of metadata keeps the edit");
}

#[test]
fn what_is_still_to_be_made_is_not_taken_for_removed() {
    let r = Record { kind: Kind::Directory, mode: 0o755, ..Record::default() };
    let local = Local { record: r.clone(), made: Made::Synced, stat: Stat::default(), at: 1 };
    let t = Trees { local: Some(local), synced: Some(r.clone()), disk_due: true, ..Trees::default() };
    let seen = observed(&t, &Stat::default(), None, 2).unwrap();
    assert_eq!((seen.made, &seen.record), (Made::Synced, &r));
}

#[test]
fn what_was_withdrawn_and_is_here_is_told_again_though_its_turn_is_over() {
    let r = &records()[0];
    let mut gone = r.clone();
    gone.flags.0 |= crate::record::Flags::WITHDRAWN;
    let t = Trees {
        local: on_disk(r, Made::Synced),
        synced: Some(r.clone()),
        withdrawn: heard(&gone),
        ..Trees::default()
    };
    let telling = Context { told: false, ..NOW };
    assert_eq!((step(&t, telling), step(&t, NOW)), (Step::Announce, Step::Announce));
    let other = Trees { withdrawn: None, ..t };
    assert_eq!(step(&other, telling), Step::Rest, "the sweep tells it");
}

#[test]
fn of_two_that_know_each_other_the_one_wins_that_knows_more() {
    // A: a file, and B: its removal by who saw it; C: another file, older, made elsewhere. The tracker forgets its table.
    let edit = |tag, counter| Edit { tag: Tag(tag), counter };
    let joined = |edits: &[Edit]| {
        let mut v = VersionVector::new();
        edits.iter().for_each(|e| assert!(v.raise(*e)));
        v
    };
    let file = |e: Edit, mtime, edits: &[Edit]| Record {
        kind: Kind::File,
        content: ContentId([e.tag.0 as u8; 32]),
        edit: e,
        mtime,
        version: joined(edits),
        ..Record::default()
    };
    let (a, b, c) = (edit(1, 5), edit(2, 6), edit(3, 7));
    // Who knows of the removal keeps C: an edit beats a removal. Who does not keeps A, as any other would: it is later.
    let (kept, back) = (file(c, 10, &[a, b, c, edit(2, 8)]), file(a, 20, &[a, c, edit(1, 9)]));
    for (x, r) in [(&kept, &back), (&back, &kept)] {
        assert_eq!(x.compare(r), Order::Concurrent);
        let j = judge(x, r);
        assert_eq!((j.ours, j.copy, j.fork), (x == &kept, false, false));
    }
    // The same where the removal itself meets what was kept over it.
    let removal = Record {
        kind: Kind::Removed,
        content: ContentId([1; 32]),
        mtime: 0,
        ..file(b, 0, &[a, b, edit(2, 8)])
    };
    let over = file(a, 20, &[a, b, edit(1, 9)]);
    assert!(judge(&removal, &over).ours && !judge(&over, &removal).ours);
}

#[test]
fn who_removed_what_a_fork_was_settled_for_removed_it() {
    let edit = |tag, counter| Edit { tag: Tag(tag), counter };
    let (made, torn, settled, gone) = (edit(1, 5), edit(1, 8), edit(2, 9), edit(3, 7));
    let record = |kind, e: Edit, knows: Edit| {
        let mut version = VersionVector::of(knows);
        assert!(version.raise(e));
        Record {
            kind,
            content: ContentId([1; 32]),
            edit: e,
            parent: Some(made),
            version,
            ..Record::default()
        }
    };
    // B makes what A had made once more, for A's store tells of something else of its own tag since; C has removed it.
    let live = record(Kind::File, settled, torn);
    let removal = record(Kind::Removed, gone, made);
    let wins = |x: &Record, r: &Record| {
        assert_eq!(x.compare(r), Order::Concurrent);
        let (here, there) = (judge(x, r), judge(r, x));
        assert!(here.ours != there.ours && !here.copy && !there.copy);
        here.ours
    };
    assert!(wins(&removal, &live));
    // What C did not see stays: another content, an edit of what was made, and what stands there without any before it.
    let other = Record { content: ContentId([2; 32]), ..live.clone() };
    let later = Record { parent: Some(torn), ..live.clone() };
    let first = Record { parent: None, ..live.clone() };
    for x in [&other, &later, &first] {
        assert!(wins(x, &removal));
    }
    // Nor does what a user puts there go with a removal of the same that replaced something else.
    let older = Edit { counter: 4, ..made };
    assert!(wins(&live, &Record { parent: Some(older), ..removal.clone() }));
    assert!(wins(&Record { parent: Some(older), ..live }, &removal));
}

/// Two removals that join keep the edit of one of them: whatever stands against the removal of both is judged as it would be
/// against a new edit.
#[test]
fn a_removal_of_two_needs_no_edit_of_its_own() {
    let parent = Some(Edit { tag: Tag(9), counter: 1 });
    let vectors: Vec<VersionVector> = (1..64u64)
        .map(|n| {
            let mut v = VersionVector::new();
            let edits = [(1, n & 3), (2, n >> 2 & 3), (3, n >> 4)];
            edits.iter().for_each(|e| assert!(v.raise(Edit { tag: Tag(e.0), counter: e.1 })));
            v
        })
        .collect();
    let all = |kind| {
        let edits = |v: &VersionVector| v.entries().to_vec();
        let each = move |v: &VersionVector| {
            let version = v.clone();
            let of = move |edit| Record { kind, edit, parent, version: version.clone(), ..Record::default() };
            edits(v).into_iter().map(of).collect::<Vec<_>>()
        };
        vectors.iter().flat_map(each).collect::<Vec<_>>()
    };
    let (removals, live) = (all(Kind::Removed), all(Kind::File));
    let stays = |z: &Record, m: &Record| match z.compare(m) {
        Order::Concurrent => judge(z, m).ours,
        order => order == Order::Dominates,
    };
    let mut judged = 0;
    for (w, r) in removals.iter().flat_map(|w| removals.iter().map(move |r| (w, r))) {
        if w.edit.tag != Tag(1) || r.edit.tag != Tag(2) || w.compare(r) != Order::Concurrent {
            continue;
        }
        let mut joined = w.clone();
        assert!(joined.version.join(&r.version));
        let own = Edit { tag: Tag(4), counter: 9 };
        let mut anew = Record { edit: own, parent: Some(w.edit), ..joined.clone() };
        assert!(anew.version.raise(own));
        for z in &live {
            // Whoever kept something over both removals made an edit, or a merge with a counter of its own, on top of them.
            let knows = [w, r].iter().all(|x| z.version.covers(x.edit));
            let impossible = knows && joined.version.compare(&z.version) != Order::Dominated;
            // What knows its own removal and stands nevertheless was kept over it, by who knew of more (R7).
            let kept = [w, r].iter().any(|x| x.version.covers(z.edit) && z.version.covers(x.edit));
            if impossible || kept || z.edit == w.edit || z.edit == r.edit {
                continue;
            }
            assert_eq!(stays(z, &joined), stays(z, &anew), "{z:?} against {w:?} and {r:?}");
            judged += 1;
        }
    }
    assert!(judged > 10_000, "{judged}");
}
