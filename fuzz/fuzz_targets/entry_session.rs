//! libFuzzer's door to [`dockin_fuzz::entry_session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::entry_session(data));
