//! Users: what they do to their files, weighted so that paths and kinds collide.

use super::excuse::is_copy;
use super::fs::{Bytes, Fs, Ino, ROOT, TMP, TRASH};
use super::rand::{For, number};
use super::world::{Event, MS, World};
use dartsync_core::ids::ContentId;
use dartsync_core::peer::Touch;
use dartsync_core::record::Kind;

const NAMES: [&str; 4] = ["a", "b", "d", "f.txt"];

/// At the last instant before a swap or removal a user saves over what stands at the path. The content that went.
pub(super) fn last_instant(fs: &mut Fs, path: &[u8], data: Bytes, style: u64) -> Option<Option<ContentId>> {
    let (dir, name) = fs.place(path)?;
    let old = fs.entry(dir, name);
    match old {
        Some(i) if fs.node(i).kind != Kind::File => None,
        Some(i) if style == 0 => {
            let was = fs.node(i).data.id;
            fs.write((dir, name), i, data, Touch::Settled);
            Some(Some(was))
        }
        Some(i) => {
            let was = fs.node(i).data.id;
            let new = fs.make(Kind::File, 0o644, Some(data));
            let temp = b"#save".to_vec();
            fs.link(dir, &temp, new).ok()?;
            fs.rename((dir, &temp), (dir, name), false).ok()?;
            Some(Some(was))
        }
        None => {
            let new = fs.make(Kind::File, 0o644, Some(data));
            fs.link(dir, name, new).ok()?;
            Some(None)
        }
    }
}

impl World<'_> {
    /// A user's turn, and when the next comes.
    pub(super) fn user_turn(&mut self, d: usize) {
        if !self.editing {
            return;
        }
        let mut rand = self.luck.of(For::Turn, d as u64, self.devices[d].turns);
        self.devices[d].turns += 1;
        for _ in 0..if rand.chance(1, 8) { rand.within(2, 6) } else { 1 } {
            let deed = self.devices[d].deeds;
            self.devices[d].deeds += 1;
            if !self.devices[d].root_gone
                && (self.devices[d].joined || self.devices[d].late)
                && self.less.deeds(d, deed)
            {
                self.user = self.luck.of(For::Deed, d as u64, deed);
                self.made = deed << 6;
                self.deeds.push((d, deed));
                self.user_act(d);
            }
        }
        let pause = if rand.chance(1, 4) { rand.within(MS, 400 * MS) } else { rand.around(self.pace) };
        self.after(pause, Event::User { d });
    }

    fn some_path(&mut self) -> Vec<u8> {
        let depth = 1 + self.user.weighted(&[5, 3, 1]);
        let parts: Vec<&str> = (0..depth).map(|_| *self.user.pick(&NAMES)).collect();
        parts.join("/").into_bytes()
    }
    fn some_file(&mut self, d: usize) -> Option<(Vec<u8>, Ino)> {
        let fs = &self.devices[d].fs;
        let mut all = fs.walk(ROOT, b"");
        all.retain(|w| fs.node(w.1).kind != Kind::Directory);
        if self.user.chance(7, 8) {
            // Copies of copies of copies: now and then.
            all.retain(|w| !is_copy(&w.0));
        }
        self.user.choose(all, |w| number(&w.0))
    }
    fn something(&mut self, d: usize) -> Option<(Vec<u8>, Ino)> {
        let all = self.devices[d].fs.walk(ROOT, b"");
        self.user.choose(all, |w| number(&w.0))
    }

    fn user_act(&mut self, d: usize) {
        self.devices[d].tick(self.now);
        let what = self.user.weighted(&[20, 14, 10, 6, 10, 10, 6, 4, 4, 3, 6, 5, 5]);
        let done = match what {
            0 => {
                let path = self.some_path();
                self.create(d, &path)
            }
            1 => self.overwrite(d),
            2 => self.save_by_rename(d),
            3 => self.append(d),
            4 => self.some_file(d).and_then(|(path, _)| self.remove(d, &path)),
            5 => self.move_something(d),
            6 => {
                let path = self.some_path();
                self.make_dir(d, &path)
            }
            7 => self.something(d).and_then(|(path, _)| self.remove_tree(d, &path)),
            8 => self.symlink(d),
            9 => self.chmod(d),
            10 => self.touch_file(d),
            11 => self.turn_into_another(d),
            _ => self.open_and_write(d),
        };
        self.note(d + 1, "user", what as u64, done.is_some().into());
        if self.print && done.is_some() {
            let tree: Vec<String> = self.devices[d]
                .fs
                .walk(ROOT, b"")
                .iter()
                .map(|(p, i)| {
                    let n = self.devices[d].fs.node(*i);
                    let text = String::from_utf8_lossy(&n.data.bytes).into_owned();
                    format!("{}={:?}:{text}", String::from_utf8_lossy(p), n.kind)
                })
                .collect();
            self.explain(|| tree.join(" "));
        }
        if !self.devices[d].fs.told.is_empty() && !self.devices[d].reading {
            self.will_read(d);
        }
    }

    // What they write down.

    /// A content was written (and closed) at a path; `old` was there before.
    pub(super) fn wrote(
        &mut self,
        d: usize,
        path: &[u8],
        data: &Bytes,
        old: Option<ContentId>,
        closed: bool,
    ) {
        let text = String::from_utf8_lossy(&data.bytes).into_owned();
        let at = self.now;
        let w = self.ledger.contents.entry(data.id).or_default();
        if w.at.is_empty() {
            w.by = d;
        }
        w.text = text;
        w.at.insert(d, at);
        w.closed |= closed;
        self.ledger.put(data.id, path);
        if let Some(old) = old.filter(|o| *o != data.id) {
            self.took(d, path, old);
        }
    }
    /// A user removed or overwrote a content at a path, seeing it.
    fn took(&mut self, d: usize, path: &[u8], old: ContentId) {
        if let Some(w) = self.ledger.contents.get_mut(&old) {
            w.replaced = true;
        }
        if self.counts(d) && self.devices[d].knows(path, old) {
            self.ledger.take(old, path, d, self.now);
        }
    }
    fn content_at(&self, d: usize, path: &[u8]) -> Option<(Ino, Kind, ContentId)> {
        let fs = &self.devices[d].fs;
        let i = fs.find(path)?;
        Some((i, fs.node(i).kind, fs.node(i).data.id))
    }

    // What they do. None: it could not be done.

    /// Writes a new file, or over one, making directories on the way as far as that is possible.
    pub fn create(&mut self, d: usize, path: &[u8]) -> Option<()> {
        let data = self.fresh(d, "c");
        self.put(d, path, data)
    }
    /// Gives a path that content.
    pub fn put(&mut self, d: usize, path: &[u8], data: Bytes) -> Option<()> {
        self.devices[d].tick(self.now);
        if let Some(i) = path.iter().rposition(|b| *b == b'/')
            && self.devices[d].fs.find(&path[..i]).is_none()
        {
            self.make_dir(d, &path[..i])?;
        }
        let old = self.content_at(d, path);
        let fs = &mut self.devices[d].fs;
        let (dir, name) = fs.place(path)?;
        match old {
            Some((_, kind, _)) if kind != Kind::File => return None,
            Some((i, ..)) if fs.node(i).writers > 0 => return None,
            Some((i, ..)) => {
                let i = self.own_inode(d, i, (dir, name.to_vec()));
                self.devices[d].fs.write((dir, name), i, data.clone(), Touch::Settled);
            }
            None => {
                let i = fs.make(Kind::File, 0o644, Some(data.clone()));
                fs.link(dir, name, i).ok()?;
            }
        }
        self.wrote(d, path, &data, old.map(|o| o.2), true);
        self.reads(d);
        Some(())
    }
    /// Users know nothing of second names that a swap gave an inode for an instant.
    fn own_inode(&mut self, _d: usize, ino: Ino, _at: (Ino, Vec<u8>)) -> Ino {
        ino
    }
    fn reads(&mut self, d: usize) {
        if !self.devices[d].fs.told.is_empty() && !self.devices[d].reading {
            self.will_read(d);
        }
    }
    fn overwrite(&mut self, d: usize) -> Option<()> {
        let (path, i) = self.some_file(d)?;
        (self.devices[d].fs.node(i).kind == Kind::File).then_some(())?;
        let data = self.fresh(d, "o");
        self.put(d, &path, data)
    }
    fn append(&mut self, d: usize) -> Option<()> {
        let (path, i) = self.some_file(d)?;
        let n = self.devices[d].fs.node(i);
        (n.kind == Kind::File && n.data.bytes.len() < 200).then_some(())?;
        let mut bytes = n.data.bytes.to_vec();
        self.made += 1;
        bytes.extend_from_slice(format!("+{}-{d}", self.made).as_bytes());
        self.put(d, &path, Bytes::file(&bytes))
    }
    fn save_by_rename(&mut self, d: usize) -> Option<()> {
        let (path, i) = self.some_file(d)?;
        (self.devices[d].fs.node(i).kind == Kind::File).then_some(())?;
        let data = self.fresh(d, "s");
        let old = self.devices[d].fs.node(i).data.id;
        let fs = &mut self.devices[d].fs;
        let (dir, name) = fs.place(&path)?;
        let new = fs.make(Kind::File, 0o644, Some(data.clone()));
        fs.link(dir, b".save~", new).ok()?;
        fs.rename((dir, b".save~"), (dir, name), false).ok()?;
        self.wrote(d, &path, &data, Some(old), true);
        Some(())
    }
    /// Removes a file or symlink.
    pub fn remove(&mut self, d: usize, path: &[u8]) -> Option<()> {
        self.devices[d].tick(self.now);
        let (_, kind, old) = self.content_at(d, path)?;
        let fs = &mut self.devices[d].fs;
        let (dir, name) = fs.place(path)?;
        fs.unlink(dir, name).ok()?;
        if kind != Kind::Directory {
            self.took(d, path, old);
        }
        self.reads(d);
        Some(())
    }
    /// rm -r.
    pub fn remove_tree(&mut self, d: usize, path: &[u8]) -> Option<()> {
        self.devices[d].tick(self.now);
        let (ino, kind, _) = self.content_at(d, path)?;
        if kind == Kind::Directory {
            let below = self.devices[d].fs.walk(ino, path);
            for (p, _) in below.iter().rev() {
                self.remove(d, p)?;
            }
        }
        self.remove(d, path)
    }
    fn move_something(&mut self, d: usize) -> Option<()> {
        let (from, _) = self.something(d)?;
        let to = self.some_path();
        let unseen = self.user.below(4);
        if unseen == 0 {
            let _ = self.overwrite_unseen(d, &from);
        }
        self.rename(d, &from, &to)?;
        if unseen == 1 {
            let _ = self.overwrite_unseen(d, &to);
        }
        Some(())
    }
    /// Writes over a file as much as it held, and sets its time back: ctime alone tells.
    pub fn overwrite_unseen(&mut self, d: usize, path: &[u8]) -> Option<()> {
        self.devices[d].tick(self.now);
        let (i, _, old) = self.content_at(d, path).filter(|c| c.1 == Kind::File)?;
        let fs = &self.devices[d].fs;
        let (was, size) = (fs.stat(i), fs.node(i).data.bytes.len());
        (fs.node(i).writers == 0 && fs.stamp() > was.ctime).then_some(())?;
        let mut bytes = self.fresh(d, "u").bytes.to_vec();
        (bytes.len() <= size).then_some(())?;
        bytes.resize(size, b'.');
        let data = Bytes::file(&bytes);
        let fs = &mut self.devices[d].fs;
        let at = fs.place(path)?;
        fs.write(at, i, data.clone(), Touch::Settled);
        fs.set_meta(at, i, None, Some(was.mtime));
        self.wrote(d, path, &data, Some(old), true);
        self.reads(d);
        Some(())
    }
    /// mv.
    pub fn rename(&mut self, d: usize, from: &[u8], to: &[u8]) -> Option<()> {
        self.devices[d].tick(self.now);
        let (ino, kind, id) = self.content_at(d, from)?;
        let over = self.content_at(d, to);
        let below = if kind == Kind::Directory { self.devices[d].fs.walk(ino, b"") } else { vec![] };
        let fs = &mut self.devices[d].fs;
        let (a, b) = (fs.place(from)?, fs.place(to)?);
        fs.rename(a, b, false).ok()?;
        if let Some((_, k, old)) = over.filter(|o| o.1 != Kind::Directory) {
            debug_assert_ne!(k, Kind::Directory);
            self.took(d, to, old);
        }
        if kind != Kind::Directory {
            self.moved(d, id, from, to);
        }
        for (p, i) in below {
            let n = self.devices[d].fs.node(i);
            if n.kind != Kind::Directory {
                let (id, at) = (n.data.id, |dir: &[u8]| [dir, b"/", &p].concat());
                self.moved(d, id, &at(from), &at(to));
            }
        }
        self.reads(d);
        Some(())
    }
    /// Whether what a device's user removes is to stay removed: not what the home will not hear of, nor what a power cut
    /// may have taken.
    fn counts(&self, d: usize) -> bool {
        !self.devices[d].revoked && self.devices[d].torn_until <= self.now
    }
    /// A content left one path for another: it is not gone.
    fn moved(&mut self, d: usize, id: ContentId, from: &[u8], to: &[u8]) {
        if self.counts(d) && self.devices[d].knows(from, id) {
            self.ledger.take(id, from, d, self.now);
        }
        if !self.devices[d].is_up() {
            self.ledger.puts_back_unseen(&mut self.devices[d], vec![(to.to_vec(), id)]);
        }
        self.ledger.put(id, to);
    }
    /// mkdir -p.
    pub fn make_dir(&mut self, d: usize, path: &[u8]) -> Option<()> {
        self.devices[d].tick(self.now);
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i).chain([path.len()]);
        for end in ends.collect::<Vec<_>>() {
            let fs = &mut self.devices[d].fs;
            let (dir, name) = fs.place(&path[..end])?;
            match fs.entry(dir, name) {
                Some(i) if fs.node(i).kind == Kind::Directory => {}
                Some(_) => return None,
                None => {
                    let i = fs.make(Kind::Directory, 0o755, None);
                    fs.link(dir, name, i).ok()?;
                }
            }
        }
        self.reads(d);
        Some(())
    }
    fn symlink(&mut self, d: usize) -> Option<()> {
        let path = self.some_path();
        self.made += 1;
        let data = Bytes::link(format!("to/{}-{d}", self.made).as_bytes());
        let fs = &mut self.devices[d].fs;
        let (dir, name) = fs.place(&path)?;
        let i = fs.make(Kind::Symlink, 0o777, Some(data.clone()));
        fs.link(dir, name, i).ok()?;
        self.wrote(d, &path, &data, None, true);
        Some(())
    }
    fn chmod(&mut self, d: usize) -> Option<()> {
        let (path, i) = self.something(d)?;
        let dir = self.devices[d].fs.node(i).kind == Kind::Directory;
        (self.devices[d].fs.node(i).kind != Kind::Symlink).then_some(())?;
        let mode = *self.user.pick(if dir { &[0o755, 0o700, 0o775] } else { &[0o644, 0o600, 0o755] });
        let fs = &mut self.devices[d].fs;
        fs.set_meta(fs.place(&path)?, i, Some(mode), None);
        Some(())
    }
    fn touch_file(&mut self, d: usize) -> Option<()> {
        let (path, i) = self.some_file(d)?;
        (self.devices[d].fs.node(i).kind == Kind::File).then_some(())?;
        let wall = self.devices[d].wall(self.now) as i64 * 1000;
        let shift = self.user.within(0, 400_000) as i64 * 1_000_000_000;
        let mtime = match self.user.below(4) {
            0 => wall,
            1 => wall + shift,
            _ => wall - shift,
        };
        let fs = &mut self.devices[d].fs;
        fs.set_meta(fs.place(&path)?, i, None, Some(mtime));
        Some(())
    }
    /// A file becomes a directory, a directory a file, under one name.
    fn turn_into_another(&mut self, d: usize) -> Option<()> {
        let (path, i) = self.something(d)?;
        let dir = self.devices[d].fs.node(i).kind == Kind::Directory;
        self.remove_tree(d, &path)?;
        if dir { self.create(d, &path) } else { self.make_dir(d, &[&path[..], b"/a"].concat()) }
    }
    /// Opens a file, writes some, closes it later.
    fn open_and_write(&mut self, d: usize) -> Option<()> {
        let (path, i) = self.some_file(d)?;
        let n = self.devices[d].fs.node(i);
        (n.kind == Kind::File && n.writers == 0).then_some(())?;
        let old = n.data.id;
        let data = self.fresh(d, "w");
        let fs = &mut self.devices[d].fs;
        let (dir, name) = fs.place(&path)?;
        let place = (dir, name.to_vec());
        fs.node_mut(i).writers += 1;
        fs.write((dir, name), i, data.clone(), Touch::Written);
        self.wrote(d, &path, &data, Some(old), false);
        let pause = self.user.within(MS, 500 * MS);
        let left = self.user.within(0, 4) as u32;
        self.after(pause, Event::Write { d, ino: i, place, deed: self.made, left });
        Some(())
    }
    /// Goes on with that: the file may have another name by now, or none.
    pub(super) fn write_on(&mut self, d: usize, ino: Ino, place: (Ino, Vec<u8>), (deed, left): (u64, u32)) {
        self.devices[d].tick(self.now);
        let fs = &mut self.devices[d].fs;
        if fs.node(ino).writers == 0 {
            return;
        }
        // The kernel tells of an open file by the name it has now.
        let place = fs.name_of(ino, place);
        let here = fs.entry(place.0, &place.1) == Some(ino);
        let path = fs.path_of(place.0).filter(|_| here).map(|mut p| {
            if !p.is_empty() {
                p.push(b'/');
            }
            p.extend_from_slice(&place.1);
            p
        });
        if left == 0 {
            fs.node_mut(ino).writers -= 1;
            if here {
                fs.closed((place.0, &place.1));
            }
            let (id, at) = (fs.node(ino).data.id, self.now);
            // A name that a user took away is gone; one that the program took away is in its own directories.
            let fs = &self.devices[d].fs;
            let named = [ROOT, TMP, TRASH].iter().any(|dir| fs.walk(*dir, b"").iter().any(|w| w.1 == ino));
            if let Some(w) = self.ledger.contents.get_mut(&id) {
                // What is closed without a name is nobody's.
                w.closed |= named;
                w.at.insert(d, at);
            }
        } else {
            let mut bytes = fs.node(ino).data.bytes.to_vec();
            let old = fs.node(ino).data.id;
            bytes.extend_from_slice(format!("/{deed}.{left}-{d}").as_bytes());
            let data = Bytes::file(&bytes);
            self.devices[d].fs.write((place.0, &place.1), ino, data.clone(), Touch::Written);
            let path = path.unwrap_or_default();
            self.wrote(d, &path, &data, Some(old), false);
            let pause = self.luck.of(For::Turn, !deed, left.into()).within(MS, 500 * MS);
            self.after(pause, Event::Write { d, ino, place, deed, left: left - 1 });
        }
        self.reads(d);
    }
}
