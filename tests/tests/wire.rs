//! Boards under QEMU on a wire where anybody sends anything: no frame ends them, and they answer afterwards.

use dartsync_tests::frames::Wire;
use dartsync_tests::process::{BOARDS, Device, Dir, Kind, Machine, has_qemu};
use std::time::Duration;

const FRAMES: u32 = 30_000;

fn storm(kind: &'static Kind) {
    let dir = Dir::new(&format!("wire-{}", kind.name));
    let founder = Device::new(dir.path(), "founder");
    let mut machine = Machine::new(kind, dir.path(), &founder, &["--ip", "10.0.2.77/24"]);
    let (mut wire, told) = Wire::new(7, [10, 0, 2, 77]);
    machine.net = Some(told);
    machine.boot();
    wire.answers("at first");
    for n in 0..FRAMES {
        let frame = wire.any();
        wire.send(&frame);
        if n % 50 == 49 {
            // Not more than it can take in: what is dropped tests nothing.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    wire.answers("after the storm");
    let program = machine.program.as_mut().unwrap();
    assert!(program.runs() && !program.text().contains("FATAL"), "{}", program.text());
}

#[test]
fn no_frame_ends_a_board() {
    BOARDS.iter().filter(|_| has_qemu()).for_each(storm);
}
