//! Bytes for [`rolecall_fuzz::filter`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rolecall_fuzz::filter(data));
