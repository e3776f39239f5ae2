//! libFuzzer's door to [`dockin_fuzz::resource_manager_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dockin_fuzz::resource_manager_answer(data));
