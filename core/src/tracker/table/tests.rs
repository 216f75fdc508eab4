//! The table against a naive one.

use super::*;
use crate::ids::{ContentId, DeviceId};
use crate::version::{Edit, VersionVector};
use std::vec;

fn file(tag: u32, counter: u64) -> Record {
    let edit = Edit { tag: Tag(tag), counter };
    let content = ContentId([counter as u8; 32]);
    Record {
        kind: Kind::File,
        size: 3,
        content,
        edit,
        author: DeviceId(1),
        version: VersionVector::of(edit),
        ..Record::default()
    }
}

#[test]
fn what_is_put_is_found_and_walked_in_order() {
    let mut memory = vec![0; 64 * 1024];
    let mut t = Table::new(&mut memory);
    let (a, b) = (Path::new(b"a").unwrap(), Path::new(b"b").unwrap());
    let f = FolderSlot(2);
    assert_eq!(t.put(f, a, &file(1, 10), SlotSet(1)), Ok(Seq(1)));
    assert_eq!(t.put(f, b, &file(2, 20), SlotSet(2)), Ok(Seq(2)));
    assert_eq!(t.put(f, a, &file(1, 30), SlotSet(4)), Ok(Seq(3)));
    assert_eq!(t.find(f, a).unwrap().record(), file(1, 30));
    assert!(
        t.find(FolderSlot(3), a).is_none() && t.find_withdrawn(f, a).is_none() && t.get(Seq(1)).is_none()
    );
    assert_eq!(t.next_after(Seq(0)).unwrap().path(), b);
    assert_eq!(t.next_after(Seq(2)).unwrap().holders(), SlotSet(4));
    assert!(t.next_after(Seq(3)).is_none());
    assert_eq!(t.withdraw(Seq(3)), Some(Seq(4)));
    assert!(t.find(f, a).is_none() && t.find_withdrawn(f, a).unwrap().holders().is_empty());
    assert_eq!(t.highest_counter(Tag(1)), 30);
    assert_eq!(t.check(), Ok(()));
}
