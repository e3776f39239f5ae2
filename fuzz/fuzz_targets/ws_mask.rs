//! libFuzzer's door to [`dockin_fuzz::ws_mask`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::ws_mask(data));
