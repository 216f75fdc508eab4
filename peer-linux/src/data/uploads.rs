//! Who is served now: devices in turn, by bytes, a few answers at a time, within the limit. A link that has to wait is
//! woken when its device's turn has come.

use super::link::Link;
use dartsync_core::data::{Limit, Turns};
use dartsync_core::ids::Slot;
use dartsync_core::limits::CHUNK_MAX;
use dartsync_core::time::Instant;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Answers that are read at a time: while one waits for the disk, others need not.
const AT_ONCE: u32 = 4;
/// A link that waits for its turn looks so often by itself, should nobody wake it.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub struct Uploads(Mutex<State>);

struct State {
    turns: Turns,
    /// Links that wait for their device's turn, in the order in which they came.
    queue: Vec<Arc<Link>>,
    limit: Limit,
    /// Under the limit: when a device may be served again.
    held: HashMap<Slot, Instant>,
}

impl Default for Uploads {
    fn default() -> Uploads {
        let (queue, limit, held) = (Vec::new(), Limit::NONE, HashMap::new());
        Uploads(Mutex::new(State { turns: Turns::new(AT_ONCE), queue, limit, held }))
    }
}

impl Uploads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread panics with it")
    }
    /// No more bytes a second go out; none: no limit.
    pub fn limit(&self, rate: Option<u64>) {
        let mut state = self.state();
        state.limit.set(rate);
        state.held.clear();
    }
    /// A link has something to serve: how many bytes it may lay out now, if less than a chunk is laid out, and then
    /// [`Uploads::end`] is to be called; or how long to wait before it asks again.
    pub fn begin(&self, at: Instant, link: &Arc<Link>) -> Result<usize, Duration> {
        let mut state = self.state();
        if let Some(until) = state.held.get(&link.slot).copied().filter(|until| *until > at) {
            // Nor do its other links keep a turn from others meanwhile.
            state.drop_from_queue(|l| l.slot == link.slot, link.slot);
            return Err(Duration::from_micros(until.since(at).0));
        }
        let begins = state.turns.begin(link.slot);
        state.queue.retain(|l| !Arc::ptr_eq(l, link));
        if !begins {
            state.queue.push(link.clone());
            return Err(LOOK);
        }
        if state.queue.iter().any(|l| l.slot == link.slot) {
            state.turns.waits(link.slot);
        }
        // Under a limit, one answer at a time.
        Ok(if state.limit.is_set() { 1 } else { CHUNK_MAX })
    }
    /// It has laid out so many.
    pub fn end(&self, at: Instant, link: &Link, bytes: usize) {
        let mut state = self.state();
        state.turns.end(link.slot, bytes as u64);
        if state.limit.is_set() {
            let until = state.limit.take(at, bytes as u64);
            state.held.insert(link.slot, until);
        }
        state.call();
    }
    /// A link has nothing to serve any more, or cannot send it now.
    pub fn leave(&self, link: &Arc<Link>) {
        self.state().drop_from_queue(|l| Arc::ptr_eq(l, link), link.slot);
    }
}

impl State {
    /// Takes links of a device off that wait.
    fn drop_from_queue(&mut self, off: impl Fn(&Arc<Link>) -> bool, slot: Slot) {
        let before = self.queue.len();
        self.queue.retain(|l| !off(l));
        if self.queue.len() < before {
            if self.queue.iter().all(|l| l.slot != slot) {
                self.turns.leave(slot);
            }
            self.call();
        }
    }
    /// Wakes whose turn it is.
    fn call(&self) {
        let next = self.turns.next();
        self.queue.iter().find(|l| Some(l.slot) == next).inspect(|l| l.rouse());
    }
}
