//! Stories about names: what moves, what meets something else of its name, what lives below what goes.

use super::*;
use crate::sim::fs::ROOT;
use crate::sim::world::Event;

impl World<'_> {
    /// A program opens a file and writes; it goes on after `pause`, and then closes it.
    fn open(&mut self, d: usize, path: &[u8], pause: u64) {
        let ino = self.devices[d].fs.find(path).expect("it is there");
        self.devices[d].fs.node_mut(ino).writers += 1;
        let place = (ROOT, path.to_vec());
        self.after(pause, Event::Write { d, ino, place, left: 1 });
    }
}

#[test]
fn an_open_file_is_moved() {
    home(2, |w| {
        w.edit(A, "x");
        w.same();
        w.open(A, b"x", 5 * SECOND);
        w.rename(A, b"x", b"y").unwrap();
        w.same();
        w.run_for(10 * SECOND);
        w.same();
        assert_eq!(w.paths(B), ["y"]);
    });
}
