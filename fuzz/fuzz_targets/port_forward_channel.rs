//! libFuzzer's door to [`dockin_fuzz::port_forward_channel`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::port_forward_channel(data));
