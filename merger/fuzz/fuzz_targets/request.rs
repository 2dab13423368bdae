//! A message of the agent to the broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merger_fuzz::request(data));
