//! See `dartsync_tests::fuzz::handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dartsync_tests::fuzz::handshake(data));
