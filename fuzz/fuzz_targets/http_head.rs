//! libFuzzer's door to [`dockin_fuzz::http_head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::http_head(data));
