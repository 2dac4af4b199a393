//! See `causeway_fuzz::bgp_update`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| causeway_fuzz::bgp_update(octets));
