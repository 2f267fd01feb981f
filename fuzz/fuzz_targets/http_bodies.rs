#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| activation_operator_fuzz::targets::http_bodies(input));
