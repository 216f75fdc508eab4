//! The home: its table, its roster, who comes and goes.

use super::*;
use dartsync_core::ids::{PublicKey, SlotSet, Tag};
use dartsync_core::roster::Roster;
use dartsync_core::wire::message::Request;

pub(super) const STORIES: &[Story] = &[
    Story { memory: 9 << 10, ..story("a removal is kept for whoever is away", 3, crowded) },
    Story { memory: 9 << 10, ..story("a file made again outlives its old removal", 2, made_again) },
    Story { memory: 9 << 10, ..story("a store of before knows no removal that was forgotten", 3, before) },
    story("what a tracker forgot is not removed", 2, forgot),
    story("who joins in a slot that was another's holds nothing yet", 3, slot_again),
    story("who takes the name of one that was put out stays", 3, name_again),
    story("a forged roster is not taken", 3, forged),
    story("who was put out does not come back with an old roster", 3, put_out),
    story("a tracker that lost its roster waits for half of its devices", 3, quorum),
];

fn usage(w: &World<'_>) -> u32 {
    w.station.tracker.as_ref().expect("it runs").usage().permille
}
/// Makes files and removes them until removals have to go.
fn crowd(w: &mut World<'_>) {
    let tombstones = |w: &World<'_>| w.station.tracker.as_ref().expect("it runs").table().tombstones();
    let mut most = 0;
    for n in 0..40 {
        let names: Vec<String> = (0..4).map(|i| format!("some-name-to-fill-a-table-{n}-{i}")).collect();
        names.iter().for_each(|p| w.write(A, p, p));
        w.run_for(3 * SECOND);
        names.iter().for_each(|p| w.remove(A, p.as_bytes()).expect("it is there"));
        w.run_for(3 * SECOND);
        if usage(w) > 780 || tombstones(w) < most {
            break;
        }
        most = tombstones(w);
    }
    // Some more, so that the oldest have their turn.
    for n in 0..6 {
        let _ = w.create(A, format!("more-to-fill-the-table-{n}").as_bytes());
    }
    w.run_for(10 * SECOND);
}

/// C is away while A removes its file, and while so much is made and removed that removals are collected.
fn crowded(w: &mut World<'_>) {
    w.write(A, "old", "old");
    w.write(A, "keep", "keep");
    w.same();
    w.kill(C);
    w.remove(A, b"old").unwrap();
    w.run_for(5 * SECOND);
    crowd(w);
    w.start(C);
    w.run_for(30 * SECOND);
    assert!(!w.paths(C).contains(&"old".to_string()), "{:?}", w.paths(C));
}

/// C's machine is brought back as it was before a removal that all have applied and the tracker has forgotten; its tag and
/// its next dial are as they would be without that.
fn before(w: &mut World<'_>) {
    w.write(A, "old", "old");
    w.write(A, "keep", "keep");
    w.same();
    let copy = w.copy(C);
    w.remove(A, b"old").unwrap();
    w.run_for(5 * SECOND);
    crowd(w);
    w.kill(C);
    w.bring_back(C, copy);
    w.start(C);
    w.same();
}

/// B's folder is paused when its user makes a file again whose removal is then collected.
fn made_again(w: &mut World<'_>) {
    use super::super::device::F;
    w.write(A, "old", "old");
    w.same();
    w.remove(A, b"old").unwrap();
    w.same();
    let now = w.devices[B].now(w.now);
    let dev = &mut w.devices[B];
    dev.peer.as_mut().expect("it runs").set_paused(&mut dev.ix, now, F, true);
    w.write(B, "old", "again");
    w.run_for(3 * SECOND);
    crowd(w);
    w.run_for(10 * SECOND);
    let now = w.devices[B].now(w.now);
    let dev = &mut w.devices[B];
    dev.peer.as_mut().expect("it runs").set_paused(&mut dev.ix, now, F, false);
    w.pump(B);
    w.run_for(60 * SECOND);
    assert_eq!(w.shows(A, "again"), ["old"], "{:?}", w.paths(A));
}

impl World<'_> {
    /// A device has another put out.
    pub(super) fn put_out_now(&mut self, by: usize, whom: usize) {
        let key = self.devices[whom].key;
        let p = self.devices[by].peer.as_mut().expect("it runs");
        p.request(Request::Revoke(key)).expect("room for a request");
        (self.devices[whom].revoked, self.faults.may_reject) = (true, true);
        self.pump(by);
        self.run_for(3 * SECOND);
        assert!(self.station.tracker.as_ref().expect("it runs").roster().is_revoked(&key));
    }
}

/// A has C put out, whose slot and name wait for D then.
fn make_room(w: &mut World<'_>) {
    w.put_out_now(A, C);
    w.kill(C);
    let n = w.devices.len();
    let mut new = Device::with_grain(n, Rand::new(n as u64), 1);
    new.key = PublicKey([77; 32]);
    w.devices.push(new);
    w.devices[A].peer.as_mut().expect("it runs").request(Request::Invite);
    w.pump(A);
    w.run_for(2 * SECOND);
}

/// A and B both ask to have C put out, B over a link that stands still until D has C's name.
fn name_again(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    w.stall(B, true, true);
    let key = w.devices[C].key;
    let name = |w: &World<'_>, d: usize| {
        let roster = w.station.tracker.as_ref().expect("it runs").roster();
        roster.device_by_key(&w.devices[d].key).map(|(_, x)| x.name.clone())
    };
    let was = name(w, C);
    w.devices[B].peer.as_mut().expect("it runs").request(Request::Revoke(key)).expect("room for a request");
    w.pump(B);
    make_room(w);
    w.join(D);
    w.run_for(2 * SECOND);
    assert!(was.is_some() && name(w, D) == was, "{:?} and {was:?}", name(w, D));
    w.stall(B, false, false);
    w.same();
    assert_eq!(name(w, D), was, "it was put out");
}

/// C leaves and a new device takes its slot, with the files still to come.
fn slot_again(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    make_room(w);
    w.kill(B);
    w.join(D);
    // What A has, it cannot serve for a while.
    w.devices[A].root_gone = true;
    w.bits_go(D);
    w.devices[A].root_gone = false;
    w.start(B);
    w.same();
}

/// A stranger's roster, of a higher version, that names C alone, is handed to a tracker that lost its own.
fn forged(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    (A..=C).for_each(|d| w.kill(d));
    w.stop_tracker();
    let mut roster = Roster::new();
    let slot = roster.enrol(w.devices[C].key, "c", Tag(7), SlotSet::default()).expect("room");
    (0..500).for_each(|_| roster.next_version(1, roster.device(slot).expect("enrolled").id));
    let mut sealed = Default::default();
    roster.seal(&[66; 32], &mut sealed);
    w.devices[C].roster = sealed.to_vec();
    w.faults.may_reject = true;
    w.start_tracker(true);
    w.start(C);
    w.run_for(10 * SECOND);
    w.start(A);
    w.start(B);
    w.run_for(20 * SECOND);
    w.devices[C].revoked = true;
    let t = w.station.tracker.as_ref().expect("it runs");
    assert!(t.roster().is_active(&w.devices[A].key) && t.roster().is_active(&w.devices[B].key));
}

/// C was put out while B was away; then the tracker loses its roster, and C and B come with theirs of before.
fn put_out(w: &mut World<'_>) {
    w.write(A, "x", "one");
    w.same();
    w.kill(B);
    let (before, invite) = (w.devices[C].roster.clone(), w.devices[C].invite);
    w.put_out_now(A, C);
    w.kill(C);
    (w.devices[C].roster, w.devices[C].invite) = (before, invite);
    w.kill(A);
    w.stop_tracker();
    w.start_tracker(true);
    w.start(C);
    w.run_for(5 * SECOND);
    w.start(B);
    w.run_for(10 * SECOND);
    w.start(A);
    w.run_for(20 * SECOND);
    let t = w.station.tracker.as_ref().expect("it runs");
    assert!(t.roster().is_revoked(&w.devices[C].key), "C is in again");
    w.same();
    for d in [A, B] {
        let p = w.devices[d].peer.as_ref().expect("it runs");
        assert!(p.roster().is_revoked(&w.devices[C].key), "D{d} forgot that C was put out");
    }
}

/// With one device of three it makes no folder.
fn quorum(w: &mut World<'_>) {
    (A..=C).for_each(|d| w.kill(d));
    w.stop_tracker();
    w.start_tracker(true);
    w.start(A);
    w.run_for(10 * SECOND);
    let p = w.devices[A].peer.as_mut().expect("it runs");
    p.request(Request::Link { label: "other", make: true }).expect("room for a request");
    w.pump(A);
    w.run_for(3 * SECOND);
    let t = w.station.tracker.as_ref().expect("it runs");
    assert!(t.roster().folder_by_label("other").is_none(), "one of three made a folder");
    w.start(B);
    w.start(C);
    w.same();
}

fn forgot(w: &mut World<'_>) {
    ["x", "d/y"].iter().for_each(|p| w.write(A, p, p));
    w.same();
    w.stop_tracker();
    w.run_for(3 * SECOND);
    w.start_tracker(false);
    w.same();
    assert_eq!(w.paths(A), ["d", "d/y", "x"]);
}
