//! libFuzzer's door to [`dockin_fuzz::cni_plugin`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::cni_plugin(data));
