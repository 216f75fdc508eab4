//! `join`: enrols this device and links its first folder.

use super::{directory, home};
use crate::client::{Client, Denied, Reply, StoreNumbers, Target, entropy, socket_addr};
use crate::config::{Config, State, TrackerConfig, hex};
use crate::disk::{DiskError, Root};
use crate::offline;
use crate::store::Store;
use anyhow::{Context, Result, anyhow, bail};
use dartsync_core::limits;
use dartsync_core::link::StaticKey;
use dartsync_core::link::code::InviteCode;
use dartsync_core::roster::{Roster, is_device_name};
use dartsync_core::wire::message::Request;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What the user gave.
pub struct Join {
    /// The invite.
    pub code: String,
    /// What to link.
    pub root: Option<PathBuf>,
    /// The name wished for.
    pub name: Option<String>,
    /// Where data links are taken.
    pub listen: Option<String>,
    /// Where the tracker is.
    pub tracker: Option<String>,
}

/// Enrols this device; gives what to tell the user. Safe to repeat: the key is durable before it is first used, and a
/// key that the home knows gets its roster again.
pub fn join(state: &State, given: &Join) -> Result<String> {
    let code = InviteCode::decode(&given.code).map_err(|e| anyhow!("{e}"))?;
    let name = match &given.name {
        Some(n) if !is_device_name(n) => bail!("--name {n}: a name is 1 to 32 of A-Z a-z 0-9 . _ -"),
        Some(n) => n.clone(),
        None => host_name(),
    };
    if let Some(l) = &given.listen {
        l.parse::<SocketAddr>().map_err(|_| anyhow!("--listen {l}: is no ADDR:PORT"))?;
    }
    let root = match &given.root {
        Some(r) => r.clone(),
        None => home().context("no home directory: say which directory to link")?.join("DartSync"),
    };
    state.create()?;
    crate::disk::init().context("signals")?;
    let Some(_lock) = offline::lock(state)? else {
        bail!(
            "{}: a device runs on this state: stop it first, or name another with --state DIR",
            state.dir().display()
        )
    };
    let old = if state.read("config.json")?.is_some() { Some(state.config()?) } else { None };
    if let Some(c) = &old
        && c.tracker.public_key()? != code.tracker
    {
        bail!(
            "{}: this device belongs to another home: `dartsync leave` it first, or name another --state DIR",
            state.dir().display()
        );
    }
    // Told before the invite is used up.
    if let Err(e @ DiskError::InUse) = Root::open(&root) {
        bail!("{}: {e}", root.display());
    }
    let (me, made) = offline::own_key(state)?;
    let known = match (&old, made) {
        (Some(_), _) => Known::Joined,
        (None, false) => Known::Dialled,
        (None, true) => Known::Nowhere,
    };
    let mut target = target(&code, given, old.as_ref());
    if old.is_some() {
        target.roster = state.read("roster")?.unwrap_or_default();
    }
    let mut store = offline::open(state)?;
    let rng = &mut entropy();
    let runs = [StoreNumbers::take(&mut store, rng), StoreNumbers::take(&mut store, rng)];
    store.commit(true).context("the store")?;
    let mut client = visit(&me, &target, runs, &name, known).map_err(|e| explain(&code, e))?;
    let root = directory(&root)?.0;
    let mut config = old.unwrap_or_else(|| fresh(&name, &target));
    config.tracker.addresses = target.addresses.clone();
    let here = client.address().to_string();
    if config.tracker.addresses.is_empty() {
        config.tracker.addresses.push(here);
    }
    if given.listen.is_some() {
        config.listen = given.listen.clone();
    }
    let line = link_first(state, &mut store, &mut config, &mut client, &root, &me)?;
    Ok(line)
}

/// How well the home may know this device's key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was made just now.
    Nowhere,
    /// An earlier `join` used it, and did not come to its end.
    Dialled,
    /// It joined.
    Joined,
}

/// Where to go: what the user named, what the code says, what was known before.
fn target(code: &InviteCode, given: &Join, old: Option<&Config>) -> Target {
    let named = given.tracker.iter().cloned();
    let said = code.addresses.iter().map(|a| socket_addr(a).to_string());
    let known = old.into_iter().flat_map(|c| c.tracker.addresses.iter().cloned());
    let mut addresses: Vec<String> = Vec::new();
    for a in named.chain(said).chain(known) {
        if !addresses.contains(&a) {
            addresses.push(a);
        }
    }
    Target { tracker: code.tracker, addresses, invite: Some(code.clone()), roster: Vec::new() }
}

/// Enrols by the invite. A key that is enrolled already needs none: that is tried first where it is likely, and last
/// where an earlier `join` may have broken off after it was let in.
fn visit(
    me: &StaticKey,
    target: &Target,
    runs: [StoreNumbers; 2],
    name: &str,
    known: Known,
) -> Result<Client> {
    let plain = Target { invite: None, ..target.clone() };
    let (first, second) = if known == Known::Joined { (&plain, target) } else { (target, &plain) };
    let why = match Client::visit(me, first, runs[0], name) {
        Ok(client) => return Ok(client),
        Err(e) => e,
    };
    match (known, why.downcast_ref()) {
        (Known::Joined, Some(Denied::Stranger)) => Client::visit(me, second, runs[1], name),
        (Known::Dialled, Some(Denied::NoInvite)) => Client::visit(me, second, runs[1], name).map_err(|_| why),
        _ => Err(why),
    }
}

/// Why a founder's code did not let this device in.
fn explain(code: &InviteCode, why: anyhow::Error) -> anyhow::Error {
    if code.is_founders() && why.is::<Denied>() {
        return why.context(
            "this code is good for one device alone, the one that made the tracker's image: ask for another with \
             `dartsync invite` on a device of the home",
        );
    }
    why
}

fn fresh(name: &str, target: &Target) -> Config {
    Config {
        name: name.to_owned(),
        listen: None,
        tracker: TrackerConfig { key: hex(&target.tracker.0), addresses: target.addresses.clone() },
        folders: Vec::new(),
        next_folder: 1,
        limits: Default::default(),
    }
}

/// Links the home's first folder to `root`, keeps what was learnt, and tells how much is there.
fn link_first(
    state: &State,
    store: &mut Store,
    config: &mut Config,
    client: &mut Client,
    root: &Path,
    me: &StaticKey,
) -> Result<String> {
    let linked = config.folders.first().map(|f| f.label.clone());
    if let Some(label) = linked {
        let (sealed, roster) = client.roster()?;
        state.write("roster", &sealed)?;
        config.name = own_name(&roster, me, &config.name);
        state.set_config(config)?;
        return Ok(format!("{}: already in the home, with folder \"{label}\"", config.name));
    }
    let root = &config.check_new(state, &label_of(root), root)?;
    offline::check_within(root)?;
    let Reply::Folder(id, slot, made) = client.request(Request::LinkFirst(&label_of(root)))?.granted()?
    else {
        bail!("the tracker answers what was not asked")
    };
    let (sealed, roster) = client.roster()?;
    let label = roster.folder(slot).filter(|f| f.id == id).map(|f| f.label.to_string());
    let label = label.context("the tracker's roster lacks the folder it linked")?;
    config.name = own_name(&roster, me, &config.name);
    let marker = offline::claim_root(store, config, id, root)?;
    config.add_folder(marker, &label, root);
    state.write("roster", &sealed)?;
    state.set_config(config)?;
    let (files, bytes) = offline::count(root);
    let how = if made { "made" } else { "linked" };
    Ok(format!(
        "{files} files ({}) are in {}\njoined as {}; folder \"{label}\" {how}; start `dartsync run` to sync it",
        super::print::bytes(bytes),
        root.display(),
        config.name
    ))
}

fn own_name(roster: &Roster, me: &StaticKey, wish: &str) -> String {
    roster.device_by_key(&me.public()).map_or(wish.to_owned(), |(_, d)| d.name.to_string())
}

/// A folder's label after its root's last name, cut to what a label may be.
pub fn label_of(root: &Path) -> String {
    let name = root.file_name().map_or("files".into(), |n| n.to_string_lossy().into_owned());
    let mut label = String::new();
    for c in name.chars().filter(|c| !c.is_control() && *c != '/') {
        if label.len() + c.len_utf8() > limits::LABEL {
            break;
        }
        label.push(c);
    }
    if label.is_empty() { "files".into() } else { label }
}

/// The host's name, made into a device name.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(limits::DEVICE_NAME)
        .collect();
    if is_device_name(&name) { name } else { "device".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names_fit_their_limits() {
        assert_eq!(label_of(Path::new("/data/me/Docs")), "Docs");
        assert_eq!(label_of(Path::new("/")), "files");
        assert!(label_of(Path::new(&format!("/{}", "ü".repeat(60)))).len() <= limits::LABEL);
        assert!(is_device_name(&host_name()));
    }
}
