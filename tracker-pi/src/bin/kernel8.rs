//! `kernel8.img`: the tracker as all that runs on a board. See `dartsync_tracker::bare`.
#![no_std]
#![no_main]

#[cfg(all(target_arch = "aarch64", target_os = "none", feature = "rpi3"))]
type Board = dartsync_hal::board::rpi3::Rpi3;
#[cfg(all(target_arch = "aarch64", target_os = "none", feature = "virt", not(feature = "rpi3")))]
type Board = dartsync_hal::board::virt::Virt;

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
dartsync_hal::entry!(Board, dartsync_tracker::bare::main::<Board>);
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
compile_error!("kernel8 is for aarch64-unknown-none");
