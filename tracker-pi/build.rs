//! Where the kernel images lie: the linker script is hal's, the numbers are the board's.

/// Bytes of stack: the tracker is made there, and moved to its place.
const STACK: u32 = 2 << 20;
/// Bytes of memory that devices read and write by themselves.
const DMA: u32 = 256 << 10;

fn main() {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    println!("cargo::rerun-if-changed=../hal/src/arch/aarch64/link.ld");
    println!("cargo::rerun-if-changed=build.rs");
    if var("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }
    let load = if std::env::var_os("CARGO_FEATURE_RPI3").is_some() { 0x8_0000 } else { 0x4008_0000 };
    let script = format!("{}/../hal/src/arch/aarch64/link.ld", var("CARGO_MANIFEST_DIR"));
    for arg in [format!("-T{script}"), format!("--defsym=LOAD={load:#x}"), format!("--defsym=STACK={STACK}")]
    {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
    println!("cargo::rustc-link-arg-bins=--defsym=DMA={DMA}");
    // The file is what the firmware loads, byte for byte.
    println!("cargo::rustc-link-arg-bins=--oformat=binary");
}
