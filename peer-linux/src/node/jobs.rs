//! Slow work, done on worker threads: each effect that touches a disk is one function here.

use crate::content::{HashError, Hashed, hash_file, hash_symlink};
use crate::disk::{Root, file_stat, has_writer, is_alone, is_being_saved, wall};
use dartsync_core::ids::{ContentId, Folder, Ticket};
use dartsync_core::path::Path;
use dartsync_core::peer::{Cause, Outcome, Stat};
use dartsync_core::record::Kind;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A path of a folder, for a job.
#[derive(Clone)]
pub struct Spot {
    /// Its folder, or the folder's trash.
    pub folder: Folder,
    /// That folder's root.
    pub root: Arc<Root>,
    /// A core path.
    pub path: Vec<u8>,
    /// The row's number.
    pub n: u64,
}

impl Spot {
    /// The path.
    pub fn path(&self) -> Path<'_> {
        Path::new(&self.path).expect("came out of the store, which takes paths alone")
    }
    fn open(&self) -> Result<File, Cause> {
        match self.folder.is_trash() {
            true => self.root.trash_open(&self.path),
            false => self.root.open_read(self.path()),
        }
    }
    fn text(&self) -> Result<Vec<u8>, Cause> {
        match self.folder.is_trash() {
            true => self.root.trash_link(&self.path),
            false => self.root.read_link(self.path()),
        }
    }
}

/// A content's chunks, for the store; empty when there is one at most.
pub type Manifest = (ContentId, Vec<u8>);

/// What a job found.
pub struct Found {
    /// Which job.
    pub ticket: Ticket,
    /// What the peer machine is told.
    pub outcome: Outcome,
    /// To be kept before that.
    pub manifest: Option<Manifest>,
    /// It counts only if nothing was told of since that happened before (R17).
    pub unread: bool,
}

impl Found {
    fn of(ticket: Ticket, result: Result<(Outcome, Option<Hashed>), Cause>) -> Found {
        let (outcome, hashed) = result.unwrap_or_else(|cause| (Outcome::Failed(cause), None));
        let manifest = hashed.filter(|h| !h.leaves.is_empty()).map(|h| (h.content, h.leaves));
        Found { ticket, outcome, manifest, unread: false }
    }
}

/// `Effect::Look`.
pub fn look(
    at: &Spot,
    ticket: Ticket,
    (known, moved): (Option<Stat>, Option<(Stat, ContentId)>),
    block: &mut Vec<u8>,
    cancel: &AtomicBool,
) -> Found {
    if let Some(outcome) = moved.and_then(|moved| look_at_moved(at, moved)) {
        return Found { ticket, outcome, manifest: None, unread: true };
    }
    Found::of(ticket, look_at(at, known, block, cancel))
}

/// The same of a file that was moved; none where it is to be hashed after all.
fn look_at_moved(spot: &Spot, (before, content): (Stat, ContentId)) -> Option<Outcome> {
    let at = wall();
    let stat = spot.root.stat(spot.path()).ok().flatten()?;
    if !before.is_moved_to(&stat) || stat.is_fresh(at) {
        return None;
    }
    let file = spot.root.open_read(spot.path()).ok()?;
    // A writer that comes later shows in its times, or is told of.
    let same =
        is_alone(&file) && file_stat(&file) == Ok(stat) && spot.root.stat(spot.path()) == Ok(Some(stat));
    same.then_some(Outcome::Looked { stat, content: Some(content), at })
}

fn look_at(
    spot: &Spot,
    known: Option<Stat>,
    block: &mut Vec<u8>,
    cancel: &AtomicBool,
) -> Result<(Outcome, Option<Hashed>), Cause> {
    let at = wall();
    let looked = |stat: Stat, hashed: Option<Hashed>| {
        let content = hashed.as_ref().map(|h| h.content);
        Ok((Outcome::Looked { stat, content, at }, hashed))
    };
    let Some(stat) = spot.root.stat(spot.path())? else { return looked(Stat::default(), None) };
    match stat.kind {
        Kind::Removed | Kind::Directory => looked(stat, None),
        _ if known == Some(stat) => looked(stat, None),
        Kind::Symlink => {
            let text = spot.root.read_link(spot.path())?;
            if spot.root.stat(spot.path())? != Some(stat) {
                return Err(Cause::Changing);
            }
            looked(stat, Some(hash_symlink(&text)))
        }
        Kind::File => {
            let file = spot.root.open_read(spot.path())?;
            // The handle may be on another file than the first stat: that one is looked at then.
            let stat = file_stat(&file)?;
            if is_being_saved(&file, &stat) {
                return Err(Cause::Changing);
            }
            // Before it is read: who opens it later shows in its times with the first write to each page.
            let written = has_writer(&file);
            let hashed = hash_file(&file, block, cancel).map_err(cause_of)?;
            if file_stat(&file)? != stat || spot.root.stat(spot.path())? != Some(stat) {
                return Err(Cause::Changing);
            }
            looked(if written { stat.of_writer() } else { stat }, Some(hashed))
        }
    }
}

/// Why a hash came to nothing.
fn cause_of(e: HashError) -> Cause {
    match e {
        HashError::Io(e) => Cause::Os(e.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())),
        HashError::TooLarge => Cause::Os(rustix::io::Errno::FBIG.raw_os_error()),
        HashError::Changed | HashError::Cancelled => Cause::Changing,
    }
}

/// `Effect::Make`: content of this device into the part file of `to`.
pub struct Make {
    /// Names the answer.
    pub ticket: Ticket,
    /// Whose part file.
    pub to: Spot,
    /// Where the content is.
    pub from: Spot,
    /// File or symlink.
    pub kind: Kind,
    /// What it must be.
    pub content: ContentId,
    /// The stat of a file that is to be moved.
    pub take: Option<Stat>,
}

impl Make {
    /// Does it.
    pub fn run(&self, block: &mut Vec<u8>, cancel: &AtomicBool) -> Found {
        Found::of(self.ticket, self.make(block, cancel))
    }

    fn make(&self, block: &mut Vec<u8>, cancel: &AtomicBool) -> Result<(Outcome, Option<Hashed>), Cause> {
        let (root, n) = (&self.to.root, self.to.n);
        if let Some(expect) = self.take {
            // Its stat vouches for its content, before and after.
            root.make_take(n, &self.from.root, self.from.path(), &expect)?;
            let outcome = if root.has_taken(n) { Outcome::Taken } else { Outcome::Ready };
            return Ok((outcome, None));
        }
        let hashed = match self.kind {
            Kind::Symlink => {
                let text = self.from.text()?;
                root.part_write(n, &text)?;
                hash_symlink(&text)
            }
            _ => {
                let part = root.make_copy(n, &self.from.open()?)?;
                hash_file(&part, block, cancel).map_err(cause_of)?
            }
        };
        match hashed.content == self.content {
            true => Ok((Outcome::Ready, Some(hashed))),
            false => {
                root.part_drop(n)?;
                Err(Cause::Corrupt)
            }
        }
    }
}

/// The content of what lies in a trash, so that it is found there.
pub fn hash_trash(at: &Spot, kind: Kind, block: &mut Vec<u8>, cancel: &AtomicBool) -> Option<(Hashed, u64)> {
    match kind {
        Kind::File => {
            let file = at.open().ok()?;
            let hashed = hash_file(&file, block, cancel).ok()?;
            let size = file.metadata().ok()?.len();
            Some((hashed, size))
        }
        Kind::Symlink => {
            let text = at.text().ok()?;
            let size = text.len() as u64;
            Some((hash_symlink(&text), size))
        }
        Kind::Directory | Kind::Removed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Temp(std::path::PathBuf, Arc<Root>);

    impl Temp {
        fn new(name: &str) -> Temp {
            let dir = std::env::temp_dir().join(format!("dartsync-jobs-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            let root = Arc::new(Root::link(&dir, 7).unwrap().0);
            Temp(dir, root)
        }
        fn spot(&self, path: &str, n: u64) -> Spot {
            Spot { folder: Folder(1), root: self.1.clone(), path: path.into(), n }
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn looked(found: Found) -> (Stat, Option<ContentId>) {
        let Outcome::Looked { stat, content, .. } = found.outcome else { panic!("{:?}", found.outcome) };
        (stat, content)
    }

    #[test]
    fn a_look_hashes_what_is_not_known() {
        let t = Temp::new("look");
        let go = AtomicBool::new(false);
        let look = |p: &str, known| look(&t.spot(p, 1), Ticket(1), (known, None), &mut Vec::new(), &go);
        fs::write(t.0.join("f"), vec![7; 300_000]).unwrap();
        std::os::unix::fs::symlink("there", t.0.join("l")).unwrap();
        fs::create_dir(t.0.join("d")).unwrap();
        let first = look("f", None);
        let (name, leaves) = first.manifest.clone().expect("more than one chunk");
        let (stat, content) = looked(first);
        assert_eq!((stat.size, content), (300_000, Some(name)));
        assert!(!leaves.is_empty());
        assert_eq!(looked(look("f", Some(stat))), (stat, None), "known");
        assert_eq!(looked(look("l", None)).1, Some(hash_symlink(b"there").content));
        assert_eq!(looked(look("d", None)).0.kind, Kind::Directory);
        assert_eq!(looked(look("d/none", None)).0.kind, Kind::Removed);
        let stopped = AtomicBool::new(true);
        let found = super::look(&t.spot("f", 1), Ticket(1), (None, None), &mut Vec::new(), &stopped);
        assert_eq!(found.outcome, Outcome::Failed(Cause::Changing));
    }

    #[test]
    fn a_look_beside_a_writer_is_not_the_last_one() {
        let t = Temp::new("writer");
        let go = AtomicBool::new(false);
        fs::write(t.0.join("f"), "bytes").unwrap();
        let writer = fs::OpenOptions::new().append(true).open(t.0.join("f")).unwrap();
        let look = |known| loop {
            let found = look(&t.spot("f", 1), Ticket(1), (known, None), &mut Vec::new(), &go);
            // It was written to just before: a save under way.
            if found.outcome != Outcome::Failed(Cause::Changing) {
                break looked(found);
            }
        };
        let first = look(None);
        assert_eq!(look(Some(first.0)).1.is_some(), t.1.probe().leases, "it may have been written to");
        drop(writer);
        let last = look(Some(first.0)).0;
        assert_eq!(look(Some(last)), (last, None));
    }

    #[test]
    fn what_was_moved_and_only_that_is_not_hashed() {
        let t = Temp::new("moved");
        let go = AtomicBool::new(false);
        fs::write(t.0.join("f"), "bytes").unwrap();
        let before = t.1.stat(t.spot("f", 1).path()).unwrap().unwrap();
        let known = ContentId([7; 32]);
        let look = |before| {
            // By then no later change can have the ctime of the last.
            std::thread::sleep(std::time::Duration::from_millis(50));
            let found = look(&t.spot("g", 1), Ticket(1), (None, Some((before, known))), &mut Vec::new(), &go);
            let unread = found.unread;
            let content = looked(found).1;
            assert_eq!(unread, content == Some(known));
            unread
        };
        fs::rename(t.0.join("f"), t.0.join("g")).unwrap();
        assert!(look(before) || !t.1.probe().leases);
        assert!(!look(Stat { mtime: before.mtime - 1, ..before }) && !look(before.of_writer()));
        fs::hard_link(t.0.join("g"), t.0.join("other")).unwrap();
        assert!(!look(before), "it may be written to by its other name");
        fs::remove_file(t.0.join("other")).unwrap();
        let writer = fs::OpenOptions::new().append(true).open(t.0.join("g")).unwrap();
        assert!(!look(before), "it may be written to through a map");
        drop(writer);
        assert!(look(before) || !t.1.probe().leases);
        fs::set_permissions(t.0.join("g"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(!look(before));
    }

    /// A program that writes through a map, as it is told.
    const MAPS: &str = "import mmap, sys
f = open(sys.argv[1], 'w+b')
f.truncate(4096)
m = mmap.mmap(f.fileno(), 4096)
f.close()
for word in sys.stdin:
    m[0:5] = word[0:5].encode()
    print(flush=True)
";

    #[test]
    fn what_is_written_through_a_map_is_seen_when_it_is_closed() {
        let t = Temp::new("map");
        let (piped, go) = (std::process::Stdio::piped, AtomicBool::new(false));
        let mut program = std::process::Command::new("python3");
        program.args(["-c", MAPS]).arg(t.0.join("f")).stdin(piped()).stdout(piped());
        let Ok(mut child) = program.spawn() else {
            return eprintln!("no python3: writing through a map was not tested");
        };
        let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(from));
        let mut write = |word: &str| {
            std::io::Write::write_all(&mut to, format!("{word}\n").as_bytes()).unwrap();
            lines.next().unwrap().unwrap();
        };
        let look = |known| look(&t.spot("f", 1), Ticket(1), (known, None), &mut Vec::new(), &go);
        write("first");
        let first = loop {
            let found = look(None);
            if found.outcome != Outcome::Failed(Cause::Changing) {
                break looked(found);
            }
        };
        write("LATER");
        drop(to);
        assert!(child.wait().unwrap().success());
        let (stat, content) = looked(look(Some(first.0)));
        assert!(content.is_some() && content != first.1, "whatever its times say");
        let last = looked(look(Some(stat)));
        assert!(last.1.is_none(), "nobody writes to it any more");
        assert_eq!(t.1.remove(t.spot("f", 1).path(), 1, &stat, content).outcome, Outcome::Removed);
    }

    #[test]
    fn what_is_made_here_is_verified() {
        let t = Temp::new("make");
        fs::write(t.0.join("f"), "bytes").unwrap();
        let go = AtomicBool::new(false);
        let right = looked(look(&t.spot("f", 1), Ticket(1), (None, None), &mut Vec::new(), &go)).1.unwrap();
        let make = |content, n| {
            let (to, from) = (t.spot("g", n), t.spot("f", 1));
            let make = Make { ticket: Ticket(2), to, from, kind: Kind::File, content, take: None };
            make.run(&mut Vec::new(), &go).outcome
        };
        assert_eq!(make(right, 2), Outcome::Ready);
        assert!(t.1.part_read(2).unwrap().is_some());
        assert_eq!(make(ContentId([1; 32]), 3), Outcome::Failed(Cause::Corrupt));
        assert!(t.1.part_read(3).unwrap().is_none(), "nothing wrong is left to be taken for right");
    }
}
