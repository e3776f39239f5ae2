//! libFuzzer's door to [`dockin_fuzz::asciicast`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::asciicast(data));
