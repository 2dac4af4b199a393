//! BGP sessions with their sockets against BIRD and FRR, feature by feature: each test runs once with either.
//!
//! Needs root, `bird`, `frr`, `ip`, `nft`, `ss`: `cargo test -p causeway-node --test bgp_peers -- --ignored`.

mod daemons;
mod features;
mod guards;
mod hand;
mod restarts;
mod routes;
mod site;

/// One test for each daemon of every function named, which takes a name that is free for namespaces.
macro_rules! with_both {
    ($($test:ident $name:literal;)*) => {
        mod bird {
            $(#[tokio::test]
            #[ignore = "needs root, bird and network namespaces"]
            async fn $test() {
                super::$test::<crate::daemons::Bird>(concat!("b", $name)).await;
            })*
        }
        mod frr {
            $(#[tokio::test]
            #[ignore = "needs root, frr and network namespaces"]
            async fn $test() {
                super::$test::<crate::daemons::Frr>(concat!("f", $name)).await;
            })*
        }
    };
}
pub(crate) use with_both;
