//! What is known of a device as a source: whether it can be reached, and how much it is worth asking of it at once.

use super::super::message::ASKS;
use crate::limits;
use crate::time::{Duration, Instant};

/// Bytes asked of a source at once: at first, at least, at most.
const WINDOW: u32 = 2 << 20;
const WINDOW_MIN: u32 = 256 << 10;
const WINDOW_MAX: u32 = 8 << 20;
/// The window holds what the source delivers in this time.
const AHEAD: Duration = Duration::millis(250);
/// A speed is measured over at least this.
const MEASURE: Duration = Duration::millis(100);
/// Asks that are out at one source, whatever their bytes: fewer than it keeps waiting.
const COUNT: u16 = ASKS as u16 - 16;
/// Asks and bytes beyond these that are kept for small contents: they do not wait behind large ones.
const SPARE: u16 = 12;
const BYTES: u32 = limits::CHUNK_MAX as u32;
/// A link that ends so soon without having brought anything counts as a failed dial.
const STILLBORN: Duration = Duration::secs(1);
/// One that had too much to do so long ago may have time again.
const PAST: Duration = Duration::secs(1);

/// An unreachable device may still dial back within this.
const DIAL_BACK: Duration = Duration::secs(3);
/// It is tried again after this; when it has failed for the longer of the two, after that.
const AGAIN: Duration = Duration::secs(1);
const AGAIN_LONG: Duration = Duration::secs(10);

/// How a device can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not tried.
    Off,
    /// Being dialled.
    Dialling,
    /// A link stands since then.
    Open(Instant),
    /// The last try to reach it failed, then.
    Failed(Instant),
}

/// A device as a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub state: State,
    /// Since when nothing came from it, every try to reach it or its link having failed.
    failing: Option<Instant>,
    /// What is out.
    pub bytes: u32,
    pub count: u16,
    pub window: u32,
    /// Bytes a second, 0 = not measured; and a first guess.
    rate: u64,
    first: u64,
    /// When it last brought anything, or was asked when nothing was out.
    pub progress: Instant,
    /// Not to be asked before.
    pub pause: Option<Instant>,
    /// When it first and last had too much to do, if it has done nothing in between.
    busy: Option<(Instant, Instant)>,
    /// How long it has been silent over asks that were taken from it, since it last brought anything.
    stalled: Duration,
    measured: (Instant, u64),
    /// When the latest of what it has answered was asked.
    pub answered: Instant,
    /// Bytes it brought on this link.
    brought: u64,
}

impl Source {
    pub(super) const fn new() -> Source {
        Source {
            state: State::Off,
            failing: None,
            bytes: 0,
            count: 0,
            window: WINDOW,
            rate: 0,
            first: 0,
            progress: Instant(0),
            pause: None,
            busy: None,
            stalled: Duration(0),
            measured: (Instant(0), 0),
            answered: Instant(0),
            brought: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }
    /// Whether the last try to reach it failed.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.state, State::Failed(_))
    }
    /// Whether to ask it for more. A window that was full is filled again when a quarter of it is free: answers then
    /// make a few batches of asks instead of one each.
    pub(super) fn has_room(&self) -> bool {
        self.is_open() && self.pause.is_none() && self.count < COUNT && self.bytes < self.window
    }
    /// Whether to ask it for a small content, though it may have as much to bring as it should of large ones.
    pub(super) fn has_room_for_small(&self) -> bool {
        self.is_open()
            && self.pause.is_none()
            && self.count < COUNT + SPARE
            && self.bytes < self.window + BYTES
    }
    /// Whether it had too much to do for what it was asked last.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }
    /// How full it is, in thousandths; one that stalled comes after all others.
    pub(super) fn load(&self) -> u64 {
        self.bytes as u64 * 1000 / self.window as u64 + self.count as u64 + self.stalled.0
    }
    /// How long it has owed something and brought nothing, or had too much to do for anything.
    pub(super) fn silence(&self, at: Instant) -> Duration {
        let now = if self.count > 0 { at.since(self.progress).0 } else { 0 };
        let busy = self.busy.map_or(0, |(first, last)| last.since(first).0);
        Duration((self.stalled.0 + now).max(busy))
    }
    /// Bytes a second, as far as it is known.
    pub(super) fn speed(&self) -> Option<u64> {
        [self.rate, self.first].into_iter().find(|r| *r > 0)
    }
    /// How long until what is out, and so much more, will be here.
    pub(super) fn backlog(&self, more: u32) -> Duration {
        match self.speed() {
            None => Duration::secs(1),
            Some(r) => Duration((self.bytes + more) as u64 * 1_000_000 / r),
        }
    }

    pub(super) fn opened(&mut self, at: Instant) {
        let (state, failing) = (State::Open(at), self.failing);
        *self = Source { state, failing, progress: at, rate: self.rate, ..Source::new() };
    }
    /// Its link ended.
    pub(super) fn closed(&mut self, at: Instant) {
        let stillborn =
            matches!(self.state, State::Open(since) if self.brought == 0 && at.since(since) < STILLBORN);
        *self = Source { failing: self.failing, rate: self.rate, ..Source::new() };
        if stillborn {
            self.failed(at);
        }
    }
    /// Its link was dead: it has failed for as long as that was silent.
    pub(super) fn died(&mut self, at: Instant, silence: Duration) {
        let since = Instant(at.0.saturating_sub(silence.0));
        self.closed(at);
        self.failing.get_or_insert(since);
        self.failed(at);
    }
    /// It could not be reached.
    pub(super) fn failed(&mut self, at: Instant) {
        self.state = State::Failed(at);
        self.failing.get_or_insert(at);
    }
    /// It is worth a try at once.
    pub(super) fn reachable(&mut self) {
        self.failing = None;
        if matches!(self.state, State::Failed(_)) {
            self.state = State::Off;
        }
    }
    /// Lets it be tried again, if the last try was a while ago: `eager`ly, or less often the longer it fails.
    pub(super) fn forgive(&mut self, at: Instant, eager: bool) {
        let State::Failed(last) = self.state else { return };
        let long = self.failing.is_some_and(|since| at.since(since) >= AGAIN_LONG);
        let wait = if long && !eager { AGAIN_LONG } else { AGAIN };
        if at.since(last) >= wait {
            self.state = State::Off;
        }
    }
    /// Whether it cannot be reached, and did not dial back either.
    pub(super) fn is_lost(&self, at: Instant) -> bool {
        let failing = self.failing.is_some_and(|since| at.since(since) >= DIAL_BACK);
        failing && matches!(self.state, State::Failed(_))
    }
    pub(super) fn asked(&mut self, at: Instant, len: u32) {
        self.busy = self.busy.filter(|(_, last)| at.since(*last) < PAST);
        if self.count == 0 {
            self.progress = at;
            self.measured = (at, 0);
        }
        self.count += 1;
        self.bytes += len;
    }
    /// An ask ended, whatever became of it.
    pub(super) fn ended(&mut self, len: u32) {
        self.count -= 1;
        self.bytes -= len;
    }
    /// Bytes came, of use or not.
    pub(super) fn progressed(&mut self, at: Instant) {
        self.progress = self.progress.max(at);
        self.stalled = Duration(0);
        (self.failing, self.busy) = (None, None);
    }
    /// It brought nothing for long: its asks go to others.
    pub(super) fn stalls(&mut self, at: Instant, until: Instant) {
        self.stalled = self.silence(at);
        self.progress = at;
        self.pause = Some(until);
    }
    /// What was asked then is answered.
    pub(super) fn answers(&mut self, at: Instant, asked: Instant) {
        self.progressed(at);
        self.answered = self.answered.max(asked);
    }
    /// A whole answer of so many bytes came to what was asked then.
    pub(super) fn delivered(&mut self, at: Instant, len: u32, asked: Instant) {
        self.answers(at, asked);
        self.brought += len as u64;
        self.measured.1 += len as u64;
        let span = at.since(self.measured.0);
        if span < MEASURE {
            if self.rate == 0 {
                self.first = self.measured.1 * 1_000_000 / span.0.max(1_000);
            }
            return;
        }
        let now = self.measured.1 * 1_000_000 / span.0;
        self.rate = if self.rate == 0 { now } else { (self.rate * 3 + now) / 4 };
        self.measured = (at, 0);
        let ahead = self.rate * AHEAD.0 / 1_000_000;
        self.window = ahead.clamp(WINDOW_MIN as u64, WINDOW_MAX as u64) as u32;
    }
    /// It has too much to do.
    pub(super) fn busy(&mut self, at: Instant, until: Instant) {
        let first = self.busy.map_or(at, |(first, _)| first);
        self.busy = Some((first, at));
        self.pause = Some(until);
        self.window = (self.window / 2).max(WINDOW_MIN);
    }
}
