//! Bytes for [`rolecall_fuzz::bulk`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rolecall_fuzz::bulk(data));
