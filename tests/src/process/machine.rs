//! A board under QEMU as the home's tracker.

use super::program::{Program, binary, built_in, free_port, sans_cargo};
use super::{Device, PATIENCE};
use dartsync_tracker::card::{Card, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;

/// A board as QEMU has it.
#[derive(Debug)]
pub struct Kind {
    /// As `dartsync image --board` says it.
    pub name: &'static str,
    machine: &'static [&'static str],
    adapter: &'static str,
}

/// The boards that images are made for.
pub const BOARDS: &[Kind] = &[
    Kind {
        name: "virt",
        machine: &["virt", "-cpu", "cortex-a53", "-m", "128"],
        adapter: "virtio-net-device,netdev=n0",
    },
    Kind { name: "rpi3", machine: &["raspi3b"], adapter: "usb-net,netdev=n0" },
];

/// Whether QEMU is here. Where it is not, that is said loudly.
pub fn has_qemu() -> bool {
    let found = Command::new(QEMU).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        super::skipped(&format!("{QEMU} is not installed (Debian: qemu-system-arm): no board was tested"));
    }
    found
}

const QEMU: &str = "qemu-system-aarch64";

/// The board as a tracker. Its clock is QEMU's; its console goes to a log.
#[derive(Debug)]
pub struct Machine {
    kind: &'static Kind,
    /// What was written for its card.
    pub image: PathBuf,
    /// Its address, if that is fixed.
    pub inside: String,
    /// Where devices reach it.
    pub listen: String,
    /// Where its status page is reached.
    pub page: String,
    /// The founder's code.
    pub code: String,
    /// Its memory, MiB, where that is not the board's usual one.
    pub ram: Option<u32>,
    /// What its adapter is plugged into, as QEMU says it (`…,id=n0`); none: a network of QEMU's own, reached at `listen`.
    pub net: Option<String>,
    log: PathBuf,
    /// QEMU, while it runs.
    pub program: Option<Program>,
}

impl Machine {
    /// Has `founder` make an image below `dir`; not started.
    pub fn new(kind: &'static Kind, dir: &Path, founder: &Device, more: &[&str]) -> Machine {
        let image = dir.join("image");
        let out = image_of(kind, &image, founder, more);
        let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{}: {text}{errors}", kind.name);
        let code = text.lines().find_map(|l| l.strip_prefix("code ")).expect("a code").to_owned();
        let (listen, log) = (format!("127.0.0.1:{}", free_port()), dir.join("console.log"));
        let page = format!("127.0.0.1:{}", free_port());
        Machine {
            kind,
            image,
            inside: String::new(),
            listen,
            page,
            code,
            ram: None,
            net: None,
            log,
            program: None,
        }
    }
    /// The file by which it is told who it is.
    pub fn card(&self) -> PathBuf {
        self.image.join("dartsync.cfg")
    }
    /// Lets a device join through it; an error is what the program said.
    pub fn joined_by(&self, device: &Device, code: &str) -> Result<(), String> {
        let root = device.root.to_str().expect("plain names");
        let (name, listen) = (&device.name, &device.listen);
        let out = device.try_say(&[
            "join",
            code,
            root,
            "--name",
            name,
            "--listen",
            listen,
            "--tracker",
            &self.listen,
        ]);
        if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
    }
    /// Tells it to fail.
    pub fn shall(&self, trial: Trial) {
        let file = std::fs::read(self.card()).expect("it was written");
        let card = Card { trial, ..Card::decode(&file).expect("it is whole") };
        std::fs::write(self.card(), card.encode()).expect("it can be written");
    }
    /// Switches it on, and waits until it listens; where its clock stood then, ms, and the rest of what it says of it.
    pub fn boot(&mut self) -> String {
        self.power_on();
        self.console("listening on ")
    }
    /// Switches it on.
    pub fn power_on(&mut self) {
        // QEMU ends with the thread that starts it, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU, "-M"]).args(self.kind.machine);
        if let Some(mib) = self.ram {
            command.args(["-m", &mib.to_string()]);
        }
        command.arg("-kernel").arg(self.image.join("kernel8.img"));
        if self.card().exists() {
            command.arg("-initrd").arg(self.card());
        }
        command.args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
        let forward = |from: &str, to: u16| format!("hostfwd=tcp:{from}-{}:{to}", self.inside);
        let [link, page] = [forward(&self.listen, 7420), forward(&self.page, 80)];
        let net = self.net.clone().unwrap_or(format!("user,id=n0,restrict=on,{link},{page}"));
        command.args(["-netdev", &net, "-device", self.kind.adapter]).stdin(Stdio::null());
        self.program = Some(Program::start(command, &self.log));
    }
    /// Cuts its power.
    pub fn cut(&mut self) {
        self.program = None;
    }
    /// The rest of the first line of this boot that begins so, waited for.
    pub fn console(&mut self, word: &str) -> String {
        self.program.as_mut().expect("it is on").says(word)
    }
    /// Waits until it starts anew, which ends QEMU; what it has said.
    pub fn reset(&mut self) -> String {
        let mut program = self.program.take().expect("it is on");
        let status = program.ends(PATIENCE);
        let text = program.text();
        assert!(status.is_some_and(|s: ExitStatus| s.success()), "{status:?}: {text}");
        text
    }
}

/// Runs `dartsync image` for a device.
pub fn image_of(kind: &Kind, out: &Path, founder: &Device, more: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("--state").arg(&founder.state).args(["image", "--board", kind.name, "--out"]).arg(out);
    command.args(more).env("DARTSYNC_KERNELS", kernels());
    command.output().expect("it can be run")
}

/// A directory with the boards' kernel images, built from this workspace; `DARTSYNC_KERNELS` names another.
fn kernels() -> &'static Path {
    static KERNELS: OnceLock<PathBuf> = OnceLock::new();
    KERNELS.get_or_init(|| {
        if let Some(dir) = std::env::var_os("DARTSYNC_KERNELS") {
            return dir.into();
        }
        // As peer-linux/build.rs has it, so that each is built once.
        let own = built_in();
        let tagged = own.ancestors().filter(|dir| dir.join("CACHEDIR.TAG").exists());
        let target = tagged.last().expect("cargo marks its directory").join("kernels");
        for board in BOARDS.iter().map(|b| b.name) {
            let mut build = sans_cargo();
            build.args(["build", "--locked", "--quiet", "--profile", "bare", "-p", "dartsync-tracker"]);
            build.args(["--bin", "kernel8", "--target", "aarch64-unknown-none", "--no-default-features"]);
            let built = build.args(["--features", board]).env("CARGO_TARGET_DIR", &target).status();
            assert!(built.as_ref().is_ok_and(ExitStatus::success), "the image for {board}: {built:?}");
            // Several test programs may do this at once.
            let (own, place) = (format!("{board}.{}", std::process::id()), format!("kernel8-{board}.img"));
            std::fs::copy(target.join("aarch64-unknown-none/bare/kernel8"), target.join(&own))
                .and_then(|_| std::fs::rename(target.join(&own), target.join(place)))
                .expect("cargo's directory can be written");
        }
        target
    })
}
