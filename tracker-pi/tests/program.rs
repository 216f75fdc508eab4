//! The program itself: started, joined, stopped, restarted, restored.

use dartsync_core::ids::{InviteId, PublicKey, Tag};
use dartsync_core::limits::FRAME;
use dartsync_core::link::code::InviteCode;
use dartsync_core::link::{Opening, Progress, SEAL_HEAD, SEAL_OVERHEAD, StaticKey, TrackerChannel};
use dartsync_core::rng::Rng;
use dartsync_core::wire::message::{self, Addr, RosterVersion, ToPeer, ToTracker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("dartsync-tracker-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn state(&self) -> PathBuf {
        self.0.join("state")
    }
    fn command(&self, verb: &str, more: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_dartsync-tracker"));
        c.arg(verb).arg("--state").arg(self.state()).args(more);
        c
    }
    fn once(&self, verb: &str, more: &[&str]) -> Output {
        self.command(verb, more).output().unwrap()
    }
    fn run(&self, name: &str) -> Tracker {
        let log = std::fs::File::create(self.0.join("log")).unwrap();
        let mut c = self.command("run", &["--listen", "127.0.0.1:0", "--memory", "1M", "--name", name]);
        let mut child = c.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let at = first.strip_prefix("listening ").expect("the first line").parse().unwrap();
        Tracker { child, lines, at }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Tracker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    at: SocketAddr,
}

impl Tracker {
    fn code(&mut self) -> InviteCode {
        let line = self.lines.next().unwrap().unwrap();
        InviteCode::decode(line.strip_prefix("invite ").expect("the second line")).unwrap()
    }
    /// Ends it kindly; gives the lines that were not read.
    fn stop(mut self) -> Vec<String> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.lines.by_ref().map(|l| l.unwrap()).collect()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A device's link, opened.
struct Link {
    stream: TcpStream,
    channel: TrackerChannel,
}

impl Link {
    fn open(at: SocketAddr, me: &StaticKey, to: PublicKey, invite: Option<(InviteId, [u8; 16])>) -> Link {
        let opening = invite.map_or(Opening::TRACKER, |i| Opening::enrol(i.0));
        let mut rng = Rng::from_seed([9; 32]);
        let mut channel = TrackerChannel::dial(me, to, opening, invite.as_ref().map(|i| &i.1), &mut rng);
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        stream.write_all(channel.output()).unwrap();
        channel.sent(channel.output().len());
        while channel.progress() != Progress::Open {
            let mut one = [0];
            stream.read_exact(&mut one).unwrap();
            channel.feed(&one).unwrap();
        }
        Link { stream, channel }
    }
    fn send(&mut self, m: &ToTracker<'_>) {
        let mut buf = [0; FRAME + SEAL_OVERHEAD];
        let n = message::encode(m, &mut buf[SEAL_HEAD..SEAL_HEAD + FRAME]).unwrap();
        let n = self.channel.seal(&mut buf, n);
        self.stream.write_all(&buf[..n]).unwrap();
    }
    fn hello(&mut self, tag: u32, run: u64) {
        self.send(&ToTracker::Hello {
            tag: Tag(tag),
            counter: 0,
            run,
            port: 0,
            addrs: Default::default(),
            caps: 0,
            roster: RosterVersion::default(),
            flags: 0,
            name: "laptop",
        });
    }
    /// Looks at the next messages until `pick` has found what it wants; none if the tracker hangs up first.
    fn hear<T>(&mut self, mut pick: impl FnMut(ToPeer<'_>) -> Option<T>) -> Option<T> {
        loop {
            if let Some(frame) = self.channel.next_frame().unwrap() {
                if let Some(t) = pick(message::decode(frame).unwrap()) {
                    return Some(t);
                }
                continue;
            }
            let mut one = [0];
            match self.stream.read(&mut one) {
                Ok(1) => assert_eq!(self.channel.feed(&one), Ok(1)),
                // A read that has a time limit ends when this process was stopped meanwhile.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => return None,
            }
        }
    }
    fn welcomed(&mut self) -> Option<String> {
        self.hear(|m| match m {
            ToPeer::Welcome { version, .. } => Some(version.to_string()),
            _ => None,
        })
    }
}

#[test]
fn a_first_device_joins_once_and_comes_back() {
    let dir = Dir::new("join");
    let mut t = dir.run("our house");
    let code = t.code();
    assert_eq!(code.addresses, [Addr::V4([127, 0, 0, 1], t.at.port())]);
    let me = StaticKey::from_secret(&[5; 32]);
    let mut link = Link::open(t.at, &me, code.tracker, Some((code.invite, code.secret)));
    link.hello(77, 1);
    assert!(link.welcomed().unwrap().contains("our house"));
    // A second one runs in the same directory: not while the first does.
    let second = dir.once("run", &["--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("runs there already"));
    assert!(t.stop().is_empty());
    // Restarted: no invite any more, and the device is known.
    let t = dir.run("our house");
    let mut link = Link::open(t.at, &me, code.tracker, None);
    link.hello(77, 2);
    assert!(link.welcomed().is_some());
    let mut stranger = Link::open(t.at, &StaticKey::from_secret(&[6; 32]), code.tracker, None);
    stranger.hello(78, 1);
    assert_eq!(stranger.welcomed(), None);
    assert!(t.stop().is_empty(), "no invite is printed");
    for file in ["identity", "roster"] {
        let mode = std::fs::metadata(dir.state().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn words_bring_a_lost_card_back() {
    let dir = Dir::new("words");
    assert_eq!(dir.once("recovery", &[]).status.code(), Some(1));
    let mut t = dir.run("home");
    let first = t.code();
    t.stop();
    let words = String::from_utf8(dir.once("recovery", &[]).stdout).unwrap();
    let words = words.trim();
    // Its identity again, elsewhere: it waits for its devices, and founds no other home.
    let other = Dir::new("words-restored");
    let restored = other.once("restore", &[words]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(String::from_utf8(other.once("recovery", &[]).stdout).unwrap().trim(), words);
    let t = other.run("home");
    let at = t.at;
    drop(Link::open(at, &StaticKey::from_secret(&[5; 32]), first.tracker, None));
    assert!(t.stop().is_empty(), "no invite");
    assert!(!other.state().join("roster").exists(), "no roster is written before devices are back");
    // As several arguments; the same again does no harm; another one, or a typo, is refused.
    let split: Vec<&str> = words.split(' ').collect();
    assert!(other.once("restore", &split).status.success());
    let third = Dir::new("words-third");
    let mut t = third.run("home");
    assert_ne!(t.code().tracker, first.tracker);
    t.stop();
    assert_eq!(third.once("restore", &[words]).status.code(), Some(1));
    assert_eq!(other.once("restore", &[&words[..20]]).status.code(), Some(1));
    assert_eq!(other.once("restore", &[]).status.code(), Some(2));
}

#[test]
fn a_service_manager_is_told_when_it_serves_and_when_it_ends() {
    let dir = Dir::new("notify");
    let socket = dir.0.join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let heard = || {
        let mut buf = [0; 64];
        let n = manager.recv(&mut buf).unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    };
    let mut child = dir
        .command("run", &["--listen", "127.0.0.1:0", "--memory", "1M"])
        .env("NOTIFY_SOCKET", &socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(heard(), "READY=1");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(heard(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

#[test]
fn wrong_usage_and_places_are_told() {
    let dir = Dir::new("usage");
    for more in [&["--memory", "lots"][..], &["--listen", "nowhere"], &["--what"]] {
        assert_eq!(dir.once("run", more).status.code(), Some(2), "{more:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let out = dir.once("run", &["--listen", &at]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains(&at));
}
