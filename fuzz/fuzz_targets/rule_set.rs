//! libFuzzer's door to [`dockin_fuzz::rule_set`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::rule_set(data));
