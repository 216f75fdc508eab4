//! R20 and R21: a tracker that lost its roster gets it back from its devices.

use super::*;
use crate::roster::part_at;

/// The devices of `h` meet a tracker of the same identity that remembers only what `past` says.
fn reborn(h: &mut Home, past: Past<'_>) -> Home {
    let mut c = config(past);
    c.seed = h.t.rng.bytes();
    let mut n = Home::of(c, 256 * 1024);
    n.clients = core::mem::take(&mut h.clients);
    n.clients.iter_mut().for_each(|c| c.link = None);
    n
}

/// Dials, and hands the roster in if it is asked for; true if it is in after at most two dials.
fn come(h: &mut Home, i: usize) -> bool {
    for _ in 0..2 {
        h.dial(i);
        if h.clients[i].got.contains(&Got::WantRoster) {
            hand_in(h, i);
        }
        if h.is_live(i) {
            return true;
        }
    }
    false
}
fn hand_in(h: &mut Home, i: usize) {
    let (sealed, of) = (h.clients[i].sealed.clone(), h.clients[i].sealed_version);
    let mut at = 0;
    while let Some(part) = part_at(&sealed, of, at, 100) {
        at += part.bytes.len();
        if h.clients[i].link.is_none() || h.say(i, ToTracker::Roster(part)).is_err() {
            return;
        }
    }
}

#[test]
fn no_roster_is_written_until_over_half_of_the_devices_are_back() {
    let mut h = Home::with(4);
    let version = h.t.roster().version();
    let mut n = reborn(&mut h, Past::Lost);
    assert!(n.t.founding_invite().is_none() && n.t.sealed_roster().is_empty());
    assert!(come(&mut n, 0));
    assert_eq!(n.t.roster().version(), version);
    assert_eq!(n.ask(0, Request::Invite), Reply::Waiting(1, 4));
    n.seen(0, Seq(0));
    assert_eq!(
        n.put(0, "x", &file(1, edit(10, 100), None)),
        Verdict::Accepted(Seq(1)),
        "records flow at once"
    );
    assert!(come(&mut n, 1));
    assert_eq!((n.revoke(1, 0), n.saves), (Reply::Waiting(2, 4), 0));
    n.clients[2].tag = Tag(555);
    assert!(come(&mut n, 2));
    assert!(n.saves > 0 && n.t.roster().version() > version, "the new tag waited in memory");
    assert_eq!(n.t.roster().device_by_tag(Tag(555)).unwrap().1.name, "c");
    n.invite(0);
}

#[test]
fn who_is_put_out_does_not_take_the_quorum_with_him() {
    let mut h = Home::with(5);
    let mut n = reborn(&mut h, Past::Lost);
    assert!((0..3).all(|i| come(&mut n, i)));
    assert!(matches!(n.revoke(0, 2), Reply::Done), "three of five are over half");
    assert!(matches!(n.revoke(0, 3), Reply::Done), "it was whole, and stays so");
    n.invite(0);
}

#[test]
fn who_lost_his_roster_too_is_back_as_well() {
    let mut h = Home::with(3);
    let mut n = reborn(&mut h, Past::Lost);
    for c in &mut n.clients[1..] {
        (c.sealed, c.sealed_version) = Default::default();
    }
    assert!(!come(&mut n, 1), "there is no home yet");
    assert!(come(&mut n, 0));
    assert_eq!(n.ask(0, Request::Invite), Reply::Waiting(1, 3));
    assert!(come(&mut n, 1));
    n.invite(0);
}

#[test]
fn who_joins_a_whole_roster_does_not_call_it_in_doubt() {
    let mut h = Home::with(1);
    let mut n = reborn(&mut h, Past::Lost);
    assert!(come(&mut n, 0));
    for i in 1..4 {
        n.join(i);
        assert!(matches!(n.ask(i, Request::LinkFirst("f")), Reply::Folder(..)), "{i}");
    }
    // Of a home that is mostly away no one can be taken in, so none can make up the number.
    let mut n = reborn(&mut n, Past::Lost);
    assert!(come(&mut n, 3));
    assert_eq!(n.ask(3, Request::Invite), Reply::Waiting(1, 4));
}

#[test]
fn a_roster_that_was_handed_in_is_not_stored_until_it_changes_so_that_who_joined_later_is_heard() {
    let mut h = Home::with(1);
    let old = (h.clients[0].sealed.clone(), h.clients[0].sealed_version);
    h.join(1);
    let mut n = reborn(&mut h, Past::Lost);
    (n.clients[0].sealed, n.clients[0].sealed_version) = old.clone();
    assert!(come(&mut n, 0), "it is the only one of the roster that it brings");
    assert_eq!(n.saves, 0, "the next start listens to strangers, too");
    let mut n = reborn(&mut n, Past::Lost);
    (n.clients[0].sealed, n.clients[0].sealed_version) = old;
    assert!(come(&mut n, 0) && come(&mut n, 1) && come(&mut n, 0));
    assert_eq!(n.saves, 0);
    n.invite(1);
    assert!(matches!(n.ask(1, Request::LinkFirst("f")), Reply::Folder(..)) && n.saves > 0);
}

/// A meets a tracker without a roster, with one of before it made "f" and B joined, and makes "f" again.
fn from_a_backup() -> Home {
    let mut h = Home::new(Past::New);
    h.join(0);
    let old = (h.clients[0].sealed.clone(), h.clients[0].sealed_version);
    h.link(0, "f");
    h.join(1);
    let mut n = reborn(&mut h, Past::Lost);
    (n.clients[0].sealed, n.clients[0].sealed_version) = old;
    assert!(come(&mut n, 0) && n.saves == 0);
    assert!(matches!(n.ask(0, Request::LinkFirst("f")), Reply::Folder(_, _, true)) && n.saves == 1);
    n
}

#[test]
fn a_newer_roster_replaces_on_the_card_what_was_stored_meanwhile_though_nothing_is_made_again_on_it() {
    let mut n = from_a_backup();
    let newer = n.clients[1].sealed.clone();
    assert!(come(&mut n, 1) && n.saves == 1, "one of two");
    assert!(come(&mut n, 0));
    assert!(n.saves == 2 && n.saved == newer);
    let mut n = reborn(&mut n, Past::Sealed(&newer));
    assert!(come(&mut n, 1) && come(&mut n, 0));
}

#[test]
fn a_roster_that_replaces_a_longer_branch_of_this_boot_is_written_anew_so_that_all_take_it() {
    let mut n = from_a_backup();
    for _ in 0..3 {
        let id = n.t.roster().folders().next().unwrap().1.id;
        assert_eq!(n.ask(0, Request::Unlink(id)), Reply::Done);
        n.link(0, "f");
    }
    let branch = n.clients[0].sealed_version;
    assert!(branch > n.clients[1].sealed_version);
    assert!(come(&mut n, 1) && come(&mut n, 0));
    assert!(n.t.roster().version() > branch, "what a device has may only be followed by a newer one");
    let saved = n.saved.clone();
    let mut n = reborn(&mut n, Past::Sealed(&saved));
    assert!(come(&mut n, 0) && come(&mut n, 1));
}

#[test]
fn who_was_revoked_and_let_others_in_with_an_old_roster_does_not_keep_the_home() {
    let mut h = Home::with(1);
    let old = (h.clients[0].sealed.clone(), h.clients[0].sealed_version);
    h.join(1);
    h.join(2);
    assert_eq!(h.revoke(1, 0), Reply::Done);
    let newer = h.clients[2].sealed.clone();
    let mut n = reborn(&mut h, Past::Lost);
    (n.clients[0].sealed, n.clients[0].sealed_version) = old;
    assert!(come(&mut n, 0));
    n.join(3);
    assert_eq!(n.saves, 1);
    assert!(come(&mut n, 1) && come(&mut n, 2));
    assert!(n.saves == 2 && n.saved == newer);
    let mut n = reborn(&mut n, Past::Sealed(&newer));
    assert!(come(&mut n, 1) && come(&mut n, 2) && !come(&mut n, 0) && !come(&mut n, 3));
}

#[test]
fn the_newest_roster_wins_and_an_old_one_cannot_undo_a_revocation() {
    let mut h = Home::with(3);
    let old = (h.clients[2].sealed.clone(), h.clients[2].sealed_version);
    h.revoke(0, 2);
    let mut n = reborn(&mut h, Past::Lost);
    (n.clients[2].sealed, n.clients[2].sealed_version) = old;
    assert!(come(&mut n, 2), "nobody knows better yet");
    n.seen(2, Seq(0));
    n.put(2, "x", &file(1, edit(30, 100), None));
    let epoch = n.t.epoch();
    assert_eq!(n.ask(2, Request::Invite), Reply::Waiting(1, 3));
    assert!(come(&mut n, 0), "who knows of the revocation comes back");
    assert!(n.clients[2].link.is_none() && n.t.roster().is_revoked(&n.clients[2].key));
    assert!(n.t.epoch() != epoch && n.t.files.table().is_empty(), "what it announced is gone");
    assert!(!come(&mut n, 2));
}

#[test]
fn a_revocation_in_a_rosters_side_branch_is_taken_too() {
    let mut h = Home::with(3);
    let base = h.t.sealed_roster().to_vec();
    let versions = h.clients[0].sealed_version;
    // One boot revokes c; another boot, on the older base, goes on for longer.
    h.revoke(0, 2);
    let side = (h.clients[0].sealed.clone(), h.clients[0].sealed_version);
    let mut n = reborn(&mut h, Past::Sealed(&base));
    (n.clients[0].sealed, n.clients[0].sealed_version) = (base.clone(), versions);
    assert!(come(&mut n, 0) && come(&mut n, 2));
    n.link(0, "g");
    n.link(0, "k");
    n.link(2, "g");
    assert!(n.t.roster().is_active(&n.clients[2].key));
    n.close(0);
    (n.clients[0].sealed, n.clients[0].sealed_version) = side;
    assert!(come(&mut n, 0));
    assert!(n.t.roster().is_revoked(&n.clients[2].key) && n.clients[2].link.is_none());
    assert!(
        n.t.roster().folder_by_label("g").is_some() && n.t.roster().folder_by_label("k").is_some(),
        "redone"
    );
}

#[test]
fn what_a_device_announced_goes_when_an_older_roster_tells_of_its_revocation() {
    let mut h = Home::with(4);
    let (base, version) = (h.t.sealed_roster().to_vec(), h.clients[1].sealed_version);
    h.revoke(0, 2);
    let side = (h.clients[0].sealed.clone(), h.clients[0].sealed_version);
    // A boot that had not heard of it went on for longer.
    let mut n = reborn(&mut h, Past::Sealed(&base));
    n.clients[1..].iter_mut().for_each(|c| (c.sealed, c.sealed_version) = (base.clone(), version));
    assert!(come(&mut n, 1) && come(&mut n, 2));
    n.link(1, "g");
    n.link(1, "k");
    let mut n = reborn(&mut n, Past::Lost);
    (n.clients[0].sealed, n.clients[0].sealed_version) = side;
    assert!(come(&mut n, 1) && come(&mut n, 2));
    assert!(n.t.roster().version() > n.clients[0].sealed_version);
    n.seen(2, Seq(0));
    assert_eq!(n.put(2, "x", &file(1, edit(30, 100), None)), Verdict::Accepted(Seq(1)));
    let epoch = n.t.epoch();
    come(&mut n, 0);
    assert!(n.t.roster().is_revoked(&n.clients[2].key) && n.clients[2].link.is_none());
    assert!(n.t.epoch() != epoch && n.t.files.table().is_empty());
    assert!(come(&mut n, 0) && come(&mut n, 1) && come(&mut n, 3) && !come(&mut n, 2));
    n.invite(3);
}

#[test]
fn the_recovery_words_override_the_wait() {
    let mut h = Home::with(3);
    let mut n = reborn(&mut h, Past::Lost);
    assert!(come(&mut n, 0));
    assert!(matches!(n.ask(0, Request::Force("wrong")), Reply::Refused(_)));
    assert_eq!(n.ask(0, Request::Invite), Reply::Waiting(1, 3));
    assert_eq!(n.ask(0, Request::Force(" seven WISE words")), Reply::Done);
    n.invite(0);
    assert!(n.saves > 0);
}

#[test]
fn with_the_words_a_home_whose_roster_nobody_has_is_founded_anew() {
    let mut n = Home::new(Past::Lost);
    let a = n.client("a");
    n.dial(a);
    assert!(!n.is_live(a));
    n.open(a).unwrap();
    assert_eq!(n.ask(a, Request::Force("seven wise words")), Reply::Done);
    n.dial(a);
    assert!(n.is_live(a) && n.t.roster().is_active(&n.clients[a].key));
}

#[test]
fn the_words_are_said_of_one_roster_and_a_newer_one_waits_for_its_own_devices() {
    let mut h = Home::with(3);
    let old = (h.clients[0].sealed.clone(), h.clients[0].sealed_version);
    h.join(3);
    let newer = h.clients[3].sealed.clone();
    let mut n = reborn(&mut h, Past::Lost);
    (n.clients[0].sealed, n.clients[0].sealed_version) = old.clone();
    assert!(come(&mut n, 0));
    assert_eq!(n.ask(0, Request::Force("seven wise words")), Reply::Done);
    assert!(n.saves == 1 && n.saved == old.0);
    assert!(come(&mut n, 3));
    assert_eq!(n.ask(3, Request::Invite), Reply::Waiting(1, 4));
    assert!(come(&mut n, 0) && n.saves == 1 && come(&mut n, 1));
    assert!(n.saves == 2 && n.saved == newer);
    n.invite(3);
}

#[test]
fn the_words_store_the_roster_though_nothing_waits_for_them_any_more() {
    let mut h = Home::with(1);
    let mut n = reborn(&mut h, Past::Lost);
    assert!(come(&mut n, 0) && n.saves == 0, "all of one are back");
    assert_eq!(n.ask(0, Request::Force("seven wise words")), Reply::Done);
    assert_eq!((n.saves, n.saved == n.clients[0].sealed), (1, true));
}

#[test]
fn a_home_that_was_founded_anew_gives_the_card_back_to_the_one_that_devices_have() {
    let mut h = Home::with(2);
    let sealed = h.clients[1].sealed.clone();
    let mut n = reborn(&mut h, Past::Lost);
    let founder = n.client("z");
    n.open(founder).unwrap();
    assert_eq!(n.ask(founder, Request::Force("seven wise words")), Reply::Done);
    n.dial(founder);
    assert!(n.is_live(founder) && n.saves == 1);
    assert!(come(&mut n, 0) && n.saves == 1, "one of two");
    assert!(come(&mut n, 1));
    assert!(n.saves == 2 && n.saved == sealed);
    let mut n = reborn(&mut n, Past::Sealed(&sealed));
    assert!(come(&mut n, 0) && come(&mut n, 1) && !come(&mut n, founder));
}

#[test]
fn a_founded_roster_never_supersedes_a_sealed_one() {
    let mut c = config(Past::Lost);
    c.founder = Some(PublicKey([1; 32]));
    let mut h = Home::of(c, 256 * 1024);
    assert!(h.t.founding_invite().is_none(), "no founding secret exists");
    let (a, b) = (h.client("a"), h.client("b"));
    h.dial(a);
    assert!(h.is_live(a));
    h.clients[b].invite = Some(h.invite(a));
    h.dial(b);
    h.link(a, "f");
    let version = h.t.roster().version();
    // A power cut, and the founder has lost its store.
    let clients = core::mem::take(&mut h.clients);
    let mut c = config(Past::Lost);
    (c.founder, c.seed) = (Some(PublicKey([1; 32])), [8; 32]);
    let mut n = Home::of(c, 256 * 1024);
    n.clients = clients;
    n.clients.iter_mut().for_each(|c| (c.link, c.invite) = (None, None));
    (n.clients[a].sealed, n.clients[a].sealed_version, n.clients[a].tag) =
        (vec![], RosterVersion::default(), Tag(70));
    n.dial(a);
    assert!(n.is_live(a) && !n.t.roster().is_active(&n.clients[b].key), "a home of one");
    assert!(come(&mut n, b));
    assert!(n.t.roster().version() >= version && n.t.roster().is_active(&n.clients[a].key));
    assert!(n.t.roster().folder_by_label("f").is_some());
    assert!(come(&mut n, a) && come(&mut n, b));
    // Nor on the card.
    let stored = Roster::decode(&n.saved).unwrap();
    assert!(stored.is_active(&n.clients[b].key) && stored.folder_by_label("f").is_some());
    assert_eq!(n.saved, n.t.sealed_roster());
}

#[test]
fn a_forged_roster_is_refused_and_a_stranger_stays_out() {
    let mut h = Home::with(2);
    let mut n = reborn(&mut h, Past::Lost);
    n.clients[0].sealed[40] ^= 1;
    assert!(!come(&mut n, 0));
    let stranger = n.client("z");
    n.clients[stranger].sealed = n.clients[1].sealed.clone();
    n.clients[stranger].sealed_version = n.clients[1].sealed_version;
    assert!(!come(&mut n, stranger), "it brings a roster that does not name it");
    assert!(n.t.roster().is_unused(), "which is no base then");
    assert!(come(&mut n, 1));
    assert!(come(&mut n, 0), "its good copy was damaged; it is named by the other's");
}

#[test]
fn a_damaged_stored_roster_counts_as_lost() {
    let mut h = Home::with(2);
    let mut bytes = h.t.sealed_roster().to_vec();
    bytes[20] ^= 1;
    let mut n = reborn(&mut h, Past::Sealed(&bytes));
    assert!(n.t.founding_invite().is_none() && come(&mut n, 0));
    assert_eq!(n.ask(0, Request::Invite), Reply::Waiting(1, 2));
}
