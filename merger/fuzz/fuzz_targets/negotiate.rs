//! An Accept header, a Content-Type and a body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merger_fuzz::negotiate(data));
