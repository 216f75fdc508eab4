//! Commands of this user carried out.

use super::clients::ClientId;
use super::effects::Done;
use super::{Node, log, now};
use crate::config::Root as RootPath;
use crate::control::{Paths, Reply, Request, Waited, until};
use crate::disk::{self, DiskError, Purged};
use crate::trash::{self, Deletable};
use crate::workers::Priority;
use crate::{offline, ops};
use anyhow::{Context, Result, anyhow, bail};
use dartsync_core::ids::{Folder, FolderId, PublicKey};
use dartsync_core::peer::Reply as Answer;
use dartsync_core::wire::message;
use std::path::PathBuf;

/// How long the tracker may take to answer, µs.
const PATIENCE: u64 = 30_000_000;
/// How long a question waits for the link to the tracker, µs.
const CONNECTING: u64 = 5_000_000;
/// Devices remembered for having sent wrong bytes.
const BAD: usize = 16;

/// What a command waits for.
#[derive(Default)]
pub struct Requests {
    waits: Vec<Wait>,
    asked: Vec<Asked>,
    purges: Vec<Purge>,
    bad: Vec<String>,
    left: bool,
}

/// A `wait`.
struct Wait {
    client: ClientId,
    until: Option<u64>,
    all: bool,
}

/// A question to the tracker.
struct Asked {
    n: u32,
    client: ClientId,
    until: u64,
    /// The recovery words were asked first.
    forced: bool,
    what: What,
}

/// What is asked, and done once it is granted.
#[derive(Clone, Debug)]
enum What {
    Invite,
    Revoke(String, PublicKey),
    Link {
        label: String,
        path: PathBuf,
        make: bool,
    },
    Unlink(Folder, FolderId),
    Forget(String, FolderId),
    Leave,
    /// A membership that came to nothing: its end is not waited for.
    Undo(FolderId),
}

/// A `link` whose directory is being looked through.
pub struct Linking {
    label: String,
    path: PathBuf,
    make: bool,
    force: Option<String>,
}

/// A `trash empty` under way in several folders.
struct Purge {
    client: ClientId,
    left: usize,
    done: Purged,
    failed: Option<String>,
}

impl Requests {
    /// When the next question or wait is over.
    pub fn deadline(&self, _at: u64) -> Option<u64> {
        let waits = self.waits.iter().filter_map(|w| w.until);
        waits.chain(self.asked.iter().map(|a| a.until)).min()
    }
    /// Whether a command waits for all to be in sync.
    pub fn waits(&self) -> bool {
        !self.waits.is_empty()
    }
    /// Whether this device has left its home.
    pub fn left_home(&self) -> bool {
        self.left
    }
    /// A device sent bytes that a content does not hold.
    pub fn wrong_bytes(&mut self, device: String) {
        if !self.bad.contains(&device) && self.bad.len() < BAD {
            self.bad.push(device);
        }
    }
    /// Lines for status.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.bad.iter().map(|d| format!("{d} has sent wrong bytes: its disk or memory may be bad"))
    }
    /// One folder's trash was emptied.
    pub fn purged(&mut self, client: ClientId, done: Result<Purged, String>) {
        let Some(p) = self.purges.iter_mut().find(|p| p.client == client) else { return };
        p.left -= 1;
        match done {
            Ok(purged) => p.done.add(purged),
            Err(why) => p.failed = Some(why),
        }
    }
}

impl Node {
    /// Answers commands that came in, and those whose time has come. True if the machine was asked for something.
    pub(super) fn answer(&mut self) -> bool {
        let any = !self.asked.is_empty();
        for (client, request) in std::mem::take(&mut self.asked) {
            match self.handle(client, request) {
                Ok(Some(reply)) => self.clients.reply(client, &reply, now().at.0),
                Ok(None) => {}
                Err(e) => self.clients.reply(client, &Reply::Failed(format!("{e:#}")), now().at.0),
            }
        }
        self.answer_waits();
        self.end_slow_questions();
        self.answer_purges();
        let at = now().at.0;
        self.clients.flush(&mut self.net, at, &mut self.gone);
        for client in std::mem::take(&mut self.gone) {
            self.requests.waits.retain(|w| w.client != client);
        }
        any
    }

    /// The answer, if it is there at once.
    fn handle(&mut self, client: ClientId, request: Request) -> Result<Option<Reply>> {
        Ok(Some(match request {
            Request::Status => Reply::done(&self.status()),
            Request::Wait { timeout, all } => {
                let until = timeout.map(|seconds| until(now().at.0, seconds));
                self.requests.waits.push(Wait { client, until, all });
                return Ok(None);
            }
            Request::Devices => {
                let (connected, _) = self.peer.tracker();
                let online = |name: &str| {
                    let device = self.peer.roster().device_by_name(name).map(|(_, d)| d.id);
                    let presence = device.and_then(|d| self.peer.presence(d));
                    connected.then_some(presence.is_some_and(|p| p.online))
                };
                Reply::done(&ops::devices(self.peer.roster(), &self.me, online))
            }
            Request::Folders => Reply::done(&ops::folders(self.peer.roster(), &self.config)),
            Request::Conflicts => Reply::done(&ops::conflicts(&mut self.store, &self.config)),
            Request::Pause { label, on } => Reply::done(&self.pause(label.as_deref(), on)?),
            Request::Limit { up, down } => self.limit(up, down)?,
            Request::Approve { label, list } => self.approve(&label, list)?,
            Request::TrashList | Request::TrashRestore { .. } | Request::TrashEmpty => {
                self.trash(client, request);
                return Ok(None);
            }
            Request::Invite { force } => return self.ask(client, What::Invite, force),
            Request::Revoke { name, force } => {
                let key = ops::key_of(self.peer.roster(), &name)?;
                return self.ask(client, What::Revoke(name, key), force);
            }
            Request::Link { label, path, make, force } => return self.link(client, label, path, make, force),
            Request::Unlink { label } => {
                let f = self.config.labelled(&label)?;
                let what = What::Unlink(f.folder(), f.folder_id()?);
                return self.ask(client, what, None);
            }
            Request::Forget { label } => {
                let known = self.peer.roster().folder_by_label(&label).map(|(_, f)| f.id);
                let id = known.with_context(|| format!("the home has no folder \"{label}\""))?;
                return self.ask(client, What::Forget(label, id), None);
            }
            Request::Leave => return self.ask(client, What::Leave, None),
        }))
    }

    fn link(
        &mut self,
        client: ClientId,
        label: String,
        path: RootPath,
        make: bool,
        force: Option<String>,
    ) -> Result<Option<Reply>> {
        if let Ok(f) = self.config.labelled(&label) {
            if make {
                bail!("\"{label}\" is linked here already; see `dartsync folders`");
            }
            let folder = f.folder();
            let text = offline::move_root(&self.state, &mut self.config, &label, &path.0)?;
            self.state.set_config(&self.config)?;
            let path = self.config.labelled(&label)?.path.0.clone();
            self.root_moved(folder, path);
            return Ok(Some(Reply::done(&text)));
        }
        let path = self.config.check_new(&self.state, &label, &path.0)?;
        self.workers.submit(Priority::Large, move |desk| {
            let found = disk::check_within(&path, desk.stopping);
            Done::Linkable(client, Linking { label, path, make, force }, found)
        });
        Ok(None)
    }

    /// A directory that is to be linked was looked through: whether one stands in it that is linked.
    pub(super) fn linkable(&mut self, client: ClientId, what: Linking, found: Result<(), DiskError>) {
        let Linking { label, path, make, force } = what;
        let asked = found.map_err(|e| anyhow!("{}: {e}", path.display())).and_then(|()| {
            // Another may have been linked meanwhile.
            if self.config.labelled(&label).is_ok() {
                bail!("\"{label}\" is linked here already; see `dartsync folders`");
            }
            let path = self.config.check_new(&self.state, &label, &path)?;
            self.ask(client, What::Link { label, path, make }, force)
        });
        let reply = match asked {
            Ok(None) => return,
            Ok(Some(reply)) => reply,
            Err(e) => Reply::Failed(format!("{e:#}")),
        };
        self.clients.reply(client, &reply, now().at.0);
    }

    /// Asks the tracker; the answer comes later.
    fn ask(&mut self, client: ClientId, what: What, force: Option<String>) -> Result<Option<Reply>> {
        let n = match &force {
            Some(words) => self.peer.request(message::Request::Force(words)),
            None => self.send(&what),
        };
        let n = n.context("too many requests at once: try again")?;
        // Without a link it waits a little for one: a device that has just started is about to have it.
        let patience = if self.peer.tracker().0 { PATIENCE } else { CONNECTING };
        let until = now().at.0 + patience;
        self.requests.asked.push(Asked { n, client, until, forced: force.is_some(), what });
        Ok(None)
    }

    fn send(&mut self, what: &What) -> Option<u32> {
        let request = match what {
            What::Invite => message::Request::Invite,
            What::Revoke(_, key) => message::Request::Revoke(*key),
            What::Link { label, make, .. } => message::Request::Link { label, make: *make },
            What::Unlink(_, id) | What::Undo(id) => message::Request::Unlink(*id),
            What::Forget(_, id) => message::Request::Forget(*id),
            What::Leave => message::Request::Leave,
        };
        self.peer.request(request)
    }

    /// The tracker has answered a question.
    pub(super) fn tracker_replied(&mut self, n: u32) {
        let Some(answer) = self.peer.take_reply(n) else { return };
        let Some(i) = self.requests.asked.iter().position(|a| a.n == n) else { return };
        let mut asked = self.requests.asked.swap_remove(i);
        let granted = granted(answer);
        if granted.is_ok() && asked.forced {
            asked.forced = false;
            if let Some(n) = self.send(&asked.what) {
                asked.n = n;
                self.requests.asked.push(asked);
                return;
            }
        }
        let reply = granted.and_then(|answer| self.granted(asked.client, asked.what, answer));
        let reply = match reply {
            Ok(None) => return,
            Ok(Some(line)) => Reply::text(line),
            Err(e) => Reply::Failed(format!("{e:#}")),
        };
        self.clients.reply(asked.client, &reply, now().at.0);
    }

    /// Does what was granted; what to tell the user, if that is known already.
    fn granted(&mut self, client: ClientId, what: What, answer: Answer) -> Result<Option<String>> {
        Ok(Some(match (what, answer) {
            (What::Invite, Answer::Invite { id, secret }) => {
                let tracker = self.config.tracker.public_key()?;
                let at = self.tracker.address.context("the tracker's address is not known")?;
                offline::invite_code(tracker, id, secret, at, &self.config)
            }
            (What::Revoke(name, _), Answer::Done(_)) => format!("{name} is out of the home, for ever"),
            (What::Link { label, path, .. }, Answer::Folder { id, made, .. }) => {
                self.linked(client, label, path, id, made)?;
                return Ok(None);
            }
            (What::Unlink(folder, _), Answer::Done(_)) => {
                let label = self.folders.label(folder);
                self.give_up(folder)?;
                format!("\"{label}\" is not synced here any more; its files stay")
            }
            (What::Forget(label, id), Answer::Done(_)) => {
                let linked = self.config.folders.iter().find(|f| f.folder_id().is_ok_and(|i| i == id));
                if let Some(folder) = linked.map(|f| f.folder()) {
                    self.give_up(folder)?;
                }
                format!("\"{label}\" is out of the home; its files stay on every device")
            }
            (What::Leave, Answer::Done(_)) => {
                for folder in self.config.folders.clone() {
                    self.give_up(folder.folder())?;
                }
                self.requests.left = true;
                self.stopping = true;
                log("this device has left the home");
                "this device is out of the home; its files stay".into()
            }
            (What::Undo(_), _) => return Ok(None),
            (what, answer) => bail!("the tracker answers what was not asked ({what:?}: {answer:?})"),
        }))
    }

    /// The home says that this device has linked the folder: now its root is.
    fn linked(
        &mut self,
        client: ClientId,
        label: String,
        path: PathBuf,
        id: FolderId,
        made: bool,
    ) -> Result<()> {
        let marker = match offline::claim_root(&mut self.store, &self.config, id, &path) {
            Ok(marker) => marker,
            Err(e) => {
                let what = What::Undo(id);
                if let Some(n) = self.send(&what) {
                    let until = now().at.0 + PATIENCE;
                    self.requests.asked.push(Asked { n, client, until, forced: false, what });
                }
                return Err(e);
            }
        };
        self.config.add_folder(marker, &label, &path);
        self.state.set_config(&self.config)?;
        let folder = self.config.folders.last().expect("just added").clone();
        self.take_up(&folder)?;
        self.workers.submit(Priority::Bulk, move |_| {
            Done::Reply(client, Reply::text(offline::linked_line(&label, &path, made)))
        });
        Ok(())
    }

    fn end_slow_questions(&mut self) {
        let at = now().at.0;
        let (late, rest) = std::mem::take(&mut self.requests.asked).into_iter().partition(|a| a.until <= at);
        self.requests.asked = rest;
        let late: Vec<Asked> = late;
        for a in late {
            self.peer.forget_request(a.n);
            let what = if self.peer.tracker().0 { "does not answer" } else { "is not connected" };
            let why = format!("the tracker at {} {what}: try again later", self.tracker_address());
            self.clients.reply(a.client, &Reply::Failed(why), at);
        }
    }

    fn answer_waits(&mut self) {
        if self.requests.waits.is_empty() {
            return;
        }
        let (level, at) = (self.in_sync(), now().at.0);
        for w in std::mem::take(&mut self.requests.waits) {
            let in_sync = level && (!w.all || self.others_level());
            if !in_sync && w.until.is_none_or(|t| t > at) {
                self.requests.waits.push(w);
                continue;
            }
            let causes = if in_sync { Vec::new() } else { self.causes(w.all) };
            self.clients.reply(w.client, &Reply::done(&Waited { in_sync, causes }), at);
        }
    }

    fn pause(&mut self, label: Option<&str>, on: bool) -> Result<crate::control::Text> {
        let text = offline::set_paused(&mut self.config, label, on)?;
        self.state.set_config(&self.config)?;
        for f in self.config.folders.iter().filter(|f| label.is_none_or(|l| l == f.label)) {
            self.peer.set_paused(&mut self.store, now(), f.folder(), on);
        }
        Ok(text)
    }

    fn limit(&mut self, up: Option<u64>, down: Option<u64>) -> Result<Reply> {
        let mut limits = self.config.limits;
        limits.change(up, down)?;
        if limits != self.config.limits {
            self.config.limits = limits;
            self.state.set_config(&self.config)?;
            self.fetcher.limit(limits.up, limits.down);
        }
        Ok(Reply::text(limits.to_string()))
    }

    fn approve(&mut self, label: &str, list: bool) -> Result<Reply> {
        let folder = self.config.labelled(label)?.folder();
        let waiting: Paths = ops::vanished(&mut self.store, folder, label);
        if list {
            return Ok(Reply::done(&waiting));
        }
        let n = waiting.paths.len() as u64 + waiting.more;
        self.peer.approve(&mut self.store, now(), folder);
        Ok(Reply::text(format!("{n} removals of \"{label}\" pass")))
    }

    /// Trashes are read, restored from and emptied on workers.
    fn trash(&mut self, client: ClientId, request: Request) {
        let config = self.config.clone();
        match request {
            Request::TrashList => self.workers.submit(Priority::Interactive, move |_| {
                Done::Reply(client, Reply::done(&trash::list(&config)))
            }),
            Request::TrashRestore { path, date } => self.workers.submit(Priority::Interactive, move |_| {
                let back = trash::restore(&config, &path.0, date.as_deref());
                Done::Back(client, back.map_err(|e| format!("{e:#}")))
            }),
            _ => self.empty_trash(client),
        }
    }

    fn empty_trash(&mut self, client: ClientId) {
        let all: Vec<Folder> = self.config.folders.iter().map(|f| f.folder()).collect();
        let mut purge = Purge { client, left: 0, done: Purged::default(), failed: None };
        for folder in &all {
            let (folder, Some(root)) = (*folder, self.folders.root(*folder)) else { continue };
            let deletable = Deletable::of(&mut self.store, &all, folder);
            purge.left += 1;
            self.workers.submit(Priority::Interactive, move |_| {
                let done = trash::empty_one(&root, &deletable).map_err(|e| format!("{e:#}"));
                Done::Emptied(client, folder, done)
            });
        }
        self.requests.purges.push(purge);
    }

    fn answer_purges(&mut self) {
        let (done, rest): (Vec<Purge>, _) =
            std::mem::take(&mut self.requests.purges).into_iter().partition(|p| p.left == 0);
        self.requests.purges = rest;
        for p in done {
            let reply = match p.failed {
                Some(why) => Reply::Failed(why),
                None => Reply::text(trash::emptied(&p.done)),
            };
            self.clients.reply(p.client, &reply, now().at.0);
        }
    }

    /// The roster changed: it is kept, and who came and went is told.
    pub(super) fn roster_changed(&mut self) {
        let sealed = self.peer.sealed_roster().to_vec();
        let before = self.state.read("roster").ok().flatten();
        if let Err(e) = self.state.write("roster", &sealed) {
            log(&format!("{e:#}"));
        }
        let before = before.and_then(|b| dartsync_core::roster::Roster::decode(&b).ok().map(Box::new));
        let after = self.peer.roster();
        if let Some(old) = before {
            for (_, d) in after.devices().filter(|(_, d)| old.device_by_id(d.id).is_none()) {
                log(&format!("{} joined the home", d.name));
            }
            for (_, d) in old.devices().filter(|(_, d)| after.device_by_id(d.id).is_none()) {
                log(&format!("{} is out of the home", d.name));
            }
        }
        let name = after.device_by_key(&self.me).map(|(_, d)| d.name.to_string());
        if let Some(name) = name.filter(|n| *n != self.config.name) {
            self.config.name = name;
            if let Err(e) = self.state.set_config(&self.config) {
                log(&format!("{e:#}"));
            }
        }
        self.drop_forgotten();
        self.update_book();
    }
}

/// The answer, or why it is a refusal.
fn granted(answer: Answer) -> Result<Answer> {
    match answer {
        Answer::Refused(why) => Err(anyhow!("the tracker refused: {why}")),
        Answer::Waiting { have, of } => {
            crate::client::Reply::Waiting(have, of).granted()?;
            unreachable!("waiting is never granted")
        }
        other => Ok(other),
    }
}
