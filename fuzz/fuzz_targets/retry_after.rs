#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grapnel_fuzz::retry_after_header(data));
