//! libFuzzer's door to [`dockin_fuzz::lease_files`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::lease_files(data));
