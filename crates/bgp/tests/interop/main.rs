//! Our sessions over TCP against foreign daemons, each in a network namespace of its own.
//! `cargo test -p causeway-bgp --test interop -- --ignored`, as root.

mod bird;
mod frr;
mod tcp;
