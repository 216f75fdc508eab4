//! The suite that every network passes, on good cables and on bad ones.

use crate::wire::{Faults, Wire, config, node};
use dartsync_hal::conformance::{self, Rig};
use dartsync_hal::net::Addr;

fn run(faults: Faults, seed: u64) {
    let mut rigs = seed;
    conformance::run(|| {
        rigs += 1;
        let wire = Wire::new(rigs).with(faults);
        Rig {
            server: node::<32>(&wire, config(1)),
            client: node::<32>(&wire, config(2)),
            clock: wire,
            address: Addr::V4([10, 1, 1, 1], 7420),
            nowhere: Addr::V4([10, 1, 1, 1], 9),
        }
    });
}

#[test]
fn passes_on_good_cables() {
    run(Faults::default(), 1);
}

#[test]
fn passes_on_bad_cables() {
    run(Faults { lost: 10, doubled: 20, late: 30 }, 100);
}
