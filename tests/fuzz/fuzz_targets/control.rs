//! See `dartsync_tests::fuzz::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dartsync_tests::fuzz::control(data));
