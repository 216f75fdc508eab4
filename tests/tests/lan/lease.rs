//! Addresses from a real DHCP server: lent, renewed, changed; devices find the tracker wherever it is.

use crate::{device, machine, with_board};
use dartsync_tests::frames::Wire;
use dartsync_tests::process::{CABLE, Device, Dir, Dnsmasq, Home, Kind, Machine, Tracker, wait_for};
use std::net::Ipv4Addr;

/// The address that a board tells on its console, which is one of those numbers.
fn address(told: &str, numbers: std::ops::RangeInclusive<u8>) -> [u8; 4] {
    let ip: Ipv4Addr = told.split('/').next().unwrap().parse().unwrap_or_else(|e| panic!("{told}: {e}"));
    let [a, b, c, d] = ip.octets();
    assert!([a, b, c] == [10, 0, 2] && numbers.contains(&d) && told.ends_with("/24"), "{told}");
    ip.octets()
}

/// Joins without being told where the tracker is.
fn join(device: &Device, code: &str) {
    let root = device.root.to_str().unwrap();
    device.say(&["join", code, root, "--name", &device.name, "--listen", &device.listen]);
}

/// A board that was lent an address from 50 on, and two devices that have found it.
fn begin(kind: &'static Kind) -> (Dnsmasq, Machine, Home, [u8; 4]) {
    let dir = Dir::new(&format!("lease-{}", kind.name));
    let server = Dnsmasq::start(dir.path(), 50, 59);
    let mut devices: Vec<Device> = (0..2).map(|n| device(&dir, &format!("dev{n}"))).collect();
    let mut board = machine(kind, &dir, &devices[0], &[]);
    board.boot();
    let first = address(&board.console("address "), 50..=59);
    let leases = std::fs::read_to_string(dir.path().join("leases-50")).unwrap();
    assert!(leases.contains(&format!(" {} ", Ipv4Addr::from(first))), "{first:?} is not among {leases}");
    Wire::beside(1, first, CABLE).answers("at its first address");
    // The code of a tracker that asks for its address names none: it is found.
    join(&devices[0], &board.code);
    devices[0].start();
    join(&devices[1], &devices[0].invite());
    devices[1].start();
    let home = Home { tracker: Tracker::new(dir.path()), devices, dir };
    home[0].put("a", "by the first address");
    home.converge();
    (server, board, home, first)
}

/// The address is renewed, and nobody notices.
fn renewed(server: &Dnsmasq, board: &Machine, home: &mut Home, ip: Ipv4Addr) {
    let confirmed = format!("DHCPACK({CABLE}) {ip}");
    wait_for("two renewals", || (server.count(&confirmed) >= 3).then_some(()));
    assert_eq!(["DISCOVER", "OFFER", "NAK"].map(|what| server.count(&format!("DHCP{what}("))), [1, 1, 0]);
    assert_eq!(board.program.as_ref().unwrap().text().matches("address ").count(), 1);
    for n in 0..2 {
        let log = home[n].running().text();
        assert!(!log.contains("disconnected"), "links live through a renewal: {log}");
    }
}

fn lent_renewed_and_changed(kind: &'static Kind) {
    if !Dnsmasq::is_here() {
        return;
    }
    let (server, mut board, mut home, first) = begin(kind);
    renewed(&server, &board, &mut home, first.into());
    // Another server, which knows of no such lease.
    drop(server);
    let server = Dnsmasq::start(home.dir.path(), 150, 159);
    board.console("address lost");
    let second = address(&format!("10.0.2.15{}", board.console("address 10.0.2.15")), 150..=159);
    assert!(server.count("DHCPNAK(") >= 1, "{}", server.program.text());
    home[0].put("b", "while it moved");
    // One that starts anew has the old address alone.
    home[1].kill();
    home[1].put("c", "while off");
    home[1].start();
    home.converge();
    Wire::beside(2, second, CABLE).answers("at its second address");
    let known = home[0].status()["tracker"]["address"].as_str().unwrap().to_owned();
    assert_eq!(known, format!("{}:7420", Ipv4Addr::from(second)));
    // So has a command while no device runs.
    home[1].stop();
    let late = device(&home.dir, "late");
    join(&late, &home[1].invite());
    home.devices.push(late);
    home[1].start();
    home[2].start();
    home[2].put("d", "from one that came late");
    assert_eq!(home.converge().len(), 4);
    home.status_is_true();
}

#[test]
fn virt_is_found_whatever_address_it_is_lent() {
    with_board("virt", lent_renewed_and_changed);
}

#[test]
fn rpi3_is_found_whatever_address_it_is_lent() {
    with_board("rpi3", lent_renewed_and_changed);
}
