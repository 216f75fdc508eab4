//! Commands when no device runs: done here, on the store and by a short visit to the tracker.

use crate::client::{Client, Reply as Answer, StoreNumbers, Target, entropy, wire_addr};
use crate::config::{Config, FolderConfig, Lock, Secret, State};
use crate::control::{DeviceStatus, FolderStatus, Reply, Request, Status, Text, TrackerStatus};
use crate::disk::{self, DiskError, Marker, Purged, Root};
use crate::ops;
use crate::store::Store;
use crate::trash::{self, Deletable};
use anyhow::{Context, Result, anyhow, bail};
use dartsync_core::ids::{Folder, FolderId, InviteId, PublicKey};
use dartsync_core::link::StaticKey;
use dartsync_core::link::code::InviteCode;
use dartsync_core::peer::Peer;
use dartsync_core::roster::Roster;
use dartsync_core::wire::message;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Claims the state; `None` if another process has it and keeps it for 2 s.
pub fn lock(state: &State) -> Result<Option<Lock>> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        match state.lock()? {
            Some(lock) => return Ok(Some(lock)),
            None if Instant::now() > until => return Ok(None),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The device's key, and whether it was made just now: durable before anyone hears of it. The state is claimed.
pub fn own_key(state: &State) -> Result<(StaticKey, bool)> {
    if let Some(secret) = state.identity()? {
        return Ok((StaticKey::from_secret(&secret.0), false));
    }
    let key = StaticKey::generate(&mut entropy());
    state.set_identity(&Secret(*key.secret()))?;
    Ok((key, true))
}

/// Opens the store; says so if it was damaged.
pub fn open(state: &State) -> Result<Store> {
    let (store, found) = Store::open(state.dir())?;
    if let crate::store::Found::Damaged(aside) = found {
        eprintln!(
            "dartsync: the store was damaged, and is kept as {}; files are scanned anew",
            aside.display()
        );
    }
    Ok(store)
}

/// Whether a directory holds no linked one. Goes through all of it, which may take minutes.
pub fn check_within(root: &Path) -> Result<()> {
    disk::check_within(root, &AtomicBool::new(false)).map_err(|e| anyhow!("{}: {e}", root.display()))
}

/// Marks a directory, which holds no linked one, as the root of the next folder, if it can be one. That it is a new one stands
/// in the store before its marker does: one that has its marker already is that of a lost store (R10).
pub fn claim_root(store: &mut Store, config: &Config, id: FolderId, root: &Path) -> Result<Marker> {
    if matches!(Root::open(root), Err(DiskError::NoMarker)) {
        Peer::note_new_root(store, Folder(config.next_folder));
        store.commit(true).context("the store")?;
    }
    let (linked, _) = Root::link(root, id.0).map_err(|e| anyhow!("{}: {e}", root.display()))?;
    Ok(linked.marker())
}

/// How many files there are below a directory, and their bytes.
pub fn count(root: &Path) -> (u64, u64) {
    let (mut files, mut bytes, mut todo) = (0, 0, vec![root.to_owned()]);
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(m) if m.is_dir() && entry.file_name() != ".dartsync" => todo.push(entry.path()),
                Ok(m) if m.is_file() => (files, bytes) = (files + 1, bytes + m.len()),
                _ => {}
            }
        }
    }
    (files, bytes)
}

/// Does what a request asks; `None` if another process has claimed the state by now.
pub fn answer(state: &State, request: &Request) -> Result<Option<Reply>> {
    // A state that no device ever joined with is told before anything is made in it.
    state.config()?;
    let Some(_lock) = state.lock()? else { return Ok(None) };
    // Read once more: whoever had the state until now may have written it.
    let mut here = Here { state, config: state.config()?, store: open(state)? };
    here.answer(request).map(Some)
}

/// The state of a device that does not run, claimed.
struct Here<'a> {
    state: &'a State,
    config: Config,
    store: Store,
}

impl Here<'_> {
    fn answer(&mut self, request: &Request) -> Result<Reply> {
        Ok(match request {
            Request::Status => Reply::done(&self.status()?),
            Request::Wait { .. } => bail!("`dartsync run` is not running on this state"),
            Request::Invite { force } => Reply::done(&self.invite(force.as_deref())?),
            Request::Devices => {
                let (roster, me) = (self.newest_roster()?, self.key()?.public());
                Reply::done(&ops::devices(&roster, &me, |_| None))
            }
            Request::Revoke { name, force } => {
                let key = ops::key_of(&*self.newest_roster()?, name)?;
                self.ask(force.as_deref(), message::Request::Revoke(key))?;
                Reply::text(format!("{name} is out of the home, for ever"))
            }
            Request::Link { label, path, make, force } => {
                Reply::done(&self.link(label, &path.0, *make, force.as_deref())?)
            }
            Request::Unlink { label } => Reply::done(&self.unlink(label)?),
            Request::Forget { label } => Reply::done(&self.forget(label)?),
            Request::Leave => Reply::done(&self.leave()?),
            Request::Folders => {
                let roster = self.newest_roster()?;
                Reply::done(&ops::folders(&roster, &self.config))
            }
            Request::Conflicts => Reply::done(&ops::conflicts(&mut self.store, &self.config)),
            Request::TrashList => Reply::done(&trash::list(&self.config)),
            Request::TrashRestore { path, date } => Reply::done(&self.restore(&path.0, date.as_deref())?),
            Request::TrashEmpty => Reply::done(&self.empty_trash()?),
            Request::Pause { label, on } => Reply::done(&self.pause(label.as_deref(), *on)?),
            Request::Limit { up, down } => {
                self.config.limits.change(*up, *down)?;
                self.state.set_config(&self.config)?;
                Reply::text(self.config.limits.to_string())
            }
            Request::Approve { label, list } => self.approve(label, *list)?,
        })
    }

    fn key(&self) -> Result<StaticKey> {
        let secret = self.state.identity()?;
        let secret =
            secret.with_context(|| format!("{}: the identity is gone", self.state.dir().display()))?;
        Ok(StaticKey::from_secret(&secret.0))
    }

    /// Dials the tracker; a dial raises the store's run, durably, before (R4).
    fn visit(&mut self) -> Result<Client> {
        let numbers = StoreNumbers::take(&mut self.store, &mut entropy());
        self.store.commit(true).context("the store")?;
        let target = Target {
            tracker: self.config.tracker.public_key()?,
            addresses: self.config.tracker.addresses.clone(),
            invite: None,
            roster: self.state.read("roster")?.unwrap_or_default(),
        };
        Client::visit(&self.key()?, &target, numbers, &self.config.name)
    }

    /// One request, and then the roster that is in force.
    fn ask(&mut self, force: Option<&str>, request: message::Request<'_>) -> Result<(Answer, Client)> {
        let mut client = self.visit()?;
        if let Some(words) = force {
            client.request(message::Request::Force(words))?.granted()?;
        }
        let answer = client.request(request)?.granted()?;
        Ok((answer, client))
    }

    /// The tracker's roster if it can be reached, else the one kept here.
    fn newest_roster(&mut self) -> Result<Box<Roster>> {
        let fetched = self.visit().and_then(|mut c| c.roster());
        let (sealed, roster) = match fetched {
            Ok(found) => found,
            Err(e) => {
                let kept = self.state.read("roster")?.ok_or(e)?;
                let roster = Roster::decode(&kept).map_err(|_| anyhow!("the roster kept here is damaged"))?;
                return Ok(Box::new(roster));
            }
        };
        self.state.write("roster", &sealed)?;
        Ok(roster)
    }

    fn status(&mut self) -> Result<Status> {
        let kept = self.state.read("roster")?.unwrap_or_default();
        let me = self.key()?.public();
        let roster = Roster::decode(&kept).map(Box::new);
        let others = roster.iter().flat_map(|r| r.devices().filter(|(_, d)| d.key != me));
        let devices = others.map(|(_, d)| DeviceStatus { name: d.name.to_string(), online: false, lag: 0 });
        let devices = devices.collect();
        let store = &mut self.store;
        let folders = self.config.folders.iter().map(|f| FolderStatus {
            label: f.label.clone(),
            path: f.path.0.display().to_string(),
            state: if f.paused { "paused" } else { "offline" }.into(),
            errors: ops::errors(store, f.folder()),
            ..ops::folder_numbers(store, f.folder())
        });
        Ok(Status {
            device: self.config.name.clone(),
            folders: folders.collect(),
            tracker: TrackerStatus {
                connected: false,
                address: self.config.tracker.addresses.first().cloned().unwrap_or_default(),
                version: String::new(),
            },
            devices,
            limits: self.config.limits,
            notes: vec!["`dartsync run` is not running".into()],
            ..Status::default()
        })
    }

    fn invite(&mut self, force: Option<&str>) -> Result<Text> {
        let (answer, client) = self.ask(force, message::Request::Invite)?;
        let Answer::Invite(id, secret) = answer else { bail!("the tracker answers what was not asked") };
        let tracker = self.config.tracker.public_key()?;
        Ok(Text { text: invite_code(tracker, id, secret, client.address(), &self.config) })
    }

    fn link(&mut self, label: &str, path: &Path, make: bool, force: Option<&str>) -> Result<Text> {
        if self.config.labelled(label).is_ok() {
            if make {
                bail!("\"{label}\" is linked here already; see `dartsync folders`");
            }
            return self.moved(label, path);
        }
        let path = &self.config.check_new(self.state, label, path)?;
        check_within(path)?;
        let request = message::Request::Link { label, make };
        let (answer, mut client) = self.ask(force, request)?;
        let Answer::Folder(id, _, made) = answer else { bail!("the tracker answers what was not asked") };
        let marker = match claim_root(&mut self.store, &self.config, id, path) {
            Ok(marker) => marker,
            Err(e) => {
                // The membership that was just won is of no use without a root.
                let _ = client.request(message::Request::Unlink(id));
                return Err(e);
            }
        };
        self.config.add_folder(marker, label, path);
        self.state.set_config(&self.config)?;
        Ok(Text { text: linked_line(label, path, made) })
    }

    /// `link` of a folder that is linked: its root was moved.
    fn moved(&mut self, label: &str, path: &Path) -> Result<Text> {
        let text = move_root(self.state, &mut self.config, label, path)?;
        self.state.set_config(&self.config)?;
        Ok(text)
    }

    fn unlink(&mut self, label: &str) -> Result<Text> {
        let folder = self.config.labelled(label)?.clone();
        self.ask(None, message::Request::Unlink(folder.folder_id()?))?;
        self.drop_folder(&folder)?;
        Ok(Text {
            text: format!(
                "\"{label}\" is not synced here any more; its files stay in {}",
                folder.path.0.display()
            ),
        })
    }

    fn forget(&mut self, label: &str) -> Result<Text> {
        let id = match self.config.labelled(label) {
            Ok(f) => f.folder_id()?,
            Err(_) => {
                let roster = self.newest_roster()?;
                let known = roster.folder_by_label(label).map(|(_, f)| f.id);
                known.with_context(|| format!("the home has no folder \"{label}\""))?
            }
        };
        self.ask(None, message::Request::Forget(id))?;
        if let Ok(folder) = self.config.labelled(label) {
            let folder = folder.clone();
            self.drop_folder(&folder)?;
        }
        Ok(Text { text: format!("\"{label}\" is out of the home; its files stay on every device") })
    }

    fn leave(&mut self) -> Result<Text> {
        self.ask(None, message::Request::Leave)?;
        for folder in self.config.folders.clone() {
            self.drop_folder(&folder)?;
        }
        forget_home(self.state)?;
        Ok(Text { text: "this device is out of the home; its files stay".into() })
    }

    /// Forgets a folder here: its marker, its rows, its place in the configuration.
    fn drop_folder(&mut self, folder: &FolderConfig) -> Result<()> {
        self.config.folders.retain(|f| f.number != folder.number);
        self.state.set_config(&self.config)?;
        if let Ok(root) = folder.open_root()
            && let Err(e) = root.unlink()
        {
            eprintln!("dartsync: {}: {}", folder.path.0.display(), ops::cause(e));
        }
        while !self.store.erase_folder(folder.folder(), 10_000) {
            self.store.commit(false).context("the store")?;
        }
        self.store.commit(true).context("the store")
    }

    fn empty_trash(&mut self) -> Result<Text> {
        let all: Vec<Folder> = self.config.folders.iter().map(FolderConfig::folder).collect();
        let mut emptied = Purged::default();
        for f in &self.config.folders {
            let Ok(root) = f.open_root() else { continue };
            let deletable = Deletable::of(&mut self.store, &all, f.folder());
            let purged = trash::empty_one(&root, &deletable)?;
            trash::forget(&mut self.store, f.folder(), &purged.gone);
            emptied.add(purged);
        }
        self.store.commit(true).context("the store")?;
        Ok(Text { text: trash::emptied(&emptied) })
    }

    fn restore(&mut self, path: &Path, date: Option<&str>) -> Result<Text> {
        let back = trash::restore(&self.config, path, date)?;
        back.note(&mut self.store);
        self.store.commit(true).context("the store")?;
        Ok(back.text())
    }

    fn pause(&mut self, label: Option<&str>, on: bool) -> Result<Text> {
        let text = set_paused(&mut self.config, label, on)?;
        self.state.set_config(&self.config)?;
        Ok(text)
    }

    fn approve(&mut self, label: &str, list: bool) -> Result<Reply> {
        let folder = self.config.labelled(label)?.folder();
        if list {
            return Ok(Reply::done(&ops::vanished(&mut self.store, folder, label)));
        }
        let n = ops::approve(&mut self.store, folder);
        self.store.commit(true).context("the store")?;
        Ok(Reply::text(format!("{n} removals of \"{label}\" pass when `dartsync run` is started")))
    }
}

/// What is left of a home on this device after it was left: nothing but the users' files.
pub fn forget_home(state: &State) -> Result<()> {
    for name in ["config.json", "roster", "store.redb", "identity"] {
        let path = state.dir().join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| path.display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The code that stands for an invite: where the tracker answers comes first.
pub fn invite_code(tracker: PublicKey, id: u32, secret: [u8; 16], at: SocketAddr, config: &Config) -> String {
    let mut addresses = heapless::Vec::new();
    let known = config.tracker.addresses.iter().filter_map(|a| a.parse::<SocketAddr>().ok());
    for a in std::iter::once(at).chain(known).map(|a| wire_addr(&a)) {
        if !addresses.contains(&a) && addresses.push(a).is_err() {
            break;
        }
    }
    InviteCode { tracker, invite: InviteId(id), secret, addresses }.encode().as_str().to_owned()
}

/// What is told of a new link.
pub fn linked_line(label: &str, path: &Path, made: bool) -> String {
    let (files, bytes) = count(path);
    let how = if made { "made" } else { "linked" };
    let size = crate::cli::size(bytes);
    format!("folder \"{label}\" {how}: {files} files ({size}) are in {}", path.display())
}

/// `link` of a folder that is linked: its root was moved to `path`, whose marker must be the folder's.
pub fn move_root(state: &State, config: &mut Config, label: &str, path: &Path) -> Result<Text> {
    let path = &config.check_root(state, path, Some(label))?;
    let folder = config.labelled(label)?;
    folder
        .open_root_at(path)
        .map_err(|e| anyhow!("{e}; \"{label}\" is linked to {}", folder.path.0.display()))?;
    let number = folder.number;
    for f in config.folders.iter_mut().filter(|f| f.number == number) {
        f.path.0 = path.to_owned();
    }
    Ok(Text { text: format!("the root of \"{label}\" is {} now", path.display()) })
}

/// Notes a pause, or its end, of one folder or all.
pub fn set_paused(config: &mut Config, label: Option<&str>, on: bool) -> Result<Text> {
    if let Some(label) = label {
        config.labelled(label)?;
    }
    let chosen = config.folders.iter_mut().filter(|f| label.is_none_or(|l| l == f.label));
    let mut names = Vec::new();
    for f in chosen {
        f.paused = on;
        names.push(format!("\"{}\"", f.label));
    }
    let what = if on { "paused" } else { "resumed" };
    Ok(Text {
        text: if names.is_empty() {
            "no folder is linked here".into()
        } else {
            format!("{what}: {}", names.join(", "))
        },
    })
}
