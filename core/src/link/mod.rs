//! The secure channel: bytes in, frames out, no sockets.
//!
//! ```text
//! dialler → listener   preamble (12 B, clear) · message 1 (96 B) · tag (32 B)
//! listener → dialler   answer (1 B, clear): the version spoken, then message 2 (48 B);
//!                      or 0 = that invite is not known, or the listener's version; then the end
//! then, both ways      u16 length (LE) · ciphertext
//! ```
//! The handshake is Noise IK, IKpsk2 where the preamble names an invite: X25519, ChaCha20-Poly1305, BLAKE2s; its
//! payloads are empty and the preamble is its prologue. The tag (BLAKE3 keyed by the listener's public key, over all
//! before it) is checked before anything costly is done, so only who knows the listener's key can make it compute.
//! Message 1 can be replayed: a listener counts a link as open only after its first valid frame.
//!
//! - [`Channel`] is one end of a link: [`Channel::dial`] or [`Channel::listen`], then the loop in its docs.
//! - [`StaticKey`] is who one is, [`code::InviteCode`] how a device is told where to go.
//! - [`admission::Admission`] limits what strangers may cost.

pub mod admission;
mod channel;
pub mod code;
mod handshake;
mod preamble;
mod records;
#[cfg(test)]
mod tests;

pub use channel::{Channel, LinkError, Progress, SEAL_HEAD, SEAL_OVERHEAD, TrackerChannel};
pub use handshake::StaticKey;
pub use preamble::{Kind, Opening, Suite, VERSION};
pub use records::DataKeys;
