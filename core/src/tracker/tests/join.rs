//! Who comes in: invites, stores and tags, revocation, recovery.

use super::*;

#[test]
fn the_first_device_founds_the_home_and_invites_the_next() {
    let mut h = Home::new(Past::New);
    assert!(h.saves == 1 && h.t.founding_invite().is_some());
    h.join(0);
    assert!(h.saves == 2 && h.t.founding_invite().is_none(), "once in its life");
    h.join(1);
    assert_eq!(h.clients[1].sealed, h.t.sealed_roster(), "a roster is pushed");
    assert_eq!(h.clients[0].sealed, h.t.sealed_roster());
    assert!(h.clients[0].got.iter().any(|g| matches!(g, Got::Notice(s) if s.contains("b joined"))));
    let shown = |d| h.clients[0].got.contains(&Got::Presence { device: DeviceId(d), online: true, lag: 0 });
    assert!(shown(1) && shown(2));
}
