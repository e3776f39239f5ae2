//! libFuzzer's door to [`dockin_fuzz::inflate_vs_zlib_rs`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::inflate_vs_zlib_rs(data));
