//! Boards under QEMU as trackers of real devices. Where QEMU is not installed, these tests say so and test nothing.

use dartsync_core::link::code::InviteCode;
use dartsync_core::wire::message::{ToPeer, ToTracker};
use dartsync_tests::links::{FIRST, be_first, churn, join_all};
use dartsync_tests::process::{
    BOARDS, Device, Dir, Home, Kind, Machine, Tracker, has_qemu, image_of, noise, wait_for,
};
use dartsync_tests::raw::RawLink;
use dartsync_tracker::card::Trial;
use std::fs;
use std::time::Duration;

const KERNEL_MAX: u64 = 512 << 10;
const PROGRAM_MAX_KIB: u64 = 8 << 10;

/// A board that is on, and devices that have joined through it.
struct Boarded {
    machine: Machine,
    home: Home,
}

impl Boarded {
    fn start(kind: &'static Kind, name: &str, count: usize, more: &[&str]) -> Boarded {
        let dir = Dir::new(&format!("qemu-{name}-{}", kind.name));
        let devices: Vec<Device> = (0..count).map(|n| Device::new(dir.path(), &format!("dev{n}"))).collect();
        let mut machine = Machine::new(kind, dir.path(), &devices[0], more);
        if let Some(at) = more.iter().skip_while(|m| **m != "--ip").nth(1) {
            machine.inside = at.split('/').next().unwrap().to_owned();
        }
        machine.boot();
        // A process for a tracker is never started: the board is it.
        let home = Home { tracker: Tracker::new(dir.path()), devices, dir };
        let mut all = Boarded { machine, home };
        for n in 0..count {
            let code = if n == 0 { all.machine.code.clone() } else { all.home.devices[0].invite() };
            let out = all.machine.joined_by(&all.home.devices[n], &code);
            assert!(out.is_ok(), "{n}: {out:?}");
            all.home.devices[n].start();
        }
        all
    }
}

#[test]
fn four_devices_lose_nothing_by_its_power_cut() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        let mut all = Boarded::start(kind, "home", 4, &[]);
        let home = &mut all.home;
        home[0].put("a/big", noise(1, 3_000_000));
        for n in 0..200 {
            home[n % 4].put(format!("f{n}"), format!("first {n}"));
        }
        home.converge();
        // In the middle of edits the power goes, and some are made while it is off.
        let (mut kept, gone) = (Vec::new(), 100..140);
        for n in 0..100 {
            if n == 40 {
                all.machine.cut();
            }
            let data = noise(1000 + n as u64, 700 * n);
            home[n % 4].put(format!("f{n}"), &data);
            kept.push((format!("f{n}"), data));
            let old = 100 + n;
            if gone.contains(&old) {
                home[n % 4].remove(format!("f{old}"));
            }
        }
        all.machine.boot();
        home[3].put("after", "on again");
        let tree = home.converge();
        for (name, data) in &kept {
            assert_eq!(home[2].get(name).as_ref(), Some(data), "{}: {name}", kind.name);
        }
        for old in gone {
            assert!(!home[1].has(format!("f{old}")), "{}: f{old} is back", kind.name);
        }
        assert_eq!((tree.len(), home[0].conflict_copies().len()), (1 + 1 + 200 - 40 + 1, 0), "{}", kind.name);
        all.machine.console("works on roster ");
        home.status_is_true();
    }
}

#[test]
fn the_founders_code_is_good_for_the_founder_alone() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        let dir = Dir::new("qemu-founder");
        let [founder, stranger] = ["founder", "stranger"].map(|n| Device::new(dir.path(), n));
        let mut machine = Machine::new(kind, dir.path(), &founder, &["--name", "ours"]);
        machine.boot();
        let code = machine.code.clone();
        let refused = |machine: &Machine| {
            let why = machine.joined_by(&stranger, &code).unwrap_err();
            assert!(why.contains("good for one device alone"), "{why}");
        };
        refused(&machine);
        machine.joined_by(&founder, &code).unwrap();
        // Again, as one does who was not sure.
        machine.joined_by(&founder, &code).unwrap();
        refused(&machine);
        // With nothing left of the roster but what the founder has.
        machine.cut();
        machine.boot();
        refused(&machine);
        machine.joined_by(&stranger, &founder.invite()).unwrap();
        let devices = founder.say(&["devices"]);
        assert!(devices.contains("founder") && devices.contains("stranger"), "{devices}");
        // A card made anew from the words, at another place, is the same tracker.
        machine.cut();
        let again = image_of(kind, &machine.image, &founder, &["--update"]);
        let text = String::from_utf8(again.stdout).unwrap();
        let words = text.lines().find_map(|l| l.strip_prefix("recovery ")).expect("words");
        fs::remove_dir_all(&machine.image).unwrap();
        let made = image_of(kind, &machine.image, &founder, &["--words", words]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        machine.boot();
        let devices = founder.say(&["devices"]);
        assert!(devices.contains("founder") && devices.contains("stranger"), "{devices}");
    }
}

/// All links of a full home are held, while each of them ends and comes again and records pass to all.
/// `DARTSYNC_HOLD=SECONDS` does so longer.
fn holds_64_links(kind: &'static Kind) {
    let dir = Dir::new(&format!("qemu-links-{}", kind.name));
    let founder = Device::new(dir.path(), "founder");
    be_first(&founder.state);
    let mut machine = Machine::new(kind, dir.path(), &founder, &[]);
    machine.boot();
    let (at, code) = (machine.listen.clone(), InviteCode::decode(&machine.code).unwrap());
    let mut feeder = RawLink::join(&at, &code, FIRST, "feeder");
    let folder = feeder.link_folder("f");
    let others = join_all(&at, code.tracker, &mut feeder, Vec::new());
    let seconds = std::env::var("DARTSYNC_HOLD").map_or(15, |s| s.parse().expect("seconds"));
    let held = churn(&at, code.tracker, &mut feeder, folder, others, Duration::from_secs(seconds), 0);
    assert_eq!(held.links, 64);
    // Each is ended once within 200 records.
    assert!(held.announced > 8 && held.redials >= held.announced.min(200) / 8, "{held:?}");
    assert!((1..=held.announced * 63).contains(&(held.delays.len() as u64)), "{}", held.delays.len());
    println!("{}: {} records to each, {} links ended", kind.name, held.announced, held.redials);
    feeder.send(&ToTracker::Ping);
    feeder.hear(|m| matches!(m, ToPeer::Pong).then_some(())).expect("it goes on");
    let program = machine.program.as_mut().unwrap();
    assert!(program.runs() && !program.text().contains("FATAL"), "{}", program.text());
}

#[test]
fn a_board_holds_64_links() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        holds_64_links(kind);
    }
}

#[test]
fn a_fixed_address_is_kept_to() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        let mut all = Boarded::start(kind, "fixed", 2, &["--ip", "10.0.2.77/24"]);
        all.machine.console("address 10.0.2.77/24");
        all.home[0].put("x", "by a fixed address");
        all.home.converge();
    }
}

#[test]
fn without_a_sound_card_it_says_so_and_rests() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        let dir = Dir::new("qemu-card");
        let founder = Device::new(dir.path(), "founder");
        let mut machine = Machine::new(kind, dir.path(), &founder, &[]);
        let whole = fs::read(machine.card()).unwrap();
        let mut bad = whole.clone();
        bad[60] ^= 4;
        let mut old = whole.clone();
        old[8] = 77;
        let cases: [(&[u8], &str); 4] = [
            (&bad, "dartsync.cfg is damaged"),
            (&whole[..70], "dartsync.cfg is damaged"),
            (&old, "dartsync.cfg is of version 77"),
            (&[], "dartsync.cfg is missing"),
        ];
        for (file, says) in cases {
            fs::remove_file(machine.card()).unwrap_or_default();
            if !file.is_empty() {
                fs::write(machine.card(), file).unwrap();
            }
            machine.power_on();
            machine.console(says);
            machine.console("make the card anew");
            let program = machine.program.as_mut().unwrap();
            assert!(program.runs() && !program.text().contains("listening"), "{}", program.text());
            machine.cut();
        }
    }
}

#[test]
fn what_goes_wrong_is_said_and_it_starts_anew() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        let dir = Dir::new("qemu-trial");
        let founder = Device::new(dir.path(), "founder");
        let mut machine = Machine::new(kind, dir.path(), &founder, &[]);
        let cases = [
            (Trial::Panic, "as the card wished"),
            (Trial::Overrun, "FATAL: the stack ran over"),
            (Trial::Stuck, "FATAL: stuck for 8 s"),
        ];
        for (trial, says) in cases {
            machine.shall(trial);
            machine.power_on();
            let text = machine.reset();
            assert!(text.contains("FATAL: ") && text.contains(says), "{trial:?}: {text}");
            assert!(text.contains("starting anew") && !text.contains("listening on"), "{trial:?}: {text}");
        }
        machine.shall(Trial::None);
        machine.boot();
    }
}

#[test]
fn it_keeps_within_its_budgets() {
    for kind in BOARDS.iter().filter(|_| has_qemu()) {
        let dir = Dir::new("qemu-budget");
        let founder = Device::new(dir.path(), "founder");
        let mut machine = Machine::new(kind, dir.path(), &founder, &[]);
        let image = fs::metadata(machine.image.join("kernel8.img")).unwrap().len();
        assert!(image <= KERNEL_MAX, "{}: {image} bytes of kernel", kind.name);
        let number = |text: &str, before: &str| -> u64 {
            let at = text.split(before).next().unwrap().trim().rsplit(' ').next().unwrap();
            at.parse().unwrap_or_else(|e| panic!("{text}: {before}: {e}"))
        };
        let listening = machine.boot();
        let memory = machine.console("memory: ");
        let program = number(&memory, "KiB for the program");
        assert!(program <= PROGRAM_MAX_KIB, "{}: {memory}", kind.name);
        // A quarter of what QEMU's smallest board has goes to other things at most.
        assert!(number(&memory, "MiB for the table") >= 96, "{}: {memory}", kind.name);
        let stack = listening.split("stack ").nth(1).expect("how deep it was");
        let (used, all) = (number(stack, "of"), number(stack, "KiB, "));
        assert!(0 < used && used * 10 <= all * 9, "{}: the stack is nearly used up: {listening}", kind.name);
        println!("{}: image {image} bytes, {memory}, listening on {listening}", kind.name);
        wait_for("it goes on", || machine.program.as_mut().unwrap().runs().then_some(()));
    }
}

#[test]
fn a_kernel_that_is_not_there_is_said() {
    let dir = Dir::new("qemu-kernels");
    let device = Device::new(dir.path(), "device");
    let out = std::process::Command::new(dartsync_tests::process::binary())
        .args(["image", "--board", "virt", "--out"])
        .arg(dir.path().join("out"))
        .arg("--state")
        .arg(&device.state)
        .env("DARTSYNC_KERNELS", dir.path().join("nowhere"))
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && why.contains("nowhere/kernel8-virt.img"), "{why}");
    assert!(!dir.path().join("out").exists() && !device.state.join("identity").exists());
}
