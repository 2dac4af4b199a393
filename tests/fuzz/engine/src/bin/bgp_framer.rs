//! See `causeway_fuzz::bgp_framer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| causeway_fuzz::bgp_framer(octets));
