//! libFuzzer's door to [`dockin_fuzz::websocket_frame`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::websocket_frame(data));
