//! libFuzzer's door to [`dockin_fuzz::command_parse`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::command_parse(data));
