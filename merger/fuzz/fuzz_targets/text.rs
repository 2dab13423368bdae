//! A body read as text 0.0.4 and 1.0.0.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merger_fuzz::text(data));
