//! Who is served now: devices in turn, by bytes, a few answers at a time. Under a limit, one at a time and a part of an
//! answer each: all that ask hear something every few seconds, however low it is, and none takes this device for dead.
//! A link that has to wait is woken when its device's turn has come.

use super::link::Link;
use dartsync_core::data::message::BODY;
use dartsync_core::data::{Limit, Turns};
use dartsync_core::ids::Slot;
use dartsync_core::time::Instant;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Answers that are read at a time: while one waits for the disk, others need not.
const AT_ONCE: u32 = 4;
/// A link that waits for its turn looks so often by itself, should nobody wake it.
const LOOK: Duration = Duration::from_millis(50);
/// Under a limit, a turn is what may go in this part of a second: 63 devices then wait for 4 s at most
/// (5 s at the lowest limit).
const PARTS: u64 = 16;
/// But not less: the other end counts it as progress only from 4 KiB on.
const PART_MIN: u64 = 8 * 1024;

/// See the module.
pub struct Uploads(Mutex<State>);

struct State {
    turns: Turns,
    /// Links that wait for their device's turn, in the order in which they came.
    queue: Vec<Arc<Link>>,
    limit: Limit,
    /// A turn's bytes under the limit.
    part: usize,
    /// Turns that have begun and not ended.
    under_way: u32,
}

impl Default for Uploads {
    fn default() -> Uploads {
        let (turns, queue, limit) = (Turns::new(AT_ONCE), Vec::new(), Limit::NONE);
        Uploads(Mutex::new(State { turns, queue, limit, part: BODY, under_way: 0 }))
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
        state.part = (rate.unwrap_or(0) / PARTS).clamp(PART_MIN, BODY as u64) as usize;
        state.queue.iter().for_each(|l| l.rouse());
    }
    /// A link has something to serve. It may send this much now, none: as much as a turn is without a limit, and then
    /// [`Uploads::end`] is to be called; or how long to wait before it asks again.
    pub fn begin(&self, at: Instant, link: &Arc<Link>) -> Result<Option<usize>, Duration> {
        let mut state = self.state();
        let begins = match state.limit.is_set() {
            true => state.begin_limited(at, link.slot),
            false => state.turns.begin(link.slot),
        };
        state.queue.retain(|l| !Arc::ptr_eq(l, link));
        if !begins {
            state.queue.push(link.clone());
            let free = Duration::from_micros(state.limit.free(at).since(at).0);
            let first = !free.is_zero() && state.turns.next() == Some(link.slot);
            return Err(if first { free } else { free.max(LOOK) });
        }
        state.under_way += 1;
        if state.queue.iter().any(|l| l.slot == link.slot) {
            state.turns.waits(link.slot);
        }
        Ok(state.limit.is_set().then_some(state.part))
    }
    /// It sends so many.
    pub fn end(&self, at: Instant, link: &Link, bytes: usize) {
        let mut state = self.state();
        state.under_way -= 1;
        state.turns.end(link.slot, bytes as u64);
        state.limit.take(at, bytes as u64);
        state.call();
    }
    /// A link has nothing to serve any more, or cannot send it now.
    pub fn leave(&self, link: &Arc<Link>) {
        self.state().drop_from_queue(|l| Arc::ptr_eq(l, link), link.slot);
    }
}

impl State {
    /// Whoever it is that asks: what went before has to be paid for first, on whatever link it went.
    fn begin_limited(&mut self, at: Instant, slot: Slot) -> bool {
        self.turns.waits(slot);
        let may = self.under_way == 0 && self.limit.free(at) <= at && self.turns.next() == Some(slot);
        may && self.turns.begin(slot)
    }
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
