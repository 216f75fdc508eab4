//! As many as there may be: devices of a home, records of a table, bytes a second; and any number in a command.

use dartsync::control::short;
use dartsync_core::link::code::InviteCode;
use dartsync_core::wire::message::ToPeer;
use dartsync_tests::fuzz::NUMBERS;
use dartsync_tests::process::{Home, noise, wait_for};
use dartsync_tests::raw::RawLink;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Devices that a home has room for.
const DEVICES: u8 = 64;

#[test]
fn a_home_has_room_for_64_devices_and_says_so_to_the_next() {
    let mut home = Home::start("crowd", 1);
    home[0].put("before", "x");
    home.converge();
    let mut links: Vec<RawLink> = (1..DEVICES)
        .map(|seed| {
            let code = InviteCode::decode(&home.invite()).unwrap();
            let mut link = RawLink::join(&home.tracker.listen, &code, seed, &format!("raw{seed}"));
            link.link_folder("dev0");
            link
        })
        .collect();
    // All of them hear at once of what one changes.
    home[0].put("after", "y");
    for (n, link) in links.iter_mut().enumerate() {
        let heard = link.hear(|m| matches!(m, ToPeer::Records { .. }).then_some(()));
        assert_eq!(heard, Some(()), "device {n} is told");
    }
    // No code for one more, and the home as it was.
    let refused = home[0].try_say(&["invite"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("64 devices"), "{words}");
    // Who leaves makes room.
    home[0].say(&["revoke", "raw7"]);
    assert!(links[6].hear(|_| None::<()>).is_none(), "it is put out");
    wait_for("its place to be free", || home[0].try_say(&["invite"]).status.success().then_some(()));
    home.add();
    home[1].gets("after", "y");
    assert!(home.tracker.running().runs());
}

#[test]
fn a_table_that_is_too_small_takes_what_fits_and_says_what_does_not() {
    let mut home = Home::found_with("small-table", &["--memory", "1M"]);
    home.add();
    home.add();
    let files = 16_000;
    for n in 0..files {
        if n % 500 == 0 {
            home[0].mkdir(&format!("{:02}", n / 500));
        }
        std::fs::write(home[0].path(format!("{:02}/{n:05}", n / 500)), b"").unwrap();
    }
    let told = |home: &Home| home[0].folder("")["errors"].as_array().is_some_and(|e| !e.is_empty());
    wait_for("the table to be full", || told(&home).then_some(()));
    let errors = home[0].folder("")["errors"].clone();
    assert!(errors.to_string().contains("the tracker has no room: run it with more --memory"), "{errors}");
    assert!(!home[0].in_sync(Duration::ZERO) && home.tracker.running().runs());
    // What is in the table goes on: edits and removals.
    home[0].gets("00/00001", "");
    home[1].gets("00/00001", "");
    home[1].put("00/00001", "edited");
    home[0].gets("00/00001", "edited");
    home[1].remove("00/00002");
    home[0].loses("00/00002");
    // With more memory, all of it.
    home.tracker.kill();
    home.tracker.give("--memory", "16M");
    home.tracker.start();
    let tree = home.converge();
    assert!(tree.len() > files as usize, "{}", tree.len());
}

#[test]
fn a_low_limit_is_kept_however_many_ask_and_all_of_them_get_it() {
    let home = Home::start("slow", 8);
    home.converge();
    let sent = |home: &Home| home[0].status()["traffic"]["peer_sent"].as_u64().unwrap();
    let before = sent(&home);
    let start = std::time::Instant::now();
    home[0].say(&["limit", "--up", "100K"]);
    // Of one chunk: no other device can serve it before it is whole.
    let data = noise(7, 60_000);
    home[0].put("note", &data);
    home.converge();
    let sent = sent(&home) - before;
    let may = start.elapsed().as_millis() as u64 * (100 << 10) / 1000;
    assert!(sent > data.len() as u64 && sent < may + 40_000, "{sent} of {may}");
    (1..8).for_each(|device| assert_eq!(home[device].get("note").unwrap(), data));
}

#[test]
fn no_number_in_a_command_ends_a_device() {
    let mut home = Home::start("numbers", 1);
    home[0].put("x", "x");
    home.converge();
    let ask = |home: &Home, line: &str| {
        let mut socket =
            UnixStream::connect(short(&home[0].state.join("control.sock")).unwrap().path()).unwrap();
        socket.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut said = String::new();
        BufReader::new(socket).read_line(&mut said).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(said.ends_with("}\n"), "{line}: {said:?}");
        said
    };
    for n in NUMBERS {
        ask(&home, &format!(r#"{{"do":"wait","timeout":{n},"all":false}}"#));
        ask(&home, &format!(r#"{{"do":"limit","up":{n},"down":{n}}}"#));
        ask(&home, &format!(r#"{{"do":"trash_restore","path":[{n}],"date":null}}"#));
    }
    let waited = ask(&home, r#"{"do":"wait","timeout":1e30,"all":false}"#);
    assert!(waited.contains("in_sync"), "{waited}");
    assert!(home[0].running().runs());
}
