//! Stories about a home, each a few sentences, that random seeds reach too seldom: what they promise breaks when the rule
//! behind it is left out (`dartsync_core::mutant`).

mod disk;
mod hearsay;
mod home;
mod moved;
mod versions;

use super::check::visible;
use super::device::Device;
use super::fs::{Bytes, Fs};
use super::rand::Rand;
use super::world::{Pool, SECOND, World};
use crate::mem_index::MemIndex;
use std::thread;

/// A story.
pub struct Story {
    /// What it shows.
    pub name: &'static str,
    devices: usize,
    /// Times on disk are multiples of it (ns).
    grain: i64,
    /// Bytes of the tracker's table.
    memory: usize,
    tell: fn(&mut World<'_>),
}

const fn story(name: &'static str, devices: usize, tell: fn(&mut World<'_>)) -> Story {
    Story { name, devices, grain: 1, memory: 1 << 20, tell }
}

/// All of them.
pub fn stories() -> impl Iterator<Item = &'static Story> {
    let disks = disk::STORIES.iter().chain(moved::STORIES);
    versions::STORIES.iter().chain(disks).chain(home::STORIES).chain(hearsay::STORIES)
}

impl Story {
    /// Tells it, on a thread with room for the machines; what it broke.
    pub fn tell(&'static self) -> Result<(), String> {
        let told = thread::Builder::new().stack_size(64 << 20).spawn(|| {
            let mut pool = Pool::new(self.memory);
            let mut w = World::new(1, self.devices, &mut pool);
            w.devices =
                (0..self.devices).map(|i| Device::with_grain(i, Rand::new(i as u64), self.grain)).collect();
            w.audits = true;
            w.print = std::env::var_os("SIM_EXPLAIN").is_some();
            w.start_tracker(false);
            w.gather();
            w.same();
            (self.tell)(&mut w);
            w.judge();
            w.verdict().map(str::to_owned)
        });
        let told = told.expect("a thread").join().map_err(|p| {
            let text = p.downcast_ref::<String>().map(String::as_str);
            text.or(p.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
        })?;
        told.map_or(Ok(()), Err)
    }
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// What a device keeps, as a copy of its machine has it.
struct Copied(MemIndex, Fs);

impl World<'_> {
    /// A user gives a path that content.
    fn write(&mut self, d: usize, path: &str, text: &str) {
        self.put(d, path.as_bytes(), Bytes::file(text.as_bytes())).expect("it can be written");
    }
    pub(super) fn same(&mut self) {
        self.converge(120 * SECOND);
        assert_eq!(self.verdict(), None);
    }
    pub(super) fn paths(&self, d: usize) -> Vec<String> {
        visible(&self.devices[d]).keys().map(|p| String::from_utf8_lossy(p).into_owned()).collect()
    }
    /// Where a device shows that content.
    fn shows(&self, d: usize, text: &str) -> Vec<String> {
        let id = Bytes::file(text.as_bytes()).id;
        let all = visible(&self.devices[d]).into_iter().filter(|e| e.1.3 == id);
        all.map(|e| String::from_utf8_lossy(&e.0).into_owned()).collect()
    }
    fn copy(&self, d: usize) -> Copied {
        let mut ix = self.devices[d].ix.clone();
        ix.crash();
        Copied(ix, self.devices[d].fs.clone())
    }
    /// A stopped device's store and disk are that copy from now on.
    fn bring_back(&mut self, d: usize, copy: Copied) {
        assert!(!self.devices[d].is_up());
        (self.devices[d].ix, self.devices[d].fs) = (copy.0, copy.1);
        self.devices[d].fs.reset();
        self.forgets(d);
    }
    /// The tracker takes a device's holder bits of the first record away before the device has said that it lacks it.
    fn bits_go(&mut self, d: usize) {
        use dartsync_core::wire::message::{ToTracker, decode};
        self.recorded = Some(Vec::new());
        let gone = (0..100_000).any(|_| {
            self.run_for(100);
            let t = self.station.tracker.as_ref().expect("it runs");
            let slot = t.roster().device_by_key(&self.devices[d].key).map(|s| s.0);
            let entry = t.table().next_after(dartsync_core::ids::Seq(0)).expect("a file");
            slot.is_some_and(|s| !entry.holders().has(s) && self.devices[d].link.is_some())
        });
        let said = self.recorded.take().expect("just set");
        let lack = |f: &(bool, Vec<u8>)| f.0 && matches!(decode(&f.1), Some(ToTracker::Lack { .. }));
        assert!(gone && !said.iter().any(lack), "the tracker thought that D{d} has it");
    }
    /// A stopped device has a tag that nobody ever used, as after a new store; what it knows stays.
    fn retag(&mut self, d: usize, tag: u32) {
        use dartsync_core::peer::{DEVICE, Index, Number};
        let ix = &mut self.devices[d].ix;
        ix.set_number(DEVICE, Number::Tag, tag.into());
        ix.set_number(DEVICE, Number::Counter, 0);
        ix.set_number(DEVICE, Number::Epoch, 0);
        ix.commit();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_story_ends_well() {
        let bad: Vec<_> = super::stories().filter_map(|s| Some((s.name, s.tell().err()?))).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}
