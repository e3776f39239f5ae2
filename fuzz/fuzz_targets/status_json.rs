//! libFuzzer's door to [`dockin_fuzz::status_json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::status_json(data));
