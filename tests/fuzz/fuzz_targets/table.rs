//! See `dartsync_tests::fuzz::table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dartsync_tests::fuzz::table(data));
