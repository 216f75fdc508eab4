//! Real programs, each in a network namespace of its own, that are killed, cut off, frozen and filled up while users
//! work at all of them. `TORTURE_SECONDS` says for how long (20; 0: not at all), `TORTURE_SEED` what the users and the
//! faults do (random; a run that fails names it).

use dartsync_tests::process::{Bridge, Device, Dir, Home, Small, has_namespaces, noise, skipped};
use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

const DEVICES: usize = 4;
/// The node of the tracker; devices follow.
const TRACKER: usize = 0;
/// The device whose folder is small.
const NARROW: usize = 3;
/// How long it may take until all are equal, and nothing is left half done, on a loaded machine.
const WAIT: Duration = Duration::from_secs(180);
/// How long a node is frozen: longer than a link may be silent.
const FROZEN: Duration = Duration::from_secs(17);

struct Luck(u64);

impl Luck {
    fn below(&mut self, n: u64) -> u64 {
        self.0 += 1;
        u64::from_le_bytes(noise(self.0, 8).try_into().unwrap()) % n
    }
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Says the seed if the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TORTURE_SEED={} TORTURE_SECONDS={}", self.0, seconds());
        }
    }
}

fn seconds() -> u64 {
    std::env::var("TORTURE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20)
}

/// What users wrote: who, and whether a user did away with it, seeing it.
#[derive(Default)]
struct Ledger(HashMap<Vec<u8>, (usize, bool)>);

impl Ledger {
    fn took(&mut self, path: &Path) {
        match fs::symlink_metadata(path) {
            Ok(m) if m.is_dir() => {
                let inside = fs::read_dir(path).into_iter().flatten().flatten();
                inside.for_each(|entry| self.took(&entry.path()));
            }
            Ok(_) => {
                if let Some(known) = fs::read(path).ok().and_then(|bytes| self.0.get_mut(&bytes)) {
                    known.1 = true;
                }
            }
            Err(_) => {}
        }
    }
}

/// One thing that a user does; what cannot be done is not done.
fn deed(luck: &mut Luck, ledger: &mut Ledger, device: &Device, d: usize) {
    let names = ["a", "b", "d/a", "d/b", "d/e/a", "e", "e/a", "f.txt", "g", "h/i"];
    let (path, other) = (device.path(luck.pick(&names)), device.path(luck.pick(&names)));
    let what = luck.below(10);
    let size = if luck.below(12) == 0 { 1_500_000 } else { 20 + luck.below(60_000) };
    let bytes = noise(luck.0, size as usize);
    if what != 9 {
        let _ = fs::create_dir_all(path.parent().unwrap());
        let _ = fs::create_dir_all(other.parent().unwrap());
    }
    if what < 6 {
        // Should it not be closed well, what came of it is a user's all the same.
        ledger.0.insert(bytes.clone(), (d, true));
    }
    match what {
        0..=3 => {
            ledger.took(&path);
            if !path.is_dir() && fs::write(&path, &bytes).is_ok() {
                ledger.0.insert(bytes, (d, false));
            }
        }
        4..=5 => {
            // As editors save.
            let new = path.with_extension("new~");
            if fs::write(&new, &bytes).is_err() {
                let _ = fs::remove_file(&new);
                return;
            }
            ledger.took(&path);
            let saved = fs::rename(&new, &path).is_ok();
            if !saved {
                let _ = fs::remove_file(&new);
            }
            ledger.0.insert(bytes, (d, !saved));
        }
        6..=7 => {
            ledger.took(&path);
            let _ = fs::remove_file(&path);
        }
        8 => {
            ledger.took(&other);
            let _ = fs::rename(&path, &other);
        }
        _ => {
            let dir = device.path(luck.pick(&["d", "e", "h", "d/e"]));
            ledger.took(&dir);
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Everything that can go wrong, and when it is over.
#[derive(Default)]
struct Faults {
    cut: Vec<(usize, Instant)>,
    dead: Vec<(usize, Instant)>,
    frozen: Option<(usize, Instant)>,
    froze: bool,
}

impl Faults {
    fn step(&mut self, luck: &mut Luck, home: &mut Home, bridge: &Bridge) {
        self.heal(home, bridge, Instant::now());
        let node = luck.below(DEVICES as u64 + 1) as usize;
        let until = Instant::now() + Duration::from_millis(100 + luck.below(2000));
        let busy = |list: &[(usize, Instant)]| list.iter().any(|(n, _)| *n == node);
        let is_frozen = self.frozen.is_some_and(|(n, _)| n == node);
        if !self.froze && luck.below(4) == 0 && !busy(&self.dead) {
            (self.froze, self.frozen) = (true, Some((node, Instant::now() + FROZEN)));
            freeze(home, node, true);
            return;
        }
        match luck.below(4) {
            0 | 1 if !busy(&self.dead) && !is_frozen => {
                kill(home, node);
                self.dead.push((node, until));
            }
            2 if !busy(&self.cut) => {
                bridge.plug(node, false);
                self.cut.push((node, until));
            }
            _ => {}
        }
    }
    /// Ends what is over by then.
    fn heal(&mut self, home: &mut Home, bridge: &Bridge, by: Instant) {
        let over = |(_, until): &mut (usize, Instant)| *until <= by;
        self.cut.extract_if(.., over).for_each(|(node, _)| bridge.plug(node, true));
        self.dead.extract_if(.., over).for_each(|(node, _)| start(home, node));
        if let Some((node, _)) = self.frozen.filter(|(_, until)| *until <= by) {
            freeze(home, node, false);
            self.frozen = None;
        }
    }
}

fn kill(home: &mut Home, node: usize) {
    match node {
        TRACKER => home.tracker.kill(),
        n => home[n - 1].kill(),
    }
}
fn start(home: &mut Home, node: usize) {
    match node {
        TRACKER => home.tracker.start(),
        n => home[n - 1].start_unready(),
    }
}
fn freeze(home: &mut Home, node: usize, frozen: bool) {
    match node {
        TRACKER => home.tracker.running().freeze(frozen),
        n => home[n - 1].running().freeze(frozen),
    }
}

/// A home with each node in its namespace.
fn settle(bridge: &Bridge, narrow: &mut Option<Small>) -> Home {
    let dir = Dir::new("torture");
    let mut home = Home::found_inside(dir, bridge.namespace(TRACKER), &Bridge::address(TRACKER));
    for d in 0..DEVICES {
        let name = format!("dev{d}");
        if d == NARROW {
            *narrow = Some(Small::mount(&home.dir.path().join(&name), 3000));
        }
        let mut device = Device::new(home.dir.path(), &name);
        device.live_in(bridge.namespace(d + 1), &Bridge::address(d + 1));
        device.join(&home.invite());
        device.start();
        home.devices.push(device);
    }
    home
}

#[test]
fn nothing_is_lost_in_a_home_that_is_tortured() {
    if seconds() == 0 {
        return skipped("TORTURE_SECONDS=0: nothing was tortured in namespaces");
    }
    if !has_namespaces() {
        return;
    }
    let given = std::env::var("TORTURE_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0) >> 24);
    let _seed = Seed(seed);
    let bridge = Bridge::new(DEVICES + 1);
    let mut narrow = None;
    let mut home = settle(&bridge, &mut narrow);
    bridge.worsen(2, true);
    let (mut luck, mut ledger, mut faults) = (Luck(seed), Ledger::default(), Faults::default());
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut next = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let d = luck.below(DEVICES as u64) as usize;
        deed(&mut luck, &mut ledger, &home[d], d);
        std::thread::sleep(Duration::from_millis(luck.below(40)));
        if Instant::now() >= next {
            faults.step(&mut luck, &mut home, &bridge);
            next = Instant::now() + Duration::from_millis(200 + luck.below(400));
        }
    }
    // All of it is over.
    faults.heal(&mut home, &bridge, Instant::now() + Duration::from_secs(3600));
    bridge.worsen(2, false);
    narrow.as_ref().unwrap().resize(300_000);
    home.devices.iter_mut().for_each(|d| assert!(d.running().runs(), "{}", d.last_words()));
    home.equals_within(WAIT);
    judge(&home, &ledger);
    tidies_up(&home);
    // Nor is anything lost, or left, when all start anew.
    for device in &mut home.devices {
        device.stop();
        device.start();
    }
    let tree = home.converge_within(WAIT);
    judge(&home, &ledger);
    tidies_up(&home);
    assert!(!tree.is_empty() && ledger.0.len() > 20, "{} contents", ledger.0.len());
    // What is mounted goes before the directory does.
    home.devices.iter_mut().for_each(Device::kill);
    drop(narrow);
}

/// What was given up half fetched goes.
fn tidies_up(home: &Home) {
    for device in &home.devices {
        let until = Instant::now() + WAIT;
        while !device.part_files().is_empty() {
            let left = device.part_files();
            assert!(Instant::now() < until, "{}: {left:?} are left{}", device.name, device.last_words());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// All that users closed and did not do away with is there; and nothing that they did not write.
fn judge(home: &Home, ledger: &Ledger) {
    let mut kept = Vec::new();
    for device in &home.devices {
        for path in device.tree().keys() {
            let Some(bytes) = device.get(path.as_os_str().as_encoded_bytes()) else { continue };
            // A look may have come while a user was writing.
            let known = ledger.0.contains_key(&bytes) || ledger.0.keys().any(|k| k.starts_with(&bytes));
            assert!(known, "{}: {}: what no user wrote", device.name, path.display());
            kept.push(bytes);
        }
        kept.extend(device.trash());
    }
    for (bytes, (d, taken)) in &ledger.0 {
        // Where room is short, trash is given up.
        let exempt = *taken || *d == NARROW;
        assert!(exempt || kept.contains(bytes), "lost: {} bytes that dev{d}'s user wrote", bytes.len());
    }
}
