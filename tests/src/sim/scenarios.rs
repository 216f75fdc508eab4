//! Small stories about a home, each a few sentences.

use super::device::Device;
use super::fs::Bytes;
use super::less::Less;
use super::rand::Rand;
use super::world::{Pool, SECOND, World};
use std::thread;

mod trees;

/// Tells a story of `n` devices, on a thread with room for the machines.
fn home(n: usize, story: impl FnOnce(&mut World<'_>) + Send + 'static) {
    let told = move || {
        let mut pool = Pool::new(1 << 20);
        let mut w = World::new(1, n, &mut pool);
        w.devices = (0..n).map(|i| Device::with_grain(i, Rand::new(i as u64), 1)).collect();
        w.print = std::env::var_os("SIM_EXPLAIN").is_some();
        w.start_tracker(false);
        w.gather();
        w.converge(60 * SECOND);
        assert_eq!(w.verdict(), None);
        story(&mut w);
        w.judge();
        assert_eq!(w.verdict(), None);
    };
    thread::Builder::new().stack_size(64 << 20).spawn(told).unwrap().join().unwrap();
}

const A: usize = 0;
const B: usize = 1;

impl World<'_> {
    fn edit(&mut self, d: usize, path: &str) {
        self.create(d, path.as_bytes()).expect("it can be written");
    }
    fn part(&mut self, d: usize) {
        self.faults.on.clear();
        self.kill(d);
    }
}

#[test]
fn an_empty_home_rests() {
    home(3, |w| w.rests());
}

#[test]
fn a_new_file_reaches_the_others() {
    home(3, |w| {
        w.edit(A, "x");
        w.same();
        assert_eq!(w.paths(B), ["x"]);
        w.rests();
    });
}

#[test]
fn an_edit_replaces_what_was() {
    home(3, |w| {
        w.edit(A, "d/x");
        w.same();
        w.edit(B, "d/x");
        w.same();
        w.edit(A, "d/x");
        w.same();
        assert_eq!(w.paths(B), ["d", "d/x"]);
    });
}

#[test]
fn a_removal_reaches_the_others() {
    home(3, |w| {
        w.edit(A, "x");
        w.edit(A, "y");
        w.same();
        w.remove(B, b"x").unwrap();
        w.same();
        assert_eq!(w.paths(A), ["y"]);
        w.rests();
    });
}

#[test]
fn a_renamed_directory_moves_whole() {
    home(2, |w| {
        ["d/x", "d/y", "d/e/z", "keep"].iter().for_each(|p| w.edit(A, p));
        w.same();
        w.rename(B, b"d", b"n").unwrap();
        w.same();
        assert_eq!(w.paths(A), ["keep", "n", "n/e", "n/e/z", "n/x", "n/y"]);
    });
}

#[test]
fn a_tree_is_removed() {
    home(2, |w| {
        ["d/x", "d/y", "d/e/z", "keep"].iter().for_each(|p| w.edit(A, p));
        w.same();
        w.remove_tree(B, b"d").unwrap();
        w.same();
        assert_eq!(w.paths(A), ["keep"]);
        w.rests();
    });
}

#[test]
fn two_edits_at_once_make_a_copy() {
    home(3, |w| {
        w.edit(A, "x.txt");
        w.same();
        w.part(B);
        w.edit(A, "x.txt");
        w.run_for(5 * SECOND);
        w.edit(B, "x.txt");
        w.start(B);
        w.same();
        let paths = w.paths(A);
        assert_eq!(paths.len(), 2, "{paths:?}");
        assert!(paths[0].starts_with("x (conflict "), "{paths:?}");
        w.rests();
    });
}

#[test]
fn an_edit_beats_a_removal() {
    home(3, |w| {
        w.edit(A, "x");
        w.edit(A, "y");
        w.same();
        w.part(B);
        w.remove(A, b"x").unwrap();
        w.edit(B, "x");
        w.run_for(3 * SECOND);
        w.start(B);
        w.same();
        assert_eq!(w.paths(A), ["x", "y"]);
    });
}

#[test]
fn a_file_in_a_removed_directory_revives_it() {
    home(3, |w| {
        ["d/x", "y"].iter().for_each(|p| w.edit(A, p));
        w.same();
        w.part(B);
        w.remove_tree(A, b"d").unwrap();
        w.edit(B, "d/new");
        w.run_for(3 * SECOND);
        w.start(B);
        w.same();
        assert_eq!(w.paths(A), ["d", "d/new", "y"]);
    });
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    home(2, |w| {
        ["x", "y"].iter().for_each(|p| w.edit(A, p));
        w.same();
        w.remove(A, b"x").unwrap();
        w.edit(A, "x/in");
        w.same();
        assert_eq!(w.paths(B), ["x", "x/in", "y"]);
        w.remove_tree(B, b"x").unwrap();
        w.edit(B, "x");
        w.same();
        assert_eq!(w.paths(A), ["x", "y"]);
    });
}

#[test]
fn a_tracker_that_forgot_is_told_again() {
    home(3, |w| {
        ["d/x", "y", "z"].iter().for_each(|p| w.edit(A, p));
        w.same();
        w.stop_tracker();
        w.edit(B, "y");
        w.remove(A, b"z").unwrap();
        w.run_for(5 * SECOND);
        w.start_tracker(false);
        w.same();
        assert_eq!(w.paths(A), ["d", "d/x", "y"]);
        w.stop_tracker();
        w.start_tracker(true);
        w.same();
        assert_eq!(w.paths(B), ["d", "d/x", "y"]);
        // No roster was changed, so none is stored: the next start has to be told of it, too.
        w.stop_tracker();
        w.start_tracker(false);
        assert!(w.station.tracker.as_ref().is_some_and(|t| t.roster().is_unused()));
        w.same();
        w.rests();
    });
}

#[test]
fn a_power_cut_and_a_lost_store_lose_nothing() {
    home(3, |w| {
        ["d/x", "y", "z"].iter().for_each(|p| w.edit(A, p));
        w.same();
        w.power_cut(B);
        w.run_for(20 * SECOND);
        w.same();
        assert_eq!(w.paths(B), ["d", "d/x", "y", "z"]);
        w.kill(A);
        w.devices[A].ix = crate::mem_index::MemIndex::new();
        w.start(A);
        w.same();
        assert_eq!(w.paths(A), ["d", "d/x", "y", "z"]);
    });
}

#[test]
fn what_a_paused_device_overwrote_is_not_waited_for() {
    home(2, |w| {
        w.part(B);
        w.edit(A, "x");
        w.run_for(5 * SECOND);
        w.pause(A, true);
        w.edit(A, "x");
        w.run_for(5 * SECOND);
        w.start(B);
        w.run_for(60 * SECOND);
        assert!(!w.unsynced().contains("D1"), "{}", w.unsynced());
        w.pause(A, false);
        w.same();
        assert_eq!(w.paths(B), ["x"]);
    });
}

#[test]
fn a_store_brought_back_twice_gives_its_tag_up_both_times() {
    home(2, |w| {
        for _ in 0..2 {
            let mut old = w.devices[A].ix.clone();
            old.crash();
            let tag = w.devices[A].peer.as_ref().expect("it runs").tag();
            w.reset(A);
            w.edit(A, "x");
            w.run_for(5 * SECOND);
            w.kill(A);
            w.devices[A].ix = old;
            w.forgets(A);
            w.start(A);
            w.converge(700 * SECOND);
            assert_eq!(w.verdict(), None);
            assert_ne!(w.devices[A].peer.as_ref().expect("it runs").tag(), tag);
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let twice = thread::Builder::new().stack_size(64 << 20);
    let traces = twice.spawn(|| [super::run(3, false).trace, super::run(3, false).trace]);
    let traces = traces.unwrap().join().unwrap();
    assert_eq!(traces[0], traces[1]);
}

/// A seed of the list, perhaps in a smaller world: what was wrong with it, behind that, says how it is judged.
fn pinned(line: &str) -> (u64, Less) {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("{line}: nothing says what was wrong"));
    let seed = word().parse().unwrap_or_else(|e| panic!("{line}: {e}"));
    let (mut less, mut text) = (Less { audit: true, ..Less::default() }, word());
    while text.starts_with("--") {
        assert!(less.set(text, word()), "{line}: no such option");
        text = word();
    }
    less.audit = text != "(plain)";
    (seed, less)
}

#[test]
fn seeds_that_failed_once_are_clean() {
    let lines = include_str!("../../seeds.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    let seeds: Vec<(u64, Less)> = lines.map(pinned).collect();
    assert!(seeds.len() > 100, "the list is read");
    let runs = thread::Builder::new().stack_size(64 << 20);
    let run = |(s, less): (u64, Less)| super::run_less(s, &less, false).broken.map(|b| (s, b));
    let all = move || seeds.into_iter().find_map(run);
    assert_eq!(runs.spawn(all).unwrap().join().unwrap(), None);
}

#[test]
fn contents_are_named_as_the_core_names_them() {
    assert_eq!(Bytes::file(b"x"), Bytes::file(b"x"));
    assert_ne!(Bytes::file(b"x").id, Bytes::link(b"x").id);
}
