//! Builds the tracker's kernel images into the program, for `dartsync image`.
//!
//! Not in the profiles `dev` and `fast`, which are for work on the project: there `dartsync image` takes them from the
//! directory that `DARTSYNC_KERNELS` names. Rust's target for boards is added by rustup where it is missing (by its name
//! in `rust-toolchain.toml`, rustup would bring the whole toolchain up to date with it). Where it cannot be had, or what a
//! board needs cannot be fetched, the program is built all the same, and `dartsync image` says what it lacks.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "aarch64-unknown-none";
const BOARDS: [&str; 2] = ["rpi3", "virt"];
/// What an image is made of, from the workspace's root.
const SOURCES: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "core/Cargo.toml",
    "core/src",
    "hal/Cargo.toml",
    "hal/src",
    "tracker-pi/Cargo.toml",
    "tracker-pi/build.rs",
    "tracker-pi/src",
    "peer-linux/build.rs",
];

fn main() {
    let out = PathBuf::from(var("OUT_DIR"));
    let root = Path::new(&var("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_path_buf();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let (images, why) = match images(&root, &out) {
        Ok(images) => (images, String::new()),
        Err(why) => (Vec::new(), why),
    };
    let mut text = String::from("/// The images that this program was built with, by board.\n");
    text += "static BUILT_IN: &[(&str, &[u8])] = &[\n";
    for (board, path) in images {
        writeln!(text, "    ({board:?}, include_bytes!({path:?})),").expect("text grows");
    }
    write!(text, "];\n/// Why there are none.\nstatic WHY_NONE: &str = {why:?};\n").expect("text grows");
    fs::write(out.join("kernels.rs"), text).expect("cargo's directory can be written");
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The images, each with its board; an error says why there are none.
fn images(root: &Path, out: &Path) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let target = target_dir(out);
    let below = out.strip_prefix(&target).unwrap_or(out);
    if below.iter().any(|part| part == "debug" || part == "fast") {
        return Err("it is a build for work on DartSync itself".into());
    }
    if !has_target() {
        add_target();
    }
    if !has_target() {
        let why = format!("Rust's target {TARGET} was not installed; `rustup target add {TARGET}` does that");
        return Err(without(out, why));
    }
    let fetched = cargo(root, &target).args(["fetch", "--locked", "--quiet", "--target", TARGET]).output();
    if let Some(why) = failure(fetched) {
        return Err(without(
            out,
            format!("what they are built from could not be fetched: {}", one_line(&why)),
        ));
    }
    Ok(BOARDS.into_iter().map(|board| (board, image(root, &target, out, board))).collect())
}

/// Whether Rust's library for boards is here.
fn has_target() -> bool {
    let lib = Command::new(var("RUSTC")).args(["--print", "target-libdir", "--target", TARGET]).output();
    lib.is_ok_and(|lib| Path::new(String::from_utf8_lossy(&lib.stdout).trim()).is_dir())
}

/// Has rustup add it to the toolchain at work, if that is rustup's.
fn add_target() {
    if let Ok(toolchain) = std::env::var("RUSTUP_TOOLCHAIN") {
        let add = Command::new("rustup").args(["target", "add", "--toolchain", &toolchain, TARGET]).output();
        if let Some(why) = failure(add) {
            println!("cargo::warning=rustup target add {TARGET}: {}", one_line(&why));
        }
    }
}

/// Says what is missing, and sees that the next build looks again.
fn without(out: &Path, why: String) -> String {
    println!("cargo::rerun-if-changed={}", out.join("what-is-never-there").display());
    println!("cargo::warning=without kernel images for `dartsync image`: {why}");
    why
}

/// Builds one image and keeps a copy: the next board's has the same name.
fn image(root: &Path, target: &Path, out: &Path, board: &str) -> PathBuf {
    let mut build = cargo(root, target);
    build.args([
        "build",
        "--locked",
        "--quiet",
        "--profile",
        "bare",
        "-p",
        "dartsync-tracker",
        "--bin",
        "kernel8",
    ]);
    build.args(["--target", TARGET, "--no-default-features", "--features", board]);
    if let Some(why) = failure(build.output()) {
        panic!("the kernel image for {board} does not build:\n{why}");
    }
    let copy = out.join(format!("kernel8-{board}.img"));
    let built = target.join("kernels").join(TARGET).join("bare/kernel8");
    fs::copy(&built, &copy).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    copy
}

/// Cargo, in a directory of its own (this one is locked by whoever runs this), told nothing of the build at hand.
fn cargo(root: &Path, target: &Path) -> Command {
    const OURS: [&str; 6] =
        ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_", "DEP_"];
    const FLAGS: [&str; 7] = [
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
    ];
    let mut cargo = Command::new(var("CARGO"));
    for (name, _) in std::env::vars_os() {
        let told = |n: &str| FLAGS.contains(&n) || OURS.iter().any(|p| n.starts_with(p));
        if name.to_str().is_some_and(told) {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(root).env("CARGO_TARGET_DIR", target.join("kernels"));
    cargo
}

/// What a command that failed has said.
fn failure(done: std::io::Result<std::process::Output>) -> Option<String> {
    match done {
        Ok(out) if out.status.success() => None,
        Ok(out) => Some(String::from_utf8_lossy(&out.stderr).into_owned()),
        Err(e) => Some(format!("it cannot be started: {e}")),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cargo's directory, the outermost where one lies in another: all builds share the images' own.
fn target_dir(out: &Path) -> PathBuf {
    let tagged = out.ancestors().filter(|dir| dir.join(OsStr::new("CACHEDIR.TAG")).exists());
    tagged.last().unwrap_or(out).to_path_buf()
}
