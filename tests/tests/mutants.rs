//! Without any one of the rules something must be seen to break. Each mutant has its story, which ends well with all rules
//! and does not without that one; or a test of the core that fails without it.
//!
//! `cargo test -p dartsync-tests --features mutants --profile fast --test mutants`

use dartsync_core::mutant::{Mutant, set};
use dartsync_tests::sim::stories;
use std::process::Command;

enum How {
    /// This story breaks.
    Story(&'static str),
    /// This test of the core fails.
    Core(&'static str),
    /// This is so on the real disk.
    Real(fn() -> bool),
}
use How::*;

const CAUGHT: &[(&str, How)] = &[
    ("R1Again", Story("a copy that is owed is not forgotten")),
    ("R1Remote", Story("a store of yesterday overwrites nothing")),
    ("R1Unheard", Story("nothing is told before all is heard")),
    ("R1Unscanned", Story("what is not on disk any more is not told at the next start")),
    ("R1Clock", Story("a clock that steps back loses no edit")),
    ("R2Durable", Story("two edits at once make one copy")),
    ("R3Edit", Story("metadata that is merged does not outlive a removal")),
    ("R3Parent", Story("a clock that steps back loses no edit")),
    ("R4Tag", Story("of two that go on from one store, none loses its edit")),
    ("R4Mint", Story("of two that go on from one store, none loses its edit")),
    ("R4Unknown", Story("a store of before knows no removal that was forgotten")),
    ("R4Bits", Story("a new store holds nothing yet")),
    ("R4Turns", Story("two clones do not take turns for ever")),
    ("R5Fork", Story("a tracker that forgot sees a fork")),
    ("R6Full", Story("a file with many tags can still be edited")),
    ("R6Keep", Story("a file with many tags can still be edited")),
    ("R7Yield", Story("metadata that is merged does not outlive a removal")),
    ("R7Mutual", Core("of_two_that_know_each_other_the_one_wins_that_knows_more")),
    ("R7Settled", Core("who_removed_what_a_fork_was_settled_for_removed_it")),
    ("R7Fresh", Story("two edits of a file with many tags make one copy")),
    ("R7Same", Story("the same file on both sides is no conflict")),
    ("R7Meta", Core("verdicts_follow_the_vectors")),
    ("R8Absent", Story("what a tracker forgot is not removed")),
    ("R8Tell", Story("who was put out does not come back with an old roster")),
    ("R8Heard", Story("a copy that was only heard of is made after the tracker forgot")),
    ("R8Tombstones", Story("a lost store brings no file back whose removal the tracker forgot")),
    ("R9Name", Story("two that settle one conflict make one copy")),
    ("R9Record", Story("a directory wins over a file")),
    ("R9Second", Story("two edits at once make one copy")),
    ("R9Dropped", Story("a copy that is owed is not forgotten")),
    ("R9Directory", Story("a directory wins over a file")),
    ("R9Edit", Story("an edit beats a removal")),
    ("R9Fields", Story("a change of mode outlives a concurrent edit")),
    ("R9aWithdraw", Story("what was torn before anyone had it is waited for by nobody")),
    ("R9aLack", Story("what was torn before anyone had it is waited for by nobody")),
    ("R9aMake", Story("what a lost device had moved comes back where it put it")),
    ("R9bRevive", Story("a directory that was revived goes with what it was for")),
    ("R9bInvented", Story("a directory that was revived goes with what it was for")),
    ("R9bChildren", Story("a file becomes a directory and back")),
    ("R10Collect", Story("a removal is kept for whoever is away")),
    ("R10Erase", Story("a file made again outlives its old removal")),
    ("R10Found", Story("a lost store brings no removed file back")),
    ("R11Intent", Story("two edits at once make one copy")),
    ("R11Unknown", Story("a save at the last instant outlives a crash")),
    ("R12Writers", Story("a file that is written to is not displaced")),
    ("R13Torn", Story("what a power cut tore is no edit")),
    ("R13Later", Story("what a power cut tore is no edit for a later start either")),
    ("R13Tag", Story("who edits what a power cut tore has not replaced what is whole elsewhere")),
    ("R14ReadBack", Story("coarse times are no edits")),
    ("R15Trash", Story("what is removed elsewhere lies in the trash")),
    ("R16Durable", Story("two edits at once make one copy")),
    ("R16Anew", Story("the same file on both sides is no conflict")),
    ("R17Touched", Story("what was written to a file before it was moved is what arrives")),
    ("R17Fence", Story("what is written to a moved file while it is looked at is what arrives")),
    ("R20Forgets", Core("a_revoked_device_leaves_its_name_and_nothing_else")),
    ("R20Unite", Core("what_a_device_announced_goes_when_an_older_roster_tells_of_its_revocation")),
    ("R20Quorum", Story("a tracker that lost its roster waits for half of its devices")),
    ("R20Order", Story("who was put out does not come back with an old roster")),
    ("R21Founded", Core("a_founded_roster_never_supersedes_a_sealed_one")),
    ("NoHash", Story("what a source made up is not installed")),
    ("NoAck", Story("two edits at once make one copy")),
    ("NoRoot", Story("a root that is gone is no empty one")),
    ("BothWin", Story("two edits at once make one copy")),
    ("ForkHolds", Core("verdicts_follow_the_vectors")),
    ("FollowsLinks", Real(follows_a_link)),
    ("NoMac", Story("a forged roster is not taken")),
    ("SeqAgain", Story("what was torn before anyone had it is waited for by nobody")),
    ("SlotBits", Story("who joins in a slot that was another's holds nothing yet")),
    ("SwarmDumb", Core("a_fellow_that_stands_still_holds_the_others_up_for_a_moment")),
    ("SwarmLost", Core("after_any_storm_everybody_has_it")),
    ("SwarmRoot", Core("after_any_storm_everybody_has_it")),
    ("SwarmHolds", Core("after_any_storm_everybody_has_it")),
    ("SwarmPart", Core("after_any_storm_everybody_has_it")),
    ("SwarmCheck", Core("after_any_storm_everybody_has_it")),
    ("SwarmLiar", Core("after_any_storm_everybody_has_it")),
    ("SwarmGone", Core("who_has_it_not_is_not_asked_again")),
    ("SwarmStall", Core("after_any_storm_everybody_has_it")),
    ("SwarmTree", Core("what_seekers_have_together_they_all_get_when_one_starts_anew")),
    ("SwarmHeld", Core("what_a_source_passes_over_is_asked_of_another")),
];

/// The disk finds what lies behind a symlink within the folder.
fn follows_a_link() -> bool {
    let dir = std::env::temp_dir().join(format!("dartsync-mutants-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("e/f")).expect("a directory");
    std::fs::write(dir.join("e/f/a"), "elsewhere").expect("a file");
    std::os::unix::fs::symlink("e", dir.join("s")).expect("a symlink");
    let (root, _) = dartsync::disk::Root::link(&dir, 7).expect("a root");
    let found = root.stat(dartsync_core::path::Path::new(b"s/f/a").expect("a good name"));
    std::fs::remove_dir_all(&dir).expect("it was made");
    !matches!(found, Ok(None))
}

fn story_breaks(name: &str) -> bool {
    stories().find(|s| s.name == name).expect("a story of that name").tell().is_err()
}

fn core_test_fails(mutant: &str, test: &str) -> bool {
    let run = |mutant: &str| {
        let mut c = Command::new(env!("CARGO"));
        c.args(["test", "--quiet", "--profile", "fast", "-p", "dartsync-core", "--features", "mutants"]);
        c.args(["--lib", "--", test]).env("DARTSYNC_MUTANT", mutant).env("RUST_MIN_STACK", "67108864");
        let out = c.output().expect("cargo runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.contains("running 1 test"), "{said}{}", String::from_utf8_lossy(&out.stderr));
        out.status.success()
    };
    run("") && !run(mutant)
}

#[test]
fn every_rule_that_is_left_out_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut wrong: Vec<String> =
        stories().filter_map(|s| Some(format!("{}: {}", s.name, s.tell().err()?))).collect();
    for (name, m) in Mutant::ALL {
        let how = CAUGHT.iter().find(|c| c.0 == *name).map(|c| &c.1);
        let noticed = match how {
            Some(Story(story)) => {
                set(Some(*m));
                story_breaks(story)
            }
            Some(Core(test)) => core_test_fails(name, test),
            Some(Real(breaks)) => {
                assert!(!breaks());
                set(Some(*m));
                breaks()
            }
            None => false,
        };
        set(None);
        if !noticed {
            wrong.push(format!("nothing notices {name}"));
        }
    }
    let _ = std::panic::take_hook();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(CAUGHT.len(), Mutant::ALL.len());
}

#[test]
fn the_table_of_mutants_says_what_notices_each() {
    let doc = include_str!("../../docs/MUTANTS.md");
    for (name, how) in CAUGHT {
        let what = match how {
            Story(what) | Core(what) => what,
            Real(_) => "the real disk",
        };
        let line = doc.lines().find(|l| l.starts_with(&format!("| {name} |")));
        assert!(line.is_some_and(|l| l.contains(what)), "docs/MUTANTS.md says of {name}: {line:?}");
    }
}
