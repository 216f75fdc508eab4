//! What the command line may say.

use crate::image::Board;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Folders kept identical on every device of a home, without a cloud.
#[derive(Parser, Debug)]
#[command(name = "dartsync", version, propagate_version = true)]
pub struct Args {
    /// Where this device keeps its state [default: $DARTSYNC_STATE, $XDG_STATE_HOME/dartsync]
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show a tracker and some devices at work on this machine
    Demo(DemoArgs),
    /// Be the tracker: the same as the program dartsync-tracker
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Tracker {
        /// As of dartsync-tracker
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Make this device one of a home, by an invite
    Join {
        /// The invite, dart1…
        code: String,
        /// What to link to the home's first folder [default: ~/DartSync]
        root: Option<PathBuf>,
        /// This device's name [default: the host's]
        #[arg(long)]
        name: Option<String>,
        /// Where other devices reach this one [default: every address, port 7421 or the next free]
        #[arg(long, value_name = "ADDR:PORT")]
        listen: Option<String>,
        /// Where the tracker is, if not where the code says
        #[arg(long, value_name = "ADDR:PORT")]
        tracker: Option<String>,
    },
    /// Write a tracker for a board without an operating system, as files for its card
    Image(ImageArgs),
    /// Sync, in the foreground; prints `ready` when all folders are watched
    Run,
    /// Print a code that lets one more device join, once, within an hour; on a terminal also as a QR code
    Invite {
        /// The QR code also where stdout is no terminal
        #[arg(long)]
        qr: bool,
        /// Recovery words: do not wait for devices to bring the roster back
        #[arg(long, value_name = "WORDS")]
        force: Option<String>,
    },
    /// List the home's devices
    Devices {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a device out of the home for ever
    Revoke {
        /// Its name
        name: String,
        /// Recovery words: do not wait for devices to bring the roster back
        #[arg(long, value_name = "WORDS")]
        force: Option<String>,
    },
    /// Make a directory a folder of the home
    Add {
        /// The directory
        path: PathBuf,
        /// The folder's name
        #[arg(long)]
        label: String,
        /// Recovery words: do not wait for devices to bring the roster back
        #[arg(long, value_name = "WORDS")]
        force: Option<String>,
    },
    /// Link a folder of the home to a directory, or say where its root was moved
    Link {
        /// The folder
        label: String,
        /// The directory
        path: PathBuf,
        /// Recovery words: do not wait for devices to bring the roster back
        #[arg(long, value_name = "WORDS")]
        force: Option<String>,
    },
    /// Stop syncing a folder on this device; its files stay
    Unlink {
        /// The folder
        label: String,
    },
    /// Take a folder out of the home; files stay on every device
    Forget {
        /// The folder
        label: String,
    },
    /// Take this device out of the home; its files stay
    Leave,
    /// List the home's folders
    Folders {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what is in sync, what is not, and why
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Again and again, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Wait until this device is in sync
    Wait {
        /// Give up after so long
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<f64>,
        /// Until the other devices that are online have everything too
        #[arg(long)]
        all: bool,
    },
    /// List conflict copies
    Conflicts {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What was removed or replaced
    Trash {
        /// What to do with it.
        #[command(subcommand)]
        what: Trash,
    },
    /// Stop syncing, for one folder or all, until `resume`
    Pause {
        /// The folder
        label: Option<String>,
    },
    /// Go on syncing
    Resume {
        /// The folder
        label: Option<String>,
    },
    /// Limit what goes to other devices and comes from them; says what the limits are
    Limit {
        /// To others, bytes a second (as 500K, 2M), or `off`
        #[arg(long, value_name = "RATE", value_parser = rate)]
        up: Option<u64>,
        /// From others
        #[arg(long, value_name = "RATE", value_parser = rate)]
        down: Option<u64>,
    },
    /// Let a held burst of removals pass
    Approve {
        /// The folder
        label: String,
        /// Only list what would be removed
        #[arg(long)]
        list: bool,
    },
}

/// What to do with the trash.
#[derive(Subcommand, Debug)]
pub enum Trash {
    /// List it
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring a path back, as a new edit
    Restore {
        /// As listed, or where it was
        path: PathBuf,
        /// As of this day, not the latest
        #[arg(long, value_name = "YYYY-MM-DD")]
        date: Option<String>,
    },
    /// Delete what nothing waits for
    Empty,
}

/// What a board's tracker is to be.
#[derive(clap::Args, Debug, Clone)]
pub struct ImageArgs {
    /// The board
    #[arg(long)]
    pub board: Board,
    /// Where to write the files: a directory, or a mounted card
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The home's name, as devices show it [default: home]
    #[arg(long, value_name = "HOME")]
    pub name: Option<String>,
    /// The tracker's address, fixed [default: by DHCP]
    #[arg(long, value_name = "ADDR/LEN")]
    pub ip: Option<String>,
    /// Recovery words: the tracker is to be this one again
    #[arg(long, value_name = "WORDS")]
    pub words: Option<String>,
    /// Renew an image that is there; its dartsync.cfg stays this tracker's
    #[arg(long, conflicts_with = "words")]
    pub update: bool,
}

impl From<ImageArgs> for crate::image::Image {
    fn from(args: ImageArgs) -> Self {
        let ImageArgs { board, out, name, ip, words, update } = args;
        crate::image::Image { board, out, name, ip, words, update }
    }
}

/// How the demo is shown.
#[derive(clap::Args, Debug, Clone)]
pub struct DemoArgs {
    /// How many
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=32))]
    pub devices: u16,
    /// Where to make the folders [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// End after the show; exit 0 only if all held
    #[arg(long)]
    pub once: bool,
}

impl From<DemoArgs> for crate::demo::Options {
    fn from(args: DemoArgs) -> Self {
        crate::demo::Options { devices: args.devices.into(), dir: args.dir, once: args.once }
    }
}

/// Bytes a second; 0: no limit.
fn rate(text: &str) -> Result<u64, String> {
    if text == "off" {
        return Ok(0);
    }
    let (number, unit) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((number, "K")) => (number, 1 << 10),
        Some((number, "M")) => (number, 1 << 20),
        Some((number, "G")) => (number, 1 << 30),
        _ => (text, 1),
    };
    let rate = number.parse::<f64>().ok().map(|n| n * unit as f64).filter(|n| (1.0..1e15).contains(n));
    rate.map(|n| n as u64).ok_or_else(|| "not a number of bytes, as 500K, 2M or 1G; or `off`".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s.is_finite() && (0.0..=1e9).contains(&s) => Ok(s),
        _ => Err("not a number of seconds".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_contract_is_understood() {
        Args::command().debug_assert();
        for line in [
            "demo --devices 4 --dir /x --once",
            "--state /s join dart1x /r --name n --listen 127.0.0.1:1 --tracker 127.0.0.1:2",
            "join dart1x",
            "--state /s run",
            "--state /s image --board rpi3 --out /o",
            "image --board virt --out /o --name h --ip 192.168.1.5/24",
            "image --board virt --out /o --update",
            "run --state /s",
            "invite",
            "devices --json",
            "revoke n --force words",
            "add /p --label l",
            "link l /p",
            "unlink l",
            "forget l",
            "leave",
            "folders --json",
            "status --json --watch",
            "wait --timeout 20 --all",
            "wait --timeout 0.5",
            "conflicts --json",
            "trash list",
            "trash restore a/b",
            "trash empty",
            "pause",
            "resume l",
            "limit",
            "limit --up 500K --down off",
            "limit --up 1.5M",
            "approve l --list",
        ] {
            let r = Args::try_parse_from(std::iter::once("dartsync").chain(line.split(' ')));
            assert!(r.is_ok(), "{line}: {}", r.unwrap_err());
        }
        for line in [
            "limit --up 0",
            "limit --down é",
            "",
            "nonsense",
            "wait --timeout x",
            "wait --timeout -1",
            "join",
            "add /p",
            "demo --devices 1",
        ] {
            assert!(
                Args::try_parse_from(std::iter::once("dartsync").chain(line.split(' '))).is_err(),
                "{line}"
            );
        }
        let r =
            Args::try_parse_from("dartsync tracker run --state /s --listen 127.0.0.1:1".split(' ')).unwrap();
        let Command::Tracker { args } = r.command else { panic!("a tracker") };
        assert_eq!(args, ["run", "--state", "/s", "--listen", "127.0.0.1:1"]);
        assert!(r.state.is_none());
    }
}
