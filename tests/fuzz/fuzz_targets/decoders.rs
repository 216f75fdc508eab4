//! See `dartsync_tests::fuzz::decoders`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dartsync_tests::fuzz::decoders(data));
