//! What each excuse covers, and what is judged for all that.

use super::check::{Ledger, Table, visible};
use super::device::{Device, F};
use super::excuse::*;
use super::fs::{Bytes, Fs, ROOT, TMP, TRASH};
use super::rand::Rand;
use super::world::SECOND;
use dartsync_core::ids::{ContentId, Epoch, FolderId, FolderSlot, Seq, Tag};
use dartsync_core::path::Path;
use dartsync_core::peer::{DEVICE, Index, Intent, Local, Made, Number, Remote, Stat, Touch, Trees, UNCLEAN};
use dartsync_core::record::{Flags, Kind, Record};
use dartsync_core::version::{Edit, VersionVector};
use dartsync_core::wire::batch::{BatchWriter, Entry, EntryFlags};
use dartsync_core::wire::message::{ToPeer, encode};
use std::collections::BTreeSet;

/// Members, each with these files at its root.
fn home(files: &[&[&str]]) -> Vec<Device> {
    let device = |(n, files): (usize, &&[&str])| {
        let mut d = Device::new(n, Rand::new(0));
        d.joined = true;
        files.iter().for_each(|name| make(&mut d, ROOT, name));
        d
    };
    files.iter().enumerate().map(device).collect()
}
/// A file holds its own name.
fn make(d: &mut Device, dir: u64, name: &str) {
    let ino = d.fs.make(Kind::File, 0o644, Some(Bytes::file(name.as_bytes())));
    d.fs.link(dir, name.as_bytes(), ino).unwrap();
}
fn id(name: &str) -> ContentId {
    Bytes::file(name.as_bytes()).id
}

#[test]
fn a_lost_store_brings_back_what_stands_there_and_what_the_home_does_not_know_of_and_no_more() {
    // A shows two files that B's user removed: C has removed y, too.
    let mut devices = home(&[&["x", "y"], &[], &[]]);
    let made = Edit { tag: Tag(1), counter: 1 };
    let removal = Record { kind: Kind::Removed, version: VersionVector::of(made), ..Record::default() };
    let row = devices[2].ix.create(F, Path::new(b"y").unwrap());
    devices[2].ix.save(row, &Trees { synced: Some(removal.clone()), ..Trees::default() }, None);
    // Of x it has but heard.
    let row = devices[2].ix.create(F, Path::new(b"x").unwrap());
    let remote = Some(Remote { record: removal.clone(), epoch: Epoch(1), seq: Seq(1) });
    devices[2].ix.save(row, &Trees { remote, ..Trees::default() }, None);
    devices[2].ix.commit();
    let told = Table::from([(b"x".to_vec(), removal)]);
    let mut after = |lost: Option<usize>, name: &str, tables: &[&Table]| {
        let mut ledger = Ledger::default();
        for name in ["x", "y"] {
            ledger.put(id(name), name.as_bytes());
            ledger.edits.entry(id(name)).or_default().insert(made, name.into());
        }
        ledger.take(id(name), name.as_bytes(), 1, 1);
        lost.iter().for_each(|d| ledger.forgets(*d, &mut devices, tables[0]));
        tables[1..].iter().for_each(|t| ledger.reconsider(None, &mut devices, t));
        devices.iter().find_map(|d| ledger.nothing_returned(d).err())
    };
    let none = Table::new();
    assert!(after(None, "x", &[&none]).is_some_and(|e| e.contains("x is back")));
    let there = ["x", "y"].map(|name| after(Some(0), name, &[&none]));
    assert_eq!(there, [None, None], "it stands there without a store");
    assert_eq!(after(Some(1), "x", &[&none]), None, "nobody tells that it was removed");
    assert!(after(Some(1), "x", &[&told]).is_some(), "the tracker does");
    assert_eq!(after(Some(1), "x", &[&told, &none]), None, "as long as it runs");
    assert!(after(Some(1), "y", &[&none, &none]).is_some(), "C does");
    assert!(after(Some(2), "x", &[&none]).is_some(), "what C's store knew had nothing to do with it");
}

#[test]
fn what_the_home_has_in_a_trash_alone_is_lost_whoever_else_shows_it() {
    let mut devices = home(&[&[], &["x"], &["y"]]);
    make(&mut devices[0], TRASH, "x");
    let mut ledger = Ledger::default();
    for name in ["x", "y"] {
        ledger.contents.entry(id(name)).or_default().closed = true;
    }
    let lost = |ledger: &Ledger, devices: &[Device]| ledger.nothing_lost(devices, Leave::default()).err();
    assert_eq!(lost(&ledger, &devices), None);
    devices[2].revoked = true;
    assert_eq!(lost(&ledger, &devices), None, "y was only ever there");
    devices[1].revoked = true;
    assert!(lost(&ledger, &devices).is_some_and(|e| e.contains("only in a trash")));
    ledger.crowds_out(id("x"), b"x");
    assert!(lost(&ledger, &devices).is_some(), "anyone can save as x");
    ledger.crowds_out(id("x"), b"x (conflict device 2026-01-01-000000 00000000)");
    assert_eq!(lost(&ledger, &devices), None);
}

#[test]
fn what_two_users_wrote_may_go_with_the_page_caches_of_both_and_not_with_what_was_fetched() {
    let (id, mut trashed, shown) = (id("x"), home(&[&[]]), home(&[&["x"]]));
    make(&mut trashed[0], TRASH, "x");
    let judged_with = |taken: &str, cuts: &[(usize, u64)], left: Contents, others: &[Device]| {
        let mut ledger = Ledger::default();
        ledger.take(id, taken.as_bytes(), 0, 10 * SECOND);
        ledger.contents.entry(id).or_default().at = [(0, SECOND), (1, 9 * SECOND)].into();
        let others = || others.iter().enumerate().map(|(n, d)| (n, &d.fs));
        cuts.iter().for_each(|(d, at)| ledger.excuse(*d, at * SECOND, &[id].into(), left.clone(), others()));
        let w = &ledger.contents[&id];
        (w.cut.lost, w.cut.sinks)
    };
    let judged = |cuts: &[(usize, u64)], others: &[Device]| judged_with("y", cuts, BTreeSet::new(), others);
    let after = |cuts: &[(usize, u64)]| judged(cuts, &[]) == (true, true);
    assert_eq!(judged_with("y", &[(0, 20)], [id].into(), &[]), (false, true), "in a swap file");
    assert_eq!(judged(&[(0, 20)], &trashed), (false, true), "it may stay in a trash, and not be lost");
    assert_eq!(judged(&[(0, 40)], &trashed), (false, false), "on the platter by then");
    assert_eq!(judged(&[(0, 20)], &shown), (false, false), "another device shows it");
    let moved = judged_with("x", &[(0, 20)], BTreeSet::new(), &shown);
    assert_eq!(moved, (false, true), "where it is going to a trash");
    let mut swapping = home(&[&[]]);
    make(&mut swapping[0], TMP, "x");
    assert_eq!(judged(&[(0, 20)], &swapping), (false, true), "it is about to be installed");
    assert!(!after(&[(2, 20)]), "who has it ready, where nothing else lost it");
    let both = |then: &[Device]| {
        let mut ledger = Ledger::default();
        ledger.contents.entry(id).or_default().at = [(1, 9 * SECOND)].into();
        for (d, others) in [(1, &swapping[..]), (0, then)] {
            let others = others.iter().enumerate().map(|(n, x)| (n, &x.fs));
            ledger.excuse(d, 20 * SECOND, &[id].into(), BTreeSet::new(), others);
        }
        ledger.contents[&id].cut.lost
    };
    assert!(both(&[]), "and then its power fails, too");
    assert!(!both(&trashed), "but somebody has got it meanwhile");
    assert!(after(&[(0, 20)]) && after(&[(1, 20)]), "whoever is the last to lose it");
    assert!(!after(&[(0, 40)]), "on the platter by then");
    assert!(after(&[(1, 39)]) && !after(&[(1, 41)]), "each has its own time");
    assert!(!after(&[(2, 20)]), "who fetched it has it durably");
}

#[test]
fn what_was_ready_to_be_installed_may_be_lost_where_its_user_or_the_home_wanted_something_else() {
    // B has x ready, which A's power cut took; a record names it, or another; on B a user saved y there or removed z, or not.
    let lost_where = |stands: &str, saved: u64, told: &str, third: &[&str], spared: &[usize]| {
        let mut devices = home(&[&[], &[], third]);
        if !stands.is_empty() {
            let ino = devices[1].fs.make(Kind::File, 0o644, Some(Bytes::file(stands.as_bytes())));
            devices[1].fs.link(ROOT, b"p", ino).unwrap();
        }
        let row = devices[1].ix.create(F, Path::new(b"p").unwrap());
        let remote = Some(Remote { record: edited(1, 5, told), epoch: Epoch(1), seq: Seq(1) });
        devices[1].ix.save(row, &Trees { remote, ..Trees::default() }, None);
        let mut ledger = Ledger::default();
        ledger.contents.entry(id("x")).or_default().at = [(0, 10)].into();
        ledger.contents.entry(id("y")).or_default().at = [(1, saved)].into();
        ledger.take(id("z"), b"p", 1, saved);
        ledger.gives_up(1, id("x"), b"p", &mut devices);
        assert!(!ledger.contents[&id("x")].cut.lost, "no cut took it");
        let refused: &[u8] = if stands == "refused" { b"p" } else { b"q" };
        ledger.refused.insert((1, refused.to_vec(), id("x")));
        ledger.contents.get_mut(&id("x")).unwrap().cut.spared = spared.iter().copied().collect();
        ledger.gives_up(1, id("x"), b"p", &mut devices);
        ledger.contents[&id("x")].cut.lost
    };
    let lost = |stands: &str, saved, told: &str, third: &[&str]| lost_where(stands, saved, told, third, &[1]);
    assert!(lost("y", 11, "x", &[]), "B's user saved there since");
    assert!(!lost("y", 9, "x", &[]), "before x was written");
    assert!(!lost("w", 11, "x", &[]), "somebody else's");
    assert!(lost("", 11, "x", &[]), "B's user removed what stood there");
    assert!(!lost("", 9, "x", &[]), "before x was written");
    assert!(lost("w", 9, "y", &[]), "the home has something else");
    assert!(!lost("y", 11, "x", &["x"]), "another device shows it");
    assert!(!lost_where("y", 11, "x", &[], &[]), "something else had spared it");
    assert!(!lost_where("y", 11, "x", &[], &[1, 2]), "another has it ready, too");
    assert!(!lost_where("w", 9, "x", &[], &[1]), "nobody wanted anything else");
    assert!(lost_where("refused", 9, "x", &[], &[1]), "its disk did not take it");
}

#[test]
fn what_could_not_be_installed_once_is_refused_no_longer_than_it_is_ready() {
    let mut ledger = Ledger::default();
    let refused = |ledger: &mut Ledger| ledger.refused.insert((0, b"p".to_vec(), id("x")));
    ledger.contents.entry(id("x")).or_default().cut.spared = [0].into();
    assert!(refused(&mut ledger));
    ledger.gives_up(0, id("x"), b"p", &mut home(&[&[], &["x"]]));
    assert!(refused(&mut ledger), "given up, it was that once");
    ledger.installed(id("x"));
    assert!(refused(&mut ledger), "installed");
}

#[test]
fn what_another_device_has_fetched_meanwhile_is_spared_there() {
    let mut devices = home(&[&[], &[]]);
    let mut ledger = Ledger::default();
    ledger.contents.entry(id("x")).or_default().cut.spared = [0].into();
    let ino = devices[1].fs.make(Kind::File, 0o644, Some(Bytes::file(b"x")));
    devices[1].fs.link(TMP, b"1.swap", ino).unwrap();
    ledger.gives_up(0, id("x"), b"p", &mut devices);
    let cut = &ledger.contents[&id("x")].cut;
    assert!(!cut.lost && cut.spared == [1].into());
    devices[1].fs.unlink(TMP, b"1.swap").unwrap();
    ledger.gives_up(1, id("x"), b"p", &mut devices);
    assert!(ledger.contents[&id("x")].cut.lost);
}

#[test]
fn what_a_power_cut_took_is_all_that_its_user_does_not_see_any_more_and_nothing_else() {
    let of = |names: &str| names.split_terminator(' ').map(id).collect::<Contents>();
    let before = (of("seen trashed tmp stays shy"), of("seen trashed stays shy"));
    let after = (of("trashed stays shy"), of("trashed stays"));
    assert_eq!(gone(&before, &after), of("seen tmp shy"), "in a swap file a user sees nothing");
    assert!(gone(&before, &before).is_empty() && gone(&after, &before).is_empty());
}

#[test]
fn what_was_installed_again_after_a_power_cut_is_judged_as_anything() {
    let devices = home(&[&[]]);
    let lost = |ledger: &Ledger| ledger.nothing_lost(&devices, Leave::default()).is_err();
    let mut ledger = Ledger::default();
    let w = ledger.contents.entry(id("x")).or_default();
    (w.closed, w.at) = (true, [(0, 1)].into());
    assert!(lost(&ledger));
    ledger.excuse(0, 2, &[id("x")].into(), BTreeSet::new(), std::iter::empty());
    assert!(!lost(&ledger));
    ledger.installed(id("y"));
    assert!(!lost(&ledger));
    ledger.installed(id("x"));
    assert!(lost(&ledger));
    ledger.contents.get_mut(&id("x")).unwrap().excused = true;
    ledger.installed(id("x"));
    assert!(!lost(&ledger), "that its one device went is not over by that");
}

#[test]
fn a_removal_is_held_against_nobody_once_a_user_put_it_there_again() {
    let mut ledger = Ledger::default();
    ledger.put(id("x"), b"p");
    ledger.take(id("x"), b"p", 0, 1);
    assert!(ledger.is_taken(id("x"), b"p") && !ledger.is_taken(id("x"), b"q"));
    ledger.put(id("x"), b"q");
    assert!(ledger.is_taken(id("x"), b"p"), "somewhere else");
    ledger.put(id("x"), b"p");
    assert!(!ledger.is_taken(id("x"), b"p"));
}

#[test]
fn a_power_cut_undoes_removals_of_that_user_since_then_and_no_others() {
    let mut ledger = Ledger::default();
    [("old", 0, 9), ("new", 0, 10), ("other", 1, 10)]
        .iter()
        .for_each(|(name, by, at)| ledger.take(id(name), b"p", *by, *at));
    ledger.forgive(0, 10);
    assert_eq!(["old", "new", "other"].map(|n| ledger.is_taken(id(n), b"p")), [true, false, true]);
}

#[test]
fn a_power_cut_undoes_removals_that_the_program_had_not_seen_of_what_it_did_not_know_to_be_on_the_platter() {
    let held = |unsynced: bool, known: &str, by: usize| {
        let mut device = home(&[&[]]).remove(0);
        let row = device.ix.create(F, Path::new(b"p").unwrap());
        let record = edited(1, 5, known);
        let local = Some(Local { record, made: Made::Synced, stat: Stat::default(), at: 1 });
        device.ix.save(row, &Trees { local, unsynced, ..Trees::default() }, None);
        device.ix.commit();
        let mut ledger = Ledger::default();
        ledger.take(id("x"), b"p", by, 1);
        ledger.forgive_unseen(0, &mut device);
        ledger.is_taken(id("x"), b"p")
    };
    assert!(!held(true, "x", 0));
    assert!(held(false, "x", 0), "it was on the platter, so it was a user who took it away");
    assert!(held(true, "y", 0), "it had seen that x went");
    assert!(held(true, "x", 1), "another device's user");
}

#[test]
fn what_a_user_put_back_where_a_program_that_ends_had_seen_it_go_may_be_taken_for_what_was_there() {
    let after = |puts: u32, stored: &str, known: &str, stands: &str| {
        let mut device = home(&[&[stands]]).remove(0);
        let row = device.ix.create(F, Path::new(stands.as_bytes()).unwrap());
        let knows = |device: &mut Device, content: &str| {
            let local =
                Local { record: edited(1, 5, content), made: Made::Synced, stat: Stat::default(), at: 1 };
            let local = Some(local).filter(|_| !content.is_empty());
            device.ix.save(row, &Trees { local, ..Trees::default() }, None);
        };
        knows(&mut device, stored);
        device.ix.commit();
        knows(&mut device, known);
        let mut ledger = Ledger::default();
        ledger.contents.entry(id("x")).or_default();
        ledger.take(id("x"), b"x", 1, 1);
        (0..puts).for_each(|_| ledger.put(id("x"), b"x"));
        let news = ledger.put_back(&mut device);
        device.kill(false);
        ledger.puts_back_unseen(&mut device, news);
        ledger.contents[&id("x")].may_sink
    };
    let sinks = |stored: &str, known: &str, stands: &str| after(1, stored, known, stands);
    assert!(sinks("x", "", "x") && sinks("x", "y", "x"));
    assert!(!after(0, "x", "", "x"), "nobody put it there");
    assert!(!sinks("x", "x", "x"), "it stood there all the time");
    assert!(!sinks("", "", "x") && !sinks("y", "", "x"), "its next look tells that it is new");
}

#[test]
fn what_a_power_cut_brings_back_counts_as_put_there_and_what_stayed_does_not() {
    let mut devices = home(&[&["stays"]]);
    let before = visible(&devices[0]);
    make(&mut devices[0], ROOT, "back");
    let mut ledger = Ledger::default();
    ledger.brought_back(&before, &visible(&devices[0]));
    assert_eq!(ledger.puts(), [(id("back"), 1)].into());
}

#[test]
fn a_loser_needs_no_copy_only_where_each_side_covers_the_other() {
    let [a, b] = [(1, "a"), (2, "b")].map(|(tag, name)| edited(tag, 5, name));
    let knows = |r: &Record, of: &Record| {
        let mut r = r.clone();
        assert!(r.version.raise(of.edit));
        r
    };
    let met = |a: &Record, b: &Record| {
        let mut ledger = Ledger::default();
        ledger.said.insert(b"p".to_vec(), vec![a.clone(), b.clone()]);
        ledger.met_its_equal(&a.content)
    };
    assert!(met(&knows(&a, &b), &knows(&b, &a)));
    assert!(!met(&a, &b) && !met(&knows(&a, &b), &b) && !met(&a, &knows(&b, &a)));
    assert!(!met(&a, &a), "itself");
}

#[test]
fn a_program_need_not_know_of_a_removal_after_a_power_cut_until_it_has_looked_at_all() {
    let stand = |unclean: bool, at: u64, intent: bool| {
        let mut d = Device::new(0, Rand::new(0));
        let record = edited(1, 5, "x");
        let row = d.ix.create(F, Path::new(b"x").unwrap());
        let intent = intent.then_some(Intent {
            from: (Kind::Removed, ContentId::NONE),
            to: (Kind::File, record.content),
            copy: None,
        });
        let local = Local { record: record.clone(), made: Made::Minted, stat: Stat::default(), at };
        let target = intent.map(|_| record);
        let t = Trees { local: Some(local), unsynced: true, intent, target, ..Trees::default() };
        d.ix.save(row, &t, None);
        d.ix.set_number(F, Number::State, u64::from(unclean) * UNCLEAN);
        d.knows(b"x", id("x"))
    };
    assert!(!stand(true, 0, false), "announced, and not looked at since");
    assert!(stand(true, 1, false), "looked at since");
    assert!(!stand(true, 1, true), "killed over its install");
    assert!([0, 1].iter().all(|at| stand(false, *at, false) && stand(false, *at, true)), "no cut");
}

#[test]
fn what_was_written_half_a_minute_ago_is_on_the_platter_though_its_mode_was_changed_since() {
    let written = |then: u64, chmod: Option<u64>, cut: u64| {
        (0..64u64).all(|seed| {
            let (mut fs, name) = (Fs::new(1, 1_000), &b"x"[..]);
            let ino = fs.make(Kind::File, 0o644, Some(Bytes::file(b"old")));
            fs.link(ROOT, name, ino).unwrap();
            fs.flush();
            fs.now = then * SECOND;
            fs.write((ROOT, name), ino, Bytes::file(b"new"), Touch::Settled);
            if let Some(at) = chmod {
                fs.now = at * SECOND;
                fs.set_meta((ROOT, name), ino, Some(0o600), None);
            }
            fs.now = cut * SECOND;
            fs.power_cut(&mut Rand::new(seed));
            fs.node(ino).data.bytes[..] == *b"new"
        })
    };
    assert!(!written(1, None, 30) && !written(1, Some(20), 30), "in the page cache alone");
    assert!(written(1, None, 31) && written(1, Some(20), 31), "written back meanwhile");
}

#[test]
fn what_lies_in_a_part_alone_is_on_no_disk() {
    let mut d = home(&[&["x"]]).remove(0);
    make(&mut d, TRASH, "y");
    make(&mut d, TMP, "1.swap");
    make(&mut d, TMP, "2.part");
    assert_eq!(recoverable(&d.fs), ["x", "y", "1.swap"].map(id).into());
}

/// An edit of that tag with the content of that name, which replaced the one before.
fn edited(tag: u32, counter: u64, name: &str) -> Record {
    let edit = Edit { tag: Tag(tag), counter };
    let mut record = Record { kind: Kind::File, content: id(name), edit, ..Record::default() };
    (record.size, record.version) = (1, VersionVector::of(edit));
    record
}

#[test]
fn what_an_edit_had_replaced_may_be_back_once_nobody_has_that_edit() {
    let mut devices = home(&[&[], &["y"]]);
    devices.iter_mut().for_each(|d| d.folder = Some(FolderId(1)));
    let over = |counter: u64, r: Record| Record { parent: Some(Edit { counter, ..r.edit }), ..r };
    let withdrawn = |r: Record| Record { flags: Flags(Flags::WITHDRAWN), ..over(5, r) };
    let back = |devices: &[Device], path: &str, r: &Record| {
        let mut ledger = Ledger::default();
        ledger.put(id("x"), b"p");
        ledger.edits.entry(id("x")).or_default().insert(edited(1, 5, "x").edit, b"p".to_vec());
        ledger.take(id("x"), b"p", 0, 1);
        ledger.said.entry(b"p".to_vec()).or_default().push(over(5, edited(1, 6, "w")));
        let (mut buf, mut out) = ([0; 512], [0; 1024]);
        let mut w = BatchWriter::new(&mut buf);
        let path = Path::new(path.as_bytes()).unwrap();
        let entry =
            Entry { folder: FolderSlot(0), seq: Seq(1), flags: EntryFlags::default(), path, record: r };
        assert!(w.push(&entry));
        let n = w.len();
        let n = encode(&ToPeer::Records(&buf[..n]), &mut out).unwrap();
        ledger.pushed(Epoch(1), &out[..n], devices).unwrap();
        !ledger.is_taken(id("x"), b"p")
    };
    assert!(!back(&devices, "p", &withdrawn(edited(1, 9, "y"))), "B has it");
    assert!(back(&devices, "p", &withdrawn(edited(1, 9, "z"))));
    assert!(!back(&devices, "p", &over(5, edited(1, 9, "z"))), "it stands there");
    assert!(back(&devices, "p", &over(6, withdrawn(edited(1, 9, "z")))), "one in between");
    assert!(!back(&devices, "p", &over(7, withdrawn(edited(1, 9, "z")))), "it replaced the removal");
    assert!(!back(&devices, "q", &withdrawn(edited(1, 9, "z"))), "somewhere else");
    assert!(!back(&devices, "p", &withdrawn(edited(2, 9, "z"))), "it replaced something else");
    devices[1].folder = None;
    assert!(back(&devices, "p", &withdrawn(edited(1, 9, "y"))), "B has no part in it");
}

#[test]
fn a_counter_that_is_given_out_again_is_excused_and_no_other() {
    let mut device = home(&[&[]]).remove(0);
    device.ix.set_number(DEVICE, Number::Tag, 1);
    let mut ledger = Ledger::default();
    ["a", "b", "c", "d"].iter().for_each(|n| {
        ledger.contents.entry(id(n)).or_default();
    });
    ledger.count(&mut device, &edited(1, 10, "a"), true);
    ledger.edits.entry(id("a")).or_default().insert(edited(1, 10, "a").edit, b"p".to_vec());
    let mut old = device.ix.clone();
    old.set_number(DEVICE, Number::Counter, 6);
    ledger.goes_back(&mut old);
    for forgot in [false, true] {
        for (counter, tag, name) in [(10, 1, "a"), (8, 1, "b"), (11, 1, "c"), (8, 2, "d")] {
            ledger.count(&mut device, &edited(tag, counter, name), forgot);
        }
        let sinks = ["a", "b", "c", "d"].map(|n| ledger.contents[&id(n)].may_sink);
        assert_eq!(sinks, [false, forgot, false, false], "known before; again; new; another's");
    }
}
