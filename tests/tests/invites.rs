//! Invites that are used, forged or out of time: the real program against the real tracker, whose clock is moved on.

use dartsync_core::ids::InviteId;
use dartsync_core::link::code::InviteCode;
use dartsync_core::rng::Rng;
use dartsync_core::roster::ROSTER_BYTES;
use dartsync_core::tracker::Tracker;
use dartsync_hal::clock::Clock;
use dartsync_hal::console::Console;
use dartsync_hal::net::Net;
use dartsync_hal::net_std::{NetStd, Waker};
use dartsync_hal::std_impl::{StdClock, StdEntropy};
use dartsync_hal::storage::{Item, Storage};
use dartsync_tests::process::{Device, Dir, wait_for};
use dartsync_tracker::serve::{Board, LINKS, SLOTS, Server, Slot, to_core};
use dartsync_tracker::start::Stored;
use std::fmt::Arguments;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

/// A clock that can be moved on.
#[derive(Clone, Default)]
struct Skip(Arc<AtomicU64>);

impl Clock for Skip {
    fn now_us(&self) -> u64 {
        StdClock.now_us() + self.0.load(SeqCst)
    }
    fn wall_us(&self) -> u64 {
        StdClock.wall_us() + self.0.load(SeqCst)
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Console for Log {
    fn say(&mut self, line: Arguments<'_>) {
        self.log(line);
    }
    fn log(&mut self, line: Arguments<'_>) {
        self.0.lock().unwrap().push(line.to_string());
    }
}

/// Keeps nothing: this tracker is not restarted.
struct Nowhere;

impl Storage for Nowhere {
    type Error = &'static str;
    fn load(&mut self, _: Item, _: &mut [u8]) -> Result<Option<usize>, &'static str> {
        Ok(None)
    }
    fn save(&mut self, _: Item, _: &[u8]) -> Result<(), &'static str> {
        Ok(())
    }
}

/// A tracker in a thread of this process.
struct Here {
    founding: String,
    skip: Skip,
    log: Log,
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Here {
    fn start() -> Here {
        let net = NetStd::new(Some((Ipv4Addr::LOCALHOST, 0).into()), LINKS).unwrap();
        let (at, waker) = (net.listening().unwrap(), net.waker());
        let (skip, log, stop) = (Skip::default(), Log::default(), Arc::new(AtomicBool::new(false)));
        let (told, founding) = mpsc::channel();
        let (clock, console, ended) = (skip.clone(), log.clone(), stop.clone());
        let serve = move || {
            let mut roster = Box::new([0; ROSTER_BYTES]);
            let stored = Stored::load(&mut Nowhere, &mut StdEntropy, &mut roster).unwrap();
            let mut memory = vec![0; 1 << 20];
            let mut tracker = Box::new(Tracker::new(stored.config(&roster, [3; 32], "home"), &mut memory));
            let code = stored.founding_code(&tracker, [to_core(at)]).unwrap();
            told.send(code.to_string()).unwrap();
            let board = Board { net, clock, console, storage: Nowhere };
            let mut slots: Vec<Option<Slot>> = std::iter::repeat_with(|| None).take(SLOTS).collect();
            let mut server =
                Box::new(Server::new(board, &mut *tracker, stored.key, Rng::from_seed([4; 32]), &mut slots));
            server.run(|| ended.load(SeqCst)).unwrap();
        };
        // A tracker takes shape on the stack.
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(serve).unwrap();
        Here { founding: founding.recv().unwrap(), skip, log, waker, stop, thread: Some(thread) }
    }
    /// The lines that it logs while `act` is done and until there is at least one.
    fn logs(&self, act: impl FnOnce()) -> Vec<String> {
        let lines = || self.log.0.lock().unwrap().clone();
        let before = lines().len();
        act();
        wait_for("a line of the log", || (lines().len() > before).then_some(()));
        lines().split_off(before)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.waker.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|e| e.is_ok()), "the tracker ended badly");
    }
}

#[test]
fn an_invite_that_is_not_good_is_refused_with_its_cause() {
    let (dir, tracker) = (Dir::new("bad-invites"), Here::start());
    let first = Device::new(dir.path(), "first");
    first.join(&tracker.founding);
    let refused = |name: &str, code: &str, cause: &str, line: &str| {
        let stranger = Device::new(dir.path(), name);
        let logged = tracker.logs(|| {
            let out = stranger.try_join(code);
            let why = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(1), "{name}: {why}");
            assert!(why.starts_with(&format!("dartsync: this invite {cause}")), "{name}: {why}");
            assert!(why.contains("`dartsync invite`") && why.lines().count() == 1, "{name}: {why}");
            assert!(out.stdout.is_empty(), "{name}: {out:?}");
        });
        assert!(logged.len() == 1 && logged[0].contains(line), "{name}: {logged:?}");
    };
    refused("founder", &tracker.founding, "was already used", "an invite that was used already");
    let used = first.invite();
    Device::new(dir.path(), "second").join(&used);
    refused("used", &used, "was already used", "an invite that was used already");
    let good = InviteCode::decode(&first.invite()).unwrap();
    let forged = InviteCode { secret: [7; 16], ..good.clone() };
    refused("forged", &forged.encode(), "is wrong", "closed before the handshake was done");
    let unknown = InviteCode { invite: InviteId(good.invite.0 ^ 1), ..good.clone() };
    refused("unknown", &unknown.encode(), "has expired, was used, or is not of this home", "the invite is");
    let late = first.invite();
    tracker.skip.0.fetch_add(3_599_000_000 - 60_000_000, SeqCst);
    Device::new(dir.path(), "third").join(&good.encode());
    tracker.skip.0.fetch_add(61_000_000, SeqCst);
    refused("late", &late, "has expired", "the invite is used, expired");
    // Who was enrolled by it comes back by its key, whatever became of the invite; also where `join` broke off before
    // it had written down that it joined.
    let third = Device::new(dir.path(), "third");
    third.join(&good.encode());
    std::fs::remove_file(third.state.join("config.json")).unwrap();
    third.join(&good.encode());
    let devices = first.say(&["devices"]);
    assert_eq!(devices.lines().count(), 3, "{devices}");
}

#[test]
fn an_invite_is_one_line_and_a_picture_where_that_is_asked_for() {
    let (dir, tracker) = (Dir::new("qr"), Here::start());
    let first = Device::new(dir.path(), "first");
    first.join(&tracker.founding);
    let plain = first.say(&["invite"]);
    assert!(plain.starts_with("dart1") && plain.lines().count() == 1, "{plain}");
    let drawn = first.say(&["invite", "--qr"]);
    let (code, picture) = drawn.split_once('\n').expect("more than a line");
    assert!(InviteCode::decode(code).is_ok() && picture.lines().count() > 15, "{drawn}");
    assert!(picture.chars().all(|c| " █▀▄\n".contains(c)), "{drawn}");
    Device::new(dir.path(), "second").join(code);
}
