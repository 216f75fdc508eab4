//! Records from one device to the others.

use super::*;

#[test]
fn a_record_reaches_the_other_member_and_its_author_learns_the_seq() {
    let mut h = Home::with(2);
    let r = file(1, edit(10, 100), None);
    assert_eq!(h.put(0, "x", &r), Verdict::Accepted(Seq(1)));
    assert_eq!(h.records(1), [("x".into(), Seq(1), r.clone())]);
    assert!(h.records(0).is_empty(), "it is not sent back");
    assert!(h.clients[0].got.contains(&Got::Standing(Seq(1))));
    assert_eq!((h.lag(0), h.lag(1)), (0, 1));
    h.have(1, 1, 1, true);
    assert_eq!(h.lag(1), 0);
}
