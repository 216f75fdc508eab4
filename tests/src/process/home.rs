//! A tracker and devices that share one folder.

use super::{Device, Dir, PATIENCE, Tracker, Tree, difference, tree};
use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

/// A home: all of it ends, and its files go, when dropped.
#[derive(Debug)]
pub struct Home {
    /// The tracker.
    pub tracker: Tracker,
    /// The devices, in the order they joined: `dev0`, `dev1`, ….
    pub devices: Vec<Device>,
    /// Where everything lies.
    pub dir: Dir,
}

impl Home {
    /// A tracker and `count` enrolled, running devices.
    pub fn start(name: &str, count: usize) -> Home {
        let mut home = Home::found(name);
        for _ in 0..count {
            home.add();
        }
        home
    }
    /// A running tracker without devices.
    pub fn found(name: &str) -> Home {
        Home::found_with(name, &[])
    }
    /// [`Home::found`] with more arguments for the tracker.
    pub fn found_with(name: &str, more: &[&str]) -> Home {
        Home::found_in(Dir::new(name), more)
    }
    /// [`Home::found_with`] in a directory of the caller's choice.
    pub fn found_in(dir: Dir, more: &[&str]) -> Home {
        let mut tracker = Tracker::with(dir.path(), more);
        tracker.start();
        Home { tracker, devices: Vec::new(), dir }
    }
    /// [`Home::found_in`], its tracker in a network namespace, reached at that address.
    pub fn found_inside(dir: Dir, namespace: &str, address: &str) -> Home {
        let mut tracker = Tracker::new(dir.path());
        tracker.live_in(namespace, address);
        tracker.start();
        Home { tracker, devices: Vec::new(), dir }
    }
    /// One more device, invited, joined, running; its number.
    pub fn add(&mut self) -> usize {
        let number = self.devices.len();
        let mut device = Device::new(self.dir.path(), &format!("dev{number}"));
        device.join(&self.invite());
        device.start();
        self.devices.push(device);
        number
    }
    /// A code for one more device.
    pub fn invite(&mut self) -> String {
        match self.devices.iter().find(|d| d.program.is_some()) {
            Some(device) => device.invite(),
            None => self.tracker.invite(),
        }
    }
    /// Waits until all running devices hold the same tree, say that they are in sync, and hold it still.
    pub fn converge(&self) -> Tree {
        self.converge_within(PATIENCE)
    }
    /// [`Home::converge`] with a limit of its own.
    pub fn converge_within(&self, limit: Duration) -> Tree {
        let running: Vec<&Device> = self.devices.iter().filter(|d| d.program.is_some()).collect();
        self.converge_of_within(&running, limit)
    }
    /// [`Home::converge`] of some devices.
    pub fn converge_of(&self, devices: &[&Device]) -> Tree {
        self.converge_of_within(devices, PATIENCE)
    }
    /// Waits until all devices hold the same tree, whatever they say.
    pub fn equals_within(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let all: Vec<&Device> = self.devices.iter().collect();
        while let Err(why) = self.equal(&all) {
            assert!(Instant::now() < until, "not equal within {limit:?}: {why}{}", self.last_words());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    fn converge_of_within(&self, devices: &[&Device], limit: Duration) -> Tree {
        let until = Instant::now() + limit;
        loop {
            let why = match self.equal(devices) {
                Ok(tree) => {
                    devices.iter().for_each(|d| self.must_be_in_sync(d, limit));
                    match self.equal(devices) {
                        Ok(after) if after == tree => return tree,
                        Ok(_) => "it changed after all said that they were in sync".into(),
                        Err(why) => format!("after all said that they were in sync: {why}"),
                    }
                }
                Err(why) => why,
            };
            assert!(Instant::now() < until, "not equal within {limit:?}: {why}{}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    /// Lets all running devices hear of everything, then compares what each says of itself with the files.
    pub fn status_is_true(&self) {
        let tree = self.converge();
        for device in self.devices.iter().filter(|d| d.program.is_some()) {
            let folder = device.folder("");
            let sizes = tree.values().filter_map(|thing| match thing {
                super::Thing::File(_, _, size, _) => Some(*size),
                _ => None,
            });
            let (count, bytes) = sizes.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
            let told = (folder["files"].as_u64(), folder["bytes"].as_u64());
            assert_eq!(told, (Some(count), Some(bytes)), "{}: {folder}", device.name);
            assert_eq!(folder["state"], "in sync", "{}: {folder}", device.name);
        }
    }
    /// The ends of all logs.
    pub fn last_words(&self) -> String {
        self.devices.iter().map(|d| format!("\n  {}:{}", d.name, d.last_words())).collect()
    }
    fn equal(&self, devices: &[&Device]) -> Result<Tree, String> {
        let mut trees = Vec::new();
        for device in devices {
            trees.push(tree(&device.root).map_err(|e| format!("{}: in motion: {e}", device.name))?);
        }
        let first = trees.remove(0);
        for (device, other) in devices[1..].iter().zip(&trees) {
            if let Some(d) = difference(&first, other) {
                return Err(format!("{} and {}: {d}", devices[0].name, device.name));
            }
        }
        Ok(first)
    }
    fn must_be_in_sync(&self, device: &Device, limit: Duration) {
        let out = device.try_say(&["wait", "--timeout", &limit.as_secs().to_string()]);
        let why = String::from_utf8_lossy(&out.stdout);
        assert!(
            out.status.success(),
            "equal, but {} is not in sync: {why}{}",
            device.name,
            self.last_words()
        );
    }
}

impl Index<usize> for Home {
    type Output = Device;
    fn index(&self, at: usize) -> &Device {
        &self.devices[at]
    }
}

impl IndexMut<usize> for Home {
    fn index_mut(&mut self, at: usize) -> &mut Device {
        &mut self.devices[at]
    }
}
