//! `dartsync image`: what makes a board this home's tracker, as files to copy to its card.
//!
//! | module | what it holds |
//! |---|---|
//! | `kernel` | the program that the board runs |
//! | `texts` | what is said to people, and to the board's firmware |
//!
//! `dartsync.cfg` is an identity: it is written last, for this user alone, and never over another one.

mod kernel;
mod texts;

pub use kernel::KERNELS;

use crate::client::entropy;
use crate::config::State;
use crate::offline;
use anyhow::{Context, Result, anyhow, bail};
use dartsync_core::ids::{InviteId, PublicKey};
use dartsync_core::link::StaticKey;
use dartsync_core::link::code::InviteCode;
use dartsync_core::wire::message::Addr;
use dartsync_tracker::card::{Card, Fixed, HOME_MAX, PORT, Trial};
use dartsync_tracker::words;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const CARD: &str = "dartsync.cfg";
const DEFAULT_HOME: &str = "home";

/// What an image is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Board {
    /// Raspberry Pi 3
    Rpi3,
    /// QEMU's machine "virt"
    Virt,
}

impl Board {
    /// As the command line says it.
    pub fn name(self) -> &'static str {
        match self {
            Board::Rpi3 => "rpi3",
            Board::Virt => "virt",
        }
    }
    fn machine(self) -> &'static str {
        match self {
            Board::Rpi3 => "the Raspberry Pi 3",
            Board::Virt => "QEMU's machine virt",
        }
    }
}

/// What the user gave.
#[derive(Clone, Debug)]
pub struct Image {
    /// The machine.
    pub board: Board,
    /// Where the files go; made if need be.
    pub out: PathBuf,
    /// The home's name.
    pub name: Option<String>,
    /// A fixed address, `ADDR/LEN`.
    pub ip: Option<String>,
    /// Recovery words: the tracker is to be this one.
    pub words: Option<String>,
    /// The card that is there stays; all else is made anew.
    pub update: bool,
}

/// Writes an image whose founder is this device; gives what to tell the user.
pub fn make(state: &State, given: &Image) -> Result<String> {
    make_of(state, given, &kernel::find(given.board)?)
}

fn make_of(state: &State, given: &Image, kernel: &[u8]) -> Result<String> {
    let out = &given.out;
    fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let old = read_card(out)?;
    let mut card = match (&old, given.update) {
        (Some(card), true) => card.clone(),
        (None, false) => new_card(given.words.as_deref())?,
        (None, true) => bail!("{}: there is no {CARD} to keep", out.display()),
        (Some(_), false) => bail!(
            "{}: is there already, and is the identity of a tracker: name another directory, or keep it with --update",
            out.join(CARD).display()
        ),
    };
    if let Some(name) = &given.name {
        card.home = home_name(name)?;
    }
    if let Some(ip) = &given.ip {
        let fixed = Fixed::parse(ip);
        card.address = Some(
            fixed.with_context(|| format!("--ip {ip}: is no address with a prefix, as 192.168.1.5/24"))?,
        );
    }
    check_place(state, &card, out)?;
    let me = own_key(state)?;
    if old.is_none() {
        card.founder = me.0;
    } else if card.founder() != me {
        bail!("{}: was made for another device: update it there", out.join(CARD).display());
    }
    write_all(given.board, out, kernel, &card)
}

/// Writes the files, and says so.
fn write_all(board: Board, out: &Path, kernel: &[u8], card: &Card) -> Result<String> {
    let code = code(card);
    let at = card.address.map(|a| SocketAddr::from((a.ip, PORT)).to_string());
    let readme = texts::readme(&texts::About { board, code: &code, at });
    let (words, file) = (words::encode(&card.identity), card.encode());
    let files: [(&str, &[u8], u32); 4] = [
        ("kernel8.img", kernel, 0o644),
        ("config.txt", texts::config(board).as_bytes(), 0o644),
        ("README.txt", readme.as_bytes(), 0o644),
        (CARD, &file, 0o600),
    ];
    for (name, bytes, mode) in files {
        write(out, name, bytes, mode)?;
    }
    let dir = out.display();
    Ok(format!(
        "kernel8.img, {CARD}, config.txt and README.txt are in {dir}; what to do with them stands in README.txt\n\
         code {code}\n\
         recovery {words}\n\
         the code is good for this device alone; keep the words in a safe place: who has them can be this tracker"
    ))
}

/// The card that is in the directory already.
fn read_card(out: &Path) -> Result<Option<Card>> {
    let path = out.join(CARD);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(Card::decode(&bytes).map_err(|e| anyhow!("{}: {e}", path.display()))?)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// A card of a new tracker, or of the one whose words these are; its founder is still to be said.
fn new_card(recovery: Option<&str>) -> Result<Card> {
    let mut rng = entropy();
    let identity = match recovery {
        Some(text) => words::decode(text).map_err(|e| anyhow!("--words: {e}"))?,
        None => rng.bytes(),
    };
    let home = home_name(DEFAULT_HOME)?;
    Ok(Card { identity, founder: [0; 32], home, address: None, seed: rng.bytes(), trial: Trial::None })
}

fn home_name(name: &str) -> Result<heapless::String<HOME_MAX>> {
    let plain = !name.trim().is_empty() && !name.chars().any(char::is_control);
    let fits = name.try_into().ok().filter(|_| plain);
    fits.with_context(|| format!("--name {name:?}: a home's name is 1 to {HOME_MAX} bytes of text"))
}

/// Whether this device can be the founder, and the files are safe there.
fn check_place(state: &State, card: &Card, out: &Path) -> Result<()> {
    if state.read("config.json")?.is_none() {
        return Ok(());
    }
    let config = state.config()?;
    if config.tracker.public_key()? != card.key().public() {
        bail!(
            "{}: this device belongs to a home already. For a card of that home's tracker say its recovery words \
             (--words); for a new home name another --state DIR",
            state.dir().display()
        );
    }
    let out = fs::canonicalize(out).with_context(|| out.display().to_string())?;
    match config.folders.iter().find(|f| out.starts_with(&f.path.0)) {
        Some(f) => {
            bail!("{}: is in folder \"{}\", and every device would get {CARD}", out.display(), f.label)
        }
        None => Ok(()),
    }
}

/// This device's public key; from now on it keeps it.
fn own_key(state: &State) -> Result<PublicKey> {
    state.create()?;
    if let Some(secret) = state.identity()? {
        return Ok(StaticKey::from_secret(&secret.0).public());
    }
    let Some(_lock) = offline::lock(state)? else {
        bail!("{}: another command works on it; try again", state.dir().display())
    };
    Ok(offline::own_key(state)?.0.public())
}

/// The founder's code: no secret is in it, for the tracker knows the founder's key.
fn code(card: &Card) -> String {
    let addresses = card.address.iter().map(|a| Addr::V4(a.ip, PORT)).collect();
    let code = InviteCode { tracker: card.key().public(), invite: InviteId(0), secret: [0; 16], addresses };
    code.encode().to_string()
}

/// Writes a file wholly and durably. What the card's file system does not know of modes it ignores.
fn write(out: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let (path, new) = (out.join(name), out.join(format!("{name}.new")));
    let done = (|| {
        match fs::remove_file(&new) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(out)?.sync_all()
    })();
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done.with_context(|| format!("{}: cannot be written", path.display()))
}

#[cfg(test)]
mod tests;
