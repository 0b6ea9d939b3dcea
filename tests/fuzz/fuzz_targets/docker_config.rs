#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::docker_config::check(data));
