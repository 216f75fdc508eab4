//! Files that get another name, and what is written to them just then.

use super::*;
use crate::sim::world::MS;
use dartsync_core::peer::{Index, Stat};

pub(super) const STORIES: &[Story] = &[
    story("a file that is moved is not read again", 2, unread),
    story("what was written to a file before it was moved is what arrives", 2, before),
    story("what is written to a moved file while it is looked at is what arrives", 2, meanwhile),
];

/// Its times are old enough to tell, on a disk whose ctime tells each change from the one before.
fn old(w: &mut World<'_>, path: &str) {
    w.devices[A].fs.tick = 1_000;
    w.write(A, path, "a text that is long enough to be written over");
    w.same();
    w.run_for(10 * SECOND);
}
/// What A's disk holds there, B shows there, too.
fn arrives(w: &mut World<'_>, path: &str) {
    w.same();
    w.run_for(5 * SECOND);
    w.same();
    let fs = &w.devices[A].fs;
    let text = fs.node(fs.find(path.as_bytes()).expect("it stands")).data.clone();
    let shown = w.shows(B, &String::from_utf8_lossy(&text.bytes));
    assert_eq!(shown, [path], "{:?}", w.paths(B));
}

fn unread(w: &mut World<'_>) {
    old(w, "x");
    let hashed = w.devices[A].tmp.hashed;
    w.rename(A, b"x", b"y").expect("it stands");
    arrives(w, "y");
    assert_eq!(w.devices[A].tmp.hashed, hashed);
    let row = w.devices[A].ix.find(super::super::device::F, dartsync_core::path::Path::new(b"y").unwrap());
    let mut t = dartsync_core::peer::Trees::default();
    assert!(w.devices[A].ix.load(row.expect("it is known"), &mut t));
    let stat: Stat = w.devices[A].fs.stat(w.devices[A].fs.find(b"y").expect("it stands"));
    assert_eq!(t.local.map(|l| l.stat), Some(stat), "the next scan finds it as it is known");
}
fn before(w: &mut World<'_>) {
    for n in 0..8 {
        let (x, y) = (format!("x{n}"), format!("y{n}"));
        old(w, &x);
        w.overwrite_unseen(A, x.as_bytes()).expect("it can be written");
        // Read together with the move, or told before it.
        w.run_for(n % 4 * 700);
        w.rename(A, x.as_bytes(), y.as_bytes()).expect("it stands");
        arrives(w, &y);
    }
}
/// A's program is busy: it comes to read what the kernel told when the look is over.
fn meanwhile(w: &mut World<'_>) {
    for n in 0..4 {
        let (x, y) = (format!("x{n}"), format!("y{n}"));
        old(w, &x);
        w.rename(A, x.as_bytes(), y.as_bytes()).expect("it stands");
        w.run_for(250 * MS);
        w.devices[A].reading = true;
        w.overwrite_unseen(A, y.as_bytes()).expect("it can be written");
        w.run_for(250 * MS);
        w.will_read(A);
        arrives(w, &y);
    }
}
