//! What the machine's device tree says that differs from start to start.

use core::ops::Range;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

/// The machine as it was started.
#[derive(Clone, Default, Debug)]
pub struct Told {
    /// Its memory.
    pub memory: Range<usize>,
    /// A file that was loaded beside the program.
    pub file: Range<usize>,
    /// Randomness that the host drew for this start.
    pub seed: Option<[u8; 32]>,
    /// The firmware is called by SMC, not by HVC.
    pub by_smc: bool,
}

/// Reads the tree.
pub fn read(tree: Fdt<'_>) -> Told {
    let root = tree.root();
    let mut told = Told::default();
    for node in root.children() {
        match node.name_without_address() {
            "memory" => told.memory = memory(node).unwrap_or_default(),
            "chosen" => {
                let at = |name| node.property(name).and_then(|p| address(p.value())).unwrap_or(0);
                told.file = at("linux,initrd-start")..at("linux,initrd-end");
                told.seed = node.property("rng-seed").and_then(|p| p.value().first_chunk().copied());
            }
            "psci" => told.by_smc = node.property("method").is_some_and(|p| p.value().starts_with(b"smc")),
            _ => {}
        }
    }
    told
}

fn memory(node: FdtNode<'_>) -> Option<Range<usize>> {
    let reg = node.property("reg")?;
    let (start, len) = reg.value().split_first_chunk::<8>()?;
    let start = usize::try_from(u64::from_be_bytes(*start)).ok()?;
    let len = usize::try_from(u64::from_be_bytes(*len.first_chunk()?)).ok()?;
    Some(start..start.checked_add(len)?)
}

/// An address of one or two cells.
fn address(value: &[u8]) -> Option<usize> {
    match value.len() {
        4 => Some(u32::from_be_bytes(*value.first_chunk()?) as usize),
        8 => usize::try_from(u64::from_be_bytes(*value.first_chunk()?)).ok(),
        _ => None,
    }
}
