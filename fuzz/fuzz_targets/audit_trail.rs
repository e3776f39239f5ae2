//! libFuzzer's door to [`dockin_fuzz::audit_trail`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::audit_trail(data));
