//! libFuzzer's door to [`dockin_fuzz::spdy_connection`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::spdy_connection(data));
