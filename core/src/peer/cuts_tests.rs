//! R13: edits that others may have, and that went with a power cut: by which tags what is made after them goes.

use super::rig::{F, Rig, content, path, record, stat};
use super::torn_tests::{announced_and_cut, power_fails, tag_after};
use super::trees::{Made, Remote, Trees};
use super::{Effect, Index};
use crate::ids::{ContentId, Seq, Tag};
use crate::record::{Kind, Record};
use crate::version::{Edit, Order, VersionVector};
use std::format;
use std::vec::Vec;

/// Once more a power cut takes it, and nothing tells of either.
#[test]
fn each_edit_that_a_power_cut_took_is_unknown_to_what_is_made_after_it() {
    let mut rig = Rig::ready();
    let (tag, mut lost) = (rig.peer.tag, Vec::new());
    for n in 0..12 {
        rig.sees("x", Kind::File, &format!("lost {n}"));
        let edit = announced_and_cut(&mut rig);
        assert!(lost.iter().all(|before| edit.compare(before) == Order::Concurrent), "{n}");
        lost.push(edit);
        while rig.effect().is_some() {}
        rig.misses("x");
        // Once its tags are used up, the store has another.
        assert_eq!(rig.peer.tag == tag, n < tag.line().count(), "{n}");
    }
    for text in ["new", "newer"] {
        rig.sees("x", Kind::File, text);
        let mut o = rig.open("x");
        rig.peer.mint_local(rig.now, &mut o);
        let made = o.t.local.as_ref().expect("it stands").record.clone();
        assert!(lost.iter().all(|lost| made.compare(lost) == Order::Concurrent), "{text}");
        rig.peer.close(&mut rig.ix, rig.now, o);
    }
}

/// What a power cut took, or tore, gives way to what another device made there, or removed, without having seen it.
#[test]
fn what_another_device_put_where_an_own_edit_was_lost_does_not_make_it_known() {
    // Torn and removed, torn, or taken with its name.
    let left = [(true, true), (true, false), (false, true)];
    let kinds = [Kind::File, Kind::Removed];
    for ((torn, missed), kind) in left.into_iter().flat_map(|left| kinds.map(|kind| (left, kind))) {
        let mut rig = Rig::ready();
        rig.has("x", Kind::File, "whole");
        let own = rig.peer.tag;
        let mut o = rig.open("x");
        let edit = Edit { tag: own, counter: 5 };
        let lost =
            Record { edit, version: VersionVector::of(edit), ..o.t.synced.clone().expect("it is here") };
        o.t.synced = Some(lost.clone());
        o.t.remote.as_mut().expect("it is the home's").record = lost.clone();
        o.t.local.as_mut().expect("it stands").record = lost.clone();
        rig.peer.close(&mut rig.ix, rig.now, o);
        rig = power_fails(rig, if torn { "torn" } else { "" });
        if torn && missed {
            rig.misses("x");
        }
        let edit = Edit { tag: Tag(78), counter: 7 };
        let id = if kind == Kind::File { content("other") } else { lost.content };
        let other = Record { edit, version: VersionVector::of(edit), ..record(kind, id, 7) };
        let mut o = rig.open("x");
        o.t.remote = Some(Remote { record: other.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
        rig.peer.close(&mut rig.ix, rig.now, o);
        if kind == Kind::File {
            let mut o = rig.open("x");
            o.t.target = Some(other.clone());
            rig.peer.take_target(rig.now, &mut o, stat(Kind::File), 1);
            rig.peer.close(&mut rig.ix, rig.now, o);
        }
        if !missed && kind == Kind::Removed {
            // It beats the removal, and is told with it; it is changed before its verdict comes.
            let mut o = rig.open("x");
            assert_eq!(o.t.forgot, Some(own));
            rig.peer.resolve(&mut rig.ix, rig.now, &mut o);
            let kept = o.t.local.as_ref().expect("it stands").record.clone();
            assert_eq!((kept.compare(&lost), kept.compare(&other)), (Order::Concurrent, Order::Dominates));
            rig.peer.close(&mut rig.ix, rig.now, o);
            let mut o = rig.open("x");
            let l = o.t.local.as_mut().expect("it stands");
            (l.record.mode, l.made) = (0o600, Made::Unminted);
            rig.peer.mint_local(rig.now, &mut o);
            let changed = &o.t.local.as_ref().expect("it stands").record;
            assert_eq!(changed.compare(&lost), Order::Concurrent, "its mode was changed");
        }
        rig.sees("x", Kind::File, "next");
        assert_eq!(rig.minted("x").compare(&lost), Order::Concurrent, "{torn} {missed} {kind:?}");
    }
}

/// The home's, which nobody who is there has, is to replace what is saved here again and again.
#[test]
fn what_is_saved_often_after_one_power_cut_goes_by_one_other_tag() {
    let mut rig = Rig::ready();
    rig.sees("x", Kind::File, "lost");
    let lost = announced_and_cut(&mut rig);
    rig.misses("x");
    let told = Remote { record: lost, epoch: rig.peer.epoch, seq: Seq(9) };
    for n in 0..8 {
        rig.sees("x", Kind::File, &format!("save {n}"));
        let mut o = rig.open("x");
        o.t.remote = Some(told.clone());
        rig.peer.mint_local(rig.now, &mut o);
        let edit = o.t.local.as_ref().expect("it stands").record.edit;
        assert_eq!(edit.tag, tag_after(&rig, 1), "{n}");
        rig.peer.close(&mut rig.ix, rig.now, o);
        assert!(!rig.peer.session.spent_tag, "{n}");
    }
}

/// What was torn is all that is left each time, and is torn again.
#[test]
fn what_was_torn_goes_by_another_tag_however_often_that_happens() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    let (tag, mut before) = (rig.peer.tag, Vec::new());
    for n in 0..12 {
        rig = power_fails(rig, &format!("torn {n}"));
        let mut o = rig.open("x");
        let l = o.t.local.as_mut().expect("it stands");
        assert!(!before.contains(&l.record.edit.tag), "{n}");
        before.push(l.record.edit.tag);
        l.made = Made::Synced;
        o.t.synced = Some(l.record.clone());
        o.t.remote = Some(Remote { record: l.record.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
        o.t.disk_due = false;
        rig.peer.close(&mut rig.ix, rig.now, o);
        while rig.effect().is_some() {}
        assert_eq!(rig.peer.tag == tag, n + 1 < tag.line().count(), "{n}");
    }
}

/// A commit that makes what goes by a tag beyond the store's durable makes the store's next tag so, too.
#[test]
fn a_store_whose_tags_are_used_up_has_another_before_what_that_is_about_is_durable() {
    let mut rig = Rig::ready();
    rig.sees("x", Kind::File, "whole");
    let tag = rig.peer.tag;
    let mut o = rig.open("x");
    o.t.forgot = tag.line().last();
    rig.peer.mint_local(rig.now, &mut o);
    let edit = o.t.local.as_ref().expect("it stands").record.edit;
    assert!(tag.line().all(|t| t != edit.tag) && rig.peer.tag == tag);
    rig.peer.close(&mut rig.ix, rig.now, o);
    while let Some(e) = rig.peer.poll_effect(&mut rig.ix, rig.now) {
        assert!(!matches!(e, Effect::Commit { .. }) || rig.peer.tag != tag);
    }
    assert!(rig.peer.tag != tag);
    let now = rig.now;
    let next = rig.peer.mint_over(now, &VersionVector::of(edit));
    assert_eq!(next.tag, rig.peer.tag, "it knows that, and nothing that was lost");
}

/// It came back as it was before, and then another's edit of that is heard of, which is older, later, or a removal.
#[test]
fn a_merge_knows_no_edit_that_a_power_cut_took_either() {
    for (kind, mtime, wins) in [(Kind::File, 0, false), (Kind::File, 9, true), (Kind::Removed, 0, false)] {
        let mut rig = Rig::ready();
        rig.has("x", Kind::File, "old");
        rig.sees("x", Kind::File, "new");
        let lost = announced_and_cut(&mut rig);
        rig.sees("x", Kind::File, "old");
        let mut o = rig.open("x");
        let edit = Edit { tag: Tag(78), counter: 5 };
        let other = record(kind, if kind == Kind::File { content("other") } else { ContentId::NONE }, 1);
        let record = Record { edit, mtime, version: VersionVector::of(edit), ..other };
        o.t.synced.as_mut().expect("it is here").mtime = 3;
        o.t.local.as_mut().expect("it stands").record.mtime = 3;
        o.t.remote = Some(Remote { record: record.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
        assert_eq!(rig.peer.judgement(&o).map(|j| j.ours), Some(!wins));
        if wins {
            o.t.target = Some(record);
            rig.peer.take_target(rig.now, &mut o, stat(Kind::File), 1);
        } else {
            rig.peer.resolve(&mut rig.ix, rig.now, &mut o);
        }
        let merged = o.t.local.as_ref().expect("it stands").record.clone();
        assert_eq!(merged.compare(&lost), Order::Concurrent, "{kind:?} {mtime}");
        assert!(o.t.forgot.is_none() && merged.version.get(tag_after(&rig, 1)) > 0);
    }
}

/// The same of what this device alone had made, whose row holds nothing else any more.
#[test]
fn who_makes_anew_what_a_power_cut_took_before_its_verdict_came_does_not_know_of_that() {
    let mut rig = Rig::ready();
    rig.sees("x", Kind::File, "whole");
    let lost = announced_and_cut(&mut rig);
    rig.misses("x");
    let t = rig.trees("x");
    assert!(
        t == Trees { forgot: Some(rig.peer.tag), ..Trees::default() } && rig.lane("x").is_none(),
        "that alone is kept"
    );
    for text in ["new", "newer"] {
        rig.sees("x", Kind::File, text);
        let mut o = rig.open("x");
        rig.peer.mint_local(rig.now, &mut o);
        let made = o.t.local.as_ref().expect("it stands").record.clone();
        assert_eq!(made.compare(&lost), Order::Concurrent, "{text}: who has it keeps a copy of it");
        assert!(o.t.forgot.is_none(), "said once");
        rig.peer.close(&mut rig.ix, rig.now, o);
    }
    // No user of this device came back to it: it ends with the tag.
    let mut rig = Rig::ready();
    rig.sees("x", Kind::File, "whole");
    announced_and_cut(&mut rig);
    rig.misses("x");
    rig.peer.take_new_tag(&mut rig.ix);
    rig.peer.unmint_all(&mut rig.ix, rig.now);
    assert!(rig.ix.find(F, path("x")).is_none());
}
