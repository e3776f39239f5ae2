//! libFuzzer's door to [`dockin_fuzz::log_stream`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::log_stream(data));
