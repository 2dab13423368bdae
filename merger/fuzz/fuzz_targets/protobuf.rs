//! A body read as delimited messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merger_fuzz::protobuf(data));
