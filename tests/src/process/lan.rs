//! A network of a test's own: a namespace in which a board hangs on a cable, and nothing else is.

use super::Program;
use nix::sched::{CloneFlags, unshare};
use std::path::Path;
use std::process::{Command, Stdio};

/// The kernel's end of the cable.
pub const CABLE: &str = "tap0";
/// The address of that end.
pub const HERE: [u8; 4] = [10, 0, 2, 1];

/// Runs `body` in a thread with a network namespace of its own, in which [`CABLE`] is up at [`HERE`], of 24 bits; what
/// it starts is in there, too. Where none can be made, that is said loudly, and nothing runs.
pub fn on_a_lan(body: impl FnOnce() + Send) {
    let ran = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let why = match make() {
                Ok(()) => return body(),
                Err(why) => why,
            };
            super::skipped(&format!("no network namespace with a tap ({why}): that was not tested"));
        });
        thread.join()
    });
    ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// What QEMU's adapter is plugged into, as it says it.
pub fn cable() -> String {
    format!("tap,id=n0,ifname={CABLE},script=no,downscript=no")
}

fn make() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("as root only: {e}"))?;
    let [a, b, c, d] = HERE;
    ip("link set lo up")?;
    ip(&format!("tuntap add dev {CABLE} mode tap"))?;
    ip(&format!("addr add {a}.{b}.{c}.{d}/24 dev {CABLE}"))?;
    ip(&format!("link set {CABLE} up"))
}

fn ip(args: &str) -> Result<(), String> {
    let out = Command::new("ip").args(args.split(' ')).stdin(Stdio::null()).output();
    let out = out.map_err(|e| format!("ip (Debian: iproute2): {e}"))?;
    let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    if out.status.success() { Ok(()) } else { Err(format!("ip {args}: {why}")) }
}

/// dnsmasq as the network's DHCP server, which lends the addresses of a range.
#[derive(Debug)]
pub struct Dnsmasq {
    /// Its process.
    pub program: Program,
}

impl Dnsmasq {
    /// Whether it is here. Where it is not, that is said loudly.
    pub fn is_here() -> bool {
        let found = Command::new(DNSMASQ).arg("--version").stdout(Stdio::null()).status();
        let found = found.is_ok_and(|status| status.success());
        if !found {
            let why = "is not installed (Debian: dnsmasq-base): no lease was tested";
            super::skipped(&format!("{DNSMASQ} {why}"));
        }
        found
    }
    /// Starts one below `dir` that lends from the addresses of [`HERE`]'s network between those numbers, for two
    /// minutes (its least), to be renewed every 5 s. It is the network's only server, and knows of no older lease.
    pub fn start(dir: &Path, from: u8, to: u8) -> Dnsmasq {
        let [a, b, c, _] = HERE;
        let leases = dir.join(format!("leases-{from}"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", DNSMASQ, "--keep-in-foreground", "--conf-file=/dev/null"]);
        command.args(["--port=0", "--bind-interfaces", "--log-dhcp", "--log-facility=-", "--user=root"]);
        command.args(["--dhcp-authoritative", "--no-ping", "--pid-file="]);
        command.arg(format!("--interface={CABLE}"));
        command.arg(format!("--dhcp-range={a}.{b}.{c}.{from},{a}.{b}.{c}.{to},2m"));
        command.args(["--dhcp-option=option:T1,5", "--dhcp-option=option:T2,9"]);
        command.arg(format!("--dhcp-leasefile={}", leases.display())).stdin(Stdio::null());
        let mut program = Program::start(command, &dir.join(format!("dnsmasq-{from}.log")));
        program.says("dnsmasq-dhcp");
        Dnsmasq { program }
    }
    /// How many lines of its log hold that word.
    pub fn count(&self, word: &str) -> usize {
        self.program.text().lines().filter(|line| line.contains(word)).count()
    }
}

const DNSMASQ: &str = "dnsmasq";
