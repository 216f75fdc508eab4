//! A home at work that is told whatever somebody likes: frames at both ends of its links, in any state.

use super::device::F;
use super::world::{Pool, SECOND, World};
use dartsync_core::ids::{LinkId, Ticket};
use dartsync_core::limits;
use dartsync_core::peer::{Cause, Effect, Outcome};
use dartsync_core::sans_io::Sent;
use dartsync_core::time::{Duration, Now};
use dartsync_core::tracker::Identity;
use dartsync_core::wire::message::Addr;

/// Bytes that decide what happens next; 0 when they are used up.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// All of them.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices(bytes)
    }
    /// The next one, if there is one.
    pub fn one(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    /// The next so many, or what is left.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        some
    }
    /// A copy of `bytes` with up to three of them changed, or cut short.
    pub fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..self.one().unwrap_or(0) % 4 {
            let at = usize::from(self.one().unwrap_or(0)) << 4 | usize::from(self.one().unwrap_or(0));
            let by = self.one().unwrap_or(0);
            match out.len() {
                0 => {}
                n if by == 0 => out.truncate(at % n),
                n => out[at % n] ^= by,
            }
        }
        out
    }
}

/// Steps of one drain that can only be a loop.
const ENDLESS: usize = 20_000;

/// A home of two that was at work, and the frames that it sent.
fn at_work(pool: &mut Pool) -> (World<'_>, Vec<(bool, Vec<u8>)>) {
    let mut w = World::new(7, 2, pool);
    w.recorded = Some(Vec::new());
    w.start_tracker(false);
    w.gather();
    for (d, path) in [(0, "a"), (1, "d/b"), (0, "d/c"), (1, "a")] {
        w.create(d, path.as_bytes()).expect("it can be written");
        w.run_for(2 * SECOND);
    }
    assert_eq!(w.verdict(), None);
    let frames = w.recorded.take().expect("just set");
    (w, frames)
}

/// Good frames, and whether they go to the tracker. Needs a large stack.
pub fn frames() -> Vec<(bool, Vec<u8>)> {
    at_work(&mut Pool::new(64 << 10)).1
}

/// Feeds both machines of a working home with what the bytes say: recorded frames, spoilt or not, and raw bytes, while
/// links break and time passes. Panics where a machine does, or does not come to rest. Needs a large stack.
pub fn torture(bytes: &[u8]) {
    let mut pool = Pool::new(64 << 10);
    let (w, frames) = at_work(&mut pool);
    let mut t = Torture { w, frames, now: [0; 3], links: [1000, 1001] };
    let mut c = Choices::new(bytes);
    (0..2).for_each(|d| t.reopen(d));
    while let Some(op) = c.one() {
        t.step(op, &mut c);
    }
}

struct Torture<'m> {
    w: World<'m>,
    frames: Vec<(bool, Vec<u8>)>,
    /// Time since (µs), of each machine.
    now: [u64; 3],
    links: [u32; 2],
}

impl Torture<'_> {
    fn now_of(&self, d: usize) -> Now {
        let mut now = self.w.devices[d].now(self.w.now);
        now.at = now.at + Duration(self.now[d]);
        now.wall += self.now[d];
        now
    }
    fn now_there(&self) -> Now {
        let mut now = self.w.station.now(self.w.now);
        now.at = now.at + Duration(self.now[2]);
        now
    }
    fn step(&mut self, op: u8, c: &mut Choices<'_>) {
        let (up, d) = (op & 1 != 0, usize::from(op >> 1 & 1));
        if op & 0x70 == 0 {
            let span = u64::from(c.one().unwrap_or(0)) * SECOND / 8;
            self.now.iter_mut().for_each(|n| *n += span);
        }
        let frame = match op & 0x0c {
            0 => {
                let n = usize::from(c.one().unwrap_or(0));
                c.take(n).to_vec()
            }
            _ => {
                let mine: Vec<&Vec<u8>> = self.frames.iter().filter(|f| f.0 == up).map(|f| &f.1).collect();
                let at = usize::from(c.one().unwrap_or(0)) << 3 | usize::from(op >> 5);
                c.spoil(mine[at % mine.len()])
            }
        };
        let taken = match up {
            true => self.tell_tracker(d, &frame),
            false => self.tell_peer(d, &frame),
        };
        if !taken || op == 0xff {
            self.reopen(d);
        }
    }
    fn tell_tracker(&mut self, d: usize, frame: &[u8]) -> bool {
        let (now, link) = (self.now_there(), LinkId(self.links[d]));
        let t = self.w.station.tracker.as_mut().expect("it runs");
        t.handle_timeout(now);
        let taken = t.handle_frame(now, link, frame).is_ok();
        self.drain_tracker();
        taken
    }
    fn tell_peer(&mut self, d: usize, frame: &[u8]) -> bool {
        let (now, link) = (self.now_of(d), LinkId(self.links[d]));
        let dev = &mut self.w.devices[d];
        let p = dev.peer.as_mut().expect("it runs");
        p.handle_timeout(&mut dev.ix, now);
        let taken = p.handle_frame(&mut dev.ix, now, link, frame).is_ok();
        self.drain_peer(d);
        taken
    }
    /// Another link between both, from a device that is known.
    fn reopen(&mut self, d: usize) {
        let (now, there) = (self.now_of(d), self.now_there());
        let old = LinkId(self.links[d]);
        self.links[d] += 2;
        let link = LinkId(self.links[d]);
        let dev = &mut self.w.devices[d];
        let p = dev.peer.as_mut().expect("it runs");
        p.handle_closed(&mut dev.ix, now, old);
        p.handle_open(&mut dev.ix, now, link);
        let who = Identity { key: dev.key, invite: None };
        let t = self.w.station.tracker.as_mut().expect("it runs");
        t.handle_closed(there, old);
        let _ = t.handle_open(there, link, who, Addr::V4([10, 0, 0, 1], 9));
        self.drain_peer(d);
        self.drain_tracker();
    }
    fn drain_tracker(&mut self) {
        let (now, links) = (self.now_there(), self.links);
        let t = self.w.station.tracker.as_mut().expect("it runs");
        let mut out = [0; limits::FRAME];
        let mut steps = 0;
        loop {
            let mut quiet = true;
            while t.poll_event().is_some() {
                quiet = false;
            }
            for link in links {
                quiet &= t.poll_transmit(now, LinkId(link), &mut out) == Sent::Idle;
            }
            steps += 1;
            assert!(steps < ENDLESS, "the tracker does not come to rest");
            if quiet {
                break;
            }
        }
        t.handle_timeout(now);
        while t.poll_event().is_some() {}
    }
    fn drain_peer(&mut self, d: usize) {
        let (now, link) = (self.now_of(d), LinkId(self.links[d]));
        let dev = &mut self.w.devices[d];
        let p = dev.peer.as_mut().expect("it runs");
        let mut out = [0; limits::FRAME];
        let mut steps = 0;
        loop {
            let mut quiet = true;
            while let Some(e) = p.poll_effect(&mut dev.ix, now) {
                quiet = false;
                steps += 1;
                assert!(steps < ENDLESS, "a peer does not come to rest: {e:?}");
                let ticket = super::words::name_of(&e).1;
                let outcome = match e {
                    Effect::Commit { .. } => {
                        dev.ix.commit();
                        Outcome::Done
                    }
                    Effect::Watch { .. }
                    | Effect::Scan { .. }
                    | Effect::Sync { .. }
                    | Effect::Flush { .. } => Outcome::Done,
                    _ => Outcome::Failed(Cause::Os(5)),
                };
                if ticket != Ticket(0) {
                    p.handle_done(&mut dev.ix, now, ticket, outcome);
                }
            }
            quiet &= p.poll_transmit(&mut dev.ix, now, link, &mut out) == Sent::Idle;
            steps += 1;
            assert!(steps < ENDLESS, "a peer does not stop sending");
            if quiet {
                break;
            }
        }
        let _ = p.folder_view(&mut dev.ix, now, F);
    }
}
