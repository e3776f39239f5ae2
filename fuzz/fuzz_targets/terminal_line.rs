//! libFuzzer's door to [`dockin_fuzz::terminal_line`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::terminal_line(data));
