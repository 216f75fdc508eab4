//! Boards under QEMU on a network of their own, which the kernel is on, too: addresses that are lent and changed, mDNS,
//! many links, and who means harm. As root with `ip`; where that cannot be, these tests say so and test nothing.

mod abuse;
mod lease;

use dartsync_tests::process::{
    BOARDS, Device, Dir, HERE, Kind, Machine, cable, free_port, has_qemu, on_a_lan,
};

/// Runs `body` for the board of that name, on a network of its own.
fn with_board(name: &str, body: impl FnOnce(&'static Kind) + Send) {
    if has_qemu() {
        let kind = BOARDS.iter().find(|b| b.name == name).expect("a board");
        on_a_lan(|| body(kind));
    }
}

/// A device whose others reach it on this network.
fn device(dir: &Dir, name: &str) -> Device {
    let mut device = Device::new(dir.path(), name);
    let [a, b, c, d] = HERE;
    device.listen = format!("{a}.{b}.{c}.{d}:{}", free_port());
    device
}

/// A board on this network, made by that device; off.
fn machine(kind: &'static Kind, dir: &Dir, founder: &Device, more: &[&str]) -> Machine {
    let mut machine = Machine::new(kind, dir.path(), founder, more);
    machine.net = Some(cable());
    machine
}
