use super::*;
use crate::ids::FolderId;
use crate::wire::message::RosterPart;
use std::format;

const KEY: [u8; 32] = [7; 32];

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn full() -> Roster {
    let mut r = Roster::new();
    for n in 0..64u8 {
        r.enrol(
            key(n),
            &format!("a-device-with-a-long-name-{n:03}"),
            Tag(u32::from(n) + 1),
            SlotSet::default(),
        )
        .unwrap();
    }
    for n in 0..256u64 {
        let slot = r.add_folder(FolderId(n), &format!("{n:064}"), |_| true).unwrap();
        (0..64).for_each(|s| assert!(r.set_member(slot, Slot(s), true)));
    }
    for n in 0..200u8 {
        r.retag(Slot(n % 64), Tag(1000 + u32::from(n)));
    }
    for n in 64..=255u8 {
        r.revoke(&key(n)).unwrap();
    }
    r.next_version(9, DeviceId(1));
    r
}

#[test]
fn the_fullest_roster_survives_sealing_and_travels_in_parts() {
    let r = full();
    let mut sealed = Vec::new();
    r.seal(&KEY, &mut sealed);
    assert!(verify(&KEY, &sealed) && !verify(&[8; 32], &sealed));
    assert!(Roster::decode(&sealed).unwrap() == r);
    let (mut a, mut at) = (RosterAssembler::new(), 0);
    while let Some(part) = part_at(&sealed, r.version(), at, 8000) {
        at += part.bytes.len();
        assert_eq!(a.take(&part).unwrap(), at == sealed.len());
    }
    assert_eq!(a.bytes(), &sealed[..]);
}

#[test]
fn parts_out_of_place_are_refused() {
    let mut sealed = Vec::new();
    full().seal(&KEY, &mut sealed);
    let v = RosterVersion { version: 1, nonce: 9 };
    let part = |at| part_at(&sealed, v, at, 100).unwrap();
    let mut a = RosterAssembler::new();
    assert!(a.take(&part(100)).is_err(), "before the first");
    assert!(a.take(&part(0)).is_ok() && a.take(&part(200)).is_err(), "a gap");
    assert!(a.take(&part(100)).is_err(), "after an error it begins anew");
    let huge = RosterPart { total: u32::MAX, ..part(0) };
    assert!(a.take(&huge).is_err());
}

#[test]
fn damaged_bytes_never_panic_and_a_changed_one_fails_the_mac() {
    let mut sealed = Vec::new();
    full().seal(&KEY, &mut sealed);
    for i in (0..sealed.len()).step_by(97) {
        let mut bad = sealed.clone();
        bad[i] ^= 0x55;
        let _ = Roster::decode(&bad);
        assert!(!verify(&KEY, &bad));
        let _ = Roster::decode(&sealed[..i]);
    }
}

#[test]
fn names_are_made_unique_and_proper() {
    let mut r = Roster::new();
    let mut name = |wish: &str, n: u8| {
        let slot = r.enrol(key(n), wish, Tag(n.into()), SlotSet::default()).unwrap();
        format!("{}", r.device(slot).unwrap().name)
    };
    assert_eq!(name("bob", 1), "bob");
    assert_eq!(name("bob", 2), "bob-2");
    assert_eq!(name("bob", 3), "bob-3");
    assert_eq!(name("Bob's Mac", 4), "Bob-s-Mac");
    assert_eq!(name("", 5), "device");
    assert_eq!(name(&"x".repeat(40), 6), "x".repeat(32));
    assert_eq!(name(&"x".repeat(40), 7), format!("{}-2", "x".repeat(30)));
}

#[test]
fn a_revoked_device_leaves_its_name_and_nothing_else() {
    let mut r = Roster::new();
    let slot = r.enrol(key(1), "a", Tag(1), SlotSet::default()).unwrap();
    let f = r.add_folder(FolderId(5), "f", |_| true).unwrap();
    r.set_member(f, slot, true);
    let before = r.clone();
    assert_eq!(r.revoke(&key(1)), Ok(Some(slot)));
    assert!(!r.is_active(&key(1)) && r.is_revoked(&key(1)) && r.is_given_up(Tag(1)));
    assert!(r.members(f).is_empty() && r.name_of(DeviceId(1)) == Some("a"));
    let next = r.enrol(key(2), "a", Tag(2), SlotSet::one(slot)).unwrap();
    assert!(next != slot && r.device(next).unwrap().id == DeviceId(2) && r.device(next).unwrap().name == "a");
    assert!(
        r.may_follow(&before) && !before.may_follow(&r),
        "a roster without a known revocation is refused"
    );
}
