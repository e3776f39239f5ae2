//! libFuzzer's door to [`dockin_fuzz::translator`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::translator(data));
