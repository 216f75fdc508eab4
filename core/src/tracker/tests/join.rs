//! Who comes in: invites, stores and tags, revocation.

use super::*;

fn notices(h: &Home, i: usize, words: &str) -> bool {
    h.clients[i].got.iter().any(|g| matches!(g, Got::Notice(s) if s.contains(words)))
}

#[test]
fn the_first_device_founds_the_home_and_invites_the_next() {
    let mut h = Home::new(Past::New);
    assert!(h.saves == 1 && h.t.founding_invite().is_some());
    h.join(0);
    assert!(h.saves == 2 && h.t.founding_invite().is_none(), "once in its life");
    h.join(1);
    assert_eq!(h.clients[1].sealed, h.t.sealed_roster(), "a roster is pushed");
    assert_eq!(h.clients[0].sealed, h.t.sealed_roster());
    assert!(notices(&h, 0, "b joined"));
    let shown = |d| h.clients[0].got.contains(&Got::Presence { device: DeviceId(d), online: true, lag: 0 });
    assert!(shown(1) && shown(2));
    let stored = h.t.sealed_roster().to_vec();
    let again = Home::new(Past::Sealed(&stored));
    assert!(again.t.founding_invite().is_none() && again.t.knows(&h.clients[1].key));
}

#[test]
fn loopback_addresses_are_told_within_one_machine_alone() {
    let mut h = Home::with(3);
    let loopback = Addr::V4([127, 0, 0, 1], 7421);
    // Two on a machine that is seen at one address, and one elsewhere.
    for (i, ip) in [[10, 0, 2, 2], [10, 0, 2, 2], [10, 0, 2, 3]].into_iter().enumerate() {
        h.close(i);
        h.clients[i].from = Addr::V4(ip, 5000 + i as u16);
        h.clients[i].says = [loopback].into_iter().collect();
    }
    for i in 0..3 {
        h.dial(i);
        h.drain();
    }
    for (i, near) in [(0, DeviceId(2)), (1, DeviceId(1)), (2, DeviceId(0))] {
        let told = |d: u32| {
            let last = h.clients[i].told_of.iter().rfind(|t| t.0 == DeviceId(d));
            last.is_some_and(|t| t.1.contains(&loopback))
        };
        for d in (1..=3).filter(|d| *d != i as u32 + 1) {
            assert_eq!(told(d), DeviceId(d) == near, "what {i} is told of {d}");
        }
    }
}

#[test]
fn an_invite_lets_one_device_in_within_the_hour() {
    let mut h = Home::with(1);
    let invite = h.invite(0);
    let (b, c) = (h.client("b"), h.client("b"));
    assert!(h.open(b).is_err(), "without an invite nobody comes in");
    h.clients[b].invite = Some(InviteId(invite.0 ^ 1));
    h.dial(b);
    assert!(!h.is_live(b), "an unknown one");
    h.clients[b].invite = Some(invite);
    h.dial(b);
    assert!(h.is_live(b));
    h.clients[c].invite = Some(invite);
    h.dial(c);
    assert!(!h.is_live(c), "a used one");
    assert!(h.t.invite_secret(h.now, invite).is_some(), "though the one it let in can use it again");
    h.close(b);
    h.dial(b);
    assert!(h.is_live(b), "who is enrolled already comes in whatever the code");
    let late = h.invite(0);
    h.pass_alive(Duration::secs(3600));
    assert_eq!(h.t.invite_secret(h.now, late), None);
    h.clients[c].invite = Some(late);
    h.dial(c);
    assert!(!h.is_live(c), "an old one");
    h.clients[c].invite = Some(h.invite(0));
    h.dial(c);
    assert!(h.is_live(c));
    assert_eq!(h.t.roster().device_by_key(&h.clients[c].key).unwrap().1.name, "b-2");
}

#[test]
fn invites_are_few() {
    let mut h = Home::with(1);
    (0..16).for_each(|_| {
        h.invite(0);
    });
    assert!(matches!(h.ask(0, Request::Invite), Reply::Refused(_)));
    h.pass_alive(Duration::secs(3601));
    h.invite(0);
}

#[test]
fn the_same_store_twice_is_told_to_take_a_new_tag() {
    let mut h = Home::with(2);
    let (old, first) = (h.t.roster().version(), h.clients[0].link);
    h.clients[0].run -= 1;
    h.dial(0);
    assert_eq!(h.clients[0].got, [Got::NewTag(0)]);
    assert_eq!(h.clients[0].link, None, "and hung up");
    assert_eq!(h.t.roster().version(), old, "nothing changed");
    h.t.handle_closed(h.now, first.unwrap());
    h.pass(Duration::secs(1));
    h.clients[0].tag = Tag(999);
    h.dial(0);
    assert!(h.is_live(0) && h.t.roster().version() > old && h.t.roster().is_given_up(Tag(10)));

    // The other copy of that machine comes back.
    h.clients[0].tag = Tag(10);
    h.clients[1].got.clear();
    h.dial(0);
    assert_eq!(h.clients[0].got, [Got::NewTag(599)]);
    assert!(notices(&h, 1, "a runs twice"));
    h.clients[0].tag = Tag(1000);
    h.dial(0);
    assert_eq!(h.clients[0].got, [Got::NewTag(599)], "it waits, whatever it takes");
    h.pass_alive(Duration::secs(600));
    h.dial(0);
    assert!(h.is_live(0), "then it comes in");
}

#[test]
fn a_store_that_went_back_in_time_is_told_to_take_a_new_tag() {
    let mut h = Home::with(2);
    h.put(0, "x", &file(1, edit(10, 100), None));
    h.clients[0].counter = 99;
    h.dial(0);
    assert_eq!(h.clients[0].got, [Got::NewTag(0)]);
    h.clients[0].counter = 100;
    h.dial(0);
    assert!(h.is_live(0));
    h.clients[0].tag = h.clients[1].tag;
    h.dial(0);
    assert!(matches!(h.clients[0].got[..], [Got::NewTag(1..)]), "a tag that another has");
}

#[test]
fn a_greater_run_replaces_a_link_that_seems_alive() {
    let mut h = Home::with(2);
    let first = h.clients[0].link.unwrap();
    h.dial(0);
    assert!(h.is_live(0) && h.clients[0].link != Some(first));
    assert!(h.t.find(first).is_none(), "the driver was asked to hang up");
    assert!(h.clients[1].got.iter().all(|g| !matches!(g, Got::Presence { online: false, .. })));
}

#[test]
fn a_new_tag_clears_the_bits_and_the_told_of_the_old_store() {
    let mut h = Home::with(2);
    for n in 0..40 {
        h.put(0, &std::format!("x{n}"), &file(1, edit(10, 100 + n), None));
    }
    assert_eq!(h.lag(0), 0);
    h.clients[0].tag = Tag(77);
    h.dial(0);
    assert_eq!(h.lag(0), 40, "swept before the Welcome was sent");
    h.have(0, 1, 40, true);
    h.pass_alive(Duration::secs(2));
    assert_eq!(h.lag(0), 0, "and not after");
}

#[test]
fn revoking_drops_the_link_for_ever_and_everywhere() {
    let mut h = Home::with(3);
    h.put(1, "x", &file(1, edit(20, 100), None));
    assert_eq!(h.revoke(0, 1), Reply::Done);
    assert!(h.clients[1].link.is_none() && h.open(1).is_err() && !h.t.knows(&h.clients[1].key));
    assert!(notices(&h, 2, "b was revoked by a"));
    let version = h.t.roster().version();
    assert_eq!(h.revoke(0, 1), Reply::Done, "so it is already");
    assert_eq!(h.t.roster().version(), version);
    assert!(matches!(h.ask(0, Request::Revoke(PublicKey([9; 32]))), Reply::Refused(_)));
    h.pass_alive(Duration::secs(1));
    assert!(h.t.files.get(Seq(1)).unwrap().holders().is_empty(), "its bits are gone");
    h.clients[1].invite = Some(h.invite(0));
    h.dial(1);
    assert!(!h.is_live(1), "not by an invite either");
    h.join(3);
    assert_eq!(h.t.roster().device_by_key(&h.clients[3].key).unwrap().0, Slot(1), "its slot is free");
    assert_eq!(h.t.roster().name_of(DeviceId(2)), Some("b"));
}

#[test]
fn who_leaves_hears_the_answer_and_is_gone() {
    let mut h = Home::with(2);
    assert_eq!(h.ask(1, Request::Leave), Reply::Done);
    assert!(h.clients[1].link.is_none() && h.t.roster().is_revoked(&h.clients[1].key));
    assert!(notices(&h, 0, "b left"));
    assert!(h.t.roster().members(F).len() == 1);
}

#[test]
fn a_silent_link_is_hung_up_and_its_device_is_offline() {
    let mut h = Home::with(2);
    for _ in 0..4 {
        h.pass(Duration::secs(5));
        h.say(0, ToTracker::Ping).unwrap();
    }
    assert!(h.clients[1].link.is_none() && h.clients[0].link.is_some());
    assert!(h.clients[0].got.contains(&Got::Presence { device: DeviceId(2), online: false, lag: 0 }));
    assert!(h.clients[0].got.contains(&Got::Pong));
}

#[test]
fn what_comes_before_hello_or_again_is_refused() {
    let mut h = Home::with(1);
    h.open(0).unwrap();
    assert!(h.say(0, ToTracker::Told(F)).is_err());
    h.clients[0].run += 1;
    h.open(0).unwrap();
    h.hello(0).unwrap();
    assert!(h.hello(0).is_err(), "twice");
    h.open(0).unwrap();
    h.pass(Duration::secs(10));
    assert!(h.clients[0].link.is_none(), "a link that says nothing ends");
}

#[test]
fn links_beyond_the_limit_are_refused_and_places_come_back() {
    let mut h = Home::new(Past::Lost);
    let mut open = |n: u8| {
        let who = Identity { key: PublicKey([n; 32]), invite: None };
        h.t.handle_open(h.now, LinkId(n.into()), who, Addr::V4([127, 0, 0, 1], 5000))
    };
    (0..SESSIONS as u8).for_each(|n| open(n).unwrap());
    assert!(open(100).is_err());
    h.t.handle_closed(h.now, LinkId(7));
    let who = Identity { key: PublicKey([100; 32]), invite: None };
    assert!(h.t.handle_open(h.now, LinkId(100), who, Addr::V4([127, 0, 0, 1], 5000)).is_ok());
}
