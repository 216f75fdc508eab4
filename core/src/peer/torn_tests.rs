//! R13: what a power cut has left, and what users do with it.

use super::reconcile::{is_aside, is_forgotten, observed};
use super::rig::{F, Rig, content, path, record, stat};
use super::state::What;
use super::trees::{Lane, Local, Made, Remote, Stat, Trees};
use crate::ids::{ContentId, Seq, Slot, Tag};
use crate::record::{Kind, Record};
use crate::version::{Edit, Order, VersionVector};
use std::vec::Vec;

/// `x` was announced from the page cache with `whole`, and after a power cut a look finds `left` there (nothing: "").
fn cut(left: &str) -> Rig {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    power_fails(rig, left)
}

/// The power fails before `x` is on the platter; at the next start a look finds `left` there (nothing: "").
pub(super) fn power_fails(mut rig: Rig, left: &str) -> Rig {
    power_fails_unseen(&mut rig);
    if left.is_empty() {
        rig.misses("x")
    } else {
        rig.sees("x", Kind::File, left)
    }
    rig
}

fn disk(t: &Trees) -> Option<ContentId> {
    t.disk_content()
}

#[test]
fn who_removes_what_was_torn_has_not_removed_what_the_home_has() {
    for left in ["torn", ""] {
        let mut rig = cut(left);
        rig.misses("x");
        let t = rig.trees("x");
        assert!(t.local.is_none() && !t.stale && !t.disk_due, "{left}");
        assert_eq!(rig.lane("x"), Some(Lane::Quick), "it is fetched back");
    }
}

#[test]
fn who_writes_over_what_was_torn_has_not_replaced_what_the_home_has() {
    for left in ["torn", ""] {
        let mut rig = cut(left);
        rig.sees("x", Kind::File, "new");
        let t = rig.trees("x");
        assert_eq!(disk(&t), Some(content("new")));
        assert!(t.synced.is_none(), "{left}");
        let new = rig.minted("x");
        let whole =
            Record { edit: Edit { counter: 1, ..new.edit }, ..record(Kind::File, content("whole"), 1) };
        assert_eq!(new.parent, None);
        assert!(new.forks(&whole), "{left}: a conflict, though it is of the same tag");
    }
}

/// A record of this store's first edit, of what was whole.
fn first(rig: &Rig) -> Record {
    let edit = Edit { tag: rig.peer.tag, counter: 1 };
    Record { edit, version: VersionVector::of(edit), ..record(Kind::File, content("whole"), 1) }
}

#[test]
fn what_was_torn_knows_no_more_of_what_was_whole_once_its_mode_is_another() {
    let mut rig = cut("torn");
    let mut o = rig.open("x");
    let l = o.t.local.as_mut().expect("it stands");
    (l.record.mode, l.made) = (0o600, Made::Unminted);
    rig.peer.mint_local(rig.now, &mut o);
    let torn = &o.t.local.as_ref().expect("it stands").record;
    assert_eq!(torn.version, VersionVector::of(torn.edit));
    assert!(is_aside(&o.t) && torn.mode == 0o600);
}

#[test]
fn what_was_torn_and_beats_a_removal_is_no_later_edit_of_what_was_whole() {
    let mut rig = cut("torn");
    let (whole, other) = (first(&rig), Edit { tag: Tag(77), counter: 5 });
    let mut o = rig.open("x");
    // Who removed it knew of an edit of this store, and so the merge would be a fork to who still has that.
    let mut removal = Record { kind: Kind::Removed, edit: other, parent: None, ..whole.clone() };
    assert!(removal.version.raise(other));
    o.t.synced = Some(Record { edit: Edit { tag: Tag(78), counter: 9 }, ..whole.clone() });
    o.t.remote = Some(Remote { record: removal.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
    rig.peer.resolve(&mut rig.ix, rig.now, &mut o);
    let kept = o.t.local.expect("it stands").record;
    assert_eq!((kept.content, kept.compare(&removal)), (content("torn"), Order::Dominates));
    assert_eq!(kept.compare(&whole), Order::Dominates, "the removal knew of that");
    let edit = Edit { counter: 2, ..whole.edit };
    let later = Record { edit, version: VersionVector::of(edit), ..whole };
    assert_eq!(kept.compare(&later), Order::Concurrent, "a conflict with that");
    // Nor does this device's user know of it, who sees what was kept.
    let mut o = rig.open("x");
    o.t.synced = Some(kept.clone());
    o.t.local = Some(Local { record: kept.clone(), made: Made::Synced, stat: stat(Kind::File), at: 1 });
    o.t.local = observed(&o.t, &stat(Kind::File), Some(content("new")), rig.now.wall);
    rig.peer.mint_local(rig.now, &mut o);
    let new = o.t.local.expect("it stands").record;
    assert_eq!((new.parent, new.compare(&kept)), (Some(kept.edit), Order::Dominates));
    assert_eq!(new.compare(&later), Order::Concurrent);
}

/// The tags of this rig's store at a path, after so many power cuts there.
pub(super) fn tag_after(rig: &Rig, cuts: u32) -> Tag {
    (0..cuts).fold(rig.peer.tag, |tag, _| tag.after_loss())
}

#[test]
fn each_power_cut_that_tears_a_path_has_a_tag_of_its_own_there() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    for (cuts, left) in [(1, "torn"), (2, "torn again")] {
        rig = power_fails(rig, left);
        let mut o = rig.open("x");
        let l = o.t.local.as_mut().expect("it stands");
        assert_eq!(l.record.version, VersionVector::of(l.record.edit));
        assert_eq!(l.record.edit.tag, tag_after(&rig, cuts), "{left}");
        // Nobody has more: it is the home's.
        l.made = Made::Synced;
        o.t.synced = Some(l.record.clone());
        o.t.remote = Some(Remote { record: l.record.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
        o.t.disk_due = false;
        rig.peer.close(&mut rig.ix, rig.now, o);
    }
}

#[test]
fn what_was_torn_is_no_edit_over_what_was_whole_under_a_new_tag_either() {
    let mut rig = cut("torn");
    let torn = rig.trees("x").local;
    rig.peer.unmint_all(&mut rig.ix, rig.now);
    assert_eq!(rig.trees("x").local, torn);
}

#[test]
fn who_touches_what_was_torn_and_then_writes_over_it_has_not_replaced_what_the_home_has() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    let whole = first(&rig);
    let mut o = rig.open("x");
    o.t.synced = Some(whole.clone());
    o.t.remote = Some(Remote { record: whole.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
    o.t.local.as_mut().expect("it stands").record = whole.clone();
    rig.peer.close(&mut rig.ix, rig.now, o);
    let mut rig = power_fails(rig, "torn");
    let at = rig.now.wall;
    for (mode, text) in [(0o600, "torn"), (0o600, "new")] {
        let mut o = rig.open("x");
        o.t.disk_due = false;
        let stat = Stat { mode, ..stat(Kind::File) };
        rig.peer.looked(&mut rig.ix, rig.now, o, stat, Some(content(text)), at);
    }
    let new = rig.minted("x");
    assert_eq!((new.content, new.parent), (content("new"), None));
    assert_eq!(new.edit.tag, tag_after(&rig, 1), "its own counters would seem to know of it");
    assert_eq!(new.compare(&whole), Order::Concurrent);
}

#[test]
fn who_removes_what_he_wrote_over_what_was_taken_has_not_removed_what_the_home_has() {
    let mut rig = cut("");
    rig.sees("x", Kind::File, "new");
    let mut o = rig.open("x");
    rig.peer.mint_local(rig.now, &mut o);
    let whole = first(&rig);
    o.t.remote = Some(Remote { record: whole.clone(), epoch: rig.peer.epoch, seq: Seq(9) });
    let (now, stat) = (rig.now, Stat::default());
    o.t.local = observed(&o.t, &stat, None, now.wall);
    rig.peer.mint_local(now, &mut o);
    let gone = o.t.local.expect("a removal").record;
    assert_eq!((gone.is_live(), gone.compare(&whole)), (false, Order::Concurrent), "a conflict");
}

/// A user put there what the home has, as a copy by another way; the power failed before that was on the platter.
fn put_and_cut(left: &str) -> Rig {
    let mut rig = Rig::ready();
    rig.hears("x", Kind::File, "whole");
    let o = rig.open("x");
    let now = Stat { ctime: rig.now.wall as i64 * 1000, ..stat(Kind::File) };
    rig.peer.looked(&mut rig.ix, rig.now, o, now, Some(content("whole")), rig.now.wall);
    let t = rig.trees("x");
    assert!(t.unsynced && t.local.is_some_and(|l| l.made == Made::Synced), "adopted, and not flushed yet");
    power_fails(rig, left)
}

#[test]
fn what_was_put_where_the_home_has_it_and_went_with_the_power_is_no_removal() {
    let mut rig = put_and_cut("");
    assert!(rig.trees("x").local.is_none());
    assert_eq!(rig.lane("x"), Some(Lane::Quick), "it is fetched back");
}

#[test]
fn what_was_put_where_the_home_has_it_and_was_torn_is_no_edit_of_it() {
    let t = put_and_cut("torn").trees("x");
    let (torn, whole) = (t.local.expect("it stands").record, t.synced.expect("what the home has"));
    assert_eq!(whole.content, content("whole"));
    assert_eq!(torn.version.compare(&whole.version), Order::Concurrent, "it leaves for a copy's name");
}

#[test]
fn a_symlink_that_a_power_cut_brought_back_is_no_edit_of_what_had_replaced_it() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    power_fails_unseen(&mut rig);
    rig.sees("x", Kind::Symlink, "old");
    let t = rig.trees("x");
    let (back, whole) = (t.local.expect("it stands").record, t.synced.expect("what the home has"));
    assert_eq!((back.kind, back.content, t.disk_due), (Kind::Symlink, content("old"), false));
    assert!(back.is_valid() && whole.content == content("whole"));
    assert_eq!(back.version.compare(&whole.version), Order::Concurrent, "it leaves for a copy's name");
}

#[test]
fn what_a_forgetful_tracker_lacks_of_what_was_torn_is_told_before_that_is_settled() {
    let mut rig = Rig::ready();
    rig.hears_removal("x", "older");
    let removal = rig.trees("x").remote.expect("just heard");
    rig.has("x", Kind::File, "whole");
    let whole = rig.trees("x").synced.expect("it was here");
    power_fails_unseen(&mut rig);
    rig.sees("x", Kind::File, "torn");
    // In the new epoch others tell of the removal that it was made after.
    let mut o = rig.open("x");
    o.t.synced = Some(Record { parent: Some(removal.record.edit), ..whole });
    (o.t.remote, o.t.disk_due) = (Some(removal.clone()), false);
    let (whole, mut t) = (o.t.synced.clone(), o.t.clone());
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert_eq!(rig.lane("x"), Some(Lane::Announce));
    let o = rig.open("x");
    rig.peer.announce_row(&mut rig.ix, rig.now, o);
    let told: Vec<_> = rig.peer.outbox.iter().map(|a| a.what).collect();
    assert_eq!(told, [What::Synced], "what the home had, and not what a removal would lose to");
    // Nobody has that: then what was torn is all there is.
    assert!(is_forgotten(&t, &removal.record));
    t.withdrawn = whole.map(|record| Remote { record, ..removal.clone() });
    assert!(!is_forgotten(&t, &removal.record));
}

#[test]
fn what_was_torn_itself_is_set_aside_once() {
    let mut rig = cut("torn");
    let before = rig.trees("x");
    rig.sees("x", Kind::File, "torn");
    assert_eq!(rig.trees("x").local.map(|l| l.record), before.local.map(|l| l.record));
}

#[test]
fn a_save_after_the_first_look_is_a_user_s_though_a_device_asked_in_vain_for_the_one_before() {
    let mut rig = cut("whole");
    assert!(rig.trees("x").local.is_some_and(|l| l.at != 0));
    rig.peer.handle_gone(&mut rig.ix, rig.now, Slot(1), &content("whole"));
    assert!(rig.trees("x").stale);
    rig.sees("x", Kind::File, "new");
    let l = rig.trees("x").local.expect("it stands");
    assert_eq!((l.record.content, l.made), (content("new"), Made::Unminted), "an edit, and no leavings");
    assert_ne!(l.record.version, record(Kind::File, content("new"), 1).version);
}

/// What stands at `x` is announced as an edit; the power fails before its verdict comes. The edit.
pub(super) fn announced_and_cut(rig: &mut Rig) -> Record {
    rig.peer.folders[0].unclean = true;
    let mut o = rig.open("x");
    rig.peer.mint_local(rig.now, &mut o);
    (o.t.unsynced, o.t.stale) = (true, true);
    let l = o.t.local.as_mut().expect("it stands");
    l.at = 0;
    let edit = l.record.clone();
    rig.peer.close(&mut rig.ix, rig.now, o);
    edit
}
/// The tracker had taken that.
fn was_taken(rig: &mut Rig, record: Record) {
    let mut o = rig.open("x");
    o.t.remote = Some(Remote { record, epoch: rig.peer.epoch, seq: Seq(9) });
    rig.peer.close(&mut rig.ix, rig.now, o);
}

#[test]
fn what_was_torn_before_its_verdict_came_is_no_edit_of_it() {
    let mut rig = Rig::ready();
    rig.sees("x", Kind::File, "whole");
    let whole = announced_and_cut(&mut rig);
    rig.sees("x", Kind::File, "torn");
    let torn = rig.trees("x").local.expect("it stands").record;
    assert_eq!(torn.compare(&whole), Order::Concurrent, "it replaces nothing");
    // The disk takes the time that it is to have.
    let mut o = rig.open("x");
    o.t.disk_due = false;
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert_eq!(rig.lane("x"), Some(Lane::Announce), "nobody has more, as far as is known");
    was_taken(&mut rig, whole);
    assert_eq!(rig.lane("x"), Some(Lane::Quick), "it is fetched back");
    let o = rig.open("x");
    assert!(
        rig.peer.judgement(&o).is_some_and(|j| !j.ours && j.copy),
        "what was torn leaves for a copy's name"
    );
}

#[test]
fn a_directory_that_a_power_cut_brought_back_before_a_verdict_came_gives_way_all_the_same() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::Directory, "");
    rig.sees("x", Kind::File, "whole");
    let whole = announced_and_cut(&mut rig);
    rig.sees("x", Kind::Directory, "");
    assert_eq!(rig.lane("x"), None, "it is what the home has, as far as is known");
    was_taken(&mut rig, whole);
    assert_eq!(rig.lane("x"), Some(Lane::Quick), "the file is fetched back");
}

#[test]
fn an_edit_that_a_power_cut_undid_is_not_undone_by_another_edit() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "old");
    rig.sees("x", Kind::File, "new");
    announced_and_cut(&mut rig);
    rig.sees("x", Kind::File, "old");
    let t = rig.trees("x");
    assert_eq!(t.local.map(|l| (l.record, l.made)), t.synced.map(|s| (s, Made::Synced)));
    assert_eq!(rig.lane("x"), None, "nothing is announced");
}

/// `x` is here, whole, and the tracker tells of something older, having forgotten that; or of nothing, having withdrawn it.
pub(super) fn home_is_behind(older: bool) -> Rig {
    let mut rig = Rig::ready();
    rig.hears("other", Kind::File, "other");
    rig.has("x", Kind::File, "whole");
    let mut o = rig.open("x");
    o.t.withdrawn = o.t.remote.take().filter(|_| !older);
    let before = record(Kind::File, content("older"), 1);
    let whole = o.t.synced.as_mut().expect("it is here");
    whole.parent = Some(before.edit);
    o.t.local.as_mut().expect("it stands").record = whole.clone();
    let remote = Remote { record: before, epoch: rig.peer.epoch, seq: Seq(1) };
    o.t.remote = Some(remote).filter(|_| older);
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig
}

#[test]
fn what_is_torn_where_the_tracker_tells_of_something_older_is_no_edit() {
    let mut rig = power_fails(home_is_behind(true), "torn");
    let t = rig.trees("x");
    assert!(is_aside(&t), "what was whole is told of, and fetched back");
    assert_eq!(t.synced.map(|s| s.content), Some(content("whole")));
    // The older one was withdrawn by then: who has the whole of it tells of that yet.
    let mut rig = home_is_behind(true);
    let mut o = rig.open("x");
    o.t.withdrawn = o.t.remote.take();
    rig.peer.close(&mut rig.ix, rig.now, o);
    let mut rig = power_fails(rig, "torn");
    let t = rig.trees("x");
    assert!(is_aside(&t));
    let whole = t.synced.expect("it was here");
    assert_eq!(rig.minted("x").compare(&whole), Order::Concurrent);
}

#[test]
fn what_is_torn_of_what_was_withdrawn_replaces_nothing() {
    let mut rig = home_is_behind(false);
    let whole = rig.trees("x").local.expect("it stands").record;
    rig = power_fails(rig, "torn");
    let torn = rig.minted("x");
    assert_eq!((torn.content, torn.parent), (content("torn"), None));
    assert_eq!(torn.compare(&whole), Order::Concurrent, "who has the whole of it meets it in a conflict");
}

/// Its announcement may have reached the home, which does not tell of it any more.
#[test]
fn who_changes_what_came_back_for_an_edit_that_a_power_cut_took_does_not_know_of_that() {
    for left in ["old", ""] {
        let mut rig = Rig::ready();
        rig.has("x", Kind::File, "old");
        rig.sees("x", Kind::File, "new");
        let lost = announced_and_cut(&mut rig);
        if left.is_empty() {
            rig.misses("x")
        } else {
            rig.sees("x", Kind::File, left)
        }
        rig.has("x", Kind::File, "old");
        let mut o = rig.open("x");
        let l = o.t.local.as_mut().expect("it is back");
        (l.record.mode, l.made) = (0o600, Made::Unminted);
        rig.peer.mint_local(rig.now, &mut o);
        let touched = o.t.local.as_ref().expect("it stands").record.clone();
        assert_eq!(touched.compare(&lost), Order::Concurrent, "{left}");
        assert!(touched.version.get(tag_after(&rig, 1)) > 0 && touched.version.get(rig.peer.tag) == 0);
        assert!(o.t.forgot.is_none(), "said once");
    }
}

#[test]
fn a_directory_that_a_power_cut_brought_back_gives_way_to_the_file_that_had_replaced_it() {
    let mut rig = cut("whole");
    let mut o = rig.open("x");
    o.t.local.as_mut().expect("it stands").at = 0;
    rig.peer.close(&mut rig.ix, rig.now, o);
    rig.sees("x", Kind::Directory, "");
    let t = rig.trees("x");
    assert!(t.synced.is_none() && t.local.is_some_and(|l| l.made == Made::Synced));
    assert_eq!(rig.lane("x"), Some(Lane::Quick), "the file is fetched back");
    let mut o = rig.open("x");
    o.t.remote = None;
    rig.peer.close(&mut rig.ix, rig.now, o);
    assert_eq!(rig.lane("x"), Some(Lane::Announce), "nobody has that: the directory is all there is");
}

#[test]
fn what_lies_in_a_directory_that_is_taken_for_the_power_cut_s_is_found() {
    let mut rig = Rig::ready();
    rig.has("x", Kind::File, "whole");
    power_fails_unseen(&mut rig);
    // Made by a user after all: a look finds it.
    let o = rig.open("x");
    let (row, at) = (o.row, rig.now.wall);
    rig.peer.looked(&mut rig.ix, rig.now, o, stat(Kind::Directory), None, at);
    assert_eq!(rig.peer.folders[0].subtrees[..], [row]);
}

/// The power failed before `x` was on the platter, and nothing was looked at since.
pub(super) fn power_fails_unseen(rig: &mut Rig) {
    rig.peer.folders[0].unclean = true;
    let mut o = rig.open("x");
    (o.t.unsynced, o.t.stale) = (true, true);
    o.t.local.as_mut().expect("it stands").at = 0;
    rig.peer.close(&mut rig.ix, rig.now, o);
}

#[test]
fn who_removes_what_survived_a_power_cut_has_removed_it_though_the_clock_was_set_back_meanwhile() {
    let mut rig = cut("whole");
    rig.now.wall -= 3_600_000_000;
    rig.peer.handle_seen(&mut rig.ix, rig.now, F, path("x"), &stat(Kind::File));
    assert!(rig.trees("x").stale, "it is read again");
    assert!(rig.peer.folders[0].unclean && rig.trees("x").unsynced);
    rig.misses("x");
    let t = rig.trees("x");
    assert!(t.synced.is_some() && t.local.is_some_and(|l| l.made == Made::Unminted && !l.record.is_live()));
}
