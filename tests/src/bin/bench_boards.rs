//! A tracker on a board under QEMU beside the program of Linux: from power on to listening, from a save on one device to
//! its content on another, the host's processor while all rest, how many records fit, and how soon devices are back after
//! a power cut.
//!
//! `cargo run --release -p dartsync-tests --bin bench_boards [EDITS]`

use dartsync_tests::bench::{line, ms, quantile, saved_to_visible};
use dartsync_tests::process::{
    BOARDS, Device, Dir, HERE, Home, Kind, Machine, Program, Tracker, cable, free_port, has_qemu, on_a_lan,
    status_page,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Switched on so often.
const STARTS: usize = 10;
/// Before it is looked whether all rest, and while.
const SETTLE: Duration = Duration::from_secs(8);
const REST: Duration = Duration::from_secs(20);
/// Its power fails so often, for so long.
const CUTS: usize = 8;
const OFF: Duration = Duration::from_secs(3);

fn main() {
    let edits = std::env::args().nth(1).map_or(200, |n| n.parse().expect("a number"));
    let mut home = Home::found_with("bench-boards", &["--memory", "192M"]);
    home.add();
    home.add();
    latency("linux", &home, edits);
    idle("linux", home.tracker.running());
    back("linux", &mut home, |home| home.tracker.kill(), |home| home.tracker.start());
    drop(home);
    if has_qemu() {
        BOARDS.iter().for_each(|kind| board(kind, edits));
    }
}

fn board(kind: &'static Kind, edits: u64) {
    let dir = Dir::new(&format!("bench-boards-{}", kind.name));
    let devices: Vec<Device> = (0..2).map(|n| Device::new(dir.path(), &format!("dev{n}"))).collect();
    let mut machine = Machine::new(kind, dir.path(), &devices[0], &[]);
    // As much as the real board has.
    machine.ram = Some(1024);
    starts(kind.name, &mut machine);
    let mut home = Home { tracker: Tracker::new(dir.path()), devices, dir };
    for n in 0..2 {
        let code = if n == 0 { machine.code.clone() } else { home[0].invite() };
        machine.joined_by(&home[n], &code).expect("it lets devices in");
        home[n].start();
    }
    latency(kind.name, &home, edits);
    let page = status_page(&machine.page);
    let fit = page.split("records of about ").nth(1).and_then(|rest| rest.split(" that fit").next());
    line(&format!("{}: records like these that fit, as its page says", kind.name), fit.expect("it is told"));
    line("  in", machine.console("memory: "));
    idle(kind.name, machine.program.as_mut().expect("it is on"));
    drop((machine, home));
    // QEMU's own network takes links for a board that is not there yet: this is measured on a cable.
    on_a_lan(|| cuts(kind));
}

fn cuts(kind: &'static Kind) {
    let dir = Dir::new(&format!("bench-cuts-{}", kind.name));
    let device = |n: usize| {
        let mut device = Device::new(dir.path(), &format!("dev{n}"));
        device.listen = SocketAddr::from((HERE, free_port())).to_string();
        device
    };
    let devices: Vec<Device> = (0..2).map(device).collect();
    let mut machine = Machine::new(kind, dir.path(), &devices[0], &["--ip", "10.0.2.77/24"]);
    machine.net = Some(cable());
    machine.listen = "10.0.2.77:7420".to_owned();
    machine.boot();
    let mut home = Home { tracker: Tracker::new(dir.path()), devices, dir };
    for n in 0..2 {
        let code = if n == 0 { machine.code.clone() } else { home[0].invite() };
        machine.joined_by(&home[n], &code).expect("it lets devices in");
        home[n].start();
    }
    let machine = std::cell::RefCell::new(machine);
    back(kind.name, &mut home, |_| machine.borrow_mut().cut(), |_| drop(machine.borrow_mut().boot()));
}

/// From power on to listening, by the host's clock and by its own. An address by DHCP is part of it.
fn starts(name: &str, machine: &mut Machine) {
    let mut took = Vec::new();
    let mut own = Vec::new();
    for _ in 0..STARTS {
        machine.cut();
        let since = Instant::now();
        let said = machine.boot();
        took.push(since.elapsed());
        let of_own = said.split(", ").nth(1).and_then(|rest| rest.split(' ').next());
        own.push(of_own.and_then(|n| n.parse::<u64>().ok()).map(Duration::from_millis).expect("it tells"));
    }
    took.sort();
    own.sort();
    let medians = [took, own].map(|all| ms(quantile(&all, 0.5)));
    line(&format!("{name}: from power on to listening, {STARTS} times"), format!("median {}", medians[0]));
    line("  by its own clock", format!("median {}", medians[1]));
}

fn latency(name: &str, home: &Home, edits: u64) {
    for new in [true, false] {
        let took = saved_to_visible(home, edits, new);
        let kind = if new { "new files" } else { "edits of one file" };
        let (median, high) = (quantile(&took, 0.5), quantile(&took, 0.95));
        line(
            &format!("{name}: {edits} {kind} of 1 KiB, saved to visible"),
            format!("median {}, p95 {}", ms(median), ms(high)),
        );
    }
}

/// How soon all devices are linked and in sync again, an edit made meanwhile included, once a tracker that had failed
/// listens.
fn back(name: &str, home: &mut Home, mut fails: impl FnMut(&mut Home), mut starts: impl FnMut(&mut Home)) {
    let mut took = Vec::new();
    for n in 0..CUTS {
        fails(home);
        home[0].put(format!("cut{n}"), "made while it was off");
        std::thread::sleep(OFF);
        starts(home);
        let since = Instant::now();
        home[1].gets(&format!("cut{n}"), "made while it was off");
        home.devices.iter().for_each(Device::wait);
        took.push(since.elapsed());
    }
    took.sort();
    let (median, most) = (quantile(&took, 0.5), took[CUTS - 1]);
    let text = format!("median {}, worst {}", ms(median), ms(most));
    line(&format!("{name}: after {CUTS} power cuts, from listening to all in sync"), text);
}

/// What the tracker takes of one of the host's processors while two devices are linked and nothing is to do.
fn idle(name: &str, program: &mut Program) {
    std::thread::sleep(SETTLE);
    let (before, since) = (program.busy(), Instant::now());
    std::thread::sleep(REST);
    let share = (program.busy() - before).as_secs_f64() / since.elapsed().as_secs_f64();
    line(&format!("{name}: of a processor of the host, at rest"), format!("{:.1} %", share * 100.0));
}
