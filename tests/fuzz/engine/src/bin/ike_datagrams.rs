//! See `causeway_fuzz::ike_datagrams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| causeway_fuzz::ike_datagrams(octets));
