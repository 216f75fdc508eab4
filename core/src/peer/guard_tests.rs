//! The guard against bursts of removals: what counts, what passes, what is held.

use super::rig::Rig;
use super::trees::Lane;
use crate::record::Kind;
use crate::time::Duration;
use std::format;

/// A folder of so many files, half of them links, in `d`.
fn filled(files: usize) -> Rig {
    let mut rig = Rig::ready();
    rig.has("d", Kind::Directory, "");
    for n in 0..files {
        let kind = if n % 2 == 0 { Kind::File } else { Kind::Symlink };
        rig.has(&format!("d/{n}"), kind, &format!("{n}"));
    }
    rig
}

fn judge(rig: &mut Rig) -> bool {
    while rig.judgement() {}
    rig.peer.folders[0].held
}

#[test]
fn a_hundred_pass_and_over_half_is_held() {
    let mut rig = filled(150);
    (0..100).for_each(|n| rig.misses(&format!("d/{n}")));
    assert!(!judge(&mut rig));
    assert_eq!(rig.lane("d/99"), Some(Lane::Announce));
    // Within the same 10 s, what remains is judged as one burst, once no more come.
    rig.misses("d/100");
    rig.pass(Duration::millis(500));
    assert_eq!(rig.lane("d/100"), Some(Lane::Vanished));
    (101..130).for_each(|n| rig.misses(&format!("d/{n}")));
    assert!(judge(&mut rig), "30 of 50");
    let mut rig = filled(150);
    (0..101).for_each(|n| rig.misses(&format!("d/{n}")));
    assert!(judge(&mut rig), "101 of 150");
    // They come back: nothing is left to judge.
    (0..101).for_each(|n| {
        let kind = if n % 2 == 0 { Kind::File } else { Kind::Symlink };
        rig.sees(&format!("d/{n}"), kind, &format!("{n}"));
    });
    rig.pass(Duration::millis(1));
    assert!(!rig.peer.folders[0].held);
    let mut rig = filled(300);
    (0..140).for_each(|n| rig.misses(&format!("d/{n}")));
    assert!(!judge(&mut rig), "140 of 300");
}

#[test]
fn a_burst_waits_for_quiet() {
    let mut rig = filled(200);
    (0..101).for_each(|n| rig.misses(&format!("d/{n}")));
    for n in 101..104 {
        rig.pass(Duration::millis(1_500));
        assert_eq!(rig.lane("d/0"), Some(Lane::Vanished), "more may come");
        rig.misses(&format!("d/{n}"));
    }
    assert!(judge(&mut rig));
    assert_eq!(rig.lane("d/103"), Some(Lane::Vanished));
}

#[test]
fn a_deep_rename_is_no_removal_and_leaves_room_for_some() {
    let mut rig = filled(300);
    let deep = |top: &str, n: usize| format!("{top}{}", "/a".repeat(n));
    (0..120).for_each(|n| rig.has(&deep("old", n), Kind::Directory, ""));
    (0..150).for_each(|n| rig.has(&format!("old/a/{n}"), Kind::File, &format!("deep {n}")));
    // The old names are missed before the new ones were looked at.
    (0..150).for_each(|n| rig.misses(&format!("old/a/{n}")));
    (0..120).for_each(|n| rig.misses(&deep("old", n)));
    (0..120).for_each(|n| rig.sees(&deep("new", n), Kind::Directory, ""));
    (0..150).for_each(|n| rig.sees(&format!("new/a/{n}"), Kind::File, &format!("deep {n}")));
    assert!(rig.judgement());
    assert_eq!(rig.lane("old/a/149"), Some(Lane::Announce));
    assert_eq!(rig.lane("old/a/a"), Some(Lane::Announce), "at once, and with it its directory");
    assert_eq!(rig.peer.folders[0].passed, 0);
    // A removal soon after: the rename did not use up what passes.
    (0..100).for_each(|n| rig.misses(&format!("d/{n}")));
    assert!(rig.judgement());
    assert_eq!((rig.lane("d/99"), rig.peer.folders[0].held), (Some(Lane::Announce), false));
    // And more of it, less than half.
    (100..200).for_each(|n| rig.misses(&format!("d/{n}")));
    assert!(!judge(&mut rig), "100 of 350");
}

#[test]
fn directories_do_not_count_and_share_the_fate_of_content() {
    let mut rig = Rig::ready();
    (0..500).for_each(|n| rig.has(&format!("{n}"), Kind::Directory, ""));
    rig.has("keep", Kind::File, "keep");
    (0..500).for_each(|n| rig.misses(&format!("{n}")));
    assert!(rig.judgement());
    assert_eq!((rig.lane("499"), rig.peer.folders[0].held), (Some(Lane::Announce), false));
    // Directories that stay make no removal a small one.
    let mut rig = filled(120);
    (0..500).for_each(|n| rig.has(&format!("e{n}"), Kind::Directory, ""));
    (0..120).for_each(|n| rig.misses(&format!("d/{n}")));
    rig.misses("d");
    assert!(judge(&mut rig), "all of 120");
    assert_eq!(rig.lane("d"), Some(Lane::Vanished));
    let (mut peer, now) = (rig.peer, rig.now);
    peer.approve(&mut rig.ix, now, super::rig::F);
    rig.peer = peer;
    assert_eq!((rig.lane("d"), rig.lane("d/7")), (Some(Lane::Announce), Some(Lane::Announce)));
}

#[test]
fn an_emptied_root_is_held_unless_it_held_few() {
    for (n, held) in [(8, false), (9, true)] {
        let mut rig = Rig::ready();
        (0..n).for_each(|n| rig.has(&format!("{n}"), Kind::File, &format!("{n}")));
        (0..n).for_each(|n| rig.misses(&format!("{n}")));
        assert_eq!(judge(&mut rig), held, "{n}");
    }
}
