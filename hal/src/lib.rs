//! What a board or an operating system offers a DartSync node, and every board: it knows nothing of the protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | [`clock`], [`entropy`], [`console`], [`storage`] | small traits |
//! | [`net`] | TCP links as byte streams that never block, with readiness |
//! | [`driver`] | devices that boards have |
//! | [`once`] | statics that are filled at run time |
//! | `net_std` | [`net`] over epoll |
//! | `net_smoltcp` | [`net`] over a network device, without an operating system (feature `smoltcp`) |
//! | `std_impl` | the small traits on an operating system |
//! | `conformance` | one suite that every [`net::Net`] passes |
//! | `os` | calls of Linux that no crate offers safely |
//! | `arch`, `board` | machines without an operating system: start, memory, exceptions, time; consoles, adapters |
//!
//! Times are plain microseconds. All `unsafe` code of the project lives in this crate, each with its reason.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(all(feature = "bare", target_arch = "aarch64", target_os = "none"))]
#[expect(unsafe_code, reason = "a bare machine is reached in no other way")]
pub mod arch;
#[cfg(all(feature = "bare", target_arch = "aarch64", target_os = "none"))]
#[expect(unsafe_code, reason = "a bare machine is reached in no other way")]
pub mod board;
pub mod clock;
pub mod console;
#[cfg(any(feature = "smoltcp", feature = "std"))]
#[cfg_attr(
    not(all(feature = "smoltcp", feature = "std")),
    allow(dead_code, reason = "one side asks, one answers")
)]
mod dns;
pub mod driver;
pub mod entropy;
pub mod net;
#[cfg(feature = "smoltcp")]
pub mod net_smoltcp;
pub mod once;
pub mod storage;

#[cfg(feature = "std")]
pub mod conformance;
#[cfg(feature = "std")]
pub mod net_std;
#[cfg(feature = "std")]
pub mod os;
#[cfg(feature = "std")]
pub mod std_impl;
