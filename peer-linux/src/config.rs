//! What a device remembers beside its store: who it is, its home, and where its folders are.
//!
//! The state directory holds `identity` (the secret key, mode 0600), `config.json`, `roster` (the tracker's, sealed),
//! `store.redb`, `control.sock` and `lock`. Files are written whole: to a temporary name, made durable, renamed.

use crate::disk::{self, Marker};
use anyhow::{Context, Result, anyhow, bail};
use dartsync_core::data::LIMIT_MIN;
use dartsync_core::ids::{Folder, FolderId, PublicKey};
use dartsync_core::limits;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where a device keeps its state.
#[derive(Clone, Debug)]
pub struct State(PathBuf);

impl State {
    /// `given`, else `$DARTSYNC_STATE`, else `$XDG_STATE_HOME/dartsync`, else `~/.local/state/dartsync`.
    pub fn locate(given: Option<PathBuf>) -> Result<State> {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let dir = given
            .or_else(|| var("DARTSYNC_STATE"))
            .or_else(|| Some(var("XDG_STATE_HOME")?.join("dartsync")))
            .or_else(|| Some(var("HOME")?.join(".local/state/dartsync")))
            .ok_or_else(|| anyhow!("no place for the state: set HOME, or name one with --state DIR"))?;
        let dir = std::path::absolute(&dir).with_context(|| format!("{}", dir.display()))?;
        Ok(State(dir))
    }
    /// Makes the directory, for this user alone.
    pub fn create(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.with_context(|| format!("{}: cannot make the state directory", self.0.display()))
    }
    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.0
    }
    /// Where the store lies.
    pub fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }
    /// Where a running device listens for commands.
    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
    /// Claims the state for this process until the lock is dropped; `None` if another process has it.
    pub fn lock(&self) -> Result<Option<Lock>> {
        let path = self.0.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Some(Lock { _held: held })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, e)) => Err(e).with_context(|| path.display().to_string()),
        }
    }
    /// Writes a file of the state wholly and durably.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, tmp) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let done = (|| {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&tmp)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&tmp, &path)?;
            File::open(&self.0)?.sync_all()
        })();
        done.with_context(|| format!("{}: cannot be written", path.display()))
    }
    /// Reads a file of the state; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| path.display().to_string()),
        }
    }
    /// The device's secret key; `None` before the first `join`.
    pub fn identity(&self) -> Result<Option<Secret>> {
        let Some(bytes) = self.read("identity")? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes).ok().and_then(|t| t.trim().strip_prefix(IDENTITY));
        let secret = text.and_then(|t| unhex(t.trim()));
        Ok(Some(Secret(
            secret.ok_or_else(|| anyhow!("{}: is no identity", self.0.join("identity").display()))?,
        )))
    }
    /// Keeps the device's secret key, durably.
    pub fn set_identity(&self, secret: &Secret) -> Result<()> {
        self.write("identity", format!("{IDENTITY} {}\n", hex(&secret.0)).as_bytes())
    }
    /// The configuration; an error that says what to do if there is none.
    pub fn config(&self) -> Result<Config> {
        let path = self.0.join("config.json");
        let Some(bytes) = self.read("config.json")? else {
            bail!("{}: this device belongs to no home yet: run `dartsync join CODE`", self.0.display())
        };
        serde_json::from_slice(&bytes).with_context(|| format!("{}: is damaged", path.display()))
    }
    /// Keeps the configuration, durably.
    pub fn set_config(&self, config: &Config) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(config).context("the configuration")?;
        text.push(b'\n');
        self.write("config.json", &text)
    }
}

/// Folders that one device can link.
const FOLDERS: usize = 64;
const IDENTITY: &str = "dartsync-identity-1";

/// Held while one process works on a state.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

/// A secret key; never printed.
#[derive(Clone)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The configuration of a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// The name it asked for; the roster's is the one that counts.
    pub name: String,
    /// Where data links are taken; none = every address, port 7421 or the next free.
    pub listen: Option<String>,
    /// The home's tracker.
    pub tracker: TrackerConfig,
    /// Folders linked here.
    pub folders: Vec<FolderConfig>,
    /// The number that the next linked folder gets; numbers are never used again.
    pub next_folder: u16,
    /// What it may send to other devices, and ask of them.
    #[serde(default, skip_serializing_if = "Limits::are_none")]
    pub limits: Limits,
}

/// Bytes a second, at most, between this device and others; none = no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// To others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<u64>,
    /// From others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn are_none(&self) -> bool {
        *self == Limits::default()
    }
    /// Changes what is said; 0 = no limit.
    pub fn change(&mut self, up: Option<u64>, down: Option<u64>) -> Result<()> {
        if [up, down].into_iter().flatten().any(|rate| (1..LIMIT_MIN).contains(&rate)) {
            bail!("the lowest limit is {LIMIT_MIN} bytes a second");
        }
        let changed = |said: Option<u64>, now: Option<u64>| said.map_or(now, |r| (r > 0).then_some(r));
        (self.up, self.down) = (changed(up, self.up), changed(down, self.down));
        Ok(())
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show =
            |rate: Option<u64>| rate.map_or("no limit".into(), |r| format!("{}/s", crate::cli::size(r)));
        write!(f, "to other devices: {}; from other devices: {}", show(self.up), show(self.down))
    }
}

/// How to reach and recognise the tracker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrackerConfig {
    /// Its public key, in hex.
    pub key: String,
    /// `ADDR:PORT`, in the order they are tried.
    pub addresses: Vec<String>,
}

impl TrackerConfig {
    /// Its public key.
    pub fn public_key(&self) -> Result<PublicKey> {
        unhex(&self.key).map(PublicKey).ok_or_else(|| anyhow!("config.json: the tracker's key is damaged"))
    }
}

/// A folder linked here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FolderConfig {
    /// Its number in the store.
    pub number: u16,
    /// Its id in the home, in hex (JSON's numbers do not hold 64 bits everywhere).
    pub id: String,
    /// Its label.
    pub label: String,
    /// Its root.
    pub path: Root,
    /// Whether the user paused it.
    pub paused: bool,
    /// The number in its root's marker, in hex; none where it was linked before this was remembered: then it is that of
    /// the first root found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

impl FolderConfig {
    /// Its number.
    pub fn folder(&self) -> Folder {
        Folder(self.number)
    }
    /// Its id.
    pub fn folder_id(&self) -> Result<FolderId> {
        let id = u64::from_str_radix(&self.id, 16).ok().map(FolderId);
        id.ok_or_else(|| anyhow!("config.json: the id of folder \"{}\" is damaged", self.label))
    }
    /// Opens its root, where that is and is the very one that was linked: another one holds what others have long
    /// replaced. Else an error that names the path and says what can be done.
    pub fn open_root(&self) -> Result<disk::Root> {
        self.open_root_at(&self.path.0)
    }
    /// [`FolderConfig::open_root`] at another place.
    pub fn open_root_at(&self, path: &Path) -> Result<disk::Root> {
        let (place, label) = (path.display(), &self.label);
        let root = disk::Root::open(path).map_err(|e| anyhow!("{place}: {e}"))?;
        let marker = root.marker();
        if marker.folder != self.folder_id()?.0 {
            bail!("{place}: is the root of another folder");
        }
        if self.nonce.as_ref().is_some_and(|n| *n != nonce_text(marker)) {
            bail!(
                "{place}: is another root than the one that was linked here as \"{label}\" (or it was linked anew by \
                 another DartSync): bring that one back; or `dartsync unlink {label}`, and link this one"
            );
        }
        Ok(root)
    }
    /// Remembers its root's marker; true if that was not known.
    pub fn remember(&mut self, marker: Marker) -> bool {
        let known = self.nonce.replace(nonce_text(marker));
        known != self.nonce
    }
}

impl Config {
    /// The folder of that label.
    pub fn labelled(&self, label: &str) -> Result<&FolderConfig> {
        let known = || self.folders.iter().map(|f| f.label.as_str()).collect::<Vec<_>>().join(", ");
        self.folders.iter().find(|f| f.label == label).ok_or_else(|| match self.folders.is_empty() {
            true => anyhow!("no folder is linked here: see `dartsync add` and `dartsync link`"),
            false => anyhow!("no folder \"{label}\" is linked here; linked are: {}", known()),
        })
    }
    /// Adds a folder whose root bears that marker; the number it got.
    pub fn add_folder(&mut self, marker: Marker, label: &str, root: &Path) -> Folder {
        let number = self.next_folder;
        self.next_folder += 1;
        self.folders.push(FolderConfig {
            number,
            id: format!("{:016x}", marker.folder),
            label: label.to_owned(),
            path: Root(root.to_owned()),
            paused: false,
            nonce: Some(nonce_text(marker)),
        });
        Folder(number)
    }
    /// Whether a folder may be linked: there is room, its label is sound, its root is no other's. The root without links.
    pub fn check_new(&self, state: &State, label: &str, root: &Path) -> Result<PathBuf> {
        if self.folders.len() >= FOLDERS {
            bail!("{FOLDERS} folders are linked here, and more are not possible");
        }
        if Folder(self.next_folder).is_trash() {
            bail!("{} folders were linked here, and more have no number", self.next_folder - 1);
        }
        let fits = (1..=limits::LABEL).contains(&label.len());
        if !fits || label.chars().any(|c| c.is_control() || c == '/') {
            bail!("\"{label}\": a label is 1 to {} bytes, without slashes", limits::LABEL);
        }
        self.check_root(state, root, None)
    }
    /// Whether `root` may be linked: folders never nest, neither in one another nor around the state. The root without
    /// links.
    pub fn check_root(&self, state: &State, root: &Path, but: Option<&str>) -> Result<PathBuf> {
        let known = resolved(root).filter(|_| root.is_absolute());
        let root =
            known.with_context(|| format!("{}: is no absolute path of a directory", root.display()))?;
        for f in self.folders.iter().filter(|f| Some(f.label.as_str()) != but) {
            let old = resolved(&f.path.0).unwrap_or_else(|| f.path.0.clone());
            if root.starts_with(&old) || old.starts_with(&root) {
                bail!(
                    "{}: folders do not nest, and \"{}\" is linked to {}",
                    root.display(),
                    f.label,
                    old.display()
                );
            }
        }
        let own = resolved(state.dir()).unwrap_or_else(|| state.dir().to_owned());
        if own.starts_with(&root) || root.starts_with(&own) {
            bail!(
                "{}: a folder cannot hold, or be in, the state directory {}",
                root.display(),
                own.display()
            );
        }
        Ok(root)
    }
}

/// A path that may not be UTF-8: a string in JSON when it is, else a list of bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root(pub PathBuf);

impl Serialize for Root {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => s.serialize_str(text),
            None => s.collect_seq(self.0.as_os_str().as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Root, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Root(match Either::deserialize(d)? {
            Either::Text(t) => PathBuf::from(t),
            Either::Bytes(b) => PathBuf::from(OsString::from_vec(b)),
        }))
    }
}

/// A path with the links on its way resolved, as far as it exists; none if it goes back up from what does not.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = fs::canonicalize(path) {
        return Some(real);
    }
    Some(resolved(path.parent()?)?.join(path.file_name()?))
}

fn nonce_text(marker: Marker) -> String {
    format!("{:016x}", marker.nonce)
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hex of exactly `N` bytes.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (i, b) in out.iter_mut().enumerate() {
        *b = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str) -> State {
        let dir = std::env::temp_dir().join(format!("dartsync-config-{name}-{}", std::process::id()));
        let s = State(dir);
        s.create().unwrap();
        s
    }

    fn config() -> Config {
        Config {
            name: "box".into(),
            listen: None,
            tracker: TrackerConfig { key: hex(&[7; 32]), addresses: vec!["127.0.0.1:7420".into()] },
            folders: vec![],
            next_folder: 1,
            limits: Limits::default(),
        }
    }

    #[test]
    fn what_is_kept_is_read_even_roots_that_are_not_text() {
        let s = state("kept");
        assert!(s.config().unwrap_err().to_string().contains("dartsync join"));
        assert!(s.identity().unwrap().is_none());
        s.set_identity(&Secret([3; 32])).unwrap();
        assert_eq!(s.identity().unwrap().unwrap().0, [3; 32]);
        let mut c = config();
        c.add_folder(Marker { folder: u64::MAX, nonce: 5 }, "docs", Path::new("/a b"));
        c.add_folder(Marker { folder: 1, nonce: 6 }, "odd", Path::new(std::ffi::OsStr::from_bytes(b"/\xff")));
        s.set_config(&c).unwrap();
        let got = s.config().unwrap();
        assert_eq!(got, c);
        assert_eq!(got.folders[0].folder_id().unwrap(), FolderId(u64::MAX));
        assert_eq!(got.labelled("odd").unwrap().folder(), Folder(2));
        // As an older version has written it.
        let text = serde_json::to_string(&c).unwrap().replace(",\"nonce\":\"0000000000000005\"", "");
        let mut old: Config = serde_json::from_str(&text).unwrap();
        assert_eq!((&old.folders[0].nonce, &old.folders[1]), (&None, &c.folders[1]));
        assert!(old.folders[0].remember(Marker { folder: u64::MAX, nonce: 5 }) && old == c);
        assert!(!old.folders[0].remember(Marker { folder: u64::MAX, nonce: 5 }));
        assert!(got.labelled("no").unwrap_err().to_string().contains("docs, odd"));
        fs::remove_dir_all(s.dir()).unwrap();
    }

    #[test]
    fn one_process_at_a_time_and_no_folder_in_a_folder() {
        let s = state("lock");
        let held = s.lock().unwrap();
        assert!(held.is_some() && s.lock().unwrap().is_none());
        drop(held);
        assert!(s.lock().unwrap().is_some());
        let mut c = config();
        c.add_folder(Marker { folder: 1, nonce: 5 }, "docs", Path::new("/nowhere/docs"));
        assert!(c.check_root(&s, Path::new("/nowhere/docs/sub"), None).is_err());
        assert!(c.check_root(&s, Path::new("/nowhere"), None).is_err());
        assert!(c.check_root(&s, Path::new("/nowhere/docs2"), None).is_ok());
        assert!(c.check_root(&s, Path::new("/nowhere"), Some("docs")).is_ok());
        // Whatever links lead there.
        let real = s.dir().with_extension("real");
        let alias = s.dir().with_extension("alias");
        fs::create_dir_all(real.join("sub")).unwrap();
        std::os::unix::fs::symlink(&real, &alias).unwrap();
        c.add_folder(Marker { folder: 2, nonce: 6 }, "real", &real.join("sub"));
        assert!(c.check_root(&s, &alias, None).is_err());
        assert!(c.check_root(&s, &alias.join("sub/deep"), None).is_err());
        let beside = fs::canonicalize(&real).unwrap().join("beside");
        assert_eq!(c.check_root(&s, &alias.join("beside"), None).unwrap(), beside);
        assert!(c.check_root(&s, &alias.join("beside/../sub"), None).is_err());
        assert!(c.check_root(&s, Path::new("relative"), None).is_err());
        fs::remove_file(&alias).unwrap();
        std::os::unix::fs::symlink(s.dir(), &alias).unwrap();
        assert!(c.check_root(&s, &alias.join("x"), None).is_err());
        fs::remove_file(&alias).unwrap();
        fs::remove_dir_all(&real).unwrap();
        assert!(c.check_new(&s, "a/b", Path::new("/elsewhere")).is_err());
        assert!(c.check_new(&s, &"x".repeat(65), Path::new("/elsewhere")).is_err());
        assert!(c.check_new(&s, "ü", Path::new("/elsewhere")).is_ok());
        c.next_folder = 0x8000;
        let none_left = c.check_new(&s, "ü", Path::new("/elsewhere")).unwrap_err().to_string();
        assert!(none_left.contains("32767"), "a number beyond is that of a trash: {none_left}");
        assert!(c.check_root(&s, &fs::canonicalize(s.dir()).unwrap().join("x"), None).is_err());
        fs::remove_dir_all(s.dir()).unwrap();
    }
}
