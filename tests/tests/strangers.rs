//! Who was not invited, and what an invited one may not do.

use dartsync_core::limits::FRAME;
use dartsync_core::link::code::InviteCode;
use dartsync_core::record::Kind;
use dartsync_core::wire::message::ToPeer;
use dartsync_tests::process::{Device, Home, noise, wait_for};
use dartsync_tests::raw::{RawLink, announce, record};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn connect(to: &str) -> TcpStream {
    let link = TcpStream::connect(to).expect("it listens");
    link.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    link
}

/// What the other end says before it hangs up.
fn last_words(mut link: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = link.read_to_end(&mut said);
    said
}

#[test]
fn junk_reaches_nobody() {
    let mut home = Home::start("junk", 2);
    home[0].put("before", "x");
    home.converge();
    let nodes = [home.tracker.listen.clone(), home[0].listen.clone()];
    let resident = |home: &mut Home| {
        let tracker = home.tracker.running().resident();
        [tracker, home.devices[0].running().resident()]
    };
    let before = resident(&mut home);
    let mut open = Vec::new();
    let head = |version: u8| [*b"DART", [version, 1, 1, 0], [0; 4]].concat();
    for address in &nodes {
        for n in 0..300usize {
            let Ok(mut link) = TcpStream::connect(address) else { continue };
            let bytes = match n % 6 {
                0 => noise(n as u64, 500),
                1 => [&[0xff, 0xff][..], &[b'A'; 100]].concat(),
                2 => b"GET / HTTP/1.0\r\n\r\n".to_vec(),
                3 => head(1),
                4 => [head(1), noise(n as u64, 128)].concat(),
                _ => Vec::new(),
            };
            let _ = link.write_all(&bytes);
            if n % 2 == 0 {
                open.push(link);
            }
        }
    }
    // Meanwhile all goes on, and a device can still join.
    home[0].put("during", noise(1, 300_000));
    home.converge();
    let third = home.add();
    home.converge();
    assert_eq!(home[third].get("during").unwrap(), noise(1, 300_000));
    let after = resident(&mut home);
    for (before, after) in before.iter().zip(after) {
        assert!(after < before + 8192, "grew from {before} to {after} KiB");
    }
    assert!(home.tracker.running().runs() && home[0].running().runs());
    // One line an event at most, and none that strangers could make long.
    let log = home.tracker.running().text();
    assert!(log.len() < 100_000, "{} bytes of log", log.len());
    drop(open);
}

#[test]
fn half_open_links_end_by_themselves() {
    let home = Home::start("half-open", 1);
    for address in [&home.tracker.listen, &home[0].listen] {
        let mut link = connect(address);
        link.write_all(b"DART\x01").unwrap();
        let mut byte = [0];
        let ended = loop {
            match link.read(&mut byte) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                ended => break ended,
            }
        };
        assert!(
            matches!(ended, Ok(0))
                || ended.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock),
            "{ended:?}"
        );
    }
}

#[test]
fn another_version_is_told_so() {
    let mut home = Home::start("version", 1);
    for (address, kind) in [(home.tracker.listen.clone(), 1), (home[0].listen.clone(), 2)] {
        let mut link = connect(&address);
        link.write_all(&[b'D', b'A', b'R', b'T', 0, kind, 1, 0, 0, 0, 0, 0]).unwrap();
        let said = last_words(link);
        assert_eq!(said.first(), Some(&1), "the version that is spoken, in clear: {said:?}");
        assert!(said.len() <= 2, "{said:?}");
    }
    wait_for("a line about it", || home.tracker.running().text().contains("version").then_some(()));
}

#[test]
fn invites_are_good_once() {
    let mut home = Home::start("invites", 1);
    let code = home.invite();
    let second = Device::new(home.dir.path(), "second");
    second.join(&code);
    // The same device may repeat it; nobody else may use it.
    second.join(&code);
    let broken =
        format!("{}{}", &code[..code.len() - 6], if code.ends_with("aaaaaa") { "bbbbbb" } else { "aaaaaa" });
    let other = home.invite();
    let founding =
        home.tracker.running().text().lines().find_map(|l| l.strip_prefix("invite ").map(str::to_owned));
    let codes = [
        code.clone(),
        broken,
        "dart1".into(),
        format!("dart1{}", "k7".repeat(40)),
        "".into(),
        founding.unwrap(),
    ];
    for (n, bad) in codes.iter().enumerate() {
        let stranger = Device::new(home.dir.path(), &format!("stranger{n}"));
        let out = stranger.try_join(bad);
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success(), "accepted: {bad:?}");
        assert!(!why.trim().is_empty() && why.lines().count() <= 2, "{bad:?}: {why}");
    }
    let third = Device::new(home.dir.path(), "third");
    third.join(&other);
    let devices = home[0].say(&["devices"]);
    assert!(
        devices.contains("second") && devices.contains("third") && !devices.contains("stranger"),
        "{devices}"
    );
    for code in [&code, &other] {
        let logs = [&home.tracker.log, &home[0].log];
        for log in logs {
            assert!(
                !std::fs::read_to_string(log).unwrap().contains(code.as_str()),
                "{} tells an invite",
                log.display()
            );
        }
    }
}

#[test]
fn a_revoked_device_is_out_for_good() {
    let mut home = Home::start("revoked", 3);
    home[0].put("shared", "for all");
    home.converge();
    let away = 2;
    home[0].say(&["revoke", "dev1"]);
    home[0].put("secret", "not for dev1");
    home[away].gets("secret", "not for dev1");
    home[1].put("intruder", "of dev1");
    std::thread::sleep(Duration::from_secs(1));
    assert!(!home[1].has("secret"));
    home[1].kill();
    home[1].start_unready();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!home[1].has("secret") && !home[0].has("intruder") && !home[away].has("intruder"));
    assert!(home[1].has("shared"), "its files stay");
    // Its tracker restarts: it is still out; the others are not.
    home.tracker.kill();
    home.tracker.start();
    home[1].kill();
    home[1].start_unready();
    home[0].put("secret", "still not for dev1");
    home[away].gets("secret", "still not for dev1");
    std::thread::sleep(Duration::from_secs(1));
    assert!(!home[1].has("secret") && !home[0].has("intruder"));
    let here: Vec<&Device> = [&home[0], &home[away]].into();
    home.converge_of(&here);
    // Its name is free, its key is not: the same state cannot join again.
    let code = home.invite();
    home[1].kill();
    let again = home[1].try_join(&code);
    assert!(!again.status.success(), "a revoked key came in by a fresh invite");
}

#[test]
fn nothing_secret_stands_anywhere_but_in_files_of_mode_0600() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::start("secrets", 1);
    for file in [home.tracker.state.join("identity"), home[0].state.join("identity")] {
        let mode = std::fs::metadata(&file)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let socket = std::fs::metadata(home[0].state.join("control.sock")).unwrap().permissions().mode();
    assert_eq!(socket & 0o077, 0, "others can command the device: {socket:o}");
}

#[test]
fn an_enrolled_device_that_speaks_badly_reaches_nothing() {
    let mut home = Home::start("hostile", 2);
    home[0].put("before", "x");
    home.converge();
    let outside = home.dir.path().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    let join = |home: &mut Home, seed: u8| {
        let code = InviteCode::decode(&home.invite()).unwrap();
        RawLink::join(&home.tracker.listen, &code, seed, "hostile")
    };
    // Paths that no device makes, in a batch made by hand: the link ends, and nobody hears of it.
    let wrong: [&[u8]; 9] = [
        b"../outside/x",
        b"/x",
        b"a/../../outside/x",
        b".dartsync/x",
        b"a/.DartSync/x",
        b"a//b",
        b"./x",
        b"a/",
        b"a\0b",
    ];
    for (n, path) in wrong.into_iter().enumerate() {
        let mut link = join(&mut home, 50 + n as u8);
        let (_, folder) = link.link_folder("dev0");
        let mut frame = [0; FRAME];
        let plain = "p".repeat(path.len());
        let one = record(n as u64, 0, link.tag, link.device);
        let (length, count) = announce(folder, [(plain.clone(), one)], 1, &mut frame);
        assert_eq!(count, 1);
        let at = frame.windows(path.len()).position(|w| w == plain.as_bytes()).unwrap();
        frame[at..at + path.len()].copy_from_slice(path);
        link.send_encoded(&frame[..length]);
        let verdict = link.hear(|m| matches!(m, ToPeer::Verdicts { .. }).then_some(()));
        assert_eq!(verdict, None, "judged: {}", path.escape_ascii());
    }
    // Frames of nonsense, by one who may speak.
    for n in 0..20 {
        let mut link = join(&mut home, 100 + n);
        link.send_encoded(&noise(n.into(), 1 + 37 * usize::from(n)));
        let _ = link.hear(|_| None::<()>);
    }
    // A link to the outside, and a file beneath it, which it says it holds: announced well, but nobody follows.
    let mut link = join(&mut home, 40);
    let (_, folder) = link.link_folder("dev0");
    let mut frame = [0; FRAME];
    let (tag, device) = (link.tag, link.device);
    let mut files = vec![("s/planted".to_owned(), record(1, 0, tag, device))];
    let mut s = record(2, 0, tag, device);
    (s.kind, s.mode, s.size) = (Kind::Symlink, 0, 10);
    files.push(("s".to_owned(), s));
    let (length, count) = announce(folder, files, 2, &mut frame);
    link.send_encoded(&frame[..length]);
    assert_eq!((count, link.accepted()), (2, 2));
    home[1].put("after", "all goes on");
    home[0].gets("after", "all goes on");
    home[0].say(&["revoke", "hostile"]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(home.tracker.running().runs() && home[0].running().runs() && home[1].running().runs());
}
