use super::*;
use dartsync_core::ids::{InviteId, PublicKey};
use dartsync_core::link::{LinkError, Opening, SEAL_HEAD, SEAL_OVERHEAD, TrackerChannel, VERSION};
use dartsync_core::sans_io::Sent;
use dartsync_hal::net_std::{NetStd, Waker};
use dartsync_hal::std_impl::StdClock;
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Answers frames by what they say.
#[derive(Default)]
struct Fake {
    links: HashMap<LinkId, Link>,
    effects: VecDeque<Effect>,
    stranger: Option<PublicKey>,
}

#[derive(Default)]
struct Link {
    answers: VecDeque<Vec<u8>>,
    floods: bool,
    turn: u32,
}

impl Machine for Fake {
    fn handle_open(&mut self, _: Now, link: LinkId, who: Identity, _: message::Addr) -> Result<(), Reject> {
        if self.stranger == Some(who.key) && who.invite.is_none() {
            return Err(Reject::new("not a device of this home"));
        }
        let told = Effect::Log(format!("open {:?}", who.invite.map(|i| i.0)).as_str().try_into().unwrap());
        self.effects.push_back(told);
        assert!(self.links.insert(link, Link::default()).is_none());
        Ok(())
    }
    fn handle_frame(&mut self, _: Now, link: LinkId, frame: &[u8]) -> Result<(), Reject> {
        let l = self.links.get_mut(&link).expect("open");
        match frame {
            b"bad" => return Err(Reject::new("a bad frame")),
            b"hang" => self.effects.push_back(Effect::Hang(link)),
            b"save" => self.effects.push_back(Effect::SaveRoster),
            b"flood" => l.floods = true,
            other => l.answers.push_back(other.to_vec()),
        }
        Ok(())
    }
    fn handle_closed(&mut self, _: Now, link: LinkId) {
        self.links.remove(&link).expect("closed once");
    }
    fn handle_timeout(&mut self, _: Now) {}
    fn poll_event(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
    fn poll_transmit(&mut self, _: Now, link: LinkId, out: &mut [u8]) -> Sent {
        let l = self.links.get_mut(&link).expect("open");
        if let Some(a) = l.answers.pop_front() {
            out[..a.len()].copy_from_slice(&a);
            return Sent::Frame(a.len());
        }
        if !l.floods {
            return Sent::Idle;
        }
        l.turn += 1;
        if l.turn.is_multiple_of(10) {
            return Sent::Again;
        }
        let n = 1 + l.turn as usize * 37 % out.len();
        out[..n].fill(b'f');
        Sent::Frame(n)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn invite_secret(&self, _: Now, id: InviteId) -> Option<[u8; 16]> {
        (id.0 == 7).then_some([9; 16])
    }
    fn sealed_roster(&self) -> &[u8] {
        b"sealed"
    }
    fn report(&self, _: Duration, out: &mut dyn fmt::Write) -> fmt::Result {
        (0..5000).try_for_each(|_| out.write_str("a line of the page\n"))
    }
}

#[derive(Clone, Default)]
struct Skip(Arc<AtomicU64>);

impl Clock for Skip {
    fn now_us(&self) -> u64 {
        StdClock.now_us() + self.0.load(SeqCst)
    }
    fn wall_us(&self) -> u64 {
        StdClock.wall_us()
    }
}

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<String>>>);

impl Console for Ear {
    fn say(&mut self, line: Arguments<'_>) {
        self.log(line);
    }
    fn log(&mut self, line: Arguments<'_>) {
        self.0.lock().unwrap().push(line.to_string());
    }
}

#[derive(Clone, Default)]
struct Disk {
    saved: Arc<Mutex<Vec<Vec<u8>>>>,
    broken: Arc<AtomicBool>,
}

impl Storage for Disk {
    type Error = &'static str;
    fn load(&mut self, _: Item, _: &mut [u8]) -> Result<Option<usize>, &'static str> {
        Ok(None)
    }
    fn save(&mut self, item: Item, bytes: &[u8]) -> Result<(), &'static str> {
        assert_eq!(item, Item::Roster);
        if self.broken.load(SeqCst) {
            return Err("no space");
        }
        self.saved.lock().unwrap().push(bytes.to_vec());
        Ok(())
    }
}

struct World {
    at: SocketAddr,
    page: SocketAddr,
    key: PublicKey,
    rng: Rng,
    ear: Ear,
    disk: Disk,
    skip: Skip,
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

fn world() -> World {
    world_with(Fake::default())
}

fn world_with(machine: Fake) -> World {
    let mut rng = Rng::from_seed([4; 32]);
    let key = StaticKey::generate(&mut rng);
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut net = NetStd::new(Some(here), LINKS + VISITORS).unwrap();
    let page = SocketAddr::from(net.also_listen(here).unwrap());
    let (at, waker) = (net.listening().unwrap().into(), net.waker());
    let (ear, disk, skip, stop) =
        (Ear::default(), Disk::default(), Skip::default(), Arc::new(AtomicBool::new(false)));
    let board = Board { net, clock: skip.clone(), console: ear.clone(), storage: disk.clone() };
    let public = key.public();
    let (theirs, ended) = (rng.fork(), stop.clone());
    let thread = std::thread::spawn(move || {
        let mut slots: Vec<Option<Slot>> = std::iter::repeat_with(|| None).take(SLOTS).collect();
        let mut server = Server::new(board, machine, key, theirs, &mut slots);
        server.show_status(page.port(), |out| out.write_str("the end"));
        server.run(|| ended.load(SeqCst)).unwrap();
        server.machine().links.len()
    });
    World { at, page, key: public, rng, ear, disk, skip, waker, stop, thread: Some(thread) }
}

impl World {
    /// Ends the loop; gives how many links its machine had then.
    fn stop(&mut self) -> usize {
        self.stop.store(true, SeqCst);
        self.waker.wake();
        self.thread.take().expect("stopped once").join().unwrap()
    }
    fn connect(&self) -> TcpStream {
        let s = TcpStream::connect(self.at).unwrap();
        s.set_read_timeout(Some(std::time::Duration::from_secs(8))).unwrap();
        s
    }
    fn client(&mut self, invite: Option<(u32, [u8; 16])>) -> Client {
        let me = StaticKey::generate(&mut self.rng);
        self.client_as(&me, invite)
    }
    fn client_as(&mut self, me: &StaticKey, invite: Option<(u32, [u8; 16])>) -> Client {
        let opening = invite.map_or(Opening::TRACKER, |i| Opening::enrol(InviteId(i.0)));
        let secret = invite.map(|i| i.1);
        let channel = TrackerChannel::dial(me, self.key, opening, secret.as_ref(), &mut self.rng);
        Client { stream: self.connect(), channel }
    }
    fn heard(&self, what: &str) -> usize {
        self.ear.0.lock().unwrap().iter().filter(|l| l.contains(what)).count()
    }
    fn wait_to_hear(&self, what: &str, times: usize) {
        for _ in 0..8000 {
            if self.heard(what) >= times {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("never heard {times} times: {what}: {:?}", self.ear.0.lock().unwrap());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

struct Client {
    stream: TcpStream,
    channel: TrackerChannel,
}

impl Client {
    fn shake(&mut self) -> Result<(), LinkError> {
        self.stream.write_all(self.channel.output()).unwrap();
        self.channel.sent(self.channel.output().len());
        while self.channel.progress() == Progress::Handshake {
            let mut buf = [0; 100];
            match self.stream.read(&mut buf) {
                Ok(0) => return Err(LinkError::Ended),
                Ok(n) => assert_eq!(self.channel.feed(&buf[..n])?, n),
                Err(e) => panic!("{e}"),
            }
        }
        Ok(())
    }
    fn open(mut self) -> Self {
        self.shake().unwrap();
        self
    }
    fn send(&mut self, plain: &[u8]) {
        let mut buf = vec![0; plain.len() + SEAL_OVERHEAD];
        buf[SEAL_HEAD..SEAL_HEAD + plain.len()].copy_from_slice(plain);
        let n = self.channel.seal(&mut buf, plain.len());
        self.stream.write_all(&buf[..n]).unwrap();
    }
    /// The next frame; none at the end.
    fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(f) = self.channel.next_frame().unwrap() {
                return Some(f.to_vec());
            }
            let mut one = [0];
            match self.stream.read(&mut one) {
                Ok(0) => return None,
                Ok(_) => assert_eq!(self.channel.feed(&one), Ok(1)),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("{e}"),
            }
        }
    }
    fn asks(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        self.send(plain);
        self.receive()
    }
}

/// Whether the other end hangs up; what it said last.
fn hangs_up(s: &mut TcpStream) -> Vec<u8> {
    let mut last = vec![];
    match s.read_to_end(&mut last) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("{e}"),
    }
    last
}

#[test]
fn links_open_carry_frames_and_close() {
    let mut w = world();
    let mut a = w.client(None).open();
    let mut b = w.client(Some((7, [9; 16]))).open();
    assert_eq!(a.asks(b"hello").unwrap(), b"hello");
    assert_eq!(b.asks(&[5; 8192]).unwrap(), [5; 8192]);
    assert_eq!((w.heard("open None"), w.heard("open Some(7)")), (1, 1));
    assert_eq!(w.client(Some((8, [9; 16]))).shake(), Err(LinkError::NoInvite));
    assert_eq!(w.client(Some((7, [8; 16]))).shake(), Err(LinkError::Handshake));
    a.send(b"save");
    a.send(b"hang");
    assert_eq!((a.receive(), w.disk.saved.lock().unwrap().len()), (None, 1));
    b.send(b"bad");
    assert_eq!(b.receive(), None);
    w.wait_to_hear("a bad frame", 1);
    w.wait_to_hear("the invite is used", 1);
    assert_eq!(w.stop(), 0);
}

#[test]
fn a_stranger_is_turned_away_and_told_of_in_one_line() {
    let stranger = StaticKey::from_secret(&[3; 32]);
    let mut w = world_with(Fake { stranger: Some(stranger.public()), ..Fake::default() });
    let mut c = w.client_as(&stranger, None).open();
    assert_eq!(c.asks(b"hello"), None);
    w.wait_to_hear("not a device of this home", 1);
    assert!(w.client_as(&stranger, Some((7, [9; 16]))).open().asks(b"hello").is_some());
    assert_eq!(w.ear.0.lock().unwrap().len(), 2);
}

#[test]
fn junk_is_refused_in_one_line_each_and_others_go_on() {
    let mut w = world();
    let mut good = w.client(None).open();
    assert_eq!(good.asks(b"1").unwrap(), b"1");
    let mut s = w.connect();
    s.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(hangs_up(&mut s), b"");
    let mut s = w.connect();
    s.write_all(b"DART\x63").unwrap();
    assert_eq!(hangs_up(&mut s), [VERSION]);
    let mut s = w.connect();
    let mut noise = vec![0; 100_000];
    w.rng.fill(&mut noise);
    let _ = s.write_all(&noise);
    hangs_up(&mut s);
    let mut wild = w.client(None).open();
    wild.stream.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    assert_eq!(hangs_up(&mut wild.stream), b"");
    let mut forged = w.client(None).open();
    forged.stream.write_all(&[[20, 0].as_slice(), &[1; 20]].concat()).unwrap();
    assert_eq!(hangs_up(&mut forged.stream), b"");
    drop(w.connect());
    let me = StaticKey::generate(&mut w.rng);
    let data = Opening::data(dartsync_core::link::Suite::Aes256Gcm);
    let mut d = Client { stream: w.connect(), channel: Channel::dial(&me, w.key, data, None, &mut w.rng) };
    assert_eq!(d.shake(), Err(LinkError::Ended));
    for (what, times) in [
        ("does not speak DartSync", 3),
        ("version 99", 1),
        ("a frame of 65535 bytes", 1),
        ("forged", 1),
        ("closed before", 1),
    ] {
        w.wait_to_hear(what, times);
        assert_eq!(w.heard(what), times, "{what}");
    }
    assert_eq!(good.asks(b"2").unwrap(), b"2");
    assert_eq!(w.stop(), 1);
}

#[test]
fn half_open_links_are_few_and_short_lived() {
    let mut w = world();
    let idle: Vec<TcpStream> = (0..200).map(|_| w.connect()).collect();
    let mut good = w.client(None).open();
    assert_eq!(good.asks(b"in").unwrap(), b"in");
    // Some of a handshake, or a whole one without a frame after it: no more is granted.
    let mut part = w.connect();
    part.write_all(b"DART").unwrap();
    let mut silent = w.client(None).open();
    w.wait_to_hear("pushed out", 20);
    w.skip.0.fetch_add(HANDSHAKE.0, SeqCst);
    w.waker.wake();
    assert_eq!((hangs_up(&mut part).len(), hangs_up(&mut silent.stream).len()), (0, 0));
    idle.into_iter().for_each(|mut s| assert_eq!(hangs_up(&mut s), b""));
    assert_eq!(good.asks(b"still").unwrap(), b"still");
    w.skip.0.fetch_add(10_000_000, SeqCst);
    w.waker.wake();
    w.wait_to_hear("were not logged", 1);
    assert!(w.heard("") < 30, "{:?}", w.ear.0.lock().unwrap());
}

#[test]
fn failed_handshakes_are_limited_and_good_ones_wait_no_longer_than_they_must() {
    let mut w = world();
    // A joiner with a wrong secret never sends a frame.
    let start = std::time::Instant::now();
    (0..30).for_each(|_| assert_eq!(w.client(Some((7, [1; 16]))).shake(), Err(LinkError::Handshake)));
    assert!(start.elapsed().as_millis() >= 450, "20 at once, then 20 a second");
    let start = std::time::Instant::now();
    let mut good = w.client(None).open();
    assert_eq!(good.asks(b"in").unwrap(), b"in");
    assert!(start.elapsed().as_millis() < 2000);
    // Successes give their token back: many more than the limit pass at once.
    for _ in 0..60 {
        assert_eq!(w.client(None).open().asks(b"x").unwrap(), b"x");
    }
}

#[test]
fn a_slow_reader_costs_nothing_and_a_flood_leaves_others_their_turn() {
    let mut w = world();
    let mut slow = w.client(None).open();
    slow.send(b"flood");
    let mut fast = w.client(None).open();
    fast.send(b"flood");
    let mut total = 0;
    while total < 3_000_000 {
        total += fast.receive().unwrap().len();
    }
    let mut other = w.client(None).open();
    for n in 0..100u8 {
        assert_eq!(other.asks(&[n; 30]).unwrap(), [n; 30]);
    }
    // The slow one was stopped, not forgotten.
    for _ in 0..100 {
        assert!(slow.receive().unwrap().iter().all(|b| *b == b'f'));
    }
    drop((slow, fast));
    assert_eq!(other.asks(b"x").unwrap(), b"x");
}

#[test]
fn a_roster_that_could_not_be_stored_is_tried_again() {
    let mut w = world();
    w.disk.broken.store(true, SeqCst);
    let mut c = w.client(None).open();
    c.send(b"save");
    w.wait_to_hear("no space", 1);
    w.disk.broken.store(false, SeqCst);
    assert_eq!((c.asks(b"x").unwrap(), w.disk.saved.lock().unwrap().len()), (b"x".to_vec(), 0));
    w.skip.0.fetch_add(STORE_AGAIN.0, SeqCst);
    assert_eq!(c.asks(b"x").unwrap(), b"x");
    w.stop();
    assert_eq!(*w.disk.saved.lock().unwrap(), [b"sealed"]);
}

fn visit(w: &World, wish: &[u8]) -> String {
    let mut link = TcpStream::connect(w.page).unwrap();
    link.set_read_timeout(Some(std::time::Duration::from_secs(8))).unwrap();
    link.write_all(wish).unwrap();
    let mut said = String::new();
    link.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn the_page_is_shown_to_who_asks_for_it() {
    let w = world();
    let page = visit(&w, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("\r\n\r\na line of the page\n"),
        "{page}"
    );
    assert!((20_000..=24 * 1024).contains(&page.len()), "cut where its room ends: {}", page.len());
    assert!(visit(&w, b"GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(visit(&w, b"PUT / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert_eq!(w.heard(""), 0, "it is nothing to log");
}

#[test]
fn visitors_cost_no_link_and_are_few_and_short() {
    let mut w = world();
    let slow = |w: &World| {
        let link = TcpStream::connect(w.page).unwrap();
        link.set_read_timeout(Some(std::time::Duration::from_secs(8))).unwrap();
        link
    };
    let is_over = |mut link: TcpStream| {
        let end = link.read(&mut [0; 64]);
        end.as_ref().is_ok_and(|n| *n == 0) || end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
    };
    let mut open = w.client(None).open();
    // Of those who say nothing the newest few stay, and none is in another's way.
    let mut idle: Vec<TcpStream> = (0..3 * VISITORS).map(|_| slow(&w)).collect();
    assert!(visit(&w, b"GET / HTTP/1.0\n\n").contains("200 OK"));
    let stay = idle.split_off(2 * VISITORS + 1);
    assert!(idle.into_iter().all(is_over));
    assert_eq!(open.asks(b"still here"), Some(b"still here".to_vec()));
    // A wish without an end is not heard out; nor is one that takes too long.
    let mut endless = slow(&w);
    let _ = endless.write_all(&[b'x'; 5000]);
    assert!(is_over(endless));
    w.skip.0.fetch_add(11_000_000, SeqCst);
    w.waker.wake();
    assert!(stay.into_iter().all(is_over));
    assert_eq!(open.asks(b"still here"), Some(b"still here".to_vec()));
    assert_eq!(w.stop(), 1);
}
