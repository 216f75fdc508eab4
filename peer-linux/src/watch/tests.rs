use super::*;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const F: Folder = Folder(1);

/// A watched directory that is removed with the value.
struct Temp {
    dir: PathBuf,
    watcher: Watcher,
}

impl Temp {
    fn new(name: &str) -> Temp {
        let dir = std::env::temp_dir().join(format!("dartsync-watch-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("root/.dartsync")).expect("a temporary directory");
        fs::create_dir_all(dir.join("outside")).expect("made");
        let watcher = Watcher::new().expect("an inotify instance");
        let mut temp = Temp { dir, watcher };
        temp.add();
        temp
    }
    fn add(&mut self) {
        let root = OwnedFd::from(fs::File::open(self.dir.join("root")).expect("opened"));
        assert_eq!(self.watcher.add_root(F, root).expect("watched"), Watched::Complete);
    }
    fn at(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path)
    }
    fn write(&self, path: &str) {
        fs::write(self.at(path), path).expect("written");
    }
    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).expect("renamed");
    }
    /// What is told, a line each.
    fn read(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        self.watcher
            .read(&mut |event| {
                lines.push(match event {
                    WatchEvent::Touch { path, touch, is_dir, from, .. } => {
                        let slash = if is_dir { "/" } else { "" };
                        let from =
                            from.map_or(String::new(), |f| format!(" from {}", f.bytes().escape_ascii()));
                        format!("{}{slash} {touch:?}{from}", path.bytes().escape_ascii())
                    }
                    WatchEvent::Lost(_) => "lost".into(),
                    WatchEvent::Root(_) => "root".into(),
                    WatchEvent::Unwatched(_) => "unwatched".into(),
                    WatchEvent::Limited(_) => "limited".into(),
                });
            })
            .expect("read");
        lines
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn files_are_told_once_a_read_by_what_happened_last() {
    use std::io::Write;
    let mut t = Temp::new("files");
    t.write("a");
    t.write("a");
    assert_eq!(t.read(), ["a Settled"]);
    let mut open = fs::File::create(t.at("b")).expect("made");
    assert_eq!(t.read(), ["b Written"]);
    open.write_all(b"x").expect("written");
    use std::os::unix::fs::PermissionsExt;
    open.set_permissions(fs::Permissions::from_mode(0o600)).expect("set");
    assert_eq!(t.read(), ["b Written"], "a write goes on");
    drop(open);
    fs::set_permissions(t.at("a"), fs::Permissions::from_mode(0o600)).expect("set");
    assert_eq!(t.read(), ["b Settled", "a Settled"]);
    fs::remove_file(t.at("a")).expect("removed");
    assert_eq!(t.read(), ["a Gone"]);
    t.write(".dartsync/x");
    assert_eq!(t.read(), [""; 0]);
}

#[test]
fn saves_by_renaming_and_exchanges_are_no_removals() {
    let mut t = Temp::new("saves");
    t.write("a");
    t.write("b");
    t.read();
    t.rename("a", "a~");
    t.write("a.new");
    t.rename("a.new", "a");
    assert_eq!(t.read(), ["a Settled", "a~ Settled from a", "a.new Gone"]);
    let (a, b) = (t.at("a"), t.at("b"));
    rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, rustix::fs::RenameFlags::EXCHANGE)
        .expect("swapped");
    let mut told = t.read();
    told.sort();
    assert_eq!(told, ["a Settled", "b Settled"]);
}

#[test]
fn a_file_that_moved_untouched_is_told_with_its_former_name() {
    let mut t = Temp::new("untouched");
    fs::create_dir(t.at("d")).expect("made");
    t.write("a");
    t.read();
    t.rename("a", "d/b");
    assert_eq!(t.read(), ["a Gone", "d/b Settled from a"]);
    t.write("d/b");
    t.rename("d/b", "c");
    assert_eq!(t.read(), ["d/b Gone", "c Settled"], "it was written to before");
    t.rename("c", "a");
    t.write("a");
    assert_eq!(t.read(), ["c Gone", "a Settled"], "and after");
    t.rename("a", "b");
    t.rename("b", "c");
    assert_eq!(t.read(), ["a Gone", "b Settled", "c Settled"], "it moved twice");
    t.rename("c", "../outside/c");
    t.rename("../outside/c", "a");
    assert_eq!(t.read(), ["c Gone", "a Settled"], "nobody knows what happened to it outside");
}

#[test]
fn links_are_whole_when_they_are_made_and_not_followed() {
    let mut t = Temp::new("links");
    t.write("a");
    t.read();
    fs::hard_link(t.at("a"), t.at("b")).expect("linked");
    std::os::unix::fs::symlink(t.dir.join("outside"), t.at("l")).expect("linked");
    let told = t.read();
    assert!(told.contains(&"b Settled".into()) && told.contains(&"l Settled".into()), "{told:?}");
    fs::write(t.dir.join("outside/x"), "x").expect("written");
    assert_eq!(t.read(), [""; 0]);
    t.add();
    fs::write(t.dir.join("outside/x"), "y").expect("written");
    assert_eq!((t.read(), t.watcher.len()), (vec![], 1));
}

#[test]
fn new_directories_are_watched_and_what_is_in_them_is_scanned() {
    let mut t = Temp::new("dirs");
    fs::create_dir(t.at("empty")).expect("made");
    assert_eq!(t.read(), ["empty/ Settled", "empty/ Subtree"]);
    fs::create_dir_all(t.at("d/e")).expect("made");
    t.write("d/e/x");
    assert_eq!(t.read(), ["d/ Settled", "d/ Subtree"]);
    t.write("d/e/x");
    t.write("empty/y");
    assert_eq!(t.read(), ["d/e/x Settled", "empty/y Settled"]);
    fs::remove_dir_all(t.at("d")).expect("removed");
    assert_eq!(t.read(), ["d/e/x Gone", "d/e/ Gone", "d/ Gone"]);
    assert_eq!(t.watcher.len(), 2);
}

#[test]
fn a_moved_directory_keeps_its_watches_under_its_new_path() {
    let mut t = Temp::new("moved");
    fs::create_dir_all(t.at("d/e/f")).expect("made");
    fs::create_dir_all(t.at("g")).expect("made");
    t.read();
    t.rename("d", "g/d2");
    assert_eq!(t.read(), ["d/ Gone", "g/d2/ Settled", "g/d2/ Subtree"]);
    t.write("g/d2/e/f/x");
    t.rename("g/d2/e", "e");
    t.write("e/f/y");
    let told = t.read();
    assert!(told.contains(&"e/f/y Settled".into()) && told.contains(&"g/d2/e/ Gone".into()), "{told:?}");
    assert_eq!(t.watcher.len(), 5);
}

#[test]
fn a_directory_moved_out_is_watched_no_more_and_one_moved_in_is() {
    let mut t = Temp::new("out");
    fs::create_dir_all(t.at("d/e")).expect("made");
    t.read();
    t.rename("d", "../outside/d");
    // In its place another of the same name: it must keep its watch.
    fs::create_dir_all(t.at("d")).expect("made");
    assert_eq!(t.read(), ["d/ Settled", "d/ Subtree"]);
    t.write("../outside/d/e/x");
    t.write("d/x");
    assert_eq!((t.read(), t.watcher.len()), (vec!["d/x Settled".into()], 2));
    t.rename("../outside/d", "in");
    assert_eq!(t.read(), ["in/ Settled", "in/ Subtree"]);
    t.write("in/e/x");
    assert_eq!((t.read(), t.watcher.len()), (vec!["in/e/x Settled".into()], 4));
    t.rename("in", "../outside/in");
    assert_eq!(t.read(), ["in/ Gone"]);
    t.write("d/x");
    t.read();
    assert_eq!(
        t.watcher.len(),
        2,
        "a move whose other half might have come later is settled by the next read"
    );
}

#[test]
fn a_root_that_goes_is_told() {
    let mut t = Temp::new("root");
    fs::rename(t.at(".dartsync"), t.dir.join("outside/.dartsync")).expect("renamed");
    assert_eq!(t.read(), ["root"]);
    fs::rename(t.dir.join("outside/.dartsync"), t.at(".dartsync")).expect("renamed");
    assert_eq!(t.read(), ["root"]);
    fs::rename(t.dir.join("root"), t.dir.join("moved")).expect("renamed");
    assert_eq!(t.read(), ["root"]);
    fs::remove_dir_all(t.dir.join("moved")).expect("removed");
    assert!(t.read().contains(&"root".into()));
    t.watcher.remove_root(F);
    assert!(t.watcher.is_empty());
    t.read();
    fs::create_dir_all(t.at("d")).expect("made");
    t.add();
    t.write("d/x");
    assert_eq!(t.read(), ["d/x Settled"]);
}

#[test]
fn directories_deeper_than_a_path_name_may_be_long_are_watched() {
    let mut t = Temp::new("deep");
    let mut dir = OwnedFd::from(fs::File::open(t.at("")).expect("opened"));
    let name = [b'd'; 250];
    for _ in 0..16 {
        rustix::fs::mkdirat(&dir, &name[..], rustix::fs::Mode::RWXU).expect("made");
        dir = rustix::fs::openat(&dir, &name[..], rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .expect("opened");
    }
    t.read();
    assert_eq!(t.watcher.len(), 17);
    assert!(t.at("").as_os_str().as_bytes().len() + 251 * 16 + 2 > 4030);
    rustix::fs::mkdirat(&dir, "x", rustix::fs::Mode::RWXU).expect("made");
    assert_eq!(t.read().len(), 2, "it is told, and scanned");
}

#[test]
fn after_an_overflow_all_is_watched_again() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("inotify's limits");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 50_000 {
        return;
    }
    let mut t = Temp::new("lost");
    fs::create_dir(t.at("d")).expect("made");
    t.write("d/0");
    t.read();
    // Two events a rename.
    (0..=limit / 2).for_each(|n| t.rename(&format!("d/{n}"), &format!("d/{}", n + 1)));
    fs::create_dir_all(t.at("late/f")).expect("made");
    let mut told = Vec::new();
    for _ in 0..10 {
        told.extend(t.read());
    }
    assert!(told.contains(&"lost".into()));
    t.write("late/f/x");
    t.write("d/x");
    assert_eq!(t.read(), ["late/f/x Settled", "d/x Settled"]);
}
