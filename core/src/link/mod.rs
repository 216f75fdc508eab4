//! The secure channel: Noise handshakes and sealed frames; bytes in, frames out.
