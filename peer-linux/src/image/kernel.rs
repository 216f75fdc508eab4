//! The tracker's kernel images: built in, or named by a directory.

use super::Board;
use anyhow::{Context, Result, bail};
use std::borrow::Cow;
use std::path::PathBuf;

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The variable that names a directory with images to take instead of those that are built in.
pub const KERNELS: &str = "DARTSYNC_KERNELS";

/// The image for a board: `kernel8-BOARD.img` in the directory that [`KERNELS`] names, else what is built in.
pub fn find(board: Board) -> Result<Cow<'static, [u8]>> {
    let name = format!("kernel8-{}.img", board.name());
    if let Some(dir) = std::env::var_os(KERNELS).filter(|dir| !dir.is_empty()) {
        let path = PathBuf::from(dir).join(&name);
        let image = std::fs::read(&path).with_context(|| path.display().to_string())?;
        if image.is_empty() {
            bail!("{}: is empty", path.display());
        }
        return Ok(image.into());
    }
    match BUILT_IN.iter().find(|(of, _)| *of == board.name()) {
        Some((_, image)) => Ok((*image).into()),
        None => bail!("{}", missing(board, &name)),
    }
}

fn missing(board: Board, name: &str) -> String {
    let why = if WHY_NONE.is_empty() { "it has none for this board" } else { WHY_NONE };
    format!(
        "this program was built without a kernel image for {}: {why}. Build it with `rustup target add \
         aarch64-unknown-none` and `cargo build --release`, or set {KERNELS} to a directory that has {name}",
        board.name()
    )
}
