//! See `dartsync_tests::fuzz::home`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The machines are built on the stack before they are boxed.
    let data = data.to_vec();
    let fed = std::thread::Builder::new().stack_size(64 << 20).spawn(move || dartsync_tests::fuzz::home(&data));
    fed.expect("a thread").join().expect("no panic");
});
