//! Devices of the home that say they hold what they do not give.

use dartsync_core::ids::{FolderId, FolderSlot};
use dartsync_core::limits::FRAME;
use dartsync_core::link::code::InviteCode;
use dartsync_core::record::{Kind, Record};
use dartsync_tests::process::{Device, Home, noise, wait_for};
use dartsync_tests::raw::{Attended, RawLink, announce, record};
use dartsync_tests::raw_data::{Contents, MANNERS, Manner, Server, hashed};

/// An enrolled device that says it holds two contents.
struct Liar {
    manner: Manner,
    server: Server,
    link: Option<RawLink>,
    folder: (FolderId, FolderSlot),
    attended: Option<Attended>,
}

impl Liar {
    fn join(home: &mut Home, seed: u8, manner: Manner, contents: &Contents) -> Liar {
        let code = InviteCode::decode(&home.invite()).unwrap();
        let server = Server::start(RawLink::key(seed), manner, contents.clone());
        let name = format!("{manner:?}");
        let mut link = RawLink::join_serving(&home.tracker.listen, &code, seed, &name, server.port());
        let folder = link.link_folder("dev0");
        Liar { manner, server, link: Some(link), folder, attended: None }
    }
    /// Announces a file of these bytes.
    fn announces(&mut self, path: &str, bytes: &[u8]) {
        let link = self.link.as_mut().unwrap();
        let n = bytes.len() as u64;
        let plain = record(n, 0, link.tag, link.device);
        let one = Record { kind: Kind::File, size: n, content: hashed(bytes).0, ..plain };
        let mut frame = [0; FRAME];
        let (length, count) = announce(self.folder.1, [(path.to_owned(), one)], 1, &mut frame);
        link.send_encoded(&frame[..length]);
        assert_eq!((count, link.accepted()), (1, 1));
    }
    fn attends(&mut self) {
        let contents = [self.large(), self.small()].map(|(_, bytes)| hashed(&bytes).0);
        self.attended = Some(self.link.take().unwrap().attend(Some((self.folder.0, contents.into()))));
    }
    fn large(&self) -> (String, Vec<u8>) {
        (format!("large-{:?}", self.manner), noise(self.manner as u64, 1_200_000))
    }
    fn small(&self) -> (String, Vec<u8>) {
        (format!("small-{:?}", self.manner), noise(100 + self.manner as u64, 100_000))
    }
    fn was_asked(&self) -> bool {
        let asked = |bytes: &[u8]| self.server.was_asked(&hashed(bytes).0) > 0;
        asked(&self.large().1) || asked(&self.small().1)
    }
}

/// What they claim to hold comes from the one that does; while that is away, nothing of theirs takes its place.
#[test]
fn what_liars_claim_to_hold_comes_from_who_holds_it() {
    let mut home = Home::start("liars", 2);
    home[0].put("before", "x");
    home.converge();
    let contents = Contents::default();
    let mut liars: Vec<Liar> =
        (0..).zip(MANNERS).map(|(n, manner)| Liar::join(&mut home, 150 + n, manner, &contents)).collect();
    home[1].kill();
    for liar in &liars {
        for (path, bytes) in [liar.large(), liar.small()] {
            home[0].put(if path.starts_with("small") { path.replace("small", "own") } else { path }, &bytes);
            contents.lock().unwrap().insert(hashed(&bytes).0, bytes);
        }
    }
    home[0].wait();
    // The small ones are the liars' by name, and here as well.
    for liar in &mut liars {
        let (path, bytes) = liar.small();
        liar.announces(&path, &bytes);
        home[0].gets(&path, &bytes);
        home[0].remove(path.replace("small", "own"));
    }
    home[0].wait();
    liars.iter_mut().for_each(Liar::attends);
    home[0].kill();
    home[1].start();
    for liar in &liars {
        wait_for(&format!("{:?} to be asked", liar.manner), || liar.was_asked().then_some(()));
    }
    home[1].names_trouble("small-WrongBytes", "did not verify");
    home[1].names_trouble("large-WrongNodes", "did not verify");
    for liar in &liars {
        assert!(!home[1].has(liar.large().0) && !home[1].has(liar.small().0), "{:?}", liar.manner);
    }
    home[0].start();
    for liar in &liars {
        for (path, bytes) in [liar.large(), liar.small()] {
            home[1].gets(&path, &bytes);
        }
    }
    let both: Vec<&Device> = home.devices.iter().collect();
    home.converge_of(&both);
    wait_for("part files to be used or removed", || home[1].part_files().is_empty().then_some(()));
    let trouble = home[1].status()["notes"].to_string();
    assert!(trouble.contains("WrongBytes has sent wrong bytes"), "{trouble}");
    let peak = home[1].running().resident_peak();
    assert!(peak < 256 << 10, "{peak} KiB");
}
