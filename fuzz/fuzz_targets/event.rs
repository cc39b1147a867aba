#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| prefixd_api::fuzzing::event(bytes));
