//! Several bodies in any formats, merged to any.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merger_fuzz::merge(data));
