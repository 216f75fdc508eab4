//! What is believed of the tags that an announced vector names.

use super::Tracker;
use super::table::TAGS;
use crate::ids::Slot;
use crate::limits;
use crate::record::Record;

/// Tags that one device may bring into the table in an epoch, beside those of active devices: as many as a roster
/// remembers of those given up, and no more than leaves the others their shares ([`Tracker::share`]).
const STRANGE: usize = limits::GIVEN_UP_TAGS;
/// So many new tags of its own it may take besides and have them reckoned as any device's own (R4).
const STORES: usize = 1;

/// Tags that came into the table on one device's account in an epoch.
#[derive(Clone, Copy)]
pub(super) struct Brought {
    /// Those of no active device.
    pub(super) strange: usize,
    /// New ones of its own.
    pub(super) stores: usize,
}

impl Brought {
    pub(super) const NONE: Brought = Brought { strange: 0, stores: 0 };

    /// All of them: from the second on, those of its own are strange when they come into the table.
    fn count(self) -> usize {
        self.strange + self.stores.min(STORES)
    }
}

impl Tracker<'_> {
    /// A device names a counter of its own tag, or of one that follows it: they have one counter.
    pub(super) fn witness(&mut self, slot: Slot, r: &Record) {
        let Some(device) = self.roster.device(slot) else { return };
        let witnessed = &mut self.peers[slot.0 as usize].witnessed;
        *witnessed = witnessed.map(|w| w.max(r.version.get_store(device.tag)));
    }
    /// Whether a record names a counter of another device's tag, or of one that follows it, that cannot be: the tag's whole
    /// life was seen here, and its owner never named it. Else one device could make out that the store of another went back
    /// in time (R4). Of tags from before this tracker's start anything is believed: what others know of them shows that it did.
    pub(super) fn is_beyond_witness(&self, by: Slot, r: &Record) -> bool {
        self.roster
            .devices()
            .filter(|(s, _)| *s != by)
            .any(|(s, d)| self.peers[s.0 as usize].witnessed.is_some_and(|w| r.version.get_store(d.tag) > w))
    }
    /// How many tags the record would bring into the table on this device's account; none if that is too many.
    pub(super) fn strange_tags(&self, by: Slot, r: &Record) -> Option<usize> {
        let brought = self.peers[by.0 as usize].brought;
        let before = brought.count();
        let own = before <= STRANGE && brought.stores <= STORES;
        let is_common = |tag| {
            let owner = self.roster.device_by_tag(tag).map(|(s, _)| s);
            self.files.table().knows_tag(tag) || owner.is_some_and(|s| s != by || own)
        };
        let parent = r.parent.map(|p| p.tag).filter(|t| r.version.get(*t) == 0);
        let tags = r.version.entries().iter().map(|e| e.tag).chain(parent);
        let more = tags.filter(|t| !is_common(*t)).count();
        let total = before + more;
        let share = self.share();
        let may = total <= STRANGE && more <= self.common_tags(by, if total <= share { 0 } else { share });
        (more == 0 || may).then_some(more)
    }
    /// How many tags each device may bring into the table whatever the others do: half of what it has room for beside
    /// their own is shared out.
    fn share(&self) -> usize {
        let devices = self.roster.devices().count().max(1);
        TAGS.saturating_sub(devices) / (2 * devices)
    }
    /// How many more there is room for once every other device has that share, and each that a home can have its own: what
    /// a device brought in stays when it is put out, and whoever comes then must find a place.
    fn common_tags(&self, by: Slot, share: usize) -> usize {
        let table = self.files.table();
        let known = self.roster.devices().filter(|(_, d)| table.knows_tag(d.tag)).count();
        let others = self.roster.devices().filter(|(s, _)| *s != by);
        let shares = others.map(|(s, _)| share.saturating_sub(self.peers[s.0 as usize].brought.count()));
        table.spare_tags().saturating_sub(limits::DEVICES - known + shares.sum::<usize>())
    }
}
