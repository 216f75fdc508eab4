//! Displaced inodes that may still be written to (R12): a program that has one open writes on, without any event.

use super::hash::content_of;
use super::lease::{Writers, writers};
use super::root::{Root, lock};
use super::stat::{file_stat, is_same_data, wall};
use dartsync_core::ids::ContentId;
use dartsync_core::peer::Stat;
use std::fs::File;
use std::time::{Duration, Instant};

/// Inodes watched; the oldest that nobody seems to write to give way.
const MOST: usize = 64;
/// Inodes watched while all of them have writers.
const MOST_WRITTEN: usize = 256;
/// How long one is watched whose writers cannot be known, after the last change seen.
const PATIENCE: Duration = Duration::from_secs(600);
/// An mtime this close to the displacing, ns, could hide a later write of the same tick.
const TICK: i64 = 20_000_000;

/// A file that was just displaced.
pub(super) struct Displaced {
    /// Open for reading.
    pub file: File,
    /// Where it lies, below `.dartsync/trash`.
    pub at: Vec<u8>,
    /// The path it had.
    pub path: Vec<u8>,
    /// Whose it was.
    pub n: u64,
    /// Its content then.
    pub content: Option<ContentId>,
    /// Its stat then.
    pub was: Stat,
    /// Whether it had no writer then.
    pub sure: bool,
}

/// A displaced file that was written to afterwards: its user's edit, which belongs in a conflict copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewritten {
    /// Where it lies, below `.dartsync/trash`.
    pub at: Vec<u8>,
    /// The path it had.
    pub path: Vec<u8>,
    /// Whose it was; 0: not known.
    pub n: u64,
    /// Its content now.
    pub content: ContentId,
    /// Its stat now.
    pub stat: Stat,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be asked once more: an opener may have come in at the last instant.
    Fresh,
    /// It has a writer.
    Written,
    /// Whether it has one is not to be known.
    Unknown,
}

struct Watched {
    it: Displaced,
    state: State,
    /// As last seen.
    seen: Stat,
    /// When it was last seen to change.
    since: Instant,
    /// It changed, and was not hashed since.
    due: bool,
}

/// All of a root.
#[derive(Default)]
pub(super) struct Watch {
    items: Vec<Watched>,
    /// Places of items that a running poll has taken out.
    polled: Vec<Vec<u8>>,
}

impl Watch {
    /// Whether an item of the trash is watched, and therefore stays.
    pub(super) fn is_watched(&self, at: &[u8]) -> bool {
        self.items.iter().any(|w| w.it.at == at) || self.polled.iter().any(|p| p == at)
    }

    /// An item left the trash.
    pub(super) fn forget(&mut self, at: &[u8]) {
        self.items.retain(|w| w.it.at != at);
        self.polled.retain(|p| p != at);
    }
}

impl Root {
    /// Watches a displaced file until it surely has no writer.
    pub(super) fn watch_displaced(&self, it: Displaced) {
        let seen = file_stat(&it.file).unwrap_or(it.was);
        let state = if it.sure { State::Fresh } else { State::Unknown };
        let due = !is_same_data(&seen, &it.was);
        let mut watch = lock(&self.watch);
        watch.items.push(Watched { it, state, seen, since: Instant::now(), due });
        if watch.items.len() > MOST {
            make_room(&mut watch.items);
        }
    }

    /// How many displaced files are watched: while there are any, [`Root::poll_displaced`] is due every few hundred ms.
    pub fn displaced(&self) -> usize {
        lock(&self.watch).items.len()
    }

    /// Looks at the displaced files that are watched, and tells those that were written to and closed since they were
    /// displaced. Hashes what it doubts, so it belongs on a worker thread; one at a time.
    pub fn poll_displaced(&self) -> Vec<Rewritten> {
        let items = {
            let mut watch = lock(&self.watch);
            watch.polled = watch.items.iter().map(|w| w.it.at.clone()).collect();
            std::mem::take(&mut watch.items)
        };
        let mut told = Vec::new();
        let mut stay = Vec::new();
        for mut item in items {
            if item.look(&mut told) {
                stay.push(item);
            }
        }
        let mut watch = lock(&self.watch);
        // What left the trash meanwhile is a live file again.
        stay.retain(|w| watch.polled.contains(&w.it.at));
        told.retain(|r| watch.polled.contains(&r.at));
        watch.items.extend(stay);
        watch.polled.clear();
        told
    }
}

/// Drops the one that needs watching least.
fn make_room(items: &mut Vec<Watched>) {
    for i in 0..items.len() - 1 {
        if items[i].state == State::Fresh && !items[i].due && !items[i].is_racy() {
            if writers(&items[i].it.file) == Writers::None && !items[i].has_changed() {
                items.remove(i);
                return;
            }
            items[i].state = State::Written;
        }
    }
    if items.len() > MOST_WRITTEN {
        let i = items.iter().position(|w| w.state != State::Written).unwrap_or(0);
        items.remove(i);
    }
}

impl Watched {
    fn is_racy(&self) -> bool {
        self.it.was.mtime > (wall() as i64).saturating_mul(1000).saturating_sub(TICK)
            || self.it.was.mtime > self.seen.ctime.saturating_sub(TICK)
    }

    fn has_changed(&self) -> bool {
        file_stat(&self.it.file).map_or(true, |now| !is_same_data(&now, &self.it.was))
    }

    /// Looks at it once; false when it need not be watched any more.
    fn look(&mut self, told: &mut Vec<Rewritten>) -> bool {
        match writers(&self.it.file) {
            Writers::Some => {
                self.state = State::Written;
                self.since = Instant::now();
                true
            }
            Writers::None => {
                let doubt = self.state != State::Fresh || self.due || self.is_racy() || self.has_changed();
                if doubt {
                    told.extend(self.compare());
                }
                false
            }
            Writers::Unknown => self.look_blindly(told),
        }
    }

    /// Without leases: a change is told when it has been quiet from one look to the next.
    fn look_blindly(&mut self, told: &mut Vec<Rewritten>) -> bool {
        self.state = State::Unknown;
        let Ok(now) = file_stat(&self.it.file) else { return false };
        if now != self.seen {
            (self.seen, self.due, self.since) = (now, true, Instant::now());
        } else if self.due {
            self.due = false;
            if let Some(found) = self.compare() {
                (self.it.content, self.it.was) = (Some(found.content), found.stat);
                told.push(found);
            }
        }
        self.since.elapsed() < PATIENCE
    }

    /// Its content, if that is another than when it was displaced.
    fn compare(&self) -> Option<Rewritten> {
        let stat = file_stat(&self.it.file).ok()?;
        let content = content_of(&self.it.file).ok()?;
        let same = match self.it.content {
            Some(was) => was == content,
            None => is_same_data(&stat, &self.it.was),
        };
        let it = &self.it;
        (!same).then(|| Rewritten { at: it.at.clone(), path: it.path.clone(), n: it.n, content, stat })
    }
}
