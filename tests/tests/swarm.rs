//! One file, many devices: they get it from each other.

use dartsync_core::content::Leaf;
use dartsync_tests::process::{Home, noise, wait_for};
use dartsync_tests::raw_data::hashed;
use std::os::unix::ffi::OsStrExt;

const SIZE: usize = 40 << 20;

/// Bytes that a device sent to others.
fn sent(home: &Home, device: usize) -> u64 {
    home[device].status()["traffic"]["peer_sent"].as_u64().unwrap()
}

#[test]
fn a_big_file_leaves_its_author_fewer_times_than_it_arrives() {
    let mut home = Home::start("swarm", 4);
    home.converge();
    home[0].put("big", noise(1, SIZE));
    home.converge();
    let all: u64 = (0..4).map(|d| sent(&home, d)).sum();
    assert!(all >= 3 * SIZE as u64 && all < 4 * SIZE as u64, "{all}: it arrived three times");
    assert!(sent(&home, 0) < 2 * SIZE as u64, "{}", sent(&home, 0));
    // Once installed, every copy is a source.
    let more = home.add();
    home.converge();
    assert_eq!(home[more].get("big").unwrap().len(), SIZE);
    home.status_is_true();
}

#[test]
fn what_any_file_here_has_does_not_travel() {
    let home = Home::start("alike", 2);
    let mut data = noise(4, 12 << 20);
    home[0].put("there/old", &data);
    home.converge();
    let received = || home[1].status()["traffic"]["peer_received"].as_u64().unwrap();
    let before = received();
    data.drain(5 << 20..6 << 20);
    data.splice(100..100, *b"something new");
    home[0].put("new", &data);
    home.converge();
    let travelled = received() - before;
    assert!(travelled < 2 << 20, "{travelled} of {}", data.len());
    // What was removed is still in the trash.
    home[0].remove("there/old");
    home[0].remove("new");
    home.converge();
    data.truncate(9 << 20);
    home[0].put("newer", &data);
    home.converge();
    assert!(received() - before < 3 << 20, "{}", received() - before);
    assert_eq!(home[1].get("newer").unwrap(), data);
}

#[test]
fn a_limit_is_kept_and_shown() {
    let mut home = Home::start("limit", 2);
    assert!(home[0].status().get("limits").is_none());
    assert!(home[0].say(&["limit", "--up", "1M", "--down", "2.5M"]).contains("1.0 MiB/s"));
    assert!(!home[0].try_say(&["limit", "--up", "1K"]).status.success());
    home[0].stop();
    assert_eq!(home[0].status()["limits"]["down"], 2_621_440);
    home[0].say(&["limit", "--down", "off"]);
    home[0].start();
    assert_eq!(home[0].status()["limits"], serde_json::json!({ "up": 1 << 20 }));
    let start = std::time::Instant::now();
    home[0].put("big", noise(3, 3 << 20));
    home.converge();
    assert!(start.elapsed().as_secs() >= 2, "three seconds' worth");
    home[0].say(&["limit", "--up", "off"]);
    assert!(home[0].status().get("limits").is_none());
}

#[test]
fn seekers_that_are_killed_go_on_where_they_were() {
    let mut home = Home::start("swarm-killed", 4);
    home.converge();
    home[0].put("big", noise(2, SIZE));
    for round in 0..3 {
        let device = 1 + round;
        let before = sent(&home, 0);
        while sent(&home, 0) < before + (1 << 20) && !home[device].has("big") {
            std::thread::yield_now();
        }
        home[device].kill();
        home[device].start();
    }
    home.converge();
    for device in 0..4 {
        assert_eq!(home[device].get("big").unwrap(), noise(2, SIZE));
    }
}

/// Between them two devices have all of a file whose author is gone; one of them has started anew since, so that it knows
/// what it has by the other alone.
#[test]
fn what_two_have_together_both_get_though_one_has_started_anew() {
    let mut home = Home::start("together", 3);
    home.converge();
    let data = noise(5, 24 << 20);
    home[0].say(&["limit", "--up", "4M"]);
    for device in [1, 2] {
        home[device].say(&["limit", "--up", "100K"]);
    }
    home[0].put("big", &data);
    let chunks: Vec<_> = hashed(&data).1.leaves().collect();
    let has = |home: &Home, device: usize| -> Vec<bool> {
        let part = home[device].part_files().into_iter().find(|name| name.as_bytes().ends_with(b".part"));
        let path = part.map(|name| home[device].path(".dartsync/tmp").join(name));
        let got = path.and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        let range = |c: &Leaf| c.offset as usize..c.offset as usize + c.len as usize;
        chunks.iter().map(|c| got.get(range(c)) == Some(&data[range(c)])).collect()
    };
    let mut had = [Vec::new(), Vec::new()];
    wait_for("each chunk to have come to one of two", || {
        had = [has(&home, 1), has(&home, 2)];
        (0..chunks.len()).all(|n| had[0][n] || had[1][n]).then_some(())
    });
    home[0].kill();
    home[1].kill();
    assert!(had.iter().all(|had| had.contains(&false)), "neither has all of it");
    home[2].say(&["limit", "--up", "off"]);
    home[1].start();
    home[1].say(&["limit", "--up", "off"]);
    home[1].gets("big", &data);
    home[2].gets("big", &data);
    home[0].start();
    home.converge();
}
