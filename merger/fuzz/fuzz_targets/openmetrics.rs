//! A body read as `OpenMetrics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merger_fuzz::openmetrics(data));
