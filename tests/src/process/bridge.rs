//! A network of its own: each node in a namespace, all on one bridge.

use super::program::Program;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Namespaces `0..nodes` and the bridge between them; gone when dropped.
#[derive(Debug)]
pub struct Bridge {
    hub: String,
    nodes: Vec<String>,
}

/// Whether namespaces can be made here. Where they cannot, that is said loudly.
pub fn has_namespaces() -> bool {
    let name = format!("dt{}x", std::process::id());
    let can = ip(&["netns", "add", &name]) && ip(&["netns", "del", &name]) && has("nsenter");
    if !can {
        super::skipped("not root, or no ip(8) and nsenter(1): nothing was tortured in namespaces");
    }
    can
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

fn ip(args: &[&str]) -> bool {
    let ran = Command::new("ip").args(args).stdin(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

impl Bridge {
    /// A network of that many nodes.
    pub fn new(nodes: usize) -> Bridge {
        let name = |what: &str| format!("dt{}{what}", std::process::id());
        let bridge = Bridge { hub: name("h"), nodes: (0..nodes).map(|n| name(&n.to_string())).collect() };
        let must = |args: &[&str]| assert!(ip(args), "ip {}", args.join(" "));
        must(&["netns", "add", &bridge.hub]);
        must(&["-n", &bridge.hub, "link", "add", "br0", "type", "bridge"]);
        must(&["-n", &bridge.hub, "link", "set", "br0", "up"]);
        for (n, node) in bridge.nodes.iter().enumerate() {
            let (port, address) = (format!("v{n}"), format!("{}/24", Bridge::address(n)));
            must(&["netns", "add", node]);
            must(&[
                "-n",
                &bridge.hub,
                "link",
                "add",
                &port,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                node,
            ]);
            must(&["-n", &bridge.hub, "link", "set", &port, "master", "br0", "up"]);
            must(&["-n", node, "address", "add", &address, "dev", "eth0"]);
            must(&["-n", node, "link", "set", "lo", "up"]);
            must(&["-n", node, "link", "set", "eth0", "up"]);
        }
        bridge
    }
    /// A node's address.
    pub fn address(node: usize) -> String {
        format!("10.77.0.{}", node + 1)
    }
    /// The name of a node's namespace.
    pub fn namespace(&self, node: usize) -> &str {
        &self.nodes[node]
    }
    /// Cuts a node off, or heals that.
    pub fn plug(&self, node: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        assert!(
            ip(&["-n", &self.hub, "link", "set", &format!("v{node}"), state]),
            "a port can be set {state}"
        );
    }
    /// Makes what a node sends slow and lossy, if the kernel can; or heals that.
    pub fn worsen(&self, node: usize, worse: bool) {
        let mut tc = Command::new("tc");
        tc.args(["-n", &self.nodes[node], "qdisc", if worse { "add" } else { "del" }, "dev", "eth0", "root"]);
        if worse {
            tc.args(["netem", "delay", "15ms", "10ms", "loss", "2%"]);
        }
        let _ = tc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        for name in self.nodes.iter().chain([&self.hub]) {
            ip(&["netns", "del", name]);
        }
    }
}

/// A file system of its own in memory; gone when dropped.
#[derive(Debug)]
pub struct Small(PathBuf);

impl Small {
    /// Mounts one of so many KiB.
    pub fn mount(at: &Path, size: usize) -> Small {
        std::fs::create_dir_all(at).expect("a directory can be made");
        Small::set(at, size, MsFlags::empty());
        Small(at.to_owned())
    }
    /// From now on it has so many KiB.
    pub fn resize(&self, size: usize) {
        Small::set(&self.0, size, MsFlags::MS_REMOUNT);
    }
    fn set(at: &Path, size: usize, flags: MsFlags) {
        let (kind, data) = (Some("tmpfs"), format!("size={size}k"));
        mount(kind, at, kind, flags, Some(data.as_str())).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

impl Program {
    /// Stops it as it stands, or has it go on.
    pub fn freeze(&self, frozen: bool) {
        use nix::sys::signal::{Signal, kill};
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        kill(nix::unistd::Pid::from_raw(self.id() as i32), signal).expect("it runs");
    }
}
